"""Layer normalisation: every token's vector gets mean 0 and variance 1, whatever stands around it.

`layer_norm` and `layer_norm_backward` are the formulas; the module `LayerNorm` runs torch's fused version of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor


def layer_norm(x: Tensor, g: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each vector of x [..., C] over its C numbers, then scale by g [C] and shift by b [C].

    The variance is the biased one (divided by C), and `eps` is added to it, under the root, so that a constant vector
    gives b and not nan. Half precision is computed in float32 and rounded once; the result has the dtype of x.
    ValueError for shapes that do not fit. Source: Ba et al. 2016, section 3.

    >>> layer_norm(torch.tensor([[1.0, 3.0], [5.0, 5.0]]), torch.ones(2), torch.zeros(2))
    tensor([[-1.0000,  1.0000],
            [ 0.0000,  0.0000]])
    """
    _require_fit(x, g, b)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    return (centred * scale * g + b).to(x.dtype)


def layer_norm_backward(grad_out: Tensor, x: Tensor, g: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients (dx [..., C], dg [C], db [C]) of layer normalisation from grad_out, of the shape of x.

    A change of x that only shifts or scales a vector changes nothing behind the norm (but for `eps`). So dx has no
    component along the ones and none along the normalised vector: both are subtracted from ``grad_out * g``.
    ValueError for shapes that do not fit. Source: follows from Ba et al. 2016, section 3, by the chain rule.

    >>> x, g = torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(3)
    >>> dx, dg, db = layer_norm_backward(torch.ones(1, 3), x, g)
    >>> dx.abs().max() < 1e-6, db
    (tensor(True), tensor([1., 1., 1.]))
    """
    _require_fit(x, g, None)
    if grad_out.shape != x.shape:
        raise ValueError(f"grad_out: expected the shape of x, {tuple(x.shape)}, got {tuple(grad_out.shape)}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide, grad = x.to(dtype), grad_out.to(dtype)
    centred = wide - wide.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    normed, inner = centred * scale, grad * g
    along_ones = inner.mean(-1, keepdim=True)
    along_normed = (inner * normed).mean(-1, keepdim=True)
    dx = scale * (inner - along_ones - normed * along_normed)
    rows = (-1, x.shape[-1])
    dg, db = (grad * normed).reshape(rows).sum(0), grad.reshape(rows).sum(0)
    return dx.to(x.dtype), dg.to(g.dtype), db.to(g.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last dimension with a trained `weight` [d] and `bias` [d] (None with bias=False).

    >>> LayerNorm(2)(torch.tensor([1.0, 3.0])).detach()
    tensor([-1.0000,  1.0000])
    """

    def __init__(self, d: int, eps: float = 1e-5, bias: bool = True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(require_int("d", d, 1)))
        self.bias = nn.Parameter(torch.zeros(d)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, bias={self.bias is not None}"


def _require_fit(x: Tensor, g: Tensor, b: Tensor | None) -> None:
    require_tensor("x", x, "[..., C]")
    for name, value in (("g", g), ("b", b)):
        if value is not None and value.shape != x.shape[-1:]:
            raise ValueError(f"{name}: expected shape {tuple(x.shape[-1:])}, got {tuple(value.shape)}")
