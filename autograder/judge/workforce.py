"""Who computes results: this process, worker processes of this machine, or the workers of a Dask cluster.

    for path, outcome in compute(paths, work, LocalCrew(workers=4)): ...

A submission whose grading fails, or takes its worker down with it, is tried once more; then it is a :class:`Failure`,
and the others have lost nothing but time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.judge.launcher import JudgeError

Work = Callable[[bytes], dict[str, Any]]
CRASHED = "the grader crashed twice over this notebook; nothing was entered, please look at it"
CONNECT_SECONDS = 15
QUIET_SECONDS = 30.0  # after so long without a result, ask whether anybody is still at work


@dataclass(frozen=True)
class Failure:
    """Why a submission has no result, for a person to read."""

    message: str


class LocalCrew:
    """Worker processes of this machine."""

    def __init__(self, workers: int):
        self.workers = workers

    @contextlib.contextmanager
    def executor(self, alone: bool = False) -> Iterator[Executor]:
        if self.workers <= 1:
            yield _Here()
            return
        # Not fork: a copy of a process that has threads or a database open is not sound.
        context = multiprocessing.get_context("spawn")
        workers = 1 if alone else self.workers
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
            yield pool

    def room(self) -> int:
        """How many submissions to have on their way: enough that nobody waits, few enough to fit into memory."""
        return 2 * self.workers if self.workers > 1 else 1

    def trouble(self) -> str:
        """Why nothing comes, if that can be known: never here, where a worker that ends is noticed at once."""
        return ""


class DaskCrew:
    """The workers of a Dask scheduler; use as a context manager.

    Raises ValueError when ``distributed`` is missing, nobody answers, or no worker has come.
    """

    def __init__(self, address: str):
        self.address = address
        try:
            from distributed import Client
        except ImportError:
            raise ValueError("scheduler: needs the extra `cluster`: pip install distributed") from None
        try:
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"scheduler: expected a Dask scheduler at {address}, got {said[:200]}") from None
        try:
            self.client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            self.client.close()
            raise ValueError(f"scheduler: {address} has no workers: start `dask worker {address}`") from None

    def __enter__(self) -> DaskCrew:
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()

    @contextlib.contextmanager
    def executor(self, alone: bool = False) -> Iterator[Executor]:
        # Not pure: the same arguments are graded again when asked to, never looked up by Dask. Not closed at the end:
        # workers that are lost and replaced are Dask's affair.
        yield self.client.get_executor(pure=False)

    def room(self) -> int:
        return 2 * max(1, sum(self.client.nthreads().values()))

    def trouble(self) -> str:
        """Why nothing comes, if that can be known: Dask waits for workers, for ever if need be."""
        try:
            workers = self.client.nthreads()
        except Exception as error:  # whatever a connection that is gone raises
            return f"the scheduler does not answer ({type(error).__name__}); Ctrl-C ends this run, and loses no result"
        if workers:
            return ""
        how = f"start `dask worker {self.address}`, and grading goes on"
        return f"the cluster has no workers any more: {how}; Ctrl-C ends this run, and loses no result"


def compute(
    paths: Sequence[Path], work: Work, crew: LocalCrew | DaskCrew, say: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[Path, dict[str, Any] | Failure]]:
    """What ``work`` makes of each file's bytes, as soon as it is there; ``say`` is told why nothing comes for long.

    Raises JudgeError when the judge works for nobody here, as far as anybody can tell: the first one has failed twice.
    """
    todo, second, any_done = deque(paths), [], False
    patience = _Patience(crew, say)
    while todo:  # once, and again whenever the workers of a machine have broken down
        with crew.executor() as executor:
            for path, outcome in _first_try(todo, work, executor, crew.room, patience):
                if isinstance(outcome, JudgeError) and not any_done:
                    outcome = _second_try(path, work, crew, any_done, patience)
                if isinstance(outcome, BaseException):
                    second.append(path)
                else:
                    any_done = True
                    yield path, outcome
    for path in second:
        outcome = _second_try(path, work, crew, any_done, patience)
        any_done = any_done or not isinstance(outcome, Failure)
        yield path, outcome


def _first_try(
    todo: deque[Path], work: Work, executor: Executor, room: Callable[[], int], patience: _Patience
) -> Iterator[tuple[Path, dict[str, Any] | BaseException]]:
    """Results and errors; comes to an end with files still to do when the workers have broken down."""
    pending: dict[Future, Path] = {}
    broken = False
    while pending or (todo and not broken):
        while todo and not broken and len(pending) < room():
            path = todo.popleft()
            try:
                pending[executor.submit(work, path.read_bytes())] = path
            except BrokenExecutor as error:
                broken = True
                yield path, error
        for future in patience.wait(pending) if pending else ():
            path, error = pending.pop(future), future.exception()
            broken = broken or isinstance(error, BrokenExecutor)
            yield path, future.result() if error is None else error


def _second_try(
    path: Path, work: Work, crew: LocalCrew | DaskCrew, any_done: bool, patience: _Patience
) -> dict[str, Any] | Failure:
    """Once more, with a worker of its own: what broke the others may have been somebody else's submission."""
    try:
        with crew.executor(alone=True) as executor:
            future = executor.submit(work, path.read_bytes())
            patience.wait([future])
            return future.result()
    except BrokenExecutor:
        return Failure(CRASHED)
    except Exception as error:
        if isinstance(error, JudgeError) and not any_done:
            raise
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return Failure(f"the grader failed twice ({said}); nothing was entered, please look at it")


class _Patience:
    """Waits for results, and says once what keeps them from coming."""

    def __init__(self, crew: LocalCrew | DaskCrew, say: Callable[[str], None]):
        self.crew, self.say, self.said = crew, say, ""

    def wait(self, pending: Iterable[Future]) -> Iterable[Future]:
        """The results that have come, at least one."""
        while not (done := wait(pending, QUIET_SECONDS, return_when=FIRST_COMPLETED).done):
            trouble = self.crew.trouble()
            if trouble and trouble != self.said:
                self.say(trouble)
            self.said = trouble
        self.said = ""
        return done


class _Here(Executor):
    """Runs everything in this process, at once; a keyboard interrupt is nobody's result."""

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _prepare_worker() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A coordinator that is killed cannot tell its workers; they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
