"""The course's versions of earlier exercises: classes to derive from, gradients through them, nothing left behind."""

import time

import pytest
from held import QUICK, SECRET, earned
from small import SETUP, chapter, code, notebook, setup

from autograder.compare import close
from autograder.exercise import Exercise, check, namespace
from autograder.judge import grading
from autograder.judge.launcher import Limits
from autograder.judge.protocol import Message

SOLVED = {
    "": SETUP,
    "scale": "def scale(x):\n    return 3 * x\n",
    "Layer": (
        "class Helper(torch.nn.Module):\n    offset = 1\n"
        "class Layer(Helper):\n    def forward(self, x):\n        return 2 * scale(x)\n"
    ),
    "deep": (
        "def deep(x):\n    class Deeper(Layer):\n        def forward(self, x):\n"
        "            return super().forward(x) + Helper.offset\n    return Deeper()(x)\n"
    ),
}
AT_ONCE = (
    "class Deeper(Layer):\n    def forward(self, x):\n        return super().forward(x) + Helper.offset\n"
    "def deep(x):\n    return Deeper()(x)\n"
)
WRONG_SCALE = "def scale(x):\n    return 4 * x\n"
WRONG_LAYER = SOLVED["Layer"].replace("2 *", "5 *")


class Scale(Exercise):
    """Three times x."""

    functions = ("scale",)
    reference = namespace(scale=lambda x: 3 * x)

    @check(points=1, time_limit=5)
    def multiplies(self, student, rng):
        x = rng.normal(2)
        close(student.scale(x), 3 * x)


class Layer(Exercise):
    """Six times x."""

    functions = ("Layer",)
    reference = namespace(Layer=lambda: lambda x: 6 * x)

    @check(points=2, time_limit=5)
    def multiplies(self, student, rng):
        x = rng.normal(2)
        close(student.Layer()(x), 6 * x)


class Deep(Exercise):
    """Six times x, plus one."""

    functions = ("deep",)
    reference = namespace(deep=lambda x: 6 * x + 1)

    @check(points=4, time_limit=5)
    def has_value_and_gradient(self, student, rng):
        x, upstream = rng.normal(2), rng.normal(2)
        value, (grad,) = student.deep.gradient(x, wrt=[0], upstream=upstream)
        close(value, 6 * x + 1)
        close(grad, 6 * upstream)


FULL = {"scale": 1, "Layer": 2, "deep": 4}


@pytest.fixture
def grade_layers(holder, monkeypatch):
    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(Scale, Layer, Deep))
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: holder.get())
    monkeypatch.setattr(grading, "solved_cells", lambda chapter_id: SOLVED)

    def grade(**replaced):
        sources = SOLVED | replaced
        cells = [setup(), *(code(sources[name], exercise=name) for name in FULL if sources[name])]
        released = notebook([setup(), *(code("", exercise=name) for name in FULL)])
        return grading.grade_one(notebook(cells), "01_tokenization", secret=SECRET, released=released, limits=QUICK)

    return grade


@pytest.mark.parametrize("deep", [SOLVED["deep"], AT_ONCE], ids=["in a call", "at once"])
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"Layer": WRONG_LAYER},
        {"scale": WRONG_SCALE},  # what deep uses is right, but uses it
        {"scale": WRONG_SCALE, "Layer": WRONG_LAYER},
        {"Layer": ""},  # with the helper that stood there
        {"scale": "def scale(:", "Layer": "raise ValueError"},
    ],
    ids=["nothing", "Layer", "scale", "both", "deleted", "broken"],
)
def test_neither_a_wrong_class_nor_what_a_right_one_uses_costs_what_builds_on_it(grade_layers, wrong, deep):
    result = grade_layers(deep=deep, **wrong)
    assert earned(result) == FULL | dict.fromkeys(wrong, 0)
    assert ["in place of yours" in " ".join(result["exercises"]["deep"]["notes"])] == [bool(wrong)]


def test_a_students_own_helper_stays(grade_layers):
    own = WRONG_LAYER.replace("offset = 1", "offset, more = 1, 0")
    result = grade_layers(Layer=own, deep=SOLVED["deep"].replace("Helper.offset", "Helper.offset + Helper.more"))
    assert earned(result) == FULL | {"Layer": 0}


def test_a_wrong_exercise_on_top_of_wrong_ones_stays_wrong(grade_layers):
    result = grade_layers(Layer=WRONG_LAYER, deep=SOLVED["deep"] + "    # and\n" + "deep = lambda x: 6 * x\n")
    assert earned(result) == {"scale": 1, "Layer": 0, "deep": 0}


def test_the_students_own_names_return_and_what_is_withheld_is_not_found(zygote):
    child = zygote.fork(Limits())

    def say(kind: str, **body):
        child.channel.send(Message(kind, body | {"time_limit": 5.0}))
        return child.channel.receive(time.monotonic() + 10).body

    def names() -> str:
        return say("cell", parts=["print(f(), g(), made, 'h' in globals(), f.__globals__.get('h'))"])["printed"].strip()

    try:
        say("cell", parts=["def f(): return 'mine'\ndef g(): return f()\nmade = f()"])
        cell = "def f(): return 'the course\\'s'\ndef h(): return 1\n"
        body = {"cells": [cell], "replaced": ["f"], "added": ["g"], "withheld": ["h"], "again": ["made = f()"]}
        say("stand_in", **body)
        assert names() == "the course's the course's the course's False None"
        say("stand_in", **body | {"again": [], "added": ["h"], "withheld": []})
        assert names().startswith("the course's the course's mine True <function h")
        say("stand_in")
        assert names() == "mine mine mine False None"
    finally:
        child.end()
