"""The grading benchmark: its class, its asserts, its meter and a run at the smallest size. No time is asserted."""

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from autograder.exercise import load_chapter
from course_lib import tokenization

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
meter, plain, report, students = (
    importlib.import_module(f"grading_parts.{name}") for name in ("meter", "plain", "report", "students")
)
ASSERTS = plain.ASSERTS
CHAPTER = load_chapter(students.CHAPTER)


def names(**replaced):
    """What a notebook has defined when its test cells run."""
    quiz = CHAPTER.exercises["quiz"].solution()
    return {name: getattr(tokenization, name) for name in tokenization.__all__} | quiz | replaced


def test_there_are_asserts_for_every_exercise_and_the_reference_passes_them():
    assert set(ASSERTS) == set(CHAPTER.exercises)
    for cell in ASSERTS.values():
        exec(cell, names())


def test_asserts_catch_what_students_get_wrong():
    """Not every mistake: an instructor's few asserts do not; but most, and some of every exercise."""
    caught, tried = [], []
    for exercise in CHAPTER.exercises.values():
        for mistake in exercise.mistakes:
            if mistake.name in ("stale_entries", "merges_a_pair_again", "goes_on_at_zero"):
                continue  # slow in the large text
            tried.append(exercise.id)
            try:
                exec(ASSERTS[exercise.id], names(**{mistake.function: mistake.code}))
            except Exception:
                caught.append(exercise.id)
    assert set(caught) == set(tried) == {e.id for e in CHAPTER.exercises.values() if e.mistakes}
    assert len(caught) > 0.7 * len(tried)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return students.make_course(tmp_path_factory.mktemp("made") / "course", ROOT)


def test_the_class_is_mixed_and_no_two_are_equal(course):
    work = students.the_class(course, 80)
    kinds = [students.kind_of(n) for n in range(80)]
    assert len(set(work.values())) == 80
    assert kinds[:40] == kinds[40:] and kinds.count("right") > kinds.count("half") > kinds.count("wrong") > 0
    assert work["s0041"] == students.the_class(course, 1, first=41)["s0041"]
    solved, half = (json.loads(work[f"s{kinds.index(kind):04}"])["cells"] for kind in ("right", "half"))
    left = [sum("your turn" in "".join(cell["source"]) for cell in cells) for cells in (solved, half)]
    assert left[0] == 0 < left[1] < 14


def test_the_plain_notebook_has_asserts_for_checks_and_without_experiments_no_others(course):
    right = json.loads(students.the_class(course, 1)["s0000"])
    whole, graded = (plain._with_asserts(right, only_graded) for only_graded in (False, True))
    assert len(whole["cells"]) == len(right["cells"]) > len(graded["cells"])
    for made in (whole, graded):
        cells = {c["metadata"].get("nbgrader", {}).get("grade_id"): "".join(c["source"]) for c in made["cells"]}
        assert cells["check_merge"] == ASSERTS["merge"].strip()
        assert "handed in by s0000" in cells["merge"]
    code = [c for c in graded["cells"] if c["cell_type"] == "code"]
    assert sum("nbgrader" not in c["metadata"] for c in code) == 1, "the set-up cell"


def test_every_instant_belongs_to_one_category(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meter, "time", types.SimpleNamespace(thread_time=lambda: now[0]))
    clock = meter.Meter()

    def work(seconds, *inner):
        def run():
            now[0] += seconds
            for call in inner:
                call()
            now[0] += seconds

        return run

    message = clock._in(meter.PROTOCOL, work(2))
    check = clock._in(meter.CHECKS, work(1, message, message))
    naming = clock._in(meter.NAMING, work(10, check))
    work(100, check, naming)()
    assert clock.take() == {meter.REST: 200, meter.CHECKS: 2, meter.PROTOCOL: 8, meter.NAMING: 20 + 10}
    assert clock.take() == {meter.REST: 0}

    @lambda make: clock._in(meter.READING, make)
    def fails():
        now[0] += 3
        raise ValueError

    with pytest.raises(ValueError):
        fails()
    now[0] += 4
    assert clock.take() == {meter.READING: 3, meter.REST: 4}


def test_ratios_are_of_the_same_submissions():
    graded = [{"student": f"s{n}", "wall": 1.0 + n, "cpu": {"a": 0.25 * (1 + n), "b": 0.25}} for n in range(4)]
    theirs = {"s1": {"wall": 30.0, "cpu": 9.0}, "s3": {"wall": 60.0, "cpu": 12.0}}
    found = report.ratios({"course": {"graded": graded}, "nbgrader": {"cells": theirs, "full": {}}})
    assert found.keys() == {"cells"}
    row = found["cells"]
    assert (row["wall"], row["our_wall"], row["wall_ratio"]) == (45, 3, 15)
    assert (row["cpu"], row["our_cpu"], row["cpu_ratio"]) == (10.5, 1.0, 10.5)


@pytest.mark.slow
def test_a_small_run(tmp_path):
    table = tmp_path / "table.md"
    sizes = ["--students", "2", "--nbgrader-full", "0", "--nbgrader-cells", "0", "--growth", "0", "--workers", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "grading.py"), *sizes, "--table", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    course = measured["course"]
    right, half = course["graded"]
    assert (right["kind"], half["kind"]) == ("right", "half") and right["earned"] > half["earned"] > 0
    for item in course["graded"]:
        assert set(item["cpu"]) <= {*meter.OURS, *meter.NOT_OURS} and all(v >= 0 for v in item["cpu"].values())
        for name in (meter.STUDENT, meter.CHECKS, meter.PROTOCOL, meter.PROCESSES, meter.GRADEBOOK, meter.FEEDBACK):
            assert item["cpu"][name] > 0, f"nothing was measured of {name}"
    assert right["cpu"][meter.STUDENT] > half["cpu"][meter.STUDENT], "who has written more has run more"
    parts = course["categories"]
    assert course["ours"] == pytest.approx(sum(parts[name] for name in meter.OURS))
    assert course["cpu"] == pytest.approx(sum(parts.values()))
    assert 0 < course["cold"]["zygote_wall"] < course["cold"]["all_wall"]
    assert table.read_text(encoding="utf-8") in done.stdout
    assert "| **ours together**" in done.stdout and "nbgrader, whole" not in done.stdout
