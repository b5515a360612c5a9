"""What stands in for earlier exercises that a student got wrong: the course's own cells, run in the child.

Cells, not single functions that are asked across the border: a class can be built, called and derived from, and
gradients flow through it. They run in names of their own, so that the course's MultiHeadAttention calls the course's
attention whatever the student's notebook calls so. They give away what every student has in ``course_lib`` anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autograder.exercise import Exercise
from autograder.judge.plan import Plan
from autograder.judge.statements import parse


@dataclass(frozen=True)
class StandIns:
    """The course's versions of some names, and how to get them."""

    cells: tuple[str, ...]  # set-up and solution cells of the course
    replaced: tuple[str, ...]  # what is taken from them in place of the student's
    added: tuple[str, ...] = ()  # helpers that are taken where the student has none
    withheld: tuple[str, ...] = ()  # what must not be found behind them
    again: tuple[str, ...] = ()  # the student's cells that have looked up one of the names when they ran

    def as_body(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def note(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.replaced or self.added)
        return f"graded with the course's {names} in place of yours"


def stand_ins_for(
    exercise: Exercise, earlier: Iterable[Exercise], wrong: set[str], plan: Plan, solved: Mapping[str, str]
) -> StandIns | None:
    """What to put in the place of the ``wrong`` ones of the ``earlier`` exercises; None where nothing helps.

    ``solved`` holds the course's cell of each exercise, and under "" its set-up. An earlier exercise counts if this
    one uses it, or uses something right that does.
    """
    planned = plan.exercises[exercise.id]
    needed, granted = set(planned.uses), []
    for other in reversed(list(earlier)):
        if other.id not in wrong:
            needed |= plan.exercises[other.id].uses if needed & set(other.functions) else set()
        elif other.id in solved and needed & _bound(solved[other.id]) - set(exercise.does_as):
            granted.append(other)
    if not granted or not planned.written:
        return None
    replaced = [name for other in reversed(granted) for name in other.functions if name in needed]
    added = set().union(*(_bound(solved[other.id]) - set(other.functions) for other in granted))
    names = tuple(name for name in replaced if name not in exercise.does_as)
    return StandIns(
        cells=tuple(solved[key] for key in _up_to(granted[0].id, solved)),
        replaced=names,
        added=tuple(sorted(added)),
        withheld=exercise.does_as,
        again=planned.parts if planned.at_once & (added | set(names)) else (),
    )


def _bound(source: str) -> set[str]:
    """The functions and classes that a cell defines."""
    parsed = parse(source)
    return set().union(*(s.binds for s in parsed.statements if s.is_definition)) if parsed else set()


def _up_to(last: str, solved: Mapping[str, str]) -> list[str]:
    """The set-up and all cells before that one, which they may use, in the notebook's order."""
    keys = list(solved)
    return keys[: keys.index(last) + 1]
