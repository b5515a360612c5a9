"""Runs an exercise's checks against somebody's code and says what came of each.

The same function serves the notebook (student code in this process) and the judge (student code in a sandboxed
child): only the backend differs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from autograder.alike import same
from autograder.compare import CheckFailed
from autograder.exercise import Check, Exercise, Mistake
from autograder.forbid import find_forbidden
from autograder.rng import Rng, seed_of
from autograder.student import (
    Backend,
    Event,
    LocalBackend,
    NotWritten,
    ProcessDied,
    Student,
    StudentError,
    StudentTimeout,
)
from autograder.values import BadValue


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    NOT_ATTEMPTED = "not attempted"
    GRADER_ERROR = "grader error"


@dataclass
class Result:
    """What came of one check. ``mistake`` names the known misconception that the output equals, if one does."""

    check: str
    title: str
    outcome: Outcome
    earned: int
    points: int
    hidden: bool
    message: str = ""
    hint: str = ""
    called: str = ""
    mistake: str = ""
    mistake_text: str = ""
    line: int | None = None
    source: str = ""
    printed: str = ""
    seconds: float = 0.0


@dataclass
class Report:
    """What came of an exercise: a result per check, in order."""

    exercise: str
    results: list[Result] = field(default_factory=list)

    @property
    def earned(self) -> int:
        return sum(r.earned for r in self.results)

    @property
    def points(self) -> int:
        return sum(r.points for r in self.results)

    @property
    def passed(self) -> bool:
        return all(r.outcome is Outcome.PASSED for r in self.results)

    @property
    def outcome(self) -> Outcome:
        """The exercise as a whole: passed, not attempted, or the first thing that went wrong."""
        if self.passed:
            return Outcome.PASSED
        if all(r.outcome is Outcome.NOT_ATTEMPTED for r in self.results):
            return Outcome.NOT_ATTEMPTED
        harmless = (Outcome.PASSED, Outcome.NOT_ATTEMPTED)
        return next((r.outcome for r in self.results if r.outcome not in harmless), Outcome.FAILED)

    @property
    def first_problem(self) -> Result | None:
        return next((r for r in self.results if r.outcome is not Outcome.PASSED), None)


def run_exercise(
    exercise: Exercise,
    backend: Backend,
    *,
    source: str = "",
    checks: Iterable[Check] | None = None,
    seed: Callable[[Check], int] | None = None,
) -> Report:
    """Run the checks (all of the exercise unless given) on the code behind ``backend``.

    ``source`` is the student's cell, searched for forbidden calls. ``seed`` gives each check its seed; by default
    it follows from the names, so that a student sees the same inputs at every run.
    """
    report = Report(exercise.id)
    forbidden = find_forbidden(source, _forbidden_names(exercise))
    for item in exercise.public_checks if checks is None else checks:
        if forbidden:
            line, name = forbidden[0]
            message = f"line {line} uses {name}; here you write that yourself"
            result = _result(item, Outcome.FAILED, message, hint=item.hint)
            result.line = line
            report.results.append(result)
            continue
        number = seed(item) if seed else seed_of(exercise.id, item.name)
        report.results.append(_run_check(exercise, item, backend, number))
    return report


def _run_check(exercise: Exercise, item: Check, backend: Backend, seed: int) -> Result:
    student = Student(backend, item.time_limit)
    start = time.perf_counter()
    about: Event | None = None
    said = ""  # by the check itself; an error of the student's code may be worded differently each time
    try:
        item.run(exercise, student, Rng(seed))
        result = _result(item, Outcome.PASSED)
    except NotWritten as error:
        result = _result(item, Outcome.NOT_ATTEMPTED, f"{error} is not written yet")
    except StudentTimeout:
        result = _result(item, Outcome.TIMEOUT, f"it did not finish within {item.time_limit:g} seconds")
    except ProcessDied as error:
        result = _result(item, Outcome.ERROR, str(error))
    except StudentError as error:
        result = _result(item, Outcome.ERROR, f"it raised {error}")
        line = error.details.get("line")
        result.line = line if isinstance(line, int) else None
        result.source = str(error.details.get("source") or "")[:200]
    except CheckFailed as error:
        said = str(error)
        result = _result(item, Outcome.FAILED, said)
        about = _event_of(student.trace, error.got)
    except Exception as error:
        result = _blame(exercise, item, seed, error)
    result.seconds = time.perf_counter() - start
    if result.outcome is Outcome.PASSED:
        return result
    if student.trace:
        last = student.trace[-1]
        about = about or last
        result.called, result.printed = about.what, (about if about.what else last).printed
    result.hint = item.hint
    if result.outcome in (Outcome.FAILED, Outcome.ERROR):
        known = find_mistake(exercise, item, student.trace, seed, said)
        if known:
            result.mistake, result.mistake_text = known.name, known.text
    return result


def _event_of(trace: list[Event], got: object) -> Event | None:
    """The call that returned this very value, if one did; a check may also name the call itself."""
    if got is None or isinstance(got, Event):
        return got
    return next((e for e in reversed(trace) if isinstance(e.value, dict) and e.value.get("ok") is got), None)


def _blame(exercise: Exercise, item: Check, seed: int, error: Exception) -> Result:
    """A check stumbled: over what the student returned, if it runs through with the reference."""
    try:
        # No limit on its time: slowing this machine down must not make a failure look like the course's own.
        item.run(exercise, Student(LocalBackend(exercise.solution()), None), Rng(seed))
    except Exception:
        return _result(
            item, Outcome.GRADER_ERROR, f"the check itself failed ({type(error).__name__}); this costs nothing"
        )
    kind = "it returned a value that cannot be used here"
    detail = str(error) if isinstance(error, BadValue) else f"{type(error).__name__}: {error}"
    return _result(item, Outcome.FAILED, f"{kind} ({detail[:200]})")


def find_mistake(exercise: Exercise, item: Check, trace: list[Event], seed: int, said: str = "") -> Mistake | None:
    """The first declared mistake that behaves exactly as the student's code did up to the failure, and fails there too.

    That it behaves alike is not enough. A check may look at what leaves no trace, such as what a model was called with;
    and on the inputs of this check a mistake may well return what is right. ``said`` is what the check said about the
    student's code: about the mistake it has to say the same.
    """
    if not trace:
        return None
    for known in exercise.mistakes:
        position = 0

        def compare(event: Event) -> None:
            nonlocal position
            if position == len(trace) or not _same_event(event, trace[position]):
                raise _Different
            position += 1

        backend = LocalBackend(exercise.solution(**{known.function: known.code}))
        try:
            item.run(exercise, Student(backend, item.time_limit, _watch=compare), Rng(seed))
        except _Different:
            continue
        except Exception as error:
            if position == len(trace) and _same_words(said, error, trace):
                return known
    return None


class _Different(BaseException):
    """Ends a mistake's run: it does not behave as the student's code does."""


def _same_event(a: Event, b: Event) -> bool:
    return a.error == b.error and same(a.value, b.value)


def _same_words(said: str, error: Exception, trace: list[Event]) -> bool:
    """Whether a check fails for the same reason: in the same words, whatever the numbers are (values agree up to
    rounding). Words are no evidence where errors or values that are not compared may stand among them."""
    if not said or not isinstance(error, CheckFailed):
        return not said and not isinstance(error, CheckFailed)
    if any(event.error or event.value is None for event in trace):
        return True
    return _without_numbers(said) == _without_numbers(str(error))


def _without_numbers(text: str) -> str:
    """A message with each number, and each row of numbers, replaced by one sign.

    >>> _without_numbers("it returned [1, -2.5, nan], expected 3e-05")
    'it returned [#], expected #'
    """
    number = r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|\b(?:nan|inf)\b)"
    return re.sub(r"#(?:, #)*", "#", re.sub(number, "#", text))


def _forbidden_names(exercise: Exercise) -> tuple[str, ...]:
    module = getattr(exercise.reference, "__name__", None)
    return (*exercise.forbid, module) if module else exercise.forbid


def _result(item: Check, outcome: Outcome, message: str = "", hint: str = "") -> Result:
    earned = item.points if outcome is Outcome.PASSED else 0
    return Result(item.name, item.title, outcome, earned, item.points, item.hidden, message, hint)
