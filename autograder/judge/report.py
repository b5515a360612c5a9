"""One self-contained page about a class: how it did, exercise by exercise, what was misunderstood, whom to help.

No script, no address from outside, readable without colour, printable. Built from the stored results alone, so it can
be written again at any time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from autograder.exercise import Chapter
from autograder.judge.figures import AT_RISK, MANY_CHECKS, ExerciseStatistics, at_risk, statistics
from autograder.judge.markup import STYLE, histogram, table
from autograder.judge.markup import escape as _
from autograder.judge.similarity import MIN_SHARED, THRESHOLD, Group, most_sharing, similar_submissions

WORDS = {
    "passed": "solved",
    "failed": "wrong answer",
    "error": "raised an error",
    "timeout": "out of time",
    "not attempted": "not attempted",
    "grader error": "grader error",
}
MOST_GROUPS = 200  # of similar submissions on the page
NONE = "–"


def write_report(
    path: Path, chapter: Chapter, graded: Sequence[Any], *, released: bytes | None = None, missing: Sequence[str] = ()
) -> Path:
    """Write the page for what :func:`autograder.judge.grade.grade_chapter` returned; replaces it in one step.

    ``released`` is the notebook as it was handed out, ``missing`` who is known to have handed in nothing.
    """
    temporary = path.with_suffix(".part")
    temporary.write_text(report_page(chapter, graded, released=released, missing=missing), encoding="utf-8")
    os.replace(temporary, path)
    return path


def report_page(
    chapter: Chapter, graded: Sequence[Any], *, released: bytes | None = None, missing: Sequence[str] = ()
) -> str:
    """The page as HTML."""
    results = {g.student: g.result for g in graded if g.result}
    points = sum(e.points for e in chapter.exercises.values())
    found = statistics(chapter, graded)
    alike = similar_submissions(chapter, graded, released)
    return "".join(
        [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width'>",
            f"<title>Report on {_(chapter.id)}</title><style>{STYLE}</style></head><body><main>",
            f"<h1>Chapter {_(chapter.id)}</h1>",
            _summary(graded, list(results.values()), points, missing),
            "<h2>Points</h2>",
            histogram([r["earned"] / points for r in results.values()] if points else []),
            "<h2>Exercises</h2>",
            _exercises(found, len(results)),
            "<h2>What went wrong</h2>",
            _went_wrong(found),
            "<h2>Students who may need help</h2>",
            _at_risk(chapter, graded, points, missing),
            "<h2>Similar submissions</h2>",
            _similar(chapter, alike, len(results)),
            "<h2>All students</h2>",
            _students(chapter, graded, points),
            "</main></body></html>",
        ]
    )


def _summary(graded: Sequence[Any], results: Sequence[dict[str, Any]], points: int, missing: Sequence[str]) -> str:
    earned = [r["earned"] for r in results] or [0]
    sandbox = ", ".join(sorted({r.get("sandbox", "?") for r in results})) or "none"
    absent = f" {len(missing)} more are in the gradebook and handed in nothing." if missing else ""
    return (
        f"<p>{len(graded)} submissions, {len(results)} graded.{absent} Mean {sum(earned) / len(earned):.1f}, median "
        f"{median(earned):g} of {points} points (essays are marked by hand and not counted here). "
        f"Sandbox: {_(sandbox)}.</p>"
    )


def _exercises(found: Sequence[ExerciseStatistics], students: int) -> str:
    head = ("exercise", "solved", "share of points", "tells apart", "checks run*", "hints*", "minutes*")
    rows = []
    for number, item in enumerate(found, 1):
        solved = item.outcomes["passed"]
        share = (
            f"<span class='track' aria-hidden='true'><span class='fill' style='width:{100 * item.mean_share:.0f}%'>"
            f"</span></span> {item.mean_share:.0%}"
        )
        used = sum(1 for hints in item.hints if hints)
        rows.append(
            (
                f"{number}. {_(item.exercise.title)}",
                f"{solved} of {students}" + (f" ({solved / students:.0%})" if students else ""),
                share,
                NONE if item.discrimination is None else f"{item.discrimination:.2f}",
                f"{median(item.attempts):g}" if item.attempts else NONE,
                f"{used} of {len(item.hints)}" if item.hints else NONE,
                f"{item.minutes:.0f} ({item.exercise.minutes})" if item.minutes is not None else NONE,
            )
        )
    note = (
        "<p class='note'>“Tells apart” is the correlation between an exercise's points and the points of all others: "
        "near 1, those who know the rest solve it; near 0 or below, look at the exercise.</p>"
        "<p class='note'>* As recorded in the notebooks that still show their checks, and there for the student to "
        "change: no grade depends on it. Checks run: the median. Hints: how many of those with a record opened at "
        "least one. Minutes: the median time at work, in brackets what the course has planned.</p>"
    )
    return table("Each exercise in numbers", head, rows, numbers=range(1, 7)) + note


def _went_wrong(found: Sequence[ExerciseStatistics]) -> str:
    rows = []
    for number, item in enumerate(found, 1):
        wrong = "".join(
            f"<li>{n} {_(WORDS.get(k, k))}</li>" for k, n in item.outcomes.most_common() if k != "passed" and n
        )
        if not wrong:
            continue
        check = item.failed_checks.most_common(1)
        named = sorted(item.mistakes.items(), key=lambda pair: (-pair[1], pair[0]))
        mistakes = "".join(
            f"<li><b>{n / item.attempted:.0%}</b>: {_(text)} ({n} student{'s' if n != 1 else ''})</li>"
            for text, n in named
        )
        rows.append(
            (
                f"{number}. {_(item.exercise.title)}",
                f"<ul class='short'>{wrong}</ul>",
                f"{_(check[0][0])} ({check[0][1]})" if check else NONE,
                f"<ul>{mistakes}</ul>" if mistakes else NONE,
            )
        )
    if not rows:
        return "<p>Nothing: everybody has solved everything.</p>"
    head = ("exercise", "outcomes", "most failed check", "named mistakes: their code ...")
    note = (
        "<p class='note'>A mistake is named when the code gives exactly what a known misconception gives. Shares are "
        "of those who tried the exercise.</p>"
    )
    return table("Outcomes, failed checks and recognised mistakes", head, rows) + note


def _at_risk(chapter: Chapter, graded: Sequence[Any], points: int, missing: Sequence[str]) -> str:
    rows = [(_(student), NONE, "handed in nothing") for student in sorted(missing)]
    for item, reasons in at_risk(chapter, graded):
        earned = f"{item.result['earned']} of {points}" if item.result else NONE
        rows.append((_(item.student), earned, "; ".join(_(reason) for reason in reasons)))
    rules = (
        f"<p class='note'>The rules: nothing handed in or nothing graded; fewer than {AT_RISK:.0%} of the points; half "
        f"of the exercises or more not attempted; {MANY_CHECKS} checks or more on an exercise that is not solved, as "
        "recorded in the notebook.</p>"
    )
    if not rows:
        return "<p>Nobody, by these rules.</p>" + rules
    return table("Students by the rules below, the fewest points first", ("student", "points", "why"), rows) + rules


def _similar(chapter: Chapter, alike: Sequence[Group], students: int) -> str:
    explained = (
        "<p><strong>A list to look at, not an accusation.</strong> Two people who talked to each other, learned from "
        "the same page or think alike are on it, too. Open the notebooks and ask.</p>"
    )
    note = (
        "<p class='note'>Compared is what the code does, without names, comments, messages and layout, and without "
        f"what the course gives or more than {most_sharing(students)} people have. Listed from {THRESHOLD:.0%} alike "
        f"and {MIN_SHARED} pieces in common; a piece is about a line and a half, and pieces overlap. In a group of "
        "three or more each is like at least one other.</p>"
    )
    if not alike:
        return explained + "<p>Nothing stands out.</p>" + note
    head = ("students", "exercise", "alike", "pieces in common", "alike in")
    more = f"<p>{len(alike) - MOST_GROUPS} more are left out.</p>" if len(alike) > MOST_GROUPS else ""
    return explained + table("Code that is alike", head, _similar_rows(chapter, alike), numbers=(2, 3)) + more + note


def _similar_rows(chapter: Chapter, alike: Sequence[Group]) -> list[tuple[str, ...]]:
    """Groups in which two people are alike in many exercises first."""
    together: Counter[tuple[str, str]] = Counter((p.one, p.other) for group in alike for p in group.pairs)
    often = [max(together[p.one, p.other] for p in group.pairs) for group in alike]
    places = {exercise: number for number, exercise in enumerate(chapter.exercises, 1)}
    rows = []
    for many, group in sorted(zip(often, alike, strict=True), key=lambda pair: -pair[0])[:MOST_GROUPS]:
        scores = sorted({f"{pair.score:.0%}" for pair in group.pairs}, key=lambda s: int(s[:-1]))
        rows.append(
            (
                _(", ".join(group.students)),
                f"{places[group.exercise]}. {_(chapter.exercises[group.exercise].title)}",
                scores[0] if len(scores) == 1 else f"{scores[0]} to {scores[-1]}",
                str(group.shared),
                "only here" if many == 1 else f"{many} exercises",
            )
        )
    return rows


def _students(chapter: Chapter, graded: Sequence[Any], points: int) -> str:
    head = ("student", f"of {points}", *(str(k) for k, _e in enumerate(chapter.exercises, 1)), "to look at")
    rows = []
    for item in sorted(graded, key=lambda g: (g.result["earned"] if g.result else -1, g.student)):
        result = item.result
        notes = list(item.problems)
        if result:
            notes += [result["problem"]] if result["problem"] else []
            notes += _notes(chapter, result)
        cells = [_(item.student), str(result["earned"]) if result else NONE]
        for exercise in chapter.exercises.values():
            cells.append(_points_cell(result["exercises"][exercise.id] if result else None))
        rows.append((*cells, _("; ".join(notes))))
    names = "; ".join(f"{k} {e.title}" for k, e in enumerate(chapter.exercises.values(), 1))
    note = f"<p class='note'>– not graded, ✓ all points, · not attempted, otherwise the points earned. {_(names)}.</p>"
    return table("Points of each student by exercise", head, rows, numbers=range(1, len(head) - 1)) + note


def _notes(chapter: Chapter, result: dict[str, Any]) -> list[str]:
    """What the judge noted about single exercises, each note once, with the numbers of its exercises."""
    places: dict[str, list[str]] = {}
    for number, exercise in enumerate(chapter.exercises, 1):
        for note in result["exercises"][exercise]["notes"]:
            places.setdefault(note, []).append(str(number))
    return [f"{', '.join(numbers)}: {note}" for note, numbers in places.items()]


def _points_cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    if entry["outcome"] == "not attempted":
        return "<span title='not attempted'>·</span>"
    if entry["earned"] == entry["points"]:
        return f"<span title='{entry['earned']} of {entry['points']}'>✓</span>"
    return f"<span title='{_(WORDS.get(entry['outcome'], ''))}'>{entry['earned']}</span>"
