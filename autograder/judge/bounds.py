"""Bounds on the coordinator's own work: the course's checks on values that a stranger chose.

A submission's process has the kernel's limits. A check runs in the coordinator, and what it is given may make it
compute for hours or ask for more memory than there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import threading
import time
from collections.abc import Iterator

AGAIN_SECONDS = 1.0


class OutOfTime(BaseException):
    """The block used up its processor time; a BaseException so that a check's own ``except`` lets it pass."""


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block with OutOfTime after so much processor time, and again if something swallowed it."""
    if threading.current_thread() is not threading.main_thread():
        with _thread_limit(seconds):
            yield
        return

    def on_alarm(_signal: int, _frame: object) -> None:
        raise OutOfTime

    # Not the wall clock's timer: that one belongs to the time limits of local calls.
    before = signal.signal(signal.SIGVTALRM, on_alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _thread_limit(seconds: float) -> Iterator[None]:
    """The same for a thread, such as a cluster's worker has: Python hands signals to the main thread only."""
    if not hasattr(time, "pthread_getcpuclockid"):
        yield
        return
    thread, over, lock = threading.get_ident(), threading.Event(), threading.Lock()
    clock = time.pthread_getcpuclockid(thread)
    end = time.clock_gettime(clock) + seconds
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        nonlocal end
        while not over.wait(0.2):
            with lock:
                if not over.is_set() and time.clock_gettime(clock) >= end:
                    end += AGAIN_SECONDS
                    raise_in(ctypes.c_ulong(thread), ctypes.py_object(OutOfTime))

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()


@contextlib.contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let the block have ``more`` bytes than the process has now; a MemoryError instead of a machine that swaps.

    Only in the main thread, because the limit is the whole process's, and only where the kernel says how much that
    is; elsewhere the block runs as it is.
    """
    used = _address_space()
    if not used or threading.current_thread() is not threading.main_thread():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    known = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([used + more, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
