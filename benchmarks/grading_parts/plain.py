"""Plain nbgrader on the same submissions: its own preprocessors, one kernel per notebook, asserts in the test cells.

    python plain.py COURSE STUDENT       autogrades one submission and prints its times as JSON

One process per submission, so that everything it has started is over, and its processor time known, when it ends;
only nbgrader's work is timed, not the start of Python and the import of nbgrader.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grading_parts.asserts import ASSERTS

CHAPTER = "01_tokenization"
CHECK = "check_"
SECONDS_PER_CELL = 900  # on a machine under load no honest cell should be cut off
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "plain"
c.ClearSolutions.begin_solution_delimeter = "### BEGIN SOLUTION"
c.ClearSolutions.end_solution_delimeter = "### END SOLUTION"
c.ExecutePreprocessor.timeout = c.Execute.timeout = {seconds}
"""


def make_plain_course(root: Path, source: Path, submissions: dict[str, str], only_graded: bool) -> Path:
    """An nbgrader course of the same chapter with asserts for checks, ready to be autograded.

    ``source`` is the author's notebook. With ``only_graded`` no experiment is left, in chapter and submissions.
    """
    root.mkdir(parents=True)
    (root / "nbgrader_config.py").write_text(CONFIG.format(seconds=SECONDS_PER_CELL))
    chapter = _with_asserts(json.loads(source.read_text(encoding="utf-8")), only_graded)
    _write(root / "source" / CHAPTER, chapter)
    for student, text in submissions.items():
        _write(root / "submitted" / student / CHAPTER, _with_asserts(json.loads(text), only_graded))
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", CHAPTER]
    subprocess.run(command, cwd=root, env=environment(root), check=True, capture_output=True)
    return root


def grade_plain(root: Path, student: str) -> dict[str, Any]:
    """Have one submission autograded in a process of its own; clock, processor time and score."""
    command = [sys.executable, str(Path(__file__).resolve()), str(root), student]
    done = subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"nbgrader failed over {student}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(root: Path) -> dict[str, str]:
    """As `course grade` sets it for submissions: one thread, small experiments, a home of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quick = {"COURSE_SCALE": "quick", "COURSE_HOME": str(root / "home"), "MPLBACKEND": "agg"}
    return os.environ | threads | quick | {"PATH": path, "JUPYTER_PLATFORM_DIRS": "1"}


def _with_asserts(notebook: dict[str, Any], only_graded: bool) -> dict[str, Any]:
    notebook = copy.deepcopy(notebook)
    cells = []
    for cell in notebook["cells"]:
        metadata = cell["metadata"]
        grade_id = metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id.startswith(CHECK):
            cell["source"] = ASSERTS[grade_id.removeprefix(CHECK)].strip()
        is_experiment = cell["cell_type"] == "code" and not grade_id and "setup" not in metadata.get("tags", [])
        if not (only_graded and is_experiment):
            cells.append(cell)
    notebook["cells"] = cells
    return notebook


def _write(folder: Path, notebook: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / f"{CHAPTER}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def _autograde(root: Path, student: str) -> dict[str, Any]:
    from nbgrader.api import Gradebook
    from nbgrader.converters import Autograde
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = CHAPTER, student
    start, used = time.perf_counter(), _used()
    converter = Autograde(coursedir=CourseDirectory(config=config), config=config)
    converter.start()
    times = {"wall": time.perf_counter() - start, "cpu": _used() - used}
    with Gradebook(converter.coursedir.db_url) as gradebook:
        submission = gradebook.find_submission(CHAPTER, student)
        return times | {"score": submission.score, "max_score": submission.max_score}


def _used() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):  # the kernel is a child, and over by now
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


if __name__ == "__main__":
    print(json.dumps(_autograde(Path(sys.argv[1]), sys.argv[2])))
