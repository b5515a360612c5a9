"""Every attack against the judge: no undeserved point, no leak, nobody else affected, and a sentence that says so."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from arena import LEFT, SECRET, best_level, fill, needs, shown, told, untouched
from attack import FULL, Attack
from attacks import ALL
from small import code, notebook


def cases() -> list:
    found = []
    best = best_level()
    for kind, attack in ALL:
        # Where there is no outer wall, everything is tried on the inner one.
        for level in ("inner",) if best == "inner" else attack.levels:
            found.append(pytest.param(attack, level, id=f"{kind}: {attack.name} [{level}]"))
    # One zygote after the other, not one per test.
    return sorted(found, key=lambda case: case.values[1])


@pytest.mark.parametrize(("attack", "level"), cases())
def test_attack(attack: Attack, level: str, grade, field, zygotes):
    needs(level)
    place, words = field
    before = zygotes.get(level).pid
    result = grade(attack, level, words)
    found = {name: entry["earned"] for name, entry in result["exercises"].items()}
    assert found == FULL | attack.earns, told(result)
    assert result["sandbox"] == level and result["points"] == sum(FULL.values())
    assert "grader error" not in {entry["outcome"] for entry in result["exercises"].values()}
    if attack.problem:
        assert re.search(attack.problem, result["problem"]), result["problem"]
    else:
        assert result["problem"] == ""
    if attack.says:
        assert re.search(attack.says, told(result)), told(result)
    for text in (told(result), shown(result)):
        assert not attack.hides or not re.search(attack.hides, text)
        assert SECRET.decode() not in text and "hunter2" not in text
    assert not attack.leaks or not re.search(attack.leaks, shown(result))
    assert "doubles_negative" not in shown(result) and "doubles negative" not in shown(result)
    assert untouched(place)
    # What came of it can be stored, and is small enough to be read.
    stored = json.dumps(result, ensure_ascii=False).encode()
    assert len(stored) < 200_000 and json.loads(stored) == result
    assert zygotes.get(level).pid == before, "the grading process did not survive"


REAL = [
    pytest.param(attack, id=f"{kind}: {attack.name}") for kind, attack in ALL if attack.works_without_walls
]  # fmt: skip


@pytest.mark.parametrize("attack", REAL)
def test_it_is_the_wall_that_stops_it(attack: Attack, grade, field):
    """The same code behind no wall: it gets what it wants, so the code is no dud."""
    place, words = field
    result = grade(attack, "process", words)
    for path in (*LEFT, place / "new", place / "results.json2"):
        with contextlib.suppress(OSError):
            path.unlink()
    fill(place)
    os.chmod(place / "secret", 0o644)
    assert result["exercises"]["double"]["earned"] < FULL["double"] and "brought back" in told(result)


@pytest.mark.parametrize("level", ["bubblewrap", "inner"])
def test_the_next_submission_finds_the_world_as_it_was(level, grade, field, zygotes):
    needs(level)
    look = (
        "import os, threading\nhere = os.getcwd()\nFOUND = os.listdir(here)\n"
        "FOUND += [n for n in os.listdir('/proc/self/fd') if int(n) > 8]\nFOUND += threading.enumerate()[1:]\n"
        "def double(x):\n    if FOUND:\n        raise ValueError(FOUND)\n    return x + x\n"
    )
    result = grade(Attack("", "", look), level, field[1])
    assert result["earned"] == 10, told(result)
    directory = Path(zygotes.get(level)._directory.name)
    assert [p for p in (directory / "home").iterdir() if p.name.startswith("tmp")] == []
    assert not [path for path in LEFT if os.path.lexists(path)]


def test_the_right_solutions_are_right_and_the_wrong_cell_is_not(grade, field):
    needs("inner")
    assert grade(Attack("", "", notebook([code("x")])), "inner", field[1])["earned"] == 0
