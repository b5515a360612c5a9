"""FlashAttention on a GPU: what can go to the Triton kernels, and how it gets there and back.

The kernels stand in `flash_kernels`, which is imported when it is needed first: it needs triton, and takes a moment.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

LOG2_E = 1.4426950408889634
LONGEST_HEAD = 128
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def why_not(q: Tensor, k: Tensor, v: Tensor) -> str:
    """Say why the kernels cannot take these tensors; empty when they can.

    >>> why_not(*torch.zeros(3, 1, 8, 256).unbind())
    'a head dimension of 256; at most 128 is possible'
    """
    D = q.shape[-1]
    if max(D, v.shape[-1]) > LONGEST_HEAD:
        return f"a head dimension of {max(D, v.shape[-1])}; at most {LONGEST_HEAD} is possible"
    if v.shape[-1] != D:
        return f"keys of dimension {D} and values of dimension {v.shape[-1]}"
    if q.dtype not in DTYPES:
        return f"dtype {q.dtype}"
    if {q.device, k.device, v.device} != {q.device}:
        return f"tensors on {q.device}, {k.device} and {v.device}"
    if find_spec("triton") is None:
        return "no triton in this environment"
    if not (_interpreted() or (q.is_cuda and torch.version.cuda)):
        return f"tensors on {q.device} (in Triton's interpreter that works: start Python with TRITON_INTERPRET=1)"
    return ""


def flash_attention_triton(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """As `flash.flash_attention`, by the kernels: for tensors to which `why_not` has no objection.

    bfloat16 and float16 go through the tensor cores: products are added up in float32, and weights are rounded to
    the dtype before they meet the values. float32 is multiplied in full precision, which is many times slower.
    """
    out = _FlashAttention.apply(_with_heads(q), _with_heads(k), _with_heads(v), causal)
    return out.reshape(q.shape)


def refuse_second_derivative() -> None:
    """Raise RuntimeError inside a backward pass that is recorded, because its gradient would silently be wrong."""
    if torch.is_grad_enabled():
        raise RuntimeError("flash_attention cannot be differentiated twice: expected create_graph=False, got True")


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k, v = _readable(q), _readable(k), _readable(v)
        out, lse = forward(q, k, v, causal)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.causal = causal
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        return *backward(_readable(grad_out), *ctx.saved_tensors, ctx.causal), None


def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: q [B, H, T, D], k and v [B, G, S, D] give out [B, H, T, D] and lse [B·H, T padded].

    lse is to base 2, and +inf for rows that see nothing and for those beyond T.
    """
    from course_lib.attention import flash_kernels as kernels

    B, H, T, _ = q.shape
    rows = -(-T // kernels.ROWS_MULTIPLE) * kernels.ROWS_MULTIPLE
    out = _like(q)
    lse = torch.full((B * H, rows), torch.inf, dtype=torch.float32, device=q.device)
    with _device(q):
        kernels.forward_kernel[lambda sizes: (kernels.cdiv(T, sizes["ROWS"]), B * H)](
            *map(_descriptor, (q, k, v, out)), lse, T, k.shape[2], **_settings(q, k, causal), heads=H, padded_rows=rows
        )
    return out, lse


def backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernels of the backward pass: the gradients of q, k and v. Every run gives the same bits."""
    from course_lib.attention import flash_kernels as kernels

    B, H, T, _ = q.shape
    G, S = k.shape[1:3]
    rows = lse.shape[1]
    dq, dk, dv = _like(q), _like(k), _like(v)
    along = torch.empty_like(lse)
    settings = _settings(q, k, causal)
    few = {name: value for name, value in settings.items() if name not in ("GROUP", "scale")}
    Q, K, V, OUT, GRAD, DQ, DK, DV = map(_descriptor, (q, k, v, out, grad_out, dq, dk, dv))
    with _device(q):
        kernels.along_kernel[lambda sizes: (kernels.cdiv(rows, sizes["ROWS"]), B * H)](
            OUT, GRAD, along, **few, heads=H, padded_rows=rows
        )
        kernels.keys_kernel[lambda sizes: (kernels.cdiv(S, sizes["COLS"]), B * G)](
            Q, K, V, GRAD, DK, DV, lse, along, T, S, **settings, groups=G, padded_rows=rows
        )
        kernels.queries_kernel[lambda sizes: (kernels.cdiv(T, sizes["ROWS"]), B * H)](
            Q, K, V, GRAD, DQ, lse, along, T, S, **settings, heads=H, padded_rows=rows
        )
    return dq, dk, dv


def _settings(q: Tensor, k: Tensor, causal: bool) -> dict[str, Any]:
    D = q.shape[-1]
    return {
        "scale": LOG2_E / D**0.5,
        "bucket": max(q.shape[2], k.shape[2]).bit_length(),
        "D": D,
        "WIDTH": max(16, 1 << (D - 1).bit_length()),
        "GROUP": q.shape[1] // k.shape[1],
        "CAUSAL": causal,
        "PRECISION": "ieee" if q.dtype == torch.float32 else "tf32",  # only float32 has a choice
    }


def _descriptor(x: Tensor) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    # Where there is one head or one batch, torch may report any stride; it is never used, but must be a legal one.
    strides = [n if size > 1 else _aligned(x) for n, size in zip(x.stride()[:3], x.shape, strict=False)]
    return TensorDescriptor(x, list(x.shape), [*strides, 1], [1, 1, 1, 16])  # the chosen config sets the real block


def _aligned(x: Tensor) -> int:
    """The number of elements in the 16 bytes that a descriptor's strides and addresses are multiples of."""
    return 16 // x.element_size()


def _readable(x: Tensor) -> Tensor:
    """The tensor itself if a descriptor can describe it, as most can, else a copy."""
    strides = [n for n, size in zip(x.stride()[:3], x.shape, strict=False) if size > 1]
    straight = x.stride(3) == 1 or x.shape[3] == 1
    if straight and x.data_ptr() % 16 == 0 and all(n and n % _aligned(x) == 0 for n in strides):
        return x
    return _like(x).copy_(x)


def _like(x: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape that a descriptor can describe; in the same order where it is dense."""
    if x.shape[3] % _aligned(x) == 0:
        new = torch.empty_like(x)
        return new if new.stride(3) == 1 else torch.empty_like(x, memory_format=torch.contiguous_format)
    width = -(-x.shape[3] // _aligned(x)) * _aligned(x)
    return x.new_empty(*x.shape[:3], width)[..., : x.shape[3]]


def _with_heads(x: Tensor) -> Tensor:
    """[T, D], [H, T, D] or [..., H, T, D] as [B, H, T, D]."""
    return x[None, None] if x.ndim == 2 else x.reshape(-1, *x.shape[-3:])


def _device(x: Tensor) -> Any:
    return torch.cuda.device(x.device) if x.is_cuda else torch.no_grad()


def _interpreted() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret)
