"""What a check calls ``student``: a proxy through which it uses the functions it tests.

``student.merge([1, 1], (1, 1), 2)`` sends the arguments across the border, runs the student's function there and
returns plain data. Everything that came back is kept in ``trace``; comparing traces is how a wrong answer is
recognised as a known mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from autograder.executor import Executor
from autograder.values import BadValue, Opaque, Packed, decode, encode


class Backend(Protocol):
    """Carries one request to where the student's code lives and brings the reply back."""

    def request(self, request: dict[str, Any], functions: list[Callable]) -> dict[str, Any]: ...


class StudentError(Exception):
    """The student's code raised; ``details`` is what :func:`autograder.executor.describe_error` says."""

    def __init__(self, details: dict[str, Any]):
        super().__init__(f"{details.get('type')}: {details.get('message')}")
        self.details = details

    @property
    def kinds(self) -> list[str]:
        return [str(kind) for kind in self.details.get("bases") or [self.details.get("type")]]


class StudentTimeout(Exception):
    """The student's code did not finish in time."""


class NotWritten(Exception):
    """The function is missing, or still says ``raise NotImplementedError``."""


class ProcessDied(Exception):
    """The student's process ended or broke the protocol."""


@dataclass
class Event:
    """One thing a student's code did: what was asked, and the value or the error that came back."""

    what: str
    value: Any = None
    error: str | None = None
    printed: str = ""


@dataclass
class Student:
    """Proxy of a namespace of student code; attributes are its functions and classes."""

    _backend: Backend
    _time_limit: float | None = 10.0
    trace: list[Event] = field(default_factory=list)
    # Called with each new event; a mistake run uses it to stop at the first difference.
    _watch: Callable[[Event], None] | None = None
    # All functions that the check has handed over: an object may keep one and call it in a later request.
    _functions: list[Callable] = field(default_factory=list)
    _off_the_record: bool = False

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote(self, {"name": name}, name)

    def value(self, name: str) -> Any:
        """The value of a variable, as data."""
        return self._take(self._ask({"op": "value", "name": name}), name)["ok"]

    @contextmanager
    def off_the_record(self) -> Iterator[None]:
        """What comes back in this block is not compared with what a known mistake returns.

        Random numbers never agree, and names that a student was free to choose need not. Say by :meth:`conclude` what
        follows from them: a mistake is recognised by that.
        """
        before, self._off_the_record = self._off_the_record, True
        try:
            yield
        finally:
            self._off_the_record = before

    def conclude(self, finding: str) -> None:
        """Put a finding on record, in words that are the same for all code that makes the same mistake."""
        last = self.trace[-1] if self.trace else Event("nothing")
        self._record(Event(last.what, {"finding": finding}, printed=last.printed))

    def _record(self, event: Event) -> None:
        self.trace.append(event)
        if self._watch:
            self._watch(event)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._backend.request(request | {"time_limit": self._time_limit}, self._functions)

    def _take(self, reply: dict[str, Any], what: str) -> dict[str, Any]:
        """The values of a reply; what it says goes on record, and an error is raised."""
        event = Event(what, printed=str(reply.get("printed", ""))[:4000])
        problem: Exception | None = None
        values: dict[str, Any] = {}
        if "missing" in reply:
            event.error, problem = "missing", NotWritten(str(reply["missing"]))
        elif "timeout" in reply:
            event.error, problem = "timeout", StudentTimeout(what)
        elif "error" in reply:
            details = reply["error"] if isinstance(reply["error"], dict) else {"type": "Error", "message": ""}
            problem = StudentError(details)
            event.error = str(details.get("type"))
            if "NotImplementedError" in problem.kinds:
                culprit = details.get("unwritten")
                if culprit:
                    problem = StudentError(details | {"message": f"{culprit} is not written yet"})
                else:
                    event.error, problem = "missing", NotWritten(what)
        else:
            for key in ("ok", "args_after"):
                if isinstance(reply.get(key), Packed):
                    values[key] = decode(
                        reply[key], lambda opaque: Remote(self, {"object": opaque.key}, what, opaque.type_name)
                    )
            event.value = None if self._off_the_record else values
        self._record(event)
        if problem:
            raise problem
        return values


