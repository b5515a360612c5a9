"""RWKV's wkv: a running average of the values, weighted by keys that fade, with a bonus for the present.

For every channel on its own:

    wkv_t = (sum_{i<t} exp(-(t-1-i) w + k_i) v_i + exp(u + k_t) v_t) / (the same sum without v)

so the position just before t has not faded yet, and position t itself gets u in place of any fading. The weights are
exponentials of anything; all forms here divide by the largest one so far, so that none overflows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor

# Numerator a, denominator b and exponent p, each [..., C]: the sums over the past are a exp(p) and b exp(p).
State = tuple[Tensor, Tensor, Tensor]


def wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """Return wkv_t for all positions: k, v [..., T, C] and w, u [C] give [..., T, C], by a loop with a state.

    w >= 0 is the decay for each channel: one step multiplies a weight by exp(-w). u is the bonus of the present.
    Half precision is computed in float32. ValueError for shapes that do not belong together or a negative w.
    Source: RWKV (Peng et al. 2023), the WKV operator; the shared exponent is from the paper's appendix on stability.

    >>> k, v = torch.zeros(3, 1), torch.tensor([[1.0], [3.0], [8.0]])
    >>> wkv(k, v, w=torch.zeros(1), u=torch.zeros(1)).squeeze(-1)  # nothing fades, no bonus: running means
    tensor([1., 2., 4.])
    """
    _require_shapes(k, v, w, u)
    dtype = v.dtype
    k, v, w, u = _wide(k, v, w, u)
    state: State | None = None
    outputs = []
    for k_t, v_t in zip(k.unbind(-2), v.unbind(-2), strict=True):
        out, state = wkv_step(k_t, v_t, w, u, state)
        outputs.append(out)
    return torch.stack(outputs, dim=-2).to(dtype)


def wkv_step(k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """One position: k, v [..., C] with the state so far give (wkv_t [..., C], the next state, three times [..., C]).

    The state does not grow with the number of positions; None is the empty past.

    >>> one = torch.ones(1)
    >>> out, (a, b, p) = wkv_step(1000 * one, 5 * one, w=one, u=one)
    >>> out, a, b, p
    (tensor([5.]), tensor([5.]), tensor([1.]), tensor([1000.]))
    """
    own = v, torch.ones_like(k), k
    if state is None:
        return v, own  # the present is all there is
    a, b, _ = _join(state, (v, own[1], u + k))
    # Into the state the present enters without its bonus, and what was there fades by one step first.
    return a / b, _join(_faded(state, w), own)


def wkv_parallel(k: Tensor, v: Tensor, w: Tensor, u: Tensor, block: int = 64) -> Tensor:
    """The same as `wkv`, with T / block + 2 block steps instead of T: all blocks of positions go at the same time.

    First each block sums up its own positions; then a short loop over the blocks finds the state that each of them
    begins with; then all of them start from there. Any T works. ValueError as in `wkv`.

    >>> k, v = torch.randn(2, 9, 3)
    >>> w, u = torch.rand(3), torch.randn(3)
    >>> torch.allclose(wkv_parallel(k, v, w, u, block=4), wkv(k, v, w, u), atol=1e-5)
    True
    """
    _require_shapes(k, v, w, u)
    require_int("block", block, 1)
    dtype, length = v.dtype, k.shape[-2]
    k, v, w, u = _wide(k, v, w, u)
    block = min(block, length)
    # Zeros behind the last position: what they change comes after everything that is read.
    k, v = (F.pad(x, (0, 0, 0, -length % block)).unflatten(-2, (-1, block)) for x in (k, v))  # [..., T/block, block, C]

    inside: State | None = None
    for k_t, v_t in zip(k.unbind(-2), v.unbind(-2), strict=True):
        own = v_t, torch.ones_like(k_t), k_t
        inside = own if inside is None else _join(_faded(inside, w), own)

    zeros = torch.zeros_like(k[..., 0, 0, :])
    begin: list[State] = [(zeros, zeros, torch.full_like(zeros, -torch.inf))]
    for whole in zip(*(part.unbind(-2)[:-1] for part in inside), strict=True):
        begin.append(_join(_faded(begin[-1], block * w), whole))

    state: State = tuple(torch.stack(parts, dim=-2) for parts in zip(*begin, strict=True))
    outputs = []
    for k_t, v_t in zip(k.unbind(-2), v.unbind(-2), strict=True):
        out, state = wkv_step(k_t, v_t, w, u, state)
        outputs.append(out)
    return torch.stack(outputs, dim=-2).flatten(-3, -2)[..., :length, :].to(dtype)


def _faded(state: State, w: Tensor) -> State:
    """What is left after a decay by exp(-w): only the exponent changes."""
    a, b, p = state
    return a, b, p - w


def _join(first: State, second: State) -> State:
    """The sum of two states, brought to the larger of their exponents, so that nothing overflows."""
    (a, b, p), (c, d, q) = first, second
    top = torch.maximum(p, q)
    x, y = torch.exp(p - top), torch.exp(q - top)
    return x * a + y * c, x * b + y * d, top


def _wide(*tensors: Tensor) -> list[Tensor]:
    """In float32, or float64 where one of them has it."""
    wide = torch.float32
    for x in tensors:
        wide = torch.promote_types(wide, x.dtype)
    return [x.to(wide) for x in tensors]


def _require_shapes(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> None:
    require_tensor("k", k, "[..., T, C]")
    if v.shape != k.shape:
        raise ValueError(f"v: expected the shape of k, {tuple(k.shape)}, got {tuple(v.shape)}")
    if k.shape[-2] == 0:
        raise ValueError(f"k: expected at least one position, got shape {tuple(k.shape)}")
    for name, x in {"w": w, "u": u}.items():
        if x.shape != k.shape[-1:]:
            raise ValueError(f"{name}: expected shape {tuple(k.shape[-1:])}, got {tuple(x.shape)}")
    if bool((w < 0).any()):
        raise ValueError(f"w: expected decays >= 0, got {float(w.min()):.4g}")
