"""One submission's process: walls itself in, runs cells, then answers calls until the coordinator hangs up.

Everything in here may be changed by the code that runs in here, so nothing in here is trusted by the coordinator:
this file makes an honest submission work and keeps a hostile one from disturbing the machine.
"""

from __future__ import annotations

import _signal
import builtins
import contextlib
import ctypes
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from autograder.executor import Executor, TookTooLong, _CappedText, describe_error, time_limit
from autograder.forbid import forbidden
from autograder.judge.protocol import BadMessage, Channel, Closed, Message
from autograder.judge.relax import relaxed
from autograder.judge.walls import raise_inner_wall
from autograder.values import Packed

MAX_PRINTED = 4_000
PART_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


def run(channel_fd: int, shell: Any, home: str, limits: dict[str, Any]) -> None:
    """Live as a submission's process on this descriptor; returns when the coordinator hangs up."""
    channel = Channel(socket.socket(fileno=channel_fd), read_ahead=True)
    with contextlib.suppress(Closed):
        try:
            isolate(channel_fd, home)
            restrict(limits)
            seed_everything()
            if limits["readable"] is not None:
                raise_inner_wall(home, limits["readable"])
        except BaseException as error:  # nothing of the submission has run yet: not the student's fault
            channel.send(Message("broken", {"error": f"{type(error).__name__}: {error}"}))
            return
        channel.send(Message("ready"))
        Server(channel, shell).serve()


def isolate(channel_fd: int, home: str) -> None:
    """A session of its own, a private directory, no terminal, no descriptor but the one to the coordinator."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0o077)
    os.chdir(home)
    os.environ |= dict.fromkeys(("HOME", "TMPDIR", "PWD", "COURSE_HOME"), home)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, channel_fd)
    os.closerange(channel_fd + 1, 65_536)


def restrict(limits: dict[str, Any]) -> None:
    """Caps on memory, processor time, files and processes that cannot be lifted again from inside."""
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": int(limits["cpu_seconds"]),
        "RLIMIT_FSIZE": int(limits["file_bytes"]),
        "RLIMIT_NOFILE": 256,
    }
    with contextlib.suppress(OSError), open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
        wanted["RLIMIT_AS"] = pages * resource.getpagesize() + int(limits["memory_bytes"])
    # The kernel counts all processes of the user, and not at all for root: a bound on damage, not a wall.
    if limits.get("processes"):
        wanted["RLIMIT_NPROC"] = int(limits["processes"])
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is None:
            continue
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, (value, value))


def seed_everything() -> None:
    """The same random numbers at every grading, for submissions that draw without a seed of their own."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        # Not torch.manual_seed: it goes through every kind of accelerator, and takes longer than raising the walls.
        sys.modules["torch"].default_generator.manual_seed(0)


