"""A course of two quick exercises without torch, for tests that start, kill and restart whole runs of `course grade`.

As a program (`python light_course.py grade ...`) it is the command line `course` for that course; loaded by a Dask
worker (`--preload`), it makes the worker one for that course. What is graded and entered is written to the file that
LIGHT_COURSE_LOG names, one line each, so that tests can count.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import small
from small import CHAPTER_ID, HiddenDouble, Total, chapter, code, notebook

import autograder.exercise

SETUP = "from autograder import check, open_chapter\nopen_chapter('01_tokenization')\n"
SCRIPT = f'''# %% [markdown]
"""
# A light chapter
"""

# %% tags=["setup"]
{SETUP}
'''


def patch() -> None:
    """Make this process take the light chapter for the first one."""
    made = chapter(HiddenDouble, Total)
    autograder.exercise.load_chapter = lambda chapter_id, with_hidden=True: made
    autograder.exercise.chapter_ids = lambda: [CHAPTER_ID]
    from autograder.judge import release

    release._chapter_files = lambda chapter_id: []  # an author may be editing the real ones
    from autograder.judge import gradebook, grading, results

    release.solved_cells = grading.solved_cells = lambda chapter_id: {"": SETUP} | small.RIGHT

    for owner, name, words in (
        (grading, "grade_one", lambda data, **_: ["graded", grading.content_hash(data)]),
        (results.ResultStore, "put", lambda self, result: ["stored", result["hash"]]),
        (gradebook.Course, "autograde", lambda self, student, chapter: ["entered", student]),
    ):
        setattr(owner, name, logged(getattr(owner, name), words))


def logged(function, words):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if words(*args, **kwargs)[0] == "graded":
            log(*words(*args, **kwargs))  # at the beginning: work that was cut off counts as well
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        log(*words(*args, **kwargs))
        return result

    return wrapper


def log(*words: str) -> None:
    path = os.environ.get("LIGHT_COURSE_LOG")
    if path:
        line = " ".join([*words, str(os.getpid())]) + "\n"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode())
        os.close(handle)


def submission(number: int, right: bool = True, extra: str = "") -> bytes:
    """A notebook unlike all others; ``extra`` is code in its first exercise's cell."""
    double = f"{extra}\ndef double(x):\n    '''{number}'''\n    return x + x\n"
    total = small.RIGHT["total"] if right else "def total(xs):\n    return sum(xs)\n"
    cells = [code(SETUP, tags=("setup",)), code(double, exercise="double"), code(total, exercise="total")]
    return notebook(cells)


def make(root: Path, submissions: dict[str, bytes]) -> Path:
    """Build the course and hand the notebooks in."""
    from course import EXERCISE, ROOT, _with_delimiters

    from autograder import build

    root.mkdir(parents=True, exist_ok=True)
    for name in ("nbgrader_config.py", "pyproject.toml"):
        (root / name).write_text((ROOT / name).read_text())
    (root / "solutions").mkdir()
    cells = [EXERCISE.format(name=name, stub=_with_delimiters(small.RIGHT[name])) for name in ("double", "total")]
    (root / "solutions" / f"{CHAPTER_ID}.py").write_text(SCRIPT + "\n".join(cells))
    build.build([CHAPTER_ID], root, points=lambda chapter_id: {"double": 3, "total": 2})
    for student, data in submissions.items():
        path = root / "classroom" / "submitted" / student / CHAPTER_ID / f"{CHAPTER_ID}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    return root


def dask_setup(worker) -> None:
    """Dask calls this in a worker that was started with `--preload light_course.py`: importing it was enough."""


patched = autograder.exercise.load_chapter.__name__ == "<lambda>"
if not patched and "pytest" not in sys.modules:
    patch()

if __name__ == "__main__":
    from autograder.cli import main

    main()
