"""Every exercise of every chapter under other seeds: mistakes keep their names, correct solutions pass."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from seeded import failures, quick, run

from autograder.exercise import Exercise, chapter_ids, load_chapter
from autograder.run import Outcome, run_exercise
from autograder.student import LocalBackend

torch.set_num_threads(1)
EXERCISES = [e for chapter in chapter_ids() for e in load_chapter(chapter).exercises.values() if e.kind == "code"]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


@pytest.mark.parametrize("seed", (3, 4))
@each_exercise
def test_mistakes_keep_their_names(exercise: Exercise, seed: int) -> None:
    for mistake in exercise.mistakes:
        code = exercise.solution(**{mistake.function: mistake.code})
        failed = failures(run(exercise, code, seed, quick(exercise)))
        assert any(not result.hidden for result in failed), f"{mistake.name} passes the public checks"
        assert {result.mistake for result in failed if not result.hidden} == {mistake.name}
        assert {result.mistake for result in failed} <= {mistake.name, ""}


@pytest.mark.parametrize("seed", range(3, 7))
@each_exercise
def test_the_reference_and_other_correct_solutions_pass(exercise: Exercise, seed: int) -> None:
    assert len(exercise.variants) >= 2 or exercise.difficulty == 1
    for code in ({}, *(variant.code for variant in exercise.variants)):
        report = run(exercise, exercise.solution(**code), seed, quick(exercise))
        assert report.passed, report.first_problem


@each_exercise
def test_points_are_shared_between_public_and_hidden_checks(exercise: Exercise) -> None:
    hidden = sum(check.points for check in exercise.hidden_checks)
    assert exercise.points <= (12 if exercise.minutes < 60 else 14)
    assert 0.3 <= hidden / exercise.points <= 0.6
    assert all(check.hint for check in exercise.checks)


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if isinstance(e.reference, ModuleType)], ids=lambda e: e.id)
def test_a_call_of_the_course_s_own_solution_does_not_count(exercise: Exercise) -> None:
    name = exercise.functions[-1]
    source = f"from {exercise.reference.__name__} import {name} as solved\n{name} = solved"
    report = run_exercise(exercise, LocalBackend(exercise.solution()), source=source)
    assert {result.outcome for result in report.results} == {Outcome.FAILED}
    assert "line 1" in report.results[0].message
