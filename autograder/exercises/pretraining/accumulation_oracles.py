"""What exercise 11 compares with: gradients written out, bfloat16 by its definition, and batches of unequal size."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, fail, true
from autograder.rng import Rng
from autograder.student import Remote, Student, StudentError, short, type_name

IGNORED = -100
# Asked along with all others: on these the usual ways of rounding wrongly differ from each other.
PROBES = [1.006, 1 + 1 / 256, 3.99, 0.0031, -70001.0]
State = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]


def draw_model(student: Student, rng: Rng, vocab: int, width: int) -> tuple[Remote, State]:
    """The student's BigramLM with drawn parameters, and these; fails, whatever is tested, if its logits are wrong."""
    state = {
        "embedding.weight": rng.normal(vocab, width),
        "head.weight": rng.normal(vocab, width),
        "head.bias": rng.normal(vocab),
    }
    model = student.BigramLM(vocab, width)
    if not isinstance(model, Remote):
        fail(f"BigramLM({vocab}, {width}) gave {type_name(model)}, expected a module", model)
    try:
        model.load_state_dict(state)
    except StudentError as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in state.items())
        fail(f"BigramLM({vocab}, {width}) cannot load the parameters {shapes}: {error}")
    ids = torch.arange(vocab)[None]
    close(model(ids), torch.tensor(logits_of(state, ids)), rtol=1e-4, atol=1e-5, what="BigramLM, which all else needs,")
    return model, state


def draw_batch(rng: Rng, vocab: int, rows: int, length: int, padding: tuple[int, ...] = ()) -> Batch:
    """Drawn inputs and targets [rows, length]; row r ends in padding[r] places without a target."""
    inputs, targets = (torch.tensor([rng.ids(length, 0, vocab - 1) for _ in range(rows)]) for _ in range(2))
    for row, count in enumerate(padding):
        if count:
            targets[row, -count:] = IGNORED
            inputs[row, -count:] = 0
    return inputs, targets


def logits_of(state: State, ids: Tensor) -> list[list[list[float]]]:
    """The model in float64, one number after the other."""
    E, W, b = (state[name].double().tolist() for name in ("embedding.weight", "head.weight", "head.bias"))
    rows = [[math.fsum(w * e for w, e in zip(W[v], vector, strict=True)) + b[v] for v in range(len(b))] for vector in E]
    return [[rows[i] for i in row] for row in ids.tolist()]


def gradients(state: State, batches: list[Batch]) -> State:
    """The gradient of the mean over all targets, token by token: each pulls by softmax minus one-hot."""
    E, W, b = (state[name].double() for name in ("embedding.weight", "head.weight", "head.bias"))
    pairs = [
        (here, after)
        for inputs, targets in batches
        for here, after in zip(inputs.flatten().tolist(), targets.flatten().tolist(), strict=True)
        if after != IGNORED
    ]
    dE, dW, db = torch.zeros_like(E), torch.zeros_like(W), torch.zeros_like(b)
    for here, after in pairs:
        z = W @ E[here] + b
        pull = torch.exp(z - z.max())
        pull = pull / pull.sum()
        pull[after] -= 1
        dE[here] += pull @ W / len(pairs)
        dW += torch.outer(pull, E[here]) / len(pairs)
        db += pull / len(pairs)
    return {"embedding.weight": dE.float(), "head.weight": dW.float(), "head.bias": db.float()}


def compare_gradients(got: Any, want: State, what: str) -> None:
    true(isinstance(got, dict), f"{what} is {type_name(got)}, expected a dictionary of gradients by parameter name")
    names = [str(name) for name in got]
    true(sorted(names) == sorted(want), f"{what} has the names {short(names)}, expected {short(list(want))}")
    for name, gradient in want.items():
        if not isinstance(got[name], Tensor):
            fail(f"{what} has {type_name(got[name])} for {name}, expected a tensor", got)
        close(got[name], gradient, rtol=1e-3, atol=2e-6, what=f"{what}, {name},")


def nearest_bf16(value: float) -> float:
    """The bfloat16 nearest to a normal float32 number, by its definition: 8 significant binary digits, ties to even."""
    if value == 0 or not math.isfinite(value):
        return value
    fraction, exponent = math.frexp(value)  # 0.5 <= |fraction| < 1, so 256 * fraction has 8 digits before the point
    rounded = math.ldexp(round(fraction * 256), exponent - 8)  # Python rounds halves to even
    return math.copysign(math.inf, value) if abs(rounded) >= 2.0**128 else rounded


def expect_rounded(student: Student, values: list[float], what: str, column: bool = False) -> None:
    """Ask for these numbers, as a row or as a column of a matrix, and compare each with the nearest bfloat16."""
    x = torch.tensor(values + PROBES, dtype=torch.float32)
    x = x.view(-1, 1) if column else x
    before_the_call = x.clone()
    got, after = student.bf16_round.with_arguments(x)
    true(isinstance(got, Tensor), f"{what}: it is {type_name(got)}, expected a tensor of shape {tuple(x.shape)}")
    true(tuple(got.shape) == tuple(x.shape), f"{what}: it has shape {tuple(got.shape)}, expected {tuple(x.shape)}")
    true(got.dtype == torch.float32, f"{what}: it has dtype {got.dtype}, expected torch.float32")
    for before, rounded in zip(before_the_call.flatten().tolist(), got.flatten().tolist(), strict=True):
        want = nearest_bf16(before)
        if not (rounded == want or (math.isnan(rounded) and math.isnan(want))):
            fail(f"{what}: {before:.9g} became {rounded:.9g}, the nearest bfloat16 is {want:.9g}", got)
    close(after[0], before_the_call, rtol=0, atol=0, what="bf16_round changes x itself: after the call, x")
