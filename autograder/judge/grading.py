"""Grades one submission: ``grade_one(bytes, chapter) -> dict`` runs on any ``concurrent.futures.Executor``.

An exercise is graded as soon as its code is there, with the names as they are at that point of the notebook, as in
the student's own kernel; again later if something that it uses is defined anew; and again with the course's versions
of earlier functions if those were wrong. The best of these counts. All of it runs on the same hidden inputs.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import warnings
from dataclasses import asdict
from functools import partial
from typing import Any

from autograder.exercise import Exercise, load_chapter
from autograder.judge.bounds import OutOfTime, cpu_limit
from autograder.judge.launcher import Limits, Zygote
from autograder.judge.one_check import OneCheck, failed
from autograder.judge.pieces import as_text, pieces_of
from autograder.judge.plan import Plan, make_plan
from autograder.judge.recorded import recorded
from autograder.judge.release import checks_fingerprint, released_notebook, solved_cells
from autograder.judge.remote import RemoteBackend
from autograder.judge.submission import SubmissionError, cells_of, content_hash, raw_cells, read_cells
from autograder.judge.tries import Tries, Try
from autograder.run import Outcome, Report

FORMAT = 1
MAX_TEXT = 4_000
PLAN_CPU_SECONDS = 20.0


def grade_one(
    notebook: bytes, chapter_id: str, *, secret: bytes, released: bytes | None = None, limits: Limits | None = None
) -> dict[str, Any]:
    """Grade a submitted notebook and say what came of every check, as plain JSON data.

    ``secret`` is the course's; the hidden inputs follow from it and from the submission. ``released`` is the notebook
    as it was handed out (the one under ``chapters/`` unless given). A notebook that cannot be read has ``problem`` set.
    Raises JudgeError when the judge itself does not work here.
    """
    start = time.perf_counter()
    chapter = load_chapter(chapter_id)
    released = released_notebook(chapter_id) if released is None else released
    digest = content_hash(notebook)
    result: dict[str, Any] = {
        "format": FORMAT,
        "chapter": chapter_id,
        "hash": digest,
        "fingerprint": checks_fingerprint(chapter_id, released),
        "sandbox": "",
        "problem": "",
        "notes": [],
        "recorded": {},
    }
    zygote = zygote_of(chapter_id)
    result["sandbox"] = zygote.level
    result["versions"] = {"python": platform.python_version()} | zygote.versions
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a student's strings
            raw = raw_cells(notebook)
            cells, result["recorded"] = cells_of(raw), recorded(raw, chapter.exercises)
            del raw  # outputs can be large
            try:
                with cpu_limit(PLAN_CPU_SECONDS):
                    plan = make_plan(chapter, cells, read_cells(released) if released else [], limits or Limits())
            except OutOfTime:
                raise SubmissionError("the notebook is too complicated: deciding what to run took too long") from None
            backend = partial(RemoteBackend, partial(zygote_of, chapter_id), plan.cells, limits or Limits())
            tries = Tries(chapter, plan, OneCheck(plan, secret, digest), solved_cells(chapter_id), backend)
            tries.run()
        result["notes"] = _notes(plan, tries)
        result["exercises"] = {e.id: _entry(plan, tries.best(e)) for e in chapter.exercises.values()}
    except SubmissionError as error:
        result["problem"] = str(error)
        result["exercises"] = {e.id: _not_attempted(e) for e in chapter.exercises.values()}
    result["earned"] = sum(entry["earned"] for entry in result["exercises"].values())
    result["points"] = sum(entry["points"] for entry in result["exercises"].values())
    result["seconds"] = round(time.perf_counter() - start, 3)
    return result


_local = threading.local()


def zygote_of(chapter_id: str) -> Zygote:
    """This thread's zygote for a chapter, started when there is none; one for another chapter is ended."""
    held = getattr(_local, "zygote", None)
    if held is not None:
        key, zygote = held
        if key == (os.getpid(), chapter_id) and zygote.alive:
            return zygote
        if key[0] == os.getpid():
            zygote.close()
    zygote = Zygote(chapter_id)
    _local.zygote = ((os.getpid(), chapter_id), zygote)
    return zygote


def _notes(plan: Plan, tries: Tries) -> list[str]:
    """What went wrong in cells, and what ended the process."""
    notes = [
        f"cell {plan.cells[index].number}: {error['type']}: {error['message']}"[:300]
        for index, error in sorted(tries.backend.cell_errors.items())
        if plan.cells[index].number
    ]
    return notes + [f"process ended: {reason}"[:300] for reason in tries.deaths]


def _entry(plan: Plan, tried: Try) -> dict[str, Any]:
    """What came of an exercise, as JSON data."""
    exercise, report, planned = tried.exercise, tried.report, plan.exercises[tried.exercise.id]
    notes = planned.notes + ([tried.stand_ins.note] if tried.stand_ins else [])
    if any(r.outcome is Outcome.GRADER_ERROR for r in report.results):
        notes = [*notes, "a check of the course failed by itself: its points are given, please have a look"]
    compared = planned.sources if planned.written and exercise.kind == "code" else ()
    return _as_data(report, notes) | {"pieces": as_text(pieces_of(compared))}


def _not_attempted(exercise: Exercise) -> dict[str, Any]:
    message = "the notebook could not be read"
    results = [failed(item, Outcome.NOT_ATTEMPTED, message) for item in exercise.checks]
    return _as_data(Report(exercise.id, results), [])


def _as_data(report: Report, notes: list[str]) -> dict[str, Any]:
    results = [
        {key: value[:MAX_TEXT] if isinstance(value, str) else value for key, value in asdict(result).items()}
        for result in report.results
    ]
    return {
        "earned": report.earned,
        "points": report.points,
        "outcome": report.outcome.value,
        "results": results,
        "notes": notes,
    }
