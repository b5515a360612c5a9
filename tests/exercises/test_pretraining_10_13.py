"""What the audit does not show about exercises 10 and 13: wrong types, the oracles."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from seeded import expect_no_accident, failures, run, shown

from autograder.exercise import Exercise
from autograder.exercises.pretraining import adapt_parts, pretrain_parts, pretrain_steps, pretrain_wrong
from autograder.hidden.pretraining.adapt import FinetuneClassifier
from autograder.hidden.pretraining.pretrain import Pretrain
from autograder.rng import Rng
from course_lib import pretraining

EXERCISES = [Pretrain(), FinetuneClassifier()]
IDS = [exercise.id for exercise in EXERCISES]


WRONG = [None, "text", 3, -2.5, math.nan, [], [None], {}, (), (None, []), (torch.ones(2), [1.0]), torch.ones(3, 2)]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


# Exercise 10


def test_a_language_has_the_entropy_that_is_said_and_no_symbol_follows_itself_plus_one() -> None:
    for seed in range(10):
        one, other = pretrain_parts.draw_languages(Rng(seed), 7)
        for a in range(7):
            followers = [one.likely[a], one.unlikely[a], other.likely[a], other.unlikely[a]]
            assert len(set(followers)) == 4 and a not in followers
            assert (a + 1) % 7 not in (one.likely[a], other.likely[a])
    text = one.text(Rng(3), 30_000).tolist()
    pairs = Counter(pairwise(text))
    totals = Counter(text[:-1])
    entropy = -sum(n * math.log(n / totals[a]) for (a, _), n in pairs.items()) / (len(text) - 1)
    assert entropy == pytest.approx(pretrain_parts.ENTROPY, abs=0.02)


def test_the_rate_oracle_agrees_with_the_course() -> None:
    for warmup, steps in ((0, 5), (3, 9), (2, 14)):
        got = [pretrain_parts.rate(step, warmup, steps, 0.3) for step in range(steps)]
        assert got == pytest.approx([pretraining.lr_at(step, warmup, steps, 0.3, 0.03) for step in range(steps)])


def test_the_counting_model_and_its_oracle_agree_step_by_step() -> None:
    model, ids = pretrain_parts.counting_model(9), torch.tensor([[4, 0, 8, 8]])
    for _ in range(6):
        want = pretrain_parts.counted_on(ids, 1, 3, 9)
        assert model(ids[:, -3:])[0, -1].argmax() == want[0, -1]
        ids = want


def test_kinds_of_draws_are_told_apart() -> None:
    logits = torch.tensor([0.0, 0.8, 1.6, -0.8, -8.0]).double()
    for temperature, power, kind in ((0.5, 2.0, "right"), (0.5, 1.0, "as at temperature 1")):
        p = (logits * power).softmax(-1)
        assert pretrain_parts.kind_of_draws((4000 * p).round(), logits, temperature) == kind
    assert pretrain_parts.kind_of_draws(torch.tensor([0, 0, 4000, 0, 0]), logits, 0.5) == "the likeliest only"
    assert pretrain_parts.kind_of_draws(torch.tensor([4000, 0, 0, 0, 0]), logits, 0.5) == "none of these"


def test_a_bigram_table_instead_of_a_gpt_is_no_way_around_a_leak() -> None:
    """Whoever counts the held-out part is found out just as whoever trains on it."""

    class Table(torch.nn.Module):
        def __init__(self, ids: torch.Tensor, V: int):
            super().__init__()
            counts = torch.ones(V, V) * 1e-3
            counts.index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1), accumulate=True)
            self.logits = torch.nn.Parameter(counts.log())

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.logits[ids]

    def leaking(cfg, data, steps, g, observe=None):
        log = [{"step": k + 1, "loss": math.log(cfg.vocab_size), "lr": 0.1, "val_loss": 0.1} for k in range(steps)]
        return Table(data, cfg.vocab_size).eval(), log

    exercise = Pretrain()
    failed = {result.check for result in failures(run(exercise, exercise.solution(pretrain=leaking), 2))}
    assert "the_last_tenth_is_never_learned_from" in failed


def test_a_rate_of_the_next_step_is_not_blamed_on_the_clipping() -> None:
    exercise = Pretrain()
    code = next(known.code for known in exercise.mistakes if known.name == "one_ahead")
    failed = failures(run(exercise, exercise.solution(pretrain=code), 5, exercise.public_checks))
    assert [result.check for result in failed] == ["the_learning_rate_rises_and_falls"]


def test_the_length_of_a_step_tells_how_its_gradient_was_cut() -> None:
    for how, kind in (("together", "all together"), ("each", "tensor by tensor"), ("values", "number by number")):
        moves, cfg = pretrain_steps.Moves(), pretrain_parts.settings(7, clip=1e-8, lr=0.02, warmup=0, eval_every=1)
        data, g = torch.tensor(Rng(4).ids(210, 0, 6)), torch.Generator().manual_seed(2)

        def observe(step: int, state: dict[str, torch.Tensor], moves: pretrain_steps.Moves = moves) -> None:
            moves(step, {name: value.clone() for name, value in state.items()})

        pretrain_wrong.pretrain_with(clip=how)(cfg, data, 3, g, observe)
        assert pretrain_steps.kind_of_clipping(moves, cfg.lr) == kind


# Exercise 14


def finetuned(**how: Any) -> dict[str, Any]:
    return {"finetune_classifier": adapt_parts.finetune_with(**how)}


@pytest.mark.parametrize(
    ("how", "check", "call"),
    [
        ({"frozen": "never"}, "a_frozen_backbone_is_left_untouched", "True, 2, 0.05"),
        ({"mode": "train"}, "a_frozen_backbone_is_left_untouched", "True, 3, 1e-09"),
        ({"frozen": "always"}, "without_freezing_everything_learns", "False, 2, 0.02"),
        ({"mode": "eval"}, "without_freezing_everything_learns", "False, 3, 1e-09"),
        ({"batch": "first"}, "a_step_takes_different_examples_and_one_clipped_gradient", "True, 3, 1e-09"),
    ],
)
def test_a_card_shows_the_call_that_its_message_is_about(how: dict[str, str], check: str, call: str) -> None:
    exercise = FinetuneClassifier()
    chosen = [one for one in exercise.public_checks if one.name == check]
    (problem,) = failures(run(exercise, exercise.solution(**finetuned(**how)), 1, chosen))
    assert call in problem.called and "finetune_classifier(" in problem.called


def test_drawing_twice_is_not_blamed_on_dropout() -> None:
    exercise = FinetuneClassifier()
    failed = failures(run(exercise, exercise.solution(**finetuned(batch="replacement")), 1, exercise.public_checks))
    assert [result.mistake for result in failed] == ["draws_twice"]


def test_losses_that_are_tensors_are_no_mistake_of_the_format() -> None:
    def tensors(*args: Any, **more: Any) -> tuple[Any, list[torch.Tensor]]:
        model, losses = pretraining.finetune_classifier(*args, **more)
        return model, [torch.tensor(loss) for loss in losses]

    exercise = FinetuneClassifier()
    failed = failures(run(exercise, exercise.solution(finetune_classifier=tensors), 1, exercise.public_checks))
    assert len(failed) >= 4
    assert all(result.mistake == "" and "loss.item()" in result.message for result in failed)


def test_the_classifier_oracle_agrees_with_the_course_s_class() -> None:
    for seed in range(4):
        backbone = adapt_parts.draw_backbone(Rng(seed))
        data = adapt_parts.draw_examples(Rng(seed), backbone["cfg"], 6, 3)
        model = pretraining.Classifier(backbone, 3, adapt_parts.PAD).eval()
        with torch.no_grad():
            got = model(data["ids"])
            args = (backbone["weights"], model.head.weight, model.head.bias, backbone["cfg"], data["ids"])
            torch.testing.assert_close(got, adapt_parts.expected_answers(*args), rtol=1e-2, atol=2e-3)


def test_examples_of_different_classes_share_no_letter() -> None:
    cfg = adapt_parts.draw_backbone(Rng(1))["cfg"]
    data = adapt_parts.draw_examples(Rng(1), cfg, 30, 3)
    letters = [set(data["ids"][data["labels"] == k].flatten().tolist()) - {adapt_parts.PAD} for k in range(3)]
    assert all(letters) and not (letters[0] & letters[1] or letters[0] & letters[2] or letters[1] & letters[2])
    assert any((row == adapt_parts.PAD).any() for row in data["ids"])
