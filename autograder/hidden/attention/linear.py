"""Hidden checks of exercise 12, and other ways to solve it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.attention import linear as public
from autograder.exercises.attention.linear import drawn_inputs, expect_sequence, faded_averages, linear_attended
from autograder.rng import Rng
from autograder.student import Student


class Wkv(public.Wkv):
    @check(hint="Any dimensions may stand in front of T and D: use the last two from behind, -2 and -1.")
    def takes_batches_and_heads(self, student: Student, rng: Rng) -> None:
        q, k, v = rng.normal(2, 3, 5, 4), rng.normal(2, 3, 5, 4), rng.normal(2, 3, 5, 2)
        want = torch.stack(
            [torch.stack([linear_attended(q[b, h], k[b, h], v[b, h]) for h in range(3)]) for b in range(2)]
        )
        for name in ("linear_attention_parallel", "linear_attention_recurrent"):
            expect_sequence(getattr(student, name)(q, k, v), want, f"the result of {name} for [2, 3, 5, 4]")
        k, v = rng.normal(2, 6, 3), rng.normal(2, 6, 3)
        _, _, w, u = drawn_inputs(rng, 1, 3)
        want = torch.stack([faded_averages(k[b], v[b], w, u) for b in range(2)])
        expect_sequence(student.wkv(k, v, w, u), want, "the result of wkv for [2, 6, 3]")

    @check(hint="Both forms of linear attention are one function, for long sequences and large features too.")
    def both_forms_agree_on_a_long_sequence(self, student: Student, rng: Rng) -> None:
        q, k, v = 3 * rng.normal(30, 4), 3 * rng.normal(30, 4), rng.normal(30, 3)
        want = linear_attended(q, k, v)
        parallel, loop = student.linear_attention_parallel(q, k, v), student.linear_attention_recurrent(q, k, v)
        expect_sequence(parallel, want, "the result of the parallel form for T = 30")
        expect_sequence(loop, want, "the result of the recurrent form for T = 30")

    @check(hint="Try keys that jump up and down by a thousand, a bonus of 500, and a decay of 0 or of 300.")
    def wkv_is_stable_in_every_direction(self, student: Student, rng: Rng) -> None:
        k, v, w, u = (x.double() for x in drawn_inputs(rng, 9, 3))
        jumps = torch.tensor([rng.choice([-1000.0, 0.0, 1000.0]) for _ in range(9)])[:, None]
        cases = {
            "moderate keys": (k, v, w, u),
            "keys that jump": (k + jumps, v, w, u),
            "a large bonus": (k, v, w, u + 500),
            "a large malus": (k, v, w, u - 500),
            "no decay": (k, v, torch.zeros_like(w), u),
            "a fast decay": (k, v, torch.full_like(w, 300.0), u),
            "one position": (k[:1] - 500, v[:1], w, u),
        }
        for what, args in cases.items():
            expect_sequence(student.wkv(*args), faded_averages(*args), f"for {what}, the result")

    @check(hint="An average of equal values is that value; and a key far above all others takes over.")
    def wkv_is_an_average(self, student: Student, rng: Rng) -> None:
        k, v, w, u = drawn_inputs(rng, 12, 2)
        expect_sequence(student.wkv(k, v, w, u), faded_averages(k, v, w, u), "for drawn values, the result")
        got = student.wkv(k, torch.full_like(v, 7.0), w, u)
        expect_sequence(got, torch.full((12, 2), 7.0), "for values of 7, the result")
        loud = torch.cat([k[:4], k[4:5] + 300, k[5:] / 10])
        got = student.wkv(loud, v, w / 100, torch.zeros(2))
        expect_sequence(got, faded_averages(loud, v, w / 100, torch.zeros(2)), "for one loud key, the result")
        close(got[5:], v[4].expand(7, 2).contiguous(), rtol=1e-3, atol=1e-3, what="what follows a loud key")

    @variant
    class RunningSums:
        """States of all positions at once by cumulative sums; wkv as a softmax over a table of exponents."""

        def linear_attention_parallel(q, k, v):
            q, k = F.elu(q) + 1, F.elu(k) + 1
            mask = torch.ones(q.shape[-2], q.shape[-2]).tril()
            weights = torch.einsum("...td,...sd->...ts", q, k) * mask
            return torch.einsum("...ts,...sm->...tm", weights / weights.sum(-1, keepdim=True), v)

        def linear_attention_recurrent(q, k, v):
            q, k = F.elu(q) + 1, F.elu(k) + 1
            s = torch.einsum("...td,...tm->...tdm", k, v).cumsum(-3)
            z = k.cumsum(-2)
            return torch.einsum("...td,...tdm->...tm", q, s) / (q * z).sum(-1, keepdim=True)

        def wkv(k, v, w, u):
            length = k.shape[-2]
            t, i = torch.arange(length)[:, None], torch.arange(length)[None]
            table = k[..., None, :, :] - (t - 1 - i).clamp(min=0)[..., None] * w  # [..., T, T, C]
            table = torch.where((t == i)[..., None], k[..., None, :, :] + u, table)
            table = table.masked_fill((i > t)[..., None], -torch.inf)
            return (table.softmax(-2) * v[..., None, :, :]).sum(-2)

    @variant
    class LogDomain:
        """wkv with log sums: numerators of positive and negative values apart, so that logarithms exist."""

        def linear_attention_parallel(q, k, v):
            def phi(x):
                return torch.where(x > 0, x + 1, x.clamp(max=0).exp())

            weights = torch.tril(phi(q) @ phi(k).mT)
            return (weights / weights.sum(-1, keepdim=True)) @ v

        def wkv(k, v, w, u):
            out = torch.empty_like(v)
            positive = negative = norm = torch.full_like(k[..., 0, :], -torch.inf)
            for t in range(k.shape[-2]):
                key, value = k[..., t, :], v[..., t, :]
                plus, minus = key + value.clamp(min=0).log(), key + (-value).clamp(min=0).log()
                total = torch.logaddexp(norm, u + key)
                up = torch.logaddexp(positive, u + plus) - total
                down = torch.logaddexp(negative, u + minus) - total
                out[..., t, :] = up.exp() - down.exp()
                positive = torch.logaddexp(positive - w, plus)
                negative = torch.logaddexp(negative - w, minus)
                norm = torch.logaddexp(norm - w, key)
            return out

    @variant
    class FromTheHint:
        """The recursion of the third hint, with an empty state of minus infinity; sums of outer products by hand."""

        def linear_attention_recurrent(q, k, v):
            s = z = 0
            rows = []
            for t in range(q.shape[-2]):
                fk, fq = F.elu(k[..., t, :]) + 1, F.elu(q[..., t, :]) + 1
                s = s + fk.unsqueeze(-1) @ v[..., t, :].unsqueeze(-2)
                z = z + fk
                rows.append((fq.unsqueeze(-2) @ s).squeeze(-2) / (fq * z).sum(-1, keepdim=True))
            return torch.stack(rows, -2)

        def wkv(k, v, w, u):
            a = b = torch.zeros_like(k[..., 0, :])
            p = torch.full_like(a, float("-inf"))
            rows = []
            for t in range(k.shape[-2]):
                kt, vt = k[..., t, :], v[..., t, :]
                top = torch.maximum(p, u + kt)
                old, new = torch.exp(p - top), torch.exp(u + kt - top)
                rows.append((old * a + new * vt) / (old * b + new))
                top = torch.maximum(p - w, kt)
                old, new = torch.exp(p - w - top), torch.exp(kt - top)
                a, b, p = old * a + new * vt, old * b + new, top
            return torch.stack(rows, -2)
