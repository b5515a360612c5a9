"""Checks of arguments that several files of this package share."""

from typing import Any


def require_int(name: str, value: Any, minimum: int) -> int:
    """Return `value` if it is an integer of at least `minimum`; otherwise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    return value


def require_fraction(name: str, value: Any) -> float:
    """Return `value` if it is a number from 0 to 1; otherwise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")
    return value


def require_text(name: str, value: Any) -> str:
    """Return `value` if it is a str; otherwise ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected a str, got {type(value).__name__}")
    return value
