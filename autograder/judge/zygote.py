"""The process that is started once, has everything imported, knows no secret, and forks one child per submission.

It runs on its own, outside the coordinator: with a cleared environment, on a path that holds the student edition of
the course and installed packages, and single-threaded, because only then is a fork sound. It is also the parent of
all that runs in a submission and so the one that can end it without leaving anything behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.abc
import json
import os
import select
import signal
import site
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from autograder.judge.quota import excess, remove_tree
from autograder.judge.relax import tame

PRELOAD = (
    "numpy", "torch", "torch.nn.functional", "regex", "matplotlib.pyplot", "ipywidgets", "tqdm.auto",
    "matplotlib_inline.backend_inline", "course_lib.corpus", "course_lib.display", "course_lib.plots",
    "course_lib.tensor_size", "autograder", "autograder.judge.walls", "py_landlock", "pyseccomp",
)  # fmt: skip
PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.1  # how often the children's use of files and threads is looked at


class Mask(importlib.abc.MetaPathFinder):
    """Says clearly why a chapter's own reference cannot be imported while that chapter is graded."""

    def __init__(self, topics: list[str]):
        self.names = {f"course_lib.{topic}" for topic in topics}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if ".".join(fullname.split(".")[:2]) in self.names:
            raise ImportError(f"{fullname} is not available while this chapter is graded", name=fullname)


def main(control_fd: int, settings: dict[str, Any]) -> None:
    """Prepare, say "ready", then fork and end children as the coordinator asks, until it is gone."""
    from autograder.judge.child import Channel, Message

    control = socket.socket(fileno=control_fd)
    channel = Channel(control)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Without the site module's own start, which would also put the project on the path.
    site.sethelper()
    site.setcopyright()
    sys.meta_path.insert(0, Mask(settings["masked"]))
    shell = _prepare(settings["home"], settings["torch"])
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    versions = {name: str(sys.modules[name].__version__) for name in ("torch", "numpy") if name in sys.modules}
    channel.send(Message("ready", {"pid": os.getpid(), "threads": threads, "versions": versions}))
    homes: dict[int, str] = {}
    budgets: dict[int, dict[str, Any]] = {}
    stopped: dict[int, str] = {}
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    try:
        while True:
            while not waiting.poll(LOOK_SECONDS * 1000 if homes else None):
                _end_the_greedy(homes, budgets, stopped)
            word, descriptors, *_ = socket.recv_fds(control, 1, 1)
            if not word:
                break
            message = channel.receive()
            if message.kind == "fork":
                home = tempfile.mkdtemp(dir=settings["home"])
                pid = _fork(descriptors[0], control, shell, home, message.body | {"readable": settings["readable"]})
                homes[pid], budgets[pid] = home, message.body
                channel.send(Message("forked", {"pid": pid}))
            elif message.kind == "end":
                pid = message.body["pid"]
                home = homes.pop(pid)
                said = _end(pid, home, set(homes), message.body["patience"])
                channel.send(Message("ended", said | {"stopped": stopped.pop(pid, "")}))
    finally:
        for pid in list(homes):
            _end(pid, homes.pop(pid), set(homes))


def _prepare(home: str, use_torch: bool) -> Any:
    from autograder.judge.shell import make_shell

    for name in PRELOAD:
        with contextlib.suppress(ImportError, RuntimeError):  # pyseccomp's word for a missing library
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        import torch

        tame(torch)
        torch.set_num_threads(1)
        if use_torch:
            _warm_up(torch)
    shell = make_shell(str(Path(home, "ipython")))
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every page it shares with this process
    return shell


def _warm_up(torch: Any) -> None:
    """One training step: what torch imports at its first gradient and optimizer takes longer than a submission."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def _fork(channel_fd: int, control: socket.socket, shell: Any, home: str, limits: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        os.close(channel_fd)
        return pid
    status = 1
    try:
        control.close()
        from autograder.judge.child import run

        run(channel_fd, shell, home, limits)
        status = 0
    finally:
        os._exit(status)  # whatever happens, a child never returns into the zygote's loop


def _end_the_greedy(homes: dict[int, str], budgets: dict[int, dict[str, Any]], stopped: dict[int, str]) -> None:
    for pid, home in homes.items():
        reason = "" if pid in stopped else excess(pid, home, budgets[pid])
        if reason:
            stopped[pid] = reason
            os.kill(pid, signal.SIGKILL)  # still there as long as nobody has waited for it


def _end(pid: int, home: str, others: set[int], patience: float = 0.0) -> dict[str, Any]:
    """Kill a child with everything it started, and say how it had ended by itself, if it had."""
    deadline = time.monotonic() + patience
    done, status = os.waitpid(pid, os.WNOHANG)
    while not done and time.monotonic() < deadline:
        time.sleep(0.002)
        done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    _end_survivors(others)
    remove_tree(home)
    return {"status": os.waitstatus_to_exitcode(status) if done else None}


def _end_survivors(others: set[int]) -> None:
    """Kill what a child had detached from itself: as the reaper of orphans this process has inherited it."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for _ in range(1000):
        try:
            left = {int(pid) for pid in children.read_text().split()} - others
        except OSError:
            return
        if not left:
            return
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
