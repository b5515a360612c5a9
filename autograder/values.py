"""Values that cross between a check and the code it tests.

A student's function never hands an object to a check: it hands *data*. ``encode`` turns a value into a tree of
JSON types plus raw buffers, ``decode`` builds plain Python, NumPy and torch values from such a tree and trusts
nothing in it. Both the notebook and the judge go through here, so a value looks the same to a check in either
place, and an object with a clever ``__eq__`` is simply gone on the other side.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

MAX_DEPTH = 32
MAX_ITEMS = 5_000_000
MAX_BUFFER_BYTES = 256 * 2**20
# Keys that hash alike are told apart one by one, so many of them make a set or a dictionary as slow as a list of
# lists. Chance does not bring so many together; multiples of 2**61 - 1, or tuples of -1 and -2, do.
MAX_ALIKE = 100

ARRAY_DTYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
}  # fmt: skip
TENSOR_DTYPES = ARRAY_DTYPES - {"uint16", "uint32", "uint64"} | {"bfloat16"}


class BadValue(ValueError):
    """A value that cannot cross, or a tree that no honest ``encode`` would have made."""


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
    {'t': 'dict', 'v': [['ids', [1, 2]], ['pair', {'t': 'tuple', 'v': [1, 2]}]]}
    """
    packed = Packed(None)
    packed.tree = _encode(value, packed.buffers, keep, 0)
    return packed


