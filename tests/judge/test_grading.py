"""Whole submissions of the small chapter, graded in real processes: who gets which points, and what is said."""

import json
import re

import pytest
from held import QUICK, SECRET, earned
from small import CHAPTER_ID, RIGHT, STUBS, Apply, Centre, Double, answers, chapter, code, notebook, setup

from autograder.compare import close, true
from autograder.exercise import check
from autograder.judge import grading, one_check

FULL = {"double": 3, "total": 2, "apply": 1, "centre": 2, "Tally": 2}


def messages(result, exercise):
    return [r["message"] for r in result["exercises"][exercise]["results"]]


def test_a_right_submission_gets_all_points_and_the_result_is_json(grade):
    result = grade()
    assert earned(result) == FULL and result["earned"] == result["points"] == 10
    assert {e["outcome"] for e in result["exercises"].values()} == {"passed"}
    assert result["sandbox"] in ("bubblewrap", "inner", "process") and re.fullmatch(r"[0-9a-f]{64}", result["hash"])
    assert json.loads(json.dumps(result)) == result
    assert set(result["versions"]) >= {"python", "torch", "numpy"} and result["notes"] == []


def test_an_untouched_notebook_is_not_attempted(grade):
    result = grade(**dict.fromkeys(RIGHT))
    assert result["earned"] == 0
    assert {e["outcome"] for e in result["exercises"].values()} == {"not attempted"}


def test_a_wrong_function_costs_its_exercise_and_the_mistake_is_named(grade):
    result = grade(double="def double(x):\n    return x * x\n")
    entry = result["exercises"]["double"]
    assert (entry["earned"], entry["outcome"]) == (0, "failed")
    assert entry["results"][0]["mistake_text"] == "squares the number"
    assert earned(result)["apply"] == 1


def test_an_exercise_that_builds_on_a_wrong_one_is_not_lost_with_it(grade):
    result = grade(double="def double(x):\n    return x * x\n")
    assert earned(result) == FULL | {"double": 0}
    assert result["exercises"]["total"]["notes"] == ["graded with the course's `double` in place of yours"]
    result = grade(double=None)
    assert earned(result) == FULL | {"double": 0}
    result = grade(double=None, total="def total(xs):\n    return 1 + sum(double(x) for x in xs)\n")
    assert earned(result) == FULL | {"double": 0, "total": 0}


def test_a_stand_in_does_not_help_the_exercise_it_belongs_to(grade):
    result = grade(double="def double(x):\n    return total([x])\n", total=None)
    assert earned(result)["double"] == earned(result)["total"] == 0


def test_one_broken_cell_costs_only_itself(grade):
    result = grade(total="def total(xs:\n    return\n")
    assert earned(result) == FULL | {"total": 0}
    assert result["exercises"]["total"]["outcome"] == "error"
    assert "SyntaxError" in messages(result, "total")[0] and "cell 4" in messages(result, "total")[0]
    result = grade(double="raise ValueError('oops')\n" + RIGHT["double"])
    assert earned(result) == FULL  # what stands after the error is run all the same
    assert result["notes"] == ["cell 2: ValueError: oops"]


def test_an_error_says_where(grade):
    result = grade(double="def double(x):\n    y = 1\n    return y + missing\n")
    entry = result["exercises"]["double"]["results"][0]
    assert "NameError" in entry["message"] and (entry["line"], entry["source"]) == (3, "return y + missing")


