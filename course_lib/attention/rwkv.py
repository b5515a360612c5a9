"""RWKV's wkv: a running average of the values, weighted by keys that fade, with a bonus for the present.

For every channel on its own:

    wkv_t = (sum_{i<t} exp(-(t-1-i) w + k_i) v_i + exp(u + k_t) v_t) / (the same sum without v)

so the position just before t has not faded yet, and position t itself gets u in place of any fading. The weights are
exponentials of anything; all forms here divide by the largest one so far, so that none overflows.
"""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_tensor

# Numerator a, denominator b and exponent p, each [..., C]: the sums over the past are a exp(p) and b exp(p).
State = tuple[Tensor, Tensor, Tensor]


def wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """Return wkv_t for all positions: k, v [..., T, C] and w, u [C] give [..., T, C], by a loop with a state.

    w >= 0 is the decay for each channel: one step multiplies a weight by exp(-w). u is the bonus of the present.
    Half precision is computed in float32. ValueError for shapes that do not belong together or a negative w.
    Source: RWKV (Peng et al. 2023), eq. 16; the state with a shared exponent is the paper's appendix on recursion.

    >>> k, v = torch.zeros(3, 1), torch.tensor([[1.0], [3.0], [8.0]])
    >>> wkv(k, v, w=torch.zeros(1), u=torch.zeros(1)).squeeze(-1)  # nothing fades, no bonus: running means
    tensor([1., 2., 4.])
    """
    _require_shapes(k, v, w, u)
    wide = torch.promote_types(k.dtype, torch.float32)
    dtype, k, v, w, u = v.dtype, k.to(wide), v.to(wide), w.to(wide), u.to(wide)
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
    if state is None:
        return v, (v, torch.ones_like(k), k)  # the present is all there is
    a, b, p = state
    now = torch.maximum(p, u + k)
    past, present = torch.exp(p - now), torch.exp(u + k - now)
    out = (past * a + present * v) / (past * b + present)
    # Into the state the present enters without its bonus, and what was there fades by one step first.
    top = torch.maximum(p - w, k)
    past, present = torch.exp(p - w - top), torch.exp(k - top)
    return out, (past * a + present * v, past * b + present, top)


def wkv_parallel(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """The same as `wkv` without a loop over T: log2(T) steps, each on all positions at once, memory T C.

    After step j every position holds the sums over the 2^j positions that end with it; two such stretches join into
    one twice as long when the earlier one has faded by the length of the later. ValueError as in `wkv`.
    Source: the doubling scan of Hillis and Steele 1986, on the state of `wkv_step`.

    >>> k, v = torch.randn(2, 9, 3)
    >>> w, u = torch.rand(3), torch.randn(3)
    >>> torch.allclose(wkv_parallel(k, v, w, u), wkv(k, v, w, u), atol=1e-5)
    True
    """
    _require_shapes(k, v, w, u)
    wide = torch.promote_types(k.dtype, torch.float32)
    dtype, k, v, w, u = v.dtype, k.to(wide), v.to(wide), w.to(wide), u.to(wide)
    length = k.shape[-2]
    a, b, p = v, torch.ones_like(k), k
    step = 1
    while step < length:
        faded = p[..., :-step, :] - step * w
        own = p[..., step:, :]
        top = torch.maximum(faded, own)
        past, present = torch.exp(faded - top), torch.exp(own - top)
        # The first positions have no earlier stretch to join: they are complete already.
        a = torch.cat([a[..., :step, :], past * a[..., :-step, :] + present * a[..., step:, :]], dim=-2)
        b = torch.cat([b[..., :step, :], past * b[..., :-step, :] + present * b[..., step:, :]], dim=-2)
        p = torch.cat([p[..., :step, :], top], dim=-2)
        step *= 2
    # Position t reads the sums that end at t - 1, undecayed, and adds itself with the bonus.
    a, b, p = a[..., :-1, :], b[..., :-1, :], p[..., :-1, :]
    own = u + k[..., 1:, :]
    top = torch.maximum(p, own)
    past, present = torch.exp(p - top), torch.exp(own - top)
    later = (past * a + present * v[..., 1:, :]) / (past * b + present)
    return torch.cat([v[..., :1, :], later], dim=-2).to(dtype)


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
