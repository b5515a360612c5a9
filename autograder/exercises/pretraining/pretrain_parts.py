"""What exercise 10 trains on and compares with, and how it looks at what a run has made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import fail, true
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Remote, Student, type_name

LIKELY = 0.85
ENTROPY = -LIKELY * math.log(LIKELY) - (1 - LIKELY) * math.log(1 - LIKELY)  # nats for each symbol, if you know it all
# What a fresh model may report as its loss, and what that is as a multiple of ln V.
SCALES = {"about ln V": 1.0, "ln V in bits": 1 / math.log(2), "ln V times the tokens": 128.0}


@dataclass
class Language:
    """Each symbol has a likely successor and an unlikely one; no symbol follows itself or the number before it."""

    likely: list[int]
    unlikely: list[int]

    def text(self, rng: Rng, length: int) -> Tensor:
        ids = [rng.randrange(len(self.likely))]
        while len(ids) < length:
            ids.append((self.likely if rng.random() < LIKELY else self.unlikely)[ids[-1]])
        return torch.tensor(ids)


def draw_languages(rng: Rng, V: int) -> tuple[Language, Language]:
    """Two languages over the same V symbols in which no symbol is ever followed by the same one."""
    while True:
        names = rng.sample(range(V), V)  # they stand on a circle; a successor is so many places further on
        place = {name: i for i, name in enumerate(names)}
        follow = [[names[(place[name] + step) % V] for name in range(V)] for step in rng.sample(range(1, V), 4)]
        # A likely successor that is one more would make x + 1 look like reading on.
        if all(follow[k][a] != (a + 1) % V for k in (0, 2) for a in range(V)):
            return Language(*follow[:2]), Language(*follow[2:])


def settings(V: int, **changes: Any) -> SimpleNamespace:
    """A run that takes a few hundredths of a second."""
    usual = {"vocab_size": V, "context_length": 8, "n_layers": 1, "n_heads": 2, "d_model": 16, "dropout": 0.0}
    usual |= {"batch_size": 16, "lr": 0.03, "warmup": 3, "clip": 1.0, "eval_every": 1000}
    return SimpleNamespace(**usual | changes)


def generator(rng: Rng) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(40))


def trained(
    student: Student, cfg: Any, data: Tensor, steps: int, g: torch.Generator, observe: Callable | None = None
) -> tuple[Remote, list[dict[str, float]]]:
    """The student's model and log, off the record; fails where they are not what they should be."""
    with student.off_the_record():
        got = (
            student.pretrain(cfg, data, steps, g) if observe is None else student.pretrain(cfg, data, steps, g, observe)
        )
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        fail(f"pretrain returned {type_name(got)}, expected the model and the log")
    model, log = got
    if not isinstance(model, Remote):
        fail(f"the model that pretrain returned is {type_name(model)}, expected a GPT")
    if not isinstance(log, list) or len(log) != steps or not all(isinstance(record, dict) for record in log):
        size = f" of {len(log)}" if isinstance(log, list) else ""
        fail(f"the log is {type_name(log)}{size}, expected a list with one dictionary for each of {steps} steps")
    for number, record in enumerate(log, start=1):
        for name in ("step", "loss", "lr"):
            if not _is_finite(record.get(name)):
                fail(f"record {number} of the log has no finite number under {name!r}")
        if record["step"] != number:
            fail(f"record {number} of the log has step {record['step']}, expected {number}")
    if not _is_finite(log[-1].get("val_loss")):
        fail("the last record of the log has no finite number under 'val_loss'")
    return model, log


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def logits_of(student: Student, model: Remote, ids: Tensor, V: int) -> Tensor:
    """The model's logits [B, T, V] as it was returned, off the record."""
    with student.off_the_record():
        logits = a_tensor(model(ids), "the model")
    if logits.shape != (*ids.shape, V):
        fail(f"the model gives logits of shape {tuple(logits.shape)} for ids {tuple(ids.shape)} and V = {V}")
    return logits.double()