class Server:
    """Answers the coordinator's messages, one at a time: run a cell, perform a request, use a stand-in."""

    def __init__(self, channel: Channel, shell: Any):
        self.channel, self.shell = channel, shell
        self.executor = Executor(shell.user_ns, self.call_back)
        self.before: dict[str, Any] | None = None  # the names as they are without stand-ins
        self.places: list[dict[str, Any]] = []  # the names as they were at some points of the notebook
        self._exchange = threading.Lock()

    def serve(self) -> None:
        handlers: dict[str, Callable[[Message], Message]] = {
            "cell": self.run_cell,
            "request": self.perform,
            "stand_in": self.use_stand_ins,
            "remember": self.remember,
            "return": self.return_to,
        }
        while True:
            message = self.channel.receive()
            number = message.body.pop("id", None)
            try:
                reply = handlers[message.kind](message)
            except Closed:
                raise
            except BaseException as error:  # an alarm that came late, a KeyboardInterrupt that was raised on purpose
                reply = Message("reply", {"error": _describe(error)})
            reply.body["id"] = number
            self._reply(reply)

    def _reply(self, reply: Message) -> None:
        with alarm_held_back():
            try:
                self.channel.send(reply)
            except BadMessage as error:
                details = {"type": "BadValue", "message": f"the returned value cannot be read: {error}"}
                self.channel.send(Message("reply", {"error": details, "id": reply.body["id"]}))

    def run_cell(self, message: Message) -> Message:
        """Run a cell's parts one after the other; what one part raises does not keep the next from running."""
        printed, unseen = _CappedText(MAX_PRINTED), _CappedText(0)
        start = time.monotonic()
        deadline = start + message.body["time_limit"]
        problem: dict[str, Any] | None = None
        for part in message.body["parts"]:
            error: BaseException | None = None
            try:
                # What stands below a part that took all the time may still be a definition: a moment for each.
                left = max(deadline - time.monotonic(), PART_SECONDS)
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(unseen), time_limit(left):
                    error = self.shell.run(part)
            except BaseException as raised:
                error = raised
            if error is not None and problem is None:
                problem = _describe(error)
        body = {"error": problem, "printed": printed.getvalue(), "seconds": time.monotonic() - start}
        return Message("reply", body)

    def perform(self, message: Message) -> Message:
        request = message.body | message.values
        if request.pop("new_check", False):
            self.executor.objects.clear()  # a check never sees objects of the check before it
        with forbidden(tuple(request.pop("forbid", ()))), relaxed(tuple(request.pop("relax", ()))):
            reply = self.executor.perform(request)
        if "replies" in reply:  # each call's value under its number
            parts = dict(enumerate(reply["replies"]))
            values = {str(number): part.pop("ok") for number, part in parts.items() if "ok" in part}
            return Message("reply", reply, values)
        values = {key: value for key, value in reply.items() if isinstance(value, Packed)}
        return Message("reply", {key: value for key, value in reply.items() if key not in values}, values)

    def use_stand_ins(self, message: Message) -> Message:
        """Put the course's versions of some names in the place of the student's; without any, the old ones return."""
        names, wanted = self.shell.user_ns, message.body
        if self.before is not None:
            _restore(names, self.before)
            self.before = None
        if not wanted.get("cells"):
            return Message("reply")
        self.before = dict(names)
        course: dict[str, Any] = {"__name__": "__main__"}
        unseen = _CappedText(0)
        with contextlib.redirect_stdout(unseen), contextlib.redirect_stderr(unseen), time_limit(wanted["time_limit"]):
            for source in wanted["cells"]:
                # Not a name in angle brackets: an error in here is not at a line of the student's.
                exec(compile(self.shell.transform_cell(source), "the course's cell", "exec"), course)
            for name in wanted["withheld"]:
                course.pop(name, None)
            taken = [*wanted["replaced"], *(name for name in wanted["added"] if name not in names)]
            versions = {name: course[name] for name in taken if name in course}
            names.update(versions)
            for part in wanted["again"]:
                self.shell.run(part)
            names.update(versions)  # a cell of several exercises has defined the student's anew
        return Message("reply")

    def remember(self, message: Message) -> Message:
        """Keep the names as they are now; places are counted from 1."""
        self.places.append(dict(self.shell.user_ns))
        return Message("reply")

    def return_to(self, message: Message) -> Message:
        """Let the names be what they were at a place."""
        _restore(self.shell.user_ns, self.places[message.body["number"] - 1])
        self.before = None
        return Message("reply")

    def call_back(self, number: int, packed: Packed) -> Packed:
        """Send a call to the check's side and wait for the answer; raises here what it raised there."""
        with self._exchange, alarm_held_back():
            self.channel.send(Message("callback", {"number": number}, {"args": packed}))
            answer = self.channel.receive()
        if "ok" in answer.values:
            return answer.values["ok"]
        kind = getattr(builtins, str(answer.body.get("type")), RuntimeError)
        is_error = isinstance(kind, type) and issubclass(kind, Exception)
        raise (kind if is_error else RuntimeError)(str(answer.body.get("message")))


def _restore(names: dict[str, Any], before: dict[str, Any]) -> None:
    for name in names.keys() - before.keys():
        del names[name]
    names.update(before)


@contextlib.contextmanager
def alarm_held_back() -> Iterator[None]:
    """Let a time limit strike after an exchange of messages, never in the middle of one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGALRM,))
    try:
        yield
    finally:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))


def _describe(error: BaseException) -> dict[str, Any]:
    if isinstance(error, TookTooLong):
        return {"type": "TookTooLong", "bases": ["TookTooLong"], "message": "the cell ran out of time"}
    details = describe_error(error)
    if isinstance(error, SyntaxError):
        details["line"], details["source"] = error.lineno, str(error.text or "").strip()[:200]
        details["message"] = str(error.msg)[:600]
    return details
