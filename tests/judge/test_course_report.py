"""`course report`: a page and two tables from what is stored, on a light course, as a command line."""

import csv
import json
from pathlib import Path

import light_course
import pytest
from small import CHAPTER_ID
from test_options import course_commands

from autograder.progress_store import travelling

STUDENTS = [f"s{number}" for number in range(6)]
OWN_WAY = """
def total(xs):
    result, seen = 0, []
    for place, number in enumerate(xs):
        if number in seen and place > 10**9:
            raise ValueError(f"{number} again at {place}")
        twice = double(number)
        result = result + twice if twice > 0 else result - abs(twice)
        seen = [*seen[-3:], number]
    return result
"""
COPY = OWN_WAY.replace("result", "s").replace("seen", "before").replace("twice", "t").replace("place", "k")


def hand_in(number: int) -> bytes:
    notebook = json.loads(light_course.submission(number, right=number > 1))
    double, total = (cell for cell in notebook["cells"] if "nbgrader" in cell["metadata"])
    counts = {"attempts": 3 * number, "hints": number % 2, "seconds": 60 * number}
    double["outputs"] = [
        {"output_type": "display_data", "data": {}, "metadata": travelling("double", {"attempts": 1})},
        {"output_type": "display_data", "data": {}, "metadata": travelling("double", counts)},
    ]
    if number > 3:
        total["source"] = OWN_WAY if number == 4 else COPY
    if number == 3:
        forged = {"exercise": "total", "attempts": "=1+1", "hints": 10**30, "seconds": [9]}
        total["outputs"] = [{"output_type": "stream", "metadata": {"course_record": forged}}]
    return json.dumps(notebook).encode()


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("course") / "course"
    return light_course.make(root, {name: hand_in(number) for number, name in enumerate(STUDENTS)})


@pytest.mark.slow
def test_page_and_tables_without_grading(course):
    table, exported = course / "out" / "class.csv", course / "out" / "grades.csv"
    report = ["report", CHAPTER_ID]
    too_early, graded, _, done, unknown = course_commands(
        course,
        report,
        ["grade", CHAPTER_ID, "--workers", "1"],
        ["grade", CHAPTER_ID, "--workers", "1", "--student", "s1", "--json-lines"],
        [*report, "--csv", str(table), "--nbgrader", str(exported)],
        ["report", "99_nothing"],
    )
    assert too_early[0] != 0 and f"nothing of {CHAPTER_ID} has been graded" in too_early[2]
    assert not (course / "classroom" / "report.html").exists() or graded[0] == 0
    assert graded[0] == 0 and done[0] == 0, done
    page = course / "classroom" / "report.html"
    assert done[1].split() == [str(page), str(table), str(exported)]
    assert unknown[0] != 0
    words = [line.split()[0] for line in (course / "log").read_text().splitlines()]
    assert words.count("graded") == len(STUDENTS), "the report grades nothing"

    text = page.read_text()
    assert "6 submissions, 6 graded" in text and "s4, s5" in text and "not an accusation" in text
    rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(table.open())}
    assert len(rows) == 2 * len(STUDENTS)
    first = rows["s2", "double"]
    assert [first[k] for k in ("outcome", "earned", "points")] == ["passed", "3", "3"]
    assert [first[k] for k in ("attempts", "hints", "seconds")] == ["6", "0", "120"]
    assert rows["s2", "total"]["attempts"] == "" and rows["s1", "total"]["outcome"] == "failed"
    forged = rows["s3", "total"]
    assert [forged[k] for k in ("earned", "attempts", "hints", "seconds")] == ["2", "0", "99", "0"]

    grades = {row["student_id"]: row for row in csv.DictReader(exported.open())}
    assert {name: float(row["score"]) for name, row in grades.items()} == {
        name: 3.0 if number < 2 else 5.0 for number, name in enumerate(STUDENTS)
    }
    assert {row["assignment"] for row in grades.values()} == {CHAPTER_ID}


@pytest.mark.slow
def test_what_came_in_later_is_named_and_the_page_stays_the_same(course):
    page = course / "classroom" / "report.html"
    before = page.read_text()
    (again,) = course_commands(course, ["report", CHAPTER_ID])
    assert again[0] == 0 and page.read_text() == before
    late = course / "classroom" / "submitted" / "zoe" / CHAPTER_ID / f"{CHAPTER_ID}.ipynb"
    late.parent.mkdir(parents=True)
    late.write_bytes(light_course.submission(77))
    for name in ("s0", "s1"):
        path = course / "classroom" / "submitted" / name / CHAPTER_ID / f"{CHAPTER_ID}.ipynb"
        path.unlink()
        path.parent.rmdir()
    course_commands(course, ["report", CHAPTER_ID])
    text = page.read_text()
    assert "5 submissions, 4 graded. 2 more are in the gradebook and handed in nothing." in text
    assert "zoe" in text and "not graded yet" in text
    assert [p.name for p in page.parent.glob("*.part")] == []
