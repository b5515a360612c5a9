"""The wrong runs and samplers of exercise 10's mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.exercise import mistake
from autograder.exercises.pretraining.pretrain_parts import rate
from course_lib import attention


def pretrain_with(
    target: str = "next",
    split: str = "end",
    train_on: str = "first",
    validate_on: str = "last",
    evaluation: str = "right",
    schedule: str = "right",
    clip: str = "together",
    clears: bool = True,
    randomness: str = "g",
    returned: str = "eval",
    reports: str = "mean",
) -> Callable:
    """A pretrain that is right but for what the arguments say."""

    def pretrain(cfg, data, steps, g, observe=None):
        T, V = cfg.context_length, cfg.vocab_size
        if split == "shuffled":
            data = data[torch.randperm(len(data), generator=g)]
        cut = len(data) * 9 // 10
        train, held_out = (data if train_on == "all" else data[:cut]), data[cut:]
        if validate_on == "train":
            held_out = data[: len(held_out)]
        if randomness != "torch":
            torch.manual_seed(int(torch.randint(2**40, (), generator=g)) if randomness == "g" else 7)
        windows_from = {"torch": None, "constant": torch.Generator().manual_seed(7)}.get(randomness, g)
        model = attention.GPT(cfg)
        optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=(0.9, 0.95))

        def loss_of(inputs, targets):
            return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

        def evaluate():
            if evaluation != "dropout":
                model.eval()
            rows = (len(held_out) - 1) // T
            starts = torch.arange(rows) * T
            if evaluation == "random":
                starts = torch.randint(len(held_out) - T, (rows,), generator=g)
            inputs, targets = _windows(held_out, starts, T, "next", V)
            with torch.no_grad():
                loss = loss_of(inputs, targets).item()
            if evaluation != "stays":
                model.train()
            return loss

        log = []
        model.train()
        for step in range(steps):
            starts = torch.randint(len(train) - T - 1, (cfg.batch_size,), generator=windows_from)
            loss = loss_of(*_windows(train, starts, T, target, V))
            if clears:
                optimizer.zero_grad()
            loss.backward()
            _cut(list(model.parameters()), cfg.clip, clip)
            if schedule == "late":
                optimizer.step()
            lr = _wrong_rate(schedule, step, cfg.warmup, steps, cfg.lr)
            for group in optimizer.param_groups:
                group["lr"] = cfg.lr if schedule == "only logged" else lr
            if schedule != "late":
                optimizer.step()
            factor = {"mean": 1.0, "bits": 1 / math.log(2), "sum": cfg.batch_size * T}[reports]
            log.append({"step": step + 1, "loss": loss.item() * factor, "lr": lr})
            if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
                log[-1]["val_loss"] = evaluate()
                if observe:
                    observe(step + 1, model.state_dict())
        return (model if returned == "train" else model.eval()), log

    return pretrain


def _cut(parameters: list[Tensor], limit: float, how: str) -> None:
    if how == "together":
        torch.nn.utils.clip_grad_norm_(parameters, limit)
    elif how == "values":
        torch.nn.utils.clip_grad_value_(parameters, limit)
    elif how == "each":
        for p in parameters:
            torch.nn.utils.clip_grad_norm_([p], limit)


def _windows(data: Tensor, starts: Tensor, T: int, target: str, V: int) -> tuple[Tensor, Tensor]:
    places = starts[:, None] + torch.arange(T)
    inputs = data[places]
    if target == "next":
        return inputs, data[places + 1]
    if target == "same":
        return inputs, inputs
    if target == "plus one":
        return inputs, (inputs + 1) % V
    if target == "previous":
        return data[places + 1], inputs
    return inputs[:, :-1], data[places + 2][:, :-1]


def _wrong_rate(schedule: str, step: int, warmup: int, steps: int, peak: float) -> float:
    if schedule == "constant":
        return peak * min(1.0, (step + 1) / (warmup + 1))
    if schedule == "one ahead":
        return rate(step + 1, warmup, steps, peak)
    if schedule == "no warm-up":
        return rate(step, 0, steps, peak)
    if schedule == "misses the floor" and step >= warmup:
        return peak * (0.55 + 0.45 * math.cos(math.pi * (step - warmup) / (steps - warmup)))
    if schedule == "to zero" and step >= warmup:
        return (rate(step, warmup, steps, peak) - 0.1 * peak) / 0.9
    return rate(step, warmup, steps, peak)


def sample_with(
    rule: str = "right", cut: str = "last", place: int = -1, feeds: bool = True, keeps: str = "all", seeded: bool = True
) -> Callable:
    """A sample that is right but for what the arguments say."""

    def sample(model, ids, n, context_length, temperature=1.0, g=None):
        given = ids
        for _ in range(n):
            source = ids if feeds else given
            shown = {"last": source[:, -context_length:], "first": source[:, :context_length], "all": source}[cut]
            logits = model(shown)[:, place]
            if rule == "argmax" or (temperature == 0 and rule not in ("divides", "ignored")):
                new = logits.argmax(-1, keepdim=True)
            else:
                p = {
                    "right": lambda logits=logits: (logits / temperature).softmax(-1),
                    "divides": lambda logits=logits: (logits / temperature).softmax(-1),
                    "ignored": lambda logits=logits: logits.softmax(-1),
                    "after": lambda logits=logits: logits.softmax(-1) / temperature,
                    "times": lambda logits=logits: (logits * temperature).softmax(-1),
                }[rule]()
                new = torch.multinomial(p, 1, generator=g if seeded else None)
            ids = torch.cat([ids, new], dim=1)
        return ids if keeps == "all" else ids[:, -n:]

    return sample


def wrong_run(text: str, **how: object) -> Callable:
    """A mistake of `pretrain`."""
    return mistake(text)(pretrain_with(**how))


def wrong_sample(text: str, **how: object) -> Callable:
    """A mistake of `sample`."""
    return mistake(text, of="sample")(sample_with(**how))
