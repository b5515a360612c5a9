"""Linear attention: without the softmax, all that came before fits into one matrix of fixed size.

Softmax attention weighs key s for query t by exp(q_t k_s); here the weight is the dot product phi(q_t) phi(k_s) of
positive features, phi(x) = elu(x) + 1. The sum over the past then needs the keys and values only through
S = sum phi(k_s) v_s^T and z = sum phi(k_s), which grow by addition. Three ways to the same numbers: a T x T table,
a loop with a state, and blocks that use a table inside and the state between.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor

State = tuple[Tensor, Tensor]  # S [..., D, M] and z [..., D]


def feature_map(x: Tensor) -> Tensor:
    """Return elu(x) + 1, elementwise: x + 1 for positive x, exp(x) for the others, so always above 0.

    Source: Katharopoulos et al. 2020, "Transformers are RNNs", section 3.2.1.

    >>> feature_map(torch.tensor([1.0, 0.0, -1.0]))
    tensor([2.0000, 1.0000, 0.3679])
    """
    return F.elu(x) + 1


def linear_attention_parallel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention by its definition: q, k [..., T, D] and v [..., T, M] give [..., T, M].

    out_t = sum_{s <= t} (phi(q_t) phi(k_s)) v_s / sum_{s <= t} phi(q_t) phi(k_s). Time and memory grow as T^2.
    ValueError for shapes that do not belong together. Source: Katharopoulos et al. 2020, sections 3.2 and 3.3.

    >>> x = torch.zeros(2, 1)
    >>> linear_attention_parallel(x, x, torch.tensor([[1.0], [3.0]])).squeeze(-1)  # equal weights: running means
    tensor([1., 2.])
    """
    _require_qkv(q, k, v)
    weights = (feature_map(q) @ feature_map(k).transpose(-1, -2)).tril()  # [..., T, T]
    return weights @ v / weights.sum(dim=-1, keepdim=True)


def linear_attention_recurrent(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as `linear_attention_parallel`, one position after another, with a state of D (M + 1) numbers.

    Source: Katharopoulos et al. 2020, section 3.4.

    >>> q, k, v = torch.randn(3, 5, 4)
    >>> torch.allclose(linear_attention_recurrent(q, k, v), linear_attention_parallel(q, k, v), atol=1e-5)
    True
    """
    _require_qkv(q, k, v)
    state: State | None = None
    outputs = []
    for q_t, k_t, v_t in zip(q.unbind(-2), k.unbind(-2), v.unbind(-2), strict=True):
        out, state = linear_attention_step(q_t, k_t, v_t, state)
        outputs.append(out)
    return torch.stack(outputs, dim=-2)


def linear_attention_step(q: Tensor, k: Tensor, v: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """One position: q, k [..., D] and v [..., M] with the state so far give (out [..., M], the next state).

    The state (S [..., D, M], z [..., D]) has the same size after a million positions; None is the empty past.

    >>> out, (s, z) = linear_attention_step(torch.zeros(1), torch.zeros(1), torch.tensor([5.0]))
    >>> out, s, z
    (tensor([5.]), tensor([[5.]]), tensor([1.]))
    """
    phi_q, phi_k = feature_map(q), feature_map(k)
    added = phi_k[..., :, None] * v[..., None, :]
    s, z = (added, phi_k) if state is None else (state[0] + added, state[1] + phi_k)
    out = (phi_q[..., None, :] @ s).squeeze(-2) / (phi_q * z).sum(dim=-1, keepdim=True)
    return out, (s, z)


def linear_attention_blocked(q: Tensor, k: Tensor, v: Tensor, block: int = 64) -> Tensor:
    """The same in blocks: large matrix products as in the parallel form, T block + T D numbers instead of T^2.

    Inside a block of positions a table; what lies before the block comes from the state at its start, which a
    cumulative sum over the blocks gives for all blocks at once. Any T works. ValueError as in the parallel form.

    >>> q, k, v = torch.randn(3, 10, 4)
    >>> torch.allclose(linear_attention_blocked(q, k, v, block=4), linear_attention_parallel(q, k, v), atol=1e-5)
    True
    """
    _require_qkv(q, k, v)
    require_int("block", block, 1)
    length = q.shape[-2]
    missing = -length % block
    # Padding after the features, not before: phi(0) is 1, and a padded key must weigh nothing.
    phi_q, phi_k, v = (F.pad(x, (0, 0, 0, missing)) for x in (feature_map(q), feature_map(k), v))
    phi_q, phi_k, v = (x.unflatten(-2, (-1, block)) for x in (phi_q, phi_k, v))  # [..., T/block, block, D]
    inside = (phi_q @ phi_k.transpose(-1, -2)).tril()
    added = phi_k.transpose(-1, -2) @ v  # [..., T/block, D, M]: what each block adds to S
    s = added.cumsum(dim=-3) - added
    z = phi_k.sum(dim=-2, keepdim=True)
    z = z.cumsum(dim=-3) - z
    total = inside @ v + phi_q @ s
    norm = inside.sum(dim=-1, keepdim=True) + phi_q @ z.transpose(-1, -2)
    return total.flatten(-3, -2)[..., :length, :] / norm.flatten(-3, -2)[..., :length, :]


def _require_qkv(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in {"q": q, "k": k, "v": v}.items():
        require_tensor(name, x, "[..., T, D]")
    if k.shape != q.shape:
        raise ValueError(f"k: expected the shape of q, {tuple(q.shape)}, got {tuple(k.shape)}")
    if v.shape[:-1] != q.shape[:-1]:
        raise ValueError(f"v: expected shape {(*q.shape[:-1], 'M')}, got {tuple(v.shape)}")
    if q.shape[-2] == 0:
        raise ValueError(f"q: expected at least one position, got shape {tuple(q.shape)}")
