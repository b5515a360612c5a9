"""The page about a class: right numbers, nothing active, everybody on it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup

from autograder.exercise import Chapter, Exercise, check
from autograder.judge.figures import at_risk, correlation, statistics
from autograder.judge.pieces import as_text
from autograder.judge.report import report_page, write_report


class Double(Exercise):
    """Twice a number."""

    functions = ("double",)
    title = "Double <it>"

    @check(points=4)
    def doubles(self, student, rng): ...


class Half(Exercise):
    """Half a number."""

    functions = ("half",)

    @check(points=2)
    def halves(self, student, rng): ...


CHAPTER = Chapter("07_numbers", {"double": Double(), "half": Half()})


def entry(earned, points, outcome, mistake=""):
    result = {"title": "doubles it", "outcome": outcome, "mistake_text": mistake, "hidden": False}
    return {"earned": earned, "points": points, "outcome": outcome, "results": [result, dict(result)], "notes": []}


def student(name, double, half, problem="", problems=()):
    result = {
        "exercises": {"double": double, "half": half},
        "earned": double["earned"] + half["earned"],
        "problem": problem,
        "sandbox": "process",
    }
    return SimpleNamespace(student=name, result=result, problems=list(problems))


@pytest.fixture
def graded():
    adds = "adds <b>one</b> instead"
    return [
        student("ada", entry(4, 4, "passed"), entry(2, 2, "passed")),
        student("ben", entry(0, 4, "failed", adds), entry(0, 2, "not attempted")),
        student("<script>alert(1)</script>", entry(0, 4, "failed", adds), entry(2, 2, "passed")),
        SimpleNamespace(student="dora", result=None, problems=["cannot be read"]),
    ]


def test_numbers(graded):
    double, half = statistics(CHAPTER, graded)
    assert double.outcomes == {"passed": 1, "failed": 2} and double.attempted == 3
    assert double.mistakes == {"adds <b>one</b> instead": 2}, "a student counts once, not once per failed check"
    assert double.mean_share == pytest.approx(4 / 12) and half.attempted == 2
    assert double.discrimination == pytest.approx(0.5)


def test_correlation_against_numpy():
    import numpy as np

    a, b = [1, 5, 2, 8, 3], [2, 3, 1, 9, 9]
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
    assert correlation([1, 2], [1, 2]) is None and correlation([3, 3, 3], [1, 2, 3]) is None


def test_everybody_and_everything_is_on_the_page(graded):
    page = report_page(CHAPTER, graded)
    mistake = "<b>67%</b>: adds &lt;b&gt;one&lt;/b&gt; instead (2 students)"
    for words in ("ada", "dora", "cannot be read", mistake, "4 submissions, 3 graded", "1 of 3"):
        assert words in page
    assert "aria-label='Students by share of points: " in page and "scope='col'" in page


def test_nothing_on_the_page_is_active_or_from_elsewhere(graded):
    page = report_page(CHAPTER, graded)
    assert "<script" not in page and "<b>one" not in page and "&lt;script&gt;" in page
    assert not re.search(r"(src|href)\s*=|url\(|@import|\son\w+\s*=", page)


def test_what_notebooks_recorded(graded):
    record = {"attempts": 3, "hints": 0, "seconds": 600}
    graded[0].result["recorded"] = {"double": record}
    graded[1].result["recorded"] = {"double": record | {"attempts": 11, "hints": 2, "seconds": 1200}}
    graded[2].result["recorded"] = {"double": record | {"attempts": 4, "seconds": 0}}
    double, half = statistics(CHAPTER, graded)
    assert (double.attempts, double.hints, double.seconds) == ([3, 11, 4], [0, 2, 0], [600, 1200, 0])
    assert double.minutes == 15, "the median of the two that have a time"
    assert half.attempts == [] and half.minutes is None
    row = table_of(report_page(CHAPTER, graded), "Each exercise in numbers")[1]
    assert row[4:] == ["4", "1 of 3", "15 (10)"]
    assert table_of(report_page(CHAPTER, graded), "Each exercise in numbers")[2][4:] == ["–", "–", "–"]


def test_who_may_need_help_and_why(graded):
    graded[2].result["recorded"] = {"double": {"attempts": 12, "hints": 0, "seconds": 0}}
    graded[0].result["recorded"] = {"double": {"attempts": 99, "hints": 0, "seconds": 0}}  # solved: no reason
    graded.append(student("eve", entry(0, 4, "not attempted"), entry(2, 2, "passed"), problem="it is damaged"))
    found = {item.student: reasons for item, reasons in at_risk(CHAPTER, graded)}
    assert found["dora"] == ["nothing was graded"] and found["eve"] == ["the notebook could not be read"]
    assert found["ben"] == ["fewer than 40% of the points", "1 of 2 exercises not attempted"]
    assert found["<script>alert(1)</script>"][1:] == ["12 checks on “Double <it>”, not solved"]
    assert "ada" not in found
    rows = table_of(report_page(CHAPTER, graded, missing=["zoe"]), "Students by the rules below")
    assert [row[0] for row in rows[1:]] == ["zoe", "dora", "ben", "<script>alert(1)</script>", "eve"]
    assert "Nobody, by these rules." in report_page(CHAPTER, graded[:1])


def test_similar_code_is_listed_with_its_exercise(graded):
    with_pieces(graded[0], graded[2], numbers=range(100))
    with_pieces(graded[1], numbers=range(500, 600))
    page = report_page(CHAPTER, graded)
    rows = table_of(page, "Code that is alike")
    assert rows[1] == ["<script>alert(1)</script>, ada", "1. Double <it>", "100%", "100", "only here"]
    assert len(rows) == 2 and "A list to look at, not an accusation." in page
    assert "Nothing stands out." in report_page(CHAPTER, graded[:1])


def test_who_is_alike_in_several_exercises_comes_first(graded):
    others = [student(f"s{n}", entry(4, 4, "passed"), entry(2, 2, "passed")) for n in range(6)]
    with_pieces(graded[0], graded[1], numbers=range(100))
    with_pieces(others[0], numbers=range(200, 300))
    with_pieces(others[1], numbers=range(210, 310))
    for item, numbers in ((others[0], range(50)), (others[1], range(10, 60))):
        item.result["exercises"]["half"]["pieces"] = as_text(np.array(numbers, dtype=np.uint32))
    rows = table_of(report_page(CHAPTER, graded + others), "Code that is alike")
    assert [(row[0], row[4]) for row in rows[1:]] == [
        ("s0, s1", "2 exercises"),
        ("s0, s1", "2 exercises"),
        ("ada, ben", "only here"),
    ]


def with_pieces(*people, numbers):
    for item in people:
        double = item.result["exercises"]["double"]
        item.result["exercises"]["double"] = double | {"pieces": as_text(np.array(numbers, dtype=np.uint32))}


def table_of(page, caption):
    """The cells of the table with that caption, as a browser would read them."""
    soup = BeautifulSoup(page, "html.parser")
    table = next(t for t in soup.find_all("table") if t.caption.text.startswith(caption))
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]


def test_tables_say_what_they_are(graded):
    graded[0].result["exercises"]["double"]["pieces"] = graded[2].result["exercises"]["double"]["pieces"] = as_text(
        np.arange(50, dtype=np.uint32)
    )
    soup = BeautifulSoup(report_page(CHAPTER, graded), "html.parser")
    tables = soup.find_all("table")
    assert len(tables) == 5
    for table in tables:
        assert table.caption.text
        assert all(cell["scope"] == "col" for cell in table.thead.find_all("th"))
        widths = {len(row.find_all(["th", "td"])) for row in table.find_all("tr")}
        assert len(widths) == 1, "every row has a cell for every column"
        assert all(row.th["scope"] == "row" for row in table.tbody.find_all("tr"))
    assert soup.html["lang"] == "en" and [h.name for h in soup.find_all(re.compile("h[1-6]"))] == ["h1", *["h2"] * 6]
    assert all(svg["aria-label"] for svg in soup.find_all("svg")) and "@media print" in soup.style.text


def test_an_empty_class_and_a_replaced_file(tmp_path, graded):
    path = tmp_path / "report.html"
    write_report(path, CHAPTER, [])
    assert "0 submissions" in path.read_text()
    write_report(path, CHAPTER, graded)
    assert "4 submissions" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["report.html"]
