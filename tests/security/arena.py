"""Where attacks take place: grading processes, what there is to steal and to break, and what people are told."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small import CHAPTER_ID

from autograder.judge import launcher, sandbox
from autograder.judge.feedback import card_of
from autograder.judge.launcher import Limits, Zygote

SECRET = b"a secret for attacks"
# Generous, so that a busy machine fails nothing; attacks that wait for a limit name a short one.
LIMITS = Limits(
    cell_seconds=20.0, extra_cell_seconds=20.0, cells_seconds=80.0, submission_seconds=160.0, grace_seconds=0.5,
    memory_bytes=2 * 2**30,
)  # fmt: skip
ROOM_SECONDS = 40.0  # for a check
WAIT_SECONDS = 1.5  # for a check whose limit an attack is sure to reach
ROOT = Path(__file__).parent.parent.parent
# Behind no wall these would really happen; they only may where the test gives them something to break.
LEFT = [Path(place, "course-attack") for place in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock")]
CANARY = "the answers to all exercises"
FEEDBACK = "<p>two of three points</p>"


class Zygotes:
    """One zygote per level for all tests; a new one when a test has ended it."""

    def __init__(self) -> None:
        self._held: dict[str, Zygote] = {}

    def get(self, level: str) -> Zygote:
        held = self._held.get(level)
        if held is None or not held.alive:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("INSTRUCTORS_TOKEN", "hunter2")  # what must not be inherited
                patch.setenv("COURSE_UNSAFE_NO_SANDBOX", "1")
                patch.setenv("COURSE_SANDBOX", level)
                patch.setattr(launcher, "uses_torch", lambda chapter_id: True)
                held = self._held[level] = Zygote(CHAPTER_ID)
        assert held.level == level
        return held

    def close(self) -> None:
        for zygote in self._held.values():
            zygote.close()


@contextmanager
def laid_out(place: Path) -> Iterator[dict[str, str]]:
    """What there is to steal and to break, files, a database and servers of the instructor's; words for attacks."""
    place.chmod(0o755)
    servers = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    abstract = f"course-attack-{os.getpid()}"
    for server, address in zip(servers, [("127.0.0.1", 0), str(place / "unix"), "\0" + abstract], strict=True):
        server.bind(address)
        server.listen(64)
    port = servers[0].getsockname()[1]
    fill(place)
    home = Path.home() if Path.home().is_dir() else ROOT  # some users have none
    try:
        yield {
            "field": str(place), "root": str(ROOT), "home": str(home), "port": str(port), "abstract": abstract,
        }  # fmt: skip
    finally:
        for server in servers:
            server.close()


def fill(place: Path) -> None:
    (place / "secret").write_text(CANARY)
    (place / "results.json").write_text('{"earned": 1}')
    (place / "feedback.html").write_text(FEEDBACK)
    (place / "gradebook.db").unlink(missing_ok=True)
    with sqlite3.connect(place / "gradebook.db") as db:
        db.execute("create table grade (score)")
        db.execute("insert into grade values (1)")
    db.close()


def untouched(place: Path) -> bool:
    names = sorted(path.name for path in place.iterdir())
    with sqlite3.connect(place / "gradebook.db") as db:
        scores = db.execute("select score from grade").fetchall()
    db.close()
    return (
        names == ["feedback.html", "gradebook.db", "results.json", "secret", "unix"]
        and (place / "secret").read_text() == CANARY
        and (place / "secret").stat().st_mtime > 1000
        and (place / "results.json").read_text() == '{"earned": 1}'
        and (place / "feedback.html").read_text() == FEEDBACK
        and scores == [(1,)]
    )


def best_level() -> str:
    """The strongest wall that the tests may use: the machine's, or a weaker one that COURSE_SANDBOX names."""
    return max(sandbox.strongest_level(), os.environ.get(sandbox.ONLY) or "bubblewrap", key=sandbox.LEVELS.index)


def needs(level: str) -> None:
    if sandbox.LEVELS.index(best_level()) > sandbox.LEVELS.index(level):
        pytest.skip(f"the wall {level!r} cannot be built here, or was not asked for")


def told(result: dict) -> str:
    """All that an instructor can read about a result."""
    texts = [*result["notes"], result["problem"]]
    for entry in result["exercises"].values():
        texts += entry["notes"]
        for item in entry["results"]:
            texts += [str(item[k] or "") for k in ("message", "called", "printed", "source", "line", "mistake_text")]
    return "\n".join(text for text in texts if text)


def shown(result: dict) -> str:
    """All that the student gets back."""
    cards = [card_of(name, name, entry, result["problem"]) for name, entry in result["exercises"].items()]
    return "\n".join(card.html + card.text for card in cards)
