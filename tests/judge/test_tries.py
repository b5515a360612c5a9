"""Where in a notebook an exercise is graded: hidden checks come last, on the names as they were at its place."""

import pytest
from held import earned
from small import RIGHT, answers, code

from autograder.judge.launcher import Zygote

FULL = {"double": 3, "total": 2, "apply": 1, "centre": 2, "Tally": 2}


@pytest.fixture
def forks(monkeypatch):
    """How many processes were started."""
    started, fork = [], Zygote.fork
    monkeypatch.setattr(Zygote, "fork", lambda self, limits: started.append(1) or fork(self, limits))
    return started


def after(exercise, *cells):
    """A right submission with these cells behind an exercise's check."""
    notebook = answers()
    at = next(n for n, cell in enumerate(notebook) if cell["source"] == f"check({exercise})") + 1
    return [*notebook[:at], *cells, *notebook[at:]]


def test_one_process_answers_public_and_hidden_checks_of_a_right_submission(grade, forks):
    assert earned(grade()) == FULL
    assert len(forks) == 1


def test_a_helper_that_a_later_exercise_defines_anew_costs_the_earlier_one_nothing(grade, forks):
    double = "def step(x):\n    return 2 * x\ndef double(x):\n    return step(x)\n"
    apply = "def step(f, xs):\n    return [f(x) for x in xs]\ndef apply(f, xs):\n    return step(f, xs)\n"
    assert earned(grade(double=double, apply=apply)) == FULL
    assert len(forks) == 1


def test_what_fails_after_everything_else_has_run_is_asked_again_where_it_has_not(grade, forks):
    # Only the first call's answer is right: a counter stands for anything that calls may wear out.
    double = "SIGN = [-1]\ndef double(x):\n    return 2 * abs(x) * (SIGN[0] if x < 0 else 1)\n"
    apply = "SIGN[0] = 1\n" + RIGHT["apply"]
    assert earned(grade(double=double, apply=apply)) == FULL
    assert len(forks) == 2


def test_a_second_version_counts_when_only_a_hidden_check_shows_the_first_to_be_wrong(grade):
    first = "def double(x):\n    return 2 * abs(x)\n"
    notebook = answers(double=first)
    second = code(RIGHT["double"])
    result = grade([*notebook, second])
    assert earned(result) == FULL
    assert earned(grade(notebook))["double"] == 1


def test_what_hidden_checks_asked_does_not_reach_the_public_checks_of_a_second_version(grade):
    noted = (
        "import builtins\ndef double(x):\n    if x < 0:\n        builtins.seen = f'asked {x}'\n    return 2 * abs(x)\n"
    )
    # It earns more than the first, so what it said is shown.
    telling = "def double(x):\n    assert x < 0, getattr(builtins, 'seen', 'nothing was asked')\n    return 2 * x\n"
    result = grade([*answers(double=noted), code(telling)])
    assert earned(result)["double"] == 2
    assert "nothing was asked" in str(result) and "asked -" not in str(result)


def test_an_exercise_on_top_of_one_that_only_hidden_checks_show_to_be_wrong_is_not_lost(grade):
    double = "def double(x):\n    return 2 * x if x > 49 else 2 * abs(x) + (x < 50)\n"
    result = grade(double=double)
    assert (earned(result)["double"], earned(result)["total"]) == (1, 2)
    assert result["exercises"]["total"]["notes"] == ["graded with the course's `double` in place of yours"]


def test_a_cell_may_fetch_an_earlier_function_by_its_name(grade):
    fetched = 'twice = stand_in("double")\ndef total(xs):\n    return sum(twice(x) for x in xs)\n'
    notebook = answers(total=fetched)
    total = [cell for cell in notebook if "twice" in cell["source"]]
    first = [notebook[0], *total, *(cell for cell in notebook[1:] if cell not in total)]
    assert earned(grade(notebook)) == earned(grade(first)) == FULL
    result = grade(total=fetched, double="def double(x):\n    return 3 * x\n")
    assert earned(result) == FULL | {"double": 0}
    assert result["exercises"]["total"]["notes"] == ["graded with the course's `double` in place of yours"]
