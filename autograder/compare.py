"""What checks compare with: each helper fails with a message that says what, where and by how much.

A message speaks to the student: type and shape first, then the first or worst difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from autograder.alike import same
from autograder.student import Event, NotWritten, StudentError, StudentTimeout, short, type_name

# For `fail`: what the message speaks of follows from several calls, so the card shows none of them.
SEVERAL_CALLS = Event("")


class CheckFailed(AssertionError):
    """A property does not hold; the message is for the student, ``got`` the value or the call that it speaks of."""

    def __init__(self, message: str, got: Any = None):
        super().__init__(message)
        self.got = got


def fail(message: str, got: Any = None) -> NoReturn:
    """End the check with this message; ``got``, a value or an event, tells which call it is about: else the last."""
    raise CheckFailed(message, got)


def true(condition: bool, message: str) -> None:
    """Fail with the message unless the condition holds."""
    if not condition:
        fail(message)


def equal(got: Any, want: Any, what: str = "it") -> None:
    """Exactly equal, containers of the same type; a float may differ in the last digits.

    >>> equal([1, 4], [1, 3])
    Traceback (most recent call last):
    autograder.compare.CheckFailed: it returned [1, 4], expected [1, 3]: first difference at index 1: 4 instead of 3
    """
    if same(got, want, rtol=1e-9, atol=1e-12):
        return
    expected = short(want)
    if type(got) is not type(want) and not (_is_number(got) and _is_number(want)):
        fail(f"{what} returned {_shown(got)}, expected {_shown(want)}", got)
    where = _difference(got, want)
    fail(f"{what} returned {short(got)}, expected {expected}{': ' + where if where else ''}", got)


def close(got: Any, want: Any, rtol: float = 1e-5, atol: float = 1e-7, what: str = "it", dtype: bool = True) -> None:
    """Numbers, arrays or tensors that agree within ``atol + rtol * |want|``; ``dtype=False`` lets the dtype differ."""
    if _is_number(want):
        if not _is_number(got):
            fail(f"{what} returned {_shown(got)}, expected a number close to {want:.6g}", got)
        off = _distance(got, want)
        if off == math.inf or (off and off > atol + rtol * abs(want)):
            by = f": it is off by {off:.3g}" if off < math.inf else ""
            fail(f"{what} returned {_number(got)}, expected {_number(want)}{by}", got)
        return
    if type(got) is not type(want):
        fail(f"{what} returned {type_name(got)}, expected {type_name(want)}", got)
    if isinstance(want, (list, tuple)):
        true(len(got) == len(want), f"{what} returned {len(got)} values, expected {len(want)}")
        for index, (x, y) in enumerate(zip(got, want, strict=True)):
            close(x, y, rtol, atol, f"{what}, value {index},", dtype)
        return
    if tuple(got.shape) != tuple(want.shape):
        fail(f"{what} has shape {tuple(got.shape)}, expected {tuple(want.shape)}", got)
    if dtype and got.dtype != want.dtype:
        fail(f"{what} has dtype {got.dtype}, expected {want.dtype}", got)
    _close_arrays(_as_array(got), _as_array(want), rtol, atol, what, got)


def _distance(got: float, want: float) -> float:
    """How far apart two numbers are; infinity wherever that says nothing: one is infinite, or one is nan."""
    if got == want or (got != got and want != want):
        return 0.0
    try:
        off = abs(float(got) - float(want))
    except OverflowError:  # an integer beyond all floats
        return math.inf
    return off if off < math.inf else math.inf  # nan is not


def _number(value: float) -> str:
    try:
        return f"{value:.8g}"
    except OverflowError:
        return short(value)


def _close_arrays(got: np.ndarray, want: np.ndarray, rtol: float, atol: float, what: str, returned: Any) -> None:
    if np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True):
        return
    if not got.ndim:
        fail(f"{what} is {got[()]:.6g}, expected {want[()]:.6g}", returned)
    bad = ~np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    off = np.where(bad, np.nan_to_num(np.abs(got - want), nan=np.inf), -1)
    at = tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
    nan = int(np.isnan(got).sum() - np.isnan(want).sum())
    note = f", {nan} of its values are nan" if nan > 0 else ""
    fail(
        f"{what} is wrong in {int(bad.sum())} of {bad.size} places{note}; "
        f"the worst is at {list(at)}: {got[at]:.6g} instead of {want[at]:.6g}",
        returned,
    )


def expect_error(
    kinds: type[Exception] | tuple[type[Exception], ...], call: Callable, *args: Any, **kwargs: Any
) -> None:
    """The call must raise one of these errors."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        got = call(*args, **kwargs)
    except StudentError as error:
        if any(kind.__name__ in error.kinds for kind in kinds):
            return
        fail(f"it raised {error}, expected {names}")
    except (NotWritten, StudentTimeout):
        raise
    fail(f"it returned {short(got)}, expected {names}")


def _difference(got: Any, want: Any) -> str:
    if isinstance(want, str):
        return _first_difference(got, want, "character")
    if isinstance(want, (list, tuple)):
        return _first_difference(got, want, "index")
    if isinstance(want, dict):
        missing = [k for k in want if k not in got]
        extra = [k for k in got if k not in want]
        wrong = [k for k in want if k in got and not same(got[k], want[k], 1e-9, 1e-12)]
        parts = [f"{short(missing[0])} is missing"] if missing else []
        parts += [f"{short(extra[0])} should not be there"] if extra else []
        parts += [f"{short(wrong[0])} is {short(got[wrong[0]])} instead of {short(want[wrong[0]])}"] if wrong else []
        return ", ".join(parts)
    if isinstance(want, set):
        parts = [f"missing {short(want - got)}"] if want - got else []
        return ", ".join([*parts, f"not expected {short(got - want)}"] if got - want else parts)
    return ""


def _first_difference(got: Sequence, want: Sequence, unit: str) -> str:
    for index, (x, y) in enumerate(zip(got, want, strict=False)):
        if not same(x, y, 1e-9, 1e-12):
            return f"first difference at {unit} {index}: {short(x)} instead of {short(y)}"
    return f"it has length {len(got)} instead of {len(want)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind != "c" else value
    return value.double().numpy() if not value.is_complex() else value.numpy()


def _shown(value: Any) -> str:
    kind, text = type_name(value), short(value)
    return kind if text == kind else f"{kind}: {text}"
