"""Run an exercise's checks on some code with inputs drawn from a seed of the test's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autograder.exercise import Check, Exercise
from autograder.run import Outcome, Report, Result, run_exercise
from autograder.student import LocalBackend

SLOW = "finishes_a_large_text_in_time"  # takes seconds with each of many mistakes, and is about speed, not about names


def run(exercise: Exercise, code: dict[str, Any], seed: int, checks: Sequence[Check] | None = None) -> Report:
    """All checks, or those given; each of them gets a seed of its own."""
    chosen = list(exercise.checks if checks is None else checks)
    return run_exercise(exercise, LocalBackend(code), checks=chosen, seed=lambda check: seed * 7919 + len(check.name))


def quick(exercise: Exercise) -> list[Check]:
    return [check for check in exercise.checks if check.name != SLOW]


def failures(report: Report) -> list[Result]:
    return [result for result in report.results if result.outcome is not Outcome.PASSED]


def expect_no_accident(exercise: Exercise, value: Any) -> None:
    """Functions that return this value fail a public check, which says so in words and does not stumble over it."""
    for function in exercise.functions:
        code = exercise.solution(**{function: lambda *args, **kwargs: value})
        failed = failures(run(exercise, code, 1, quick(exercise)))
        assert any(not result.hidden for result in failed), f"{function} may return {value!r}"
        for result in failed:
            assert result.outcome is Outcome.FAILED, f"{function}: {result.check}: {result.outcome} {result.message}"
            if not result.hidden:  # the words of the others are never shown
                assert result.message and "Error:" not in result.message, (
                    f"{function}: {result.check}: {result.message}"
                )


def shown(value: Any) -> str:
    """A value as the id of a test."""
    return " ".join(repr(value).split())[:20].split(" at ")[0]
