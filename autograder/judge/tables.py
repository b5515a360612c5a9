"""The table of grades: on the screen, and as CSV that a spreadsheet cannot mistake for formulas."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autograder.exercise import Chapter
from autograder.judge.gradebook import Course

COLUMNS = ("chapter", "student", "timestamp", "score", "max_score", "late_penalty", "to_mark", "notes")


def print_grades(console: Console, chapter: Chapter, graded: list[Any], grades: dict[str, dict[str, Any]]) -> None:
    """One row per student: points per exercise and in total; below, what to know about single submissions."""
    table = Table(
        title=f"Chapter {chapter.id}",
        caption=_legend(chapter),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("student", no_wrap=True)
    for number, _ in enumerate(chapter.exercises, 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    for item in sorted(graded, key=lambda g: g.student):
        entries = item.result["exercises"] if item.result else {}
        cells = [_cell(entries.get(exercise)) for exercise in chapter.exercises]
        grade = grades.get(item.student)
        total = f"{grade['score']:g}/{grade['max_score']:g}" if grade else "-"
        table.add_row(Text(item.student), *cells, total)
    console.print(table)
    for item in sorted(graded, key=lambda g: g.student):
        note = _note(item, grades.get(item.student))
        if note:
            console.print(Text.assemble((f"{item.student}: ", "bold"), note))


def write_grades(
    course: Course, chapter: Chapter, graded: dict[str, Any], grades: dict[str, dict[str, Any]]
) -> list[Path]:
    """Write ``classroom/grades.csv``, all chapters, and one table of this chapter with a column per exercise."""
    classroom = course.root / "classroom"
    rows = []
    for name in course.chapters():
        for student, grade in (grades if name == chapter.id else course.grades(name)).items():
            item = graded.get(student) if name == chapter.id else None
            row = {**grade, "chapter": name, "student": student, "to_mark": " ".join(grade["to_mark"])}
            rows.append(row | {"notes": _note(item, None) if item else ""})
    summary = classroom / "grades.csv"
    write_csv(summary, COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    detail = classroom / f"grades_{chapter.id}.csv"
    cells = sorted({name for grade in grades.values() for name in grade["cells"]}, key=_order(chapter))
    columns = ("student", *(name.removeprefix("check_") for name in cells), "score", "max_score")
    lines = [
        [student, *(grade["cells"].get(name, "") for name in cells), grade["score"], grade["max_score"]]
        for student, grade in grades.items()
    ]
    write_csv(detail, columns, lines)
    return [summary, detail]


def plain_cell(value: Any) -> str:
    """A value that stays text in a spreadsheet.

    >>> plain_cell("=HYPERLINK(1)"), plain_cell(-1.5)
    ("'=HYPERLINK(1)", '-1.5')
    """
    if isinstance(value, (int, float)):
        return f"{value:g}"
    text = " ".join(str(value).split())
    # Some spreadsheets take semicolons for the border of a cell, too.
    return re.sub(r"(^|[;|])(\s*)(?=[=+@-])", r"\1\2'", text)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table in which every cell is a number or text; replaces the file in one step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[plain_cell(value) for value in row] for row in rows])
    temporary = path.with_suffix(".part")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    os.replace(temporary, path)


def _cell(entry: dict[str, Any] | None) -> Text:
    if entry is None:
        return Text("-")
    earned, points = entry["earned"], entry["points"]
    marks = {"not attempted": "·", "timeout": "⧗", "error": "!", "grader error": "?"}
    if earned == points:
        return Text(f"{earned}", style="green")
    sign = marks.get(entry["outcome"], "")
    return Text(f"{earned}{sign}", style="yellow" if earned else "red")


def _legend(chapter: Chapter) -> str:
    names = [f"{number} {e.id} ({e.points})" for number, e in enumerate(chapter.exercises.values(), 1)]
    return f"{', '.join(names)}. · not attempted, ! error, ⧗ out of time, ? the grader's error"


def _note(item: Any, grade: dict[str, Any] | None) -> str:
    notes = list(item.problems)
    if grade and grade["to_mark"]:
        notes.append(f"to mark: {', '.join(grade['to_mark'])}")
    if item.result:
        if item.result["problem"]:
            notes.append(item.result["problem"])
        for exercise, entry in item.result["exercises"].items():
            notes += [f"{exercise}: {note}" for note in entry["notes"]]
        notes += item.result["notes"]
    return "; ".join(notes[:6])


def _order(chapter: Chapter) -> Any:
    places = {f"check_{name}": number for number, name in enumerate(chapter.exercises)}
    return lambda name: (places.get(name, len(places)), name)
