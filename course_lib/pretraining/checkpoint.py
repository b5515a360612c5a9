"""Checkpoints: all that a run needs to go on as if it had never stopped, in one file that is whole or not there.

A checkpoint is a safetensors file: tensors under "model.", "optimizer." and "random.", everything else as JSON in the
file's metadata, next to a SHA-256 of all of it. Reading one never runs code, as unpickling would.
"""

import hashlib
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FORMAT = "course checkpoint 1"


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
    cursor: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write model, optimiser, step, data cursor, `extra`, and all random states to `path`, whole or not at all.

    The file is written under another name in the same folder, forced to the disk, and renamed: a reader, or a run that
    is killed at any moment, finds the old checkpoint or the new one and never a half. On a full disk there is an
    OSError, and the old checkpoint stays. `cursor` and `extra` hold what JSON can. The random states are those of
    Python, numpy, torch and all CUDA devices. Wrappers of `torch.compile` and `DistributedDataParallel` leave no trace.
    ValueError for a cursor or `extra` that JSON cannot hold.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.safetensors"
    >>> save_checkpoint(path, nn.Linear(2, 2), step=7, cursor={"epoch": 1})
    >>> load_checkpoint(path, nn.Linear(2, 2))["step"]
    7
    """
    tensors = {f"model.{name}": x for name, x in unwrap(model).state_dict().items()}
    state: dict[str, Any] = {"format": FORMAT, "step": step, "cursor": cursor, "extra": extra}
    if optimizer is not None:
        found, state["optimizer"] = _flatten(optimizer.state_dict())
        tensors |= found
    found, state["random"] = random_state()
    tensors |= {f"random.{name}": x for name, x in found.items()}
    # One copy, on the CPU and of its own storage: tied or sliced weights are written in full.
    tensors = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in tensors.items()}
    try:
        text = json.dumps(state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cursor, extra: expected what JSON can hold, got {error}") from None
    metadata = {"format": "pt", "state": text, "sha256": _digest(tensors, text)}
    _write(Path(path), save(tensors, metadata))


def load_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    restore_random: bool = True,
) -> dict[str, Any]:
    """Read a checkpoint into model and optimiser, set all random states, and return its "step", "cursor", "extra".

    Nothing is touched before the whole file has been read and checked. ValueError if the file is damaged, cut short or
    no checkpoint, if it does not fit model or optimiser; FileNotFoundError if it is missing.
    """
    path = Path(path)
    tensors, state = _read(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
    for name, x in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = x
    if optimizer is not None:
        if state.get("optimizer") is None:
            raise ValueError(f"optimizer: expected a checkpoint with an optimiser's state, got {path} without one")
        optimizer_state = _unflatten(parts["optimizer"], state["optimizer"], optimizer.state_dict(), path)
    if model is not None:
        _require_fit(parts["model"], unwrap(model).state_dict(), path)
        unwrap(model).load_state_dict(parts["model"])
    if optimizer is not None:
        optimizer.load_state_dict(optimizer_state)
    if restore_random:
        set_random_state(parts["random"], state["random"])
    return {name: state[name] for name in ("step", "cursor", "extra")}


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile` and `DistributedDataParallel`, whose names get no prefix then.

    >>> layer = nn.Linear(1, 1)
    >>> unwrap(nn.parallel.DataParallel(layer)) is layer
    True
    """
    wrappers = (nn.parallel.DistributedDataParallel, nn.parallel.DataParallel)
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the states of the random generators of Python, numpy, torch and CUDA: as tensors, and as JSON values."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(keys.astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    version, numbers, gauss = random.getstate()
    return tensors, {"numpy": [kind, position, has_gauss, cached], "python": [version, list(numbers), gauss]}


def set_random_state(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Set all random generators to what `random_state` has returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i in range(devices):
        if f"cuda.{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{i}"], i)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by name and a rest that JSON can hold."""
    tensors, rest = {}, {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                rest[f"{index}.{key}"] = value
    return tensors, {"rest": rest, "groups": state["param_groups"]}


def _unflatten(
    tensors: dict[str, Tensor], saved: dict[str, Any], current: dict[str, Any], path: Path
) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *saved["rest"].items()]:
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    sizes = [len(group["params"]) for group in saved["groups"]]
    expected = [len(group["params"]) for group in current["param_groups"]]
    if sizes != expected:
        raise ValueError(f"optimizer: expected groups of {expected} parameters, got {sizes} in {path}")
    for group, mine in zip(saved["groups"], current["param_groups"], strict=True):
        for key, value in group.items():
            if isinstance(mine.get(key), tuple):  # JSON knows lists only
                group[key] = tuple(value)
    return {"state": state, "param_groups": saved["groups"]}


def _require_fit(saved: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> None:
    for name in sorted(saved.keys() ^ wanted.keys()):
        where = "the checkpoint" if name in saved else "the model"
        raise ValueError(f"model: expected the same parameters as in {path}, got {name!r} in {where} only")
    for name, x in saved.items():
        want, got = tuple(x.shape), tuple(wanted[name].shape)
        if want != got:
            raise ValueError(f"model: expected {name} of shape {want}, as in {path}, got one of shape {got}")


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")  # the same folder: a rename across disks would be a copy
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # before the rename: or a power cut could leave the new name with old emptiness
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)  # the rename itself is an entry of the folder
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a checkpoint, found no file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it has no other way)
    except (SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(f"path: expected a whole checkpoint, got {path}, damaged or cut short ({error})") from None
    if not {"state", "sha256"} <= metadata.keys():
        raise ValueError(f"path: expected a checkpoint of this course, got {path}, another safetensors file")
    if _digest(tensors, metadata["state"]) != metadata["sha256"]:
        raise ValueError(f"path: expected a whole checkpoint, got {path}, damaged: its checksum does not fit")
    state = json.loads(metadata["state"])
    if state.get("format") != FORMAT:
        raise ValueError(f"path: expected the format {FORMAT!r}, got {state.get('format')!r} in {path}")
    return tensors, state
