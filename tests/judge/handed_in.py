"""A released chapter, filled in with the course's own answers or others, and graded as it would be handed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from held import SECRET, earned

from autograder.exercise import load_chapter
from autograder.judge import grading
from autograder.judge.launcher import Limits
from autograder.judge.release import released_notebook, solved_cells

LIMITS = Limits(cell_seconds=3.0, extra_cell_seconds=3.0, submission_seconds=300.0, grace_seconds=2.0)


class HandedIn:
    """The chapter, and what grading made of it; an exercise is called by its id."""

    def __init__(self, chapter_id: str) -> None:
        self.id, self.exercises = chapter_id, load_chapter(chapter_id).exercises
        self.released, self.solved = json.loads(released_notebook(chapter_id)), solved_cells(chapter_id)

    def grade(self, deleted: str = "", **replaced: str | None) -> dict:
        """Grade it with the course's answers, some of them replaced (None: left as it was), one cell deleted."""
        book = json.loads(json.dumps(self.released))
        book["cells"] = [cell for cell in book["cells"] if not deleted or grade_id(cell) != deleted]
        for cell in book["cells"]:
            answer = replaced.get(grade_id(cell), self.solved.get(grade_id(cell)))
            if grade_id(cell) and answer is not None:
                cell["source"] = answer
        return grading.grade_one(json.dumps(book).encode(), self.id, secret=SECRET, limits=LIMITS)

    def lost(self, result: dict) -> set[str]:
        return {name for name, exercise in self.exercises.items() if earned(result)[name] < exercise.points}

    def problems(self, result: dict) -> list[str]:
        return [f"{name}: {r['title']}: {r['message']}" for name in self.lost(result) for r in failed(result, name)]

    def named(self, result: dict, exercise: str) -> set[str]:
        """The declared mistakes that were recognised."""
        return {r["mistake_text"] for r in failed(result, exercise)} & {
            mistake.text for mistake in self.exercises[exercise].mistakes
        }


@contextmanager
def handing_in(chapter_id: str) -> Iterator[HandedIn]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_UNSAFE_NO_SANDBOX", "1")  # where no wall can be built, all else is tested still
        yield HandedIn(chapter_id)
        grading.zygote_of(chapter_id).close()


def failed(result: dict, exercise: str) -> list[dict]:
    return [r for r in result["exercises"][exercise]["results"] if r["outcome"] != "passed"]


def grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")
