"""Grading on a Dask cluster, for real: a scheduler and two workers on loopback, one of them killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import light_course
import pytest
from small import CHAPTER_ID
from test_workforce import is_running, wait_until

from autograder.judge.gradebook import Course
from autograder.judge.workforce import DaskCrew

Client = pytest.importorskip("distributed", reason="distributed is not installed (extra `cluster`)").Client

HERE = Path(__file__).parent
SLOWLY = "import time\ntime.sleep(0.25)"
CLASS = 14


class Cluster:
    def __init__(self, folder: Path, log: Path):
        self.file, self.log = folder / "scheduler.json", log
        settings = {"LIGHT_COURSE_LOG": str(log), "COURSE_UNSAFE_NO_SANDBOX": "1", "COURSE_SANDBOX": "process"}
        self.env = os.environ | settings | {"OMP_NUM_THREADS": "1", "DASK_TEMPORARY_DIRECTORY": str(folder)}
        self.processes: list[subprocess.Popen] = []
        self.output = (folder / "cluster.log").open("w")

    def start(self, what: str, *args: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *args, "--scheduler-file", str(self.file)]
        process = subprocess.Popen(command, env=self.env, cwd=HERE, stdout=self.output, stderr=self.output)
        self.processes.append(process)
        return process

    def scheduler(self) -> str:
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"))
        return json.loads(self.file.read_text())["address"]

    def worker(self, name: str) -> subprocess.Popen:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--name", name)
        return self.start("worker", *options, "--host", "127.0.0.1", "--preload", str(HERE / "light_course.py"))

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.output.close()

    def lines(self, word: str) -> list[list[str]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split() for line in text.splitlines() if line.startswith(word)]


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path, tmp_path / "log")
    yield made
    made.stop()


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_nobody_anything(cluster, tmp_path):
    notebooks = {f"s{n:02}": light_course.submission(n, right=n % 2 > 0, extra=SLOWLY) for n in range(CLASS)}
    root = light_course.make(tmp_path / "course", notebooks)
    address = cluster.scheduler()
    workers = [cluster.worker("first"), cluster.worker("second")]
    with Client(address) as client:  # on a busy machine one could be through with the class before the other is there
        client.wait_for_workers(2, timeout=120)
    command = [sys.executable, str(HERE / "light_course.py"), "grade", CHAPTER_ID, "--scheduler", address]
    run = subprocess.Popen(
        [*command, "--json-lines"], cwd=root, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        pids = {str(worker.pid) for worker in workers}
        # Until both have begun, and the one that will be killed is in the middle of a submission.
        wait_until(lambda: {pid for _, _, pid in cluster.lines("graded")} == pids, seconds=180)
        busy = int(cluster.lines("graded")[-1][2])
        os.kill(busy, signal.SIGKILL)
        out, err = run.communicate(timeout=240)
    finally:
        run.kill()
    assert run.returncode == 0, err
    told = {record["student"]: record for record in map(json.loads, out.splitlines())}
    assert {name: record["earned"] for name, record in told.items()} == {
        name: 5 if number % 2 else 3 for number, name in enumerate(notebooks)
    }
    assert all(record["new"] and record["notes"] == [] for record in told.values())
    scores = {student: grade["score"] for student, grade in Course(root).grades(CHAPTER_ID).items()}
    assert scores == {name: record["earned"] for name, record in told.items()}
    graded = [what for _, what, _ in cluster.lines("graded")]
    assert len(set(graded)) == CLASS < len(graded) <= CLASS + 3, "what the dead worker had begun was graded again"
    assert len(cluster.lines("stored")) == len(cluster.lines("entered")) == CLASS
    assert not is_running(busy)


def test_a_scheduler_that_is_not_there_or_has_no_workers(cluster, monkeypatch):
    from autograder.judge import workforce

    monkeypatch.setattr(workforce, "CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=r"expected a Dask scheduler at tcp://127.0.0.1:9"):
        DaskCrew("tcp://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"expected a Dask scheduler at nonsense://x"):
        DaskCrew("nonsense://x")
    address = cluster.scheduler()
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"has no workers: start `dask worker tcp"):
        DaskCrew(address)
    assert time.monotonic() - begun < 60


@pytest.mark.slow
def test_a_run_that_has_lost_all_its_workers_says_so_and_goes_on_with_new_ones(cluster, tmp_path, monkeypatch):
    from autograder.judge import workforce

    monkeypatch.setattr(workforce, "CONNECT_SECONDS", 120)
    monkeypatch.setattr(workforce, "QUIET_SECONDS", 0.5)
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"four")
    address = cluster.scheduler()
    lost = cluster.worker("lost")
    said = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 1:
            cluster.worker("new")

    with DaskCrew(address) as crew:
        lost.kill()
        wait_until(lambda: not crew.client.nthreads())
        found = list(workforce.compute([path], lambda data: {"size": len(data)}, crew, say))
        assert crew.trouble() == ""
    assert found == [(path, {"size": 4})]
    assert len(said) == 1 and f"no workers any more: start `dask worker {address}`" in said[0]
