"""What the judge knows about a chapter apart from its exercises: the notebook as it was handed out, and its version."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

import autograder
import course_lib
from autograder.exercise import topic_of

# To be raised when the judge comes to other grades for the same checks and the same notebook.
JUDGE_VERSION = 2


def released_notebook(chapter_id: str, folder: Path | None = None) -> bytes | None:
    """The released notebook under ``chapters/`` (or another folder), None where there is none."""
    folder = Path(autograder.__file__).parent.parent / "chapters" if folder is None else folder
    path = folder / chapter_id / f"{chapter_id}.ipynb"
    return path.read_bytes() if path.is_file() else None


def solved_cells(chapter_id: str) -> dict[str, str]:
    """The course's own solution cells by exercise, and under "" its set-up; none where ``solutions/`` is missing."""
    path = _script(chapter_id)
    return course_cells(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _script(chapter_id: str) -> Path:
    return Path(autograder.__file__).parent.parent / "solutions" / f"{chapter_id}.py"


def course_cells(script: str) -> dict[str, str]:
    """The solution cells of a chapter's script by exercise, and under "" its set-up.

    >>> course_cells('# %% tags=["setup"]\\nimport math\\n\\n# %% exercise="f"\\ndef f(): ...\\n\\n# %% [markdown]\\n')
    {'': 'import math\\n\\n', 'f': 'def f(): ...\\n\\n'}
    """
    parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)
    cells = {}
    for header, source in zip(parts[1::2], parts[2::2], strict=True):
        exercise = re.match(r' exercise="(\w+)"', header)
        if exercise or "setup" in header:
            cells[exercise[1] if exercise else ""] = source
    return cells


def checks_fingerprint(chapter_id: str, released: bytes | None) -> str:
    """What a grade depends on besides the submission: checks, reference, solutions, released notebook, as a hash."""
    files = [*_chapter_files(chapter_id), _script(chapter_id)]
    state = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.is_file())
    return _fingerprint(chapter_id, released, state)


@lru_cache(maxsize=8)  # asked for with every submission; the files' state tells when it is another one
def _fingerprint(chapter_id: str, released: bytes | None, state: tuple) -> str:
    digest = hashlib.sha256(f"{JUDGE_VERSION}\0".encode())
    for path in _chapter_files(chapter_id):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for name, source in solved_cells(chapter_id).items():
        digest.update(f"{name}\0{source}\0".encode())
    digest.update(released or b"")
    return digest.hexdigest()[:16]


def uses_torch(chapter_id: str) -> bool:
    """Whether a chapter's exercises have to do with torch, so that it pays to warm it up before the forks."""
    return any(b"torch" in path.read_bytes() for path in _chapter_files(chapter_id))


def _chapter_files(chapter_id: str) -> list[Path]:
    topic = topic_of(chapter_id)
    package, library = Path(autograder.__file__).parent, Path(course_lib.__file__).parent
    files: list[Path] = []
    for folder in (package / "exercises", package / "hidden", library):
        files += [folder / f"{topic}.py", *sorted((folder / topic).rglob("*.py"))]
    return [path for path in files if path.is_file()]
