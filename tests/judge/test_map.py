"""Many calls in one message: the same to a check as one call after the other, here and in a submission's process."""

import time

import pytest
from attack import FRAMES
from held import QUICK

from autograder.judge.plain import clean_replies
from autograder.judge.protocol import Message
from autograder.judge.remote import Cell, RemoteBackend
from autograder.student import LocalBackend, NotWritten, Student, StudentError, StudentTimeout
from autograder.values import BadValue, Packed

SOURCE = """
import time
def half(x, by=2, then=None):
    print("half of", x)
    return then(x / by) if then else x / by
def picky(x):
    if x > 2:
        raise StopIteration("no more")
    return [x]
def slow(x):
    time.sleep(0.4)
    return x
def changes(xs):
    xs.append(1)
    return xs
def keeps(x):
    return object()
"""


@pytest.fixture(params=["here", "in a process"])
def backend(request):
    if request.param == "here":
        names = {}
        exec(SOURCE, names)
        yield LocalBackend(names)
        return
    zygote = request.getfixturevalue("zygote")
    remote = RemoteBackend(lambda: zygote, [Cell(1, (SOURCE,), 5.0)], QUICK)
    remote.run(0)
    yield remote
    remote.close()


@pytest.fixture
def student(backend):
    return Student(backend, 5.0)


def test_values_come_in_order_and_each_is_on_record_with_its_call_and_what_it_printed(student):
    results = student.half.map([8, 6], by=[4, 3])
    assert student.trace == []  # nothing is asked for yet
    assert next(results) == 2.0 and len(student.trace) == 1
    assert list(results) == [2.0]
    assert [event.what for event in student.trace] == ["half(8, by=4)", "half(6, by=3)"]
    assert [event.printed for event in student.trace] == ["half of 8\n", "half of 6\n"]


def test_it_gives_what_single_calls_give(student):
    columns = [1, 2, 30], [4, 5, 6], [abs, float, str]
    together = list(student.half.map(*columns))
    single = [student.half(*row) for row in zip(*columns, strict=True)]
    assert together == single and student.trace[:3] == student.trace[3:]


def test_the_first_error_is_raised_at_its_place_and_ends_it(student):
    results = student.picky.map([1, 2, 3, 4])
    assert [next(results), next(results)] == [[1], [2]]
    with pytest.raises(StudentError, match="StopIteration: no more"):
        next(results)
    assert list(results) == [] and student.trace[-1].error == "StopIteration"


def test_all_calls_together_have_the_time_of_one(backend):
    student = Student(backend, 1.0)
    results, start = student.slow.map(range(30)), time.monotonic()
    assert next(results) == 0
    with pytest.raises(StudentTimeout):
        list(results)
    assert time.monotonic() - start < 3


def test_arguments_of_the_check_stay_as_they_are_and_objects_stay_where_they_are(student):
    rows = [[0], [0]]
    assert list(student.changes.map(rows)) == [[0, 1], [0, 1]] and rows == [[0], [0]]
    kept = list(student.keeps.map([1, 2]))
    assert [value._type_name for value in kept] == ["object", "object"] and kept[0]._target != kept[1]._target


def test_no_calls_no_function_and_columns_of_unequal_length(student):
    assert list(student.half.map([])) == []
    with pytest.raises(NotWritten):
        list(student.missing.map([1]))
    with pytest.raises(ValueError, match="shorter"):
        student.half.map([1, 2], [3])


def test_a_process_that_answers_fewer_or_more_calls_gains_nothing(zygote):
    lies = FRAMES + (
        "def f(x):\n    answer({'replies': [{'printed': ''}] * COUNT},"
        " {str(k): [7, 0] for k in range(COUNT)})\n    return 0\n"
    )
    for count, problem in ((1, BadValue), (5, None)):
        remote = RemoteBackend(lambda: zygote, [Cell(1, (lies.replace("COUNT", str(count)),), 5.0)], QUICK)
        remote.run(0)
        results = Student(remote, 5.0).f.map([1, 2, 3])
        assert next(results) == 7
        if problem:
            with pytest.raises(problem, match="fewer results"):
                list(results)
        else:
            assert list(results) == [7, 7]
        remote.close()


@pytest.mark.parametrize("replies", [None, 7, "abc", {"0": {}}, [7, None]])
def test_replies_that_are_none_are_left_out(replies):
    assert clean_replies(Message("reply", {"replies": replies}, {"0": Packed(1)})) == []


def test_each_reply_keeps_its_own_value_and_texts_are_cut():
    body = {"replies": ["?", {"printed": "x" * 9000}, {"error": {"type": 3}}]}
    second, third = clean_replies(Message("reply", body, {"1": Packed(5), "9": Packed(6)}))
    assert second["ok"] == Packed(5) and len(second["printed"]) == 4000
    assert "ok" not in third and third["error"]["type"] == "an error"
