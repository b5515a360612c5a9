"""Build the course's notebooks, check that they are sound, and carry an edit made in JupyterLab back.

solutions/NN.py --build--> build/source/NN/NN.ipynb --nbgrader generate_assignment--> chapters/NN/NN.ipynb

build(["01_tokenization"], root)     write these notebooks, or none of them when anything is wrong
check(root)                          every problem in sources and notebooks; writes nothing
from_notebook(path, root)            build/source/NN/NN.ipynb, edited in JupyterLab, back to solutions/NN.py
register("01_tokenization", root)    enter the chapter in the gradebook: once, before submissions are graded
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autograder.authoring import notebook, release, released, saved_work, summary
from autograder.authoring.leaks import leaks, secrets_of
from autograder.authoring.lint import BEGIN, lint
from autograder.authoring.problems import BuildError, Problem
from autograder.authoring.script import Cell, Script, parse, render

__all__ = ["BuildError", "Problem", "build", "chapters_of", "check", "from_notebook", "register"]

SOURCES, BUILT, STAMPS, RELEASED = "solutions", Path("build", "source"), Path("build", "stamps"), "chapters"
CHAPTER_ID = re.compile(r"\d\d_[a-z][a-z0-9_]*")

Points = Callable[[str], Mapping[str, int]]


def points_of(chapter: str) -> Mapping[str, int]:
    """The points of every exercise of a chapter, in reading order, as its classes in `autograder/exercises` say."""
    from autograder.exercise import chapter_ids, load_chapter

    if chapter not in chapter_ids():
        return {}
    loaded = load_chapter(chapter)
    return {exercise_id: loaded.points(exercise_id) for exercise_id in loaded.exercises}


@dataclass(frozen=True)
class _Source:
    """A chapter's script with all that can be said about it before nbgrader sees it."""

    chapter: str
    script: Script
    points: Mapping[str, int]
    problems: list[Problem]

    @property
    def notebook(self) -> str:
        return notebook.serialise(notebook.to_notebook(self.script.cells, self.points))


def chapters_of(root: Path) -> list[str]:
    """Ids of the chapters that have a source, in order."""
    return sorted(path.stem for path in (root / SOURCES).glob("*.py") if CHAPTER_ID.fullmatch(path.stem))


def build(chapters: Iterable[str] | None, root: Path, *, points: Points = points_of, force: bool = False) -> list[Path]:
    """Build chapters (None: all) and return the students' notebooks; BuildError leaves everything as it was.

    A source notebook with an edit that was not carried back, and a student's notebook in which somebody has worked, are
    overwritten only with `force`.
    """
    root = Path(root).resolve()
    sources = _load(_names(chapters, root), root, points)
    problems = [problem for source in sources for problem in source.problems]
    problems += released.extra_files(root / BUILT, root)
    problems += [] if force else [problem for source in sources for problem in _unsaved_edit(source, root)]
    if problems:
        raise BuildError(problems)
    built, problems = _release(sources, root)
    problems += [] if force else saved_work.would_be_lost(built, root / RELEASED, root / STAMPS, root)
    if problems:
        raise BuildError(problems)
    for source in sources:
        _write(root / BUILT / source.chapter / f"{source.chapter}.ipynb", source.notebook)
        _write(root / STAMPS / f"{source.chapter}.json", _stamp(source.script.text, source.script.cells))
    targets = {chapter: root / RELEASED / chapter / f"{chapter}.ipynb" for chapter in built}
    for chapter, path in targets.items():
        _write(path, built[chapter])
    for path, stamp in saved_work.remember(built, root / STAMPS):
        _write(path, stamp)
    summary.write(root)
    return list(targets.values())


def check(root: Path, *, points: Points = points_of) -> list[Problem]:
    """Every problem of the course's sources and notebooks, sorted by file and line; nothing is written."""
    root = Path(root).resolve()
    sources = _load(chapters_of(root), root, points)
    problems = [problem for source in sources for problem in source.problems]
    for path in sorted((root / SOURCES).glob("*.py")):
        if not CHAPTER_ID.fullmatch(path.stem):
            message = "expected a name like 01_topic.py (two digits, small letters, _)"
            problems.append(Problem(f"{SOURCES}/{path.name}", 1, message))
    try:
        built, found = _release([source for source in sources if not source.problems], root)
        problems += [*found, *released.stale(built, root / RELEASED, root)]
    except BuildError as error:
        problems += error.problems
    problems += released.orphans(root / RELEASED, root, chapters_of(root))
    for folder in (root / BUILT, root / RELEASED):
        problems += released.extra_files(folder, root)
    for path in sorted((root / RELEASED).glob("*/*.ipynb")):
        problems += released.notebook_problems(path, root)
    problems += summary.stale(root)
    problems += leaks(secrets_of([source.script for source in sources], root), root / RELEASED, root)
    return sorted(set(problems))


