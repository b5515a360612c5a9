"""FlashAttention in plain torch: exact attention, block by block, that never holds a T x S matrix.

A softmax seems to need a whole row of scores. It does not: a running maximum and a running sum are enough, if whatever
was summed before a new maximum came is scaled down afterwards. The backward pass computes the scores once more, from
one number per row that the forward pass has kept.
"""

from typing import Any

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor
from course_lib.attention.flash_triton import flash_attention_triton, refuse_second_derivative, why_not

TIERS = ("auto", "torch", "triton")


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, block: int = 64, causal: bool = False, tier: str = "auto"
) -> Tensor:
    """Exact attention, ``softmax(q k^T / sqrt(D)) v``, that holds `block` x `block` scores per head instead of T x S.

    q [..., T, D], k [..., S, D] and v [..., S, Dv] give [..., T, Dv]. The third dimension from the end is that of the
    heads: k and v may have G heads where q has H, if G divides H; then each serves H / G heads of queries. With
    `causal`, query i stands at position S - T + i and sees the keys up to there; one that sees none gets zeros.
    Gradients come from a backward pass in blocks, and cannot be differentiated again.

    `tier` chooses who computes: "torch" is this file, "triton" the kernels of `flash_triton`, which choose their own
    blocks, "auto" the kernels for what they can take on a GPU, and this file for all else.
    ValueError for shapes that do not belong together, block < 1, an unknown tier, or a tensor no kernel can take.
    Source: Dao et al. 2022, algorithms 1 and 4, with queries in the outer loop as in Dao 2023, algorithm 1.

    >>> x = torch.tensor([[1.0], [2.0], [6.0]])
    >>> flash_attention(torch.zeros(3, 1), x, x, block=2)
    tensor([[3.],
            [3.],
            [3.]])
    >>> flash_attention(torch.zeros(3, 1), x, x, block=2, causal=True).flatten()
    tensor([1.0000, 1.5000, 3.0000])
    """
    require_int("block", block, 1)
    _require_shapes(q, k, v)
    if tier not in TIERS:
        raise ValueError(f"tier: expected one of {', '.join(TIERS)}, got {tier!r}")
    if tier == "triton" or (tier == "auto" and q.is_cuda):
        problem = why_not(q, k, v)
        if not problem:
            return flash_attention_triton(q, k, v, causal)
        if tier == "triton":
            raise ValueError(f"tier: expected inputs that the triton kernels can take, got {problem}")
    # The queries of a group are just more rows against the same keys: [N, R, T, D] against [N, S, D]. Gradients of a
    # shared key then add up over its group by themselves.
    heads, T, D = q.shape[-3] if q.ndim > 2 else 1, *q.shape[-2:]
    groups, S = k.shape[-3] if k.ndim > 2 else 1, k.shape[-2]
    out = _FlashAttention.apply(
        q.reshape(-1, heads // groups, T, D), k.reshape(-1, S, D), v.reshape(-1, S, v.shape[-1]), block, causal
    )
    return out.reshape(*q.shape[:-1], v.shape[-1])


def flash_forward(q: Tensor, k: Tensor, v: Tensor, block: int, causal: bool) -> tuple[Tensor, Tensor]:
    """The forward pass: q [N, R, T, D], k [N, S, D], v [N, S, Dv] give out [N, R, T, Dv] and lse [N, R, T].

    lse is the log of the sum of exp(score) over the keys that a query sees, -inf for none. It is all that the backward
    pass needs to find each weight again: weight = exp(score - lse).

    >>> out, lse = flash_forward(torch.zeros(1, 1, 1, 2), torch.zeros(1, 8, 2), torch.ones(1, 8, 2), 3, False)
    >>> lse.exp()
    tensor([[[8.]]])
    """
    N, R, T, D = q.shape
    S = k.shape[-2]
    wide = torch.promote_types(q.dtype, torch.float32)
    out = q.new_empty(N, R, T, v.shape[-1])
    lse = q.new_empty(N, R, T, dtype=wide)
    for top in range(0, T, block):
        bottom = min(top + block, T)
        rows = _rows(q, top, bottom).to(wide) * D**-0.5  # [N, R·b, D]
        highest = rows.new_full((*rows.shape[:-1], 1), -torch.inf)  # of the scores so far
        total = torch.zeros_like(highest)  # sum of exp(score - highest)
        mixed = rows.new_zeros(*rows.shape[:-1], v.shape[-1])  # sum of exp(score - highest) · value
        for left in range(0, _seen(bottom, T, S, causal), block):
            right = min(left + block, S)
            scores = _scores(rows, k, top, bottom, left, right, T, causal)  # [N, R·b, b]
            new = torch.maximum(highest, scores.amax(-1, keepdim=True))
            # A row that has seen nothing yet keeps -inf; (-inf) - (-inf) would be nan, so it is measured from 0.
            origin = new.masked_fill(new == -torch.inf, 0.0)
            weights = (scores - origin).exp_()
            shrink = (highest - origin).exp_()
            total = total * shrink + weights.sum(-1, keepdim=True)
            mixed = mixed * shrink + weights @ v[:, left:right].to(wide)
            highest = new
        empty = total == 0
        out[:, :, top:bottom] = (mixed / total.masked_fill(empty, 1.0)).view(N, R, bottom - top, -1)
        lse[:, :, top:bottom] = (highest + total.log()).view(N, R, -1)
    return out, lse


def flash_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, block: int, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass: gradients of q, k and v from that of out, with the scores computed once more.

    Through a softmax, d score = weight · (d weight - sum over the row of weight · d weight), and that sum is the dot
    product of a row of out with its gradient. Source: Dao et al. 2022, appendix B.2 and algorithm 4.

    >>> q, k, v = torch.zeros(1, 1, 1, 1), torch.zeros(1, 4, 1), torch.ones(1, 4, 1)
    >>> out, lse = flash_forward(q, k, v, 2, False)
    >>> flash_backward(torch.ones_like(out), q, k, v, out, lse, 2, False)[2].flatten()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    N, R, T, D = q.shape
    S = k.shape[-2]
    wide, scale = lse.dtype, D**-0.5
    dq = torch.zeros_like(q, dtype=wide)
    dk, dv = torch.zeros_like(k, dtype=wide), torch.zeros_like(v, dtype=wide)
    for top in range(0, T, block):
        bottom = min(top + block, T)
        rows = _rows(q, top, bottom).to(wide) * scale
        grad = _rows(grad_out, top, bottom).to(wide)  # [N, R·b, Dv]
        along = (grad * _rows(out, top, bottom)).sum(-1, keepdim=True)
        norm = _rows(lse[..., None], top, bottom)
        # For a row that sees nothing exp(-inf - inf) is the right weight, 0.
        norm = norm.masked_fill(norm == -torch.inf, torch.inf)
        drows = torch.zeros_like(rows)
        for left in range(0, _seen(bottom, T, S, causal), block):
            right = min(left + block, S)
            keys, values = k[:, left:right].to(wide), v[:, left:right].to(wide)
            weights = (_scores(rows, k, top, bottom, left, right, T, causal) - norm).exp_()  # [N, R·b, b]
            dv[:, left:right] += weights.mT @ grad
            dscores = weights.mul_((grad @ values.mT).sub_(along))
            drows += dscores @ keys
            dk[:, left:right] += dscores.mT @ rows  # rows carry the scale already
        dq[:, :, top:bottom] = drows.mul_(scale).view(N, R, bottom - top, D)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int, causal: bool) -> Tensor:
        out, lse = flash_forward(q, k, v, block, causal)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.settings = block, causal
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        return *flash_backward(grad_out, *ctx.saved_tensors, *ctx.settings), None, None


