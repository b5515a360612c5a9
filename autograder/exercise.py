"""How an exercise is written down: checks, hints and mistakes in one class that reads like a specification.

    class Merge(Exercise):
        \"\"\"Replace every occurrence of a pair by a new id, from left to right.\"\"\"

        functions = ("merge",)
        reference = tokenization
        hints = ("nudge", "plan", "nearly code")

        @check(points=1, hint="Look at 'aaa': which two of the three belong together?")
        def merges_from_left_to_right(self, student, rng):
            equal(student.merge([1, 1, 1], (1, 1), 9), [9, 1])

        @mistake("merges from right to left")
        def from_the_right(ids, pair, new_id): ...

A chapter's classes stand in ``autograder/exercises/TOPIC.py`` or in a package of that name, in reading order. Hidden
checks and variants (other correct solutions) stand in ``autograder/hidden/TOPIC``, in a subclass of the same name;
that folder never leaves the instructor's machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

# threads: torch uses more than one; compile: torch.compile works (see autograder/judge/relax.py).
RELAXATIONS = ("threads", "compile")
HIDDEN_SUMMARY = Path(__file__).parent / "exercises" / "hidden_summary.json"


@dataclass(frozen=True)
class Check:
    """One tested property: its name is the sentence a student reads."""

    name: str
    run: Callable[..., None]
    points: int
    hint: str
    hidden: bool
    time_limit: float

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong implementation of ``function``; ``text`` completes the sentence "Your code ..."."""

    name: str
    text: str
    function: str
    code: Callable[..., Any]


@dataclass(frozen=True)
class Variant:
    """Another correct solution, written differently; functions it leaves out come from the reference."""

    name: str
    code: dict[str, Callable[..., Any]]


def check(points: int = 1, hint: str = "", time_limit: float = 10.0) -> Callable:
    """Mark a method ``(self, student, rng)`` as a check worth ``points``."""

    def mark(method: Callable) -> Callable:
        method._check = {"points": points, "hint": hint, "time_limit": time_limit}
        return method

    return mark


def mistake(text: str, of: str | None = None) -> Callable:
    """Mark a function of the class body as a named wrong implementation of one of the exercise's functions."""

    def mark(code: Callable) -> Callable:
        code._mistake = (text, of)
        return code

    return mark


def variant(holder: type) -> type:
    """Mark a nested class whose functions are another correct solution."""
    holder._variant = True
    return holder


