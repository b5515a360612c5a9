"""Work on many submissions while workers die, fail once, or fail for everybody."""

import os
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from autograder.judge import workforce
from autograder.judge.launcher import JudgeError
from autograder.judge.workforce import Failure, LocalCrew, compute


class Pool(Executor):
    """Workers that die over one submission, as the kernel's killer of processes would have it."""

    def __init__(self):
        self.broken = False

    def submit(self, function, data):
        future: Future = Future()
        if self.broken:
            raise BrokenProcessPool
        try:
            future.set_result(function(data))
        except BrokenProcessPool as error:
            self.broken = True
            future.set_exception(error)
        except Exception as error:
            future.set_exception(error)
        return future


class Crew(LocalCrew):
    def __init__(self, workers=2):
        super().__init__(workers)
        self.pools = 0

    @contextmanager
    def executor(self, alone=False):
        self.pools += 1
        yield Pool()


def files(folder, *names):
    for name in names:
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def outcomes(paths, work, crew):
    found = [(path.name, outcome) for path, outcome in compute(paths, work, crew)]
    assert len(found) == len(dict(found)) == len(paths), "every submission has exactly one outcome"
    return dict(found)


@pytest.mark.parametrize("room", [1, 2, 50])
def test_a_submission_that_kills_its_worker_costs_the_others_nothing(tmp_path, room):
    def work(data):
        if data == b"deadly":
            raise BrokenProcessPool
        return {"of": data}

    crew = Crew()
    crew.room = lambda: room
    found = outcomes(files(tmp_path, "one", "deadly", "two", "three"), work, crew)
    assert found.pop("deadly").message.startswith("the grader crashed twice")
    assert found == {name: {"of": name.encode()} for name in ("one", "two", "three")}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_grader_is_retried_once_and_then_reported(tmp_path, workers):
    tries = []

    def work(data):
        tries.append(data)
        if data == b"always" or (data == b"once" and tries.count(data) == 1):
            raise OSError("disk full\nand more")
        return {"of": data}

    crew = Crew() if workers > 1 else LocalCrew(1)
    found = outcomes(files(tmp_path, "once", "one", "always"), work, crew)
    said = "the grader failed twice (OSError: disk full); nothing was entered, please look at it"
    assert found == {"one": {"of": b"one"}, "once": {"of": b"once"}, "always": Failure(said)}
    assert sorted(tries) == [b"always"] * 2 + [b"once"] * 2 + [b"one"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_judge_that_works_for_nobody_is_said_once(tmp_path, workers):
    tries = []

    def work(data):
        tries.append(data)
        raise JudgeError("no sandbox here")

    with pytest.raises(JudgeError, match="no sandbox here"):
        outcomes(files(tmp_path, *"abcdefghij"), work, Crew() if workers > 1 else LocalCrew(1))
    assert len(tries) <= 6


def test_a_judge_that_fails_for_one_is_that_ones_failure(tmp_path):
    def work(data):
        if data == b"b":
            raise JudgeError("gone")
        return {}

    assert isinstance(outcomes(files(tmp_path, *"abc"), work, LocalCrew(1))["b"], Failure)


ORPHANS = """
import sys, time
sys.path.insert(0, {here!r})
from test_workforce import name_yourself
from autograder.judge.workforce import LocalCrew
if __name__ == "__main__":
    with LocalCrew(2).executor() as pool:
        jobs = [pool.submit(name_yourself, {folder!r}) for _ in range(2)]
        time.sleep(60)
"""


def name_yourself(folder):
    with open(f"{folder}/{os.getpid()}", "w"):
        time.sleep(60)


def test_workers_end_with_a_coordinator_that_is_killed(tmp_path):
    script = tmp_path / "coordinator.py"
    folder = tmp_path / "pids"
    folder.mkdir()
    script.write_text(ORPHANS.format(here=os.path.dirname(__file__), folder=str(folder)))
    process = subprocess.Popen([sys.executable, str(script)])
    try:
        wait_until(lambda: len(list(folder.iterdir())) == 2)
    finally:
        process.kill()
        process.wait()
    pids = [int(path.name) for path in folder.iterdir()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Slow(LocalCrew):
    """Work that comes when it has been asked for trouble often enough."""

    def __init__(self, *troubles):
        super().__init__(2)
        self.troubles, self.future = list(troubles), Future()

    @contextmanager
    def executor(self, alone=False):
        yield self

    def submit(self, function, data):
        return self.future

    def trouble(self):
        if len(self.troubles) == 1:
            self.future.set_result({"done": True})
        return self.troubles.pop(0)


@pytest.mark.parametrize(
    ("troubles", "expected"),
    [
        (["gone", "gone", "gone"], ["gone"]),
        (["gone", "", "gone"], ["gone", "gone"]),
        (["gone", "away"], ["gone", "away"]),
        (["", ""], []),
    ],
)
def test_what_keeps_results_from_coming_is_said_once(tmp_path, monkeypatch, troubles, expected):
    monkeypatch.setattr(workforce, "QUIET_SECONDS", 0.001)
    said = []
    found = list(compute(files(tmp_path, "a"), bytes.decode, Slow(*troubles), said.append))
    assert [outcome for _, outcome in found] == [{"done": True}]
    assert said == expected
