"""The part of the course that code under grading may import, as a directory of its own.

A copy rather than a filter: what is not there cannot be imported, opened or found by walking a package's path. Left
out are the hidden checks, the coordinator's half of the judge, the tools of authors, and, while a chapter is graded,
the exercises and the reference modules of that chapter and of all later ones.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import autograder
import course_lib
from autograder.exercise import chapter_ids, topic_of

# What a child runs; of the package's other modules only those come along that these import.
CHILD_FILES = (
    "__init__.py",
    "judge/__init__.py",
    "judge/child.py",
    "judge/protocol.py",
    "judge/quota.py",
    "judge/relax.py",
    "judge/shell.py",
    "judge/walls.py",
)
ZYGOTE_FILE = "judge/zygote.py"
NOT_FOR_STUDENTS = {"hidden", "judge", "authoring", "exercises"}


def masked_topics(chapter_id: str) -> list[str]:
    """Topics whose reference must not be reachable while a chapter is graded: its own and all later ones.

    >>> masked_topics("01_tokenization")[0]
    'tokenization'
    """
    later = [other for other in chapter_ids() if other > chapter_id]
    return [topic_of(chapter_id), *(topic_of(other) for other in later)]


def build_edition(chapter_id: str, target: Path) -> Path:
    """Copy the student edition for a chapter to ``target`` and return it."""
    masked = set(masked_topics(chapter_id))
    package, library = Path(autograder.__file__).parent, Path(course_lib.__file__).parent
    for path in imported_modules(package, [package / name for name in (*CHILD_FILES, ZYGOTE_FILE)]):
        copy_file(path, target / "autograder" / path.relative_to(package))
    # Earlier exercises stay, so that `mine` finds what a student built before.
    for path in files_without(package / "exercises", masked):
        copy_file(path, target / "autograder" / "exercises" / path.relative_to(package / "exercises"))
    for path in files_without(library, masked):
        copy_file(path, target / "course_lib" / path.relative_to(library))
    return target


def imported_modules(package: Path, files: list[Path]) -> set[Path]:
    """These files and the modules of the package that they import, directly or not."""
    found: set[Path] = set()
    while files:
        path = files.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = getattr(node, "module", None)
            for name in names + ([module, *(f"{module}.{name}" for name in names)] if module else []):
                files += _module_files(package, name)
    return found


def _module_files(package: Path, name: str) -> list[Path]:
    parts = name.split(".")
    if parts[0] != package.name or len(parts) < 2 or parts[1] in NOT_FOR_STUDENTS:
        return []
    place = package.joinpath(*parts[1:])
    return [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]


def files_without(folder: Path, masked: set[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and "__pycache__" not in inside.parts and inside.parts[0].removesuffix(".py") not in masked:
            yield path


def copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
