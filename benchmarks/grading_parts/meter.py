"""Where the processor time of `course grade` goes, measured from inside: nothing is estimated, nothing sampled.

In the grading process every instant belongs to one category, the innermost that has been entered. In a submission's
process the time within the student's own code is added up; all the rest of that process, from fork to exit, is ours,
and so is what its parent, the zygote, does. The measuring itself is paid for by us, too.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from autograder import run, student
from autograder.judge import grading, launcher, remote
from autograder.judge.gradebook import Course
from autograder.student import Remote, Student

STUDENT, CHECKS, NAMING = "student's code", "checks and their oracles", "naming of mistakes"
CALLBACKS = "calls back to the checks' own functions"
PROCESSES, PROTOCOL, READING = "forks, walls, ends of processes", "messages and values", "reading and planning"
GRADEBOOK, FEEDBACK, REST = "notebook and gradebook", "feedback page", "everything else"
NOT_OURS = (STUDENT, CHECKS, NAMING)
OURS = (PROCESSES, PROTOCOL, CALLBACKS, READING, GRADEBOOK, FEEDBACK, REST)

# The clocks are those of single threads: a process's own clock is as coarse as the kernel's tick while a timer on
# processor time is set, as it is around every check and in every submission's process.
#
# Runs in the zygote before it prepares itself. What a submission's process has spent, in the student's code and in all,
# goes with each of its replies; what it spent until its end, and the zygote itself, is told when it has ended.
IN_THE_ZYGOTE = """
import resource, time
from autograder import executor
from autograder.judge import child, zygote

spent = {"student": 0.0, "asking": 0.0, "ready": 0.0}

def adds_to(name, call):
    def timed(*args, **kwargs):
        start, asking = time.thread_time(), spent["asking"]
        try:
            return call(*args, **kwargs)
        finally:
            took = time.thread_time() - start
            spent[name] += took - (spent["asking"] - asking if name == "student" else 0.0)
    return timed

find, reply, serve = executor.Executor._find, child.Server._reply, child.Server.serve
prepare, end = zygote._prepare, zygote._end

def _find(self, request):
    target = find(self, request)
    return adds_to("student", target) if request["op"] in ("call", "gradient", "map") else target

def _serve(self):
    spent["ready"] = time.thread_time()
    return serve(self)

def _reply(self, message):
    message.body["spent"] = [spent["student"], time.thread_time() - spent["ready"]]
    return reply(self, message)

def _prepare(*args):
    shell = prepare(*args)
    type(shell).run = adds_to("student", type(shell).run)
    return shell

def used(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime

def _end(*args, **kwargs):
    before = used(resource.RUSAGE_CHILDREN)
    said = end(*args, **kwargs)
    return said | {"used": used(resource.RUSAGE_CHILDREN) - before, "zygote": used(resource.RUSAGE_SELF)}

executor.Executor._find, child.Server._reply, child.Server.serve = _find, _reply, _serve
child.Server.call_back = adds_to("asking", child.Server.call_back)
zygote._prepare, zygote._end = _prepare, _end
"""


# What a process needs from its fork to its first message and at its end, where it did not come to tell.
START_AND_END = 0.03


class Meter:
    """Seconds of processor time by category since the last ``take``; measures between ``start`` and ``stop``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        # By zygote and process: seconds in the student's code, and all since the walls stood.
        self._told: dict[tuple[int, int], tuple[float, float]] = {}
        self._unanswered: set[tuple[int, int]] = set()
        self._zygotes: dict[int, float] = {}  # what each has used itself
        self._stack, self._since = [REST], time.thread_time()
        self._undo: list[Callable[[], None]] = []

    def take(self) -> dict[str, float]:
        """The seconds since the last call."""
        now = time.thread_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken

    def start(self) -> Meter:
        """Begin to measure everything that this process grades; zygotes started from now on take part."""
        for owner, name, category in (
            (run, "_run_check", CHECKS),
            (run, "find_mistake", NAMING),
            (Remote, "_call", PROTOCOL),
            (Remote, "map", PROTOCOL),
            (Student, "_ask", PROTOCOL),
            (Student, "_take", PROTOCOL),
            (student, "call_text", PROTOCOL),
            (remote.RemoteBackend, "_answer", CALLBACKS),
            (remote.RemoteBackend, "run", PROTOCOL),
            (remote.RemoteBackend, "_told", PROTOCOL),
            (grading, "make_plan", READING),
            (grading, "read_cells", READING),
            (launcher.Zygote, "fork", PROCESSES),
            (launcher.Child, "end", PROCESSES),
            (Course, "autograde", GRADEBOOK),
            (Course, "feedback", FEEDBACK),
        ):
            self._replace(owner, name, self._in(category, getattr(owner, name)))
        boot, words = launcher._boot, "from autograder.judge.zygote import main;"
        # Not under a name in angle brackets: by that the judge tells the lines of a student's code.
        meter = f"exec(compile({IN_THE_ZYGOTE!r}, 'meter.py', 'exec'), {{}}); "
        self._replace(launcher, "_boot", lambda edition: boot(edition).replace(words, meter + words))
        self._replace(remote.RemoteBackend, "_exchange", self._exchange(remote.RemoteBackend._exchange))
        self._replace(launcher.Zygote, "_end", self._end(launcher.Zygote._end))
        self._since = time.thread_time()
        return self

    def stop(self) -> None:
        """Leave everything as it was."""
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        old = getattr(owner, name)
        setattr(owner, name, new)
        self._undo.append(lambda: setattr(owner, name, old))

    def _in(self, category: str, function: Callable) -> Callable:
        """The function, which belongs to the category; what happens while a mistake is named belongs nowhere else."""
        stack, seconds = self._stack, self.seconds

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            inner, now = stack[-1], time.thread_time()
            seconds[inner] += now - self._since
            self._since = now
            stack.append(NAMING if inner == NAMING else category)
            try:
                return function(*args, **kwargs)
            finally:
                now = time.thread_time()
                seconds[stack.pop()] += now - self._since
                self._since = now

        return wrapper

    def _exchange(self, exchange: Callable) -> Callable:
        @functools.wraps(exchange)
        def wrapper(backend: Any, *args: Any) -> Any:
            child = (id(backend._child._zygote), backend._child.pid)
            self._unanswered.add(child)
            reply = exchange(backend, *args)
            self._unanswered.discard(child)
            self._told[child] = tuple(reply.body.pop("spent"))
            return reply

        return wrapper

    def _end(self, end: Callable) -> Callable:
        @functools.wraps(end)
        def wrapper(zygote: Any, pid: int, patience: float) -> dict[str, Any]:
            said = end(zygote, pid, patience)
            child = (id(zygote), pid)
            student, served = self._told.pop(child, (0.0, 0.0))
            if child in self._unanswered:  # what it did after its last reply is a call that never came back
                self._unanswered.discard(child)
                cut_off = max(0.0, said["used"] - served - START_AND_END)
                student, served = student + cut_off, served + cut_off
            self.seconds[STUDENT] += student
            self.seconds[PROTOCOL] += served - student
            self.seconds[PROCESSES] += max(0.0, said["used"] - served)
            self.seconds[PROCESSES] += said["zygote"] - self._zygotes.get(id(zygote), 0.0)
            self._zygotes[id(zygote)] = said["zygote"]
            return said

        return wrapper
