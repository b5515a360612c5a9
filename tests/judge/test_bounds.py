"""A check's own work on what a stranger returned is bounded, in time and in memory."""

import resource
import sys
import threading
import time

import pytest
from small import CHAPTER_ID, chapter, code, notebook

from autograder.compare import equal
from autograder.exercise import Exercise, check, namespace
from autograder.judge import bounds, grading, one_check
from autograder.judge.launcher import Limits, Zygote
from autograder.judge.sandbox import strongest_level


@pytest.mark.parametrize("in_thread", [True, False])
def test_a_check_that_computes_for_ever_is_ended_wherever_it_runs(in_thread):
    said = []

    def choke():
        try:
            with bounds.cpu_limit(0.3):
                while True:
                    sum(range(1000))
        except bounds.OutOfTime:
            said.append("out of time")
        with bounds.cpu_limit(60):
            said.append("and on")

    if in_thread:
        thread = threading.Thread(target=choke, daemon=True)
        thread.start()
        thread.join(60)
    else:
        choke()
    assert said == ["out of time", "and on"]


def test_waiting_is_not_computing():
    def wait_a_bit():
        with bounds.cpu_limit(0.3):
            time.sleep(0.8)
            said.append("done")

    said = []
    thread = threading.Thread(target=wait_a_bit)
    thread.start()
    thread.join()
    assert said == ["done"]


@pytest.mark.parametrize("in_thread", [True, False])
def test_code_that_swallows_the_interruption_is_interrupted_again(in_thread, monkeypatch):
    monkeypatch.setattr(bounds, "AGAIN_SECONDS", 0.2)
    said = []

    def choke():
        try:
            with bounds.cpu_limit(0.2):
                while True:
                    try:
                        while True:
                            sum(range(1000))
                    except bounds.OutOfTime:
                        said.append("swallowed")
                        if len(said) > 2:
                            raise
        except bounds.OutOfTime:
            said.append("out of time")

    if in_thread:
        thread = threading.Thread(target=choke, daemon=True)
        thread.start()
        thread.join(60)
    else:
        choke()
    assert said == [*["swallowed"] * 3, "out of time"]


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process has")


@only_linux
def test_memory_is_limited_inside_the_block_only():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), bounds.memory_limit(2**28):
        bytearray(2**29)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with bounds.memory_limit(2**28):
        bytearray(2**20)
    assert len(bytearray(2**29)) == 2**29


class Steps(Exercise):
    """How many steps it takes."""

    functions = ("steps",)
    reference = namespace(steps=lambda n: n)

    @check(points=2, time_limit=2)
    def makes_so_many(self, student, rng):
        number = student.steps(5)
        len(range(number))
        made = []
        while len(made) < number:
            made.append(bytes(2**24))  # the right answer needs a third of what there is
        equal(len(made), 5)


class Greedy(Exercise):
    """A check that has no room for anything, whatever it is given."""

    functions = ("greedy",)
    reference = namespace(greedy=lambda n: n)

    @check(points=2, time_limit=2)
    def needs_everything(self, student, rng):
        student.greedy(5)
        raise MemoryError


@only_linux
@pytest.mark.parametrize(
    "answer, outcome, says",
    [
        ("n", "passed", ""),
        # The check stops with all of that in its hands, so that there is no room for the reference at first.
        ("10**12", "failed", "could not finish with what your code returned"),
        ("2**63", "failed", "cannot be used here"),
    ],
)
def test_an_answer_that_makes_the_check_ask_for_all_memory_costs_its_author(answer, outcome, says, monkeypatch):
    result = graded(Steps, f"def steps(n):\n    return {answer}\n", monkeypatch)["exercises"]["steps"]
    assert result["earned"] == (2 if outcome == "passed" else 0)
    assert result["results"][0]["outcome"] == outcome and says in result["results"][0]["message"]


def test_a_check_that_fails_with_the_reference_costs_nobody(monkeypatch):
    result = graded(Greedy, "def greedy(n):\n    return n\n", monkeypatch)["exercises"]["greedy"]
    assert result["earned"] == 2 and result["results"][0]["outcome"] == "grader error"


def graded(exercise: type[Exercise], source: str, monkeypatch) -> dict:
    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(exercise))
    monkeypatch.setattr(one_check, "CHECK_MEMORY_BYTES", 2**28)
    if strongest_level() == "process":
        monkeypatch.setenv("COURSE_UNSAFE_NO_SANDBOX", "1")
    with Zygote(CHAPTER_ID) as zygote:
        monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: zygote)
        data = notebook([code(source, exercise=exercise.functions[0])])
        return grading.grade_one(data, CHAPTER_ID, secret=b"x", released=b"", limits=Limits())
