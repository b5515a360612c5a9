"""A program: grade a light class in runs that are killed at random moments, then to the end.

    python killed_runs.py ROOT KILLS SEED

Every run is a forked copy of this process, so that a start costs nothing; the kill is a SIGKILL.
"""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import time
from pathlib import Path

import light_course  # noqa: F401  (patches)
from rich.console import Console
from small import CHAPTER_ID

from autograder.judge.grade import grade_chapter


def start(root: Path) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            grade_chapter(CHAPTER_ID, root, workers=1, console=Console(file=io.StringIO()))
            status = 0
        finally:
            os._exit(status)
    return pid


def lines() -> int:
    path = Path(os.environ["LIGHT_COURSE_LOG"])
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main(root: Path, kills: int, seed: int) -> None:
    rng, killed = random.Random(seed), 0
    expected = 3 * len(list((root / "classroom" / "submitted").iterdir()))  # graded, stored, entered
    while killed < kills:
        # So much further on in the log, and then a moment: anywhere between two lines, and early enough for all kills.
        target, moment = lines() + rng.randint(0, expected // kills), rng.random() * 0.05
        pid = start(root)
        while lines() < target and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(moment)
        try:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            print("a run ended before it was killed", flush=True)
            break
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    _, status = os.waitpid(start(root), 0)
    print("killed", killed, "last", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
