"""A training loop for experiments: AdamW, warm-up and decay, clipping; the same seed gives the same losses."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from course_lib.attention._arguments import require_int, require_tensor

Batch = tuple[Any, ...]
SCHEDULES = ("cosine", "linear", "constant")


def train(
    model: nn.Module,
    next_batch: Callable[[torch.Generator], Batch],
    steps: int,
    lr: float = 1e-3,
    warmup: int = 0,
    schedule: str = "cosine",
    final_lr: float = 0.0,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[int, float], object] | None = None,
    loss_fn: Callable[..., Tensor] | None = None,
) -> list[float]:
    """Train `model` for so many steps and return the loss of every step, before its update.

    ``next_batch(generator)`` returns a tuple that it draws with the generator; ``model(*batch)`` returns the loss, as
    `GPT` does for ids and targets, or ``loss_fn(model, *batch)`` does. AdamW with betas 0.9 and 0.95; `weight_decay`
    acts on tensors of two or more dimensions only. The norm of all gradients together is cut to `clip`, unless that is
    None. The learning rate is that of `learning_rate`. ``callback(step, loss)`` is called after each step.
    `seed` decides about batches and dropout, and torch's own random stream stays as it was; the model's first weights
    are drawn when it is made. ValueError for settings that cannot be, a model without trainable parameters, or a loss
    that is not one number.
    Source: Loshchilov and Hutter 2019, algorithm 2 (AdamW); Pascanu et al. 2013, algorithm 1 (clipping).

    >>> model = nn.Linear(1, 1)
    >>> squares = lambda model, x: (model(x) - 3 * x).square().mean()
    >>> losses = train(
    ...     model, lambda g: (torch.randn(8, 1, generator=g),), 300, lr=0.1, progress=False, loss_fn=squares
    ... )
    >>> bool(losses[-1] < 1e-3), round(model.weight.item(), 1)
    (True, 3.0)
    """
    learning_rate(0, steps, lr, warmup, schedule, final_lr)  # says so before the first step if a setting cannot be
    for name, value, low in (("weight_decay", weight_decay, 0.0), ("clip", 1.0 if clip is None else clip, 1e-30)):
        if not value >= low:
            raise ValueError(f"{name}: expected a {'positive' if low else 'non-negative'} number, got {value!r}")
    optimizer = make_optimizer(model, lr, weight_decay)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    was_training = model.training
    model.train()
    try:
        with torch.random.fork_rng(), tqdm(total=steps, desc="training", disable=not progress) as bar:
            torch.manual_seed(seed)
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, steps, lr, warmup, schedule, final_lr)
                batch = next_batch(generator)
                loss = model(*batch) if loss_fn is None else loss_fn(model, *batch)
                if not isinstance(loss, Tensor) or loss.ndim:
                    got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
                    raise ValueError(f"model: expected one number as the loss, got {got}")
                optimizer.zero_grad()
                loss.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(parameters, clip)
                optimizer.step()
                losses.append(loss.item())
                if callback:
                    callback(step, losses[-1])
                bar.update()
                bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
    finally:
        model.train(was_training)
    return losses


def make_optimizer(model: nn.Module, lr: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """Return AdamW for the model's trainable parameters; only those of two or more dimensions decay.

    ValueError if there are none.

    >>> [len(group["params"]) for group in make_optimizer(nn.Linear(2, 2), 0.1).param_groups]
    [1, 1]
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model: expected one with trainable parameters, got none")
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over each tensor's four arrays instead of a dozen.
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.95), fused=True)


def learning_rate(
    step: int, steps: int, lr: float, warmup: int = 0, schedule: str = "cosine", final_lr: float = 0.0
) -> float:
    """Return the learning rate of step 0 .. steps - 1: up to `lr` in `warmup` equal stairs, then down to `final_lr`.

    Step 0 has lr / (warmup + 1), not 0, step `warmup` has `lr`, and the last step has exactly `final_lr` (with
    "constant", `lr`). ValueError for another schedule, a warm-up that is not below `steps`, or rates that cannot be.
    Source: Loshchilov and Hutter 2017, equation 5 (cosine, without restarts).

    >>> [learning_rate(s, 5, 1.0, warmup=2, schedule="linear") for s in range(5)]
    [0.3333333333333333, 0.6666666666666666, 1.0, 0.5, 0.0]
    """
    require_int("steps", steps, 1)
    require_int("step", step, 0)
    if step >= steps:
        raise ValueError(f"step: expected less than steps = {steps}, got {step}")
    if require_int("warmup", warmup, 0) >= steps:
        raise ValueError(f"warmup: expected less than steps = {steps}, got {warmup}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr: expected a positive number, got {lr!r}")
    if not 0 <= final_lr <= lr:
        raise ValueError(f"final_lr: expected a number from 0 to lr = {lr}, got {final_lr!r}")
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return lr
    done = (step - warmup) / max(1, steps - 1 - warmup)
    left = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return final_lr + (lr - final_lr) * left


def random_windows(ids: Tensor, batch_size: int, T: int) -> Callable[[torch.Generator], tuple[Tensor, Tensor]]:
    """Return a ``next_batch`` for `train`: windows of a long text [N], drawn at random, and their next tokens.

    Inputs and targets are [B, T]; ``targets[b, t]`` is the token after ``inputs[b, t]``. Every start from 0 to
    N - T - 1 is equally likely. ValueError if the text is too short for one window.

    >>> inputs, targets = random_windows(torch.arange(100), 2, 5)(torch.Generator())
    >>> inputs.shape, bool((targets == inputs + 1).all())
    (torch.Size([2, 5]), True)
    """
    require_tensor("ids", ids, "[N]")
    require_int("batch_size", batch_size, 1)
    if len(ids) <= require_int("T", T, 1):
        raise ValueError(f"ids: expected more than T = {T} tokens, got {len(ids)}")
    windows = ids.unfold(0, T + 1, 1)  # a view, [N - T, T + 1]

    def next_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(windows), (batch_size,), generator=generator).to(ids.device)
        chosen = windows[starts].long()
        return chosen[:, :-1], chosen[:, 1:]

    return next_batch


@torch.no_grad()
def mean_loss(
    model: nn.Module, batches: Iterable[Batch], loss_fn: Callable[..., Tensor] | None = None, progress: bool = False
) -> float:
    """Return the mean loss over batches of equal size, in evaluation mode and without gradients.

    ValueError if there are no batches.

    >>> mean_loss(nn.Identity(), [(torch.tensor(1.0),), (torch.tensor(2.0),)])
    1.5
    """
    was_training = model.training
    model.eval()
    try:
        bar = tqdm(batches, desc="evaluating", disable=not progress)
        losses = [float(model(*batch) if loss_fn is None else loss_fn(model, *batch)) for batch in bar]
    finally:
        model.train(was_training)
    if not losses:
        raise ValueError("batches: expected at least one, got none")
    return math.fsum(losses) / len(losses)