class Remote:
    """A function, class or object on the student's side; calls and attributes go across the border."""

    def __init__(self, student: Student, target: dict[str, Any], what: str, type_name: str = "function"):
        self._student, self._target, self._what, self._type_name = student, target, what, type_name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("call", args, kwargs)["ok"]

    def map(self, *columns: Iterable, **named: Iterable) -> Iterator[Any]:
        """As the built-in ``map``, also with keywords: the results of many calls, for which only one message crosses.

        All calls are made at once, and together they have the time of one; the first that fails is the last. Their
        results are on record in the order in which they are asked for.

        >>> student = Student(LocalBackend({"scale": lambda x, by: by * x}))
        >>> list(student.scale.map([1, 2, 3], by=[10, 20, 30]))
        [10, 40, 90]
        """
        held, held_named = [list(column) for column in columns], {key: list(column) for key, column in named.items()}
        rows = list(zip(*held, *held_named.values(), strict=True))
        request = {"op": "map", "args": encode((held, held_named), self._keep), **self._target}
        reply = self._student._ask(request)
        return self._results(rows, list(named), reply.get("replies", [reply]))

    def _results(self, rows: list[tuple], names: list[str], replies: list[dict[str, Any]]) -> Iterator[Any]:
        for row, reply in zip(rows, replies, strict=False):
            unnamed = len(row) - len(names)
            what = call_text(self._what, row[:unnamed], dict(zip(names, row[unnamed:], strict=True)))
            yield self._student._take(reply, what)["ok"]
        if len(replies) < len(rows):
            raise BadValue("there are fewer results than there were calls")

    def with_arguments(self, *args: Any, **kwargs: Any) -> tuple[Any, tuple]:
        """The result, and the arguments as they are after the call: shows whether an input was changed."""
        reply = self._call("call", args, kwargs, want_args=True)
        return reply["ok"], reply["args_after"]

    def gradient(self, *args: Any, wrt: list[int | str], upstream: Any, **kwargs: Any) -> tuple[Any, list]:
        """The result and d(result * upstream)/d(argument) for each argument named in ``wrt``.

        Where several values are returned, ``upstream`` has one for each; None leaves a value out, such as integers.
        """
        return self._call("gradient", (*args, upstream), kwargs, wrt=wrt)["ok"]

    def with_largest_tensor(self, *args: Any, **kwargs: Any) -> tuple[Any, int]:
        """The result, and how many elements the largest tensor has that torch created during the call.

        Helps to name a mistake; code that means to hide a tensor from it can.
        """
        return self._call("call", args, kwargs, want_largest=True)["ok"]

    def _call(self, operation: str, args: tuple, kwargs: dict, **more: Any) -> dict[str, Any]:
        request = {"op": operation, "args": encode((args, kwargs), self._keep), **self._target, **more}
        return self._student._take(self._student._ask(request), call_text(self._what, args, kwargs))

    def _keep(self, value: Any) -> int:
        if isinstance(value, Remote) and "object" in value._target:
            return value._target["object"]
        if not callable(value):
            raise TypeError(f"a check passed a {type(value).__name__}, which cannot cross")
        functions = self._student._functions
        functions.append(value)
        return -len(functions)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        request = {"op": "attribute", "attribute": name, **self._target}
        return self._student._take(self._student._ask(request), f"{self._what}.{name}")["ok"]

    def __eq__(self, other: object) -> bool:
        # Two kept objects look alike to a trace when they are of the same type.
        return isinstance(other, Remote) and self._type_name == other._type_name

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._type_name} from {self._what}>"


class LocalBackend:
    """Student code that lives in this very process: a notebook's kernel, a mistake, the reference."""

    def __init__(self, namespace: dict[str, Any], guard: Callable[[], AbstractContextManager] = nullcontext):
        self.executor = Executor(namespace, self._call_back)
        self.guard = guard
        self._functions: list[Callable] = []

    def request(self, request: dict[str, Any], functions: list[Callable]) -> dict[str, Any]:
        self._functions = functions
        with self.guard():
            return self.executor.perform(request)

    def _call_back(self, number: int, packed: Packed) -> Packed:
        return answer_callback(self._functions, number, packed)


def answer_callback(functions: list[Callable], number: int, packed: Packed) -> Packed:
    """Call a check's own function with arguments that came from the student's side."""

    def refuse(opaque: Opaque) -> Any:
        raise TypeError(f"expected plain data, got a {opaque.type_name}")

    args, kwargs = decode(packed, refuse)
    return encode(functions[number](*args, **kwargs))


def call_text(what: str, args: tuple, kwargs: dict) -> str:
    """The call as a person would write it, long arguments shortened.

    >>> call_text("merge", ([1, 2], (1, 2)), {"new_id": 9})
    'merge([1, 2], (1, 2), new_id=9)'
    """
    parts = [short(a) for a in args] + [f"{k}={short(v)}" for k, v in kwargs.items()]
    return f"{what}({', '.join(parts)})"


def short(value: Any, limit: int = 90) -> str:
    """A one-line rendering of a value for a message."""
    if isinstance(value, Remote):
        return type_name(value)
    if hasattr(value, "initial_seed"):  # a generator: its address would differ from run to run
        return f"torch.Generator().manual_seed({value.initial_seed()})"
    if _is_large(value):
        return f"{type(value).__name__.lower()} of shape {tuple(value.shape)}"
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    if not _HARMLESS.issuperset(map(type, items)) and any(
        map(_is_large, (*items, *(part for item in items if isinstance(item, dict) for part in item.values())))
    ):  # such as all weights of a model, or a checkpoint of them: writing them out would take longer than the call
        return f"{type_name(value)} of {len(value)} values"
    if callable(value) and hasattr(value, "__name__"):
        return "a function" if value.__name__ == "<lambda>" else value.__name__
    start, end = _ends(value, limit)
    if end is None:
        text = _one_line(start)
        return text if len(text) <= limit else f"{text[: limit * 2 // 3]} … {text[-limit // 4 :]}"
    return f"{_one_line(start)[: limit * 2 // 3]} … {_one_line(end)[-limit // 4 :]}"


def _ends(value: Any, limit: int) -> tuple[Any, Any]:
    """Of a long list, tuple or dictionary the items that its beginning and its end show; else the value and None."""
    if type(value) not in (list, tuple, dict) or len(value) <= limit:
        return value, None  # with more items than that there are more characters, too: each has a comma and a blank
    if type(value) is dict:
        keys = list(value)
        return tuple({key: value[key] for key in part} for part in (keys[:limit], keys[-limit:]))
    return value[:limit], value[-limit:]


def _one_line(value: Any) -> str:
    return " ".join(repr(value).split())


_HARMLESS = frozenset({int, float, str, bytes, bool, tuple, list, dict, type(None)})  # none of them has a shape


def _is_large(value: Any) -> bool:
    shape = None if isinstance(value, Remote) else getattr(value, "shape", None)
    return shape is not None and math.prod(shape) > 6


def type_name(value: Any) -> str:
    """What a value is, with its article; an object that stayed on the student's side goes by its own type.

    >>> type_name([1]), type_name(1), type_name(None)
    ('a list', 'an int', 'None')
    """
    if value is None:
        return "None"
    name = value._type_name if isinstance(value, Remote) else type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
