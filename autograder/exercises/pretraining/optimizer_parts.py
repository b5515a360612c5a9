"""What exercise 7 compares with, and the wrong versions of which its mistakes are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autograder.compare import close, equal, true
from autograder.student import Student, short, type_name


def moved(p: float, gradients: Sequence[float], lr: float, betas: tuple[float, float], eps: float, wd: float) -> float:
    """The oracle for AdamW: one number, from all its gradients at once, the means as weighted sums."""
    beta1, beta2 = betas
    for t in range(1, len(gradients) + 1):
        seen = gradients[:t]
        first = [beta1 ** (t - 1 - i) for i in range(t)]
        second = [beta2 ** (t - 1 - i) for i in range(t)]
        mean = sum(w * g for w, g in zip(first, seen, strict=True)) / sum(first)
        square = sum(w * g * g for w, g in zip(second, seen, strict=True)) / sum(second)
        p = (1 - lr * wd) * p - lr * mean / (math.sqrt(square) + eps)
    return p


def all_moved(p: Tensor, gs: Sequence[Tensor], **settings: Any) -> Tensor:
    """The oracle for every number of a tensor."""
    columns = torch.stack(list(gs)).double().flatten(1).T.tolist()
    numbers = [moved(x, column, **settings) for x, column in zip(p.double().flatten().tolist(), columns, strict=True)]
    return torch.tensor(numbers, dtype=torch.float64).view(p.shape)


def expect_step(got: Any, p: Tensor, what: str) -> tuple[Tensor, Any]:
    """A new parameter and a new state: a pair, the first a tensor of the shape of p."""
    true(isinstance(got, tuple) and len(got) == 2, f"{what} is {type_name(got)}, expected (new parameter, new state)")
    new, state = got
    true(isinstance(new, Tensor), f"the new parameter is {type_name(new)}, expected a tensor")
    true(new.shape == p.shape, f"the new parameter has shape {tuple(new.shape)}, expected {tuple(p.shape)}")
    true(new.dtype == p.dtype, f"the new parameter has dtype {new.dtype}, expected {p.dtype}")
    true(isinstance(state, dict), f"the new state is {type_name(state)}, expected a dictionary")
    return new, state


def expect_path(student: Student, p: Tensor, gs: Sequence[Tensor], settings: dict[str, Any], what: str) -> None:
    """Follow several steps; after each the parameter must be the oracle's."""
    state, now = None, p
    for number in range(1, len(gs) + 1):
        got = student.adamw_step(now, gs[number - 1], state, **settings)
        now, state = expect_step(got, p, f"the result of step {number}")
        want = all_moved(p, gs[:number], **settings).to(p.dtype)
        close(now, want, rtol=2e-4, atol=2e-5, what=f"{what}: the parameter after step {number}")
        said = state.get("step")
        true(isinstance(said, int) and said == number, f'{what}: state["step"] is {short(said)} after step {number}')


