"""Absolute positions without parameters: a row of sines and cosines for every position."""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int


def sinusoidal(T: int, d: int, base: float = 10000.0) -> Tensor:
    """Return the sinusoidal position encoding of positions 0 .. T - 1, float32 of shape [T, d].

    Columns 2i and 2i + 1 hold the sine and the cosine of ``position / base**(2i / d)``, so the wavelengths grow from
    2 pi to nearly ``base * 2 pi`` tokens. One step further is the same rotation of every pair, wherever it starts.
    ValueError for odd d or base that is not positive. Source: Vaswani et al. 2017, section 3.5.

    >>> sinusoidal(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    require_int("T", T, 0)
    require_int("d", d, 2)
    if d % 2:
        raise ValueError(f"d: expected an even number, every sine has its cosine, got {d}")
    if not base > 0:
        raise ValueError(f"base: expected a number > 0, got {base!r}")
    # Angles in float64: at position 100,000 a float32 angle is already off by up to 0.004.
    positions = torch.arange(T, dtype=torch.float64)
    angles = torch.outer(positions, base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).float()
