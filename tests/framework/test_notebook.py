"""What a student meets in a notebook, run in a real IPython shell."""

import json
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from samples import REFERENCE, HiddenMean, Mean

from autograder import notebook, progress_view
from autograder import rebuild as mine_module
from autograder.compare import close
from autograder.exercise import Chapter, Exercise, check, mistake
from autograder.progress_store import ProgressStore
from autograder.questions import Question, QuizExercise
from autograder.run import run_exercise
from autograder.student import LocalBackend

SETUP = "from autograder import *\nimport math\nlimit = 3\nopen_chapter('07_averages')"
RIGHT = """def total(numbers):
    if not numbers:
        raise ValueError('empty')
    return sum(numbers)
def mean(numbers):
    return total(numbers) / len(numbers)
"""
WRONG = RIGHT.replace("/ len(numbers)", "/ (len(numbers) - 1)")
STUB = "def total(numbers):\n    raise NotImplementedError\ndef mean(numbers):\n    raise NotImplementedError\n"


class SmallQuiz(QuizExercise):
    """q"""

    functions = ("quiz_answers",)
    questions = (Question("1 + 1?", {"a": ("2", "Yes: two."), "b": ("3", "Count again: <b>two</b>.")}, "a"),)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    exercise = Mean()
    chapter = Chapter("07_averages", {"mean": exercise, "quiz": SmallQuiz()}, {"mean": {"checks": 1, "points": 3}})
    for module in (notebook, mine_module, progress_view):
        monkeypatch.setattr(module, "load_chapter", lambda chapter_id, with_hidden=True: chapter)
    for module in (mine_module, progress_view):
        monkeypatch.setattr(module, "chapter_ids", lambda: ["07_averages"])
    store = ProgressStore(tmp_path / "home" / "progress.json")
    monkeypatch.setattr(notebook, "_session", notebook._Session(store=store))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setenv("COURSE_SCALE", "quick")
    # The shell puts a module of its own in the place of the main one; the tests after this need theirs.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    shell = InteractiveShell.instance()
    shell.reset(new_session=True)
    run(shell, SETUP)
    yield shell
    InteractiveShell.clear_instance()


def run(shell, cell):
    with capture_output() as captured:
        result = shell.run_cell(cell, store_history=True)
    text = captured.stdout + "".join(o.data.get("text/plain", "") for o in captured.outputs)
    html = "".join(o.data.get("text/html", "") for o in captured.outputs)
    return result, text, html


def test_a_right_answer_passes_and_is_recorded(shell):
    run(shell, RIGHT)
    result, text, html = run(shell, "check(total, mean)")
    assert result.success and "3 of 3 checks passed" in text
    assert "4 of 4 points" in text and "The other 3 points come from 1 hidden check" in text
    record = notebook._session.store.record("07_averages", "mean")
    assert record["passed_at"] and record["attempts"] == 1 and "def mean" in record["source"]
    assert "aria-label" in html


def test_a_known_mistake_is_named_in_both_renderings(shell):
    run(shell, WRONG)
    result, text, html = run(shell, "check(total, mean)")
    assert result.success, "check must not raise"
    for rendering in (text, html):
        assert "Recognised" in rendering and "divides by one less" in rendering
    assert "<details open" in html
    assert notebook._session.store.record("07_averages", "mean")["mistakes"] == {"sample_size": 1}


def test_a_failure_shows_the_docstrings_example_that_does_not_hold(shell):
    example = "\nmean.__doc__ = '>>> mean([1, 2, 3])\\n{}\\n'"
    told = "The example in the docstring of mean: mean([1, 2, 3]) gives 3.0, expected 2.0."
    run(shell, WRONG + example.format("2.0"))
    assert all(told in rendering for rendering in run(shell, "check(total, mean)")[1:])
    run(shell, RIGHT + example.format("7.0"))  # what passes is not put in doubt by a docstring
    assert "docstring" not in run(shell, "check(total, mean)")[1]


