"""The student's side of the border: looks up, calls and inspects what the student wrote.

In a notebook this runs inside the student's own kernel; in the judge the very same code runs in the sandboxed
child. Requests and replies are plain dictionaries whose values have been through :mod:`autograder.values`, so
the two places cannot drift apart.
"""

from __future__ import annotations

import _signal  # what `signal` wraps: that makes an enum of each number and handler, which takes longer than the call
import contextlib
import io
import linecache
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from autograder.values import BadValue, Opaque, Packed, decode, encode

MAX_PRINTED = 4_000


class TookTooLong(BaseException):
    """Raised inside a student's call by the alarm; a BaseException so that ``except Exception`` lets it pass."""


class Executor:
    """Performs one request at a time on a namespace of student code.

    ``callback`` carries a call to a function that the check handed over back to the check's side.
    """

    def __init__(self, namespace: dict[str, Any], callback: Callable[[int, Packed], Packed] | None = None):
        self.namespace = namespace
        self.objects: list[Any] = []
        self.callback = callback

    def perform(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request: ``{"ok": Packed, ...}``, ``{"missing": name}`` or ``{"error": {...}}``.

        The answer to a map is ``{"replies": [...]}``, one such answer for each call up to the first that failed.
        """
        printed = _CappedText(MAX_PRINTED)
        try:
            target = self._find(request)
        except KeyError as error:
            return {"missing": error.args[0]}
        replies: list[dict[str, Any]] = []
        try:
            quiet = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(_CappedText(0))
            with quiet[0], quiet[1], time_limit(request.get("time_limit")):
                if request["op"] == "map":
                    for args, kwargs in _calls(*decode(request["args"], self._unwrap)):
                        value = encode(target(*args, **kwargs), self._keep)
                        replies.append({"ok": value, "printed": printed.take()})
                    return {"replies": replies}
                reply = self._answer(request, target)
                reply = {key: encode(value, self._keep) for key, value in reply.items()}
        except TookTooLong:
            reply = {"timeout": request.get("time_limit")}
        except BadValue as error:
            reply = {"error": {"type": "BadValue", "message": f"the returned value cannot be read: {error}"}}
        except (Exception, SystemExit, GeneratorExit) as error:
            reply = {"error": describe_error(error)}
        reply["printed"] = printed.take()
        return {"replies": [*replies, reply]} if request["op"] == "map" else reply

    def _find(self, request: dict[str, Any]) -> Any:
        if "object" in request:
            return self.objects[request["object"]]
        name = request["name"]
        if name not in self.namespace:
            raise KeyError(name)
        return self.namespace[name]

    def _answer(self, request: dict[str, Any], target: Any) -> dict[str, Any]:
        operation = request["op"]
        if operation == "value":
            return {"ok": target}
        if operation == "attribute":
            return {"ok": getattr(target, request["attribute"])}
        args, kwargs = decode(request["args"], self._unwrap)
        if operation == "gradient":
            return self._gradient(target, args, kwargs, request["wrt"])
        if request.get("want_largest"):
            from course_lib.tensor_size import largest_tensor

            with largest_tensor() as largest:
                result = target(*args, **kwargs)
            return {"ok": (result, largest.elements)}
        result = target(*args, **kwargs)
        if request.get("want_args"):
            return {"ok": result, "args_after": args}
        return {"ok": result}

    def _gradient(self, target: Any, args: tuple, kwargs: dict, wrt: list[int | str]) -> dict[str, Any]:
        import torch

        *args, upstream = args
        leaves = []
        for place in wrt:
            holder = kwargs if isinstance(place, str) else args
            holder[place] = holder[place].detach().clone().requires_grad_(True)
            leaves.append(holder[place])
        result = outputs = target(*args, **kwargs)
        if isinstance(result, (tuple, list)) and isinstance(upstream, (tuple, list)):
            # None stands for an output that takes no part, such as integers.
            pairs = [(out, up) for out, up in zip(result, upstream, strict=True) if up is not None]
            outputs, upstream = zip(*pairs, strict=True)
        grads = torch.autograd.grad(outputs, leaves, grad_outputs=upstream, allow_unused=True)
        return {"ok": (result, list(grads))}

    def _keep(self, value: Any) -> int:
        self.objects.append(value)
        return len(self.objects) - 1

    def _unwrap(self, opaque: Opaque) -> Any:
        if opaque.key >= 0:
            return self.objects[opaque.key]
        # A negative key is a function of the check's side; calling it sends the arguments back there.
        number = -1 - opaque.key

        def call_back(*args: Any, **kwargs: Any) -> Any:
            if self.callback is None:
                raise RuntimeError("this function cannot be called here")
            return decode(self.callback(number, encode((args, kwargs), self._keep)), self._unwrap, counters=True)

        return call_back


def _calls(columns: list[list], named: dict[str, list]) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """
    >>> list(_calls([[1, 2], [3, 4]], {"k": [5, 6]}))
    [((1, 3), {'k': 5}), ((2, 4), {'k': 6})]
    """
    for row in zip(*columns, *named.values(), strict=True):
        yield row[: len(columns)], dict(zip(named, row[len(columns) :], strict=True))


class time_limit:
    """Interrupt the block after that many seconds, where the platform and the thread allow it."""

    def __init__(self, seconds: float | None):
        in_main = threading.current_thread() is threading.main_thread()
        self.seconds = seconds if seconds and in_main and hasattr(_signal, "SIGALRM") else 0

    def __enter__(self) -> None:
        if self.seconds:
            self.before = _signal.signal(_signal.SIGALRM, _on_alarm)
            _signal.setitimer(_signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *exception: object) -> None:
        if self.seconds:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            _signal.signal(_signal.SIGALRM, self.before)


def _on_alarm(_number: int, _frame: Any) -> None:
    raise TookTooLong


def describe_error(error: BaseException) -> dict[str, Any]:
    """Type, message and the last line of the student's own code, as data."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_students(frame.filename)]
    where = frames[-1] if frames else None
    # Subclasses count as their base, so that a ValueError of any kind is a ValueError to a check.
    bases = [base.__name__ for base in type(error).__mro__[:-2]]
    return {
        "type": type(error).__name__[:80],
        "bases": bases[:10],
        "message": _safe_str(error)[:600],
        # The function that said so, where the one that was called is only the one that called it.
        "unwritten": where.name[:80] if where and len({frame.name for frame in frames}) > 1 else None,
        "line": where.lineno if where else None,
        "source": (linecache.getline(where.filename, where.lineno).strip()[:200] or None) if where else None,
    }


def _is_students(filename: str) -> bool:
    return "ipykernel_" in filename or filename.startswith("<")


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(the error has no readable message)"


class _CappedText(io.StringIO):
    """Keeps the first characters that are written and swallows the rest."""

    def __init__(self, limit: int):
        super().__init__()
        self.room = limit

    def write(self, text: str) -> int:
        taken = text[: self.room]
        self.room -= len(taken)
        super().write(taken)
        return len(text)

    def take(self) -> str:
        """What has been written since the last time."""
        if not self.tell():
            return ""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text
