"""Grades one submission: ``grade_one(bytes, chapter) -> dict`` runs on any ``concurrent.futures.Executor``.

An exercise is graded as soon as its code is there, with the names as they are at that point of the notebook, as in
the student's own kernel; again later if something that it uses is defined anew; and again with the course's versions
of earlier functions if those were wrong. The best of these counts. All of it runs on the same hidden inputs.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import os
import platform
import threading
import time
import warnings
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from autograder.exercise import Chapter, Check, Exercise, load_chapter
from autograder.forbid import find_forbidden
from autograder.judge.bounds import OutOfTime, cpu_limit, memory_limit
from autograder.judge.launcher import Limits, Zygote
from autograder.judge.pieces import as_text, pieces_of
from autograder.judge.plan import Plan, make_plan
from autograder.judge.recorded import recorded
from autograder.judge.release import checks_fingerprint, released_notebook, solved_cells
from autograder.judge.remote import RemoteBackend
from autograder.judge.stand_ins import stand_ins_for
from autograder.judge.submission import SubmissionError, cells_of, content_hash, raw_cells, read_cells
from autograder.run import Outcome, Report, Result, _forbidden_names, run_exercise
from autograder.student import LocalBackend

FORMAT = 1
MAX_TEXT = 4_000
CHOKED = "the check could not finish with what your code returned"
MAX_STOPS = 3  # after so many lost processes an exercise's remaining checks are not run
# What a check may compute by itself; more means that it chokes on what it was given.
CHECK_CPU_SECONDS = 120.0
CHECK_MEMORY_BYTES = 4 * 2**30
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
            grading = Grading(chapter, plan, secret, digest, limits or Limits())
            grading.run()
        result["notes"] = grading.notes()
        result["exercises"] = {e.id: grading.entry(e) for e in chapter.exercises.values()}
    except SubmissionError as error:
        result["problem"] = str(error)
        result["exercises"] = {e.id: _not_attempted(e) for e in chapter.exercises.values()}
    result["earned"] = sum(entry["earned"] for entry in result["exercises"].values())
    result["points"] = sum(entry["points"] for entry in result["exercises"].values())
    result["seconds"] = round(time.perf_counter() - start, 3)
    return result


class Grading:
    """One submission on its way through its plan."""

    def __init__(self, chapter: Chapter, plan: Plan, secret: bytes, digest: str, limits: Limits):
        self.chapter, self.plan = chapter, plan
        self._secret, self._digest = secret, digest
        self._solved = solved_cells(chapter.id)
        self.backend = RemoteBackend(partial(zygote_of, chapter.id), plan.cells, limits)
        # Hidden checks ask a second process: what one of them asked must never reach a public one, whose messages
        # and output a student gets to read.
        self.private = RemoteBackend(partial(zygote_of, chapter.id), plan.cells, limits)
        self.best: dict[str, Report] = {}
        self._more: dict[str, list[str]] = {}

    def run(self) -> None:
        """Run the cells and grade every exercise when its turn comes."""
        try:
            for index in range(len(self.plan.cells)):
                self.backend.run(index)
                for exercise in self._open():
                    if index in self.plan.exercises[exercise.id].points:
                        self._try(exercise)
            self._run_again_what_came_too_early()
            for exercise in self._open():
                if exercise.id not in self.best:
                    self._try(exercise)
            for exercise in self._open():
                self._try_with_stand_ins(exercise)
        finally:
            self.backend.close()
            self.private.close()

    def _open(self) -> list[Exercise]:
        """The exercises that have not passed yet."""
        return [e for e in self.chapter.exercises.values() if not (e.id in self.best and self.best[e.id].passed)]

    def _run_again_what_came_too_early(self) -> None:
        """Cells that used something which the notebook defines further down, in a notebook that was reordered."""
        early = [n for n, error in self.backend.cell_errors.items() if error["type"] == "NameError"]
        mended = [index for index in sorted(early) if self.backend.run(index)]
        if mended:
            for exercise in self._open():
                if self.plan.exercises[exercise.id].written:
                    self._try(exercise)

    def _try_with_stand_ins(self, exercise: Exercise) -> None:
        """An exercise that builds on earlier ones is not lost with them: use the course's versions of those."""
        everything = list(self.chapter.exercises.values())
        earlier = [e for e in everything[: everything.index(exercise)] if e.kind == "code"]
        # One that passed may have been overwritten by a second version since.
        wrong = {e.id for e in earlier if not self.best[e.id].passed or len(self.plan.exercises[e.id].points) > 1}
        stand_ins = stand_ins_for(exercise, earlier, wrong, self.plan, self._solved)
        if stand_ins:
            self.backend.use_stand_ins(stand_ins)
            self._try(exercise, stand_ins.note)
            self.backend.use_stand_ins(None)

    def _try(self, exercise: Exercise, note: str = "") -> None:
        report = self._grade(exercise)
        before = self.best.get(exercise.id)
        if before is None or report.earned > before.earned:
            self.best[exercise.id] = report
            self._more[exercise.id] = [note] if note else []

    def _grade(self, exercise: Exercise) -> Report:
        report = Report(exercise.id)
        source = self._source(exercise)
        deaths = len(self._deaths())
        for item in exercise.checks:
            if len(self._deaths()) - deaths >= MAX_STOPS:
                message = f"not run: your code had to be stopped {MAX_STOPS} times before"
                report.results.append(_result(item, Outcome.ERROR, message))
                continue
            result = self._check(exercise, item, source)
            if result.outcome is Outcome.GRADER_ERROR:
                result = self._check(exercise, item, source)
            if result.outcome is Outcome.GRADER_ERROR and self._runs_with_the_reference(exercise, item):
                result = _result(item, Outcome.FAILED, CHOKED)
            if result.outcome is Outcome.GRADER_ERROR:
                result.earned = result.points  # a mistake of the course's is never a student's loss
            report.results.append(result)
        return report

    def _check(self, exercise: Exercise, item: Check, source: str) -> Result:
        backend = self.backend
        if item.hidden:
            backend = self.private
            backend.follow(self.backend)
        backend.forbid, backend.relax = exercise.forbid, exercise.relax
        backend.start_check()
        try:
            with cpu_limit(CHECK_CPU_SECONDS), memory_limit(CHECK_MEMORY_BYTES):
                report = run_exercise(exercise, backend, source=source, checks=[item], seed=self._seed_in(exercise))
            result = report.results[0]
        except OutOfTime:
            backend.restart(backend.program)
            result = _result(item, Outcome.TIMEOUT, CHOKED)
        if backend.failure:
            raise backend.failure
        return result

    def _runs_with_the_reference(self, exercise: Exercise, item: Check) -> bool:
        """Whether the check is sound after all: what the submission returned may have left it no room."""
        gc.collect()
        local = LocalBackend(exercise.solution())
        report = run_exercise(exercise, local, checks=[replace(item, time_limit=0)], seed=self._seed_in(exercise))
        return report.passed

    def _seed_in(self, exercise: Exercise) -> Any:
        version = str(getattr(exercise, "version", 1))

        def seed(item: Check) -> int:
            return hidden_seed(self._secret, self._digest, exercise.id, item.name, version)

        return seed

    def _source(self, exercise: Exercise) -> str:
        """The cell of an exercise in which something forbidden stands, its own cell if there is none."""
        sources = self.plan.exercises[exercise.id].sources
        names = _forbidden_names(exercise)
        return next((text for text in sources if find_forbidden(text, names)), sources[0] if sources else "")

    def entry(self, exercise: Exercise) -> dict[str, Any]:
        """What came of an exercise, as JSON data."""
        report = self.best[exercise.id]
        notes = self.plan.exercises[exercise.id].notes + self._more[exercise.id]
        if any(r.outcome is Outcome.GRADER_ERROR for r in report.results):
            notes = [*notes, "a check of the course failed by itself: its points are given, please have a look"]
        planned = self.plan.exercises[exercise.id]
        compared = planned.sources if planned.written and exercise.kind == "code" else ()
        return _entry(report, notes) | {"pieces": as_text(pieces_of(compared))}

    def notes(self) -> list[str]:
        """What went wrong in cells, and what ended the process."""
        cells = self.plan.cells
        notes = [
            f"cell {cells[index].number}: {error['type']}: {error['message']}"[:300]
            for index, error in sorted(self.backend.cell_errors.items())
            if cells[index].number
        ]
        return notes + [f"process ended: {reason}"[:300] for reason in self._deaths()]

    def _deaths(self) -> list[str]:
        return self.backend.deaths + self.private.deaths


def hidden_seed(secret: bytes, digest: str, exercise: str, check: str, version: str) -> int:
    """A seed that nobody can foresee without the secret, and that is the same at every regrade."""
    text = "\0".join((digest, exercise, check, version)).encode()
    return int.from_bytes(hmac.new(secret, text, hashlib.sha256).digest()[:8], "big")


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


def _entry(report: Report, notes: list[str]) -> dict[str, Any]:
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


def _not_attempted(exercise: Exercise) -> dict[str, Any]:
    report = Report(exercise.id)
    report.results = [
        _result(item, Outcome.NOT_ATTEMPTED, "the notebook could not be read") for item in exercise.checks
    ]
    return _entry(report, [])


def _result(item: Check, outcome: Outcome, message: str) -> Result:
    return Result(item.name, item.title, outcome, 0, item.points, item.hidden, message, item.hint)
