"""The gradebook in PostgreSQL: a real server is started, and `course grade`, nbgrader and a killed run use it."""

import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import light_course
import pytest
from small import CHAPTER_ID
from test_killed import environment, runs
from test_options import course_commands, records

from autograder.judge.gradebook import Course

pytest.importorskip("psycopg", reason="psycopg is not installed (extra `postgres`)")


def program(name: str) -> str | None:
    """A program of the server; Debian keeps them where no PATH leads."""
    found = shutil.which(name)
    return os.path.realpath(found) if found else max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)


INITDB, POSTGRES = program("initdb"), program("postgres")
AS_ROOT = hasattr(os, "getuid") and os.getuid() == 0  # the server refuses to run as root
RUNUSER = shutil.which("runuser")
ORDINARY = "postgres"

pytestmark = pytest.mark.skipif(
    not (INITDB and POSTGRES and (RUNUSER or not AS_ROOT)), reason="no PostgreSQL server here (initdb, postgres)"
)


@pytest.fixture(scope="module")
def server():
    """The address of a new server, without a database name."""
    prefix = [RUNUSER, "-u", ORDINARY, "--"] if AS_ROOT else []
    # Short, as a socket's path has at most some hundred characters; and where that user may go.
    places = (tempfile.gettempdir(), "/var/tmp", "/dev/shm", "/var/lib/postgresql")
    place = next(p for p in places if subprocess.run([*prefix, "test", "-x", p], cwd="/").returncode == 0)
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=place))
    if AS_ROOT:
        shutil.chown(folder, ORDINARY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    init = [*prefix, INITDB, "--pgdata", str(data), "--username", "teacher", "--auth", "trust", "--no-sync"]
    subprocess.run([*init, "--encoding", "UTF8", "--locale", "C"], cwd=folder, check=True, capture_output=True)
    options = ["-F", "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
    process = subprocess.Popen(
        [*prefix, POSTGRES, "-D", str(data), *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield f"postgresql+psycopg://teacher@127.0.0.1:{port}"
    finally:
        process.terminate()  # runuser hands the signal on
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int) -> None:
    import psycopg

    end = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"postgresql://teacher@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.1)


@pytest.fixture
def gradebook(server, request):
    """The URL of an empty database."""
    import psycopg

    name = request.node.name[:40]
    with psycopg.connect(server.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"


def scores(root: Path, url: str, monkeypatch) -> dict[str, float]:
    monkeypatch.setenv("COURSE_GRADEBOOK", url)
    return {student: grade["score"] for student, grade in Course(root).grades(CHAPTER_ID).items()}


@pytest.mark.slow
def test_a_class_is_graded_into_postgresql_and_nbgrader_reads_it(gradebook, tmp_path, monkeypatch):
    work = {f"s{number}": light_course.submission(number, right=number > 1) for number in range(4)}
    root = light_course.make(tmp_path / "course", work)
    expected = {"s0": 3, "s1": 3, "s2": 5, "s3": 5}
    grade = ["grade", CHAPTER_ID, "--workers", "1", "--json-lines"]
    first, again = course_commands(root, [*grade, "--gradebook", gradebook], grade)
    assert first[0] == 0, first
    assert {r["student"]: r["earned"] for r in records(first[1])} == expected
    assert not any(r["new"] for r in records(again[1])), "--gradebook is kept in this process' environment"
    assert scores(root, gradebook, monkeypatch) == expected
    assert not (root / "classroom" / "gradebook.db").exists()
    # nbgrader's own command, by the same configuration.
    exported = subprocess.run(
        [sys.executable, "-m", "nbgrader", "export", "--to", str(tmp_path / "grades.csv")],
        cwd=root,
        env=os.environ | {"COURSE_GRADEBOOK": gradebook},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert exported.returncode == 0, exported.stderr
    rows = (tmp_path / "grades.csv").read_text().splitlines()
    assert len(rows) == 5 and rows[0].startswith("assignment,")
    with Course(root).gradebook() as book:
        assert book.engine.dialect.name == "postgresql" and len(book.students) == 4
    # A mark given by a person survives grading anew.
    with Course(root).gradebook() as book:
        book.find_grade("check_total", CHAPTER_ID, CHAPTER_ID, "s0").manual_score = 1
        book.db.commit()
    (done,) = course_commands(root, [*grade, "--regrade", "--gradebook", gradebook])
    assert done[0] == 0 and scores(root, gradebook, monkeypatch) == expected | {"s0": 4}


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_a_sound_database(gradebook, tmp_path, monkeypatch):
    work = {f"s{number:02}": light_course.submission(number, right=number % 2 > 0) for number in range(12)}
    root = light_course.make(tmp_path / "course", work)
    monkeypatch.setenv("COURSE_GRADEBOOK", gradebook)
    assert "COURSE_GRADEBOOK" in environment(tmp_path / "log")
    assert "killed 3 last 0" in runs(root, tmp_path / "log", kills=3, seed=3)
    assert scores(root, gradebook, monkeypatch) == {name: 5 if int(name[1:]) % 2 else 3 for name in work}


def test_a_database_that_is_away_is_said_in_one_line(tmp_path):
    root = light_course.make(tmp_path / "course", {"s0": light_course.submission(0)})
    url = "postgresql+psycopg://teacher@127.0.0.1:9/none?connect_timeout=2"
    command = [sys.executable, str(Path(light_course.__file__)), "grade", CHAPTER_ID, "--gradebook", url]
    done = subprocess.run(
        command, cwd=root, env=environment(tmp_path / "log"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("course: gradebook: ") and "Traceback" not in done.stderr
