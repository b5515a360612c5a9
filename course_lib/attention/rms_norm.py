"""Root-mean-square normalisation: layer normalisation without the mean and without the bias.

`rms_norm` and `rms_norm_backward` are the formulas in the order of the Llama models; the module `RMSNorm` joins them
into one node of the graph, which is about twice as fast on a CPU as leaving the backward pass to autograd.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor


def rms_norm(x: Tensor, g: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide each vector of x [..., C] by the root of its mean square, then scale by g [C].

    `eps` stands under the root. The division runs in float32 at least, its result is rounded to the dtype of x, and g
    is multiplied after that, as in Llama; so the result's dtype is that of x and g together.
    ValueError for shapes that do not fit. Source: Zhang and Sennrich 2019, equation 4.

    >>> rms_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.ones(2))
    tensor([[0.8485, 1.1314],
            [0.0000, 0.0000]])
    """
    _require_fit(x, g)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * _scale(wide, eps)).to(x.dtype) * g


def rms_norm_backward(grad_out: Tensor, x: Tensor, g: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return the gradients (dx [..., C], dg [C]) of RMS normalisation from grad_out, of the shape of x.

    Making x longer changes nothing behind the norm (but for `eps`), so the component of ``grad_out * g`` along the
    normalised vector is subtracted. ValueError for shapes that do not fit.
    Source: follows from Zhang and Sennrich 2019, equation 4, by the chain rule.

    >>> x, g = torch.tensor([[3.0, 4.0]]), torch.ones(2)
    >>> dx, dg = rms_norm_backward(x, x, g)  # a change along x itself
    >>> dx.abs().max() < 1e-6, dg
    (tensor(True), tensor([2.5456, 4.5255]))
    """
    _require_fit(x, g)
    if grad_out.shape != x.shape:
        raise ValueError(f"grad_out: expected the shape of x, {tuple(x.shape)}, got {tuple(grad_out.shape)}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide, grad = x.to(dtype), grad_out.to(dtype)
    scale = _scale(wide, eps)
    normed = wide * scale
    gains = grad * normed
    along_normed = (gains @ g.to(dtype)).unsqueeze(-1) / x.shape[-1]
    dx = scale * torch.addcmul(grad * g, normed, along_normed, value=-1)
    return dx.to(x.dtype), gains.reshape(-1, x.shape[-1]).sum(0).to(g.dtype)


class RMSNorm(nn.Module):
    """RMS normalisation over the last dimension with a trained `weight` [d].

    On a GPU torch's fused kernel runs instead, which may round half precision once less.

    >>> RMSNorm(2)(torch.tensor([3.0, 4.0])).detach()
    tensor([0.8485, 1.1314])
    """

    def __init__(self, d: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(require_int("d", d, 1)))

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return _RMSNormFunction.apply(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class _RMSNormFunction(torch.autograd.Function):
    """`rms_norm` and its gradient in as few passes over memory as they need."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, eps: float) -> Tensor:
        ctx.eps = eps
        if x.dtype.itemsize < 4 or g.dtype != x.dtype:
            ctx.save_for_backward(x, g, None)
            return rms_norm(x, g, eps)
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.shape[-1]
        scale = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, g, scale)
        return (x * scale).mul_(g)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        x, g, scale = ctx.saved_tensors
        # Whoever differentiates this again needs the formula: what is overwritten here has no derivative.
        if scale is None or torch.is_grad_enabled():
            return *rms_norm_backward(grad_out, x, g, ctx.eps), None
        normed = x * scale
        gains = grad_out * normed
        dg = gains.reshape(-1, x.shape[-1]).sum(0)
        along_normed = (gains @ g).unsqueeze(-1).div_(x.shape[-1])
        dx = torch.mul(grad_out, g, out=gains)
        return dx.addcmul_(normed, along_normed, value=-1).mul_(scale), dg, None


def _scale(wide: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)


def _require_fit(x: Tensor, g: Tensor) -> None:
    require_tensor("x", x, "[..., C]")
    if g.shape != x.shape[-1:]:
        raise ValueError(f"g: expected shape {tuple(x.shape[-1:])}, got {tuple(g.shape)}")