def test_where_a_solution_stands_costs_nobody_anything(grade):
    right = [code(source) for source in RIGHT.values()]
    as_text = [c | {"cell_type": "markdown"} if c["source"] == RIGHT["double"] else c for c in answers()]
    swapped = [code(RIGHT["total"], exercise="double"), code(RIGHT["double"], exercise="total"), *right[2:]]
    cases = {
        "metadata lost": right,
        "reversed": [setup(), *reversed(answers()[1:])],
        "all in one cell": [code("\n".join(RIGHT.values()))],
        "all in the first exercise's cell": [code("\n".join(RIGHT.values()), exercise="double")],
        "solved in a copy above the stubs": [*right, *answers(**dict.fromkeys(RIGHT))],
        "solved in a copy below the stubs": [*answers(**dict.fromkeys(RIGHT)), *right],
        "every cell twice": [cell for cell in answers() for _ in range(2)],
        "a solution cell turned into text": as_text,
        "found by the id of its cell": [code(source, id=name) for name, source in RIGHT.items()],
        "checks deleted": [c for c in answers() if not c["source"].startswith("check")],
        "under another exercise's id": swapped,
        "split": [*answers(Tally="pass"), code(RIGHT["Tally"])],
    }
    lost = {case: earned(result) for case, cells in cases.items() if earned(result := grade(cells)) != FULL}
    assert lost == {}


def test_a_right_version_counts_before_and_after_a_wrong_one(grade):
    wrong = code("def double(x):\n    return 0\n", exercise="double")
    right = code(RIGHT["double"], exercise="double")
    others = answers()[3:]
    for pair in ([wrong, right], [right, wrong]):
        result = grade([setup(), *pair, *others])
        assert earned(result) == FULL
        assert result["exercises"]["double"]["notes"] == ["found in cells 2, 3"]


def test_helpers_and_constants_in_cells_of_their_own_are_used(grade):
    cells = [
        setup(),
        code(
            "from math import floor\nFACTOR = floor(2.5)\ntable = {}\nfor n in range(2000):\n    table[n] = FACTOR * n"
        ),
        code("def double(x):\n    return table[x] if x in table else helper(x)\n", exercise="double"),
        *answers()[3:],
        code("def helper(x):\n    return FACTOR * x\n"),  # below its use: the notebook was run out of order
    ]
    assert earned(grade(cells)) == FULL


def test_a_helper_of_the_same_name_in_two_exercises_means_what_it_meant_there(grade):
    result = grade(
        double="def helper(x):\n    return x + x\ndef double(x):\n    return helper(x)\n",
        total="def helper(xs):\n    return 2 * sum(xs)\ndef total(xs):\n    return helper(xs)\n",
    )
    assert earned(result) == FULL


def test_a_cell_that_needs_something_from_further_down_is_run_again(grade):
    cells = [
        setup(),
        code("def double(x, by=FACTOR):\n    return by * x\n", exercise="double"),
        *answers()[3:],
        code("FACTOR = 2"),
    ]
    assert earned(grade(cells)) == FULL


def test_what_notebooks_do_costs_nothing(grade):
    noise = (
        "%matplotlib inline\nimport sys, warnings, matplotlib.pyplot as plt\n"
        "from IPython.display import display, HTML\n"
        "import ipywidgets\nfrom tqdm.auto import tqdm\n"
        "warnings.warn('careful')\nprint('x' * 10_000)\nprint('noise', file=sys.stderr)\nplt.plot([1, 2])\nplt.show()\n"
        "display(HTML('<b>x</b>'), ipywidgets.IntSlider())\n!ls\n%pip install nothing\n"
        "for i in tqdm(range(3)):\n    pass\n"
        "check(lambda: 1)\nopen_chapter('99')\nstand_in(print)('x')\n1 + 1\n"
    )
    inside = "def double(x):\n    import sys, warnings\n    print('working', file=sys.stderr)\n    warnings.warn('x')\n    print(x)\n    return x + x\n"  # noqa: E501
    result = grade(double=noise + inside)
    assert earned(result) == FULL and result["notes"] == []


def test_forbidden_calls_are_found_in_helpers_and_not_in_a_students_own_tests(grade):
    plain = RIGHT["centre"]
    assert earned(grade(centre=plain + "assert torch.mean(torch.ones(3)) == 1\n"))["centre"] == 2
    result = grade(centre="def centre(x):\n    return x - torch.mean(x)\n")
    assert earned(result)["centre"] == 0 and "line 2 uses torch." in messages(result, "centre")[0]
    hidden_away = [
        code("def average(x):\n    return x.mean()"),
        *answers(centre="def centre(x):\n    return x - average(x)\n"),
    ]
    result = grade(hidden_away)
    assert earned(result)["centre"] == 0 and "torch.Tensor.mean" in messages(result, "centre")[0]


