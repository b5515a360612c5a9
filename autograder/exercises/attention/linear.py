"""Exercise 12: linear attention in two forms, and the wkv of RWKV."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import close, true
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import attention


def phi(x: float) -> float:
    return x + 1 if x > 0 else math.exp(x)


def linear_attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention of one [T, D] sequence, sums written out in Python's floats."""
    features_q, features_k = ([[phi(x) for x in row] for row in side.double().tolist()] for side in (q, k))
    rows = []
    for t, query in enumerate(features_q):
        weights = [sum(a * b for a, b in zip(query, key, strict=True)) for key in features_k[: t + 1]]
        total = sum(weights)
        mixed = [sum(w * x for w, x in zip(weights, column, strict=False)) for column in v.T.double().tolist()]
        rows.append([x / total for x in mixed])
    return torch.tensor(rows, dtype=torch.float64)


def faded_averages(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """wkv of one [T, C] sequence: a softmax over the exponents of the present and of each past position."""
    k, v, w, u = (x.double() for x in (k, v, w, u))
    rows = []
    for t in range(len(k)):
        ages = torch.arange(t - 1, -1, -1, dtype=torch.float64)[:, None]  # t - 1 - i for i = 0 .. t - 1
        exponents = torch.cat([k[:t] - ages * w, (u + k[t])[None]])
        rows.append((exponents.softmax(dim=0) * v[: t + 1]).sum(dim=0))
    return torch.stack(rows)


def expect_sequence(got: Any, want: Tensor, what: str) -> None:
    """A tensor of these numbers; nan and inf are spoken of first."""
    true(isinstance(got, Tensor), f"{what} is {type_name(got)}, expected a tensor of shape {tuple(want.shape)}")
    true(tuple(got.shape) == tuple(want.shape), f"{what} has shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    finite = bool(torch.isfinite(got).all()) if got.is_floating_point() else True
    true(finite, f"{what} holds nan or inf: something overflowed, or nothing was divided by nothing")
    close(got, want, rtol=1e-4, atol=1e-5, what=what, dtype=False)


def drawn_inputs(rng: Rng, length: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """k, v [T, C] and w, u [C], with a decay between 0.2 and 2."""
    w = torch.tensor([rng.uniform(0.2, 2.0) for _ in range(width)])
    return rng.normal(length, width), rng.normal(length, width), w, rng.normal(width)


class Wkv(Exercise):
    """Attend to a past of any length with a state that does not grow: linear attention, and RWKV's wkv."""

    title = "Linear attention and RWKV"
    difficulty = 3
    minutes = 45
    functions = ("linear_attention_parallel", "linear_attention_recurrent", "wkv")
    reference = attention
    hints = (
        "In each of them, position t gets a weighted average of the values up to t. Write down the weights of position "
        "2 by hand, first. Which two sums would you have to carry along so that position 3 costs no more than 2 did?",
        "Parallel: phi(q) times phi(k) transposed, keep the lower triangle, divide each row by its sum, times v. "
        "Recurrent: S [D, M] grows by phi(k_t) v_t^T, z [D] by phi(k_t); then phi(q_t) S / (phi(q_t) z). wkv: carry "
        "a, b and p, where the sums over the past are a e^p and b e^p; before any exp subtract the larger exponent.",
        "phi = lambda x: F.elu(x) + 1. wkv, for each t: top = max(p, u + k_t); out = (e^(p-top) a + e^(u+k_t-top) v_t) "
        "/ (e^(p-top) b + e^(u+k_t-top)). Then top = max(p - w, k_t); a = e^(p-w-top) a + e^(k_t-top) v_t; b the same "
        "with 1 instead of v_t; p = top. Begin with a = b = 0 and p = -inf.",
    )

    @check(hint="With q = k = 0 all weights are equal: the running mean of the values. Then: phi(x) = elu(x) + 1.")
    def weighs_the_past_by_features(self, student: Student, rng: Rng) -> None:
        zero, v = torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [3.0, 6.0], [8.0, 3.0]])
        means = torch.tensor([[1.0, 0.0], [2.0, 3.0], [4.0, 3.0]])
        # Drawn numbers first: many a mistake makes a running mean of equal keys.
        for length, width, out in ((6, 3, 3), (5, 2, 4)):
            args = rng.normal(length, width), rng.normal(length, width), rng.normal(length, out)
            got = student.linear_attention_parallel(*args)
            expect_sequence(got, linear_attended(*args), f"for T = {length} and D = {width}, the result")
        got = student.linear_attention_parallel(zero, zero, v)
        expect_sequence(got, means, "for equal keys, the result")

    @check(hint="Add phi(k_t) v_t^T and phi(k_t) to the state first, then read it with phi(q_t): t sees itself too.")
    def gives_the_same_with_a_state(self, student: Student, rng: Rng) -> None:
        for length, width, out in ((6, 3, 3), (5, 2, 4), (1, 2, 2)):
            args = rng.normal(length, width), rng.normal(length, width), rng.normal(length, out)
            got = student.linear_attention_recurrent(*args)
            expect_sequence(got, linear_attended(*args), f"for T = {length} and D = {width}, the result")

    @check(hint="Change what comes after position t: nothing up to t may move.")
    def never_looks_into_the_future(self, student: Student, rng: Rng) -> None:
        q, k, v = rng.normal(8, 3), rng.normal(8, 3), rng.normal(8, 3)
        later_k, later_v = torch.cat([k[:5], k[5:] + 3]), torch.cat([v[:5], -4 * v[5:]])
        for name in ("linear_attention_parallel", "linear_attention_recurrent"):
            function = getattr(student, name)
            before, after = function(q, k, v), function(q, later_k, later_v)
            expect_sequence(before, linear_attended(q, k, v), f"the result of {name}")
            expect_sequence(after, linear_attended(q, later_k, later_v), f"the result of {name}")
            close(after[:5], before[:5], rtol=1e-4, atol=1e-6, what=f"what {name} gives before the change")

    @check(
        points=2, hint="Position t - 1 has not faded yet; t - 2 by one factor e^(-w); and t itself counts e^(u + k_t)."
    )
    def averages_what_fades(self, student: Student, rng: Rng) -> None:
        half = torch.full((1,), math.log(2))
        k, v, no_bonus = torch.zeros(3, 1), torch.tensor([[1.0], [3.0], [8.0]]), torch.zeros(1)
        drawn = drawn_inputs(rng, 7, 3)
        expect_sequence(student.wkv(*drawn), faded_averages(*drawn), "for drawn keys, the result")
        want = torch.tensor([[1.0], [2.0], [(0.5 * 1 + 1 * 3 + 1 * 8) / 2.5]])
        got = student.wkv(k, v, half, no_bonus)
        expect_sequence(got, want, "for equal keys and a decay of one half, the result")

    @check(hint="exp(1000) is inf. Carry the largest exponent so far beside the sums, and subtract it before each exp.")
    def stays_finite_for_large_keys(self, student: Student, rng: Rng) -> None:
        # In float64, where a key of 1000 still has digits to spare, and exp(1000) is inf all the same.
        k, v, w, u = (x.double() for x in drawn_inputs(rng, 6, 2))
        for shift in (0.0, 1000.0, -1000.0):
            got = student.wkv(k + shift, v, w, u)
            expect_sequence(got, faded_averages(k, v, w, u), f"for keys around {shift:g}, the result")
        rising = k + 400 * torch.arange(6.0)[:, None]
        got = student.wkv(rising, v, w, u)
        expect_sequence(got, faded_averages(rising, v, w, u), "for keys that rise to 2000, the result")

    @mistake("sees the future: position t may weigh only the positions up to t", of="linear_attention_parallel")
    def with_the_future(q, k, v):
        weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)
        return weights @ v / weights.sum(-1, keepdim=True)

    @mistake("forgets the denominator; without it the weights do not add up to 1", of="linear_attention_parallel")
    def without_denominator(q, k, v):
        return ((F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)).tril() @ v

    @mistake("divides by sums over all positions; the denominator is causal too", of="linear_attention_parallel")
    def denominator_of_all(q, k, v):
        weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)
        return weights.tril() @ v / weights.sum(-1, keepdim=True)

    @mistake("leaves out phi; bare dot products can be negative, or add up to zero", of="linear_attention_parallel")
    def without_features(q, k, v):
        weights = (q @ k.transpose(-1, -2)).tril()
        return weights @ v / weights.sum(-1, keepdim=True)

    @mistake("forgets the + 1 of phi; elu alone reaches down to -1", of="linear_attention_parallel")
    def without_one(q, k, v):
        weights = (F.elu(q) @ F.elu(k).transpose(-1, -2)).tril()
        return weights @ v / weights.sum(-1, keepdim=True)

    @mistake("takes the softmax; here the weights are dot products of features", of="linear_attention_parallel")
    def softmax(q, k, v):
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:]).triu(1).bool()
        return scores.masked_fill(future, -torch.inf).softmax(-1) @ v

    @mistake(
        "reads the state before it adds the present; position t belongs to its own past",
        of="linear_attention_recurrent",
    )
    def without_the_present(q, k, v):
        return recurrent(q, k, v, present=False)

    @mistake("forgets the denominator; carry z, the sum of the phi(k), beside S", of="linear_attention_recurrent")
    def no_z(q, k, v):
        return recurrent(q, k, v, normalise=False)

    @mistake(
        "divides by the number of positions; the weights add up to phi(q_t) z instead", of="linear_attention_recurrent"
    )
    def divides_by_count(q, k, v):
        count = torch.arange(1.0, q.shape[-2] + 1)[:, None]
        return recurrent(q, k, v, normalise=False) / count

    @mistake("keeps the latest position only; the state is a sum over all of the past", of="linear_attention_recurrent")
    def state_replaced(q, k, v):
        return recurrent(q, k, v, keep=0.0)

    @mistake("leaves out phi in the state or in the query; both sides need it", of="linear_attention_recurrent")
    def bare_state(q, k, v):
        return recurrent(q, k, v, feature=lambda x: x)

    @mistake("fades the past before the bonus: the position just before t has not faded yet")
    def fades_too_early(k, v, w, u):
        return plain_wkv(k, v, w, u + w)

    @mistake("gives the bonus to nobody, or to the state as well, where it cancels; u is for the present alone")
    def no_bonus(k, v, w, u):
        return plain_wkv(k, v, w, torch.zeros_like(u))

    @mistake("never fades: each step multiplies what is past by e^(-w)")
    def no_decay(k, v, w, u):
        return plain_wkv(k, v, torch.zeros_like(w), u)

    @mistake("lets the past grow: the decay is e^(-w), not e^w")
    def grows(k, v, w, u):
        return plain_wkv(k, v, -w, u)

    @mistake("multiplies by w itself; the factor of a step is e^(-w)")
    def w_is_the_factor(k, v, w, u):
        return plain_wkv(k, v, -w.log(), u)

    @mistake("forgets the denominator, or divides by the number of positions; the weights must add up to 1")
    def no_denominator(k, v, w, u):
        weighted = plain_wkv(k, torch.ones_like(v), w, u, normalise=False)
        return plain_wkv(k, v, w, u) * weighted

    @mistake("leaves out the present; u + k_t is the exponent of position t itself")
    def past_alone(k, v, w, u):
        return plain_wkv(k, v, w, torch.full_like(u, -torch.inf))

    @mistake("overflows or vanishes for large keys; subtract the largest exponent so far before each exp")
    def overflows(k, v, w, u):
        return plain_wkv(k, v, w, u)

    @mistake("subtracts the largest key of the whole sequence; where early keys are far below, all of them become 0")
    def one_maximum(k, v, w, u):
        return plain_wkv(k - k.amax(dim=-2, keepdim=True), v, w, u)


