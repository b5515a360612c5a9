"""What must hold in the files that students get: current, complete, without outputs, and nothing beside them."""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from .notebook import cell_ids
from .problems import BuildError, Problem
from .script import Cell

LITTER = {".ipynb_checkpoints", "__pycache__"}  # what Jupyter and Python leave behind; git ignores both


def stub_problems(cells: list[Cell], released: str, file: str) -> Iterator[Problem]:
    """Is every exercise still Python once nbgrader has taken its solution out?"""
    sources = {cell.id: cell.source for cell in nbformat.reads(released, as_version=4).cells}
    for cell, cell_id in zip(cells, cell_ids(cells), strict=True):
        if "exercise" in cell.header:
            try:
                ast.parse(TransformerManager().transform_cell(sources[cell_id]))
            except SyntaxError as error:
                message = f"without its solution, exercise {cell_id!r} is not valid Python: {error.msg}"
                yield Problem(file, cell.line, message)


def stale(built: Mapping[str, str], folder: Path, root: Path) -> Iterator[Problem]:
    """Compare what was built just now, by chapter, with what stands in `chapters/`."""
    for chapter, text in built.items():
        path = folder / chapter / f"{chapter}.ipynb"
        file = path.relative_to(root).as_posix()
        if not path.is_file():
            yield Problem(file, 1, "not built yet: run 'course build'")
        elif path.read_bytes() != text.encode():
            found = path.read_text(encoding="utf-8", errors="replace").split("\n")
            pairs = itertools.zip_longest(text.split("\n"), found)
            line = next((n for n, (new, old) in enumerate(pairs, start=1) if new != old), 1)
            yield Problem(file, line, f"stale, or edited by hand: run 'course build' (source: solutions/{chapter}.py)")


def notebook_problems(path: Path, root: Path) -> Iterator[Problem]:
    """Outputs, execution counts and doubled ids in one notebook; no notebook at all is a problem too."""
    file = path.relative_to(root).as_posix()
    try:
        text, nb = read_notebook(path, file)
    except BuildError as error:
        yield from error.problems
        return
    seen: set[str] = set()
    for cell in nb["cells"]:
        cell_id = cell.get("id", "")
        line = line_of_cell(text, cell_id, second=cell_id in seen)
        if cell_id in seen:
            yield Problem(file, line, f"two cells with the id {cell_id!r}")
        seen.add(cell_id)
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield Problem(file, line, f"cell {cell_id!r} has an output or an execution count: clear all outputs")


def extra_files(folder: Path, root: Path) -> Iterator[Problem]:
    """Files below `folder` other than NN/NN.ipynb: nbgrader would hand them to students."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        chapter = inside.parts[0]
        if path.is_dir() or LITTER & set(inside.parts) or inside.as_posix() == f"{chapter}/{chapter}.ipynb":
            continue
        message = f"nothing but {chapter}/{chapter}.ipynb may lie here: nbgrader hands every file to the students"
        yield Problem(path.relative_to(root).as_posix(), 1, message)


def orphans(folder: Path, root: Path, chapters: Collection[str]) -> Iterator[Problem]:
    """Released notebooks whose source is gone."""
    for path in sorted(folder.glob("*/*.ipynb")):
        if path.parent.name not in chapters:
            message = f"built from solutions/{path.parent.name}.py, which is not there: delete this notebook"
            yield Problem(path.relative_to(root).as_posix(), 1, message)


def read_notebook(path: Path, file: str) -> tuple[str, nbformat.NotebookNode]:
    """A notebook's text and its JSON; BuildError with one line when it is no notebook of format 4.

    nbformat's own reader is too kind for this: it repairs doubled ids on the way in.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError([Problem(file, 1, f"not a notebook: {error}")]) from None
    return text, parse_notebook(text, file)


def parse_notebook(text: str, file: str) -> nbformat.NotebookNode:
    """The notebook that a text says; BuildError as `read_notebook`."""
    try:
        nb = json.loads(text)
    except json.JSONDecodeError as error:
        raise BuildError([Problem(file, error.lineno, f"not a notebook: {error.msg}")]) from None
    if not (isinstance(nb, dict) and nb.get("nbformat") == 4 and isinstance(nb.get("cells"), list)):
        raise BuildError([Problem(file, 1, "not a notebook of format 4: open and save it in JupyterLab")])
    for number, cell in enumerate(nb["cells"], start=1):
        if not (isinstance(cell, dict) and isinstance(cell.get("metadata"), dict) and "cell_type" in cell):
            raise BuildError([Problem(file, 1, f"not a notebook: cell {number} has no type or no metadata")])
        cell["source"] = "".join(cell.get("source", ""))
    return nbformat.from_dict(nb)


def line_of_cell(text: str, cell_id: str, second: bool = False) -> int:
    """The line of a notebook file on which the cell of that id (or its double) is declared."""
    lines = [n for n, line in enumerate(text.split("\n"), start=1) if f'"id": "{cell_id}"' in line]
    return lines[1 if second and len(lines) > 1 else 0] if lines else 1
