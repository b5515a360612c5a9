"""What of a notebook is run, and when an exercise is graded: text in, plan out; nothing is run here."""

from small import RELEASED, RIGHT, SETUP, STUBS, answers, chapter, code, notebook, setup

from autograder.judge.launcher import Limits
from autograder.judge.plan import make_plan
from autograder.judge.statements import parse
from autograder.judge.submission import read_cells


def plan(cells):
    return make_plan(chapter(), read_cells(notebook(cells)), read_cells(RELEASED), Limits())


def run_text(cells) -> str:
    return "\n".join(part for cell in plan(cells).cells for part in cell.parts)


def test_statements_know_what_they_bind_and_use():
    source = parse(
        "import numpy as np\n"
        "@decorated\ndef f(x, n=DEFAULT):\n    return [helper(i, x) for i in range(n)]\n"
        "a, (b, *c) = 1, (2, 3)\n"
        "for i in range(3):\n    table[i] = g(i)\n"
        "print(a)\n"
    )
    binds = [set(s.binds) for s in source.statements]
    assert binds == [{"np"}, {"f"}, {"a", "b", "c"}, {"i", "table"}, set()]
    assert {"decorated", "DEFAULT", "helper", "range"} <= source.statements[1].uses
    assert not {"x", "n", "i"} & source.statements[1].uses
    assert source.statements[1].first == 2  # the decorator belongs to it


def test_a_statement_uses_what_it_fetches_by_its_name():
    (fetched,) = parse('rate_at = stand_in("lr_at")').statements
    assert fetched.binds == {"rate_at"} and "lr_at" in fetched.uses and "lr_at" in fetched.at_once
    (other,) = parse('print("lr_at")').statements
    assert "lr_at" not in other.uses


def test_stubs_are_told_from_code():
    def is_stub(text):
        return parse(text).statements[0].is_stub

    assert is_stub(
        "def f(x):\n    '''What it does.'''\n    # Write your code here.\n    raise NotImplementedError('your turn')"
    )
    assert is_stub("def f(x):\n    pass") and is_stub("def f(x):\n    ...")
    assert is_stub("class A:\n    def f(self):\n        raise NotImplementedError")
    assert is_stub("quiz_answers = {1: '', 2: ''}")
    assert not is_stub("def f(x):\n    return None")
    assert not is_stub("def f(x):\n    raise ValueError")
    assert not is_stub("quiz_answers = {1: '', 2: 'b'}")


def test_magics_do_not_hide_the_python_around_them():
    assert {"f"} == set(parse("%matplotlib inline\ndef f(): pass").statements[-1].binds)
    timed = parse("%%time\n\ndef f():\n    return 1\n")
    assert set(timed.statements[0].binds) == {"f"} and timed.statements[0].first == 3
    assert parse("def f(:") is None


def test_lines_stay_where_they_are():
    source = parse("x = 1\n\ndef f():\n    return x\n")
    assert source.only([source.statements[1]]) == "\n\ndef f():\n    return x"


def test_only_what_solutions_need_is_run_of_other_cells():
    experiment = (
        "def helper(x):\n    return x\nSCALE = 2\nmodel = train_for_hours()\nprint(double(3))\nwhile True:\n    pass\n"
    )
    cells = [setup(), code(experiment), code("def double(x):\n    return SCALE * helper(x)\n", exercise="double")]
    text = run_text(cells)
    assert "def helper" in text and "SCALE = 2" in text
    assert "train_for_hours" not in text and "print" not in text and "while True" not in text


def test_checks_and_experiments_are_not_run_and_the_setup_runs_once():
    text = run_text([*answers(), code("double(1) + 'x'", tags=("experiment",)), code(SETUP)])
    assert "check(double)" not in text and "experiment" not in text
    assert text.count("open_chapter('01_tokenization')") == 1


def test_the_released_setup_runs_even_if_the_student_deleted_it():
    assert "import math" in run_text(answers()[1:])


def test_a_stub_beside_a_written_version_is_left_out():
    cells = [setup(), code(RIGHT["double"]), code(STUBS["double"], exercise="double")]
    text = run_text(cells)
    assert "return x + x" in text and "NotImplementedError" not in text


def test_an_exercise_is_graded_where_all_that_it_needs_is_there():
    cells = [
        setup(),
        code("def total(xs):\n    return sum(helper(x) for x in xs)\n", exercise="total"),
        code(RIGHT["double"], exercise="double"),
        code("def helper(x):\n    return double(x)\n"),
        code("def apply(f, xs):\n    return list(map(f, xs))\n", exercise="apply"),
    ]
    planned = plan(cells)
    assert [c.number for c in planned.cells] == [0, 2, 3, 4, 5]
    assert planned.exercises["double"].points == [2]
    assert planned.exercises["total"].points == [3]
    assert planned.exercises["total"].uses >= {"helper", "double"}


def test_a_helper_that_is_defined_anew_gives_an_exercise_another_chance():
    cells = [
        code("def double(x):\n    return helper(x)\ndef helper(x):\n    return x + x\n", exercise="double"),
        code("def total(xs):\n    return helper(xs)\ndef helper(xs):\n    return 2 * sum(xs)\n", exercise="total"),
    ]
    assert plan(cells).exercises["double"].points == [1, 2]


def test_sources_are_the_exercise_and_its_helpers_and_nothing_else():
    cells = [
        code("from torch import mean as average\n"),
        code("def helper(x):\n    return average(x)\nassert torch.mean(torch.ones(2)) == 1\n"),
        code("import torch\ndef centre(x):\n    return x - helper(x)\ntorch.mean(torch.zeros(3))\n", exercise="centre"),
        code("def double(x):\n    return x + x\n", exercise="double"),
    ]
    own, helper = plan(cells).exercises["centre"].sources
    assert "def centre" in own and "def helper" in helper
    assert "from torch import mean as average" in helper  # without it nobody knows what `average` is
    assert "zeros" not in own and "assert" not in helper and "double" not in own + helper


def test_reassigning_a_function_in_a_released_experiment_is_nobodys_solution():
    experiment = "double = stand_in(double)\n"
    released = notebook([*answers(), code(experiment, tags=("experiment",))])
    cells = read_cells(notebook([*answers(), code(experiment, tags=("experiment",))]))
    made = make_plan(chapter(), cells, read_cells(released), Limits())
    assert not any("stand_in(double)" in part for cell in made.cells for part in cell.parts)
    assert made.exercises["double"].notes == []
