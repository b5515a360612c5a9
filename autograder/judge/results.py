"""Stored results, by what they depend on, and the course's secret.

A result is kept under the hash of the submission and the fingerprint of the checks: the same notebook is graded once,
whoever handed it in and however often grading is started. Files are replaced as a whole, so that a run can be killed
at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from autograder.judge.grading import FORMAT


def course_secret(classroom: Path) -> bytes:
    """The secret from which hidden inputs follow: ``$COURSE_SECRET``, or ``classroom/secret``, made when missing."""
    given = os.environ.get("COURSE_SECRET")
    if given:
        return given.encode()
    path = classroom / "secret"
    if not path.exists():
        classroom.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=classroom, prefix=".secret-")  # made with mode 0600
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_bytes(32).hex() + "\n")
        with contextlib.suppress(FileExistsError):  # another process was faster: its secret is the one
            os.link(temporary, path)
        os.unlink(temporary)
    secret = path.read_text().strip()
    if len(secret) < 16:
        raise ValueError(
            f"{path}: expected at least 16 characters, got {len(secret)}; delete it to have a new one made"
        )
    return secret.encode()


class ResultStore:
    """The folder ``classroom/results``."""

    def __init__(self, classroom: Path):
        self.folder = classroom / "results"

    def get(self, chapter: str, digest: str, fingerprint: str) -> dict[str, Any] | None:
        """The stored result, None when there is none or it cannot be read."""
        try:
            result = json.loads(self._path(chapter, digest, fingerprint).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        wanted = (FORMAT, digest, fingerprint)
        if (
            not isinstance(result, dict)
            or (result.get("format"), result.get("hash"), result.get("fingerprint")) != wanted
        ):
            return None
        return result

    def put(self, result: dict[str, Any]) -> None:
        """Store a result; one that is there already is replaced."""
        path = self._path(result["chapter"], result["hash"], result["fingerprint"])
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(result))  # json.dump, or an indent, takes ten times as long
        os.replace(temporary, path)

    def _path(self, chapter: str, digest: str, fingerprint: str) -> Path:
        return self.folder / chapter / f"{digest[:32]}-{fingerprint}.json"
