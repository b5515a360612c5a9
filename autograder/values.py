"""Values that cross between a check and the code it tests.

A student's function never hands an object to a check: it hands *data*. ``encode`` turns a value into a tree of
JSON types plus raw buffers, ``decode`` builds plain Python, NumPy and torch values from such a tree and trusts
nothing in it. Both the notebook and the judge go through here, so a value looks the same to a check in either
place, and an object with a clever ``__eq__`` is simply gone on the other side.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np

from autograder.arrays import (
    ARRAY_DTYPES,
    BadValue,
    decode_array,
    decode_generator,
    decode_tensor,
    decode_torch_name,
    encode_array,
    encode_tensor,
)

MAX_DEPTH = 32
MAX_ITEMS = 5_000_000
# Keys that hash alike are told apart one by one, so many of them make a set or a dictionary as slow as a list of
# lists. Chance does not bring so many together; multiples of 2**61 - 1, or tuples of -1 and -2, do.
MAX_ALIKE = 100

# What JSON holds as it is. Lists of nothing else, which most values are made of, are looked at in one go.
_PLAIN = frozenset({bool, int, float, str, type(None)})
_PLAIN_OR_BYTES = _PLAIN | {bytes}
_TUPLE, _BYTES = frozenset({tuple}), frozenset({bytes})


@dataclass
class Opaque:
    """Stands for an object that stayed on its own side; ``key`` finds it again there."""

    key: int
    type_name: str


@dataclass
class Packed:
    """An encoded value: a tree of JSON types and the buffers that it refers to by number."""

    tree: Any
    buffers: list[bytes] = field(default_factory=list)


def encode(value: Any, keep: Callable[[Any], int] | None = None) -> Packed:
    """Encode a value as data; ``keep`` files an object that is not data and returns its key.

    >>> encode({"ids": [1, 2], "pair": (1, 2)}).tree
    {'t': 'dict', 'k': ['ids', 'pair'], 'v': [[1, 2], {'t': 'tuple', 'v': [1, 2]}]}
    >>> encode([(1, 2), (3, 4)]).tree
    {'t': 'tuples', 'n': 2, 'v': [1, 2, 3, 4]}
    """
    packed = Packed(None)
    packed.tree = _encode(value, packed.buffers, keep, 0)
    return packed


def _encode(value: Any, buffers: list[bytes], keep: Callable[[Any], int] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadValue(f"nested more than {MAX_DEPTH} levels deep")
    if type(value) in _PLAIN:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, (bytes, bytearray)):
        return {"t": "bytes", "v": bytes(value).decode("latin-1")}
    if isinstance(value, list):
        return _encode_items(list(value), buffers, keep, depth)
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else "set"
        return {"t": kind, "v": _encode_items(list(value), buffers, keep, depth)}
    if isinstance(value, Mapping):
        pairs = list(value.items())
        keys, values = ([pair[place] for pair in pairs] for place in (0, 1))
        tree = {"t": "dict", "k": _encode_items(keys, buffers, keep, depth)}
        tree["v"] = _encode_items(values, buffers, keep, depth)
        # A check sees a dictionary like any other; only code on the student's side gets the Counter back.
        return tree | ({"of": "Counter"} if isinstance(value, Counter) else {})
    if isinstance(value, SimpleNamespace):  # settings that are read as cfg.name; what crosses are its values
        return {
            "t": "namespace",
            "v": [[_name(k), _encode(v, buffers, keep, depth + 1)] for k, v in vars(value).items()],
        }
    if isinstance(value, np.generic) and value.dtype.name in ARRAY_DTYPES and value.dtype.kind != "c":
        return value.item()
    if isinstance(value, np.ndarray):
        return encode_array(value, buffers, "array")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return encode_tensor(value, buffers, torch)
    if torch is not None and isinstance(value, torch.dtype | torch.device):
        return {"t": type(value).__name__, "v": str(value).removeprefix("torch.")}
    if torch is not None and isinstance(value, torch.Generator) and _is_unused(value, torch):
        return {"t": "generator", "v": value.initial_seed()}
    if keep is None:
        raise BadValue(f"a {type(value).__name__} object is not data")
    return {"t": "object", "v": keep(value), "of": type(value).__name__[:80]}


def _encode_items(items: list, buffers: list[bytes], keep: Callable[[Any], int] | None, depth: int) -> Any:
    """A new list as a tree: as it is if JSON can hold it, in one piece if all are bytes or tuples of one length."""
    kinds = set(map(type, items))
    if kinds <= _PLAIN:
        return items
    if kinds == _BYTES:
        return {"t": "texts", "v": [item.decode("latin-1") for item in items]}
    if kinds == _TUPLE and len(lengths := set(map(len, items))) == 1 and lengths != {0} and depth < MAX_DEPTH:
        flat = list(chain.from_iterable(items))
        if _only(_PLAIN_OR_BYTES, flat):
            return {"t": "tuples", "n": lengths.pop(), "v": _encode_items(flat, buffers, keep, depth + 1)}
    return [_encode(item, buffers, keep, depth + 1) for item in items]


def _name(name: Any) -> str:
    # Without leading underscores: nothing that Python itself would look up.
    if type(name) is not str or len(name) > 200 or not name.isidentifier() or name.startswith("_"):
        raise BadValue(f"{str(name)[:40]!r} is not a name that a namespace may have")
    return name


def _is_unused(generator: Any, torch: Any) -> bool:
    # A seed is data. What has been drawn since is not in it: a generator in use stays where it is.
    seed = generator.initial_seed()
    if generator.device.type != "cpu" or not 0 <= seed < 2**63:
        return False
    return torch.equal(generator.get_state(), torch.Generator().manual_seed(seed).get_state())


def decode(packed: Packed, wrap: Callable[[Opaque], Any] | None = None, counters: bool = False) -> Any:
    """Build a plain value from a tree that may be hostile; :class:`BadValue` if it is malformed.

    With ``counters``, what was a Counter is one again; otherwise it is a dictionary.

    >>> decode(encode(("a", b"b", {1, 2})))
    ('a', b'b', {1, 2})
    """
    value = _decode(packed.tree, packed.buffers, wrap, [MAX_ITEMS], 0)
    is_counter = counters and isinstance(packed.tree, dict) and packed.tree.get("of") == "Counter"
    return Counter(value) if is_counter and isinstance(value, dict) else value


def _decode(tree: Any, buffers: list[bytes], wrap: Callable | None, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth > 3 * MAX_DEPTH:
        raise BadValue("too many or too deeply nested items")
    if type(tree) in _PLAIN:
        return tree
    if type(tree) is list:
        if _only(_PLAIN, tree):
            _spend(budget, len(tree))
            return tree
        return [_decode(item, buffers, wrap, budget, depth + 1) for item in tree]
    if type(tree) is not dict:
        raise BadValue("not a value")
    kind, body = tree.get("t"), tree.get("v")
    try:
        if kind == "bytes":
            return body.encode("latin-1")
        if kind in ("tuple", "set"):
            items = _decode_items(body, buffers, wrap, budget, depth)
            # One by one, so that a time limit can strike between two of them.
            return tuple(items) if kind == "tuple" else {item for item in _unlike(items)}  # noqa: C416
        if kind == "dict":
            keys = _unlike(_decode_items(tree["k"], buffers, wrap, budget, depth))
            values = _decode_items(body, buffers, wrap, budget, depth)
            return {key: value for key, value in zip(keys, values, strict=True)}  # noqa: C416
        if kind in ("tuples", "texts"):
            return _decode_items(tree, buffers, wrap, budget, depth)
        if kind == "namespace":
            if type(body) is not list or any(type(pair) is not list for pair in body):
                raise BadValue("malformed namespace")
            names = [_name(name) for name, _ in body]
            if len(set(names)) < len(names):
                raise BadValue("a namespace with the same name twice")
            return SimpleNamespace(**{name: _decode(v, buffers, wrap, budget, depth + 1) for name, v in body})
        if kind == "array":
            return decode_array(tree, buffers, ARRAY_DTYPES)
        if kind == "tensor":
            return decode_tensor(tree, buffers)
        if kind in ("dtype", "device"):
            return decode_torch_name(kind, body)
        if kind == "generator":
            return decode_generator(body)
        if kind == "object" and wrap is not None and type(body) is int:
            return wrap(Opaque(body, str(tree.get("of"))[:80]))
    except BadValue:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError) as error:
        raise BadValue(f"malformed {kind}: {error}") from None
    raise BadValue(f"unknown kind of value {kind!r}")


def _decode_items(tree: Any, buffers: list[bytes], wrap: Callable | None, budget: list[int], depth: int) -> list:
    """What ``_encode_items`` made of a list; :class:`BadValue` if it is anything else."""
    if type(tree) is list:
        return _decode(tree, buffers, wrap, budget, depth + 1)
    kind, body = (tree.get("t"), tree.get("v")) if type(tree) is dict else (None, None)
    if kind == "texts" and type(body) is list:
        _spend(budget, len(body))
        return [text.encode("latin-1") for text in body]
    if kind == "tuples" and depth <= 3 * MAX_DEPTH:
        flat, size = _decode_items(body, buffers, wrap, budget, depth + 1), tree.get("n")
        if type(size) is int and 0 < size <= len(flat) and len(flat) % size == 0:
            _spend(budget, len(flat) // size)
            return list(zip(*[iter(flat)] * size, strict=True))
    raise BadValue("malformed items")


def _spend(budget: list[int], items: int) -> None:
    budget[0] -= items
    if budget[0] < 0:
        raise BadValue("too many or too deeply nested items")


def _unlike(keys: list) -> list:
    """The keys as they are; :class:`BadValue` if too many of them have the same hash."""
    hashes = sorted(map(hash, keys)) if len(keys) > MAX_ALIKE else []
    if any(one == other for one, other in zip(hashes, hashes[MAX_ALIKE:], strict=False)):
        raise BadValue(f"more than {MAX_ALIKE} keys that hash alike")
    return keys


def _only(kinds: frozenset[type], items: Iterable) -> bool:
    return kinds.issuperset(map(type, items))
