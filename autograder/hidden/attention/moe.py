"""Hidden checks of exercise 11, and other ways to solve it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from autograder.compare import close, equal
from autograder.exercise import check, variant
from autograder.exercises.attention import moe as public
from autograder.exercises.attention.moe_oracles import (
    balance,
    combined,
    drawn_choices,
    expect_dispatched,
    expect_routes,
    expect_scalar,
    gradient_of,
    placed,
    two_of,
    z_loss,
)
from autograder.rng import Rng
from autograder.student import Student


class Dispatch(public.Dispatch):
    @check(hint="Try logits of a thousand, k as large as E, and a single token.")
    def routes_any_logits(self, student: Student, rng: Rng) -> None:
        for logits, k in ((rng.normal(1, 6), 6), (rng.normal(40, 8), 2), (1000 * rng.normal(4, 5), 2)):
            expect_routes(student.route_topk(logits, k), logits, k)
        for n, experts, k in ((4096, 64, 2), (7, 8, 2), (1, 8, 1)):
            equal(student.capacity(n, experts, k, 2.0), max(1, -(-2 * k * n // experts)))

    @check(hint="One token, one place, experts that nobody wants: every shape must stay as promised.")
    def dispatches_in_any_shape(self, student: Student, rng: Rng) -> None:
        for n, experts, k, room in ((1, 1, 1, 1), (5, 8, 1, 3), (20, 5, 3, 6), (12, 6, 2, 1)):
            x, idx = rng.normal(n, 4), drawn_choices(rng, n, experts, k)
            expect_dispatched(student.dispatch(x, idx, experts, room), x, idx, experts, room)

    @check(hint="There and back with experts that do nothing: every kept token gets gate times itself added.")
    def comes_back_through_experts_that_change_nothing(self, student: Student, rng: Rng) -> None:
        n, experts, k, room = 30, 4, 2, 11
        x, gate, idx = rng.normal(n, 3), rng.normal(n, k).sigmoid(), drawn_choices(rng, n, experts, k)
        shapes = ((experts, room, 3), (n, k))
        buffers, slots = two_of(student.dispatch(x, idx, experts, room), "buffers", "slots", shapes)
        weight = (gate * (torch.tensor(placed(idx.tolist(), experts, room)) >= 0)).sum(-1, keepdim=True)
        close(student.combine(x, buffers, idx, slots, gate), x * (1 + weight), rtol=1e-4, atol=1e-6, what="the result")
        upstream = rng.normal(n, 3)
        grads = gradient_of(
            student.combine,
            x,
            buffers,
            idx,
            slots,
            gate,
            wrt=[0, 4],
            upstream=upstream,
            what="the result to x and gate",
        )
        close(grads[0], upstream, what="the gradient of x")
        answers = combined(torch.zeros(n * k, 3), buffers, idx.view(-1, 1), slots.view(-1, 1), torch.ones(n * k, 1))
        want = (answers.view(n, k, 3) * upstream[:, None]).sum(-1)
        close(grads[1], want, rtol=1e-3, atol=1e-5, what="the gradient of the gates")

    @check(hint="All tokens on one expert: E. Nobody on an expert: it still has a column in the sum.")
    def both_losses_on_other_numbers(self, student: Student, rng: Rng) -> None:
        certain = F.one_hot(torch.full((6,), 2), 5).float()
        expect_scalar(
            student.load_balance_loss(certain, torch.full((6, 1), 2)), 5.0, "for one expert with all, the loss"
        )
        for n, experts, k in ((3, 7, 1), (30, 4, 3)):
            probs = rng.normal(n, experts).softmax(-1)
            idx = drawn_choices(rng, n, experts, k)
            expect_scalar(student.load_balance_loss(probs, idx), balance(probs, idx), "the loss")
            logits = 3 * rng.normal(n, experts) - 5
            expect_scalar(student.router_z_loss(logits), z_loss(logits), "the z-loss")
            (grad,) = gradient_of(
                student.router_z_loss, logits, wrt=[0], upstream=torch.tensor(1.0), what="the z-loss to the logits"
            )
            want = 2 / n * logits.logsumexp(-1, keepdim=True) * logits.softmax(-1)
            close(grad, want, rtol=1e-3, atol=1e-6, what="the gradient of the logits")

    @variant
    class OneHotTables:
        """Positions by a running sum over one-hot rows; buffers and answers by einsum, as in Mesh TensorFlow."""

        def route_topk(logits, k):
            chosen, idx = torch.topk(logits, k)
            return (idx, logits.softmax(1).gather(1, idx)) if k == 1 else (idx, F.softmax(chosen, 1))

        def capacity(n_tokens, n_experts, k, factor):
            return -int(-factor * k * n_tokens // n_experts)

        def dispatch(x, idx, n_experts, capacity):
            n, k = idx.shape
            hot = F.one_hot(idx.T.reshape(-1), n_experts)
            rank = ((hot.cumsum(0) - 1) * hot).sum(-1)
            slots = rank.masked_fill(rank >= capacity, -1).reshape(k, n).T
            place = F.one_hot(slots + 1, capacity + 1)[..., 1:].to(x.dtype)
            return torch.einsum("nke,nks,nc->esc", F.one_hot(idx, n_experts).to(x.dtype), place, x), slots

        def combine(x, outputs, idx, slots, gate):
            experts, room, _ = outputs.shape
            place = F.one_hot(slots + 1, room + 1)[..., 1:].to(x.dtype)
            return x + torch.einsum("nk,nke,nks,esc->nc", gate, F.one_hot(idx, experts).to(x.dtype), place, outputs)

        def load_balance_loss(probs, idx):
            f = F.one_hot(idx, probs.shape[1]).float().mean(dim=(0, 1))
            return probs.shape[1] * torch.dot(f, probs.mean(0))

        def router_z_loss(logits):
            return torch.mean(torch.logsumexp(logits, dim=1) ** 2)

    @variant
    class PlainLoops:
        """Loops as in the hint; the gates by exponentials of differences."""

        def route_topk(logits, k):
            idx = torch.stack([torch.tensor(sorted(range(len(r)), key=lambda e: -r[e])[:k]) for r in logits.tolist()])
            chosen = torch.take_along_dim(logits, idx, dim=1)
            rivals = logits if k == 1 else chosen
            return idx, 1 / (rivals[:, None, :] - chosen[:, :, None]).exp().sum(-1)

        def capacity(n_tokens, n_experts, k, factor):
            return math.ceil(n_tokens / n_experts * k * factor)

        def dispatch(x, idx, n_experts, capacity):
            waiting = [[] for _ in range(n_experts)]
            slots = torch.full(idx.shape, -1, dtype=torch.int32)
            for j in range(idx.shape[1]):
                for n in range(idx.shape[0]):
                    line = waiting[idx[n, j]]
                    if len(line) < capacity:
                        slots[n, j] = len(line)
                        line.append(x[n])
            empty = torch.zeros(x.shape[1])
            rows = [torch.stack(line + [empty] * (capacity - len(line))) for line in waiting]
            return torch.stack(rows), slots

        def combine(x, outputs, idx, slots, gate):
            kept = (slots >= 0).to(x.dtype)
            answers = outputs[idx, slots.clamp(min=0)]
            return x + ((gate * kept).unsqueeze(-1) * answers).sum(1)

        def load_balance_loss(probs, idx):
            n_tokens, n_experts = probs.shape
            total = 0
            for expert in range(n_experts):
                total = total + (idx == expert).float().mean() * probs[:, expert].sum() / n_tokens
            return n_experts * total

        def router_z_loss(logits):
            top = logits.max(dim=-1, keepdim=True).values
            log_z = (logits - top).exp().sum(-1).log() + top[:, 0]
            return (log_z * log_z).sum() / len(log_z)

    @variant
    class MaskedLogits:
        """Everything that was not chosen gets minus infinity before the softmax; ranks by comparing all pairs."""

        def route_topk(logits, k):
            idx = logits.argsort(dim=-1, descending=True)[:, :k]
            if k > 1:
                hidden = torch.full_like(logits, -torch.inf).scatter(1, idx, 0.0)
                logits = logits + hidden
            return idx, logits.softmax(-1).gather(1, idx)

        def dispatch(x, idx, n_experts, capacity):
            n, k = idx.shape
            wanted = idx.T.flatten()
            before = torch.tril(wanted[:, None] == wanted[None, :], diagonal=-1).sum(1)
            slots = torch.where(before < capacity, before, torch.tensor(-1)).reshape(k, n).T
            buffers = torch.zeros(n_experts, capacity, x.shape[1], dtype=x.dtype)
            for j in range(k):
                ok = slots[:, j] >= 0
                buffers[idx[ok, j], slots[ok, j]] = x[ok]
            return buffers, slots

        def combine(x, outputs, idx, slots, gate):
            out = x.clone()
            for j in range(idx.shape[1]):
                ok = (slots[:, j] >= 0).nonzero()[:, 0]
                out = out.index_add(0, ok, gate[ok, j].unsqueeze(1) * outputs[idx[ok, j], slots[ok, j]])
            return out
