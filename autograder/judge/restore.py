"""Makes of any submitted notebook one that nbgrader can grade: the released graded cells, the student's content.

nbgrader stops, for that student or for the whole class, over metadata that it does not expect. Here a student's
metadata are not believed at all: a cell is recognised, and then gets the metadata of the release. Outputs and text
that could run in the browser of whoever reads the feedback are made harmless on the way in.
"""

from __future__ import annotations

import copy
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import nbformat.v4
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode, from_dict
from nbgrader.preprocessors import CheckCellMetadata, NbGraderPreprocessor

from autograder.exercise import chapter_ids, load_chapter
from autograder.judge.exporting import OwnNotebookExporter
from autograder.judge.harmless import harmless_markdown, harmless_outputs, harmless_pictures
from autograder.judge.release import released_notebook
from autograder.judge.statements import parse
from autograder.judge.submission import SubmissionError, raw_cells

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
MEMO = 256


class ForgivingExporter(OwnNotebookExporter):
    """Reads a submission whatever state it is in; a file that is no notebook becomes one that says so."""

    def _is_result(self) -> bool:
        return not getattr(self.parent, "_sanitizing", False)  # nbgrader's second pass validates it with the rest

    def from_file(self, file_stream: TextIO, resources: Any = None, **kwargs: Any) -> tuple[str, Any]:
        if not getattr(self.parent, "_sanitizing", True):  # nbgrader's second pass reads what the first has written
            return self.from_notebook_node(nbformat.v4.reads(file_stream.read()), resources=resources, **kwargs)
        data = Path(file_stream.name).read_bytes()
        return self.from_notebook_node(readable_notebook(data), resources=resources, **kwargs)


def readable_notebook(data: bytes) -> NotebookNode:
    """A valid notebook with a submission's cells; of their metadata the grade ids and tags are kept."""
    try:
        raw = raw_cells(data)
    except SubmissionError as error:
        raw = [{"cell_type": "markdown", "source": f"**This file could not be read:** {error}.", "metadata": {}}]
    used: set[str] = set()
    # Not by nbformat's functions, which would validate each piece: the whole is validated when it has been processed.
    cells = [_cell(number, cell, used) for number, cell in enumerate(raw, 1)]
    return from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})


def _cell(number: int, raw: dict[str, Any], used: set[str]) -> dict[str, Any]:
    cell_id = raw.get("id")
    if not isinstance(cell_id, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell_id) or cell_id in used:
        cell_id = next(i for i in (f"submitted-{number}-{k}" for k in range(10_000)) if i not in used)
    used.add(cell_id)
    metadata: dict[str, Any] = {}
    tags, graded = raw["metadata"].get("tags"), raw["metadata"].get("nbgrader")
    if isinstance(tags, list):
        metadata["tags"] = sorted({tag for tag in tags if isinstance(tag, str) and tag and "," not in tag})
    if isinstance(graded, dict) and isinstance(graded.get("grade_id"), str):
        metadata["nbgrader"] = {"grade_id": graded["grade_id"]}
    cell = {"cell_type": raw["cell_type"], "source": raw["source"], "id": cell_id, "metadata": metadata}
    if raw["cell_type"] == "markdown" and (pictures := harmless_pictures(raw.get("attachments"))):
        cell["attachments"] = pictures
    if raw["cell_type"] == "code":
        count = raw.get("execution_count")
        cell["execution_count"] = count if type(count) is int and count >= 0 else None
        cell["outputs"] = [_output(kind, content) for kind, content in harmless_outputs(raw.get("outputs"))]
    return cell


