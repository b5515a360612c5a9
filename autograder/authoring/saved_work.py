"""Is there somebody's work in a notebook that is about to be written over?

A notebook in `chapters/` can be made again when what it says is what the last build wrote, or what git has committed.
Whatever else stands in it, answers, notes, outputs, nobody else has.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from .problems import BuildError, Problem
from .released import parse_notebook

GIT_SECONDS = 20


def would_be_lost(built: Mapping[str, str], folder: Path, stamps: Path, root: Path) -> Iterator[Problem]:
    """A problem for every notebook below `folder` whose work the notebooks `built`, by chapter, would write over."""
    for chapter, text in built.items():
        path = folder / chapter / f"{chapter}.ipynb"
        if not path.is_file():
            continue
        found = content(path.read_bytes())
        stamp = stamps / f"{chapter}.released"
        last = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else ""
        if found in (content(text.encode()), last) or found == content(_committed(path)):
            continue
        message = (
            "holds answers, notes or outputs that the last build did not write and git has not committed: move it "
            "away or commit it, or 'course build --force' to write over it"
        )
        yield Problem(path.relative_to(root).as_posix(), 1, message)


def remember(built: Mapping[str, str], stamps: Path) -> Iterator[tuple[Path, str]]:
    """Paths and texts of the stamps by which the next build recognises these notebooks."""
    for chapter, text in built.items():
        yield stamps / f"{chapter}.released", content(text.encode()) + "\n"


def content(data: bytes) -> str:
    """A hash of what a person can read in a notebook: text and outputs, not the metadata that JupyterLab adds.

    What is no notebook is known by its bytes.

    >>> empty = '{"nbformat": 4, "cells": [%s], "metadata": {%s}}'
    >>> content((empty % ("", "")).encode()) == content((empty % ("", '"opened": 1')).encode())
    True
    """
    try:
        cells = parse_notebook(data.decode("utf-8"), "").cells
    except (BuildError, UnicodeDecodeError):
        return hashlib.sha256(data).hexdigest()
    read = [(cell["cell_type"], cell["source"], bool(cell.get("outputs"))) for cell in cells]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def _committed(path: Path) -> bytes:
    """The file as git has committed it last; nothing where there is no git, or it does not know the file."""
    command = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
