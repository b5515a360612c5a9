"""The feed-forward half of a block: each token for itself, through a wider layer and back."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_int
from course_lib.attention.fast_gelu import gelu_tanh


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Return x times the probability that a standard normal number is below it, elementwise; shape and dtype of x.

    "none" is exact, with the error function. "tanh" is the approximation that GPT-2 was trained with; the two differ
    by less than 0.0005 everywhere. ValueError for another name.
    Source: Hendrycks and Gimpel 2016, section 2.

    >>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    >>> gelu(torch.tensor([-1.0, 0.0, 1.0]), approximate="tanh")
    tensor([-0.1588,  0.0000,  0.8412])
    """
    if approximate == "none":
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    if approximate == "tanh":
        return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")


def silu(x: Tensor) -> Tensor:
    """Return ``x * sigmoid(x)``, elementwise; shape and dtype of x. Also called Swish.

    Source: Hendrycks and Gimpel 2016, section 2; Shazeer 2020, section 1 (Swish with beta = 1).

    >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """
    return x * torch.sigmoid(x)


class MLP(nn.Module):
    """``down(gelu(up(x)))`` with GPT-2's GELU: [..., d_model] to d_ff (4 d_model unless given) and back.

    Source: Vaswani et al. 2017, equation 2, with GELU instead of ReLU as in GPT (Radford et al. 2018, section 4.1).

    >>> sum(p.numel() for p in MLP(8).parameters())  # 8 * 32 + 32 + 32 * 8 + 8
    552
    """

    def __init__(self, d_model: int, d_ff: int | None = None, bias: bool = True):
        super().__init__()
        d_ff = 4 * require_int("d_model", d_model, 1) if d_ff is None else require_int("d_ff", d_ff, 1)
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu_tanh(self.up(x)))


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))``: one half of the wide layer decides how much of the other passes.

    [..., C] to [..., C]. Three matrices instead of two: with d_ff = 8/3 d_model (`swiglu_width`, the value unless
    given) it has the parameters of an `MLP` of 4 d_model. Source: Shazeer 2020, equation 6.

    >>> sum(p.numel() for p in SwiGLU(8, 24).parameters())  # 3 * 8 * 24
    576
    """

    def __init__(self, d_model: int, d_ff: int | None = None, bias: bool = False):
        super().__init__()
        d_ff = swiglu_width(d_model) if d_ff is None else require_int("d_ff", d_ff, 1)
        self.gate = nn.Linear(require_int("d_model", d_model, 1), d_ff, bias=bias)
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def swiglu_width(d_model: int, multiple_of: int = 1) -> int:
    """Return 8/3 d_model, rounded down to an integer and then up to a multiple of `multiple_of`.

    So wide, a SwiGLU has the parameters of an MLP of width 4 d_model, up to the rounding.
    Source: Shazeer 2020, section 2 (two thirds of the width); Llama 7B rounds up to a multiple of 256.

    >>> swiglu_width(4096, multiple_of=256)
    11008
    """
    width = 8 * require_int("d_model", d_model, 1) // 3
    return -(-width // require_int("multiple_of", multiple_of, 1)) * multiple_of
