"""Does a line that students must not see stand in anything that students get?

Two kinds of secret lines. A *solution* line stands between the delimiters of a script; it is no secret when some
script also shows it outside them. A *hidden* line stands in `autograder/hidden`; it is no secret when the public
packages hold it too (an import, a decorator). A script that shows it does not make it public, that is the leak, unless
the line is commonplace: it does not call the student's code, and the lines around it are not shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .lint import BEGIN, END
from .problems import Problem
from .script import Script

SHORTEST = 12  # characters; shorter lines ("return x") are nobody's secret
IMPORT = re.compile(r"(import|from)\s+[\w.]+(\s|$)")


@dataclass(frozen=True)
class Secret:
    """A line that must not reach students, and where it stands."""

    text: str
    origin: str


class Text:
    """A text that answers quickly whether it holds one of very many lines.

    >>> Text("x = first_of(pair)\\n").position("first_of(pair)")
    4
    """

    def __init__(self, text: str):
        self.text = text
        self._windows = {text[i : i + SHORTEST] for i in range(len(text) - SHORTEST + 1)}

    def position(self, line: str) -> int:
        """Where the line begins, -1 if it is not there; `line` has at least SHORTEST characters."""
        return self.text.find(line) if line[:SHORTEST] in self._windows else -1


def secrets_of(scripts: Sequence[Script], root: Path) -> list[Secret]:
    """Every telling line of the scripts' solutions and of the hidden checks below `root`."""
    inside, outside = _solutions(scripts)
    shown = Text("\n".join(outside))
    solutions = [secret for secret in inside if _telling(secret.text) and shown.position(secret.text) < 0]
    return solutions + _hidden(root, shown)


def _solutions(scripts: Sequence[Script]) -> tuple[list[Secret], list[str]]:
    """The lines inside solutions, and the lines that students see."""
    inside: list[Secret] = []
    outside: list[str] = []
    for script in scripts:
        for cell in script.cells:
            whole = "essay" in cell.header and BEGIN not in cell.raw  # nbgrader replaces all of such a cell
            hiding = False
            for number, line in enumerate(cell.raw.split("\n"), start=cell.line):
                if line.strip() in (BEGIN, END):
                    hiding = line.strip() == BEGIN
                elif (hiding or whole) and number > cell.line:
                    inside.append(Secret(line.strip(), f"a solution line, {script.file}:{number}"))
                else:
                    outside.append(line)
    return inside, outside


def _hidden(root: Path, shown: Text) -> list[Secret]:
    hidden = root / "autograder" / "hidden"
    files = [path for package in ("autograder", "course_lib") for path in sorted((root / package).rglob("*.py"))]
    public = Text("\n".join(path.read_text(encoding="utf-8") for path in files if hidden not in path.parents))
    found = []
    for path in sorted(hidden.rglob("*.py")):
        lines = [
            Secret(line.strip(), f"a line of a hidden check, {path.relative_to(root).as_posix()}:{number}")
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1)
        ]
        lines = [line for line in lines if _telling(line.text) and public.position(line.text) < 0]
        seen = [False, *(shown.position(line.text) >= 0 for line in lines), False]
        for index, line in enumerate(lines, start=1):
            alone = not (seen[index - 1] or seen[index + 1])
            if not (seen[index] and alone and not re.search(r"\bstudent\b", line.text)):
                found.append(line)
    return found


def _telling(line: str) -> bool:
    return len(line) >= SHORTEST and bool(re.search(r"\w{2}", line)) and not IMPORT.match(line)


def leaks(secrets: Sequence[Secret], folder: Path, root: Path) -> Iterator[Problem]:
    """A problem for every secret line that stands in a file below `folder`."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix == ".safetensors":  # millions of numbers, and no line among them
            continue
        text = Text(path.read_text(encoding="utf-8", errors="replace"))
        file = path.relative_to(root).as_posix()
        for secret in secrets:
            # In a notebook's JSON quotes and backslashes are escaped; other characters may be.
            for form in dict.fromkeys(
                (secret.text, _json(secret.text, ensure_ascii=False), _json(secret.text, ensure_ascii=True))
            ):
                position = text.position(form)
                if position >= 0:
                    line = text.text.count("\n", 0, position) + 1
                    yield Problem(file, line, f"students would see {secret.origin}: '{secret.text}'")
                    break


def _json(text: str, ensure_ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=ensure_ascii)[1:-1]
