"""Reads a submitted notebook, whatever state it is in.

Nothing of nbformat is used: it refuses, repairs or crashes where a student's notebook is merely odd. A notebook is
taken as a list of cells; what does not look like a cell is left out, what cannot be read at all is a
:class:`SubmissionError` with a sentence for the student.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 64 * 2**20
MAX_CELLS = 5_000
MAX_ITEMS = 10_000_000  # a small file of nothing but brackets would become gigabytes of objects
MAX_CELL_CHARACTERS = 1_000_000
CHECK_PREFIX = "check_"


class SubmissionError(ValueError):
    """A file that cannot be graded as a notebook; the message is for the student."""


@dataclass(frozen=True)
class SubmittedCell:
    """A cell with what identifies it; everything else about it is ignored."""

    number: int  # counted from 1
    kind: str  # code, markdown or raw
    source: str
    grade_id: str = ""
    cell_id: str = ""
    tags: frozenset[str] = frozenset()
    is_check: bool = False


def content_hash(data: bytes) -> str:
    """What a submission is known by: the SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


def read_cells(data: bytes) -> list[SubmittedCell]:
    """The cells of a notebook file in order; SubmissionError when it is none.

    >>> [cell.source for cell in read_cells(b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x = 1"]}]}')]
    ['x = 1']
    """
    return cells_of(raw_cells(data))


def cells_of(raw: list[dict[str, Any]]) -> list[SubmittedCell]:
    """The cells that :func:`raw_cells` has found, without their outputs."""
    return [_cell(number, cell) for number, cell in enumerate(raw, start=1)]


def raw_cells(data: bytes) -> list[dict[str, Any]]:
    """The cells as the JSON has them, sources joined, cell types known; SubmissionError when there are none."""
    if not data.strip():
        raise SubmissionError("the file is empty")
    if len(data) > MAX_BYTES:
        size = len(data) / 2**20
        raise SubmissionError(f"the file has {size:.0f} MB: clear the outputs (Edit, Clear Outputs of All Cells)")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_ITEMS:
        raise SubmissionError("the file has too many parts: clear the outputs (Edit, Clear Outputs of All Cells)")
    try:
        # Wrong bytes in a text cost nobody a point: they are replaced, not refused.
        notebook = json.loads(data.decode("utf-8-sig", errors="replace"))
    except json.JSONDecodeError as error:
        if data.lstrip()[:1] not in (b"{", b"\xef"):
            raise SubmissionError("this is not a notebook: the file does not begin like one") from None
        raise SubmissionError(
            f"the notebook file is damaged or cut off at line {error.lineno}: {error.msg}; save it again in JupyterLab"
        ) from None
    except (RecursionError, ValueError):
        raise SubmissionError("this is not a notebook: its content is nested too deeply or malformed") from None
    if not isinstance(notebook, dict):
        raise SubmissionError("this is not a notebook: the file holds something else")
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # the format before 2015
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
    if not isinstance(cells, list):
        raise SubmissionError("this is not a notebook: it has no cells")
    if len(cells) > MAX_CELLS:
        raise SubmissionError(f"the notebook has {len(cells)} cells; at most {MAX_CELLS} can be graded")
    return [_normal(cell) for cell in cells if isinstance(cell, dict)]


def _normal(cell: dict[str, Any]) -> dict[str, Any]:
    kind = cell.get("cell_type")
    source = cell.get("source", cell.get("input", ""))
    text = source if isinstance(source, str) else "".join(line for line in _list(source) if isinstance(line, str))
    metadata = cell.get("metadata")
    known = kind if kind in ("code", "markdown", "raw") else "raw"
    return cell | {
        "cell_type": known,
        # Half a surrogate pair is valid JSON and no valid text.
        "source": text[:MAX_CELL_CHARACTERS].encode("utf-8", "replace").decode(),
        "metadata": metadata if isinstance(metadata, dict) else {},
    }


def _cell(number: int, raw: dict[str, Any]) -> SubmittedCell:
    metadata = raw["metadata"]
    graded = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    grade_id = graded.get("grade_id")
    return SubmittedCell(
        number=number,
        kind=raw["cell_type"],
        source=raw["source"],
        grade_id=grade_id if isinstance(grade_id, str) else "",
        cell_id=raw["id"] if isinstance(raw.get("id"), str) else "",
        tags=frozenset(tag for tag in _list(metadata.get("tags")) if isinstance(tag, str)),
        is_check=isinstance(grade_id, str) and grade_id.startswith(CHECK_PREFIX),
    )


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []
