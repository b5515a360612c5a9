"""``course grade``: a chapter's new submissions graded in parallel, entered in the gradebook, told to the students.

Workers only compute results, which are stored by content; one process writes the gradebook. Killing a run at any
moment loses at most the submissions that were being graded, and starting it again grades only those.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder.exercise import Chapter, load_chapter
from autograder.judge.collect import Submission, submitted_notebooks, take_in
from autograder.judge.gradebook import Course
from autograder.judge.gradescope import write_gradescope
from autograder.judge.grading import grade_one
from autograder.judge.release import checks_fingerprint, released_notebook
from autograder.judge.report import write_report
from autograder.judge.results import ResultStore, course_secret
from autograder.judge.selection import Selection
from autograder.judge.submission import content_hash
from autograder.judge.tables import print_grades, write_grades
from autograder.judge.workforce import DaskCrew, Failure, LocalCrew, compute

REPORT = "report.html"
OTHER_CHECKS = "a worker has another version of the course's checks; nothing was entered, bring it up to date"


@dataclass
class Graded:
    """What came of one submission; ``result`` is None when it could not be graded at all."""

    student: str
    result: dict[str, Any] | None = None
    is_new: bool = False
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON data, without the messages of single checks."""
        result = self.result or {}
        exercises = {
            name: {key: entry[key] for key in ("earned", "points", "outcome")}
            for name, entry in result.get("exercises", {}).items()
        }
        kept = {
            key: result.get(key) for key in ("chapter", "hash", "earned", "points", "seconds", "sandbox", "problem")
        }
        notes = [*self.problems, *result.get("notes", [])]
        return {"student": self.student, "new": self.is_new, **kept, "exercises": exercises, "notes": notes}


def grade_chapter(
    chapter_id: str,
    root: Path,
    submissions: Path | None = None,
    regrade: bool = False,
    workers: int | None = None,
    console: Console | None = None,
    *,
    selection: Selection | None = None,
    scheduler: str | None = None,
    gradescope: Path | None = None,
    on_graded: Callable[[Graded], None] | None = None,
) -> list[Graded]:
    """Grade what is new in ``classroom/submitted``, after taking in the folder ``submissions`` if one is given.

    Writes gradebook, autograded notebooks, feedback, ``grades.csv`` and ``report.html`` under ``classroom/``, prints
    a table (unless ``on_graded`` is told of every submission as it is done), and returns what came of every selected
    submission, sorted by student. A shard only stores its results: the run without a shard that follows enters them.
    Raises ValueError for an unknown chapter, a course without that chapter, a folder without submissions, or when
    somebody else is writing to this classroom.
    """
    root, console = Path(root).resolve(), console or Console()
    chapter, course = load_chapter(chapter_id), Course(root)
    selection, told = selection or Selection(), on_graded or (lambda graded: None)
    crew = DaskCrew(scheduler) if scheduler else contextlib.nullcontext(LocalCrew(workers or os.cpu_count() or 1))
    with crew as hands:
        run = _Run(chapter, course, regrade, selection, hands, console, told)
        if selection.shard:
            if submissions:
                raise ValueError("shard: expected submissions that were collected before; a shard takes none in")
            return run.store_only()
        with only_one(root / "classroom"):
            course.register(chapter_id)
            problems = take_in(submissions, chapter_id, course.folder("submitted")) if submissions else []
            graded = run.grade(problems, quiet=on_graded is not None)
            if gradescope:
                written = write_gradescope(gradescope, chapter, graded)
                console.print(f"wrote {len(written)} results for Gradescope to {gradescope}", highlight=False)
            return graded


