"""Folders that strangers filled, courses that lie in the wrong place, exercises that could be had for nothing."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from arena import LIMITS, SECRET, Zygotes, needs
from attack import RIGHT
from rich.console import Console
from small import CHAPTER_ID, Double, answers, chapter, code, notebook

from autograder import run
from autograder.exercise import chapter_ids, check, load_chapter
from autograder.judge import grading, launcher, sandbox
from autograder.judge.collect import submitted_notebooks, take_in
from autograder.judge.launcher import JudgeError, Zygote
from autograder.judge.quota import MAX_DEPTH, MAX_FILES, excess, remove_tree
from autograder.judge.submission import MAX_BYTES
from autograder.judge.tables import plain_cell
from autograder.run import run_exercise
from autograder.student import LocalBackend

GOOD = notebook(answers())


def put(path: Path, data: bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_hostile_folder_disturbs_neither_the_others_nor_anything_outside(tmp_path):
    inbox, submitted, outside = tmp_path / "in", tmp_path / "submitted", tmp_path / "outside"
    put(outside / "secret.ipynb", b"secret")
    put(inbox / "ada.ipynb")
    (inbox / "link.ipynb").symlink_to(outside / "secret.ipynb")
    (inbox / "folder link").symlink_to(outside)
    put(inbox / "bea" / "work.ipynb")
    (inbox / "bea" / "data").symlink_to(outside)
    (inbox / "bea" / "copy.txt").symlink_to(outside / "secret.ipynb")
    put(inbox / "cem" / "work.ipynb")
    put(inbox / "cem" / f"{CHAPTER_ID}.ipynb" / "file.txt", b"a folder in the place of the notebook")
    (inbox / "dan" / CHAPTER_ID).mkdir(parents=True)
    (inbox / "dan" / CHAPTER_ID / f"{CHAPTER_ID}.ipynb").symlink_to(outside / "secret.ipynb")
    os.mkfifo(inbox / "pipe.ipynb")
    (inbox / "eli").mkdir()
    os.mkfifo(inbox / "eli" / "work.ipynb")
    put(inbox / "fay" / "work.ipynb")
    put(inbox / "fay" / "timestamp.txt", b"2020-01-01 10:00:00 UTC")
    put(inbox / "gia" / CHAPTER_ID / f"{CHAPTER_ID}.ipynb")
    put(inbox / "gia" / CHAPTER_ID / "timestamp.txt", b"yesterday, I promise")
    with put(inbox / "gus.ipynb", b"{").open("ab") as stream:
        stream.truncate(3 * 2**30)  # takes no room here, and would take 3 GB in a copy
    put(inbox / ("h" * 240 + ".ipynb"))
    put(inbox / "..ipynb")
    (Path(os.fsdecode(bytes(inbox) + b"/caf\xe9 \x1b]0;x\x07"))).mkdir()
    put(inbox / "$(touch x) `y` *.ipynb")
    problems = take_in(inbox, CHAPTER_ID, submitted)
    for path in submitted.rglob("*"):
        assert not path.is_symlink() and stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)
        assert path.is_dir() or (b"secret" not in path.read_bytes() and path.stat().st_size <= MAX_BYTES + 1)
    taken = {item.student for item in submitted_notebooks(submitted, CHAPTER_ID)}
    assert taken == {"ada", "bea", "cem", "fay", "gia", "gus", "h" * 60, "touch_x_y"}
    assert not list(submitted.rglob("timestamp.txt"))
    assert {line.split(":")[0] for line in problems} >= {"dan", "eli"}
    text = io.StringIO()
    for line in problems:
        assert line.isprintable()
        Console(file=text).print(line, markup=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    put(tmp_path / "in" / "ada.ipynb").chmod(0)
    put(tmp_path / "in" / "ben.ipynb")
    problems = take_in(tmp_path / "in", CHAPTER_ID, tmp_path / "submitted")
    assert problems == ["ada.ipynb: cannot be read: Permission denied"]
    assert (tmp_path / "submitted" / "ben").exists()


def test_a_formula_behind_a_separator_stays_text():
    for text in ("=1+1", "x;=1+1", "x | -1+1", "\r\n=1"):
        assert "'" in plain_cell(text), text
    assert plain_cell("a - b; c") == "a - b; c"


def test_a_course_inside_of_python_is_not_graded_with(monkeypatch, tmp_path):
    needs("inner")
    monkeypatch.setattr(launcher, "readable_places", lambda edition: [str(Path(launcher.__file__).parents[2])])
    with pytest.raises(JudgeError, match="which submitted code can read"):
        Zygote(CHAPTER_ID)
    assert sandbox.exposed([str(tmp_path)]) == ""


def test_a_machine_without_walls_refuses(monkeypatch):
    monkeypatch.setattr(sandbox, "strongest_level", lambda: "process")
    monkeypatch.delenv("COURSE_UNSAFE_NO_SANDBOX", raising=False)
    with pytest.raises(JudgeError, match="--unsafe-no-sandbox"):
        Zygote(CHAPTER_ID)
    monkeypatch.setenv("COURSE_SANDBOX", "process")  # asking for less is no way around it
    with pytest.raises(JudgeError, match="--unsafe-no-sandbox"):
        Zygote(CHAPTER_ID)


def test_what_a_process_has_used_up(tmp_path):
    limits = {"threads": 10_000, "disk_bytes": 2**20}
    me, home = os.getpid(), tmp_path / "home"
    home.mkdir()
    assert excess(me, str(home), limits) == ""
    put(home / "large", bytes(2**21))
    assert "more than 1 MB" in excess(me, str(home), limits)
    (home / "large").unlink()
    with (home / "gone").open("wb") as stream:
        stream.write(bytes(2**21))
        stream.flush()
        (home / "gone").unlink()
        assert "more than 1 MB" in excess(me, str(home), limits)
    assert excess(me, str(home), limits) == ""
    assert "threads" in excess(me, str(home), limits | {"threads": 0})
    deep = home
    for _ in range(MAX_DEPTH + 2):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert "deep" in excess(me, str(home), limits)
    remove_tree(str(home))
    home.mkdir()
    for n in range(MAX_FILES + 2):
        os.close(os.open(home / str(n), os.O_CREAT | os.O_WRONLY))
    assert "files" in excess(me, str(home), {"threads": 10_000, "disk_bytes": 2**40})
    remove_tree(str(home))
    assert not home.exists()


def test_a_tree_is_removed_and_nothing_that_it_points_to(tmp_path):
    put(tmp_path / "outside" / "kept")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "closed" / "in" / "side").mkdir(parents=True)
    (top / "closed" / "in").chmod(0)
    (top / "closed").chmod(0o100)
    here = os.open(top, os.O_RDONLY)
    for _ in range(1200):  # deeper than Python's stack
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(str(top))
    assert not top.exists() and (tmp_path / "outside" / "kept").exists()


class Twice(Double):
    """Twice a number, by another way."""

    functions = ("twice",)
    does_as = ("double",)

    @check(points=4, time_limit=2)
    def doubles(self, student, rng):
        x = rng.randint(3, 1000)
        assert student.twice(x) == 2 * x


def test_the_course_does_not_stand_in_for_what_is_asked(monkeypatch):
    needs("inner")
    held = Zygotes()
    Twice.reference = type("R", (), {"twice": staticmethod(lambda x: x + x), "double": Double.reference.double})
    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(Double, Twice))
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: held.get("inner"))

    def earned(double: str) -> int:
        cells = [code(double, exercise="double"), code("def twice(x):\n    return double(x)\n", exercise="twice")]
        result = grading.grade_one(notebook(cells), CHAPTER_ID, secret=SECRET, released=None, limits=LIMITS)
        return result["exercises"]["twice"]["earned"]

    assert earned(RIGHT["double"]) == 4 and earned("def double(x):\n    raise NotImplementedError\n") == 0
    held.close()


@pytest.mark.parametrize(
    "constant", ["None", "0", "[]", "''", "True", "object()", "a[0]", "1 / 0", "{}", "float('nan')"]
)
def test_constant_answers_earn_next_to_nothing_in_real_chapters(constant, monkeypatch):
    monkeypatch.setattr(run, "find_mistake", lambda *_: None)  # naming mistakes takes most of the time, and no points
    for chapter_id in chapter_ids():
        total = got = 0
        for exercise in load_chapter(chapter_id).exercises.values():
            if exercise.kind != "code":
                continue
            exercise.checks = [replace(item, time_limit=2.0) for item in exercise.checks]
            names = {name: eval(f"lambda *a, **k: {constant}") for name in exercise.functions}
            report = run_exercise(exercise, LocalBackend(names), checks=exercise.checks)
            total, got = total + report.points, got + report.earned
        assert got <= 0.02 * total, f"{constant} earns {got} of {total} in {chapter_id}"