def _encode(value: Any, buffers: list[bytes], keep: Callable[[Any], int] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadValue(f"nested more than {MAX_DEPTH} levels deep")
    if value is None or isinstance(value, bool):
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
        return [_encode(item, buffers, keep, depth + 1) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else "set"
        return {"t": kind, "v": [_encode(item, buffers, keep, depth + 1) for item in value]}
    if isinstance(value, Mapping):
        items = value.items()
        pairs = [[_encode(k, buffers, keep, depth + 1), _encode(v, buffers, keep, depth + 1)] for k, v in items]
        # A check sees a dictionary like any other; only code on the student's side gets the Counter back.
        return {"t": "dict", "v": pairs} | ({"of": "Counter"} if isinstance(value, Counter) else {})
    if isinstance(value, SimpleNamespace):  # settings that are read as cfg.name; what crosses are its values
        return {
            "t": "namespace",
            "v": [[_name(k), _encode(v, buffers, keep, depth + 1)] for k, v in vars(value).items()],
        }
    if isinstance(value, np.generic) and value.dtype.name in ARRAY_DTYPES and value.dtype.kind != "c":
        return value.item()
    if isinstance(value, np.ndarray):
        return _encode_array(value, buffers, "array")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _encode_tensor(value, buffers, torch)
    if torch is not None and isinstance(value, torch.dtype | torch.device):
        return {"t": type(value).__name__, "v": str(value).removeprefix("torch.")}
    if torch is not None and isinstance(value, torch.Generator) and _is_unused(value, torch):
        return {"t": "generator", "v": value.initial_seed()}
    if keep is None:
        raise BadValue(f"a {type(value).__name__} object is not data")
    return {"t": "object", "v": keep(value), "of": type(value).__name__[:80]}


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


def _encode_array(array: np.ndarray, buffers: list[bytes], kind: str, dtype: str | None = None) -> dict:
    if array.dtype.name not in ARRAY_DTYPES:
        raise BadValue(f"an array of dtype {array.dtype} cannot be compared; use numbers")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if little.nbytes > MAX_BUFFER_BYTES:
        raise BadValue(f"an array of {little.nbytes / 2**20:.0f} MiB is too large")
    buffers.append(little.tobytes())
    return {"t": kind, "dtype": dtype or array.dtype.name, "shape": list(array.shape), "v": len(buffers) - 1}


def _encode_tensor(tensor: Any, buffers: list[bytes], torch: Any) -> dict:
    with torch._C.DisableTorchFunctionSubclass():  # a subclass has no say in how it is read
        plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        requires_grad = bool(tensor.requires_grad)
    device = str(plain.device)
    if plain.layout != torch.strided or plain.device.type == "meta":
        raise BadValue(f"a tensor with layout {plain.layout} on {device} has no plain values")
    dtype = str(plain.dtype).removeprefix("torch.")
    plain = plain.cpu()
    array = plain.view(torch.int16).numpy() if dtype == "bfloat16" else plain.numpy()
    tree = _encode_array(array, buffers, "tensor", dtype)
    return tree | {"device": device, "grad": requires_grad}


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
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if type(tree) is list:
        return [_decode(item, buffers, wrap, budget, depth + 1) for item in tree]
    if type(tree) is not dict:
        raise BadValue("not a value")
    kind, body = tree.get("t"), tree.get("v")
    try:
        if kind == "bytes":
            return body.encode("latin-1")
        if kind in ("tuple", "set"):
            items = [_decode(item, buffers, wrap, budget, depth + 1) for item in body]
            # One by one, so that a time limit can strike between two of them.
            return tuple(items) if kind == "tuple" else {item for item in _unlike(items)}  # noqa: C416
        if kind == "dict":
            keys = _unlike([_decode(k, buffers, wrap, budget, depth + 1) for k, _ in body])
            values = [_decode(v, buffers, wrap, budget, depth + 1) for _, v in body]
            return {key: value for key, value in zip(keys, values, strict=True)}  # noqa: C416
        if kind == "namespace":
            if type(body) is not list or any(type(pair) is not list for pair in body):
                raise BadValue("malformed namespace")
            names = [_name(name) for name, _ in body]
            if len(set(names)) < len(names):
                raise BadValue("a namespace with the same name twice")
            return SimpleNamespace(**{name: _decode(v, buffers, wrap, budget, depth + 1) for name, v in body})
        if kind == "array":
            return _decode_array(tree, buffers, ARRAY_DTYPES)
        if kind == "tensor":
            return _decode_tensor(tree, buffers)
        if kind in ("dtype", "device"):
            return _decode_torch_name(kind, body)
        if kind == "generator":
            return _decode_generator(body)
        if kind == "object" and wrap is not None and type(body) is int:
            return wrap(Opaque(body, str(tree.get("of"))[:80]))
    except BadValue:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError) as error:
        raise BadValue(f"malformed {kind}: {error}") from None
    raise BadValue(f"unknown kind of value {kind!r}")


def _unlike(keys: list) -> list:
    """The keys as they are; :class:`BadValue` if too many of them have the same hash."""
    hashes = sorted(map(hash, keys)) if len(keys) > MAX_ALIKE else []
    if any(one == other for one, other in zip(hashes, hashes[MAX_ALIKE:], strict=False)):
        raise BadValue(f"more than {MAX_ALIKE} keys that hash alike")
    return keys


def _decode_array(tree: dict, buffers: list[bytes], dtypes: set[str], dtype: str | None = None) -> np.ndarray:
    if tree["dtype"] not in dtypes:
        raise BadValue(f"unknown dtype {tree['dtype']!r}")
    name = dtype or tree["dtype"]
    shape = tuple(tree["shape"])
    if len(shape) > 16 or any(type(n) is not int or n < 0 for n in shape):
        raise BadValue("malformed shape")
    raw = buffers[tree["v"]]
    if math.prod(shape) * np.dtype(name).itemsize != len(raw):
        raise BadValue("shape and size of an array disagree")
    return np.frombuffer(raw, dtype=np.dtype(name).newbyteorder("<")).reshape(shape).astype(name)


def _decode_tensor(tree: dict, buffers: list[bytes]) -> Any:
    import torch

    is_bfloat = tree["dtype"] == "bfloat16"
    array = _decode_array(tree, buffers, TENSOR_DTYPES, "int16" if is_bfloat else None)
    tensor = torch.from_numpy(array)
    if is_bfloat:
        tensor = tensor.view(torch.bfloat16)
    # The device and the flag are facts about the student's tensor that a check may ask about.
    tensor.was_on = str(tree.get("device"))[:20]
    tensor.had_grad = tree.get("grad") is True
    return tensor


def _decode_torch_name(kind: str, name: Any) -> Any:
    import torch

    if kind == "device":
        return torch.device(str(name)[:20])
    if name not in TENSOR_DTYPES | {"uint16", "uint32", "uint64"}:
        raise BadValue(f"unknown dtype {name!r}")
    return getattr(torch, name)


def _decode_generator(seed: Any) -> Any:
    import torch

    if type(seed) is not int or not 0 <= seed < 2**63:
        raise BadValue("malformed seed of a generator")
    return torch.Generator().manual_seed(seed)


def same(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Whether two decoded values are the same up to rounding; types of containers count, 1 equals 1.0.

    >>> same([1.0, (2, "x")], [1.0 + 1e-9, (2, "x")]), same([1], (1,))
    (True, False)
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rtol, abs_tol=atol)
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, rtol, atol) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], rtol, atol) for k in a)
    if isinstance(a, SimpleNamespace):
        return same(vars(a), vars(b), rtol, atol)
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(a, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        wide = torch.complex128 if a.is_complex() else torch.float64
        return torch.allclose(a.to(wide), b.to(wide), rtol=rtol, atol=atol, equal_nan=True)
    return a == b
