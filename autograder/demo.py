"""A sample class: twelve submissions as a real course gets them, graded from beginning to end.

Everything happens in ``build/demo``, a small course of its own; the real gradebook is not touched.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from autograder import build as builder
from autograder.exercise import Chapter, Mistake, load_chapter
from autograder.progress_store import travelling

CHAPTER = "01_tokenization"
# The same idea under two sets of names: what the report lists as alike.
OWN_WAY = """
def merge(ids, pair, new_id):
    left, right = pair
    result, held = [], None
    for token in ids:
        if held == left and token == right:
            result.append(new_id)
            held = None
            continue
        if held is not None:
            result.append(held)
        held = token
    if held is not None:
        result.append(held)
    return result
"""
RENAMED = {"held": "last", "token": "current", "result": "out", "left": "a", "right": "b", "ids": "tokens"}
ESSAY = "A vocabulary of bytes alone never meets an unknown text, but it makes every text long."


def run_demo(root: Path, console: Console) -> Path:
    """Build the class, grade it and return the folder of the report; prints where everything lies."""
    start = time.perf_counter()
    course = make_course(root)
    write_class(course, sample_class(course))
    console.print(f"A class of {len(list((course / 'handed_in').iterdir()))} handed in chapter {CHAPTER}.")
    from autograder.judge.grade import grade_chapter

    grade_chapter(CHAPTER, course, submissions=course / "handed_in")
    classroom = course / "classroom"
    console.print(f"\nDone in {time.perf_counter() - start:.0f} seconds. To look at:")
    for what, path in (
        ("the report", classroom / "report.html"),
        ("the grades", classroom / "grades.csv"),
        ("feedback for each student", classroom / "feedback"),
        ("nbgrader's gradebook", classroom / "gradebook.db"),
    ):
        console.print(f"  {what:27}{path.relative_to(root)}", highlight=False, soft_wrap=True)
    return classroom


def make_course(root: Path) -> Path:
    """A fresh copy of what an instructor has, in ``build/demo``."""
    course = root / "build" / "demo"
    shutil.rmtree(course, ignore_errors=True)
    course.mkdir(parents=True)
    for name in ("nbgrader_config.py", "pyproject.toml"):
        shutil.copy(root / name, course / name)
    (course / "solutions").mkdir()
    shutil.copy(root / "solutions" / f"{CHAPTER}.py", course / "solutions")
    builder.build([CHAPTER], course)
    return course


def write_class(course: Path, notebooks: dict[str, str]) -> None:
    for student, text in notebooks.items():
        folder = course / "handed_in" / student / CHAPTER
        folder.mkdir(parents=True)
        (folder / f"{CHAPTER}.ipynb").write_text(text, encoding="utf-8")


def sample_class(course: Path) -> dict[str, str]:
    """Twelve notebooks by name of the student, from perfect to unreadable."""
    chapter = load_chapter(CHAPTER)
    blank = json.loads((course / "chapters" / CHAPTER / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))
    solved = json.loads((course / "build/source" / CHAPTER / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))
    answers = {cell_id(c): "".join(c["source"]) for c in solved["cells"] if is_solution(c)}
    ids = [e for e in chapter.exercises if chapter.exercises[e].kind == "code"]
    first, second, third = ids[0], ids[1], ids[2]

    def hand_in(filled: dict[str, str], change: Callable[[dict], object] = lambda notebook: None, pace: int = 1) -> str:
        notebook = copy.deepcopy(blank)
        for cell in notebook["cells"]:
            if is_solution(cell) and cell_id(cell) in filled:
                cell["source"] = filled[cell_id(cell)]
        _show_cards(notebook, chapter, filled, pace)
        change(notebook)
        return json.dumps(notebook)

    def mistaken(exercises: list[str], number: int) -> dict[str, str]:
        return answers | {e: with_mistake(chapter, e, answers[e], number) for e in exercises}

    renamed = re.sub(r"\w+", lambda word: RENAMED.get(word[0], word[0]), OWN_WAY)
    return {
        "ada": hand_in(answers | {"essay": ESSAY}),
        "ben": hand_in({}),
        "chen": hand_in({e: mistaken(ids[1:3], 0)[e] for e in ids[: len(ids) // 2]}, pace=4),
        "dana": hand_in(mistaken(ids[1:9], 1), pace=2),
        "emil": hand_in(answers | {second: answers[second] + "\n\ndef unfinished(:\n"}),
        "fatima": hand_in(answers | {third: answers[third] + "\nwhile True:\n    pass\n"}),
        "goran": hand_in(answers)[:20_000],
        "hana": hand_in(answers | {second: answers[second] + OWN_WAY}, _without_checks_and_metadata),
        "ivan": hand_in(
            mistaken(ids[6:10], 0)
            | {first: answers[first] + "\nimport sys\nprint('noise' * 50, file=sys.stderr)\n"}
            | {second: answers[second] + renamed},
            pace=3,
        ),
        "jo": hand_in({e: hard_coded(chapter, e) for e in ids}),
        "kim": hand_in({"quiz": answers.get("quiz", ""), "essay": ESSAY}),
        "luis": hand_in(answers | {second: answers[second] + "\nimport os\nos._exit(0)\n"}),
    }


def is_solution(cell: dict) -> bool:
    return bool(cell["metadata"].get("nbgrader", {}).get("solution"))


def cell_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def with_mistake(chapter: Chapter, exercise_id: str, answer: str, number: int) -> str:
    """The right cell with one of the exercise's declared mistakes written below it, replacing the function."""
    mistakes = [m for m in chapter.exercises[exercise_id].mistakes if stands_alone(m)]
    if not mistakes:
        return answer
    mistake = mistakes[number % len(mistakes)]
    lines = textwrap.dedent(inspect.getsource(mistake.code)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    code = re.sub(rf"^def {mistake.name}\b", f"def {mistake.function}", "\n".join(lines[start:]))
    return f"{answer}\n\n{code}\n"


def stands_alone(mistake: Mistake) -> bool:
    """Whether the mistake's code runs in a notebook: it uses nothing of the module in which it is declared."""
    used = set(mistake.code.__code__.co_names) & set(mistake.code.__globals__)
    used |= set(inspect.getclosurevars(mistake.code).globals)
    return not used - {"Counter", "math", "regex", "pairwise"} and not mistake.code.__defaults__


def hard_coded(chapter: Chapter, exercise_id: str) -> str:
    """Functions that know no answer but one: what somebody hands in who copied outputs from a neighbour."""
    return "\n".join(
        f"def {name}(*args, **kwargs):\n    return [195, 169]" for name in chapter.exercises[exercise_id].functions
    )


def _show_cards(notebook: dict, chapter: Chapter, filled: dict[str, str], pace: int) -> None:
    """Outputs of the check cells as a student's own notebook has them, with counts that somebody could have."""
    for number, cell in enumerate(notebook["cells"]):
        exercise = chapter.exercises.get(cell_id(cell).removeprefix("check_"))
        if cell["cell_type"] == "code" and not is_solution(cell) and exercise and exercise.id in filled:
            attempts = 1 + (number * pace) % (1 + 3 * pace)
            seconds = exercise.minutes * (30 + 15 * attempts)
            record = {"attempts": attempts, "hints": min(attempts // 3, len(exercise.hints)), "seconds": seconds}
            card = {"text/plain": f"{exercise.title}: the card of a check"}
            output = {"output_type": "display_data", "data": card, "metadata": travelling(exercise.id, record)}
            cell["outputs"] = [output]


def _without_checks_and_metadata(notebook: dict) -> None:
    """Check cells deleted, all metadata lost, the order reversed behind the set-up cell: an honest accident."""
    cells = [c for c in notebook["cells"] if not c["metadata"].get("nbgrader", {}).get("locked")]
    for cell in cells:
        cell["metadata"] = {}
    notebook["cells"] = cells
