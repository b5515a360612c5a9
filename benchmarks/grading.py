"""Measure `course grade` beside plain nbgrader on the same submissions of chapter 1, and how it grows with the class.

    python benchmarks/grading.py                                  # prints Markdown tables and one line of JSON
    python benchmarks/grading.py --table benchmarks/grading.md
    python benchmarks/grading.py --students 40 --nbgrader-full 3 --nbgrader-cells 8 --growth 400

While one run of `course grade` works through the class, nbgrader takes its turn with some of the same submissions, so
that a busy machine slows both. nbgrader runs the chapter with plain asserts in the place of the checks; once whole, as
it does with any notebook, and once with the graded cells only. One worker, one thread, but for the row that says two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from grading_parts import plain, students
from grading_parts.meter import NOT_OURS, OURS, Meter
from grading_parts.report import about_machine, markdown
from rich.console import Console

from autograder.judge.grade import Graded, grade_chapter
from autograder.judge.grading import zygote_of

PROJECT = Path(__file__).resolve().parents[1]
MIB = 2**20
FIRST, WARM_UP = "a", 9_960  # who comes first, with an own notebook; with it templates and SQL are compiled


@dataclass
class Item:
    """One submission through `course grade`: seconds on the clock, processor seconds by category."""

    student: str
    kind: str
    earned: int
    wall: float
    cpu: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.cpu.values())

    @property
    def ours(self) -> float:
        return sum(self.cpu.get(name, 0.0) for name in OURS)


@dataclass
class Run:
    """A class through `course grade`, with the memory at some points on the way."""

    graded: list[Item] = field(default_factory=list)
    cold: dict[str, float] = field(default_factory=dict)
    end: dict[str, float] = field(default_factory=dict)  # tables and report
    memory: list[dict[str, float]] = field(default_factory=list)
    sandbox: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def hand_in(course: Path, notebooks: dict[str, str]) -> None:
    """Lay notebooks where `course grade` looks for them."""
    for student, text in notebooks.items():
        path = course / "classroom" / "submitted" / student / students.CHAPTER / f"{students.CHAPTER}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")


def run_course(course: Path, notebooks: dict[str, str], between: Any = None, marks: tuple[int, ...] = ()) -> Run:
    """Grade a class in this process; ``between`` is called after each submission, and its time left out."""
    measured, meter = Run(), Meter().start()
    quiet = Console(quiet=True)
    started = time.perf_counter()
    zygote = zygote_of(students.CHAPTER)
    measured.cold["zygote_wall"] = time.perf_counter() - started
    measured.cold["zygote_cpu"] = _tree_cpu(zygote)
    try:
        (first,) = students.the_class(course, 1, WARM_UP).values()
        hand_in(course, {FIRST: first} | notebooks)
        last = started

        def told(graded: Graded) -> None:
            nonlocal last
            cpu, wall = meter.take(), time.perf_counter() - last
            if graded.student == FIRST:
                measured.cold |= {"all_wall": wall, "all_cpu": sum(cpu.values()) + measured.cold["zygote_cpu"]}
            else:
                if graded.result is None:
                    raise RuntimeError(f"{graded.student} was not graded: {graded.problems}")
                kind = students.kind_of(int(graded.student[1:]))
                item = Item(graded.student, kind, graded.result["earned"], wall, cpu)
                measured.graded.append(item)
                measured.sandbox, measured.versions = graded.result["sandbox"], graded.result["versions"]
                if len(measured.graded) in marks:
                    measured.memory.append(_memory(len(measured.graded), zygote))
                if between:
                    between(item)
            meter.take()
            last = time.perf_counter()

        grade_chapter(students.CHAPTER, course, workers=1, console=quiet, on_graded=told)
        measured.end = {"wall": time.perf_counter() - last, "cpu": sum(meter.take().values())}
    finally:
        zygote.close()
        meter.stop()
    return measured


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A class through `course grade`, and samples of it through nbgrader, taking turns."""
    course = students.make_course(folder / "course", PROJECT)
    notebooks = students.the_class(course, options.students)
    readable = [s for s in notebooks if _is_whole(notebooks[s])]
    full, cells = (_spread(readable, size) for size in (options.nbgrader_full, options.nbgrader_cells))
    source = course / "build" / "source" / students.CHAPTER / f"{students.CHAPTER}.ipynb"
    plain_courses: dict[str, tuple[Path, list[str]]] = {}
    for name, sample in (("full", full), ("cells", cells)):
        if sample:
            chosen = {student: notebooks[student] for student in sample}
            made = plain.make_plain_course(folder / name, source, chosen, only_graded=name == "cells")
            plain_courses[name] = (made, sample)
    theirs: dict[str, dict[str, Any]] = {name: {} for name in plain_courses}

    def their_turn(item: Item) -> None:
        for name, (root, sample) in plain_courses.items():
            if item.student in sample:
                theirs[name][item.student] = plain.grade_plain(root, item.student)
                _say(options, f"{item.student} ({item.kind}): nbgrader {name} {theirs[name][item.student]}")

    run = run_course(course, notebooks, their_turn)
    return {"course": _run_data(run), "nbgrader": theirs}


