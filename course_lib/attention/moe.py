"""Mixture of experts: which expert sees which token, how many it can take, and the losses that keep it fair.

Letters: N tokens, E experts, k experts for each token, C model width. The layer that uses all this is in
``moe_layer.py``.
"""

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention._arguments import require_ids, require_int, require_tensor


def route_topk(logits: Tensor, k: int, renormalise: bool | None = None) -> tuple[Tensor, Tensor]:
    """Choose the k best experts of every token: [N, E] router logits give (idx [N, k], gate [N, k]).

    Column 0 holds the first choices; of equal logits the expert with the smaller number wins. Without `renormalise`,
    k = 1 gates with the softmax probability itself (Switch) and k > 1 with the probabilities of the chosen experts
    divided by their sum (Mixtral), which equals a softmax over the k chosen logits. Renormalised, a single gate would
    always be 1, and the router would get no gradient. Half-precision logits give float32 gates.
    ValueError for logits that are not [N, E] or k outside 1 .. E.
    Source: Switch Transformers (Fedus et al. 2021), eq. 2; Mixtral of Experts (Jiang et al. 2024), section 2.1.

    >>> route_topk(torch.tensor([[0.0, 2.0, 1.0]]), 2)
    (tensor([[1, 2]]), tensor([[0.7311, 0.2689]]))
    >>> route_topk(torch.tensor([[0.0, 2.0, 1.0]]), 1)
    (tensor([[1]]), tensor([[0.6652]]))
    """
    require_tensor("logits", logits, "[N, E]")
    require_int("k", k, 1)
    if k > logits.shape[-1]:
        raise ValueError(f"k: expected at most the {logits.shape[-1]} experts, got {k}")
    logits = _wide(logits)
    # A stable sort instead of topk: torch.topk does not say which of equal logits it takes.
    idx = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    if k > 1 if renormalise is None else renormalise:
        return idx, logits.gather(-1, idx).softmax(dim=-1)
    return idx, logits.softmax(dim=-1).gather(-1, idx)