def _output(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": kind} | ({"metadata": {}} if kind == "display_data" else {}) | content


class Restore(NbGraderPreprocessor):
    """Gives every graded cell of the release back to the submission, once, with the metadata of the release."""

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        course, chapter_id = self.parent.parent.coursedir, resources["nbgrader"]["assignment"]
        data = released_notebook(chapter_id, Path(course.root, course.release_directory))
        if data is not None:
            restore(nb, list(_release_cells(data)), chapter_id)
        return nb, resources


class CheckMetadata(CheckCellMetadata):
    """nbgrader's check of its metadata, once for every state that they can be in: all of a class have the release's."""

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        graded = [(cell.cell_type, cell.metadata["nbgrader"]) for cell in nb.cells if "nbgrader" in cell.metadata]
        state = json.dumps(graded, sort_keys=True)
        if state not in _sound:
            super().preprocess(nb, resources)  # raises when something is wrong
            if len(_sound) >= MEMO:
                _sound.clear()
            _sound.add(state)
        return nb, resources


_sound: set[str] = set()


def readable_release(data: bytes) -> list[NotebookNode]:
    """The cells of a released notebook, which is ours and valid."""
    return [from_dict(cell) for cell in raw_cells(data)]


@lru_cache(maxsize=2)  # the same for a whole class; restoring copies what it takes from here
def _release_cells(data: bytes) -> tuple[NotebookNode, ...]:
    return tuple(readable_release(data))


def restore(nb: NotebookNode, released: list[NotebookNode], chapter_id: str) -> None:
    """Change a submission's cells so that it has exactly the released graded cells, in the submission's order."""
    functions = _functions(chapter_id)
    handed_out = {cell.source for cell in released}
    taken: set[int] = set()
    after = -1  # where the graded cell before this one stands
    for original in (cell for cell in released if "nbgrader" in cell.metadata):
        found = _find(nb.cells, original, functions, taken)
        if found is None:
            lost = copy.deepcopy(original)
            lost.id = _free_id(lost.get("id", "restored"), nb.cells)
            after += 1
            nb.cells.insert(after, lost)
            taken = {index + (index >= after) for index in taken} | {after}
            continue
        nb.cells[found] = _restored(nb.cells[found], original)
        taken.add(found)
        after = found
    for index, cell in enumerate(nb.cells):
        if index not in taken:
            cell.metadata.pop("nbgrader", None)
        if cell.cell_type != "code" and cell.source not in handed_out:
            cell.source = harmless_markdown(cell.source, cell.get("attachments", {}))


def _find(
    cells: list[NotebookNode], original: NotebookNode, functions: dict[str, set[str]], taken: set[int]
) -> int | None:
    """The submission's cell that stands for a released one; of copies the one that was worked on."""
    graded = original.metadata["nbgrader"]
    grade_id = graded["grade_id"]
    free = [index for index in range(len(cells)) if index not in taken]
    same = [n for n in free if (about := cells[n]["metadata"].get("nbgrader")) and about.get("grade_id") == grade_id]
    same = same or [n for n in free if cells[n].get("id") == original.get("id")]
    if graded.get("solution"):
        names = functions.get(grade_id, set())
        written = [
            n for n in same or free if names and cells[n].cell_type == "code" and _writes(cells[n].source, names)
        ]
        changed = [n for n in same if cells[n].source.strip() != original.source.strip()]
        return next(iter([*written[-1:], *changed[:1], *same[:1]]), None)
    return same[0] if same else None


def _restored(cell: NotebookNode, original: NotebookNode) -> NotebookNode:
    """A copy of the released cell with the student's content, unless the released cell is locked."""
    restored = copy.deepcopy(original)
    restored.id = cell.id
    if original.metadata["nbgrader"].get("solution"):
        restored.source = cell.source
        if restored.cell_type == "markdown" and cell.get("attachments"):
            restored.attachments = cell.attachments
        if restored.cell_type == "code" and cell.cell_type == "code":
            restored.outputs, restored.execution_count = cell.outputs, cell.execution_count
    return restored


def _functions(chapter_id: str) -> dict[str, set[str]]:
    exercises = load_chapter(chapter_id).exercises.values() if chapter_id in chapter_ids() else ()
    return {exercise.id: set(exercise.functions) for exercise in exercises}


def _writes(source: str, names: set[str]) -> bool:
    parsed = parse(source)
    return parsed is not None and any(s.binds & names and not s.is_stub for s in parsed.statements)


def _free_id(wanted: str, cells: list[NotebookNode]) -> str:
    used = {cell.get("id") for cell in cells}
    return next(i for i in (wanted, *(f"{wanted[:50]}-{k}" for k in range(10_000))) if i not in used)