def test_unsolved_is_not_attempted_and_strict_raises(shell, monkeypatch):
    run(shell, STUB)
    result, text, _ = run(shell, "check(total, mean)")
    assert result.success and "not attempted yet" in text
    assert "attempts" not in notebook._session.store.record("07_averages", "mean")
    result, _, _ = run(shell, "check(total, mean, strict=True)")
    assert isinstance(result.error_in_exec, notebook.CheckNotPassed)
    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    assert not run(shell, "check('mean')")[0].success


def test_a_later_cell_is_never_blocked(shell):
    run(shell, STUB)
    result, text, _ = run(shell, "value = stand_in(mean)([1, 2, 3])")
    assert result.success and shell.user_ns["value"] == 2 and "Using the course's mean" in text
    run(shell, RIGHT + "\nmean.__doc__ = 'mine'")
    result, text, _ = run(shell, "value = stand_in(mean)")
    assert shell.user_ns["value"].__doc__ == "mine" and "course's" not in text


def test_a_redefinition_after_passing_is_not_taken_for_the_passing_one(shell):
    run(shell, RIGHT)
    run(shell, "check(mean)")
    run(shell, WRONG)
    assert "Using the course's" in run(shell, "f = stand_in(mean)")[1]


def test_hints_come_one_by_one_and_are_counted(shell):
    run(shell, STUB)
    assert "What do you divide by?" in run(shell, "hint(mean)")[1]
    assert "Hint 2 of 3" in run(shell, "hint(mean)")[1]
    assert notebook._session.store.record("07_averages", "mean")["hints"] == 2
    assert isinstance(run(shell, "hint(mean, 4)")[0].error_in_exec, ValueError)


def test_the_card_names_the_function_whose_check_failed(shell):
    run(shell, WRONG)
    assert "Stuck? hint(mean) shows hint 1 of 3." in run(shell, "check(total, mean)")[1]
    run(shell, RIGHT.replace("return sum(numbers)", "return 0"))
    assert "Stuck? hint(total) shows hint 1 of 3." in run(shell, "check(total, mean)")[1]
    assert "Hint 1 of 3" in run(shell, "hint(total)")[1]


def records_shown(shell, cell):
    """What the outputs of a cell carry besides what they show."""
    with capture_output() as captured:
        shell.run_cell(cell, store_history=True)
    return [output.metadata["course_record"] for output in captured.outputs if "course_record" in output.metadata]


def test_a_card_carries_three_counts_and_nothing_else(shell):
    clock = iter([1000.0, 1090.4, 1100.0, 99_000.0, 99_900.0])
    session = notebook._session
    session.clock, session.last = lambda: next(clock), 970.0
    run(shell, STUB)
    nothing = {"exercise": "mean", "attempts": 0, "hints": 0, "seconds": 0}
    assert records_shown(shell, "check(mean)") == [nothing], "code that was handed out is no attempt"
    run(shell, WRONG)
    assert records_shown(shell, "check(mean)") == [nothing | {"attempts": 1, "seconds": 30}]
    assert records_shown(shell, "hint(mean)") == [nothing | {"attempts": 1, "hints": 1, "seconds": 120}]
    run(shell, RIGHT)
    after = {"attempts": 2, "hints": 1, "seconds": 130}
    assert records_shown(shell, "check(mean)") == [nothing | after]
    assert records_shown(shell, "check(mean)") == [nothing | after | {"attempts": 3}], "solved: no more time"


def test_a_night_is_no_working_time(shell):
    session = notebook._session
    session.clock, session.last = lambda: 60_000.0, 10.0
    run(shell, WRONG)
    assert records_shown(shell, "check(mean)")[0]["seconds"] == 15 * 60


def test_the_solution_asks_first_and_can_be_switched_off(shell, monkeypatch):
    run(shell, STUB)
    asked = run(shell, "solution(mean)")[1]
    assert "confirm=True" in asked and "return total(numbers)" not in asked
    assert "return total(numbers) / len(numbers)" in run(shell, "solution(mean, confirm=True)")[1]
    assert notebook._session.store.record("07_averages", "mean")["solution_seen"]
    monkeypatch.setenv("COURSE_SOLUTIONS", "off")
    assert "return total" not in run(shell, "solution(mean, confirm=True)")[1]