def adamw_with(
    p: Tensor,
    g: Tensor,
    state: dict | None,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    wd: float = 0.0,
    *,
    decay: str = "apart",
    eps_at: str = "outside",
    corrected: bool = True,
    first_step: int = 1,
    root: bool = True,
    order: int = 1,
) -> tuple[Tensor, dict]:
    """AdamW, right but for what the last arguments say."""
    beta1, beta2 = betas[::order]
    state = state or {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    step = state["step"] + 1
    if decay == "in the gradient":
        g = g + wd * p
    m = beta1 * state["m"] + (1 - beta1) * g
    v = beta2 * state["v"] + (1 - beta2) * g * g
    t = step - 1 + first_step
    m_hat, v_hat = (m / (1 - beta1**t + 0.0 * m), v / (1 - beta2**t + 0.0 * v)) if corrected else (m, v)
    below = v_hat.sqrt() if root else v_hat
    if eps_at == "outside":
        below = below + eps
    elif eps_at == "inside":
        below = (v_hat + eps).sqrt()
    else:
        below = (v.sqrt() + eps) / math.sqrt(1 - beta2**t)
    shrink = {"apart": lr * wd, "without lr": wd}.get(decay, 0.0)
    new = p - shrink * p - lr * m_hat / below
    if decay == "afterwards":
        new = new - lr * wd * new
    return new, {"step": step, "m": m, "v": v}


def rates(warmup: int, total: int, peak: float, floor: float, steps: int) -> list[float]:
    """The oracle for the schedule: stairs, then a point that walks round half a circle."""
    stairs = [peak / (warmup + 1) * n for n in range(1, warmup + 1)]
    left = total - warmup
    middle, radius = (peak + floor) / 2, (peak - floor) / 2
    corner = complex(math.cos(math.pi / max(1, left - 1)), math.sin(math.pi / max(1, left - 1)))
    point, falling = complex(1, 0), []
    for _ in range(left):
        falling.append(middle + radius * point.real)
        point *= corner
    return (stairs + falling + [floor] * steps)[:steps]


def expect_rates(student: Student, warmup: int, total: int, peak: float, floor: float, more: int = 0) -> None:
    for step, want in enumerate(rates(warmup, total, peak, floor, total + more)):
        got = student.lr_at(step, warmup, total, peak, floor)
        what = f"lr_at({step}, warmup={warmup}, total={total}, peak={peak:g}, floor={floor:g})"
        close(got, want, rtol=1e-3, atol=1e-5, what=what)


def expect_clipped(got: Any, gs: Sequence[Tensor], max_norm: float, what: str) -> None:
    """The gradients times one factor, and the norm before: from a sum of squares in Python's floats."""
    true(isinstance(got, tuple) and len(got) == 2, f"{what} is {type_name(got)}, expected (gradients, norm)")
    clipped, norm = got
    true(isinstance(clipped, list), f"the gradients are {type_name(clipped)}, expected a list of tensors")
    true(len(clipped) == len(gs), f"{len(clipped)} gradients came back, expected {len(gs)}")
    length = math.sqrt(math.fsum(x * x for g in gs for x in g.double().flatten().tolist()))
    if isinstance(norm, Tensor):
        true(norm.ndim == 0, f"the norm has shape {tuple(norm.shape)}, expected a single number")
        norm = norm.item()
    close(norm, length, rtol=1e-4, atol=1e-7, what=f"{what}: the norm before clipping")
    for number, (one, g) in enumerate(zip(clipped, gs, strict=True)):
        want = g if length <= max_norm else (g.double() * (max_norm / length)).to(g.dtype)
        close(one, want, rtol=1e-4, atol=1e-7, what=f"{what}: gradient {number}")


class Training:
    """A model that remembers which batches it has seen; its loss is low until it has seen a bad one."""

    def __init__(self, bad: Sequence[int] = (), loud: Sequence[int] = ()):
        self.bad, self.loud = set(bad), set(loud)  # what spoils the weights; what is a shock itself
        self.seen: list[int] = []
        self.steps = self.returns = self.looks = 0

    def loss(self, seen: Sequence[int], batch: int) -> float:
        spoilt = not self.bad.isdisjoint(seen) or batch in self.loud
        return 9.0 if spoilt else 2.0 - 0.01 * len(seen)

    def step(self, batch: int) -> float:
        loss = self.loss(self.seen, batch)
        self.steps += 1
        self.seen.append(batch)
        return loss

    def save(self) -> list[int]:
        return list(self.seen)

    def restore(self, state: Any) -> None:
        self.returns += 1
        self.seen = list(state) if isinstance(state, list) else []

    def observe(self, loss: Any) -> bool:
        self.looks += 1
        return not loss < 5

    def run(self, student: Student, count: int, every: int) -> Any:
        guard = SimpleNamespace(observe=self.observe)
        return student.train_with_spike_guard(
            self.step, self.save, self.restore, list(range(count)), guard, every=every
        )

    def expected(self, count: int, every: int) -> tuple[list[float], list[int]]:
        """The oracle keeps no states: only the batches that are in the model, and how many of them are proved."""
        kept: list[int] = []
        skipped: list[int] = []
        proved = 0
        for batch in range(count):
            if self.loss(kept, batch) < 5:
                kept.append(batch)
                before = len(kept) - 1
                proved = before if before % every == 0 else proved
            else:
                skipped += [*kept[proved:], batch]
                kept = kept[:proved]
        return [self.loss(kept[:n], batch) for n, batch in enumerate(kept)], skipped


def expect_run(student: Student, training: Training, count: int, every: int) -> None:
    what = f"{count} batches, a save every {every} steps, trouble in {sorted(training.bad | training.loud)}"
    got = training.run(student, count, every)
    # What is returned can be the same for different reasons; what was done differs.
    looks = "fewer" if training.looks < training.steps else "more" if training.looks > training.steps else "as many"
    student.conclude(f"{training.steps} steps, {training.returns} returns, {looks} looks")
    losses, skipped = training.expected(count, every)
    true(isinstance(got, tuple) and len(got) == 2, f"it returned {type_name(got)}, expected (losses, skipped)")
    equal(got[1], skipped, what=f"{what}: as the list of skipped batches it")
    expect_losses(got[0], losses, what)
    left = [batch for batch in range(count) if batch not in skipped]
    kind = "the model knows what it should" if training.seen == left else "the model knows something else"
    student.conclude(kind)
    true(training.seen == left, f"{what}: at the end the model has seen {training.seen}, expected {left}")
    message = f"{what}: guard.observe was called {training.looks} times for {training.steps} losses; once for each"
    true(looks == "as many", message)


def expect_losses(got: Any, want: list[float], what: str) -> None:
    true(isinstance(got, list), f"{what}: the losses are {type_name(got)}, expected a list")
    true(len(got) == len(want), f"{what}: it returned {len(got)} losses, expected {len(want)}")
    for number, (loss, right) in enumerate(zip(got, want, strict=True)):
        close(loss, right, rtol=1e-9, what=f"{what}: as loss {number} it")


class Kept(NamedTuple):
    step: int
    state: Any


def guarded(
    step: Callable, save: Callable, restore: Callable, batches: Sequence, guard: Any, every: int, flaw: str
) -> tuple[list[float], list[int]]:
    """Training with a guard that has one flaw."""
    losses: list[float] = []
    skipped: list[int] = []
    since: list[int] = []
    good = pending = Kept(0, save())
    queue = list(enumerate(batches))
    while queue:
        number, batch = queue.pop(0)
        counted = number if flaw == "counts batches" else len(losses)
        if counted % every == 0 and len(losses) != pending.step:
            pending = Kept(len(losses), save())
            if flaw == "trusts":
                good, since = pending, []
        loss = step(batch)
        if flaw == "asks twice":
            guard.observe(loss)
        if guard.observe(loss):
            if flaw == "goes on":
                skipped.append(number)
                continue
            restore(good.state)
            if flaw == "replays":
                queue = [(n, batches[n]) for n in since] + queue
            skipped += [number] if flaw in ("replays", "hides") else [*since, number]
            since = []
            if flaw != "keeps losses":
                del losses[good.step :]
            pending = good
            continue
        losses.append(loss)
        since.append(number)
        if pending is not good and flaw != "never renews":
            good, since = pending, [number]
    return losses, skipped
