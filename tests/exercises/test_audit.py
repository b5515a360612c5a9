"""The checks of every chapter: mistakes caught and named, correct solutions accepted, docs/audit.md current."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from autograder.audit import Audited, audit_exercise, markdown_table
from autograder.cli import AUDIT_INTRODUCTION
from autograder.exercise import chapter_ids, load_chapter

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = [(chapter, name) for chapter in chapter_ids() for name in load_chapter(chapter).exercises]
# Exercises that a chapter has, and the least number of mistakes and of other solutions over all of them.
PROMISED = {"01_tokenization": (12, 36, 24), "02_attention": (14, 42, 28), "03_pretraining": (14, 42, 28)}


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Audited]:
    """The audit of an exercise: made once, whichever test process is the first to ask for it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def audit(chapter: str, name: str) -> Audited:
        kept = shared / f"audit_{chapter}_{name}.json"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                found = audit_exercise(chapter, load_chapter(chapter).exercises[name])
                kept.write_text(json.dumps(found.as_dict()), encoding="utf-8")
            return Audited(**json.loads(kept.read_text(encoding="utf-8")))

    return audit


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_no_exercise_has_a_problem(audited, chapter, name):
    problems = audited(chapter, name).problems
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("chapter", PROMISED)
def test_a_chapter_has_what_it_promises(audited, chapter):
    exercises, mistakes, variants = PROMISED[chapter]
    code = [a for c, name in EXERCISES if c == chapter and (a := audited(c, name)).kind == "code"]
    assert len(code) == exercises
    assert sum(a.named for a in code) >= mistakes and all(a.named == a.mistakes for a in code)
    assert sum(a.accepted for a in code) >= variants


def test_the_published_table_is_current(audited):
    table = markdown_table([audited(chapter, name) for chapter, name in EXERCISES])
    published = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert published == AUDIT_INTRODUCTION + table, "run: course audit --write"
