"""Oracles of exercise 11: routing, dispatch and the losses by plain loops, and what results must look like."""

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, equal, fail, true
from autograder.rng import Rng
from autograder.student import StudentError, short, type_name


def two_of(result: Any, first: str, second: str, shapes: tuple[tuple, tuple]) -> tuple[Tensor, Tensor]:
    """The two tensors that a function returned, of these shapes; a failure that says what is missing otherwise."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        fail(f"it returned {short(result)}, expected a pair: {first} and {second}")
    for name, value, shape in zip((first, second), result, shapes, strict=True):
        true(isinstance(value, Tensor), f"{name} is {type_name(value)}, expected a tensor")
        got = tuple(value.shape)
        true(got == shape, f"{name} has shape {got}, expected {shape}")
    return result[0], result[1]


def whole_numbers(value: Tensor, name: str) -> list:
    """A tensor of integers as nested lists; a failure if it holds anything else."""
    kept_whole = not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool
    true(kept_whole, f"{name} has dtype {value.dtype}, expected integers")
    return value.tolist()


def routed(logits: Tensor, k: int) -> tuple[list, list]:
    """Experts and gates by plain sorting and exponentials, token by token."""
    experts, gates = [], []
    for row in logits.double().tolist():
        order = sorted(range(len(row)), key=lambda e: -row[e])[:k]
        exp = [math.exp(value - max(row)) for value in row]
        total = sum(exp) if k == 1 else sum(exp[e] for e in order)
        experts.append(order)
        gates.append([exp[e] / total for e in order])
    return experts, gates


def expect_routes(result: Any, logits: Tensor, k: int) -> None:
    """These experts in this order, and their gates."""
    shape = (len(logits), k)
    idx, gate = two_of(result, "idx", "gate", (shape, shape))
    experts, gates = routed(logits, k)
    equal(whole_numbers(idx, "idx"), experts, what=f"for k = {k}, idx: it")
    close(gate, torch.tensor(gates), atol=1e-6, what=f"for k = {k}, gate", dtype=False)


def gate_gradient(logits: Tensor, k: int, upstream: Tensor) -> Tensor:
    """d(sum of gates times upstream)/d(logits): a softmax moves g_a by g_a ([a = b] - g_b) when logit b moves."""
    experts, gates = routed(logits, k)
    grad = torch.zeros(logits.shape, dtype=torch.float64)
    for n, (chosen, weights) in enumerate(zip(experts, gates, strict=True)):
        rivals = range(logits.shape[1]) if k == 1 else chosen
        every = torch.softmax(logits[n, list(rivals)].double(), 0).tolist()
        for j, expert in enumerate(chosen):
            for rival, weight in zip(rivals, every, strict=True):
                grad[n, rival] += upstream[n, j].item() * weights[j] * ((expert == rival) - weight)
    return grad


def gradient_of(function: Any, *args: Any, wrt: list[int], upstream: Any, what: str) -> list[Tensor]:
    """The gradients; a failure in words where nothing that was returned depends on the argument."""
    try:
        _, grads = function.gradient(*args, wrt=wrt, upstream=upstream)
    except StudentError as error:
        # What torch says about numbers, None and tensors that remember nothing.
        if any(text in str(error) for text in ("require grad", "grad_fn", "not iterable", "NoneType")):
            fail(f"no gradient flows from {what}: somewhere on the way it was detached, or turned into plain numbers")
        raise
    for grad in grads:
        true(grad is not None, f"no gradient flows from {what}: the result does not depend on it")
    return grads


def placed(idx: list[list[int]], n_experts: int, capacity: int) -> list[list[int]]:
    """Slots by counting: all first choices in the order of the tokens, then all second choices."""
    used = [0] * n_experts
    slots = [[-1] * len(row) for row in idx]
    for j in range(len(idx[0])):
        for n, row in enumerate(idx):
            if used[row[j]] < capacity:
                slots[n][j] = used[row[j]]
                used[row[j]] += 1
    return slots


def expect_dispatched(result: Any, x: Tensor, idx: Tensor, n_experts: int, capacity: int) -> None:
    """These slots, every token where its slot says, and zeros elsewhere."""
    shapes = ((n_experts, capacity, x.shape[1]), tuple(idx.shape))
    buffers, slots = two_of(result, "buffers", "slots", shapes)
    want = placed(idx.tolist(), n_experts, capacity)
    choices = f"idx = {short(idx.tolist())} and capacity {capacity}"
    equal(whole_numbers(slots, "slots"), want, what=f"for {choices}, slots: it")
    filled = torch.zeros(shapes[0], dtype=x.dtype)
    for n, row in enumerate(want):
        for expert, slot in zip(idx[n].tolist(), row, strict=True):
            if slot >= 0:
                filled[expert, slot] = x[n]
    close(buffers, filled, what=f"for {choices}, buffers")


def combined(x: Tensor, outputs: Tensor, idx: Tensor, slots: Tensor, gate: Tensor) -> Tensor:
    """x plus what each token's experts say, token by token."""
    rows = []
    for n, row in enumerate(x):
        for expert, slot, weight in zip(idx[n].tolist(), slots[n].tolist(), gate[n], strict=True):
            row = row + weight * outputs[expert, slot] if slot >= 0 else row
        rows.append(row)
    return torch.stack(rows)


def drawn_choices(rng: Rng, n_tokens: int, n_experts: int, k: int) -> Tensor:
    """k different experts for each token, with favourites, so that some are full soon."""
    weights = rng.normal(n_tokens, n_experts) + torch.linspace(1.5, -1.5, n_experts)
    return weights.argsort(dim=-1, descending=True)[:, :k].contiguous()


def balance(probs: Tensor, idx: Tensor) -> float:
    """E sum f P by counting."""
    n_experts = probs.shape[1]
    flat = idx.flatten().tolist()
    mean = probs.double().mean(dim=0).tolist()
    return n_experts * sum(flat.count(e) / len(flat) * mean[e] for e in range(n_experts))


def z_loss(logits: Tensor) -> float:
    """The mean over tokens of the squared logarithm of the sum of exponentials."""
    squares = []
    for row in logits.double().tolist():
        top = max(row)
        squares.append((top + math.log(sum(math.exp(value - top) for value in row))) ** 2)
    return sum(squares) / len(squares)


def expect_scalar(got: Any, want: float, what: str) -> None:
    """A tensor with a single number."""
    true(isinstance(got, Tensor), f"{what} is {type_name(got)}, expected a tensor, through which gradients can flow")
    true(got.ndim == 0, f"{what} has shape {tuple(got.shape)}, expected a single number")
    close(got.item(), want, rtol=1e-4, what=what)


def fill(x: Tensor, idx: Tensor, slots: Tensor, n_experts: int, capacity: int) -> tuple[Tensor, Tensor]:
    """Buffers as these slots say, written in the order of the tokens."""
    buffers = x.new_zeros(n_experts, capacity, x.shape[1])
    for n, (experts, places) in enumerate(zip(idx.tolist(), slots.tolist(), strict=True)):
        for expert, place in zip(experts, places, strict=True):
            if place >= 0:
                buffers[expert, place] = x[n]
    return buffers, slots