def capacity(n_tokens: int, n_experts: int, k: int, factor: float) -> int:
    """Return how many assignments one expert takes at most: ceil(factor k N / E), in tokens.

    N tokens make k N assignments, so k N / E is the fair share; `factor` is the room around it (1.25 = a quarter
    more). ValueError for counts below 1 or a factor that is not positive.
    Source: Switch Transformers, eq. 3 (for k = 1); ST-MoE (Zoph et al. 2022) for top-2.

    >>> capacity(n_tokens=100, n_experts=8, k=1, factor=1.25), capacity(100, 8, 2, 1.25)
    (16, 32)
    """
    counts = {"n_tokens": n_tokens, "n_experts": n_experts, "k": k}
    for name, value in counts.items():
        require_int(name, value, 1)
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor: expected a positive number, got {factor!r}")
    # As a fraction: in floating point 1.1 * 50 / 5 is a little above 11, and ceil would give 12.
    exact = Fraction(factor).limit_denominator(10**9) * k * n_tokens / n_experts
    return max(1, -(-exact.numerator // exact.denominator))


def dispatch(x: Tensor, idx: Tensor, n_experts: int, capacity: int) -> tuple[Tensor, Tensor]:
    """Put every token into the buffers of its experts: returns (buffers [E, capacity, C], slots [N, k]).

    Token n stands in ``buffers[idx[n, j], slots[n, j]]``, unless ``slots[n, j]`` is -1: then that expert was full and
    the assignment is dropped. All first choices are served before any second choice, and among equal choices the
    earlier token; unused places hold zeros. ValueError for shapes that do not belong together or experts outside
    0 .. E - 1. Source: GShard (Lepikhin et al. 2020), algorithm 1.

    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> buffers, slots = dispatch(x, torch.tensor([[0], [0], [1]]), n_experts=2, capacity=1)
    >>> buffers.squeeze(-1).tolist(), slots.squeeze(-1).tolist()
    ([[1.0], [3.0]], [0, -1, 0])
    """
    require_tensor("x", x, "[N, C]")
    require_int("capacity", capacity, 1)
    slots = assign_slots(idx, n_experts, capacity)
    if len(idx) != len(x):
        raise ValueError(f"idx: expected {len(x)} rows as x has, got {len(idx)}")
    token, choice = (slots >= 0).nonzero(as_tuple=True)
    place = idx[token, choice] * capacity + slots[token, choice]
    buffers = x.new_zeros(n_experts * capacity, x.shape[1]).index_copy(0, place, x[token])
    return buffers.view(n_experts, capacity, x.shape[1]), slots


def assign_slots(idx: Tensor, n_experts: int, capacity: int) -> Tensor:
    """Number the assignments of each expert in order of priority: [N, k] experts give [N, k] slots, -1 for dropped.

    ValueError as in `dispatch`.

    >>> assign_slots(torch.tensor([[0, 1], [1, 0]]), n_experts=2, capacity=1).tolist()
    [[0, -1], [0, -1]]
    """
    require_tensor("idx", idx, "[N, k]")
    require_int("n_experts", n_experts, 1)
    require_ids("idx", idx, n_experts)
    n, k = idx.shape
    wanted = idx.T.reshape(-1)  # [kN], all first choices, then all second ones
    # Sorted by expert, a slot is the distance to where that expert's stretch begins: no [kN, E] table is needed.
    order = wanted.argsort(stable=True)
    counts = torch.bincount(wanted, minlength=n_experts)
    begin = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n * k, device=idx.device) - begin[wanted[order]]
    return torch.where(rank < capacity, rank, -1).view(k, n).T


def combine(x: Tensor, outputs: Tensor, idx: Tensor, slots: Tensor, gate: Tensor) -> Tensor:
    """Bring the experts' outputs home: x plus the gate-weighted outputs of each token's experts, [N, C].

    `outputs` [E, capacity, C] lies as the buffers of `dispatch` do. A dropped assignment adds nothing, so a token
    that every expert dropped leaves as it came: x is the residual stream. ValueError for shapes that do not belong
    together. Source: Switch Transformers, section 2.2 (dropped tokens go on through the residual connection).

    >>> outputs = torch.tensor([[[10.0]], [[20.0]]])
    >>> idx, slots = torch.tensor([[0], [0], [1]]), torch.tensor([[0], [-1], [0]])
    >>> combine(torch.ones(3, 1), outputs, idx, slots, torch.full((3, 1), 0.5)).squeeze(-1).tolist()
    [6.0, 1.0, 11.0]
    """
    require_tensor("x", x, "[N, C]")
    require_tensor("outputs", outputs, "[E, capacity, C]")
    for name, value in {"slots": slots, "gate": gate}.items():
        if value.shape != idx.shape:
            raise ValueError(f"{name}: expected the shape of idx, {tuple(idx.shape)}, got {tuple(value.shape)}")
    token, choice = (slots >= 0).nonzero(as_tuple=True)
    weighted = gate[token, choice, None] * outputs[idx[token, choice], slots[token, choice]]
    return x.index_add(0, token, weighted.to(x.dtype))


def load_balance_loss(probs: Tensor, idx: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return E sum_i f_i P_i: how unevenly the tokens are spread, a scalar that is 1 at balance for every k.

    f_i is the share of the k N assignments in `idx` [N, k] that go to expert i: a count, without gradient. P_i is the
    mean of column i of the router probabilities `probs` [N, E]; through it the router learns. All on one expert with
    certainty gives E. (1 is not quite a lower bound: f and P can lean opposite ways.) `mask` [N] bool leaves out
    padding where False. transformers counts tokens instead of assignments, so its value is k times this one.
    ValueError for shapes that do not belong together. Source: Switch Transformers, eq. 4-6, without the factor alpha.

    >>> probs = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> load_balance_loss(probs, torch.tensor([[0], [1]])), load_balance_loss(probs, torch.tensor([[0, 1], [1, 0]]))
    (tensor(1.), tensor(1.))
    """
    require_tensor("probs", probs, "[N, E]")
    require_tensor("idx", idx, "[N, k]")
    n_experts = probs.shape[-1]
    require_ids("idx", idx, n_experts)
    if len(idx) != len(probs):
        raise ValueError(f"idx: expected {len(probs)} rows as probs has, got {len(idx)}")
    probs, idx = _wide(_kept(probs, mask)), _kept(idx, mask)
    f = torch.bincount(idx.reshape(-1), minlength=n_experts) / max(1, idx.numel())
    return n_experts * (f.to(probs.dtype) * probs.sum(dim=0)).sum() / max(1, len(probs))


def router_z_loss(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of logsumexp(logits)^2 over the tokens: [N, E] gives a scalar that keeps the logits small.

    In float32 even for half-precision logits: it is there because large logits and few digits make routing unstable.
    `mask` [N] bool leaves out padding where False. ValueError for logits that are not [N, E].
    Source: ST-MoE (Zoph et al. 2022), eq. 5.

    >>> router_z_loss(torch.tensor([[3.0], [1.0]]))  # one expert: the mean of 3 * 3 and 1 * 1
    tensor(5.)
    """
    require_tensor("logits", logits, "[N, E]")
    logits = _wide(_kept(logits, mask))
    return logits.logsumexp(dim=-1).square().sum() / max(1, len(logits))


def importance_loss(gates: Tensor) -> Tensor:
    """Return the squared coefficient of variation of the experts' total gates: [N, E] (zeros where not chosen).

    Variance over squared mean of the E column sums, with the variance of a population; 0 when all are equal.
    Without the weight w_importance. ValueError for gates that are not [N, E].
    Source: Outrageously Large Neural Networks (Shazeer et al. 2017), eq. 6-7.

    >>> importance_loss(torch.tensor([[1.0, 0.0], [1.0, 0.0]])), importance_loss(torch.eye(2))
    (tensor(1.), tensor(0.))
    """
    require_tensor("gates", gates, "[N, E]")
    importance = _wide(gates).sum(dim=0)
    return importance.var(correction=0) / importance.mean().square().clamp_min(1e-20)


def noisy_logits(clean: Tensor, noise_scale: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add to every router logit a normal number times softplus(noise_scale): [N, E] and [N, E] give [N, E].

    The noise lets an expert that is just behind be chosen now and then; the scale is learned.
    Source: Shazeer et al. 2017, eq. 4.

    >>> noisy_logits(torch.ones(1, 2), torch.full((1, 2), -100.0))  # softplus(-100) is nearly 0
    tensor([[1., 1.]])
    """
    if clean.shape != noise_scale.shape:
        raise ValueError(f"noise_scale: expected the shape {tuple(clean.shape)}, got {tuple(noise_scale.shape)}")
    noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    return clean + noise * F.softplus(noise_scale)


def _wide(x: Tensor) -> Tensor:
    """At least float32: routing decides by small differences."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _kept(x: Tensor, mask: Tensor | None) -> Tensor:
    """The rows where the mask is True, all without a mask."""
    if mask is None:
        return x
    if mask.shape != x.shape[:1] or mask.dtype != torch.bool:
        raise ValueError(f"mask: expected bool of shape ({len(x)},), got {mask.dtype} of shape {tuple(mask.shape)}")
    return x[mask]