def grow(folder: Path, size: int) -> dict[str, Any]:
    """One run over a large class, in this process: time and memory at 40, at 120 and at the end."""
    course = students.make_course(folder / "course", PROJECT)
    marks = tuple(sorted({min(n, size) for n in (40, 120, size)}))
    run = run_course(course, students.the_class(course, size), marks=marks)
    return _run_data(run) | {"marks": marks}


def two_workers(folder: Path, size: int) -> dict[str, float]:
    """Seconds on the clock per submission with two workers, from the first result to the last."""
    course = students.make_course(folder / "course", PROJECT)
    hand_in(course, students.the_class(course, size))
    times: list[float] = []
    grade_chapter(
        students.CHAPTER,
        course,
        workers=2,
        console=Console(quiet=True),
        on_graded=lambda graded: times.append(time.perf_counter()),
    )
    return {"students": size, "wall": (times[-1] - times[0]) / max(1, size - 1)}


def _is_whole(text: str) -> bool:
    """Whether nbgrader can grade it at all: a notebook, and one that neither runs for ever nor ends its kernel."""
    try:
        cells = json.loads(text)["cells"]
    except ValueError:
        return False
    code = ["".join(cell["source"]) for cell in cells]
    return not any("while True:\n    pass" in source or "os._exit" in source for source in code)


def _spread(names: list[str], size: int) -> list[str]:
    """So many of the names, evenly from the first on."""
    step = len(names) / size if size else 0
    return sorted({names[int(k * step)] for k in range(min(size, len(names)))})


def _tree_cpu(zygote: Any) -> float:
    top = psutil.Process(zygote._process.pid)
    times = [process.cpu_times() for process in (top, *top.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def _memory(count: int, zygote: Any) -> dict[str, float]:
    """MiB of this process and of the zygote: what is resident, and of what is shared with others the own share."""
    found: dict[str, float] = {"submissions": count}
    processes = psutil.Process(zygote._process.pid).children(recursive=True)
    ours = max(processes, key=lambda p: p.memory_info().rss, default=None)
    for name, process in (("coordinator", psutil.Process()), ("zygote", ours)):
        if process is not None:
            found[f"{name}_rss"] = process.memory_info().rss / MIB
            found[f"{name}_pss"] = getattr(process.memory_full_info(), "pss", 0) / MIB
    return found


def _run_data(run: Run) -> dict[str, Any]:
    return asdict(run) | {
        "wall": statistics.fmean(g.wall for g in run.graded),
        "cpu": statistics.fmean(g.total for g in run.graded),
        "ours": statistics.fmean(g.ours for g in run.graded),
        "ours_median": statistics.median(g.ours for g in run.graded),
        "categories": {name: statistics.fmean(g.cpu.get(name, 0.0) for g in run.graded) for name in (*NOT_OURS, *OURS)},
    }


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)


def _in_a_new_process(part: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--growth", str(size), "--students", str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the measurements that the arguments ask for; returns what the line of JSON says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=40, help="size of the class (default: %(default)s)")
    parser.add_argument("--nbgrader-full", type=int, default=3, help="so many whole notebooks (default: %(default)s)")
    parser.add_argument("--nbgrader-cells", type=int, default=8, help="so many, graded cells only (default: 8)")
    parser.add_argument("--growth", type=int, default=400, help="size of the large class, 0 for none (default: 400)")
    parser.add_argument("--workers", type=int, default=2, choices=(1, 2), help="2 adds the row with two workers")
    parser.add_argument("--table", type=Path, help="also write the Markdown tables to this file")
    parser.add_argument("--quiet", action="store_true", help="say nothing while measuring")
    parser.add_argument("--part", choices=("growth", "workers"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="benchmark-grading-", ignore_cleanup_errors=True) as directory:
        os.environ["COURSE_HOME"] = str(Path(directory) / "home")
        folder = Path(directory).resolve()
        if options.part:
            made = grow(folder, options.growth) if options.part == "growth" else two_workers(folder, options.students)
            print(json.dumps(made))
            return made
        about = about_machine()  # before the measurements: their own load is not the machine's
        measured: dict[str, Any] = {"machine": about} | compare(folder, options)
        if options.workers == 2:
            measured["two_workers"] = _in_a_new_process("workers", options.students)
        if options.growth:
            measured["growth"] = _in_a_new_process("growth", options.growth)
    table = markdown(measured)
    print(table)
    print(json.dumps(measured))
    if options.table:
        options.table.write_text(table, encoding="utf-8")
    return measured


if __name__ == "__main__":
    main()
