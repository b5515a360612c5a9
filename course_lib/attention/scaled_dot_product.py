"""Scaled dot-product attention, three times: with its weights, as plain loops, and fused."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention._arguments import require_tensor
from course_lib.attention.masks import causal_mask


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mix the values by how well query and key agree: ``softmax(q k^T / sqrt(D)) v``, and the weights.

    q [..., T, D], k [..., S, D], v [..., S, Dv] give out [..., T, Dv] and weights [..., T, S]; usually [B, H] leads.
    `mask` is boolean and broadcasts to [..., T, S]; True means "may attend". A query that may attend to nothing gets
    weights and an output of zero. `bias` is added to the scaled scores. Under half precision scores and softmax are
    computed in float32.
    ValueError for shapes that do not belong together or a mask that is not boolean.
    Source: Vaswani et al. 2017, equation 1.

    >>> q = torch.tensor([[1.0, 0.0]])
    >>> k = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> v = torch.tensor([[10.0], [20.0]])
    >>> scaled_dot_product_attention(q, k, v, torch.tensor([[True, False]]))
    (tensor([[10.]]), tensor([[1., 0.]]))
    """
    _require_shapes(q, k, v, mask)
    # bfloat16 has 8 significant bits: near 40 its steps are 0.25, and exp(0.25) is 28% more. float16 ends at 65504.
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = (q.to(wide) / math.sqrt(q.shape[-1])) @ k.to(wide).transpose(-2, -1)  # [..., T, S]
    if bias is not None:
        scores = scores + bias
    if mask is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        # The lowest finite number: with -inf a row without any key would be exp(-inf + inf) = nan, and its gradient
        # too. Such a row comes out uniform here, and is made zero afterwards.
        scores = scores.masked_fill(~mask, torch.finfo(wide).min)
        weights = torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)
    weights = weights.to(v.dtype)
    return weights @ v, weights


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    *,
    is_causal: bool = False,
) -> Tensor:
    """Attention in one fused kernel: ``softmax(scale q k^T + bias) v`` without the weights; for training and speed.

    q [B, H, T, D], k and v [B, G, S, D] where G divides H (G < H: each key head serves H / G query heads) give
    [B, H, T, D]; without heads any leading dimensions that are equal. `mask` (boolean, True means "may attend") and
    `bias` (added to the scaled scores) broadcast to [B, H, T, S]; `scale` is 1/sqrt(D) unless given. `is_causal` adds
    the mask ``causal_mask(T, S)``. A query that may attend to nothing gets zeros. ValueError as above.
    Source: Vaswani et al. 2017, equation 1; the kernel is torch's.

    >>> x = torch.tensor([[[1.0], [2.0], [3.0]]])
    >>> attention(torch.zeros(1, 3, 1), x, x, is_causal=True).flatten()
    tensor([1.0000, 1.5000, 2.0000])
    """
    _require_shapes(q, k, v, mask)
    shared = q.ndim >= 3 and k.shape[-3] != q.shape[-3]
    T, S = q.shape[-2], k.shape[-2]
    if is_causal and (T != S or mask is not None or bias is not None):
        triangle = causal_mask(T, S, q.device)
        mask, is_causal = triangle if mask is None else mask & triangle, False
    empty = None
    if mask is not None:
        # What the kernels do with a row of no keys depends on the device and the version; so they never get one.
        empty = ~mask.any(dim=-1, keepdim=True)  # [..., T, 1]
        mask = mask | empty
    if bias is not None:
        bias = bias.to(q.dtype)
        mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
    out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=shared)
    return out if empty is None else out.masked_fill(empty, 0.0)


def attention_naive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The definition as loops over plain numbers in double precision: slow, without gradients, easy to believe.

    Arguments and result as for `attention`, with as many key heads as query heads.

    >>> one = torch.ones(1, 2)
    >>> attention_naive(one, torch.cat([one, 3 * one]), torch.tensor([[0.0], [1.0]]), scale=0.0)
    tensor([[0.5000]])
    """
    _require_shapes(q, k, v, mask)
    *lead, T, D = q.shape
    S, width = v.shape[-2:]
    scale = 1 / math.sqrt(D) if scale is None else scale
    allowed = (torch.ones(1, dtype=torch.bool) if mask is None else mask).broadcast_to(*lead, T, S)
    added = (torch.zeros(1) if bias is None else bias).broadcast_to(*lead, T, S)
    parts = (x.detach().double().reshape(-1, *x.shape[-2:]).tolist() for x in (q, k, v, allowed, added))
    out = []
    for queries, keys, values, may, plus in zip(*parts, strict=True):
        for i in range(T):
            score = {j: scale * _dot(queries[i], keys[j]) + plus[i][j] for j in range(S) if may[i][j]}
            highest = max(score.values(), default=0.0)
            share = {j: math.exp(s - highest) for j, s in score.items()}
            total = sum(share.values())
            out.append([sum(share[j] * values[j][c] for j in share) / (total or 1.0) for c in range(width)])
    return torch.tensor(out, dtype=v.dtype, device=v.device).reshape(*lead, T, width)


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _require_shapes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
    require_tensor("q", q, "[..., T, D]")
    require_tensor("k", k, "[..., S, D]")
    require_tensor("v", v, "[..., S, Dv]")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"k: expected the last dimension of q, {q.shape[-1]}, got shape {tuple(k.shape)}")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"v: expected one row for each of the {k.shape[-2]} keys, got shape {tuple(v.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask: expected dtype torch.bool (True means attend), got {mask.dtype}")
