"""What the audit does not show about exercises 11 and 12 and the quiz: wrong types, the oracles, other forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import expect_no_accident, run, shown

from autograder.exercise import Exercise
from autograder.exercises.pretraining import accumulation_oracles as oracles
from autograder.exercises.pretraining import costs as public_costs
from autograder.exercises.pretraining.quiz import Quiz
from autograder.hidden.pretraining.costs import TrainFlops
from autograder.hidden.pretraining.precision import Accumulate
from autograder.rng import Rng
from autograder.run import run_exercise
from autograder.student import LocalBackend
from course_lib import pretraining

EXERCISES = [Accumulate(), TrainFlops()]
IDS = [exercise.id for exercise in EXERCISES]


def test_names() -> None:
    assert IDS == ["accumulate", "train_flops"]
    assert all(set(e.functions) <= set(dir(pretraining)) for e in EXERCISES)


ONES = torch.ones(3, 2)
WRONG = [
    None,
    "text",
    -2.5,
    math.nan,
    [],
    [None],
    {},
    {"total": None},
    (),
    (ONES, None),
    ONES > 0,
    ONES.long(),
    1j * ONES,
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


# Exercise 11


def test_the_gradient_oracle_agrees_with_autograd_on_one_padded_batch() -> None:
    rng, vocab = Rng(0), 5
    state = {
        "embedding.weight": rng.normal(vocab, 3),
        "head.weight": rng.normal(vocab, 3),
        "head.bias": rng.normal(vocab),
    }
    batches = [oracles.draw_batch(rng, vocab, 2, 4, (1, 3)), oracles.draw_batch(rng, vocab, 3, 4)]
    leaves = {name: value.double().requires_grad_() for name, value in state.items()}
    ids = torch.cat([inputs for inputs, _ in batches])
    logits = leaves["embedding.weight"][ids] @ leaves["head.weight"].T + leaves["head.bias"]
    loss = F.cross_entropy(logits.flatten(0, 1), torch.cat([targets for _, targets in batches]).flatten())
    loss.backward()
    for name, want in oracles.gradients(state, batches).items():
        torch.testing.assert_close(leaves[name].grad.float(), want, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        torch.tensor(oracles.logits_of(state, ids)), logits.detach().float(), rtol=1e-5, atol=1e-6
    )


def test_the_rounding_oracle_agrees_with_torch() -> None:
    values = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * 10 ** torch.linspace(-30, 30, 3000)
    values = torch.cat([values, 1 + torch.arange(513) / 512, torch.tensor([3.4e38, -3.4e38, 3.39e38, 0.0, math.inf])])
    want = values.to(torch.bfloat16).float()
    assert [oracles.nearest_bf16(value) for value in values.tolist()] == want.tolist()


@pytest.mark.parametrize(
    "line",
    [
        "x.to(torch.bfloat16).float()",
        "x.bfloat16().float()",
        "x.type('torch.BFloat16Tensor')",
        "getattr(torch, 'bfloat16')",
    ],
)
def test_what_rounds_by_itself_is_not_allowed(line: str) -> None:
    source = f"import torch\n\ndef bf16_round(x): return {line}\n"
    assert run_exercise(EXERCISES[0], LocalBackend(EXERCISES[0].solution()), source=source).earned == 0


def accumulated_means(model: Any, batches: Any) -> dict[str, torch.Tensor]:
    """Each micro-batch's own mean, a backward pass for each of them, divided by how many there are."""
    model.zero_grad()
    for inputs, targets in batches:
        (F.cross_entropy(model(inputs).transpose(1, 2), targets, ignore_index=-100) / len(batches)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


class DoubledBigramLM(pretraining.BigramLM):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(ids)


def test_a_wrong_model_is_blamed_for_what_is_computed_with_it() -> None:
    exercise = EXERCISES[0]
    report = run(exercise, exercise.solution(BigramLM=DoubledBigramLM), 1, exercise.public_checks)
    told = {result.check: result for result in report.results if not result.earned}
    assert len(told) == 4 and all(result.mistake == "" for result in told.values())
    assert all("BigramLM, which all else needs" in result.message for result in told.values())


def cleared_inside(model: Any, batches: Any) -> dict[str, torch.Tensor]:
    """zero_grad stands inside the loop."""
    count = sum((targets != -100).sum() for _, targets in batches)
    for inputs, targets in batches:
        model.zero_grad()
        loss = F.cross_entropy(model(inputs).transpose(1, 2), targets, ignore_index=-100, reduction="sum")
        (loss / count).backward()
    return {name: p.grad for name, p in model.named_parameters()}


# Exercise 12


def test_the_cost_oracles_agree_with_published_figures() -> None:
    assert public_costs.operations_by_hand(175 * 10**9, 300 * 10**9) / float(public_costs.PF_DAY) == pytest.approx(
        3646, abs=1
    )
    assert public_costs.attention_by_hand(2, 4, 16, 128) == 12 * 2 * 4 * 16 * 128
    assert public_costs.bytes_by_hand(1, "adam")["total"] == public_costs.bytes_by_hand(1, "adam-fp32")["total"] == 16
    assert public_costs.bytes_by_hand(10, "sgd-fp32")["total"] == 80


@pytest.mark.parametrize(
    ("number", "function", "code", "mistake"),
    [
        (0, "accumulate", accumulated_means, "mean_of_means"),
        (0, "accumulate", cleared_inside, "only_the_last"),
        (0, "bf16_round", lambda x: x.copy_(pretraining.bf16_round(x)), "in_place"),
        (0, "bf16_round", lambda x: torch.trunc(torch.frexp(x)[0] * 256) * 2.0 ** (torch.frexp(x)[1] - 8), "truncates"),
        (1, "train_flops", lambda N, D: N * D + N * D, "forward_only"),
        (
            1,
            "train_memory_bytes",
            lambda N, name="adam": (
                {**{"adam": pretraining.train_memory_bytes(N, name)}[name]}
                if name == "adam"
                else {n: pretraining.train_memory_bytes(N, n) for n in public_costs.MEMORY}[name]
            ),
            "key_error",
        ),
        (1, "mfu", lambda N, s, peak, L=0, H=0, Q=0, T=0: 6 * N * s / peak, "no_attention"),
        (
            1,
            "mfu",
            lambda N, s, peak, L=0, H=0, Q=0, T=0: (6 * N + 12 * L * H * Q * T) * s / (peak * 1e12),
            "peak_in_tera",
        ),
    ],
)
def test_another_form_of_a_mistake_has_its_name(number: int, function: str, code: Callable, mistake: str) -> None:
    exercise = EXERCISES[number]
    report = run(exercise, exercise.solution(**{function: code}), 1)
    assert report.first_problem is not None
    assert report.first_problem.mistake == mistake


# Quiz


def test_the_quiz_explains_every_choice() -> None:
    quiz = Quiz()
    assert 8 <= len(quiz.questions) <= 12
    for question in quiz.questions:
        assert list(question.options) == ["a", "b", "c", "d"] and question.answer in question.options
        reasons = [why for _, why in question.options.values()]
        assert len(set(reasons)) == 4 and all(len(why) > 30 for why in reasons)
    answers = [question.answer for question in quiz.questions]
    assert all(answers.count(letter) >= 2 for letter in "abcd")


def test_the_numbers_of_the_quiz_are_right() -> None:
    assert (2 * 4 + 18 * 2) / 20 == 2.2
    assert pretraining.train_flops(1e9, 2e10) == pytest.approx(1.2e20)
    assert pretraining.train_memory_bytes(10**9)["total"] == 16e9
    clipped, norm = pretraining.clip_grad_norm([torch.tensor([4.0]), torch.tensor([3.0])], 1.0)
    assert norm == 5 and [round(g.item(), 6) for g in clipped] == [0.8, 0.6]
    weight = torch.ones(())
    for _ in range(1000):
        weight = pretraining.bf16_round(weight + 0.002)
    assert weight == 1
    tokens = [1, 2, 1, 3, 1, 2, 4, 4]
    counts = pretraining.train_ngram(tokens, 2)
    total = sum(pretraining.stupid_backoff(word, (1,), counts) for word in {1, 2, 3, 4})
    assert not math.isclose(total, 1, rel_tol=0.01)