def next_loss(student: Student, model: Remote, ids: Tensor, cfg: Any) -> float:
    """The mean of -log p(next) over windows of a text side by side."""
    T, V = cfg.context_length, cfg.vocab_size
    rows = (len(ids) - 1) // T
    logits = logits_of(student, model, ids[: rows * T].view(rows, T), V)
    return F.cross_entropy(logits.flatten(0, 1), ids[1 : rows * T + 1]).item()


def rate(step: int, warmup: int, steps: int, peak: float) -> float:
    """The oracle for the learning rate: equal stairs up, half a cosine down to a tenth at the last step."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    angle = math.pi * (step - warmup) / (steps - 1 - warmup)
    return peak * (0.55 + 0.45 * math.cos(angle))


def counting_model(V: int) -> Callable[[Tensor], Tensor]:
    """A model whose likeliest next token is computed from all tokens that it is shown, their order and number."""

    def model(ids: Tensor) -> Tensor:
        if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point():
            raise ValueError("the model was called with something that is no tensor of ids [B, T]")
        weights = torch.arange(1, ids.shape[1] + 1)
        sums = (ids * weights).cumsum(1) + ids + weights
        return 3.0 * F.one_hot(sums % V, V).float() - 1.0

    return model


def counted_on(ids: Tensor, n: int, context_length: int, V: int) -> Tensor:
    """The oracle for the greedy continuation with `counting_model`, in plain integers."""
    rows = []
    for row in ids.tolist():
        for _ in range(n):
            seen = row[-context_length:]
            row.append((sum((i + 1) * token for i, token in enumerate(seen)) + seen[-1] + len(seen)) % V)
        rows.append(row)
    return torch.tensor(rows)


def kind_of_draws(found: Tensor, logits: Tensor, temperature: float) -> str:
    """Which rule the shares of drawn tokens follow: right, or which of the usual wrong ones."""
    n = int(found.sum())
    rules = {
        "right": (logits / temperature).softmax(-1),
        "as at temperature 1": logits.softmax(-1),
        "as at one over the temperature": (logits * temperature).softmax(-1),
        "all alike": torch.full_like(logits, 1 / len(logits)),
        "the likeliest only": F.one_hot(logits.argmax(), len(logits)).double(),
    }
    for name, p in rules.items():
        if bool(((found / n - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()):
            return name
    return "none of these"


def drawn_once(student: Student, logits: Tensor, count: int, temperature: float, g: torch.Generator) -> Tensor:
    """One token for each of `count` rows, whatever they begin with, from the same logits."""
    with student.off_the_record():
        got = student.sample(
            lambda ids: logits.expand(*ids.shape, -1), torch.zeros(count, 1).long(), 1, 4, temperature, g
        )
    if not isinstance(got, Tensor) or got.shape != (count, 2) or got.is_floating_point():
        student.conclude("no text of two ids a row")
        fail(f"sample returned {_shape(got)}, expected ids [{count}, 2]")
    new = got[:, 1]
    true(bool(((new >= 0) & (new < len(logits))).all()), "sample returned ids that the model has no logits for")
    return new


def look_at_zero(student: Student, logits: Tensor, g: torch.Generator) -> None:
    """Put on record whether anything is drawn at temperature 0: it tells two mistakes apart."""
    coldest = drawn_once(student, logits, 40, 0.0, g) == logits.argmax()
    student.conclude("at temperature 0 the likeliest" if coldest.all() else "draws at temperature 0, too")


def _shape(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def habit_of(best: Tensor, text: Tensor, likely: list[int]) -> str:
    """What the likeliest next tokens have to do with the text."""
    likely = torch.tensor(likely)
    V = len(likely)
    before = torch.empty_like(likely)
    before[likely] = torch.arange(V)
    rules = {
        "predicts what comes next": likely[text],
        "repeats its input": text,
        "adds 1 to its input": (text + 1) % V,
        "predicts the token after the next": likely[likely[text]],
        "predicts what came before": before[text],
    }
    return next((name for name, rule in rules.items() if (best == rule).double().mean() > 0.6), "knows no order")


def alike(a: list[float], b: list[float]) -> bool:
    """Whether two rows of losses are the same up to rounding."""
    return all(math.isclose(x, y, rel_tol=1e-6) for x, y in zip(a, b, strict=True))
