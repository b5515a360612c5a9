"""Carries a check's requests to a submission's process and believes nothing that comes back but values.

``RemoteBackend`` runs a submission's cells as far as they are wanted, sends calls, answers callbacks, and ends the
process when it takes too long or breaks the protocol. A process that has died is replaced by a fresh one in which
the cell that killed it is left out, so one deadly cell or call costs only its own exercise.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autograder.judge.child import PART_SECONDS
from autograder.judge.launcher import Child, JudgeError, Limits, Zygote
from autograder.judge.plain import clean_error, clean_replies, clean_reply, exit_text
from autograder.judge.protocol import MAX_MESSAGE_BYTES, BadMessage, Closed, Message
from autograder.student import ProcessDied, answer_callback
from autograder.values import Packed

if TYPE_CHECKING:
    from autograder.judge.stand_ins import StandIns

MAX_DEATHS = 40
DEADLY = "ProcessDied"
MAX_CHECK_BYTES = MAX_MESSAGE_BYTES  # all answers of one check together: they are kept until it ends


@dataclass(frozen=True)
class Cell:
    """Source to run: its parts run one after the other, and an error ends only its own part."""

    number: int  # where it stands in the submitted notebook, counted from 1; 0 for a cell of the release
    parts: tuple[str, ...]
    time_limit: float
    # The exercise functions that it defines: what is missing if it fails.
    defines: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Place:
    """Where a submission stands: the cells that have run, the stand-ins, and the process that remembers its names."""

    program: tuple[int, ...]
    stand_ins: StandIns | None
    child: Child | None  # compared by identity: a process that was started anew remembers nothing
    number: int  # by which the process finds the names again


class RemoteBackend:
    """The backend of one submission; implements :class:`autograder.student.Backend`. Close it at the end."""

    def __init__(self, zygote: Callable[[], Zygote], cells: list[Cell], limits: Limits):
        # A callable, because a submission may end the zygote itself and must not stop the others by it.
        self._zygote, self._cells, self._limits = zygote, cells, limits
        self._child: Child | None = None
        self._program: list[int] = []  # the cells that should have run, in order
        self._done = 0  # how many of them have run in the present child
        self._deadly: set[int] = set()
        self._excused: set[int] = set()
        self._new_check = False
        self._remembered = 0  # how many places the present child remembers
        self._at: Place | None = None  # the place whose names were taken up last, as long as nothing has changed them
        self._died_in_check: str | None = None
        self._stand_ins: StandIns | None = None
        self._stand_ins_there: StandIns | None = None  # those that the present child has
        self._cell_time = 0.0
        self.forbid: tuple[str, ...] = ()  # what the code under test may not call
        self.relax: tuple[str, ...] = ()  # what it may do although others may not
        self.deadline = time.monotonic() + limits.submission_seconds
        self.deaths: list[str] = []
        # What went wrong in a cell, by its index: a description as of ``describe_error``.
        self.cell_errors: dict[int, dict[str, Any]] = {}
        # Set when the judge itself does not work: then nothing that was found out may count.
        self.failure: JudgeError | None = None

    def run(self, *indices: int) -> bool:
        """Run these cells, after those that ran before; True if none of them failed."""
        self._program += indices
        self._died_in_check = self._at = None
        with contextlib.suppress(ProcessDied):
            self._ensure()
        return not any(index in self.cell_errors for index in indices)

    @property
    def program(self) -> tuple[int, ...]:
        """The cells that have run, in order."""
        return tuple(self._program)

    def restart(self, program: tuple[int, ...]) -> None:
        """Go on in a fresh process in which exactly these cells have run."""
        self._program = list(program)
        self._stop()

    def remember(self) -> Place:
        """Where it stands now; the process keeps the names as they are, for :meth:`return_to`."""
        number = 0
        with contextlib.suppress(ProcessDied):
            self._ensure()
            if self._told("remember"):
                self._remembered = number = self._remembered + 1
        return Place(self.program, self._stand_ins, self._child, number)

    def return_to(self, place: Place) -> bool:
        """Take up the names of a place again; False if the process that knew them has gone."""
        if self._child is None or self._child is not place.child or not place.number:
            return False
        if self._at is not place:
            self._at = place if self._told("return", number=place.number) else None
        return self._at is place

    def follow(self, other: RemoteBackend, place: Place) -> None:
        """Be where the other one was, in a process of its own: the same cells, the same stand-ins."""
        if self.program != place.program[: len(self._program)]:
            self._stop()
        self._program, self._stand_ins = list(place.program), place.stand_ins
        self._deadly |= other._deadly
        self.cell_errors = self.cell_errors | other.cell_errors
        self.deadline = other.deadline

    def start_check(self) -> None:
        """A new check begins: it may use a fresh process if the last check has lost its own."""
        self._died_in_check, self._new_check = None, True
        if self._child:
            self._child.channel.received = 0

    def use_stand_ins(self, stand_ins: StandIns | None) -> None:
        """Let the course's versions of some names stand for the student's; None undoes it."""
        self._stand_ins, self._at = stand_ins, None

    def request(self, request: dict[str, Any], functions: list[Callable]) -> dict[str, Any]:
        """Perform a request; ProcessDied when the submission's process ended or broke the protocol."""
        if self._died_in_check:  # handles of the lost process would mean something else in a new one
            raise ProcessDied(self._died_in_check)
        try:
            self._ensure()
            reply = self._perform(request, functions)
        except ProcessDied as error:
            self._died_in_check = str(error)
            raise
        except TimeoutError:
            self._died_in_check = "your code had to be stopped: it did not finish and could not be interrupted"
            self._lose(self._died_in_check)
            return {"timeout": request.get("time_limit")}
        return self._explain_missing(reply)

    def close(self) -> None:
        self._stop()

    # --- one process -------------------------------------------------------------------------------------------

    def _ensure(self) -> None:
        """A child in which the wanted cells have run."""
        if time.monotonic() > self.deadline:
            raise ProcessDied(f"your notebook has used up its {self._limits.submission_seconds:g} seconds")
        if self._child is None:
            if len(self.deaths) >= MAX_DEATHS:
                raise ProcessDied("your notebook's code ended its process too many times")
            self._child = self._fork()
            self._done, self._cell_time, self._stand_ins_there, self._remembered = 0, 0.0, None, 0
        try:
            while self._done < len(self._program):
                index = self._program[self._done]
                self._done += 1
                if index not in self._deadly:
                    self._run_cell(index)
        except ProcessDied:
            return self._ensure()  # without the cell that was deadly
        if self._stand_ins_there is not self._stand_ins:
            self._stand_ins_there, limit = self._stand_ins, self._limits.cell_seconds
            body = self._stand_ins.as_body() if self._stand_ins else {}
            self._exchange(Message("stand_in", body | {"time_limit": limit}), limit, [])

    def _fork(self) -> Child:
        for last_try in (False, True):
            try:
                return self._zygote().fork(self._limits)
            except JudgeError as error:
                if last_try:
                    self.failure = error
        raise ProcessDied("the judge does not work")

    def _run_cell(self, index: int) -> bool:
        cell = self._cells[index]
        limit = min(cell.time_limit, max(0.1, self._limits.cells_seconds - self._cell_time))
        start, child = time.monotonic(), self._child
        message = Message("cell", {"parts": list(cell.parts), "time_limit": limit})
        try:
            reply = self._exchange(message, limit + PART_SECONDS * len(cell.parts), []).body
        except (ProcessDied, TimeoutError) as error:
            if child and child.orphaned and index not in self._excused:
                self._excused.add(index)  # all children went with the zygote: this cell need not be the reason
                raise ProcessDied(str(error)) from None
            timed_out = isinstance(error, TimeoutError)
            reason = "the cell had to be stopped: it did not finish" if timed_out else str(error)
            self._deadly.add(index)
            self.cell_errors[index] = {"type": DEADLY, "bases": [DEADLY], "message": reason}
            if timed_out:
                self._lose(reason)
            raise ProcessDied(reason) from None
        self._cell_time += time.monotonic() - start
        problem = reply.get("error")
        if problem:
            self.cell_errors[index] = clean_error(problem)
        else:
            self.cell_errors.pop(index, None)
        return not problem

    def _perform(self, request: dict[str, Any], functions: list[Callable]) -> dict[str, Any]:
        values = {key: value for key, value in request.items() if isinstance(value, Packed)}
        body = {key: value for key, value in request.items() if key not in values}
        body |= {"forbid": list(self.forbid), "relax": list(self.relax)}
        if self._new_check:
            body["new_check"], self._new_check = True, False
        limit = float(request.get("time_limit") or self._limits.cell_seconds)
        reply = self._exchange(Message("request", body, values), limit, functions)
        if request["op"] == "map" and "replies" in reply.body:
            return {"replies": clean_replies(reply)}
        if not request.get("want_args"):
            reply.values.pop("args_after", None)
        return clean_reply(reply)

    def _exchange(self, message: Message, limit: float, functions: list[Callable]) -> Message:
        """Send a message and answer callbacks until the reply comes; TimeoutError, or ProcessDied and no child."""
        assert self._child
        channel = self._child.channel
        deadline = min(time.monotonic() + limit + self._limits.grace_seconds, self.deadline + 1)
        # Nobody knows this number before the request: an answer that was written in advance is none.
        number = message.body["id"] = secrets.token_hex(8)
        try:
            channel.send(message, deadline)
            for _ in range(self._limits.callbacks):
                reply = channel.receive(deadline)
                if channel.received > MAX_CHECK_BYTES:
                    raise BadMessage("its answers are too large")
                if reply.kind == "reply" and reply.body.get("id") == number:
                    return reply
                if reply.kind != "callback":
                    raise BadMessage("it wrote something that is not a message")
                channel.send(self._answer(reply, functions), deadline)
            raise BadMessage(f"it called back more than {self._limits.callbacks:,} times")
        except BadMessage as error:
            raise self._died(f"your code's process broke off: {error}") from None
        except Closed:
            raise self._died("") from None

    def _told(self, kind: str, **body: Any) -> bool:
        """Whether the child has done something that takes no time; where not, it has been ended."""
        try:
            return not self._exchange(Message(kind, body), self._limits.cell_seconds, []).body.get("error")
        except ProcessDied:
            return False
        except TimeoutError:
            self._lose("the process did not answer in time")
            return False

    def _answer(self, message: Message, functions: list[Callable]) -> Message:
        number = message.body.get("number")
        try:
            if type(number) is not int or not 0 <= number < len(functions):
                raise TypeError("there is no such function")
            return Message("answer", {}, {"ok": answer_callback(functions, number, message.values["args"])})
        except Exception as error:
            return Message("answer", {"type": type(error).__name__, "message": str(error)[:600]})

    def _died(self, reason: str) -> ProcessDied:
        child = self._child
        code = self._lose(reason, hung_up=not reason)
        if not reason:
            reason = f"your code ended the process that ran it{exit_text(code)}"
            if child and child.stopped:
                reason = f"your code had to be stopped: {child.stopped}"
            self.deaths[-1] = reason
        return ProcessDied(reason)

    def _lose(self, reason: str, hung_up: bool = False) -> int | None:
        self.deaths.append(reason)
        return self._stop(hung_up)

    def _stop(self, hung_up: bool = False) -> int | None:
        child, self._child = self._child, None
        with contextlib.suppress(JudgeError):  # the zygote may have gone with it
            return child.end(hung_up) if child else None
        return None

    def _explain_missing(self, reply: dict[str, Any]) -> dict[str, Any]:
        """A function that is missing because its cell failed: say how the cell failed."""
        if "missing" not in reply:
            return reply
        for index in reversed(self._program):
            error = self.cell_errors.get(index)
            if error and reply["missing"] in self._cells[index].defines:
                number = self._cells[index].number
                return {"error": error | {"message": f"{error['message']} (in cell {number}, which defines it)"}}
        return reply
