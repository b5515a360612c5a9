"""Arrays, tensors and what belongs to torch as trees and raw little-endian buffers, for :mod:`autograder.values`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MAX_BUFFER_BYTES = 256 * 2**20

ARRAY_DTYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
}  # fmt: skip
TENSOR_DTYPES = ARRAY_DTYPES - {"uint16", "uint32", "uint64"} | {"bfloat16"}


class BadValue(ValueError):
    """A value that cannot cross, or a tree that no honest ``encode`` would have made."""


def encode_array(array: np.ndarray, buffers: list[bytes], kind: str, dtype: str | None = None) -> dict:
    if array.dtype.name not in ARRAY_DTYPES:
        raise BadValue(f"an array of dtype {array.dtype} cannot be compared; use numbers")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if little.nbytes > MAX_BUFFER_BYTES:
        raise BadValue(f"an array of {little.nbytes / 2**20:.0f} MiB is too large")
    buffers.append(little.tobytes())
    return {"t": kind, "dtype": dtype or array.dtype.name, "shape": list(array.shape), "v": len(buffers) - 1}


def encode_tensor(tensor: Any, buffers: list[bytes], torch: Any) -> dict:
    with torch._C.DisableTorchFunctionSubclass():  # a subclass has no say in how it is read
        plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        requires_grad = bool(tensor.requires_grad)
    device = str(plain.device)
    if plain.layout != torch.strided or plain.device.type == "meta":
        raise BadValue(f"a tensor with layout {plain.layout} on {device} has no plain values")
    dtype = str(plain.dtype).removeprefix("torch.")
    plain = plain.cpu()
    array = plain.view(torch.int16).numpy() if dtype == "bfloat16" else plain.numpy()
    tree = encode_array(array, buffers, "tensor", dtype)
    return tree | {"device": device, "grad": requires_grad}


def decode_array(tree: dict, buffers: list[bytes], dtypes: set[str], dtype: str | None = None) -> np.ndarray:
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


def decode_tensor(tree: dict, buffers: list[bytes]) -> Any:
    import torch

    is_bfloat = tree["dtype"] == "bfloat16"
    array = decode_array(tree, buffers, TENSOR_DTYPES, "int16" if is_bfloat else None)
    tensor = torch.from_numpy(array)
    if is_bfloat:
        tensor = tensor.view(torch.bfloat16)
    # The device and the flag are facts about the student's tensor that a check may ask about.
    tensor.was_on = str(tree.get("device"))[:20]
    tensor.had_grad = tree.get("grad") is True
    return tensor


def decode_torch_name(kind: str, name: Any) -> Any:
    import torch

    if kind == "device":
        return torch.device(str(name)[:20])
    if name not in TENSOR_DTYPES | {"uint16", "uint32", "uint64"}:
        raise BadValue(f"unknown dtype {name!r}")
    return getattr(torch, name)


def decode_generator(seed: Any) -> Any:
    import torch

    if type(seed) is not int or not 0 <= seed < 2**63:
        raise BadValue("malformed seed of a generator")
    return torch.Generator().manual_seed(seed)
