"""Ablations in minutes: one small decoder with parts taken away, several seeds trained side by side.

The parameters of all seeds lie in one matrix [S, P], a row for each seed. So one optimiser step on one tensor moves
all of them, and each matrix product is done for all seeds at once: on small networks most of the time is overhead.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from course_lib.pretraining.adamw import adamw_step
from course_lib.pretraining.clipping import clip_grad_norm
from course_lib.pretraining.schedules import lr_at

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Recipe:
    """What one network has: where its norms are ("pre", "post" or "none"), positions or not, a warm-up or not."""

    norms: str = "pre"
    positions: bool = True
    warmup: bool = True


@dataclass(frozen=True)
class Setup:
    """What all networks of a comparison share; `lr` is the peak, `warmup` a share of the steps."""

    vocab: int
    layers: int = 4
    heads: int = 4
    width: int = 32
    length: int = 32
    rows: int = 16
    steps: int = 200
    lr: float = 0.015
    warmup: float = 0.25
    seeds: tuple[int, ...] = (0, 1, 2)


ABLATIONS = {
    "no warm-up": Recipe(warmup=False),
    "no norm": Recipe(norms="none"),
    "post-norm": Recipe(norms="post"),
    "no positions": Recipe(positions=False),
}


def parameter_shapes(setup: Setup, recipe: Recipe) -> Shapes:
    """Return the shapes of one network's parameters, in the order in which they lie in its row.

    >>> list(parameter_shapes(Setup(9, layers=0), Recipe()))
    ['tokens', 'positions', 'last.gain', 'last.shift', 'head']
    """
    C = setup.width
    shapes: Shapes = {"tokens": (setup.vocab, C)}
    if recipe.positions:
        shapes["positions"] = (setup.length, C)
    norms = []
    for k in range(setup.layers):
        shapes |= {f"{k}.qkv": (C, 3 * C), f"{k}.out": (C, C), f"{k}.up": (C, 4 * C), f"{k}.down": (4 * C, C)}
        norms += [f"{k}.attention", f"{k}.mlp"] if recipe.norms != "none" else []
    for name in norms + (["last"] if recipe.norms == "pre" else []):
        shapes |= {f"{name}.gain": (C,), f"{name}.shift": (C,)}
    return shapes | {"head": (C, setup.vocab)}


def initial(setup: Setup, recipe: Recipe) -> Tensor:
    """Return fresh parameters [S, P]: embeddings N(0, 0.1^2), matrices half of Xavier's variance, gains 1, shifts 0."""
    rows = []
    for seed in setup.seeds:
        generator, parts = torch.Generator().manual_seed(seed), []
        for name, shape in parameter_shapes(setup, recipe).items():
            if len(shape) == 1:
                parts.append(torch.full(shape, float(name.endswith("gain"))))
                continue
            std = 0.1 if name in ("tokens", "positions") else math.sqrt(1 / sum(shape))
            parts.append(std * torch.randn(shape, generator=generator).flatten())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def logits(parameters: Tensor, ids: Tensor, setup: Setup, recipe: Recipe) -> Tensor:
    """Return logits [S, B T, V] for ids [S, B, T], each seed's rows through its own network; T is setup.length."""
    (S, B, T), C, H = ids.shape, setup.width, setup.heads
    shapes = parameter_shapes(setup, recipe)
    pieces = parameters.split([math.prod(shape) for shape in shapes.values()], dim=1)
    P = {name: piece.view(S, *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (C,)) * P[f"{name}.gain"].unsqueeze(1) + P[f"{name}.shift"].unsqueeze(1)

    def attention(x: Tensor, k: int) -> Tensor:
        q, key, v = (x @ P[f"{k}.qkv"]).view(S * B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, key, v, is_causal=True)  # [S B, H, T, D]
        return mixed.transpose(1, 2).reshape(S, B * T, C) @ P[f"{k}.out"]

    def mlp(x: Tensor, k: int) -> Tensor:
        return F.gelu(x @ P[f"{k}.up"]) @ P[f"{k}.down"]

    x = P["tokens"].gather(1, ids.reshape(S, -1, 1).expand(-1, -1, C))  # [S, B T, C]
    if recipe.positions:
        x = x + P["positions"].repeat(1, B, 1)
    for k in range(setup.layers):
        for sublayer, name in ((attention, f"{k}.attention"), (mlp, f"{k}.mlp")):
            if recipe.norms == "pre":
                x = x + sublayer(norm(x, name), k)
            elif recipe.norms == "post":
                x = norm(x + sublayer(x, k), name)
            else:
                x = x + sublayer(x, k)
    return (norm(x, "last") if recipe.norms == "pre" else x) @ P["head"]


def windows_of(data: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return `count` drawn stretches of length + 1 ids, [count, length + 1]."""
    starts = torch.randint(len(data) - length, (count,), generator=generator)
    return data[(starts.unsqueeze(1) + torch.arange(length + 1)).to(data.device)]


def losses_by_seed(parameters: Tensor, rows: Tensor, setup: Setup, recipe: Recipe) -> Tensor:
    """Return the mean loss [S] of each seed's network on its rows [S, B, T + 1], in nats."""
    scores = logits(parameters, rows[..., :-1], setup, recipe)
    return F.cross_entropy(scores.flatten(0, 1), rows[..., 1:].flatten(), reduction="none").view(len(rows), -1).mean(1)


def train_ablation(
    data: Tensor,
    held_out: Tensor,
    setup: Setup,
    recipe: Recipe,
    step: Callable[..., tuple[Tensor, Any]] = adamw_step,
    schedule: Callable[..., float] = lr_at,
    clip: Callable[..., tuple[Sequence[Tensor], Any]] = clip_grad_norm,
    every: int = 24,
    name: str = "training",
) -> tuple[list[int], Tensor]:
    """Train one network per seed, and return the steps of measurement and held-out losses [measurements, S], in nats.

    data, held_out: token ids [N]. All recipes see the same batches, seed by seed. `step`, `schedule` and `clip` are
    used as `adamw_step`, `lr_at` and `clip_grad_norm` are, and may be the student's. Measured on the same rows every
    time, every so many steps and at the end. ValueError if a text is not longer than a row.
    """
    for what, ids in (("data", data), ("held_out", held_out)):
        if len(ids) <= setup.length:
            raise ValueError(f"{what}: expected more than length = {setup.length} ids, got {len(ids)}")
    S = len(setup.seeds)
    draws = [torch.Generator().manual_seed(1000 + seed) for seed in setup.seeds]
    test = windows_of(held_out, 96, setup.length, torch.Generator().manual_seed(99)).expand(S, -1, -1)
    parameters, state = initial(setup, recipe).to(data.device), None
    warmup = int(setup.warmup * setup.steps) if recipe.warmup else 0
    measured, curves = [], []
    for number in tqdm(range(setup.steps), desc=name, leave=False):
        rows = torch.stack([windows_of(data, setup.rows, setup.length, draw) for draw in draws])
        parameters.requires_grad_()
        (grad,) = torch.autograd.grad(losses_by_seed(parameters, rows, setup, recipe).sum(), parameters)
        grad = torch.stack([clip([of_seed], 1.0)[0][0] for of_seed in grad])
        lr = schedule(number, warmup, setup.steps, setup.lr, setup.lr / 10)
        with torch.no_grad():
            parameters, state = step(parameters.detach(), grad, state, lr)
            parameters = parameters.detach()
            if (number + 1) % every == 0 or number + 1 == setup.steps:
                measured.append(number + 1)
                curves.append(losses_by_seed(parameters, test, setup, recipe))
    return measured, torch.stack(curves).cpu()


def pairs_right(predicted: Sequence[str], losses: dict[str, float]) -> tuple[int, int]:
    """Count the pairs that a predicted order, lowest loss first, has in the order of the losses; and all pairs.

    Kendall's tau is 2 right / all - 1. ValueError if the order does not name each of them once.

    >>> pairs_right(["a", "c", "b"], {"a": 1.0, "b": 2.0, "c": 3.0})
    (2, 3)
    """
    if sorted(predicted) != sorted(losses):
        raise ValueError(f"predicted: expected each of {', '.join(losses)} once, got {', '.join(predicted)}")
    pairs = list(combinations(predicted, 2))
    return sum(losses[first] < losses[second] for first, second in pairs), len(pairs)
