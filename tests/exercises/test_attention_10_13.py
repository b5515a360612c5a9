"""What the audit does not show about exercises 10 and 13: other seeds, wrong types, memorised answers, the oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import failures, run
from torch import nn

from autograder.exercise import Exercise
from autograder.exercises.attention import flash_parts, recurrent_parts
from autograder.forbid import ForbiddenCall, find_forbidden, forbidden
from autograder.hidden.attention.flash import FlashAttention
from autograder.hidden.attention.recurrent import GradNormVsDistance
from autograder.rng import Rng
from autograder.run import Outcome, run_exercise
from autograder.student import LocalBackend
from course_lib import attention
from course_lib.attention.hbm import run_standard, run_tiled
from course_lib.tensor_size import largest_tensor

torch.set_num_threads(1)
EXERCISES = [FlashAttention(), GradNormVsDistance()]
FLASH, RECURRENT = EXERCISES
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


WRONG = [None, "text", 3, 2.5, object(), [], [None], {}, {1: 2}, (), (None, None), {1, 2}, nn.Linear(2, 2), len]
WRONG += [torch.tensor(1.0), torch.zeros(0), torch.zeros(2, 2), torch.zeros(9, 4).long(), torch.zeros(1) * 1j, math.nan]
WRONG += [{"standard": 1}, {"standard": None, "tiled": True}, {"standard": 1, "tiled": [2]}]


@each_exercise
@pytest.mark.parametrize("value", WRONG, ids=lambda value: " ".join(repr(value).split())[:20].split(" at ")[0])
def test_wrong_types_are_failures_and_not_accidents(exercise: Exercise, value: Any) -> None:
    for function in exercise.functions:
        failed = failures(run(exercise, exercise.solution(**{function: lambda *args, **kwargs: value}), 1))
        assert failed and not failed[0].hidden
        for result in failed:
            assert result.outcome is Outcome.FAILED, f"{result.check}: {result.outcome} {result.message}"
            assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


@each_exercise
def test_public_and_hidden_points(exercise: Exercise) -> None:
    public, hidden = (sum(c.points for c in checks) for checks in (exercise.public_checks, exercise.hidden_checks))
    assert 6 <= public + hidden <= 12 and 0.3 <= hidden / (public + hidden) <= 0.6
    assert len(exercise.public_checks) >= 4 and len(exercise.hidden_checks) >= 3
    assert all(check.hint for check in exercise.checks)


@each_exercise
def test_what_is_ready_made_is_found_in_the_text(exercise: Exercise) -> None:
    for name in exercise.forbid:
        assert find_forbidden(f"import torch\ny = {name}(x)\n", exercise.forbid), name
    name = exercise.functions[-1]
    source = f"from course_lib.attention import {name} as solved\n{name} = solved"
    report = run_exercise(exercise, LocalBackend(exercise.solution()), source=source)
    assert {result.outcome for result in report.results} == {Outcome.FAILED}


def test_ready_made_functions_are_noticed_when_they_run() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with forbidden(FLASH.forbid), pytest.raises(ForbiddenCall):
        F.scaled_dot_product_attention(x, x, x)
    with forbidden(RECURRENT.forbid), pytest.raises(ForbiddenCall):
        nn.RNN(2, 2)(x[0])


# Exercise 10


def test_flash_answers_learned_by_heart_fail_every_hidden_check() -> None:
    known: dict[str, Any] = {}

    def key(name: str, args: tuple) -> str:
        return str([name, *((str(a.dtype), a.tolist()) if isinstance(a, torch.Tensor) else a for a in args)])

    def recorded(name: str, right: Callable) -> Callable:
        return lambda *args: known.setdefault(key(name, args), right(*args))

    right = FLASH.solution()
    assert run(FLASH, {name: recorded(name, f) for name, f in right.items()}, 1, FLASH.public_checks).passed
    by_heart = {name: (lambda *args, name=name: known.get(key(name, args), "never seen")) for name in right}
    for result in run(FLASH, by_heart, 1, FLASH.hidden_checks).results:
        assert result.outcome is not Outcome.PASSED, result.check


def test_the_oracle_of_exercise_10_is_torch_s_attention() -> None:
    for T, S in ((5, 5), (4, 9), (9, 4)):
        q, k, v = (x.double() for x in flash_parts.draw(Rng(T), T, S, 3))
        plain = F.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(flash_parts.direct(q, k, v), plain)
        mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
        causal = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[mask.any(1)]
        got = flash_parts.direct(q, k, v, True)
        torch.testing.assert_close(got[mask.any(1)], causal)
        assert not got[~mask.any(1)].any()


def test_the_loop_that_can_go_wrong_is_right_when_nothing_is_switched_on() -> None:
    for T, S, block in ((7, 7, 3), (4, 9, 2), (9, 4, 5), (5, 5, 50)):
        q, k, v = flash_parts.draw(Rng(T), T, S, 3)
        for causal in (False, True):
            got = flash_parts.tiled(q, k, v, block, causal)
            torch.testing.assert_close(got, flash_parts.direct(q, k, v, causal), rtol=1e-4, atol=1e-5)


def test_scores_far_from_zero_are_exact_in_float32() -> None:
    for sign in (1, -1):
        q, k, _ = flash_parts.draw_far_from_zero(Rng(1), 5, 9, sign)
        scores = q @ k.T / 2
        assert torch.equal(scores.double(), q.double() @ k.double().T / 2)
        assert (sign * scores > 9000).all() and scores.std(1).min() > 0.5


def test_counts_by_walking_are_what_a_run_counts() -> None:
    for T, D, M in ((4, 1, 8), (17, 3, 24), (20, 8, 160), (9, 2, 500)):
        q, k, v = torch.zeros(3, T, D).unbind()
        counts = {"standard": run_standard(q, k, v)[1], "tiled": run_tiled(q, k, v, M)[1]}
        assert flash_parts.walked(T, D, M) == counts


SIZE_CHECKS = ("never_holds_more_than_a_block_of_scores", "memory_follows_the_block_and_not_the_length")


@pytest.mark.parametrize("seed", range(6))
def test_only_the_size_tells_a_whole_matrix_and_a_strip_apart_from_the_right_answer(seed: int) -> None:
    for name in ("holds_the_matrix", "holds_strips", "holds_the_mask"):
        failed = failures(run(FLASH, FLASH.solution(flash_attention=getattr(FlashAttention, name)), seed))
        assert {result.check for result in failed} == set(SIZE_CHECKS)
        assert all("the largest tensor you made has" in result.message for result in failed)


def test_products_of_all_pairs_in_a_block_are_small_enough() -> None:
    def by_broadcasting(q, k, v, block=64, causal=False):
        out, S = [], len(k)
        for i in range(0, len(q), block):
            rows = q[i : i + block]
            m, total, acc = torch.full((len(rows),), -math.inf), torch.zeros(len(rows)), torch.zeros_like(rows)
            for j in range(0, S, block):
                s = (rows[:, None] * k[None, j : j + block]).sum(-1) / q.shape[1] ** 0.5
                if causal:
                    at = torch.arange(i, i + len(rows)) + S - len(q)
                    s[at[:, None] < torch.arange(j, j + s.shape[1])] = -math.inf
                new = torch.maximum(m, s.amax(1))
                base = new.nan_to_num(neginf=0.0)
                p, a = (s - base[:, None]).exp(), (m - base).exp()
                m, total, acc = new, total * a + p.sum(1), acc * a[:, None] + p @ v[j : j + block]
            out.append(acc / total.clamp(min=1e-30)[:, None])
        return torch.cat(out)

    checks = [check for check in FLASH.checks if check.name in SIZE_CHECKS]
    for seed in range(6):
        assert run(FLASH, FLASH.solution(flash_attention=by_broadcasting), seed, checks).passed
    q, k, v = torch.zeros(3, 60, 3).unbind()
    with largest_tensor() as largest:
        by_broadcasting(q, k, v, 10)
    assert largest.elements == 300


# Exercise 13


def test_the_oracle_of_exercise_13_agrees_with_torch_and_with_differences() -> None:
    state, x = recurrent_parts.draw_state(Rng(3), 2, 4), Rng(4).normal(5, 2)
    rnn = nn.RNN(2, 4).double()
    names = zip(("input.weight", "recurrent.weight", "input.bias"), rnn.parameters(), strict=False)
    with torch.no_grad():
        for name, parameter in names:
            parameter.copy_(state[name])
        rnn.bias_hh_l0.zero_()
        want = rnn(x.double())[0]
    torch.testing.assert_close(recurrent_parts.states_of(state, x), want)
    found = recurrent_parts.jacobians(state, x)
    for t in range(5):
        for c in range(2):
            nudge = torch.zeros(5, 2, dtype=torch.float64)
            nudge[t, c] = 1e-6
            ends = [recurrent_parts.states_of(state, x.double() + sign * nudge)[-1] for sign in (1, -1)]
            torch.testing.assert_close(found[t][:, c], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


def test_mistaken_networks_are_of_the_type_that_a_student_writes() -> None:
    """Objects that stay on the student's side are told apart by their type's name: a student's has this one."""
    names = ["input.bias", "input.weight", "recurrent.weight"]
    assert sorted(attention.TanhRNN(2, 3).state_dict()) == names
    for mistake in RECURRENT.mistakes:
        if mistake.function == "TanhRNN":
            assert mistake.code.__name__ == "TanhRNN" and sorted(mistake.code(2, 3).state_dict()) == names


def test_a_network_without_any_gradient_or_with_other_parameters_is_told_so() -> None:
    class NoGradient(attention.TanhRNN):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    failed = failures(run(RECURRENT, RECURRENT.solution(TanhRNN=NoGradient), 1))
    assert "no gradient comes back from the states to x" in failed[0].message
    failed = failures(run(RECURRENT, RECURRENT.solution(TanhRNN=lambda d_in, d_hidden: nn.RNN(d_in, d_hidden)), 1))
    assert "cannot load the parameters input.weight" in failed[0].message