def test_mine_brings_passing_code_back_with_its_imports(shell):
    run(shell, RIGHT.replace("sum(numbers)", "math.fsum(numbers) + 0 * limit"))
    run(shell, "check(mean)")
    run(shell, "del mean, total")
    result, text, _ = run(shell, "value = mine('mean')([2, 4])")
    assert result.success and shell.user_ns["value"] == 3 and "course's" not in text


def test_mine_falls_back_to_the_reference_with_a_note(shell):
    _result, text, _ = run(shell, "value = mine('mean')([2, 4])")
    assert shell.user_ns["value"] == 3 and "not solved it yet" in text
    assert isinstance(run(shell, "mine('nothing')")[0].error_in_exec, ValueError)


def test_progress_shows_a_picture_and_a_table(shell):
    before = run(shell, "progress()")[2]
    run(shell, RIGHT)
    run(shell, "check(mean)")
    _, text, html = run(shell, "progress()")
    assert "role='img'" in html and "<table>" in html and html != before
    assert "07_averages: 1 of 2 solved" in text


def test_the_quiz_names_what_is_wrong_and_is_graded_by_its_variable(shell):
    _, _, html = run(shell, "quiz()")
    assert "1 + 1?" in html
    run(shell, "quiz_answers = {1: ''}")
    assert "not attempted" in run(shell, "check('quiz')")[1]
    run(shell, "quiz_answers = {1: 'B'}")
    _, text, html = run(shell, "check('quiz')")
    assert "Count again" in text and "<b>two</b>" not in html.replace("&lt;b&gt;", "")
    run(shell, "quiz_answers = {1: 'a'}")
    assert "1 of 1 checks passed" in run(shell, "check('quiz')")[1]


class Spread(Exercise):
    """How far numbers are from their mean."""

    functions = ("spread",)
    reference = type("R", (), {"spread": staticmethod(lambda n: max(abs(x - sum(n) / len(n)) for x in n))})
    title = "Spread"

    @check(points=2, hint="How far is each number from the mean?")
    def is_the_largest_distance_from_the_mean(self, student, rng):
        close(student.spread([1, 2, 6]), 3.0)

    @mistake("adds the last number once too often")
    def too_much(n):
        return max(abs(x - sum(n) / (len(n) - 1)) for x in n)


SPREAD = "def spread(numbers):\n    return max(abs(x - mean(numbers)) for x in numbers)\n"


@pytest.fixture
def two_exercises(shell):
    notebook._session.chapter.exercises["spread"] = Spread()
    return shell


def test_a_failure_caused_by_an_earlier_exercise_is_led_back_to_it(two_exercises):
    shell = two_exercises
    run(shell, WRONG)
    run(shell, SPREAD)
    text = run(shell, "check(spread)")[1]
    assert "With the course's mean in place of yours this check passes" in text
    assert "Recognised" not in text, "it is not this exercise's mistake"
    assert shell.user_ns["mean"]([1, 2, 6]) == 4.5, "the student's own function is back"
    run(shell, RIGHT)
    assert "1 of 1 checks passed" in run(shell, "check(spread)")[1]
    run(shell, SPREAD.replace("abs", "2 * abs"))
    text = run(shell, "check(spread)")[1]
    assert "in place of yours" not in text and "How far is each number" in text


THROUGH_A_CLASS = """class Distance:
    def __call__(self, x, numbers):
        return abs(x - mean(numbers))
def spread(numbers):
    return max(Distance()(x, numbers) for x in numbers)
"""


class Twice(Exercise):
    """Twice how far numbers are from their mean."""

    functions = ("twice",)
    reference = type("R", (), {"twice": staticmethod(lambda n: 2 * Spread.reference.spread(n))})

    @check(points=2)
    def is_twice_the_spread(self, student, rng):
        close(student.twice([1, 2, 6]), 6.0)


def test_the_cause_is_found_behind_helpers_and_behind_what_fails_because_of_it(two_exercises):
    shell = two_exercises
    notebook._session.chapter.exercises["twice"] = Twice()
    for source in (WRONG, THROUGH_A_CLASS, "def twice(numbers):\n    return 2 * spread(numbers)\n"):
        run(shell, source)
    assert "With the course's mean in place of yours this check passes" in run(shell, "check(spread)")[1]
    assert "With the course's mean in place of yours this check passes" in run(shell, "check(twice)")[1]
    run(shell, THROUGH_A_CLASS.replace("abs(", "3 * abs("))
    assert "With the course's spread and mean in place of yours" in run(shell, "check(twice)")[1]


