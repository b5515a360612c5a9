"""What exercise 10 compares with, and one loop over blocks that can go wrong in many ways."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, fail
from autograder.rng import Rng
from autograder.student import Student, type_name


def direct(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """The oracle: one query at a time, in float64, over the keys that it sees."""
    T, S = len(q), len(k)
    rows = []
    for i, query in enumerate(q.double()):
        seen = min(max(S - T + i + 1, 0), S) if causal else S
        weights = torch.softmax(k[:seen].double() @ query / math.sqrt(q.shape[1]), dim=0)
        rows.append(weights @ v[:seen].double())
    return torch.stack(rows).to(q.dtype)


def draw(rng: Rng, T: int, S: int, D: int, spread: float = 1.5) -> tuple[Tensor, Tensor, Tensor]:
    """Scores that differ enough for the maximum to matter."""
    return spread * rng.normal(T, D), spread * rng.normal(S, D), rng.normal(S, D)


def draw_far_from_zero(rng: Rng, T: int, S: int, sign: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of 10,000 and a little (or -10,000), each of them exact in float32: whole numbers, and sqrt(4) = 2."""
    q = torch.tensor([[200, *rng.ids(3, -2, 2)] for _ in range(T)]).float()
    k = torch.tensor([[sign * 100, *rng.ids(3, -2, 2)] for _ in range(S)]).float()
    return q, k, rng.normal(S, 4)


def compare(student: Student, *cases: tuple[Tensor, Tensor, Tensor, int, bool], far: str = "") -> None:
    """Ask for all of them before the first is judged: what one case leaves open about a mistake, another one tells."""
    answers = [student.flash_attention(*case) for case in cases]
    for got, (q, k, v, block, causal) in zip(answers, cases, strict=True):
        what = f"{len(q)} queries, {len(k)} keys, blocks of {block}{', causal' if causal else ''}{far}:"
        # Who keeps log-sum-exps of scores near 10,000 in float32 has three digits behind the point.
        compare_values(got, direct(q, k, v, causal), f"{what} the output", 5e-3 if far else 2e-4)


def compare_values(got: Any, want: Tensor, what: str, tolerance: float = 2e-4) -> None:
    tolerance = 1e-9 if want.dtype == torch.float64 else tolerance
    close(got, want, rtol=tolerance, atol=tolerance, what=what)


def compare_size(student: Student, rng: Rng, T: int, S: int, D: int, block: int, causal: bool) -> None:
    """The right answer, and no tensor in between that is much larger than inputs, output or a block."""
    q, k, v = draw(rng, T, S, D)
    got = student.flash_attention.with_largest_tensor(q, k, v, block, causal)
    if not isinstance(got[1], int):
        fail(f"the size of the largest tensor came back as {type_name(got[1])}")
    what = f"{T} queries, {S} keys, blocks of {block}{', causal' if causal else ''}:"
    compare_values(got[0], direct(q, k, v, causal), f"{what} the output")
    if got[1] >= T * S:
        fail(f"{what} the largest tensor you made has {got[1]} elements; {T} x {S} is {T * S}, the whole matrix")
    # Products of all pairs before they are summed, or two things side by side, are a matter of style.
    if got[1] > max(2 * T * D, 2 * S * D, block * block * max(2, D)):
        fail(
            f"{what} the largest tensor you made has {got[1]} elements, for example {got[1] / block:g} for each of "
            f"{block} rows; a block of scores has {block * block}, the output {T * D}"
        )


def compare_counts(student: Student, *sizes: tuple[int, int, int]) -> None:
    for got, size in zip([student.hbm_accesses(*size) for size in sizes], sizes, strict=True):
        compare_count(got, *size)


