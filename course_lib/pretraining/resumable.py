"""A run that can be stopped anywhere and continued, in one function: what a checkpoint has to hold, at its smallest.

`Trainer` does the same with files, for any model; here everything can be read at a glance.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def continue_run(checkpoint: dict[str, Any] | None, data: Tensor, until: int, cfg: Any) -> tuple[list[float], dict]:
    """Train a bigram table [V, V] on ids [N] up to step `until`; return the new steps' losses and a checkpoint.

    Row i of the table holds the logits of what follows token i. Without a checkpoint the run begins at step 0 with a
    table of zeros, AdamW (no weight decay) and a generator seeded with `cfg.seed`; with one it goes on as if it had
    never been stopped, to the last bit on a CPU. Each step draws `cfg.batch_size` places from 0 .. N - 2 and takes the
    mean loss, in nats, of the tokens that follow; step s = 0, 1, ... has the rate ``cfg.lr * (1 - s / cfg.steps)``.
    `cfg` also has `vocab_size`. A checkpoint that is given stays as it is. ValueError if the run is past `until`.
    Source: follows from what a step depends on: weights, the optimiser's moments, the step, the place in the data.

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=3, batch_size=8, lr=0.5, steps=20, seed=1)
    >>> data = torch.tensor([0, 1, 2]).repeat(9)
    >>> whole, _ = continue_run(None, data, 6, cfg)
    >>> begun, checkpoint = continue_run(None, data, 4, cfg)
    >>> begun + continue_run(checkpoint, data, 6, cfg)[0] == whole
    True
    """
    table = torch.zeros(cfg.vocab_size, cfg.vocab_size, device=data.device, requires_grad=True)
    optimizer = torch.optim.AdamW([table], lr=cfg.lr, weight_decay=0.0)
    g, step = torch.Generator().manual_seed(cfg.seed), 0
    if checkpoint is not None:
        with torch.no_grad():
            table.copy_(checkpoint["table"])
        # A copy: the optimiser would go on to write into the tensors that it is given.
        optimizer.load_state_dict(copy.deepcopy(checkpoint["optimizer"]))
        g.set_state(checkpoint["generator"])
        step = checkpoint["step"]
    if step > until:
        raise ValueError(f"until: expected a step from {step} on, where the checkpoint was made, got {until}")
    losses = []
    for s in range(step, until):
        places = torch.randint(len(data) - 1, (cfg.batch_size,), generator=g).to(data.device)
        loss = F.cross_entropy(table[data[places]], data[places + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = cfg.lr * (1 - s / cfg.steps)
        optimizer.step()
        losses.append(loss.item())
    return losses, {
        "step": until,
        "table": table.detach().clone(),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "generator": g.get_state(),
    }