class Exercise:
    """One function or class that a student writes, or a few that belong together; subclass and declare.

    ``functions`` are the names a student defines, the last one names the exercise unless ``id`` is set;
    ``reference`` is a module or namespace that holds right versions of them.
    """

    id: str = ""
    functions: tuple[str, ...] = ()
    reference: Any = None
    title: str = ""
    difficulty: int = 1  # stars: 1 warm-up, 2 core, 3 stretch
    minutes: int = 10
    forbid: tuple[str, ...] = ()
    # Earlier functions that do the same in another way: the judge never stands in for them here.
    does_as: tuple[str, ...] = ()
    # What the judge allows this exercise and no other: names from RELAXATIONS.
    relax: tuple[str, ...] = ()
    hints: tuple[str, str, str] | tuple = ()
    kind: str = "code"

    checks: list[Check]
    mistakes: list[Mistake]
    variants: list[Variant]

    def __init__(self) -> None:
        cls = type(self)
        if isinstance(cls.relax, str) or not set(cls.relax) <= set(RELAXATIONS):
            raise ValueError(f"relax: expected a tuple of names among {', '.join(RELAXATIONS)}, got {cls.relax!r}")
        public = next(c for c in cls.__mro__ if c.__dict__.get("functions"))
        self.id = cls.id or self.functions[-1]
        self.title = cls.title or self.id.replace("_", " ")
        main = self.id if self.id in self.functions else self.functions[-1]
        # A subclass in autograder/hidden adds to the class it extends: what it adds is hidden.
        self.checks = [
            Check(name, value, **value._check, hidden=owner is not public)
            for owner in (public, *(() if cls is public else (cls,)))
            for name, value in vars(owner).items()
            if hasattr(value, "_check")
        ]
        self.mistakes = [
            Mistake(name, value._mistake[0], value._mistake[1] or main, value)
            for name, value in vars(public).items()
            if hasattr(value, "_mistake")
        ]
        self.variants = [
            Variant(name, {k: v for k, v in vars(value).items() if callable(v) and not k.startswith("__")})
            for name, value in vars(cls).items()
            if hasattr(value, "_variant")
        ]

    @property
    def summary(self) -> str:
        """The first line of the public class's docstring."""
        public = next(c for c in type(self).__mro__ if c.__dict__.get("functions"))
        return (public.__doc__ or "").strip().split("\n")[0]

    @property
    def public_checks(self) -> list[Check]:
        return [c for c in self.checks if not c.hidden]

    @property
    def hidden_checks(self) -> list[Check]:
        return [c for c in self.checks if c.hidden]

    @property
    def points(self) -> int:
        return sum(c.points for c in self.checks)

    def solution(self, **replaced: Callable) -> dict[str, Any]:
        """A namespace of right functions, some of them replaced: what a mistake or a variant looks like.

        The reference's own names resolve as usual; only the functions of this exercise are taken.
        """
        return {name: getattr(self.reference, name) for name in self.functions} | replaced

    def stub(self) -> dict[str, Any]:
        """What a student finds: functions that are still to be written."""

        def not_written(*args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

        return dict.fromkeys(self.functions, not_written)


@dataclass
class Chapter:
    """A chapter's exercises in reading order."""

    id: str
    exercises: dict[str, Exercise] = field(default_factory=dict)
    hidden_counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def find(self, name: str) -> Exercise:
        """The exercise with that id or that function; KeyError with the known names otherwise."""
        for exercise in self.exercises.values():
            if name == exercise.id or name in exercise.functions:
                return exercise
        raise KeyError(f"chapter {self.id} has no exercise {name!r}; it has {', '.join(self.exercises)}")

    def points(self, exercise_id: str) -> int:
        """All points of an exercise, hidden ones too, also where the hidden checks are not installed."""
        exercise = self.exercises[exercise_id]
        if exercise.hidden_checks:
            return exercise.points
        return exercise.points + self.hidden_counts.get(exercise_id, {}).get("points", 0)


def topic_of(chapter_id: str) -> str:
    """
    >>> topic_of("01_tokenization")
    'tokenization'
    """
    return chapter_id.split("_", 1)[1]


@cache
def load_chapter(chapter_id: str, with_hidden: bool = True) -> Chapter:
    """Load a chapter's exercises, with the hidden checks where they are installed.

    Raises ValueError naming the chapters there are when ``chapter_id`` is unknown.
    """
    if chapter_id not in chapter_ids():
        raise ValueError(f"chapter_id: expected one of {', '.join(chapter_ids())}, got {chapter_id!r}")
    topic = topic_of(chapter_id)
    public = importlib.import_module(f"autograder.exercises.{topic}")
    hidden = _optional_module(f"autograder.hidden.{topic}") if with_hidden else None
    exercises = {}
    for name, cls in _exercise_classes(public).items():
        extended = getattr(hidden, name, cls)
        exercise = (extended if issubclass(extended, cls) else cls)()
        exercises[exercise.id] = exercise
    counts = json.loads(HIDDEN_SUMMARY.read_text()).get(chapter_id, {}) if HIDDEN_SUMMARY.exists() else {}
    return Chapter(chapter_id, exercises, counts)


def chapter_ids() -> list[str]:
    """Ids of all chapters that have exercises: ``CHAPTER = "01_tokenization"`` in each exercise module."""
    found = []
    folder = Path(__file__).parent / "exercises"
    for path in [*folder.glob("*.py"), *folder.glob("*/__init__.py")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("CHAPTER = "):
                found.append(line.split('"')[1])
    return sorted(found)


def hidden_summary() -> str:
    """The counts of hidden checks and their points, as the JSON that student editions carry instead of them."""
    table = {
        chapter_id: {
            exercise.id: {
                "checks": len(exercise.hidden_checks),
                "points": sum(c.points for c in exercise.hidden_checks),
            }
            for exercise in load_chapter(chapter_id).exercises.values()
        }
        for chapter_id in chapter_ids()
    }
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def namespace(**names: Any) -> SimpleNamespace:
    """A reference made of single functions, where no module fits."""
    return SimpleNamespace(**names)


def _exercise_classes(module: ModuleType) -> dict[str, type[Exercise]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Exercise) and value.__module__.startswith(module.__name__)
    }


def _optional_module(name: str) -> ModuleType | None:
    # A student edition has no such file; an error inside an existing file must still be heard.
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return importlib.import_module(name) if found else None
