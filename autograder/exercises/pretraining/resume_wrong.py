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
) -> Callable:
    """A continue_run that is right but for what the arguments say."""

    def continue_run(checkpoint, data, until, cfg):
        weights = torch.zeros(cfg.vocab_size, cfg.vocab_size, requires_grad=True)
        optimizer = torch.optim.AdamW([weights], lr=cfg.lr, weight_decay=0.0)
        g, begin = torch.Generator().manual_seed(cfg.seed if seed == "given" else 42), 0
        if checkpoint:
            with torch.no_grad():
                weights.copy_(checkpoint["table"] if table == "kept" else weights)
            if moments == "kept":
                kept = checkpoint["optimizer"]
                optimizer.load_state_dict(kept if shares else copy.deepcopy(kept))
            if cursor == "live":
                g = checkpoint["generator"]
            elif cursor != "new":
                g.set_state(checkpoint["generator"])
            begin = checkpoint["step"] if step == "kept" else 0

        def places():
            return torch.randint(len(data) - 1, (cfg.batch_size,), generator=g)

        ahead, losses = (places() if cursor in ("ahead", "constant") else None), []
        for s in range(begin, until):
            at = places() if ahead is None else ahead
            ahead = places() if cursor == "ahead" else ahead
            loss = F.cross_entropy(weights[data[at]], data[at + 1], reduction=reduction)
            optimizer.zero_grad()
            loss.backward()
            done = s - begin if rate == "new" else s
            optimizer.param_groups[0]["lr"] = cfg.lr * (1 - (0 if rate == "steady" else done) / cfg.steps)
            optimizer.step()
            losses.append(loss.item())
        kept = g if cursor == "live" else g.get_state()
        state = copy.deepcopy(optimizer.state_dict())
        return losses, {"step": until, "table": weights.detach(), "optimizer": state, "generator": kept}

    return continue_run


def wrong_run(text: str, **changes: object) -> Callable:
    """A mistake of continue_run."""
    return mistake(text)(run_with(**changes))
