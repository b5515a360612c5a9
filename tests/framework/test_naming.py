"""When a mistake is named, and which call a card shows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from autograder.compare import SEVERAL_CALLS, close, equal, fail, true
from autograder.exercise import Exercise, check, mistake
from autograder.run import Result, run_exercise
from autograder.student import LocalBackend


class Applied(Exercise):
    """A function of the check is called; with what, no trace tells."""

    functions = ("applied",)
    reference = SimpleNamespace(applied=lambda f, x: f(x))

    @check()
    def hands_over_a_whole_number(self, student, rng):
        asked = []
        got = student.applied(lambda x: asked.append(x) or 2.0 * x, 3)
        true(asked != [], "f was never called")
        true(type(asked[0]) is int, f"f got {asked[0]}, which is not a whole number")
        close(got, 6.0)

    @mistake("cannot handle negative numbers")
    def only_positive(f, x):
        return f(max(x, 0))

    @mistake("rounds the number down to tens")
    def rounds(f, x):
        f(float(x))
        return f(x) - 1.0

    @mistake("does not ask f")
    def never_asks(f, x):
        return x + x + 1e-9


def first(exercise: Exercise, **code) -> Result:
    return run_exercise(exercise, LocalBackend(code)).results[0]


def test_a_mistake_that_does_what_is_right_here_is_not_named() -> None:
    result = first(Applied(), applied=lambda f, x: f(float(x)))
    assert "not a whole number" in result.message and result.mistake == ""


def test_a_mistake_that_fails_in_other_words_is_not_named() -> None:
    def asks_and_answers_as_the_mistake_does(f, x):
        f(x)
        return f(x) - 1.0

    result = first(Applied(), applied=asks_and_answers_as_the_mistake_does)
    assert result.message.startswith("it returned 5, expected 6") and result.mistake == ""
    assert first(Applied(), applied=lambda f, x: f(float(x)) - 1.0).mistake == "rounds"


def test_numbers_that_differ_in_the_last_digit_are_the_same_words() -> None:
    assert first(Applied(), applied=lambda f, x: 6.0).mistake == "never_asks"


def test_a_mistake_whose_error_is_worded_differently_is_named() -> None:
    class Root(Exercise):
        """x"""

        functions = ("root",)
        reference = SimpleNamespace(root=lambda x: abs(x) ** 0.5)

        @check()
        def takes_negative_numbers(self, student, rng):
            equal(student.root(-4), 2.0)

        @mistake("refuses negative numbers")
        def refuses(x):
            raise ValueError("negative")

    def also_refuses(x):
        raise ValueError("this number is below zero")

    assert first(Root(), root=also_refuses).mistake == "refuses"


class Doubled(Exercise):
    """Two calls, and what follows from both."""

    functions = ("double",)
    reference = SimpleNamespace(double=lambda x: 2 * x)
    about: object = None

    @check()
    def says_what_it_is_about(self, student, rng):
        student.double(1)
        call = student.trace[-1]
        student.double(2)
        student.conclude("two calls")
        fail("no", {"the first": call, "several": SEVERAL_CALLS, "nothing": None}[self.about])


@pytest.mark.parametrize(("about", "called"), [("the first", "double(1)"), ("several", ""), ("nothing", "double(2)")])
def test_a_card_shows_the_call_that_the_message_is_about(about: str, called: str) -> None:
    exercise = Doubled()
    exercise.about = about

    def double(x):
        print(f"at {x}")
        return 2 * x

    result = first(exercise, double=double)
    assert result.called == called and result.printed.strip() == ("at 1" if about == "the first" else "at 2")


def test_a_tensor_without_axes_is_spoken_of_as_a_number() -> None:
    with pytest.raises(AssertionError, match=r"^the loss is 1\.5, expected 2$"):
        close(torch.tensor(1.5), torch.tensor(2.0), what="the loss")
    with pytest.raises(AssertionError, match=r"^the loss is nan, expected 2$"):
        close(torch.tensor(float("nan")), torch.tensor(2.0), what="the loss")
