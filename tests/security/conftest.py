"""The arena of :mod:`arena` as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import arena
import pytest
from attack import Attack
from small import CHAPTER_ID, RELEASED, SOLVED, chapter

from autograder.judge import grading


@pytest.fixture(scope="session")
def zygotes():
    held = arena.Zygotes()
    yield held
    held.close()


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A folder of the instructor's and the words that attacks use for it."""
    place = tmp_path_factory.mktemp("field")
    with arena.laid_out(place) as words:
        yield place, words


@pytest.fixture
def grade(zygotes, monkeypatch) -> Callable[[Attack, str, dict[str, str]], dict]:
    """Grade an attack at a level, with these words in the place of ``{word}``."""
    monkeypatch.setattr(grading, "PLAN_CPU_SECONDS", 3.0)

    def run(attack: Attack, level: str, words: dict[str, str]) -> dict:
        small = chapter()
        for exercise in small.exercises.values():
            limit = arena.WAIT_SECONDS if attack.waits and exercise.id in attack.earns else arena.ROOM_SECONDS
            exercise.checks = [replace(item, time_limit=limit) for item in exercise.checks]
        monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: small)
        monkeypatch.setattr(grading, "solved_cells", lambda chapter_id: SOLVED)
        data = attack.cells()
        for name, value in words.items():
            data = data.replace(b"{" + name.encode() + b"}", value.encode())
        monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: zygotes.get(level))
        limits = replace(arena.LIMITS, **attack.limits)
        return grading.grade_one(data, CHAPTER_ID, secret=arena.SECRET, released=RELEASED, limits=limits)

    return run
