"""Takes one submission through its plan and finds, for each exercise, the place in the notebook where it does best.

Public checks run while the notebook's cells are run, hidden ones when all public ones are through: by then nothing is
left that could carry what they ask into a message that a student gets to read. So one process can answer both. The
names are put back to what they were at the exercise's place. What fails even so is asked again of a second process
that has run the cells up to that place and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from autograder.exercise import Chapter, Check, Exercise
from autograder.judge.one_check import OneCheck, failed
from autograder.judge.plan import Plan
from autograder.judge.remote import Place, RemoteBackend
from autograder.judge.stand_ins import StandIns, stand_ins_for
from autograder.run import Outcome, Report, Result

SETTLED = (Outcome.PASSED, Outcome.TIMEOUT, Outcome.NOT_ATTEMPTED)  # what a second process would say, too
MAX_STOPS = 3  # after so many lost processes an exercise's remaining checks are not run


@dataclass
class Try:
    """An exercise graded at one place of the notebook."""

    exercise: Exercise
    place: Place
    stand_ins: StandIns | None = None
    results: dict[str, Result] = field(default_factory=dict)
    stops: int = 0  # processes that were lost over it

    @property
    def report(self) -> Report:
        """What is known so far, in the order of the checks."""
        done = [self.results[item.name] for item in self.exercise.checks if item.name in self.results]
        return Report(self.exercise.id, done)

    @property
    def passed(self) -> bool:
        return self.report.passed

    @property
    def hidden(self) -> list[Check]:
        return [item for item in self.exercise.checks if item.hidden]

    @property
    def complete(self) -> bool:
        return len(self.results) == len(self.exercise.checks)

    @property
    def at_most(self) -> int:
        """The points that it can still reach."""
        return sum(self.results[c.name].earned if c.name in self.results else c.points for c in self.exercise.checks)


class Tries:
    """One submission on its way through its plan."""

    def __init__(self, chapter: Chapter, plan: Plan, check: OneCheck, solved: dict[str, str], backend: partial):
        self.chapter, self.plan = chapter, plan
        self._check, self._solved = check, solved
        self.backend: RemoteBackend = backend()  # public checks, and then hidden ones
        self.private: RemoteBackend = backend()  # hidden checks only
        self._tries: dict[str, list[Try]] = {e.id: [] for e in chapter.exercises.values()}

    def run(self) -> None:
        """Run the cells and grade every exercise when its turn comes."""
        try:
            for index in range(len(self.plan.cells)):
                self.backend.run(index)
                for exercise in self._open():
                    if index in self.plan.exercises[exercise.id].points:
                        self._try(exercise)
            self._run_again_what_came_too_early()
            for exercise in self._open():
                if not self._tries[exercise.id]:
                    self._try(exercise)
            for exercise in self._open():
                self._try_with_stand_ins(exercise)
            self._ask_hidden_checks()
            self._try_again_what_they_have_shown_wrong()
        finally:
            self.backend.close()
            self.private.close()

    def best(self, exercise: Exercise) -> Try:
        """The first of the tries that earned most."""
        return max((t for t in self._tries[exercise.id] if t.complete), key=lambda t: t.report.earned)

    @property
    def deaths(self) -> list[str]:
        """What ended a process, each time that one was lost."""
        return self.backend.deaths + self.private.deaths

    def _open(self) -> list[Exercise]:
        """The exercises that have not passed yet, as far as their checks have run."""
        return [e for e in self.chapter.exercises.values() if not any(t.passed for t in self._tries[e.id])]

    def _run_again_what_came_too_early(self) -> None:
        """Cells that used something which the notebook defines further down, in a notebook that was reordered."""
        early = [n for n, error in self.backend.cell_errors.items() if error["type"] == "NameError"]
        mended = [index for index in sorted(early) if self.backend.run(index)]
        if mended:
            for exercise in self._open():
                if self.plan.exercises[exercise.id].written:
                    self._try(exercise)

    def _try_with_stand_ins(self, exercise: Exercise) -> Try | None:
        """An exercise that builds on earlier ones is not lost with them: use the course's versions of those."""
        everything = list(self.chapter.exercises.values())
        earlier = [e for e in everything[: everything.index(exercise)] if e.kind == "code"]
        # One that passed may have been overwritten by a second version since.
        open_ones = self._open()
        wrong = {e.id for e in earlier if e in open_ones or len(self.plan.exercises[e.id].points) > 1}
        stand_ins = stand_ins_for(exercise, earlier, wrong, self.plan, self._solved)
        if not stand_ins or any(t.stand_ins == stand_ins for t in self._tries[exercise.id]):
            return None
        self.backend.use_stand_ins(stand_ins)
        tried = self._try(exercise, stand_ins)
        self.backend.use_stand_ins(None)
        return tried

    def _try(self, exercise: Exercise, stand_ins: StandIns | None = None) -> Try:
        """The public checks, where the submission stands now."""
        tried = Try(exercise, self.backend.remember(), stand_ins)
        for item in exercise.checks:
            if not item.hidden:
                self._run(tried, item, self.backend)
        self._tries[exercise.id].append(tried)
        return tried

    def _ask_hidden_checks(self) -> None:
        """The hidden checks of the tries that can become the best."""
        everything = [tried for tries in self._tries.values() for tried in tries]
        if not any(tried.stand_ins for tried in everything):  # code could have kept the course's versions
            for tries in self._tries.values():
                tried = max(tries, key=lambda t: t.report.earned)
                for item in tried.hidden:
                    if self.backend.return_to(tried.place):
                        self._run(tried, item, self.backend)
        # In a process that has seen less, what has not passed may pass. Stand-ins come last, for the same reason.
        for tried in sorted(everything, key=lambda t: (t.stand_ins is not None, len(t.place.program))):
            if tried.complete or tried.at_most > max(t.report.earned for t in self._tries[tried.exercise.id]):
                self._ask_in_private(tried)

    def _ask_in_private(self, tried: Try) -> None:
        """The hidden checks of a try that have not passed, in a process that has run nothing else."""
        for item in tried.hidden:
            if item.name not in tried.results or tried.results[item.name].outcome not in SETTLED:
                self.private.follow(self.backend, tried.place)
                self._run(tried, item, self.private)

    def _try_again_what_they_have_shown_wrong(self) -> None:
        """What public checks had not shown to be wrong: later versions in the notebook, and stand-ins for it."""
        full = self.backend.program
        for exercise in self._open():
            programs = [full[: full.index(index) + 1] for index in self.plan.exercises[exercise.id].points]
            for program in programs:
                if exercise in self._open() and all(t.place.program != program for t in self._tries[exercise.id]):
                    # A fresh process: the old one knows what hidden checks ask, and these are public.
                    self.backend.restart(program)
                    self.private.restart(())
                    self._ask_in_private(self._try(exercise))
            if exercise in self._open():
                self.backend.restart(full)
                tried = self._try_with_stand_ins(exercise)
                if tried:
                    self.private.restart(())
                    self._ask_in_private(tried)

    def _run(self, tried: Try, item: Check, backend: RemoteBackend) -> None:
        if tried.stops >= MAX_STOPS:
            tried.results[item.name] = failed(
                item, Outcome.ERROR, f"not run: your code had to be stopped {MAX_STOPS} times before"
            )
            return
        before = len(self.deaths)
        tried.results[item.name] = self._check(tried.exercise, item, backend)
        tried.stops += len(self.deaths) - before
