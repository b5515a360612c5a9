"""The wrong runs of exercise 13's mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F

from autograder.exercise import mistake


def run_with(
    cursor: str = "kept",
    moments: str = "kept",
    step: str = "kept",
    rate: str = "kept",
    table: str = "kept",
    reduction: str = "mean",
    seed: str = "given",
    shares: bool = False,
    moves: str = "the new",
    keeps: str = "inside",
    reads: str = "forwards",
    decay: float = 0.0,
    reports: str = "before",
) -> Callable:
    """A continue_run that is right but for what the arguments say."""
    outside: dict = {}

    def continue_run(checkpoint, data, until, cfg):
        weights = torch.zeros(cfg.vocab_size, cfg.vocab_size, requires_grad=True)
        optimizer = torch.optim.AdamW([weights], lr=cfg.lr, weight_decay=decay)
        g, begin, losses = torch.Generator().manual_seed(cfg.seed if seed == "given" else 42), 0, []
        if checkpoint:
            kept = outside if keeps == "outside" else checkpoint
            if table == "kept" and moves == "the old":
                weights = kept["table"].clone().requires_grad_(True)
            elif table == "kept":
                weights.data.copy_(kept["table"])
            if moments == "kept":
                optimizer.load_state_dict(kept["optimizer"] if shares else copy.deepcopy(kept["optimizer"]))
            if cursor == "live":
                g = kept["generator"]
            elif cursor != "new":
                g.set_state(kept["generator"])
            begin = kept["step"] if step == "kept" else 0
            losses = list(kept["losses"]) if keeps == "losses" else []

        def places():
            top = {"short": len(data) - 2, "around": len(data)}.get(reads, len(data) - 1)
            return torch.randint(top, (cfg.batch_size,), generator=g)

        def loss_at(at):
            now, after = data[at], data[(at + 1) % len(data)]
            now, after = (after, now) if reads == "backwards" else (now, after)
            return F.cross_entropy(weights[now], after, reduction=reduction)

        batch = places() if cursor == "constant" else None
        for s in range(begin, until):
            at = places() if batch is None else batch
            loss = loss_at(at)
            weights.grad = None
            loss.backward()
            number = {"new": s - begin, "steady": 0, "ahead": s + 1}.get(rate, s)
            optimizer.param_groups[0]["lr"] = cfg.lr * (1 - number / cfg.steps)
            optimizer.step()
            losses.append(loss_at(at).item() if reports == "after" else loss.item())
        made = {
            "step": until,
            "table": weights.detach().clone(),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "generator": g if cursor == "live" else g.get_state(),
        }
        if keeps == "outside":
            outside.update(made)
        return losses, {"run": 1} if keeps == "outside" else made | ({"losses": losses} if keeps == "losses" else {})

    return continue_run


def wrong_run(text: str, **changes: object) -> Callable:
    """A mistake of continue_run."""
    return mistake(text)(run_with(**changes))
