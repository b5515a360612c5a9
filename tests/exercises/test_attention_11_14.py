"""What the audit does not show about exercises 11, 12 and 14 and the quiz: wrong types, the oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import expect_no_accident, run, shown

from autograder.compare import CheckFailed
from autograder.exercise import Exercise
from autograder.exercises.attention import linear as public_linear
from autograder.exercises.attention import moe as public_moe
from autograder.exercises.attention import moe_oracles as oracles
from autograder.exercises.attention import patches as public_patches
from autograder.exercises.attention.quiz import Quiz
from autograder.hidden.attention.linear import Wkv
from autograder.hidden.attention.moe import Dispatch
from autograder.hidden.attention.patches import Patchify
from autograder.rng import Rng
from autograder.run import run_exercise
from autograder.student import LocalBackend, Student
from course_lib import attention

EXERCISES = [Dispatch(), Wkv(), Patchify()]
IDS = [exercise.id for exercise in EXERCISES]


def test_names_and_order() -> None:
    assert IDS == ["dispatch", "wkv", "patchify"]
    assert EXERCISES[0].functions[2] == "dispatch" and all(set(e.functions) <= set(dir(attention)) for e in EXERCISES)


ONES = torch.ones(3, 2)
WRONG = [
    None,
    "text",
    3,
    -2.5,
    math.nan,
    [],
    [None],
    {},
    (),
    (ONES, None),
    ([1], "a"),
    ONES > 0,
    ONES.long(),
    1j * ONES,
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


# Exercise 11


def test_the_routing_oracle_agrees_with_transformers() -> None:
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    logits = Rng(0).normal(12, 6)
    for k in (1, 2, 3):
        idx = torch.tensor(oracles.routed(logits, k)[0])
        theirs = mixtral.load_balancing_loss_func((logits,), 6, k).item()
        assert k * oracles.balance(logits.softmax(-1), idx) == pytest.approx(theirs, rel=1e-5)
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers")
    assert oracles.z_loss(logits) == pytest.approx(switch.router_z_loss_func(logits[None]).item(), rel=1e-5)


def test_the_gradient_oracle_agrees_with_differences() -> None:
    logits, upstream = Rng(1).normal(3, 4).double(), Rng(2).normal(3, 2).double()
    for k in (1, 2):
        want = torch.zeros(3, 4, dtype=torch.float64)
        for n in range(3):
            for e in range(4):
                nudge = torch.zeros(3, 4, dtype=torch.float64)
                nudge[n, e] = 1e-5
                gates = [oracles.routed(logits + sign * nudge, k)[1] for sign in (1, -1)]
                up, down = torch.tensor(gates, dtype=torch.float64)
                want[n, e] = ((up - down) * upstream[:, :k]).sum() / 2e-5
        torch.testing.assert_close(oracles.gate_gradient(logits, k, upstream), want, rtol=1e-5, atol=1e-8)


def test_the_dispatch_oracle_serves_in_order() -> None:
    assert oracles.placed([[0, 1], [0, 1], [1, 0]], 2, 2) == [[0, 1], [1, -1], [0, -1]]
    x, idx = torch.ones(3, 1), torch.tensor([[0, 1], [0, 1], [1, 0]])
    slots = torch.tensor([[0, 1], [1, -1], [0, -1]])
    right = oracles.fill(x, idx, slots, 2, 2)
    oracles.expect_dispatched(right, x, idx, 2, 2)
    oracles.expect_dispatched((right[0], slots.int()), x, idx, 2, 2)
    for wrong in (
        (right[0] * 2, slots),
        (right[0], slots.float()),
        (right[0], slots + 1),
        (right[0][:1], slots),
        slots,
    ):
        with pytest.raises(CheckFailed):
            oracles.expect_dispatched(wrong, x, idx, 2, 2)


def test_drawn_choices_leave_somebody_without_room() -> None:
    for seed in range(30):
        idx = oracles.drawn_choices(Rng(seed), 9, 4, 2)
        assert all(len(set(row)) == 2 for row in idx.tolist())
        assert any(-1 in row for row in oracles.placed(idx.tolist(), 4, 3))


def test_a_detached_result_is_spoken_of_in_words() -> None:
    for result in (torch.ones(2), 3.0, None):
        student = Student(LocalBackend({"f": lambda x, result=result: result}))
        with pytest.raises(CheckFailed, match="no gradient flows"):
            oracles.gradient_of(student.f, torch.ones(2), wrt=[0], upstream=torch.ones(2), what="x")
    student = Student(LocalBackend({"f": lambda x: torch.ones(2, requires_grad=True)}))
    with pytest.raises(CheckFailed, match="does not depend on it"):
        oracles.gradient_of(student.f, torch.ones(2), wrt=[0], upstream=torch.ones(2), what="x")


# Exercise 12


def test_the_oracles_of_attention_without_a_softmax_by_hand() -> None:
    q = torch.tensor([[0.0], [1.0]])
    k, v = torch.tensor([[-1.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # phi(q) = 1, 2 and phi(k) = 1/e, 3
    want = [1.0, (1 / math.e + 3 * 5) / (1 / math.e + 3)]
    assert public_linear.linear_attended(q, k, v).flatten().tolist() == pytest.approx(want)
    w, u = torch.tensor([0.5]), torch.tensor([0.3])
    past = math.exp(-1.0)
    want = [1.0, (past + 5 * math.exp(2.3)) / (past + math.exp(2.3))]
    assert public_linear.faded_averages(k, v, w, u).flatten().tolist() == pytest.approx(want)


def test_the_wkv_oracle_agrees_with_transformers() -> None:
    theirs = pytest.importorskip("transformers.models.rwkv.modeling_rwkv").rwkv_linear_attention_cpu
    k, v, w, u = public_linear.drawn_inputs(Rng(3), 10, 4)
    want = theirs(w.log(), u, k[None], v[None])[0][0]
    torch.testing.assert_close(public_linear.faded_averages(k, v, w, u).float(), want, rtol=1e-4, atol=1e-5)


def test_the_flawed_helpers_without_a_flaw_are_right() -> None:
    q, k, v = (Rng(n).normal(6, 3) for n in range(3))
    close = torch.testing.assert_close
    close(public_linear.recurrent(q, k, v), public_linear.linear_attended(q, k, v).float(), rtol=1e-4, atol=1e-5)
    args = public_linear.drawn_inputs(Rng(0), 7, 3)
    close(public_linear.plain_wkv(*args), public_linear.faded_averages(*args).float(), rtol=1e-4, atol=1e-5)


# Exercise 14


def test_the_patch_oracle_agrees_with_unfold() -> None:
    for seed in range(5):
        img = Rng(seed).normal(2, 3, 6, 9)
        assert torch.equal(public_patches.cut_out(img, 3), F.unfold(img, 3, stride=3).transpose(1, 2))


@pytest.mark.parametrize("line", ["F.unfold(img, P, stride=P)", "einops.rearrange(img, 'x -> x')", "nn.Unfold(2)(img)"])
def test_what_does_it_all_is_not_allowed(line: str) -> None:
    source = f"import einops\nimport torch.nn as nn\nimport torch.nn.functional as F\n\ndef f(img, P): return {line}\n"
    report = run_exercise(EXERCISES[2], LocalBackend(EXERCISES[2].solution()), source=source)
    assert report.earned == 0


# Mistakes in the forms that students give them


def overflow_by_division(k: torch.Tensor, v: torch.Tensor, w: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    length = len(k)
    rows = []
    for t in range(length):
        weights = torch.stack([torch.exp(k[i] - (t - 1 - i) * w) for i in range(t)] + [torch.exp(u + k[t])])
        rows.append((weights * v[: t + 1]).sum(0) / weights.sum(0))
    return torch.stack(rows)


def gates_by_item(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    idx, gate = attention.route_topk(logits, k)
    return idx, torch.tensor([[value.item() for value in row] for row in gate])


def counts_as_softmax(probs: torch.Tensor, idx: torch.Tensor) -> torch.Tensor:
    importance = probs.sum(0) / len(probs)
    return len(importance) * (importance * importance).sum()


def by_columns(img: torch.Tensor, P: int) -> torch.Tensor:
    corners = [(y, x) for x in range(0, img.shape[3], P) for y in range(0, img.shape[2], P)]
    return torch.stack([img[:, :, y : y + P, x : x + P].flatten(1) for y, x in corners], dim=1)


@pytest.mark.parametrize(
    ("number", "function", "code", "mistake"),
    [
        (0, "route_topk", gates_by_item, "gates_detached"),
        (0, "route_topk", lambda x, k: (x.topk(k).indices, x.topk(k).values.softmax(-1)), "switch_renormalised"),
        (0, "capacity", lambda n, e, k, factor: int(n * k / e * factor), "floor"),
        (0, "load_balance_loss", counts_as_softmax, "soft_counts"),
        (1, "wkv", overflow_by_division, "overflows"),
        (2, "patchify", by_columns, "column_by_column"),
        (2, "unpatchify", lambda p, P, H, W: p.view(p.shape[0], p.shape[2] // P**2, H, W), "back_only_reshaped"),
    ],
)
def test_another_form_of_a_mistake_has_its_name(number: int, function: str, code: Callable, mistake: str) -> None:
    exercise = EXERCISES[number]
    report = run(exercise, exercise.solution(**{function: code}), 1)
    assert report.first_problem is not None
    assert report.first_problem.mistake == mistake


def test_a_slot_of_minus_one_is_the_last_place_in_python() -> None:
    """The mistake that reads it must really differ: the last place of that expert holds another token's answer."""
    outputs, idx, slots = torch.tensor([[[1.0], [7.0]]]), torch.zeros(1, 1).long(), torch.tensor([[-1]])
    wrong = public_moe.Dispatch.reads_minus_one(torch.zeros(1, 1), outputs, idx, slots, torch.ones(1, 1))
    assert wrong.item() == 7 and attention.combine(torch.zeros(1, 1), outputs, idx, slots, torch.ones(1, 1)).item() == 0


# Quiz


def test_the_quiz_explains_every_choice() -> None:
    quiz = Quiz()
    assert 10 <= len(quiz.questions) <= 12
    for question in quiz.questions:
        assert list(question.options) == ["a", "b", "c", "d"] and question.answer in question.options
        reasons = [why for _, why in question.options.values()]
        assert len(set(reasons)) == 4 and all(len(why) > 30 for why in reasons)
    answers = [question.answer for question in quiz.questions]
    assert all(answers.count(letter) >= 2 for letter in "abcd")


def test_the_numbers_of_the_quiz_are_right() -> None:
    assert attention.capacity(1024, 8, 2, 1.25) == 320
    assert attention.patchify(torch.zeros(1, 3, 224, 224), 16).shape == (1, 196, 768)
    values = torch.arange(8.0).view(1, 8, 1, 1)
    assert attention.repeat_kv(values, 4)[0, 9].item() == 2
    assert -attention.alibi_bias(9, torch.tensor([1 / 4]))[0, 8, 0].item() == 2
