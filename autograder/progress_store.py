"""What a student has done, kept in one local JSON file that survives a crash at any moment.

The file is replaced in one step, never written in place; a copy of the last good state stands beside it. Two
notebooks may write at once: a lock file keeps their changes apart.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

VERSION = 1
RECORD = "course_record"  # in the metadata of a card: what travels with a notebook
PAUSE = 15 * 60  # seconds; somebody who did nothing for longer was not at work


def progress_path() -> Path:
    """``$COURSE_HOME/progress.json``, or the user's data folder."""
    home = os.environ.get("COURSE_HOME") or platformdirs.user_data_dir("tokens-to-thought", appauthor=False)
    return Path(home) / "progress.json"


class ProgressStore:
    """Reads and updates the progress file.

    >>> import tempfile
    >>> store = ProgressStore(Path(tempfile.mkdtemp()) / "progress.json")
    >>> _ = store.update("01_tokenization", "merge", lambda record: record.update(attempts=1))
    >>> store.record("01_tokenization", "merge")["attempts"]
    1
    """

    def __init__(self, path: Path | None = None):
        self.path = path or progress_path()
        self._memory: dict[str, Any] | None = None  # stands in when the disk cannot be written

    def load(self) -> dict[str, Any]:
        """Everything on record; an unreadable file is set aside and the last good copy is used."""
        if self._memory is not None:
            return self._memory
        for candidate in (self.path, self._backup):
            try:
                data = json.loads(candidate.read_text(encoding="utf-8"))
                if isinstance(data, dict) and isinstance(data.get("chapters"), dict):
                    return data
                raise ValueError("not a progress file")
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                self._set_aside(candidate, error)
        return {"version": VERSION, "chapters": {}}

    def record(self, chapter: str, exercise: str) -> dict[str, Any]:
        """What is known about one exercise; empty when it was never tried."""
        return self.load()["chapters"].get(chapter, {}).get(exercise, {})

    def update(self, chapter: str, exercise: str, change: Callable[[dict], Any]) -> dict[str, Any]:
        """Apply ``change`` to the record of one exercise and save at once; returns the record."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(str(self.path) + ".lock", timeout=10):
                data = self.load()
                record = self._apply(data, chapter, exercise, change)
                self._save(data)
                return record
        except (OSError, Timeout) as error:
            if self._memory is None:
                warnings.warn(f"progress is not saved ({error}); it lasts until this notebook closes", stacklevel=3)
                self._memory = self.load()
            return self._apply(self._memory, chapter, exercise, change)

    @staticmethod
    def _apply(data: dict, chapter: str, exercise: str, change: Callable[[dict], Any]) -> dict[str, Any]:
        record = data["chapters"].setdefault(chapter, {}).setdefault(exercise, {})
        change(record)
        return record

    def _save(self, data: dict[str, Any]) -> None:
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            os.replace(self.path, self._backup)
        os.replace(temporary, self.path)

    @property
    def _backup(self) -> Path:
        return self.path.with_suffix(".bak.json")

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_suffix(f".unreadable-{time.time_ns()}.json")
        try:
            os.replace(path, aside)
        except OSError:
            return
        warnings.warn(f"{path.name} could not be read ({error}); it was kept as {aside.name}", stacklevel=4)


def note_check(
    record: dict[str, Any], *, passed: bool, earned: int, points: int, source: str, mistake: str, seconds: float = 0.0
) -> None:
    """Change a record after a check; the first passing code is kept, and replaced by later passing code."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    note_time(record, seconds)
    record["attempts"] = record.get("attempts", 0) + 1
    record.setdefault("first_tried", now)
    record["earned"], record["points"] = max(earned, record.get("earned", 0)), points
    if mistake:
        seen = record.setdefault("mistakes", {})
        seen[mistake] = seen.get(mistake, 0) + 1
    if passed:
        record.setdefault("passed_at", now)
        record["source"] = source


def note_time(record: dict[str, Any], seconds: float) -> None:
    """Add the time since the student last ran something here, at most PAUSE; an exercise that has passed takes none."""
    if "passed_at" not in record:
        record["seconds"] = record.get("seconds", 0) + round(min(max(seconds, 0.0), PAUSE))


def travelling(exercise: str, record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that a card carries, and with it the notebook: three counts, no time of day, no code.

    >>> travelling("merge", {"attempts": 3, "hints": 1, "seconds": 240, "source": "def merge..."})["course_record"]
    {'exercise': 'merge', 'attempts': 3, 'hints': 1, 'seconds': 240}
    """
    return {RECORD: {"exercise": exercise} | {key: record.get(key, 0) for key in ("attempts", "hints", "seconds")}}
