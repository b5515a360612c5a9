"""Rotary position embedding: turn pairs of numbers in queries and keys by an angle that grows with the position.

Two conventions say which numbers form pair i. ``apply_rope`` takes x[i] and x[i + D/2], as GPT-NeoX and the Llama
models in transformers do; ``apply_rope_interleaved`` takes x[2i] and x[2i + 1], as the paper and GPT-J do. Either is
right, but weights that were trained with one need their rows permuted for the other.
"""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor
from course_lib.attention.scaled_dot_product import attention


def rope_freqs(D: int, base: float = 10000.0, device: torch.device | str | None = None) -> Tensor:
    """Return the angle per position, in radians, of each of the D/2 pairs: ``base**(-2i / D)``, float32 of shape [D/2].

    ValueError for odd D or base that is not positive. Source: Su et al. 2021, section 3.2.2.

    >>> rope_freqs(4)
    tensor([1.0000, 0.0100])
    """
    require_int("D", D, 2)
    if D % 2:
        raise ValueError(f"D: expected an even number, RoPE turns pairs, got {D}")
    if not base > 0:
        raise ValueError(f"base: expected a number > 0, got {base!r}")
    return (base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)).float().to(device)


def rope_tables(positions: Tensor, freqs: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of all angles, [T] positions and [D/2] frequencies give two tables [T, D/2].

    A model makes them once and uses them in all its layers. Positions may have more dimensions, such as [B, 1, T].
    The angles are float32 at least, whatever the dtype of the model: bfloat16 has only 8 significant bits, so that
    of the positions up to 8,191 it knows 897.

    >>> rope_tables(torch.tensor([0, 1]), torch.tensor([1.0]))
    (tensor([[1.0000],
            [0.5403]]), tensor([[0.0000],
            [0.8415]]))
    """
    dtype = torch.promote_types(freqs.dtype, torch.float32)
    angles = positions.to(dtype).unsqueeze(-1) * freqs.to(dtype)
    return angles.cos(), angles.sin()


def rotate_half_split(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + D/2]) of x [..., T, D] by angles given as tables [T, D/2]; dtype as x.

    >>> rotate_half_split(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.zeros(1, 2), torch.ones(1, 2))
    tensor([[-3., -4.,  1.,  2.]])
    """
    first, second = x.chunk(2, dim=-1)
    if x.dtype.itemsize < cos.dtype.itemsize:  # round once, at the end
        first, second = first.to(cos.dtype), second.to(cos.dtype)
    turned = (torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin))
    return torch.cat(turned, dim=-1).to(x.dtype)


def rotate_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[2i], x[2i + 1]) of x [..., T, D] by angles given as tables [T, D/2]; dtype as x.

    >>> rotate_interleaved(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.zeros(1, 2), torch.ones(1, 2))
    tensor([[-2.,  1., -4.,  3.]])
    """
    # Neighbours in memory are the two parts of a complex number, and turning it is one multiplication.
    wide = x.to(torch.promote_types(x.dtype, cos.dtype)).unflatten(-1, (-1, 2)).contiguous()
    turns = torch.complex(cos, sin)
    return torch.view_as_real(torch.view_as_complex(wide) * turns).flatten(-2).to(x.dtype)


def apply_rope(x: Tensor, positions: Tensor, freqs: Tensor) -> Tensor:
    """Turn queries or keys x [..., T, D] according to their positions [T]; pairs are (x[i], x[i + D/2]).

    Scores of turned queries and keys depend only on how far apart the two are. Values are not turned.
    Shape and dtype are those of x; the angles are float32 (`rope_tables`). ValueError for shapes that do not fit.
    Source: Su et al. 2021, equation 34, with the pairing of GPT-NeoX's code.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> apply_rope(x, torch.tensor([0, 1]), rope_freqs(2))
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    _require_fit(x, positions, freqs)
    return rotate_half_split(x, *rope_tables(positions, freqs))


def apply_rope_interleaved(x: Tensor, positions: Tensor, freqs: Tensor) -> Tensor:
    """Turn queries or keys x [..., T, D] according to their positions [T]; pairs are (x[2i], x[2i + 1]).

    As `apply_rope` in everything but the pairing. Source: Su et al. 2021, equation 34.

    >>> apply_rope_interleaved(torch.tensor([[1.0, 0.0, 1.0, 0.0]]), torch.tensor([1]), rope_freqs(4))
    tensor([[0.5403, 0.8415, 0.9999, 0.0100]])
    """
    _require_fit(x, positions, freqs)
    return rotate_interleaved(x, *rope_tables(positions, freqs))


def rope_attention(
    q: Tensor, k: Tensor, v: Tensor, positions: Tensor, freqs: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attend with turned queries and keys and with values as they are: q, k, v [..., T, D] give [..., T, D].

    A value is what a token passes on, wherever it stands; only the scores have to know about places.
    `mask` is boolean, True means "may attend". ValueError for shapes that do not fit.
    Source: Su et al. 2021, section 3.2.2, equation 16.

    >>> q = k = torch.tensor([[10.0, 0.0], [10.0, 0.0]])
    >>> v = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> rope_attention(q, k, v, torch.tensor([0, 1]), rope_freqs(2))  # each sees mostly its own place
    tensor([[1., 2.],
            [3., 4.]])
    """
    return attention(apply_rope(q, positions, freqs), apply_rope(k, positions, freqs), v, mask)


def interleaved_to_half(weight: Tensor, n_heads: int) -> Tensor:
    """Permute the rows of a query or key projection, [H D, C] or its bias [H D], from interleaved pairs to half-split.

    With the permuted weights of queries and keys, `apply_rope` gives the scores that `apply_rope_interleaved` gave.
    Source: follows from the two pairings; published Llama weights are permuted like this for transformers.

    >>> interleaved_to_half(torch.tensor([0, 1, 2, 3, 10, 11, 12, 13]), n_heads=2)
    tensor([ 0,  2,  1,  3, 10, 12, 11, 13])
    """
    return _rows(weight, n_heads).unflatten(1, (-1, 2)).transpose(1, 2).reshape(weight.shape)


def half_to_interleaved(weight: Tensor, n_heads: int) -> Tensor:
    """Undo `interleaved_to_half`: rows of a projection for half-split pairs become rows for interleaved ones.

    >>> half_to_interleaved(torch.tensor([0, 2, 1, 3]), n_heads=1)
    tensor([0, 1, 2, 3])
    """
    return _rows(weight, n_heads).unflatten(1, (2, -1)).transpose(1, 2).reshape(weight.shape)


def _rows(weight: Tensor, n_heads: int) -> Tensor:
    require_int("n_heads", n_heads, 1)
    if not isinstance(weight, Tensor) or weight.ndim == 0 or len(weight) % (2 * n_heads):
        got = f"shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight: expected a tensor of {n_heads} heads of an even number of rows each, got {got}")
    return weight.unflatten(0, (n_heads, -1))


def _require_fit(x: Tensor, positions: Tensor, freqs: Tensor) -> None:
    require_tensor("x", x, "[..., T, D]")
    require_tensor("positions", positions, "[..., T]")
    require_tensor("freqs", freqs, "[D/2]")
    if x.shape[-1] != 2 * len(freqs):
        raise ValueError(
            f"freqs: expected {x.shape[-1] / 2:g} frequencies for a head of {x.shape[-1]}, got {len(freqs)}"
        )
    if positions.shape[-1] != x.shape[-2]:
        raise ValueError(f"positions: expected {x.shape[-2]} of them, one for each row of x, got {positions.shape[-1]}")
