"""`course build` writes over a built notebook, never over somebody's work in one."""

import json
import subprocess

import pytest

from autograder import build as builder
from autograder.authoring import saved_work


def edit(course, change):
    nb = json.loads(course.chapter.read_text(encoding="utf-8"))
    change(nb)
    course.chapter.write_text(json.dumps(nb), encoding="utf-8")
    return course.chapter.read_bytes()


def solve(nb):
    cell = next(c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "twice")
    cell["source"] = ["def twice(x):\n", "    return 2 * x\n"]


def write_essay(nb):
    nb["cells"][-1]["source"] = "Because it was twice as hard to write."


def add_a_cell(nb):
    nb["cells"].append({"cell_type": "code", "source": "print(1)", "metadata": {}, "outputs": [], "id": "new"})


def run(nb):
    cell = next(c for c in nb["cells"] if c["cell_type"] == "code")
    cell["outputs"], cell["execution_count"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}], 3


def open_and_save(nb):
    nb["metadata"]["language_info"]["version"] = "3.12.1"
    for cell in nb["cells"]:
        cell["source"] = "".join(cell["source"])
        cell["metadata"]["trusted"] = True


def git(course, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(course.root), *names, *words], check=True, capture_output=True)


@pytest.mark.parametrize("work", [solve, write_essay, add_a_cell, run])
def test_work_in_a_notebook_is_not_written_over(course, work):
    course.build()
    worked = edit(course, work)
    course.edit("Why does", "Tell me: why does")
    built = course.source.read_bytes()
    with pytest.raises(builder.BuildError, match=r"^chapters/01_toy/01_toy\.ipynb:1: holds answers.*--force"):
        course.build()
    assert course.chapter.read_bytes() == worked
    assert course.source.read_bytes() == built, "all or nothing"
    course.build(force=True)
    assert b"Tell me" in course.chapter.read_bytes()
    assert course.check() == []


def test_a_notebook_that_was_only_opened_and_saved_is_made_again(course):
    course.build()
    built = course.chapter.read_bytes()
    assert edit(course, open_and_save) != built
    course.build()
    assert course.chapter.read_bytes() == built


def test_what_the_last_build_wrote_may_go(course):
    course.build()
    course.edit("Why does", "Tell me: why does")
    course.build()
    course.edit("Tell me: why does", "Now: why does")
    course.build()
    assert b"Now: why" in course.chapter.read_bytes()


def test_without_a_memory_of_the_last_build_git_knows(course):
    course.build()
    (course.root / "build/stamps/01_toy.released").unlink()  # a fresh clone, or after `make clean`
    course.edit("Why does", "Tell me: why does")
    with pytest.raises(builder.BuildError, match="holds answers"):
        course.build()
    git(course, "init")
    git(course, "add", "chapters")
    with pytest.raises(builder.BuildError, match="holds answers"):
        course.build()
    git(course, "commit", "-m", "built")
    edit(course, solve)
    with pytest.raises(builder.BuildError, match="holds answers"):
        course.build()
    git(course, "checkout", "chapters")
    course.build()
    assert b"Tell me" in course.chapter.read_bytes()


def test_work_that_git_has_committed_may_go(course):
    course.build()
    worked = edit(course, solve)
    git(course, "init")
    git(course, "add", "chapters")
    git(course, "commit", "-m", "my answers")
    course.build()
    assert course.chapter.read_bytes() != worked


def test_a_file_that_is_no_notebook_is_somebodys_too(course):
    course.build()
    course.chapter.write_text("<<<<<<< HEAD", encoding="utf-8")
    with pytest.raises(builder.BuildError, match="holds answers"):
        course.build()
    course.chapter.write_text("", encoding="utf-8")
    course.build()


def test_where_git_is_not_installed_the_last_build_is_enough(course, monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(saved_work.subprocess, "run", missing)
    course.build()
    course.edit("Why does", "Tell me: why does")
    course.build()
    edit(course, solve)
    with pytest.raises(builder.BuildError, match="holds answers"):
        course.build()