def test_unreadable_notebooks_say_why_and_count_as_not_attempted(grade):
    result = grade(notebook(answers())[:500])
    assert "cut off" in result["problem"] and result["earned"] == 0 and result["points"] == 10
    assert grade(b"PK\x03\x04")["problem"].startswith("this is not a notebook")


def test_inputs_follow_from_secret_and_submission_and_nothing_else(grade):
    source = "def double(x):\n    return [x]\n"

    def inputs(**kwargs):
        return [r["called"] for r in grade(double=source, **kwargs)["exercises"]["double"]["results"]]

    assert inputs() == inputs()
    assert inputs() != inputs(secret=b"another secret")
    assert inputs() != inputs(Tally=None)  # another submission
    seeds = {one_check.hidden_seed(SECRET, "d", e, c, v) for e in "ab" for c in "cd" for v in "12"}
    assert len(seeds) == 8


def test_a_broken_check_is_tried_again_and_costs_nothing(holder, monkeypatch):
    runs = []

    class BrokenApply(Apply):
        functions = ("apply",)

        @check(points=4)
        def falls_over(self, student, rng):
            runs.append(1)
            raise KeyError("a mistake of the course's")

        @check(points=1)
        def falls_over_once(self, student, rng):
            runs.append(2)
            if runs.count(2) <= 2:  # with the submission, and with the reference
                raise KeyError("a mistake of the course's")

    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(Double, BrokenApply))
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: holder.get())
    data = notebook([code(RIGHT["double"]), code(RIGHT["apply"])])
    result = grading.grade_one(data, CHAPTER_ID, secret=SECRET, released=None, limits=QUICK)
    entry = result["exercises"]["apply"]
    assert [r["outcome"] for r in entry["results"]] == ["grader error", "passed"]
    assert entry["earned"] == 5 and "please have a look" in entry["notes"][-1]
    assert runs.count(1) == 6  # three times: with the submission twice, with the reference; each fails once more


def test_nothing_of_a_check_that_chokes_on_a_value_is_lost_time(holder, monkeypatch):
    class Loop(Double):
        functions = ("double",)

        @check(points=1)
        def counts_up(self, student, rng):
            n, wanted = 0, student.double(1)
            while n < wanted:
                n += 1

    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(Loop, Apply))
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: holder.get())
    monkeypatch.setattr(one_check, "CHECK_CPU_SECONDS", 0.2)
    data = notebook([code("def double(x):\n    return 10**12\n"), code(RIGHT["apply"])])
    result = grading.grade_one(data, CHAPTER_ID, secret=SECRET, released=None, limits=QUICK)
    assert result["exercises"]["double"]["outcome"] == "timeout" and result["exercises"]["apply"]["earned"] == 1


@pytest.mark.parametrize("source", [STUBS["double"], "", "# nothing"])
def test_unwritten_is_not_attempted_whatever_is_left_of_the_cell(grade, source):
    assert grade(double=source)["exercises"]["double"]["outcome"] == "not attempted"


def test_the_size_of_the_largest_tensor_is_seen_in_the_judge(grade, monkeypatch):
    class Frugal(Centre):
        """x"""

        functions = ("centre",)

        @check(points=2, time_limit=5)
        def stays_small(self, student, rng):
            x = rng.normal(30)
            result, elements = student.centre.with_largest_tensor(x)
            close(result, x - x.mean(), atol=1e-6)
            true(elements == 30, f"the largest tensor has {elements} elements")

    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(Frugal))
    assert earned(grade()) == {"centre": 2}
    result = grade(centre="def centre(x):\n    return x - x.expand(30, 30).clone().sum() / 900\n")
    assert earned(result) == {"centre": 0}
    assert messages(result, "centre") == ["the largest tensor has 900 elements"]
