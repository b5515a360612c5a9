"""The checks of every chapter: mistakes caught and named, correct solutions accepted, docs/audit.md current."""

import itertools
from pathlib import Path

import pytest

from autograder import audit
from autograder.audit import audit_chapter, markdown_table
from autograder.cli import AUDIT_INTRODUCTION
from autograder.exercise import chapter_ids, load_chapter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audited():
    return {chapter: audit_chapter(chapter) for chapter in chapter_ids()}


@pytest.mark.parametrize("chapter", chapter_ids())
def test_no_exercise_has_a_problem(audited, chapter):
    problems = [f"{a.exercise}: {problem}" for a in audited[chapter] for problem in a.problems]
    assert not problems, "\n".join(problems)


def test_chapter_1_has_what_it_promises(audited):
    code = [a for a in audited["01_tokenization"] if a.kind == "code"]
    assert len(code) == 12
    assert sum(a.named for a in code) >= 36 and all(a.named == a.mistakes for a in code)
    assert sum(a.accepted for a in code) >= 24


def test_the_published_table_is_current(audited):
    table = markdown_table([a for chapter in audited.values() for a in chapter])
    published = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert published == AUDIT_INTRODUCTION + table, "run: course audit --write"


@pytest.mark.parametrize(
    ("loop", "checks", "too_slow"),
    [(0.02, 0.4, False), (0.02, 0.6, True), (0.06, 1.2, False), (0.06, 1.8, True), (0.001, 0.6, True)],
    ids=["quick", "slow", "quick on a slow machine", "slow on a slow machine", "slow on a quick machine"],
)
def test_the_limit_on_processor_time_follows_the_machine(monkeypatch, loop, checks, too_slow):
    # The clock is looked at in pairs: around the loop, around the checks, around the loop again.
    steps = itertools.cycle([0.0, loop, 0.0, checks, 0.0, loop])
    clock = itertools.accumulate(steps)
    monkeypatch.setattr(audit.time, "process_time", lambda: next(clock))
    exercise = load_chapter("01_tokenization").find("merge")
    found = audit.Audited("01_tokenization", "merge", "code", 0, 0, 0)
    audit._audit_reference(exercise, found)
    assert bool(found.problems) is too_slow
    assert found.seconds == pytest.approx(checks * min(1, 0.02 / loop))