def recurrent(q, k, v, present=True, normalise=True, keep=1.0, feature=lambda x: F.elu(x) + 1):
    """Linear attention with a state, some part of it left out."""
    s, z = torch.zeros(*k.shape[:-2], k.shape[-1], v.shape[-1]), torch.zeros_like(k[..., 0, :])
    rows = []
    for q_t, k_t, v_t in zip(feature(q).unbind(-2), feature(k).unbind(-2), v.unbind(-2), strict=True):
        before = s, z
        s, z = keep * s + k_t[..., :, None] * v_t[..., None, :], keep * z + k_t
        top, bottom = (s, z) if present else before
        norm = (q_t * bottom).sum(-1, keepdim=True) if normalise else 1
        rows.append((q_t[..., None, :] @ top).squeeze(-2) / norm)
    return torch.stack(rows, dim=-2)


def plain_wkv(k, v, w, u, normalise=True):
    """wkv with exponentials as they come: right for moderate keys, overflowing for large ones."""
    a, b = torch.zeros_like(k[..., 0, :]), torch.zeros_like(k[..., 0, :])
    rows = []
    for k_t, v_t in zip(k.unbind(-2), v.unbind(-2), strict=True):
        now = torch.exp(u + k_t)
        rows.append((a + now * v_t) / (b + now if normalise else 1))
        a, b = torch.exp(-w) * a + torch.exp(k_t) * v_t, torch.exp(-w) * b + torch.exp(k_t)
    return torch.stack(rows, dim=-2)
