"""Hidden checks of exercise 3, and other ways to solve it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from autograder.compare import close, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import loss as public
from autograder.exercises.pretraining.loss import draw, expect_losses, expect_number, mean_of, surprises
from autograder.rng import Rng
from autograder.student import Student


class CausalLmLoss(public.CausalLmLoss):
    @check(hint="Average once, over all predictions of the batch: a text of 2 tokens weighs one, a text of 9 weighs 8.")
    def weighs_every_token_the_same(self, student: Student, rng: Rng) -> None:
        batches = [draw(rng, [2, 9, 5, rng.randint(3, 8)], 6) for _ in range(2)]
        expect_losses(student, batches, "the loss of four texts of unequal length")
        logits, ids = batches[0]
        rows = surprises(logits, ids)
        order = torch.tensor([2, 0, 3, 1])
        got = student.causal_lm_loss(logits[order], ids[order])
        expect_number(got, mean_of(rows), "the loss of the same texts in another order")

    @check(hint="Padding may stand before a text, behind it and within it; what counts is the token to be predicted.")
    def finds_padding_anywhere(self, student: Student, rng: Rng) -> None:
        logits, ids = draw(rng, [9, 9, 9], 6)
        ids[0, :4] = ids[1, 6:] = ids[2, 4:6] = -100
        want = math.exp(mean_of(surprises(logits, ids)))
        expect_losses(student, [(logits, ids), (logits.flip(0), ids)], "with padding in three places, the loss")
        expect_number(student.perplexity(logits, ids), want, "with padding in three places, the perplexity", 1e-4)
        ids[1] = -100
        want = mean_of(surprises(logits, ids))
        expect_number(
            student.causal_lm_loss(logits, ids), want, "for a batch with a text of nothing but padding, the loss"
        )

    @check(hint="Half precision has 8 or 11 binary digits: float32 before anything is added up; float32 comes back.")
    def widens_half_precision(self, student: Student, rng: Rng) -> None:
        batches = [draw(rng, [30, 20], 40), draw(rng, [12, 25], 40)]
        for dtype in (torch.float16, torch.bfloat16):
            half = [(logits.to(dtype), ids) for logits, ids in batches]
            expect_losses(student, half, f"for logits in {dtype}, the loss")
            want = math.exp(mean_of(surprises(*half[0])))
            expect_number(student.perplexity(*half[0]), want, f"for logits in {dtype}, the perplexity", 1e-4)

    @check(hint="The gradient of each logit is (its probability - 1 if it is the right one) / number of predictions.")
    def pushes_the_logits_where_it_should(self, student: Student, rng: Rng) -> None:
        logits, ids = draw(rng, [6, 3], 5)
        expect_losses(student, [(logits, ids), draw(rng, [6, 3], 5)], "the loss")
        want = torch.zeros(2, 6, 5)
        for b, length in enumerate((6, 3)):
            for t in range(length - 1):
                weights = (logits[b, t] - logits[b, t].max()).exp()
                want[b, t] = weights / weights.sum()
                want[b, t, ids[b, t + 1]] -= 1
        _, (grad,) = student.causal_lm_loss.gradient(logits, ids, wrt=[0], upstream=torch.tensor(1.0))
        close(grad, want / (5 + 2), rtol=1e-4, atol=1e-6, what="the gradient of the logits")

    @check(hint="ids and logits come as they are: change neither of them in place.")
    def leaves_its_arguments_alone(self, student: Student, rng: Rng) -> None:
        logits, ids = draw(rng, [5, 3], 4)
        for function in (student.causal_lm_loss, student.perplexity):
            _, (logits_after, ids_after) = function.with_arguments(logits, ids)
            true(torch.equal(logits_after, logits), "the logits have been changed")
            true(torch.equal(ids_after, ids), "the ids have been changed")

    @variant
    class CrossEntropy:
        """What one writes at work: torch's own, on the shifted tensors."""

        def causal_lm_loss(logits, ids, ignore_index=-100):
            targets = ids[:, 1:].reshape(-1)
            if (targets == ignore_index).all():
                raise ValueError("nothing to predict")
            scores = logits[:, :-1].reshape(len(targets), -1).float()
            return F.cross_entropy(scores, targets, ignore_index=ignore_index)

        def perplexity(logits, ids, ignore_index=-100):
            return torch.exp(CausalLmLoss.CrossEntropy.causal_lm_loss(logits, ids, ignore_index))

    @variant
    class SumOverCount:
        """logsumexp minus the logit of the right token; what does not count has weight 0."""

        def causal_lm_loss(logits, ids, ignore_index=-100):
            targets = torch.roll(ids, -1, 1)
            targets[:, -1] = ignore_index
            weight = (targets != ignore_index).float()
            if not weight.any():
                raise ValueError("nothing to predict")
            logits = logits.float()
            right = logits.gather(2, (targets * weight.long()).unsqueeze(2)).squeeze(2)
            return ((logits.logsumexp(2) - right) * weight).sum() / weight.sum()

    @variant
    class TokenByToken:
        """A loop over texts and places."""

        def causal_lm_loss(logits, ids, ignore_index=-100):
            losses = []
            for text_logits, text in zip(logits, ids, strict=True):
                for t in range(1, len(text)):
                    if int(text[t]) != ignore_index:
                        scores = text_logits[t - 1].float()
                        scores = scores - scores.max()
                        losses.append(scores.exp().sum().log() - scores[int(text[t])])
            if not losses:
                raise ValueError("nothing to predict")
            return torch.stack(losses).mean()

        def perplexity(logits, ids, ignore_index=-100):
            return math.e ** CausalLmLoss.TokenByToken.causal_lm_loss(logits, ids, ignore_index)
