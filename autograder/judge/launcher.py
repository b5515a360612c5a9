"""The coordinator's hold on a zygote and its children: start, fork, end.

The walls around it are :mod:`autograder.judge.sandbox` (around the zygote) and :mod:`autograder.judge.walls` (around
each child). A zygote's ``level`` names what was reached and is stored with every result.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autograder.judge.edition import build_edition, masked_topics
from autograder.judge.protocol import BadMessage, Channel, Closed, Message
from autograder.judge.quota import remove_tree
from autograder.judge.release import uses_torch
from autograder.judge.sandbox import NoSandbox, chosen_level, exposed, readable_places, wrapped

START_SECONDS = 120.0
ANSWER_SECONDS = 20.0
EXIT_SECONDS = 0.5


class JudgeError(RuntimeError):
    """The judge itself does not work here: nobody is graded, nobody loses a point."""


@dataclass(frozen=True)
class Limits:
    """What a submission may use. Times are wall-clock seconds; memory counts on top of what is shared at the start."""

    memory_bytes: int = 6 * 2**30
    file_bytes: int = 64 * 2**20
    disk_bytes: int = 512 * 2**20  # all files together
    threads: int = 200
    cpu_seconds: int = 900
    processes: int = 0  # 0: as many as the user may have
    cell_seconds: float = 20.0
    extra_cell_seconds: float = 10.0
    cells_seconds: float = 120.0
    submission_seconds: float = 600.0
    grace_seconds: float = 2.0
    callbacks: int = 200_000


class Child:
    """A submission's process: the channel to it, and its end."""

    def __init__(self, zygote: Zygote, pid: int, channel: Channel):
        self._zygote, self.pid, self.channel = zygote, pid, channel
        self.stopped = ""  # after the end: what it had too much of, if that was the reason

    @property
    def orphaned(self) -> bool:
        """Whether the zygote has gone, and all its children with it."""
        return not self._zygote.alive

    def end(self, hung_up: bool = False) -> int | None:
        """End it with all that it started; its exit code if it had ended by itself (negative: a signal).

        A child that has ``hung_up`` is most likely about to exit: it is given a moment to do so.
        """
        self.channel.close()
        reply = self._zygote._end(self.pid, EXIT_SECONDS if hung_up else 0.0)
        self.stopped = reply["stopped"]
        return reply["status"]


class Zygote:
    """A started zygote for one chapter; use as a context manager or call ``close``.

    Raises JudgeError when it does not come up.
    """

    def __init__(self, chapter_id: str):
        if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
            raise JudgeError("grading needs Linux or macOS (on Windows: WSL)")
        self._directory = tempfile.TemporaryDirectory(prefix="course-judge-", ignore_cleanup_errors=True)
        try:
            self._start(chapter_id, Path(self._directory.name))
        except BaseException:
            self._directory.cleanup()
            raise

    def _start(self, chapter_id: str, directory: Path) -> None:
        edition = build_edition(chapter_id, directory / "course")
        home = directory / "home"
        home.mkdir()
        log = directory / "log"
        try:
            self.level = chosen_level()
        except NoSandbox as error:
            raise JudgeError(str(error)) from None
        places = readable_places(edition)
        if self.level != "process" and (reason := exposed(places)):
            raise JudgeError(f"{reason}: use a checkout of its own with `make install` instead")
        settings = {
            "home": str(home),
            "masked": masked_topics(chapter_id),
            "torch": uses_torch(chapter_id),
            "readable": places if self.level != "process" else None,
        }
        mine, theirs = socket.socketpair()
        with theirs, log.open("wb") as output:
            self._process = subprocess.Popen(
                wrapped(
                    [sys.executable, *_flags(), "-c", _boot(edition), str(theirs.fileno()), json.dumps(settings)],
                    self.level,
                    edition,
                    home,
                ),
                env=_environment(home),
                cwd=home,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._control = Channel(mine)
        # Also when this object is forgotten, or the interpreter ends: hanging up is what ends the zygote.
        self._finalizer = weakref.finalize(self, _stop, self._process, mine, self._directory)
        try:
            ready = self._control.receive(time.monotonic() + START_SECONDS)
        except (Closed, TimeoutError, BadMessage):
            said = log.read_text(errors="replace").strip().splitlines()
            self._finalizer()
            raise JudgeError(f"the grading process did not start: {said[-1] if said else 'no message'}") from None
        self.pid, self.threads = ready.body["pid"], ready.body["threads"]
        self.versions: dict[str, str] = ready.body["versions"]

    def fork(self, limits: Limits) -> Child:
        """A fresh child behind its walls; JudgeError when the zygote is gone or the walls could not be built."""
        mine, theirs = socket.socketpair()
        with theirs:
            reply = self._ask(Message("fork", asdict(limits)), [theirs.fileno()])
        child = Child(self, reply["pid"], Channel(mine, read_ahead=True))
        try:
            first = child.channel.receive(time.monotonic() + ANSWER_SECONDS)
        except (Closed, TimeoutError, BadMessage) as error:
            first = Message("broken", {"error": str(error)})
        if first.kind != "ready":
            code = child.end(hung_up=True)
            why = first.body.get("error")
            raise JudgeError(f"a submission's process could not be prepared: {why} (exit code {code})")
        return child

    def _end(self, pid: int, patience: float) -> dict[str, Any]:
        return self._ask(Message("end", {"pid": pid, "patience": patience}))

    def _ask(self, message: Message, descriptors: list[int] | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            socket.send_fds(self._control.socket, [b"!"], descriptors or [])
            self._control.send(message, deadline)
            return self._control.receive(deadline).body
        except (OSError, Closed, BadMessage) as error:  # a TimeoutError is an OSError
            self.close()
            raise JudgeError(f"the grading process is gone: {error}") from None

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    def close(self) -> None:
        """End the zygote and all its children."""
        self._finalizer()

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _stop(process: subprocess.Popen, control: socket.socket, directory: tempfile.TemporaryDirectory) -> None:
    control.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    remove_tree(directory.name)
    with contextlib.suppress(OSError):
        directory.cleanup()


def _flags() -> list[str]:
    # -S: no .pth file is read, so an editable install of the course (and with it the hidden checks) is not on the
    # path; -s: nothing of the user's own; -P: nothing of the current directory. Not -I: it would ignore the hash seed.
    return ["-S", "-s", "-P", "-B", "-X", "utf8"]


def _boot(edition: Path) -> str:
    return (
        f"import json, sys; sys.path[:0] = [{str(edition)!r}]; sys.path += {_installed_packages()!r}; "
        "from autograder.judge.zygote import main; main(int(sys.argv[1]), json.loads(sys.argv[2]))"
    )


def _installed_packages() -> list[str]:
    """The directories of installed packages on this process's own path."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _environment(home: Path) -> dict[str, str]:
    """All that code under grading finds in its environment."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ") if name in os.environ}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return (
        kept
        | dict.fromkeys(threads, "1")
        | {
            "PATH": os.defpath,
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": str(home / "matplotlib"),
            "IPYTHONDIR": str(home / "ipython"),
            "COURSE_HOME": str(home / "course"),
            "COURSE_JUDGE": "1",
            "COURSE_SCALE": "quick",
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
        }
    )
