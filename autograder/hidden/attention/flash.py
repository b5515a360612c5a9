"""Hidden checks of exercise 10, and other ways to solve it."""

from __future__ import annotations

import math

import torch

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.attention import flash as public
from autograder.exercises.attention.flash_parts import (
    compare,
    compare_counts,
    compare_size,
    compare_values,
    direct,
    draw,
)
from autograder.rng import Rng
from autograder.student import Student


class FlashAttention(public.FlashAttention):
    @check(hint="Try one query, one key, blocks of one, blocks larger than everything, D = 1, and float64.")
    def any_lengths_any_block_any_dtype(self, student: Student, rng: Rng) -> None:
        sizes = [(1, 1), (1, 9), (9, 1), (7, 7), (rng.randint(5, 12), rng.randint(5, 12))]
        cases = []
        for T, S in (*sizes, (12, 12)):
            for block in (1, rng.randint(2, 5), 40):
                cases.append((*draw(rng, T, S, rng.choice((1, 5, 8))), block, len(cases) % 2 == 0))
        cases += [(*(x.double() for x in case[:3]), *case[3:]) for case in cases[-2:]]
        compare(student, *cases)

    @check(hint="The largest score may come first, last, or in the middle: sum and mixed values follow every change.")
    def the_maximum_may_come_at_any_time(self, student: Student, rng: Rng) -> None:
        block, S = rng.randint(2, 5), rng.randint(11, 15)
        q, k, v = (x.double() for x in draw(rng, 11, S, 4))
        cases = []
        for shape in (torch.arange(S), -torch.arange(S), -(torch.arange(S) - S // 2).abs(), torch.zeros(S)):
            keys = k + 4.0 * shape[:, None]
            cases += [(queries, keys, v, block, causal) for queries in (q.abs(), -q.abs()) for causal in (False, True)]
        compare(student, *cases)
        got, after = student.flash_attention.with_arguments(*cases[0])
        compare_values(got, direct(*cases[0][:3]), "once more: the output")
        for name, before, now in zip("qkv", cases[0], after, strict=False):
            close(now, before, rtol=0, atol=0, what=f"{name} after the call")

    @check(hint="However long the sequence, no tensor grows with the product of both lengths.")
    def memory_follows_the_block_and_not_the_length(self, student: Student, rng: Rng) -> None:
        for T, S, causal in ((rng.randint(60, 66), rng.randint(40, 44), False), (40, 60 + rng.randint(0, 6), True)):
            compare_size(student, rng, T, S, 2, rng.randint(9, 10), causal)

    @check(hint="M may be as small as D, or so large that all keys fit into one block.")
    def counts_for_any_sizes(self, student: Student, rng: Rng) -> None:
        sizes = []
        for _ in range(6):
            T, D = rng.randint(1, 200), rng.randint(1, 32)
            sizes += [(T, D, M) for M in (D, rng.randint(D, max(D, T * D)), 4 * T * D, 9 * T * D)]
        compare_counts(student, *sizes, (2**12, 64, 2**14), (2**14, 64, 2**14))

    @variant
    class KeysOutside:
        """Keys in the outer loop, as in the first paper: out is kept divided, and multiplied back when needed."""

        def hbm_accesses(T, D, M):
            matrix, square = T * D, T**2
            cols = -(-M // (4 * D))
            passes = -(-T // cols)
            return {
                "standard": (2 * matrix + square) + 2 * square + (square + 2 * matrix),
                "tiled": matrix * (3 + 3 * passes) + T * (2 + 4 * passes),
            }

        def flash_attention(q, k, v, block=64, causal=False):
            T, S = q.size(0), k.size(0)
            wide = torch.promote_types(q.dtype, torch.float32)
            out = torch.zeros(T, v.size(1), dtype=wide)
            sums, tops = torch.zeros(T, dtype=wide), torch.full((T,), -math.inf, dtype=wide)
            for j in range(0, S, block):
                keys, values = k[j : j + block].to(wide), v[j : j + block].to(wide)
                for i in range(0, T, block):
                    part = slice(i, min(i + block, T))
                    scores = q[part].to(wide) @ keys.T * q.size(1) ** -0.5
                    if causal:
                        rows = torch.arange(part.start, part.stop) + S - T
                        scores[torch.arange(j, j + len(keys)).view(1, -1) > rows.view(-1, 1)] = -math.inf
                    new = torch.maximum(tops[part], scores.max(dim=1).values)
                    seen = new > -math.inf
                    if not seen.any():
                        continue
                    base = torch.where(seen, new, torch.zeros_like(new))
                    p = torch.exp(scores - base[:, None])
                    kept = sums[part] * torch.exp(tops[part] - base)
                    sums[part] = kept + p.sum(1)
                    out[part] = (out[part] * kept[:, None] + p @ values) / sums[part].clamp(min=1e-30)[:, None]
                    tops[part] = new
            return out.to(q.dtype)

    @variant
    class MergedSoftmaxes:
        """A softmax for each block, merged by its log-sum-exp; blocks in the future are skipped."""

        def flash_attention(q, k, v, block=64, causal=False):
            T, S = len(q), len(k)
            wide = torch.promote_types(q.dtype, torch.float32)
            results = []
            for i in range(0, T, block):
                rows = q[i : i + block].to(wide) / math.sqrt(q.shape[-1])
                lse = torch.full((len(rows), 1), -math.inf, dtype=wide)
                mixed = torch.zeros(len(rows), v.shape[-1], dtype=wide)
                for j in range(0, S, block):
                    if causal and j > i + len(rows) - 1 + S - T:
                        break
                    scores = torch.einsum("qd,kd->qk", rows, k[j : j + block].to(wide))
                    if causal:
                        visible = torch.ones_like(scores).tril(i - j + S - T) > 0
                        scores = torch.where(visible, scores, -math.inf)
                    here = torch.logsumexp(scores, -1, keepdim=True)
                    both = torch.logaddexp(lse, here)
                    old, new = ((part - both).exp().nan_to_num(0.0) for part in (lse, here))
                    mixed = mixed * old + torch.softmax(scores, -1).nan_to_num(0.0) @ v[j : j + block].to(wide) * new
                    lse = both
                results.append(mixed.to(q.dtype))
            return torch.cat(results)

    @variant
    class RowByRow:
        """One query and one block of keys at a time; a finite start instead of -inf."""

        def hbm_accesses(T, D, M):
            passes = len(range(0, T, math.ceil(M / (4 * D))))
            reads = 2 * T * D + passes * (2 * T * D + 2 * T)
            writes = T * D + 2 * T + passes * (T * D + 2 * T)
            return {"tiled": reads + writes, "standard": 4 * (T * D + T * T)}

        def flash_attention(q, k, v, block=64, causal=False):
            T, S = len(q), len(k)
            out = []
            for i, row in enumerate(q.double()):
                stop = min(S, i + 1 + S - T) if causal else S
                m, total, acc = -1e300, 0.0, torch.zeros(v.shape[1], dtype=torch.float64)
                for j in range(0, max(stop, 0), block):
                    s = k[j : min(j + block, stop)].double().mv(row).div(math.sqrt(len(row)))
                    new = max(m, s.max().item())
                    p = (s - new).exp()
                    shrink = math.exp(m - new)
                    total, acc, m = total * shrink + p.sum().item(), acc * shrink + p @ v[j : j + len(p)].double(), new
                out.append(acc / total if total else acc)
            return torch.stack(out).to(q.dtype)
