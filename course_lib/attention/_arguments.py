"""Checks of arguments that several files of this package share."""

from typing import Any

import torch
from torch import Tensor


def require_int(name: str, value: Any, minimum: int) -> int:
    """Return `value` if it is an integer of at least `minimum`; otherwise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    return value


def require_tensor(name: str, value: Any, shape: str) -> Tensor:
    """Return `value` if it is a tensor with as many dimensions as `shape` names, "[..., T, D]": at least those.

    >>> require_tensor("x", torch.zeros(2, 3), "[B, T, C]")
    Traceback (most recent call last):
    ValueError: x: expected a tensor of shape [B, T, C], got shape (2, 3)
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor of shape {shape}, got {type(value).__name__}")
    names = shape.strip("[]").split(", ")
    fits = value.ndim >= len(names) - 1 if names[0] == "..." else value.ndim == len(names)
    if not fits:
        raise ValueError(f"{name}: expected a tensor of shape {shape}, got shape {tuple(value.shape)}")
    return value


def require_ids(name: str, ids: Any, vocab_size: int) -> Tensor:
    """Return `ids` if it is a tensor of integers from 0 to vocab_size - 1; otherwise ValueError."""
    if not isinstance(ids, Tensor) or ids.dtype not in (torch.int64, torch.int32):
        got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"{name}: expected a tensor of int64 or int32, got {got}")
    if ids.numel():
        low, high = (int(bound) for bound in torch.aminmax(ids))
        if low < 0 or high >= vocab_size:
            raise ValueError(f"{name}: expected ids from 0 to {vocab_size - 1}, got ids from {low} to {high}")
    return ids
