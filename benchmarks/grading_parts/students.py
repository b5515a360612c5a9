"""A class for the benchmark: any number of different submissions of chapter 1, mixed as in a real class."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autograder import build as builder
from autograder.demo import CHAPTER, ESSAY, cell_id, is_solution, stands_alone, with_mistake
from autograder.exercise import Chapter, load_chapter

# Forty students in the order in which they come; the forty-first is like the first again, with other answers.
PERIOD = (  # noqa: SIM905
    "right half right wrong right half right half right broken "
    "half right wrong right half right half right wrong right "
    "right half wrong right half right broken half right wrong "
    "right half right wrong broken right half wrong endless wrong"
).split()

Notebook = dict[str, Any]
Answers = dict[str, str]


def make_course(root: Path, project: Path) -> Path:
    """What an instructor has of chapter 1, in a folder of its own."""
    root.mkdir(parents=True)
    for name in ("nbgrader_config.py", "pyproject.toml"):
        shutil.copy(project / name, root / name)
    (root / "solutions").mkdir()
    shutil.copy(project / "solutions" / f"{CHAPTER}.py", root / "solutions")
    builder.build([CHAPTER], root)
    return root


def kind_of(number: int) -> str:
    """
    >>> kind_of(0), kind_of(41)
    ('right', 'half')
    """
    return PERIOD[number % len(PERIOD)]


def the_class(course: Path, size: int, first: int = 0) -> dict[str, str]:
    """Notebooks by name of the student; no two of them are equal, and student 7 is the same in every class."""
    chapter = load_chapter(CHAPTER)
    blank = json.loads((course / "chapters" / CHAPTER / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))
    source = json.loads((course / "build" / "source" / CHAPTER / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))
    answers = {cell_id(c): "".join(c["source"]) for c in source["cells"] if is_solution(c)}
    answers["essay"] = ESSAY
    return {f"s{n:04}": _hand_in(n, chapter, blank, answers) for n in range(first, first + size)}


def _hand_in(number: int, chapter: Chapter, blank: Notebook, answers: Answers) -> str:
    rng = random.Random(number)
    filled, kind = dict(answers), kind_of(number)
    ids = [e.id for e in chapter.exercises.values() if e.kind == "code"]
    if kind == "half":
        written = ids[: rng.randint(3, 10)]
        filled = {name: answers[name] for name in written}
        if rng.random() < 0.5:
            _make_mistake(filled, chapter, written[-1], rng)
    if kind == "wrong":
        for name in rng.sample(ids, rng.randint(1, 3)):
            _make_mistake(filled, chapter, name, rng)
    change = BROKEN[rng.randrange(len(BROKEN))] if kind == "broken" else None
    if kind == "endless":
        filled[ids[5]] += "\nwhile True:\n    pass\n"
    if change:
        change(filled, ids, rng)
    notebook = copy.deepcopy(blank)
    for cell in notebook["cells"]:
        if is_solution(cell) and cell_id(cell) in filled:
            remark = "" if cell["cell_type"] == "markdown" else f"\n\n# handed in by s{number:04}\n"
            cell["source"] = filled[cell_id(cell)] + remark
    text = json.dumps(notebook)
    return text[: len(text) // 2] if filled.get("cut") else text


def _make_mistake(filled: Answers, chapter: Chapter, name: str, rng: random.Random) -> None:
    possible = [m for m in chapter.exercises[name].mistakes if stands_alone(m)]
    filled[name] = with_mistake(chapter, name, filled[name], rng.randrange(max(1, len(possible))))


def _not_python(filled: Answers, ids: list[str], rng: random.Random) -> None:
    filled[rng.choice(ids)] += "\n\ndef unfinished(:\n"


def _unknown_name(filled: Answers, ids: list[str], rng: random.Random) -> None:
    name = rng.choice(ids)
    filled[name] = f"print(result_of_a_deleted_cell)\n{filled[name]}"


def _cut_off(filled: Answers, ids: list[str], rng: random.Random) -> None:
    filled["cut"] = "yes"


def _ends_the_process(filled: Answers, ids: list[str], rng: random.Random) -> None:
    filled[rng.choice(ids)] += "\nimport os\nos._exit(1)\n"


BROKEN: tuple[Callable[[Answers, list[str], random.Random], None], ...] = (
    _not_python,
    _unknown_name,
    _cut_off,
    _ends_the_process,
)
