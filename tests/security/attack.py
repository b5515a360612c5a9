"""How an attack is written down, and the small chapter that all of them are run against.

The chapter (``tests/judge/small.py``) has five exercises. Most attacks replace the solution of ``double`` and leave
the other four right, so that every test also shows that an attack costs nobody else anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "judge"))

import small

FULL = {"double": 3, "total": 2, "apply": 1, "centre": 2, "Tally": 2}
PUBLIC = 1  # points of the public check of `double`; the rest are hidden
RIGHT = small.RIGHT
RETURN = "\ndef double(x):\n    return x + x\n"


@dataclass(frozen=True)
class Attack:
    """One submission, what it tries, and what must come of it."""

    name: str
    tries: str
    # Sources by function, a list of cells, or the bytes of a whole file; a text alone is the solution of `double`.
    submission: str | dict[str, str | None] | list[dict[str, Any]] | bytes
    # Points that differ from full marks. An empty dictionary: nothing is lost, be it honest or without effect.
    earns: dict[str, int] = field(default_factory=lambda: {"double": 0})
    says: str = ""  # a pattern that stands in a message or note about it
    problem: str = ""  # a pattern in the sentence about a file that cannot be graded
    limits: dict[str, Any] = field(default_factory=dict)
    waits: bool = False  # only a time limit ends it: what it attacks gets a short one
    levels: tuple[str, ...] = ("bubblewrap",)
    # Behind no wall the same code must reach its aim: shows that the wall is what stops it.
    works_without_walls: bool = False
    # What must not be found in anything that students and instructors are shown.
    hides: str = ""
    leaks: str = ""  # what must not be found in what students are shown

    def cells(self) -> bytes:
        """The submission as a file."""
        if isinstance(self.submission, bytes):
            return self.submission
        if isinstance(self.submission, list):
            return small.notebook(self.submission)
        replaced = {"double": self.submission} if isinstance(self.submission, str) else self.submission
        return small.notebook(small.answers(**replaced))


BOTH = ("bubblewrap", "inner")


def spy(code: str, finds: str = "loot") -> str:
    """A right solution of `double` that, before it answers, runs ``code`` and fails loudly if it brings in ``loot``.

    So full marks mean that nothing was found; an error of the code itself counts as nothing found.
    """
    body = "\n".join(f"        {line}" for line in code.strip().splitlines())
    return (
        "def raid():\n    import ctypes, gc, json, os, re, socket, subprocess, sys, threading, time\n    loot = None\n"
        f"    try:\n{body}\n    except (Exception, SystemExit) as error:\n        return None\n    return {finds}\n"
        "LOOT = raid()\ndef double(x):\n    if LOOT:\n        raise RuntimeError(f'brought back {LOOT!r:.300}')\n"
        "    return x + x\n"
    )


# What a submission uses to speak for itself: the server object of its own process, and raw frames.
FRAMES = """
import gc, json, os, struct, sys
from autograder.judge.child import Server
server = next(o for o in gc.get_objects() if type(o) is Server)
def raw(data):
    view = memoryview(data)
    while view:
        view = view[os.write(server.channel.fileno(), view[:65536]):]
def frame(kind="reply", body=None, values=None, sizes=(), buffers=()):
    text = json.dumps({"kind": kind, "body": body or {}, "values": values or {}, "sizes": list(sizes)}).encode()
    raw(struct.pack(">Q", len(text)) + text + b"".join(buffers))
def request_id():
    frame = sys._getframe()
    while frame and "number" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["number"]
def answer(body=None, values=None, **more):
    # The only reply to this question: the true one is held back, or the next question would pay for it.
    frame("reply", {"id": request_id()} | (body or {}), values, **more)
    server._reply = lambda reply: server.__dict__.pop("_reply")
"""
