"""The quick gradebook finds and writes what nbgrader's own does, and a step that fails leaves nothing behind."""

import pytest
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import autograde
from nbgrader.preprocessors import getgrades

from autograder.judge.quick_gradebook import QuickGradebook, QuickGradebooks

WHERE = ("chapter", "chapter", "ada")  # notebook, assignment, student
CELLS = ("check_a", "check_b", "essay")


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setattr("nbgrader.api.get_alembic_version", lambda: "unknown")  # it would start a program
    address = f"sqlite:///{tmp_path / 'gradebook.db'}"
    with Gradebook(address, "course") as book:
        book.add_assignment("chapter", course_id="course")
        book.add_notebook("chapter", "chapter")
        for points, name in enumerate(CELLS, start=2):
            book.add_grade_cell(name, "chapter", "chapter", max_score=points, cell_type="code")
            book.add_source_cell(name, "chapter", "chapter", source=f"# {name}", cell_type="code")
        for name in ("a", "essay"):  # an essay's cell is both
            book.add_solution_cell(name, "chapter", "chapter")
        for student in ("ada", "ben"):
            book.add_student(student)
            book.add_submission("chapter", student)
    return address


def quick(url):
    return QuickGradebooks(url, "course")._open(url, "course")


def contents(book):
    grades = [(n, (g := book.find_grade(n, *WHERE)).id, g.auto_score, g.score, g.max_score) for n in CELLS]
    comments = [(n, (c := book.find_comment(n, *WHERE)).id, c.comment) for n in ("a", "essay")]
    sources = [(n, book.find_source_cell(n, *WHERE[:2]).source) for n in CELLS]
    graded = [(n, book.find_graded_cell(n, *WHERE[:2]).max_score) for n in CELLS]
    return grades, comments, sources, graded


def test_it_finds_what_nbgrader_finds(url):
    with Gradebook(url, "course") as book:
        book.find_grade("essay", *WHERE).manual_score = 3.5
        book.find_comment("a", *WHERE).manual_comment = "well done"
        book.find_comment("a", "chapter", "chapter", "ben").manual_comment = "somebody else's"
        book.db.commit()
        expected = contents(book)
    with quick(url) as book:
        assert isinstance(book, QuickGradebook)
        assert contents(book) == expected


@pytest.mark.parametrize("find", ["find_grade", "find_comment", "find_source_cell", "find_graded_cell"])
def test_what_is_not_there_is_missing(url, find):
    where = WHERE if find in ("find_grade", "find_comment") else WHERE[:2]
    with quick(url) as book, pytest.raises(MissingEntry):
        getattr(book, find)("nowhere", *where)


def test_what_one_step_writes_is_there_for_the_next_and_for_nbgrader(url):
    books = QuickGradebooks(url, "course")
    with books._open(url, "course") as book:
        for points, name in enumerate(CELLS):
            book.find_grade(name, *WHERE).auto_score = float(points)
            book.db.commit()
    for reader in (books._open(url, "course"), Gradebook(url, "course")):
        with reader as book:
            assert [book.find_grade(name, *WHERE).score for name in CELLS] == [0, 1, 2]
            assert book.find_submission("chapter", "ada").score == 3


def test_a_step_that_fails_changes_nothing(url):
    with pytest.raises(ZeroDivisionError), quick(url) as book:
        book.find_grade("check_a", *WHERE).auto_score = 2.0
        book.db.commit()  # nbgrader's word after every cell
        raise ZeroDivisionError
    with Gradebook(url, "course") as book:
        assert book.find_grade("check_a", *WHERE).auto_score is None


def test_it_stands_in_only_within_its_block_and_for_its_database(url, tmp_path):
    with QuickGradebooks(url, "course").used():
        with getgrades.Gradebook(url) as book:
            assert isinstance(book, QuickGradebook)
        with autograde.Gradebook(f"sqlite:///{tmp_path / 'other.db'}") as book:
            assert type(book) is Gradebook
    assert getgrades.Gradebook is Gradebook and autograde.Gradebook is Gradebook
