from __future__ import annotations

import pytest
from held import QUICK, SECRET, Holder
from small import CHAPTER_ID, RELEASED, SOLVED, answers, chapter, notebook

from autograder.judge import grading


@pytest.fixture(scope="session")
def holder():
    """Behind all the walls that this machine has."""
    held = Holder()
    yield held
    held.close()


@pytest.fixture(scope="session")
def bare():
    """Behind none, to see what the judge does by itself against processes and signals."""
    held = Holder("process")
    yield held
    held.close()


@pytest.fixture
def zygote(holder):
    return holder.get()


@pytest.fixture
def grade(holder, monkeypatch):
    """Grade cells (or bytes) of the small chapter and return the result."""
    monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter())
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: holder.get())
    monkeypatch.setattr(grading, "solved_cells", lambda chapter_id: SOLVED)

    def run(cells=None, *, secret=SECRET, limits=QUICK, released=RELEASED, **replaced):
        data = cells if isinstance(cells, bytes) else notebook(answers(**replaced) if cells is None else cells)
        return grading.grade_one(data, CHAPTER_ID, secret=secret, released=released, limits=limits)

    return run