def from_notebook(path: Path, root: Path, *, force: bool = False) -> Path:
    """Carry an edited source notebook back to its script and return the script's path.

    Cells that were not edited keep their text in the script to the byte. BuildError, and no file touched, when the
    notebook is a released one, when a cell cannot stand in a script, and (without `force`) when the script has
    changed since the notebook was built from it.
    """
    root, path = Path(root).resolve(), Path(path)
    file = path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else str(path)

    def refuse(message: str, line: int = 1) -> BuildError:
        return BuildError([Problem(file, line, message)])

    chapter = path.stem
    if not CHAPTER_ID.fullmatch(chapter):
        raise refuse(f"expected a notebook named like its chapter, 01_topic.ipynb, got {path.name}")
    text, nb = released.read_notebook(path, file)
    for cell in nb["cells"]:
        graded = cell["metadata"].get("nbgrader", {})
        is_exercise = graded.get("solution") and not graded.get("grade")
        if "checksum" in graded or (is_exercise and BEGIN not in cell["source"]):
            message = f"a released notebook, without its solutions: edit {BUILT / chapter}/{chapter}.ipynb instead"
            raise refuse(message, released.line_of_cell(text, cell.get("id", "")))
    target = root / SOURCES / f"{chapter}.py"
    old = target.read_text(encoding="utf-8") if target.is_file() else ""
    stamp = _read_stamp(chapter, root)
    if not force and stamp and old and stamp["script"] != _hash(old):
        changed = f"{SOURCES}/{chapter}.py has changed since this notebook was built, one of the edits would be lost"
        raise refuse(f"{changed}: move the notebook away, run 'course build', repeat the edit in the new one")
    try:
        cells = notebook.to_cells(nb)
        script = _splice(cells, parse(old, target.name))
    except ValueError as error:
        raise refuse(str(error)) from None
    _write(target, script)
    _write(root / STAMPS / f"{chapter}.json", _stamp(script, cells))
    return target


def register(chapter: str, root: Path, *, points: Points = points_of) -> Path:
    """Enter a chapter's cells and points in the gradebook under `classroom/` and return that directory.

    Plain `nbgrader autograde CHAPTER` works from then on. To be repeated after the chapter has changed; BuildError
    when nbgrader cannot (submissions of a version with other cells are in the gradebook).
    """
    root = Path(root).resolve()
    (source,) = _load(_names([chapter], root), root, points)
    if source.problems:
        raise BuildError(source.problems)
    return release.register(chapter, source.notebook, root)


def _names(chapters: Iterable[str] | None, root: Path) -> list[str]:
    known = chapters_of(root)
    names = known if chapters is None else list(dict.fromkeys(chapters))
    unknown = [name for name in names if name not in known]
    if unknown:
        expected = ", ".join(known) or "a script in that directory"
        message = f"no such chapter: expected {expected}"
        raise BuildError([Problem(f"{SOURCES}/{name}.py", 1, message) for name in unknown])
    return names


def _load(chapters: Iterable[str], root: Path, points: Points) -> list[_Source]:
    loaded = []
    for chapter in chapters:
        file = f"{SOURCES}/{chapter}.py"
        exercises = f"autograder/exercises/{chapter.partition('_')[2]}"
        try:
            text = (root / file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            script = Script(file, "", "", [], [], [Problem(file, 1, f"expected UTF-8: {error}")])
            loaded.append(_Source(chapter, script, {}, script.problems))
            continue
        script = parse(text, file)
        try:
            values = points(chapter)
        except Exception as error:  # whatever an author's module raises while it is imported
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{exercises} cannot be loaded: {type(error).__name__}: {error}"
            place = Path(last.filename).resolve()
            where = place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
            loaded.append(_Source(chapter, script, {}, [*script.problems, Problem(where, last.lineno or 1, message)]))
            continue
        loaded.append(_Source(chapter, script, values, lint(script, values, exercises)))
    return loaded


def _release(sources: Iterable[_Source], root: Path) -> tuple[dict[str, str], list[Problem]]:
    sources = list(sources)
    built = release.release({source.chapter: source.notebook for source in sources}, root)
    problems = [
        problem
        for source in sources
        for problem in released.stub_problems(source.script.cells, built[source.chapter], source.script.file)
    ]
    return built, problems


def _unsaved_edit(source: _Source, root: Path) -> Iterable[Problem]:
    path = root / BUILT / source.chapter / f"{source.chapter}.ipynb"
    stamp = _read_stamp(source.chapter, root)
    if not (stamp and path.is_file()):
        return
    file = path.relative_to(root).as_posix()
    try:
        found = _hash_cells(notebook.to_cells(released.read_notebook(path, file)[1]))
    except (BuildError, ValueError):
        return  # nothing in it that could be carried back
    if found not in (stamp["cells"], _hash_cells(source.script.cells)):
        yield Problem(file, 1, f"edited in JupyterLab: 'course build --from-notebook {file}' first, or delete it")


def _splice(cells: list[Cell], old: Script) -> str:
    """The cells as a script; a cell that the old script has keeps its text there, and its distance to the next."""
    text = render(cells)
    if old.problems:
        return text
    new = parse(text, old.file)
    places: dict[tuple, list[int]] = {}
    for index, cell in enumerate(old.cells):
        places.setdefault(cell.content, []).append(index)
    origin = [queue.pop(0) if (queue := places.get(cell.content)) else None for cell in cells]
    parts = [old.preamble]
    for index, came_from in enumerate(origin):
        if came_from is None:
            parts += [new.cells[index].raw, new.gaps[index]]
        else:
            follows = len(old.cells) if index + 1 == len(origin) else origin[index + 1]
            gap = old.gaps[came_from] if came_from + 1 == follows else new.gaps[index]
            parts += [old.cells[came_from].raw, gap]
    return "".join(parts)


def _stamp(script: str, cells: list[Cell]) -> str:
    # Of what build/source was made, so that neither side's edits are overwritten unseen.
    return json.dumps({"cells": _hash_cells(cells), "script": _hash(script)}, sort_keys=True) + "\n"


def _read_stamp(chapter: str, root: Path) -> dict[str, str] | None:
    path = root / STAMPS / f"{chapter}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _hash_cells(cells: Iterable[Cell]) -> str:
    return _hash(repr([cell.content for cell in cells]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole; one that already says the same keeps its time stamp."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
