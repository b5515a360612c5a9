"""A whole pretraining run in one function, for models that train in minutes; and how to write with the result.

`Trainer` does the same for long runs, with checkpoints and a guard; here everything can be read at a glance.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import GPT
from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.adamw import decay_groups
from course_lib.pretraining.batches import windows
from course_lib.pretraining.clipping import clip_grad_norm_
from course_lib.pretraining.schedules import lr_at

EVALUATED_TOGETHER = 64  # windows; more do not make it faster, and their logits take memory
Log = list[dict[str, float]]


def pretrain(
    cfg: Any,
    data: Tensor,
    steps: int,
    g: torch.Generator,
    observe: Callable[[int, dict[str, Tensor]], object] | None = None,
) -> tuple[nn.Module, Log]:
    """Train a GPT on a row of ids [N] and return it, in evaluation mode, with one log record a step.

    `cfg` has the five sizes of a `GPT` (and its other settings where wanted), batch_size, lr, warmup, clip and
    eval_every. The last tenth of the ids, from place 9 N // 10 on, is held out. A step draws `batch_size` windows of
    context_length + 1 ids from the rest, every start being equally likely, and moves the weights by AdamW with betas
    0.9 and 0.95, after the norm of all gradients together has been cut to `clip`. The learning rate goes up to `lr`
    within `warmup` steps and down to lr / 10, as `lr_at` says. Everything random follows from `g`: the first weights,
    the windows, dropout; torch's own random stream stays as it was.

    A record has "step" (1 .. steps), "loss" (of the step's windows before its update, in nats), "lr" and, every
    `eval_every` steps and after the last, "val_loss": the mean loss over the held-out tenth, cut into windows side by
    side, in evaluation mode; a rest that fills no window is left out. After each such evaluation
    ``observe(step, weights)`` is called with the model's state_dict, which is not a copy. ValueError for too short
    data or settings that cannot be. Source: Radford et al. 2018, section 3.1; the loop in the manner of section 4.1.

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=5, context_length=8, n_layers=1, n_heads=2, d_model=16, batch_size=8, lr=1e-2,
    ...                       warmup=5, clip=1.0, eval_every=40)
    >>> data = torch.tensor([0, 3, 1, 4, 2]).repeat(60)
    >>> model, log = pretrain(cfg, data, 40, torch.Generator().manual_seed(0))
    >>> len(log), bool(log[-1]["val_loss"] < 0.3 < log[0]["loss"])
    (40, True)
    """
    require_int("steps", steps, 1)
    for name in ("batch_size", "context_length", "eval_every"):
        require_int(f"cfg.{name}", getattr(cfg, name), 1)
    T, cut = cfg.context_length, len(data) * 9 // 10
    train, held_out = data[:cut], data[cut:]
    if len(held_out) < T + 1:
        raise ValueError(f"data: expected a tenth of it to have more than {T} ids, got {len(data)} ids in all")
    log: Log = []
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=g)))
        model = GPT(cfg).to(data.device).train()
        optimizer = torch.optim.AdamW(
            decay_groups(model, 0.1, key="weight_decay"), lr=cfg.lr, betas=(0.9, 0.95), fused=True
        )
        parameters = list(model.parameters())
        for step in range(steps):
            starts = torch.randint(cut - T, (cfg.batch_size,), generator=g).tolist()
            inputs, targets = (part.to(data.device) for part in windows(train, starts, T))
            loss = _loss(model, inputs, targets)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(parameters, cfg.clip)
            lr = lr_at(step, cfg.warmup, steps, cfg.lr, cfg.lr / 10)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            log.append({"step": step + 1, "loss": loss.item(), "lr": lr})
            if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
                log[-1]["val_loss"] = held_out_loss(model, held_out, T)
                if observe:
                    observe(step + 1, model.state_dict())
    return model.eval(), log


@torch.no_grad()
def held_out_loss(model: nn.Module, ids: Tensor, T: int) -> float:
    """Return the mean loss in nats over ids [N] cut into windows of T side by side, in evaluation mode.

    Divided by ln 2 it is bits per token. A rest that fills no window is left out. ValueError for less than a window.

    >>> round(held_out_loss(lambda ids: torch.zeros(*ids.shape, 8), torch.arange(7), T=3) / math.log(2), 6)
    3.0
    """
    rows = (len(ids) - 1) // require_int("T", T, 1)
    if rows < 1:
        raise ValueError(f"ids: expected more than T = {T} ids, got {len(ids)}")
    inputs, targets = ids[: rows * T].view(rows, T), ids[1 : rows * T + 1].view(rows, T)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        parts = zip(inputs.split(EVALUATED_TOGETHER), targets.split(EVALUATED_TOGETHER), strict=True)
        losses = [_loss(model, x, y).double().item() * len(x) for x, y in parts]
    finally:
        if was_training:
            model.train()
    return math.fsum(losses) / rows


@torch.no_grad()
def sample(
    model: Callable[[Tensor], Tensor],
    ids: Tensor,
    n: int,
    context_length: int,
    temperature: float = 1.0,
    g: torch.Generator | None = None,
) -> Tensor:
    """Continue each row of ids [B, T] by n tokens drawn from the model's probabilities: [B, T + n].

    `model` maps ids [B, up to context_length] to logits [B, T, V]; it sees the last `context_length` tokens. The
    logits are divided by `temperature` before the softmax: below 1 likely tokens become likelier, and 0 takes the
    likeliest. Everything random follows from `g`. ValueError for a negative temperature or no tokens to begin with.
    Source: Radford et al. 2019, section 2; the temperature is Boltzmann's, as in Ackley et al. 1985.

    >>> after = torch.eye(3).roll(1, 1)  # 0 -> 1 -> 2 -> 0
    >>> sample(lambda ids: 50 * after[ids], torch.tensor([[0], [1]]), 4, context_length=8)
    tensor([[0, 1, 2, 0, 1],
            [1, 2, 0, 1, 2]])
    """
    require_int("n", n, 0)
    require_int("context_length", context_length, 1)
    if not temperature >= 0:
        raise ValueError(f"temperature: expected a number of at least 0, got {temperature!r}")
    if ids.ndim != 2 or not ids.shape[1]:
        raise ValueError(f"ids: expected a tensor [B, T] with at least one token a row, got shape {tuple(ids.shape)}")
    for _ in range(n):
        logits = model(ids[:, -context_length:])[:, -1]  # [B, V]
        if temperature == 0:
            new = logits.argmax(-1, keepdim=True)
        else:
            # On the CPU, where the generator lives.
            new = torch.multinomial((logits.float().cpu() / temperature).softmax(-1), 1, generator=g)
        ids = torch.cat([ids, new.to(ids)], dim=1)
    return ids


def _loss(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())
