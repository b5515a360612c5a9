"""ALiBi: attention scores lose a fixed amount per token of distance, at a different rate in each head."""

from fractions import Fraction

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor


def alibi_slopes(n_heads: int) -> Tensor:
    """Return the slope of each head, positive, float32 of shape [H]: what a token of distance costs.

    For a power of two they are ``2**(-8 h / n_heads)``, h = 1 .. n_heads: 1/2, 1/4 ... 1/256 for 8 heads. Any other
    number takes the slopes for the power of two below it, then every second one (the first, the third ...) of those
    for the power of two above it. They are fixed, not trained. ValueError for fewer than one head.
    Source: Press et al. 2022, section 3 and, for other numbers, the authors' published code.

    >>> alibi_slopes(4)
    tensor([0.2500, 0.0625, 0.0156, 0.0039])
    >>> alibi_slopes(3)  # those of 2 heads, then the first one of 4
    tensor([0.0625, 0.0039, 0.2500])
    """
    require_int("n_heads", n_heads, 1)
    below = 1 << (n_heads.bit_length() - 1)
    exponents = [Fraction(8 * h, below) for h in range(1, below + 1)]
    exponents += [Fraction(8 * h, 2 * below) for h in range(1, 2 * below, 2)][: n_heads - below]
    return torch.tensor([2.0 ** -float(e) for e in exponents])


def alibi_bias(T: int, slopes: Tensor, S: int | None = None) -> Tensor:
    """Return the bias to add to the scaled scores before the softmax, [H, T, T], from slopes [H].

    ``bias[h, i, j] = -slopes[h] * (i - j)`` for keys j up to the query i, and 0 for later keys: those the causal mask
    hides, which is applied as well. With S keys, [H, T, S], the T queries are the last of S positions.
    Shape [H, T, S], dtype of `slopes`. ValueError for S < T. Source: Press et al. 2022, section 3 and figure 3.

    >>> alibi_bias(3, torch.tensor([0.5]))
    tensor([[[ 0.0000,  0.0000,  0.0000],
             [-0.5000,  0.0000,  0.0000],
             [-1.0000, -0.5000,  0.0000]]])
    """
    require_int("T", T, 0)
    require_tensor("slopes", slopes, "[H]")
    S = T if S is None else require_int("S", S, 0)
    if S < T:
        raise ValueError(f"S: expected at least as many keys as the {T} queries, got {S}")
    # Distances in float32 at least: bfloat16 cannot tell 256 tokens from 257.
    dtype = torch.promote_types(slopes.dtype, torch.float32)
    keys = torch.arange(S, device=slopes.device, dtype=dtype)
    ahead = (keys - keys[S - T :, None]).clamp_(max=0)  # j - i, [T, S]
    return (slopes[:, None, None] * ahead).to(slopes.dtype)
