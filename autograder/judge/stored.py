"""``course report``: the page and the tables of a chapter again, from what is stored, without grading anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbgrader.plugins.export import CsvExportPlugin

from autograder.exercise import Chapter, load_chapter
from autograder.judge.collect import Submission, submitted_notebooks
from autograder.judge.figures import named_mistakes, record_of
from autograder.judge.grade import REPORT, Graded, missing_students
from autograder.judge.gradebook import Course
from autograder.judge.release import checks_fingerprint, released_notebook
from autograder.judge.report import write_report
from autograder.judge.results import ResultStore
from autograder.judge.submission import content_hash
from autograder.judge.tables import write_csv

NOT_GRADED = "not graded yet, or by earlier checks: course grade"
COLUMNS = (
    "chapter", "student", "exercise", "outcome", "earned", "points", "attempts", "hints", "seconds", "mistakes",
)  # fmt: skip


def report_chapter(chapter_id: str, root: Path, *, csv: Path | None = None, nbgrader: Path | None = None) -> list[Path]:
    """Write ``classroom/report.html`` and what else is asked for; returns the paths, the page first.

    ``csv`` gets a row per student and exercise, ``nbgrader`` the chapter's grades by nbgrader's exporter. Raises
    ValueError for an unknown chapter, and when none of its submissions has been graded.
    """
    chapter, course = load_chapter(chapter_id), Course(Path(root).resolve())
    graded = stored_class(course, chapter_id)
    if not any(item.result for item in graded):
        raise ValueError(f"chapter: nothing of {chapter_id} has been graded by these checks: course grade {chapter_id}")
    missing = missing_students(course, {item.student for item in graded})
    released = released_notebook(chapter_id, course.folder("release"))
    page = course.root / "classroom" / REPORT
    written = [write_report(page, chapter, graded, released=released, missing=missing)]
    if csv:
        csv.parent.mkdir(parents=True, exist_ok=True)
        write_csv(csv, COLUMNS, exercise_rows(chapter, graded))
        written.append(csv)
    if nbgrader:
        written.append(export_grades(course, chapter_id, nbgrader))
    return written


def stored_class(course: Course, chapter_id: str) -> list[Graded]:
    """Everybody who handed in, with the stored result of exactly this notebook by the checks as they are now."""
    store = ResultStore(course.root / "classroom")
    fingerprint = checks_fingerprint(chapter_id, released_notebook(chapter_id, course.folder("release")))
    graded = []
    for item in submitted_notebooks(course.folder("submitted"), chapter_id):
        if isinstance(item, Submission):
            result = store.get(chapter_id, content_hash(item.path.read_bytes()), fingerprint)
            graded.append(Graded(item.student, result, problems=[] if result else [NOT_GRADED]))
    return graded


def exercise_rows(chapter: Chapter, graded: Sequence[Graded]) -> Iterator[list[Any]]:
    """The rows of the table: outcome and points as graded; attempts, hints and seconds as the notebook recorded."""
    for item in sorted(graded, key=lambda g: g.student):
        for exercise in chapter.exercises:
            start = [chapter.id, item.student, exercise]
            if not item.result:
                yield [*start, "not graded", "", "", "", "", "", ""]
                continue
            entry = item.result["exercises"][exercise]
            record = record_of(item.result, exercise) or {}
            counts = [record.get(key, "") for key in ("attempts", "hints", "seconds")]
            yield [
                *start,
                entry["outcome"],
                entry["earned"],
                entry["points"],
                *counts,
                "; ".join(named_mistakes(entry)),
            ]


def export_grades(course: Course, chapter_id: str, path: Path) -> Path:
    """The chapter's grades as ``nbgrader export --assignment`` writes them: with manual marks and late penalties."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    exporter = CsvExportPlugin(config=course.config, to=str(temporary), assignment=[chapter_id])
    with course.gradebook() as gradebook:
        exporter.export(gradebook)
    os.replace(temporary, path)
    return path