def compare_count(got: Any, T: int, D: int, M: int) -> None:
    what = f"hbm_accesses({T}, {D}, {M})"
    if not isinstance(got, dict) or set(got) != {"standard", "tiled"}:
        fail(f"{what} returned {type_name(got)}, expected a dict with the keys 'standard' and 'tiled'", got)
    for name, want in walked(T, D, M).items():
        value = got[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            fail(f"{what}[{name!r}] is {type_name(value)}, expected a whole number", got)
        if value != want:
            fail(f"{what}[{name!r}] is {value}, expected {want}", got)


def walked(T: int, D: int, M: int) -> dict[str, int]:
    """The oracle: walk through both algorithms and add up what each line moves."""
    standard = sum((T * D, T * D, T * T, T * T, T * T, T * T, T * D, T * D))  # q, k, S out, S in, P out, P in, v, out
    tiled = T * D + T + T  # out, sums and maxima get their first values
    cols = math.ceil(M / (4 * D))
    for left in range(0, T, cols):
        tiled += 2 * D * len(range(left, min(left + cols, T)))  # keys and values
        tiled += sum((D, D, 1, 1)) * T + sum((D, 1, 1)) * T  # in: q, out, sum, maximum; out again: all but q
    return {"standard": standard, "tiled": tiled}


def tiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block: int,
    causal: bool,
    *,
    start: float = -math.inf,
    shrink_sum: bool = True,
    shrink_mixed: bool = True,
    carry: bool = True,
    divide: str = "at the end",
    whole_blocks: bool = False,
    mask: str = "exact",
    hidden: float = -math.inf,
    guarded: bool = True,
    backwards: bool = False,
    scale: float | None = None,
) -> Tensor:
    """FlashAttention with the faults that are switched on; right without any."""
    T, S, D = len(q), len(k), q.shape[1]
    scale = D**-0.5 if scale is None else scale
    out = torch.zeros_like(q)
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k, v = q.to(wide), k.to(wide), v.to(wide)
    tops = range(0, T // block * block if whole_blocks else T, block)
    lefts = range(0, S // block * block if whole_blocks else S, block)
    for top in tops:
        rows = torch.arange(top, min(top + block, T))[:, None] + (0 if mask == "top left" else S - T)
        highest = torch.full((len(rows), 1), start, dtype=wide)
        total, mixed = torch.zeros_like(highest), torch.zeros(len(rows), D, dtype=wide)
        for left in reversed(lefts) if backwards else lefts:
            keys = torch.arange(left, min(left + block, S))
            scores = q[top : top + block] @ k[left : left + block].T * scale
            if causal and mask != "none":
                future = keys >= rows if mask == "strict" else keys > rows
                if mask == "blocks":
                    future = torch.full_like(future, bool(future.all()))
                scores = scores.masked_fill(future, hidden)
            here = scores.amax(-1, keepdim=True)
            new = torch.maximum(highest, here) if carry else here
            if start == 0 and not carry:
                new = torch.zeros_like(here)  # no maximum at all
            origin = new.masked_fill(new == -math.inf, 0.0) if guarded else new
            weights, shrink = (scores - origin).exp(), (highest - origin).exp()
            if not carry:
                shrink = torch.ones_like(shrink)
            total = total * (shrink if shrink_sum else 1) + weights.sum(-1, keepdim=True)
            mixed = mixed * (shrink if shrink_mixed else 1) + weights @ v[left : left + block]
            if divide == "at once":
                mixed = mixed / total.masked_fill(total == 0, 1.0)
            highest = new
        if divide == "at the end":
            mixed = mixed / (total.masked_fill(total == 0, 1.0) if guarded else total)
        out[top : top + block] = mixed
    return out


def averaged(q: Tensor, k: Tensor, v: Tensor, block: int, causal: bool) -> Tensor:
    """A softmax in each block of keys, and the mean of what the blocks give."""
    T, S = len(q), len(k)
    out = []
    for top in range(0, T, block):
        rows, given = torch.arange(top, min(top + block, T))[:, None] + S - T, []
        for left in range(0, S, block):
            scores = q[top : top + block] @ k[left : left + block].T / q.shape[1] ** 0.5
            if causal:
                scores = scores.masked_fill(torch.arange(left, min(left + block, S)) > rows, -math.inf)
            given.append(torch.softmax(scores, dim=-1).nan_to_num(0.0) @ v[left : left + block])
        out.append(sum(given) / len(given))
    return torch.cat(out)


def whole_matrix(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    scores = q @ k.T / q.shape[1] ** 0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q)), -math.inf)
    return torch.softmax(scores, dim=-1).nan_to_num(0.0) @ v


def strips(q: Tensor, k: Tensor, v: Tensor, block: int, causal: bool) -> Tensor:
    """Rows in blocks, but each of them against all keys at once."""
    out = []
    for top in range(0, len(q), block):
        scores = q[top : top + block] @ k.T / q.shape[1] ** 0.5
        if causal:
            rows = torch.arange(top, min(top + block, len(q)))[:, None] + len(k) - len(q)
            scores = scores.masked_fill(torch.arange(len(k)) > rows, -math.inf)
        out.append(torch.softmax(scores, dim=-1).nan_to_num(0.0) @ v)
    return torch.cat(out)
