"""Runs a single check of a submission so that a fault of the check, or of the machine, costs nobody a point."""

from __future__ import annotations

import gc
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from autograder.exercise import Check, Exercise
from autograder.forbid import find_forbidden
from autograder.judge.bounds import OutOfTime, cpu_limit, memory_limit
from autograder.judge.plan import Plan
from autograder.judge.remote import RemoteBackend
from autograder.run import Outcome, Result, _forbidden_names, run_exercise
from autograder.student import LocalBackend

CHOKED = "the check could not finish with what your code returned"
# What a check may compute by itself; more means that it chokes on what it was given.
CHECK_CPU_SECONDS = 120.0
CHECK_MEMORY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class OneCheck:
    """Checks of one submission: ``one_check(exercise, item, backend)`` is what came of a check there."""

    plan: Plan
    secret: bytes
    digest: str  # of the submission

    def __call__(self, exercise: Exercise, item: Check, backend: RemoteBackend) -> Result:
        result = self._run(exercise, item, backend)
        if result.outcome is Outcome.GRADER_ERROR:
            result = self._run(exercise, item, backend)
        if result.outcome is Outcome.GRADER_ERROR and self._runs_with_the_reference(exercise, item):
            result = failed(item, Outcome.FAILED, CHOKED)
        if result.outcome is Outcome.GRADER_ERROR:
            result.earned = result.points  # a mistake of the course's is never a student's loss
        return result

    def _run(self, exercise: Exercise, item: Check, backend: RemoteBackend) -> Result:
        source, seed = self._source(exercise), self._seed_in(exercise)
        backend.forbid, backend.relax = exercise.forbid, exercise.relax
        backend.start_check()
        try:
            with cpu_limit(CHECK_CPU_SECONDS), memory_limit(CHECK_MEMORY_BYTES):
                report = run_exercise(exercise, backend, source=source, checks=[item], seed=seed)
            result = report.results[0]
        except OutOfTime:
            backend.restart(backend.program)
            result = failed(item, Outcome.TIMEOUT, CHOKED)
        if backend.failure:
            raise backend.failure
        return result

    def _runs_with_the_reference(self, exercise: Exercise, item: Check) -> bool:
        """Whether the check is sound after all: what the submission returned may have left it no room."""
        gc.collect()
        local = LocalBackend(exercise.solution())
        checks = [replace(item, time_limit=0)]
        return run_exercise(exercise, local, checks=checks, seed=self._seed_in(exercise)).passed

    def _seed_in(self, exercise: Exercise) -> Callable[[Check], int]:
        version = str(getattr(exercise, "version", 1))

        def seed(item: Check) -> int:
            return hidden_seed(self.secret, self.digest, exercise.id, item.name, version)

        return seed

    def _source(self, exercise: Exercise) -> str:
        """The cell of an exercise in which something forbidden stands, its own cell if there is none."""
        sources = self.plan.exercises[exercise.id].sources
        names = _forbidden_names(exercise)
        return next((text for text in sources if find_forbidden(text, names)), sources[0] if sources else "")


def hidden_seed(secret: bytes, digest: str, exercise: str, check: str, version: str) -> int:
    """A seed that nobody can foresee without the secret, and that is the same at every regrade."""
    text = "\0".join((digest, exercise, check, version)).encode()
    return int.from_bytes(hmac.new(secret, text, hashlib.sha256).digest()[:8], "big")


def failed(item: Check, outcome: Outcome, message: str) -> Result:
    """A check that has not passed, with its hint."""
    return Result(item.name, item.title, outcome, 0, item.points, item.hidden, message, item.hint)
