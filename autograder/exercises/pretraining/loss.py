"""Exercise 3: the loss of a causal language model, and the perplexity that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import close, expect_error, fail
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, StudentError
from course_lib import pretraining


def surprises(logits: Tensor, ids: Tensor, ignore_index: int = -100) -> list[list[float]]:
    """The oracle: for each text, -log p of each token that is predicted; number by number, in double precision."""
    rows = []
    for scores_of_text, text in zip(logits.tolist(), ids.tolist(), strict=True):
        row = []
        for scores, token in zip(scores_of_text[:-1], text[1:], strict=True):
            if token != ignore_index:
                top = max(scores)
                row.append(top + math.log(math.fsum(math.exp(s - top) for s in scores)) - scores[token])
        rows.append(row)
    return rows


def mean_of(rows: list[list[float]]) -> float:
    """One mean over all predictions, whichever text they belong to."""
    everything = [value for row in rows for value in row]
    return math.fsum(everything) / len(everything)


def expect_number(got: Any, want: float, what: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """A tensor in single precision that holds this one number."""
    close(got, torch.tensor(want), rtol=rtol, atol=atol, what=what)


def expect_losses(student: Student, batches: list[tuple[Tensor, Tensor]], what: str, atol: float = 1e-6) -> None:
    """The loss of each batch. All are asked for before one is judged: two wrong means may agree once by chance."""
    losses = [student.causal_lm_loss(logits, ids) for logits, ids in batches]
    for got, (logits, ids) in zip(losses, batches, strict=True):
        expect_number(got, mean_of(surprises(logits, ids)), what, atol=atol)


def expect_gradients(student: Student, logits: Tensor, ids: Tensor) -> None:
    try:
        _, (grad,) = student.causal_lm_loss.gradient(logits, ids, wrt=[0], upstream=torch.tensor(1.0))
    except StudentError as error:
        if "require grad" not in str(error):
            raise
        grad = None  # what came back depends on nothing
    if grad is None:
        fail("no gradient reaches the logits; a number taken out of its tensor, as by .item(), has none")


def draw(rng: Rng, lengths: list[int], V: int, ignore_index: int = -100) -> tuple[Tensor, Tensor]:
    """Logits of a model with opinions, and texts of these lengths, filled up at the end to the longest of them."""
    logits = 2 * rng.normal(len(lengths), max(lengths), V)
    ids = torch.full((len(lengths), max(lengths)), ignore_index)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor(rng.ids(length, 0, V - 1))
    return logits, ids


def each(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss at each place, for mistakes; a target that does not exist is read as 0."""
    targets = targets.clamp(0, logits.shape[-1] - 1)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def refusing(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mistake that at least refuses to average nothing, so that it is told apart from the one that does not."""

    @wraps(loss)
    def wrapped(logits: Tensor, ids: Tensor, ignore_index: int = -100) -> Tensor:
        if not bool((ids[:, 1:] != ignore_index).any()):
            raise ValueError("ids: nothing to predict")
        return loss(logits, ids, ignore_index)

    return wrapped


class CausalLmLoss(Exercise):
    """The mean of -log p(next token) over the tokens that are really predicted, and its exponential."""

    title = "The causal language-model loss"
    difficulty = 2
    minutes = 25
    id = "causal_lm_loss"
    functions = ("causal_lm_loss", "perplexity")
    reference = pretraining
    forbid = (
        "torch.nn.functional.cross_entropy",
        "torch.nn.functional.nll_loss",
        "torch.nn.CrossEntropyLoss",
        "torch.nn.NLLLoss",
        "torch.nn.functional.kl_div",
    )
    hints = (
        "Write 4 tokens in a row and below each what the model says there. What it says at the last token, can that "
        "be compared with anything? And who predicts the first token?",
        "Cut the last place off the logits and the first token off the ids. Take the log-softmax of the logits, and "
        "pick at each place the number of the right token. Then keep those places whose target is not ignore_index, "
        "of all texts together, and average once.",
        "targets = ids[:, 1:]; counted = targets != ignore_index; safe = targets.masked_fill(~counted, 0); "
        "logp = logits[:, :-1].float().log_softmax(-1).gather(-1, safe[..., None])[..., 0]; "
        "return -logp[counted].mean(). perplexity is the exp of that.",
    )

    @check(hint="If all V logits are equal, each next token has probability 1/V, and -log of it is ln V, in nats.")
    def is_ln_V_for_a_model_that_knows_nothing(self, student: Student, rng: Rng) -> None:
        for V in (10, rng.randint(20, 60)):
            ids = torch.tensor([rng.ids(4, 0, V - 1)])
            got = student.causal_lm_loss(torch.full((1, 4, V), 0.5), ids)
            expect_number(got, math.log(V), f"the loss of equal logits for {V} tokens")

    @check(hint="What the model says at position t is about token t + 1; 4 tokens make 3 predictions.")
    def compares_each_position_with_the_next_token(self, student: Student, rng: Rng) -> None:
        logits, ids = torch.zeros(1, 4, 5), torch.tensor([[2, 0, 3, 1]])
        logits[0, :3] = 9.0 * F.one_hot(ids[0, 1:], 5)  # a model that is right every time
        expect_number(
            student.causal_lm_loss(logits, ids), mean_of(surprises(logits, ids)), "the loss of a model that is right"
        )
        logits, ids = draw(rng, [7, 7], 6)
        expect_number(student.causal_lm_loss(logits, ids), mean_of(surprises(logits, ids)), "the loss of two texts")
        expect_gradients(student, logits, ids)

    @check(hint="A target equal to ignore_index is no prediction: it adds nothing to the sum, and is not counted.")
    def leaves_padding_out(self, student: Student, rng: Rng) -> None:
        logits, ids = draw(rng, [6, 4], 5)
        expect_losses(student, [(logits[1:], ids[1:])], "the loss of 4 tokens and 2 of padding")
        batches = [(logits, ids), draw(rng, [6, 3], 5)]
        expect_losses(student, batches, "the loss of a text of 6 tokens, and a shorter one with padding")

    @check(hint="A model that hesitates between 10 tokens has perplexity 10, however long the text is.")
    def perplexity_does_not_grow_with_the_text(self, student: Student, rng: Rng) -> None:
        for T in (2, 9):
            got = student.perplexity(torch.zeros(1, T, 10), torch.tensor([rng.ids(T, 0, 9)]))
            expect_number(got, 10.0, f"for {T} tokens and equal logits, the perplexity")
        logits, ids = draw(rng, [6, 3], 7)
        want = math.exp(mean_of(surprises(logits, ids)))
        expect_number(student.perplexity(logits, ids), want, "the perplexity of 6 tokens and 3 with padding", rtol=1e-4)

    @check(hint="ignore_index may be a token that exists: 0 is a common id of padding, and often stands first.")
    def ignores_what_it_is_told_to(self, student: Student, rng: Rng) -> None:
        expect_losses(student, [draw(rng, [8, 6], 6), draw(rng, [8, 4], 6)], "with padding of -100, the loss")
        logits = 2 * rng.normal(2, 8, 6)
        ids = torch.tensor([rng.ids(8, 1, 5), rng.ids(8, 1, 5)])
        ids[0, :3] = ids[1, 6:] = 0
        want = mean_of(surprises(logits, ids, 0))
        expect_number(student.causal_lm_loss(logits, ids, 0), want, "with ignore_index 0, the loss")
        got = student.perplexity(logits, ids, ignore_index=0)
        expect_number(got, math.exp(want), "with ignore_index 0, the perplexity", rtol=1e-4)

    @check(hint="log_softmax subtracts the largest logit first, and needs the digits of float32: convert before it.")
    def takes_logits_of_any_size_and_precision(self, student: Student, rng: Rng) -> None:
        batches = [draw(rng, [9, 7], 6), draw(rng, [5, 8], 6)]
        expect_losses(student, batches, "the loss of texts with padding")
        for shift in (1e4, -1e4):  # changes no probability
            moved = [(logits + shift, ids) for logits, ids in batches]
            expect_losses(student, moved, f"with {shift:+,.0f} on all logits, the loss", atol=3e-3)
        sure = torch.tensor([[[0.0, 300.0], [300.0, 0.0], [0.0, 0.0]]])
        expect_number(
            student.causal_lm_loss(sure, torch.tensor([[1, 1, 0]])), 0.0, "for a model that is sure and right, the loss"
        )
        got = student.causal_lm_loss(sure, torch.tensor([[1, 1, 1]]))
        expect_number(got, 150.0, "for a model that is always sure and right once in two, the loss")
        half = [(logits.bfloat16(), ids) for logits, ids in batches]
        expect_losses(student, half, "for logits in bfloat16, the loss")

    @check(hint="A text of one token, or one with nothing but padding behind the first: raise ValueError, not nan.")
    def refuses_to_average_nothing(self, student: Student, rng: Rng) -> None:
        logits, ids = draw(rng, [4], 5)
        expect_error(ValueError, student.causal_lm_loss, logits[:, :1], ids[:, :1])
        ids[0, 1:] = -100
        expect_error(ValueError, student.causal_lm_loss, logits, ids)

    @mistake("compares each position with the token that stands there, which the model has just read")
    @refusing
    def no_shift(logits, ids, ignore_index=-100):
        return each(logits, ids)[ids != ignore_index].mean()

    @mistake("shifts twice: position t is compared with token t + 2; some libraries shift inside, here you do it once")
    @refusing
    def shifts_twice(logits, ids, ignore_index=-100):
        return each(logits[:, :-2], ids[:, 2:])[ids[:, 2:] != ignore_index].mean()

    @mistake("shifts the wrong way: position t is compared with token t - 1, which lies in the past")
    @refusing
    def shifts_backwards(logits, ids, ignore_index=-100):
        return each(logits[:, 1:], ids[:, :-1])[ids[:, :-1] != ignore_index].mean()

    @mistake("takes the mean of each text and then the mean of those; every token shall weigh the same")
    @refusing
    def mean_of_means(logits, ids, ignore_index=-100):
        counted = (ids[:, 1:] != ignore_index).float()
        losses = each(logits[:, :-1], ids[:, 1:]) * counted
        return (losses.sum(1) / counted.sum(1)).mean()

    @mistake("divides by the number of all places, padding included; so a padded batch looks better than it is")
    @refusing
    def divides_by_all(logits, ids, ignore_index=-100):
        losses = each(logits[:, :-1], ids[:, 1:])
        return losses.masked_fill(ids[:, 1:] == ignore_index, 0.0).mean()

    @mistake("asks the model to predict the padding as well")
    @refusing
    def predicts_padding(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:]).mean()

    @mistake("drops what is said at a place of padding; what is said about padding does not count")
    @refusing
    def masks_the_input(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:])[ids[:, :-1] != ignore_index].mean()

    @mistake("adds the losses up; their mean is asked for, which does not grow with the text")
    @refusing
    def sums_up(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:])[ids[:, 1:] != ignore_index].sum()

    @mistake("measures in bits; the loss is in nats, with the natural logarithm")
    def in_bits(logits, ids, ignore_index=-100):
        return pretraining.causal_lm_loss(logits, ids, ignore_index) / math.log(2)

    @mistake("cuts the gradients off; .item() and .detach() leave a number that knows nothing of the logits")
    def detached(logits, ids, ignore_index=-100):
        return pretraining.causal_lm_loss(logits, ids, ignore_index).detach()

    @mistake("takes the logarithm of the mean probability; the mean of the logarithms is asked for")
    @refusing
    def log_of_the_mean(logits, ids, ignore_index=-100):
        losses = each(logits[:, :-1], ids[:, 1:])[ids[:, 1:] != ignore_index]
        return -(-losses).exp().mean().log()

    @mistake("always leaves out -100, whatever ignore_index says")
    @refusing
    def always_minus_100(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:])[ids[:, 1:] != -100].mean()

    @mistake(
        "takes exp of the logits as they are, which is inf for large ones; log_softmax subtracts the largest first"
    )
    @refusing
    def overflows(logits, ids, ignore_index=-100):
        weights = logits[:, :-1].float().exp()
        targets = ids[:, 1:].clamp(0, logits.shape[-1] - 1)
        p = weights.gather(-1, targets[..., None])[..., 0] / weights.sum(-1)
        return -p.log()[ids[:, 1:] != ignore_index].mean()

    @mistake("takes the log of a softmax; where a probability has become 0 that is infinite, log_softmax is not")
    @refusing
    def log_after_softmax(logits, ids, ignore_index=-100):
        targets = ids[:, 1:].clamp(0, logits.shape[-1] - 1)
        p = logits[:, :-1].float().softmax(-1).gather(-1, targets[..., None])[..., 0]
        return -p.log()[ids[:, 1:] != ignore_index].mean()

    @mistake("adds up in half precision; convert the logits to float32 first")
    @refusing
    def stays_in_half(logits, ids, ignore_index=-100):
        targets = ids[:, 1:].clamp(0, logits.shape[-1] - 1)
        logp = logits[:, :-1].log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        return -logp[ids[:, 1:] != ignore_index].mean()

    @mistake("returns nan where no token is to be predicted; that shall be a ValueError")
    def nan_for_nothing(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:])[ids[:, 1:] != ignore_index].mean()

    @mistake("takes exp of the sum, which grows without limit with the length of the text; exp of the mean is meant",
             of="perplexity")  # fmt: skip
    def exp_of_the_sum(logits, ids, ignore_index=-100):
        return CausalLmLoss.sums_up(logits, ids, ignore_index).exp()

    @mistake("takes exp of each loss and then the mean; a single surprise then outweighs everything", of="perplexity")
    @refusing
    def mean_of_exps(logits, ids, ignore_index=-100):
        return each(logits[:, :-1], ids[:, 1:])[ids[:, 1:] != ignore_index].exp().mean()

    @mistake("takes the mean of the perplexities of the texts; every token shall weigh the same", of="perplexity")
    def mean_over_texts(logits, ids, ignore_index=-100):
        each_text = [pretraining.perplexity(logits[b : b + 1], ids[b : b + 1], ignore_index) for b in range(len(ids))]
        return torch.stack(each_text).mean()

    @mistake("raises 2 to a loss in nats; nats go with e", of="perplexity")
    def two_to_nats(logits, ids, ignore_index=-100):
        return torch.exp2(pretraining.causal_lm_loss(logits, ids, ignore_index))

    @mistake("forgets to hand on ignore_index", of="perplexity")
    def forgets_the_index(logits, ids, ignore_index=-100):
        return CausalLmLoss.always_minus_100(logits, ids).exp()