def _rows(x: Tensor, top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of all heads of a group below one another: [N, R, T, D] gives [N, R·b, D]."""
    return x[:, :, top:bottom].flatten(1, 2)


def _seen(bottom: int, T: int, S: int, causal: bool) -> int:
    """How many of the S keys the lowest row above `bottom` sees, and with it its whole block."""
    return max(0, S - T + bottom) if causal else S


def _scores(rows: Tensor, k: Tensor, top: int, bottom: int, left: int, right: int, T: int, causal: bool) -> Tensor:
    """Scores of one block, -inf where a key lies in the future of a query."""
    S = k.shape[-2]
    scores = rows @ k[:, left:right].to(rows.dtype).mT  # [N, R·b, b]
    if not causal or right <= S - T + top + 1:  # even the first row sees all of this block
        return scores
    query = torch.arange(top, bottom, device=k.device).repeat(rows.shape[1] // (bottom - top))
    future = torch.arange(left, right, device=k.device) > query[:, None] + (S - T)
    return scores.masked_fill_(future, -torch.inf)


def _require_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    require_tensor("q", q, "[..., T, D]")
    require_tensor("k", k, "[..., S, D]")
    require_tensor("v", v, "[..., S, Dv]")
    if k.ndim != q.ndim or k.shape[-1] != q.shape[-1] or k.shape[:-3] != q.shape[:-3]:
        raise ValueError(f"k: expected shape [..., S, D] to go with q {tuple(q.shape)}, got {tuple(k.shape)}")
    if q.ndim > 2 and (k.shape[-3] == 0 or q.shape[-3] % k.shape[-3]):
        raise ValueError(f"k: expected a number of heads that divides {q.shape[-3]}, got {k.shape[-3]}")
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(f"v: expected one row for each key of k {tuple(k.shape)}, got {tuple(v.shape)}")
    if not q.dtype.is_floating_point or k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError(f"q, k, v: expected one floating point dtype, got {q.dtype}, {k.dtype} and {v.dtype}")
    if 0 in (q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]):
        raise ValueError(f"q, k, v: expected no empty dimension, got {tuple(q.shape)} and {tuple(k.shape)}")
