"""Hidden checks of exercise 6, and other ways to solve it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.pretraining import prefix as public
from autograder.exercises.pretraining.prefix_parts import (
    Reader,
    attended,
    draw_texts,
    expect_attended,
    expect_loss,
    expected_loss,
    look_at_what_the_model_got,
    record,
)
from autograder.rng import Rng
from autograder.student import Student


class PrefixLmLoss(public.PrefixLmLoss):
    @check(hint="Token k of the target costs the same whatever comes after it; only what stands before it counts.")
    def what_comes_later_changes_nothing(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        reader = Reader.draw(rng, 9)
        prefix, target = draw_texts(rng, 9, 4, [6, 6])
        changed = target.clone()
        changed[:, -1] = (changed[:, -1] + 1) % 9
        sums = []
        for texts in (target[:, :5], target, changed):
            got = student.prefix_lm_loss(reader.read, prefix, texts)
            expect_loss(got, reader, prefix, texts, f"the loss of {texts.shape[1]} target tokens")
            sums.append(float(got) * texts.shape[1])
        last = expected_loss(reader, torch.cat([prefix, target[:, :5]], 1), target[:, 5:])
        assert math.isfinite(last)

    @check(hint="Try one token of prefix, one of target, one text, and another ignore_index.")
    def small_and_unusual_texts(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        for P, lengths in ((1, [1]), (1, [3, 3]), (5, [1, 1]), (2, [4, 1])):
            reader = Reader.draw(rng, 5)
            prefix, target = draw_texts(rng, 5, P, lengths)
            got = student.prefix_lm_loss(reader.read, prefix, target)
            expect_loss(got, reader, prefix, target, f"the loss for P = {P} and targets of {lengths} tokens")
        reader = Reader.draw(rng, 6)
        prefix, target = draw_texts(rng, 6, 3, [4, 2], ignore_index=-1)
        got = student.prefix_lm_loss(reader.read, prefix, target, ignore_index=-1)
        expect_loss(got, reader, prefix, target, "the loss with ignore_index = -1", ignore_index=-1)

    @check(hint="In half precision the sum over V exponentials needs more digits: take the logits to float32 first.")
    def half_precision_is_widened(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        reader = Reader.draw(rng, 40, dtype=torch.bfloat16)
        prefix, target = draw_texts(rng, 40, 3, [6, 6])
        got = student.prefix_lm_loss(reader.read, prefix, target)
        look_at_what_the_model_got(reader, prefix, target)
        expect_loss(got, reader, prefix, target, "the loss of logits in bfloat16")

    @check(hint="The input is a set of pairs of key and value: their order is of no importance. Queries stand alone.")
    def the_order_of_the_input_is_of_no_importance(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        q, k, v = rng.normal(4, 6), rng.normal(7, 6), rng.normal(7, 6)
        order = torch.tensor(rng.sample(range(7), 7))
        before = student.cross_attention(q, (k, v))
        expect_attended(before, attended(q, k, v), "the result")
        expect_attended(student.cross_attention(q, (k[order], v[order])), before, "for the input in another order, it")
        alone = student.cross_attention(q[2:3], (k, v))
        expect_attended(alone, before[2:3], "for one query alone, the result")

    @check(hint="Batches and heads may stand in front, a mask may have a row for each text, and scores may be large.")
    def batches_heads_and_large_scores(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        q, k, v = rng.normal(2, 3, 4, 6), rng.normal(2, 3, 5, 6), rng.normal(2, 3, 5, 6)
        real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
        got = student.cross_attention(60 * q, (10 * k, v), real[:, None, None])
        rows = [torch.stack([attended(60 * q[b, h], 10 * k[b, h], v[b, h], real[b]) for h in range(3)]) for b in (0, 1)]
        expect_attended(got, torch.stack(rows), "for [2, 3, 4, 6] queries and a mask for each text, the result")

    @check(hint="Gradients must find their way back to the queries: nothing may be detached.")
    def gradients_reach_the_decoder(self, student: Student, rng: Rng) -> None:
        record(student, rng)
        q, k, v, upstream = (rng.normal(4, 6) for _ in range(4))
        out, (grad,) = student.cross_attention.gradient(q, (k, v), wrt=[0], upstream=upstream)
        expect_attended(out, attended(q, k, v), "the result")
        leaf = q.double().requires_grad_()
        weights = (leaf @ k.double().T / math.sqrt(6)).softmax(-1)
        (want,) = torch.autograd.grad(weights @ v.double(), leaf, upstream.double())
        close(grad, want.float(), rtol=1e-3, atol=1e-5, what="the gradient of the queries")

    @variant
    class WithoutTheLastToken:
        """The last target token predicts nothing, so the model need not read it; log-probabilities by hand."""

        def prefix_lm_loss(model, prefix, target, ignore_index=-100):
            counted = target != ignore_index
            safe = torch.where(counted, target, torch.zeros_like(target))
            ids = torch.cat([prefix, safe[:, :-1]], dim=1)
            P, T = prefix.shape[1], ids.shape[1]
            mask = torch.ones(T, T).tril().bool()
            mask[:, :P] = True
            logp = model(ids, mask=mask)[:, P - 1 :].float().log_softmax(-1)
            picked = logp.gather(-1, safe[..., None]).squeeze(-1)
            return -(picked * counted).sum() / counted.sum()

        def cross_attention(q_dec, kv_enc, enc_mask=None):
            k, v = kv_enc
            scores = torch.einsum("...td,...sd->...ts", q_dec, k) / q_dec.shape[-1] ** 0.5
            if enc_mask is not None:
                scores = torch.where(enc_mask, scores, torch.tensor(float("-inf")))
            return torch.einsum("...ts,...sd->...td", scores.softmax(-1), v)

    @variant
    class LabelsInARow:
        """Labels for the whole row, -100 on the prefix; attention with sums of exponentials."""

        def prefix_lm_loss(model, prefix, target, ignore_index=-100):
            P = prefix.size(1)
            row = torch.cat([prefix, target], dim=1)
            labels = torch.cat([torch.full_like(prefix, ignore_index), target], dim=1)[:, 1:]
            T = row.size(1)
            mask = torch.tensor([[j < P or j <= i for j in range(T)] for i in range(T)])
            logits = model(row.clamp_min(0), mask=mask)[:, :-1]
            flat = logits.reshape(-1, logits.size(-1)).float()
            return F.cross_entropy(flat, labels.reshape(-1), ignore_index=ignore_index)

        def cross_attention(q_dec, kv_enc, enc_mask=None):
            k, v = kv_enc
            scores = (q_dec / math.sqrt(q_dec.size(-1))) @ k.mT
            if enc_mask is not None:
                scores = scores + torch.zeros(enc_mask.shape).masked_fill(~enc_mask, -torch.inf)
            shares = torch.exp(scores - scores.amax(-1, keepdim=True))
            return (shares @ v) / shares.sum(-1, keepdim=True)

    @variant
    class TextByText:
        """One text after the other, without its padding."""

        def prefix_lm_loss(model, prefix, target, ignore_index=-100):
            total, count = torch.zeros(()), 0
            P = prefix.shape[1]
            safe = target.masked_fill(target == ignore_index, 0)
            ids = torch.cat([prefix, safe], 1)
            i = torch.arange(ids.shape[1])
            logits = model(ids, mask=torch.logical_or(i[None] <= i[:, None], (i < P)[None]))
            for b in range(len(target)):
                answer = target[b][target[b] != ignore_index]
                said = logits[b, P - 1 : P - 1 + len(answer)].float()
                total = total + (said.logsumexp(-1) - said[torch.arange(len(answer)), answer]).sum()
                count += len(answer)
            return total / count

        def cross_attention(q_dec, kv_enc, enc_mask=None):
            k, v = kv_enc
            weights = torch.softmax(torch.matmul(q_dec, k.transpose(-2, -1)) * q_dec.shape[-1] ** -0.5, dim=-1)
            if enc_mask is not None:
                scores = torch.matmul(q_dec, k.transpose(-2, -1)) * q_dec.shape[-1] ** -0.5
                weights = torch.softmax(scores.masked_fill(enc_mask.logical_not(), -1e30), dim=-1)
            return weights @ v