def test_an_unwritten_or_unknown_earlier_function_is_named(two_exercises):
    shell = two_exercises
    run(shell, STUB)
    run(shell, SPREAD)
    text = run(shell, "check(spread)")[1]
    assert "mean is not written yet" in text and "not attempted" not in text
    run(shell, "del mean, total")
    text = run(shell, "check(spread)")[1]
    assert "mean belongs to the exercise “Mean”: run its cell first" in text


def test_the_card_shows_the_call_that_was_wrong_not_the_last_one(shell):
    class Both(Exercise):
        """x"""

        functions = ("mean",)
        reference = REFERENCE

        @check()
        def compares_two_calls(self, student, rng):
            first, _second = student.mean([1, 2]), student.mean([3, 4])
            close(first, 1.5)

    report = run_exercise(Both(), LocalBackend({"mean": sum}))
    assert report.results[0].called == "mean([1, 2])"


def test_wrong_use_is_explained(shell):
    assert "no exercise 'other'" in str(run(shell, "def other(): ...\ncheck(other)")[0].error_in_exec)
    assert isinstance(run(shell, "check()")[0].error_in_exec, ValueError)
    assert isinstance(run(shell, "check(3)")[0].error_in_exec, ValueError)


def test_the_functions_are_silent_while_a_submission_is_graded(shell, monkeypatch):
    monkeypatch.setenv("COURSE_JUDGE", "1")
    run(shell, WRONG)
    _, text, html = run(shell, "check(mean); hint(mean); progress(); quiz(); open_chapter('x'); f = stand_in(mean)")
    assert (text, html) == ("", "") and shell.user_ns["f"] is shell.user_ns["mean"]


def test_student_html_in_messages_is_escaped(shell):
    run(shell, RIGHT.replace("return sum(numbers)", "return '<script>alert(1)</script>'"))
    html = run(shell, "check(mean)")[2]
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_hidden_checks_are_counted_but_not_shown():
    from autograder.cards import report_card

    exercise = HiddenMean()
    report = run_exercise(
        exercise,
        LocalBackend({"total": sum, "mean": lambda n: round(sum(n) / len(n), 1) if len(n) > 9 else sum(n) / len(n)}),
        checks=exercise.checks,
    )
    card = report_card(report, "Mean", [])
    assert "0 of 1 hidden checks passed" in card.text
    assert "expected" not in card.text.split("hidden checks")[1] and "works for many" not in card.html


def test_progress_file_survives_damage(tmp_path):
    path = tmp_path / "progress.json"
    store = ProgressStore(path)
    store.update("c", "one", lambda r: r.update(attempts=1))
    store.update("c", "two", lambda r: r.update(attempts=2))
    path.write_text('{"chapters": {"c"', encoding="utf-8")  # as a crash in the middle of a write would leave it
    with pytest.warns(UserWarning, match="could not be read"):
        assert store.record("c", "one") == {"attempts": 1}
    store.update("c", "three", lambda r: r.update(attempts=3))
    assert set(json.loads(path.read_text())["chapters"]["c"]) == {"one", "three"}
    assert list(tmp_path.glob("progress.unreadable-*")), "the damaged file is kept"


def test_progress_goes_on_in_memory_when_the_disk_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    store = ProgressStore(tmp_path / "file" / "progress.json")
    with pytest.warns(UserWarning, match="not saved"):
        store.update("c", "one", lambda r: r.update(attempts=1))
    store.update("c", "one", lambda r: r.update(attempts=r["attempts"] + 1))
    assert store.record("c", "one") == {"attempts": 2}


def test_two_notebooks_do_not_lose_each_others_records(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def work(number):
        ProgressStore(tmp_path / "p.json").update("c", "e", lambda r: r.update(n=r.get("n", 0) + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert ProgressStore(tmp_path / "p.json").record("c", "e") == {"n": 40}
