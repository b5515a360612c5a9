"""A mixture-of-experts layer: a router, E feed-forward networks, and each token only through k of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor
from course_lib.attention.mlp import SwiGLU
from course_lib.attention.moe import (
    assign_slots,
    capacity,
    importance_loss,
    load_balance_loss,
    noisy_logits,
    route_topk,
    router_z_loss,
)

Expert = Callable[[Tensor], Tensor]


class Routing(NamedTuple):
    """What the router decided in one forward pass, for N tokens."""

    logits: Tensor  # [N, E] float32, without noise
    idx: Tensor  # [N, k]
    gate: Tensor  # [N, k]
    kept: Tensor  # [N, k] bool: False where the expert was full


class MoE(nn.Module):
    """Route every token through k of E experts and add up their outputs by the gates: [..., C] to [..., C].

    A dropped token gets zeros: the residual connection around the layer, which every block has, carries it on.
    `capacity_factor` None never drops; in evaluation `eval_capacity_factor` takes its place if given. `expert` makes
    one expert (by default a SwiGLU of width `d_ff`). With `noisy`, training adds learned noise to the logits, and k
    must be at least 2. After a forward pass `routing` holds what was decided, and `losses()` the auxiliary losses,
    to be weighted and added by the training loop.
    ValueError for numbers that cannot be. Source: Shazeer et al. 2017; Switch Transformers; Mixtral of Experts.

    >>> layer = MoE(d_model=8, n_experts=4, k=2, d_ff=16)
    >>> layer(torch.zeros(2, 3, 8)).shape, layer.routing.idx.shape, sorted(layer.losses())
    (torch.Size([2, 3, 8]), torch.Size([6, 2]), ['load_balance', 'router_z'])
    """

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        k: int = 2,
        d_ff: int | None = None,
        capacity_factor: float | None = None,
        eval_capacity_factor: float | None = None,
        expert: Callable[[], nn.Module] | None = None,
        noisy: bool = False,
    ) -> None:
        super().__init__()
        require_int("n_experts", n_experts, 1)
        if require_int("k", k, 2 if noisy else 1) > n_experts:
            raise ValueError(f"k: expected at most the {n_experts} experts, got {k}")
        make = expert or (lambda: SwiGLU(d_model, d_ff))
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.noise = nn.Linear(d_model, n_experts, bias=False) if noisy else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)  # as the paper does, with the router too: even load at the start
            nn.init.zeros_(self.router.weight)
        self.experts = nn.ModuleList(make() for _ in range(n_experts))
        self.k, self.capacity_factor, self.eval_capacity_factor = k, capacity_factor, eval_capacity_factor
        self.routing: Routing | None = None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        self.routing = self.route(tokens)
        _, idx, gate, kept = self.routing
        return mix_experts(tokens, idx, gate, self.experts, kept).view_as(x)

    def route(self, tokens: Tensor) -> Routing:
        """Choose experts for [N, C] tokens, in float32 whatever the layer computes in."""
        require_tensor("tokens", tokens, "[N, C]")
        with torch.autocast(tokens.device.type, enabled=False):
            wide = tokens.float()
            logits = F.linear(wide, self.router.weight.float())
            chosen_by = logits
            if self.noise is not None and self.training:
                chosen_by = noisy_logits(logits, F.linear(wide, self.noise.weight.float()))
            idx, gate = route_topk(chosen_by, self.k)
        factor = self.capacity_factor
        if not self.training and self.eval_capacity_factor is not None:
            factor = self.eval_capacity_factor
        kept = torch.ones_like(idx, dtype=torch.bool)
        if factor is not None and len(idx):
            n_experts = len(self.experts)
            kept = assign_slots(idx, n_experts, capacity(len(idx), n_experts, self.k, factor)) >= 0
        return Routing(logits, idx, gate, kept)

    def losses(self) -> dict[str, Tensor]:
        """The auxiliary losses of the last forward pass, unweighted; ValueError before the first one."""
        if self.routing is None:
            raise ValueError("routing: expected a forward pass before losses(), got none")
        logits, idx, gate, _ = self.routing
        found = {"load_balance": load_balance_loss(logits.softmax(-1), idx), "router_z": router_z_loss(logits)}
        if self.noise is not None:
            found["importance"] = importance_loss(torch.zeros_like(logits).scatter(-1, idx, gate))
        return found


def mix_experts(x: Tensor, idx: Tensor, gate: Tensor, experts: Sequence[Expert], kept: Tensor | None = None) -> Tensor:
    """Sum the chosen experts' outputs, weighted by the gates: [N, C] tokens, [N, k] idx and gate give [N, C].

    Each expert runs once, on the tokens that chose it, without padding. `kept` [N, k] bool leaves assignments out.
    Equal to `mix_experts_dense` up to the order of additions.

    >>> double, negate = (lambda x: 2 * x), (lambda x: -x)
    >>> idx, gate = torch.tensor([[0], [1], [0]]), torch.tensor([[1.0], [0.5], [0.5]])
    >>> mix_experts(torch.ones(3, 1), idx, gate, [double, negate]).squeeze(-1)
    tensor([ 2.0000, -0.5000,  1.0000])
    """
    n, k = idx.shape
    wanted = idx.reshape(-1)
    if kept is not None:
        wanted = torch.where(kept.reshape(-1), wanted, len(experts))  # the dropped ones sort behind all experts
    order = wanted.argsort(stable=True)
    counts = torch.bincount(wanted, minlength=len(experts)).tolist()[: len(experts)]
    order = order[: sum(counts)]
    token = order // k
    # One gather, one call for each expert on its own stretch, one scatter: no mask over all tokens for each expert.
    stretches = x[token].split(counts)
    results = [expert(rows) for expert, rows in zip(experts, stretches, strict=True) if len(rows)]
    if not results:
        return torch.zeros_like(x)
    outputs = torch.cat(results)
    weighted = outputs * gate.reshape(-1)[order, None].to(outputs.dtype)
    return x.new_zeros(n, outputs.shape[-1], dtype=outputs.dtype).index_add(0, token, weighted)


def mix_experts_dense(
    x: Tensor, idx: Tensor, gate: Tensor, experts: Sequence[Expert], kept: Tensor | None = None
) -> Tensor:
    """The same sum the plain way: every expert sees every token, and a table of weights is zero where not chosen.

    E / k times the work of `mix_experts`; it says what the layer means.

    >>> mix_experts_dense(torch.ones(1, 1), torch.tensor([[0]]), torch.tensor([[0.5]]), [lambda x: 2 * x]).item()
    1.0
    """
    if kept is not None:
        gate = gate * kept
    weights = gate.new_zeros(len(x), len(experts)).scatter_add(-1, idx, gate)
    outputs = torch.stack([expert(x) for expert in experts], dim=1)  # [N, E, C]
    return (weights[:, :, None].to(outputs.dtype) * outputs).sum(dim=1)
