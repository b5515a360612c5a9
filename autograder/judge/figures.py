"""Numbers about a class: what became of every exercise, what its notebooks recorded, and who may need help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from autograder.exercise import Chapter, Exercise

AT_RISK = 0.4  # of the points
MANY_CHECKS = 10  # without solving the exercise
DONE = ("passed", "not attempted")


@dataclass
class ExerciseStatistics:
    """What a class did with one exercise; ``mistakes`` counts students by the misconception that was named.

    ``attempts``, ``hints`` and ``seconds`` are what the students' notebooks recorded, one value for each that has a
    record of this exercise.
    """

    exercise: Exercise
    outcomes: Counter[str] = field(default_factory=Counter)
    mistakes: Counter[str] = field(default_factory=Counter)
    failed_checks: Counter[str] = field(default_factory=Counter)
    mean_share: float = 0.0
    discrimination: float | None = None
    attempts: list[int] = field(default_factory=list)
    hints: list[int] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)

    @property
    def attempted(self) -> int:
        return self.outcomes.total() - self.outcomes["not attempted"]

    @property
    def minutes(self) -> float | None:
        """The median of the recorded times; None where nobody's notebook has one."""
        known = [seconds for seconds in self.seconds if seconds]
        return median(known) / 60 if known else None


def statistics(chapter: Chapter, graded: Sequence[Any]) -> list[ExerciseStatistics]:
    """Per exercise: outcomes, named mistakes, the mean share of points, and how well it tells students apart.

    Discrimination is the correlation between the points of an exercise and the points of all others; None where one
    of them does not vary.
    """
    results = [g.result for g in graded if g.result]
    found = []
    for exercise in chapter.exercises.values():
        item = ExerciseStatistics(exercise)
        own, rest = [], []
        for result in results:
            entry = result["exercises"][exercise.id]
            item.outcomes[entry["outcome"]] += 1
            # A student counts once for a misconception, however many checks it fails.
            item.mistakes.update(named_mistakes(entry))
            item.failed_checks.update(dict.fromkeys(r["title"] for r in _failed(entry) if not r["hidden"]).keys())
            own.append(entry["earned"])
            rest.append(result["earned"] - entry["earned"])
            if record := record_of(result, exercise.id):
                item.attempts.append(record["attempts"])
                item.hints.append(record["hints"])
                item.seconds.append(record["seconds"])
        item.mean_share = sum(own) / (len(own) * exercise.points) if own and exercise.points else 0.0
        item.discrimination = correlation(own, rest)
        found.append(item)
    return found


def named_mistakes(entry: dict[str, Any]) -> list[str]:
    """The misconceptions that were recognised in an exercise, each once."""
    return list(dict.fromkeys(r["mistake_text"] for r in _failed(entry) if r["mistake_text"]))


def _failed(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in entry["results"] if r["outcome"] not in DONE]


def record_of(result: dict[str, Any], exercise: str) -> dict[str, int] | None:
    """What the notebook recorded about an exercise; None without a record, and in results of earlier versions."""
    return result.get("recorded", {}).get(exercise)


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's correlation; None for fewer than three pairs or without variation.

    >>> correlation([1, 2, 3], [2, 4, 6]), correlation([1, 1, 1], [1, 2, 3])
    (1.0, None)
    """
    n = len(a)
    if n < 3:
        return None
    mean_a, mean_b = sum(a) / n, sum(b) / n
    var_a, var_b = sum((x - mean_a) ** 2 for x in a), sum((y - mean_b) ** 2 for y in b)
    if not var_a or not var_b:
        return None
    return round(sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (var_a * var_b) ** 0.5, 6)


def at_risk(chapter: Chapter, graded: Sequence[Any]) -> list[tuple[Any, list[str]]]:
    """Who may need help, and by which rule: the fewest points first, somebody without a grade before everybody.

    The rules: nothing could be graded; fewer than 40% of the points; half of the exercises or more not attempted; ten
    checks or more on an exercise that is still not solved, as recorded in the notebook.
    """
    points = sum(exercise.points for exercise in chapter.exercises.values())
    found = [(item, _reasons(chapter, item, points)) for item in graded]
    found = [(item, reasons) for item, reasons in found if reasons]
    return sorted(found, key=lambda pair: (pair[0].result["earned"] if pair[0].result else -1, pair[0].student))


def _reasons(chapter: Chapter, item: Any, points: int) -> list[str]:
    if not item.result:
        return ["nothing was graded"]
    result = item.result
    if result["problem"]:
        return ["the notebook could not be read"]
    entries = {e.id: result["exercises"][e.id] for e in chapter.exercises.values()}
    reasons = [f"fewer than {AT_RISK:.0%} of the points"] if result["earned"] < AT_RISK * points else []
    left = sum(entry["outcome"] == "not attempted" for entry in entries.values())
    if 2 * left >= len(entries):
        reasons.append(f"{left} of {len(entries)} exercises not attempted")
    for name, entry in entries.items():
        checks = (record_of(result, name) or {}).get("attempts", 0)
        if checks >= MANY_CHECKS and entry["outcome"] not in DONE:
            reasons.append(f"{checks} checks on “{chapter.exercises[name].title}”, not solved")
    return reasons
