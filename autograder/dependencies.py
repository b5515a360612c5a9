"""Failures that come from somewhere else: a cell that was not run, or an earlier exercise that is not right yet."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from autograder.exercise import Chapter, Exercise
from autograder.run import Outcome, Report

_UNDEFINED = re.compile(r"NameError: name '(\w+)' is not defined")


def point_to_the_cause(
    chapter: Chapter, exercise: Exercise, functions: tuple, report: Report, check: Callable[[Exercise], Report]
) -> None:
    """Change what a report says where an earlier exercise is the cause; ``check`` runs an exercise's public checks.

    A name that is not defined leads to the cell that defines it. A failure that goes away with the course's version
    of an earlier function leads to that exercise, and is not taken for a misconception in this one.
    """
    undefined = False
    for result in report.results:
        found = _UNDEFINED.search(result.message)
        owner = _earlier(chapter, exercise, found[1]) if found else None
        if owner and found:
            result.hint = f"{found[1]} belongs to the exercise “{owner.title}”: run its cell first."
            result.mistake = result.mistake_text = ""
            undefined = True
    if undefined or report.passed or report.outcome is Outcome.NOT_ATTEMPTED:
        return
    owners = {name: _earlier(chapter, exercise, name) for name in _names_used(functions)}
    reports = {owner.id: check(owner) for owner in owners.values() if owner}
    wrong = {name: owner for name, owner in owners.items() if owner and not reports[owner.id].passed}
    if not wrong:
        return
    # The first of them alone, because the others may fail on its account only; then all.
    first = next(e for e in chapter.exercises.values() if e in wrong.values())
    for names in ({name: owner for name, owner in wrong.items() if owner is first}, wrong):
        with _replaced(functions, {name: getattr(owner.reference, name) for name, owner in names.items()}):
            again = check(exercise)
        called = {owner.id: name for name, owner in reversed(names.items())}  # each by the name that was met first
        said = " and ".join(name for name in names if name in called.values())
        passes = {repaired.check for repaired in again.results if repaired.outcome is Outcome.PASSED}
        for result in report.results:
            # By name: one of the two may have ended early, after checks that cannot go on.
            if result.outcome is not Outcome.PASSED and result.check in passes:
                result.hint = f"With the course's {said} in place of yours this check passes: mend that exercise first."
                result.mistake = result.mistake_text = ""
        if again.passed:
            return


def _earlier(chapter: Chapter, exercise: Exercise, name: str) -> Exercise | None:
    for other in chapter.exercises.values():
        if other is exercise:
            return None
        if other.kind == "code" and name in other.functions:
            return other
    return None


def _names_used(functions: tuple) -> list[str]:
    """All global names in the code of these functions and classes, and of those in the notebook that they lead to."""
    todo, names = list(functions), []
    for found in todo:  # which grows
        for member in vars(found).values() if isinstance(found, type) else [found]:
            function = inspect.unwrap(member)
            space = getattr(function, "__globals__", {})
            for name in _names_in(getattr(function, "__code__", None)):
                other = space.get(name)
                if name not in names:
                    names.append(name)
                    if isinstance(other, (FunctionType, type)) and other.__module__ == space.get("__name__"):
                        todo.append(other)
    return names


def _names_in(code: CodeType | None) -> list[str]:
    """The global names in a function's code, nested functions included."""
    todo, names = [code] if code else [], []
    while todo:
        code = todo.pop()
        names += code.co_names
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names


@contextmanager
def _replaced(functions: tuple, names: dict[str, Any]) -> Iterator[None]:
    """The names stand for other functions wherever this code looks them up; afterwards all is as it was."""
    missing = object()
    spaces = {id(f.__globals__): f.__globals__ for f in map(inspect.unwrap, functions) if hasattr(f, "__globals__")}
    before = [(space, name, space.get(name, missing)) for space in spaces.values() for name in names]
    try:
        for space in spaces.values():
            space.update(names)
        yield
    finally:
        for space, name, value in before:
            if value is missing:
                space.pop(name, None)
            else:
                space[name] = value
