"""AdamW: as one formula for one tensor, as an optimiser for a model, and which tensors decay."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Any]


def adamw_step(
    p: Tensor,
    g: Tensor,
    state: State | None,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    wd: float = 0.0,
) -> tuple[Tensor, State]:
    """Return the parameter after one step of AdamW, and the new state; nothing is changed in place.

    `p` and the gradient `g` have the same shape. The state is a dict with "step" (how many there were), "m" and "v"
    (running means of g and of g squared); None before the first step. The decay shrinks the parameter by lr * wd, next
    to the gradient and not through it: Adam would divide a decay inside the gradient by the root of v, so that
    parameters with large gradients would hardly decay. ValueError for shapes or settings that cannot be.
    Source: Loshchilov and Hutter 2019, algorithm 2, with the decay multiplied by the learning rate; Kingma and Ba
    2015, algorithm 1 (the bias correction: means that start at zero are too small at first).

    >>> p, state = adamw_step(torch.tensor([1.0]), torch.tensor([5.0]), None, lr=0.1)
    >>> p, state["step"]  # at the first step m / sqrt(v) is the gradient's sign
    (tensor([0.9000]), 1)
    """
    if g.shape != p.shape:
        raise ValueError(f"g: expected the shape of p, {tuple(p.shape)}, got {tuple(g.shape)}")
    _check(lr, betas, eps, wd)
    beta1, beta2 = betas
    state = state or {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    step = state["step"] + 1
    m = beta1 * state["m"] + (1 - beta1) * g
    v = beta2 * state["v"] + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    p = p - lr * wd * p - lr * m_hat / (v_hat.sqrt() + eps)
    return p, {"step": step, "m": m, "v": v}


class AdamW(torch.optim.Optimizer):
    """AdamW for parameters or groups of them, in place: the same numbers as `adamw_step`, without its copies.

    Settings as there. A group may have its own "lr", "betas", "eps" and "wd". A parameter without a gradient stays as
    it is. ValueError for settings that cannot be. For long runs ``torch.optim.AdamW(..., fused=True)`` does the same
    in one pass over the memory. Source: as for `adamw_step`.

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([weight], lr=0.1)
    >>> weight.grad = torch.tensor([5.0])
    >>> optimizer.step()
    >>> weight.data
    tensor([0.9000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        wd: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "wd": wd})
        for group in self.param_groups:
            _check(group["lr"], group["betas"], group["eps"], group["wd"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient; `closure`, if given, computes the loss first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, group)
        return loss

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            # A tensor, as torch's own optimisers have it: it is saved and loaded like the other two.
            state.update(step=torch.zeros(()), m=torch.zeros_like(p), v=torch.zeros_like(p))
        state["step"] += 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        state["m"].lerp_(p.grad, 1 - beta1)
        state["v"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        p.mul_(1 - group["lr"] * group["wd"])
        root = state["v"].sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
        p.addcdiv_(state["m"], root, value=-group["lr"] / (1 - beta1**step))


def decay_groups(model: nn.Module, wd: float, embeddings: bool = True, key: str = "wd") -> list[dict[str, Any]]:
    """Split a model's trainable parameters into those that decay by `wd` and those that do not, as optimiser groups.

    Matrices decay (two dimensions or more); biases and the gains of norms do not, because shrinking them does not make
    the function simpler. With ``embeddings=False`` the tables of `nn.Embedding` are spared as well: practice differs
    there, and in a tied model the table is the head, too. `key` is the optimiser's name for the setting ("wd" here,
    "weight_decay" in torch). Each parameter is in exactly one group; empty groups are left out. ValueError for a
    negative `wd` or a model without trainable parameters.

    >>> [(len(group["params"]), group["wd"]) for group in decay_groups(nn.Linear(2, 2), 0.1)]
    [(1, 0.1), (1, 0.0)]
    """
    if not wd >= 0:
        raise ValueError(f"wd: expected a non-negative number, got {wd!r}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model: expected one with trainable parameters, got none")
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decays = [p.ndim >= 2 and (embeddings or id(p) not in tables) for p in parameters]
    groups = [
        {"params": [p for p, does in zip(parameters, decays, strict=True) if does], key: wd},
        {"params": [p for p, does in zip(parameters, decays, strict=True) if not does], key: 0.0},
    ]
    return [group for group in groups if group["params"]]


def _check(lr: float, betas: tuple[float, float], eps: float, wd: float) -> None:
    for name, value in (("lr", lr), ("eps", eps), ("wd", wd)):
        if not value >= 0:
            raise ValueError(f"{name}: expected a non-negative number, got {value!r}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas: expected two numbers from 0 up to, but not, 1, got {betas!r}")
