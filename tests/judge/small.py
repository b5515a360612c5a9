"""A small chapter of one exercise per kind of thing a check can do, and notebooks that answer it."""

from __future__ import annotations

import json
from typing import Any

from autograder.compare import close, equal, true
from autograder.exercise import Chapter, Exercise, check, mistake, namespace

CHAPTER_ID = "01_tokenization"  # a real id, so that one zygote (with its mask) serves all tests

RIGHT = {
    "double": "def double(x):\n    return x + x\n",
    "total": "def total(xs):\n    result = 0\n    for x in xs:\n        result += double(x)\n    return result\n",
    "apply": "def apply(f, xs):\n    return [f(x) for x in xs]\n",
    "centre": "def centre(x):\n    return x - x.sum() / x.numel()\n",
    "Tally": (
        "class Tally:\n    def __init__(self):\n        self.counts = {}\n"
        "    def add(self, key):\n        self.counts[key] = self.counts.get(key, 0) + 1\n        return self\n"
        "    def most(self):\n        return max(self.counts, key=self.counts.get)\n"
    ),
}
STUB = "def {name}(*args):\n    raise NotImplementedError('your turn: replace this line')\n"
STUBS = {name: STUB.format(name=name) for name in RIGHT} | {
    "Tally": "class Tally:\n    def add(self, key):\n        raise NotImplementedError\n"
}
SETUP = (
    "import math\nimport torch\nfrom autograder import check, open_chapter, stand_in\nopen_chapter('01_tokenization')\n"
)
SOLVED = {"": SETUP} | RIGHT  # the course's own cells


def right_functions() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for source in RIGHT.values():
        exec(source, names)
    return {name: names[name] for name in RIGHT}


REFERENCE = namespace(**right_functions())


class Double(Exercise):
    """Twice a number."""

    functions = ("double",)
    reference = REFERENCE

    @check(points=1, hint="Add it to itself.", time_limit=2)
    def doubles_a_number(self, student, rng):
        x = rng.randint(3, 1000)
        equal(student.double(x), 2 * x)

    @mistake("squares the number")
    def squares(x):
        return x * x


class HiddenDouble(Double):
    @check(points=2, hint="Numbers can be negative.", time_limit=2)
    def doubles_negative_numbers(self, student, rng):
        x = -rng.randint(3, 1000)
        equal(student.double(x), 2 * x)


class Total(Exercise):
    """The sum of the doubles."""

    functions = ("total",)
    reference = REFERENCE

    @check(points=2, time_limit=2)
    def adds_the_doubles(self, student, rng):
        xs = rng.ids(5, 1, 50)
        equal(student.total(xs), 2 * sum(xs))


class Apply(Exercise):
    """Apply a function to every item."""

    functions = ("apply",)
    reference = REFERENCE

    @check(points=1, time_limit=2)
    def applies_the_function(self, student, rng):
        xs = rng.ids(20, 1, 50)
        calls = []

        def f(x):
            calls.append(x)
            return 3 * x + 1

        equal(student.apply(f, xs), [3 * x + 1 for x in xs])
        equal(calls, xs)


class Centre(Exercise):
    """Subtract the mean."""

    functions = ("centre",)
    reference = REFERENCE
    forbid = ("torch.mean", "torch.Tensor.mean")

    @check(points=1, time_limit=5)
    def has_mean_zero(self, student, rng):
        x = rng.normal(3, 4)
        close(student.centre(x), x - x.mean(), atol=1e-6)

    @check(points=1, time_limit=5)
    def has_the_right_gradient(self, student, rng):
        x, upstream = rng.normal(4), rng.normal(4)
        _, (grad,) = student.centre.gradient(x, wrt=[0], upstream=upstream)
        close(grad, upstream - upstream.mean(), atol=1e-6)


class TallyExercise(Exercise):
    """Count things."""

    functions = ("Tally",)
    reference = REFERENCE

    @check(points=2, time_limit=2)
    def knows_the_most_frequent(self, student, rng):
        tally = student.Tally()
        for key in ("a", "b", "b"):
            tally = tally.add(key)
        equal(tally.most(), "b")
        true(tally.counts == {"a": 1, "b": 2}, "wrong counts")


def chapter(*classes: type[Exercise]) -> Chapter:
    exercises = [cls() for cls in classes or (HiddenDouble, Total, Apply, Centre, TallyExercise)]
    return Chapter(CHAPTER_ID, {e.id: e for e in exercises})


def code(source: str, exercise: str = "", tags: tuple[str, ...] = (), check: str = "", **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": list(tags)} if tags else {}
    common = {"schema_version": 3, "task": False}
    if exercise:
        graded = {"grade_id": exercise, "solution": True, "grade": False, "locked": False}
        metadata["nbgrader"] = graded | common
    if check:
        graded = {"grade_id": f"check_{check}", "solution": False, "grade": True, "locked": True, "points": 1}
        metadata["nbgrader"] = graded | common
    cell = {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": None}
    return cell | more


def setup() -> dict[str, Any]:
    return code(SETUP, tags=("setup",))


def answers(**replaced: str | None) -> list[dict[str, Any]]:
    """A whole submission's cells: right solutions, some of them replaced (None: the stub)."""
    cells = [setup()]
    for name, right in RIGHT.items():
        source = replaced.get(name, right)
        cells.append(code(STUBS[name] if source is None else source, exercise=name))
        cells.append(code(f"check({name})", check=name))
    return cells


def notebook(cells: list[dict[str, Any]]) -> bytes:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


RELEASED = notebook(answers(**dict.fromkeys(RIGHT)))