class _Run:
    """One run: which submissions need a result, who computes it, and entering results."""

    def __init__(
        self,
        chapter: Chapter,
        course: Course,
        regrade: bool,
        selection: Selection,
        crew: LocalCrew | DaskCrew,
        console: Console,
        told: Callable[[Graded], None],
    ):
        self.chapter, self.course, self.regrade, self.selection = chapter, course, regrade, selection
        self.crew, self.console, self.told = crew, console, told
        classroom = course.root / "classroom"
        self.store, self.secret = ResultStore(classroom), course_secret(classroom)
        self.released = released_notebook(chapter.id, course.folder("release"))
        self.fingerprint = checks_fingerprint(chapter.id, self.released)

    def grade(self, problems: Sequence[str], quiet: bool) -> list[Graded]:
        """Compute what is missing, enter it, and write tables and report of the whole class."""
        found, more = self._found()
        graded = self._each(self.selection.of(found), self.enter)
        everybody = dict(graded)
        for item in found:  # who was not selected stands in the report as before
            stored = None if item.student in graded else self._stored(item)
            if stored is not None:
                everybody[item.student] = Graded(item.student, stored)
        grades = self.course.grades(self.chapter.id)
        for line in [*problems, *more]:
            self.console.print(f"left out: {line}", style="yellow", highlight=False, markup=False)
        if not quiet:
            print_grades(self.console, self.chapter, list(graded.values()), grades)
        root = self.course.root
        missing = missing_students(self.course, everybody)
        page, people = root / "classroom" / REPORT, list(everybody.values())
        report = write_report(page, self.chapter, people, released=self.released, missing=missing)
        for path in [*write_grades(self.course, self.chapter, everybody, grades), report]:
            self.console.print(f"wrote {path.relative_to(root)}", highlight=False)
        return [graded[student] for student in sorted(graded)]

    def store_only(self) -> list[Graded]:
        """Compute the results of a shard; several machines may do so at once, the gradebook is not touched."""
        found, more = self._found()
        for line in more:
            self.console.print(f"left out: {line}", style="yellow", highlight=False, markup=False)
        graded = self._each(self.selection.of(found), lambda item, result, problems: False)
        number, shards = self.selection.shard or (1, 1)
        said = (
            f"shard {number}/{shards}: {sum(bool(g.result) for g in graded.values())} of {len(graded)} results stored"
        )
        self.console.print(f"{said}; `course grade {self.chapter.id}` enters them", highlight=False)
        return [graded[student] for student in sorted(graded)]

    def _each(
        self, found: list[Submission], then: Callable[[Submission, dict[str, Any], list[str]], bool]
    ) -> dict[str, Graded]:
        graded = {item.student: Graded(item.student) for item in found}
        with _progress(self.console) as progress, _kept_out_of_collections() as keep_out:
            bar = progress.add_task(f"Grading {self.chapter.id}", total=len(found))
            for number, (item, outcome) in enumerate(self.results(found)):
                entry = graded[item.student]
                if isinstance(outcome, Failure):
                    entry.problems.append(outcome.message)
                else:
                    entry.result = outcome
                    entry.is_new = then(item, outcome, entry.problems)
                if number == 0:  # by now everything that the others will use is loaded and compiled
                    keep_out()
                self.told(entry)
                progress.advance(bar)
        return graded

    def _found(self) -> tuple[list[Submission], list[str]]:
        found = list(submitted_notebooks(self.course.folder("submitted"), self.chapter.id))
        return [x for x in found if isinstance(x, Submission)], [x for x in found if isinstance(x, str)]

    def results(self, found: list[Submission]) -> Iterator[tuple[Submission, dict[str, Any] | Failure]]:
        """The result of every submission as soon as it is there."""
        waiting: dict[str, list[Submission]] = {}
        for item in found:
            stored = None if self.regrade else self._stored(item)
            if stored is not None:
                yield item, stored
            else:  # the same file from two students is graded once
                waiting.setdefault(content_hash(item.path.read_bytes()), []).append(item)
        groups = {group[0].path: group for group in waiting.values()}
        work = partial(grade_one, chapter_id=self.chapter.id, secret=self.secret, released=self.released)
        for path, outcome in compute(list(groups), work, self.crew, self._say):
            if not isinstance(outcome, Failure) and outcome["fingerprint"] != self.fingerprint:
                outcome = Failure(OTHER_CHECKS)
            if not isinstance(outcome, Failure):
                self.store.put(outcome)
            for item in groups[path]:
                yield item, outcome

    def _say(self, text: str) -> None:
        self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def _stored(self, item: Submission) -> dict[str, Any] | None:
        return self.store.get(self.chapter.id, content_hash(item.path.read_bytes()), self.fingerprint)

    def enter(self, item: Submission, result: dict[str, Any], problems: list[str]) -> bool:
        """Write a result to gradebook and feedback unless it is there; True if it was new."""
        known = self.course.is_graded(item.student, self.chapter.id, result["hash"], result["fingerprint"])
        if known and not self.regrade:
            return False
        for _ in range(2):
            said = self.course.autograde(item.student, self.chapter.id)
            said = said or self.course.feedback(item.student, self.chapter.id)
            if not said:
                return True
        problems.append(f"nbgrader: {said}")
        return True


def missing_students(course: Course, handed_in: Container[str]) -> list[str]:
    """Who is in the gradebook and has handed in nothing."""
    with course.gradebook() as gradebook:
        return [student.id for student in gradebook.students if student.id not in handed_in]


@contextlib.contextmanager
def only_one(classroom: Path) -> Iterator[None]:
    """The gradebook has one writer; ValueError when somebody is grading already. A killed run holds nothing."""
    classroom.mkdir(exist_ok=True)
    try:
        with FileLock(classroom / ".grading.lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"{classroom}: another run of `course grade` is at work here") from None


@contextlib.contextmanager
def _kept_out_of_collections() -> Iterator[Callable[[], None]]:
    """What is called here exempts all objects of now from garbage collection until the block ends.

    Libraries, templates and compiled SQL are some 300,000 objects; going through them takes longer than a submission.
    """

    def keep_out() -> None:
        gc.collect()
        gc.freeze()

    try:
        yield keep_out
    finally:
        gc.unfreeze()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
