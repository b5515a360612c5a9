"""Models as folders of ``config.json`` and safetensors, as transformers reads and writes them, without transformers."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course_lib.attention.config import GPTConfig
from course_lib.attention.gpt import GPT
from course_lib.attention.gpt2_weights import gpt2_config, gpt2_settings, gpt2_state_from_hf, gpt2_state_to_hf
from course_lib.attention.llama_weights import llama_config, llama_settings, llama_state_from_hf, llama_state_to_hf

READERS = {"gpt2": (gpt2_config, gpt2_state_from_hf), "llama": (llama_config, llama_state_from_hf)}
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def gpt_from_hf(settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> GPT:
    """Return a `GPT` with the weights of a GPT2LMHeadModel or LlamaForCausalLM: its config as a dict, its state dict.

    ``gpt_from_hf(model.config.to_dict(), model.state_dict())`` is a copy of a model in memory. The weights keep their
    dtype. ValueError for another kind of model or for weights that do not belong to the config.
    """
    kind = settings.get("model_type")
    if kind not in READERS:
        raise ValueError(f"settings: expected model_type {' or '.join(READERS)}, got {kind!r}")
    read_config, read_state = READERS[kind]
    cfg = read_config(settings)
    model = undrawn_gpt(cfg)
    model.load_state_dict(read_state(state, cfg), assign=True)
    return model


def undrawn_gpt(cfg: GPTConfig) -> GPT:
    """Return a model of shapes only, without numbers: ``load_state_dict(state, assign=True)`` brings them.

    >>> from course_lib.attention.config import GPTConfig
    >>> undrawn_gpt(GPTConfig(65, 8, 1, 2, 16)).token_embedding.weight.device
    device(type='meta')
    """
    with torch.device("meta"), _NothingDrawn():
        return GPT(cfg)


class _NothingDrawn(TorchFunctionMode):
    """Leaves out the drawing of first weights, for which torch would load its compiler on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_safetensors(folder: str | PathLike[str]) -> GPT:
    """Return the model in a folder that transformers, or `save_safetensors`, wrote; GPT-2 and Llama.

    Weights may lie in one file or, with an index, in several. ValueError if there is no such model in the folder.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"folder: expected a folder with {CONFIG} in it, got {folder}")
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    else:
        names = [WEIGHTS]
    state: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"folder: expected the weights in a file {name} in it, got {folder}")
        state |= load_file(folder / name)
    return gpt_from_hf(settings, state)


def save_safetensors(model: GPT, folder: str | PathLike[str]) -> None:
    """Write a model so that transformers' ``from_pretrained(folder)`` loads it: as a Llama if it is one, else a GPT-2.

    The folder is made if it is not there. ValueError for a model that is neither; nothing is written then.
    """
    is_llama = model.cfg.norm == "rms"
    settings = (llama_settings if is_llama else gpt2_settings)(model.cfg)
    state = (llama_state_to_hf if is_llama else gpt2_state_to_hf)(model.state_dict(), model.cfg)
    settings["dtype"] = str(next(iter(state.values())).dtype).removeprefix("torch.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / INDEX).unlink(missing_ok=True)  # that of an earlier model would hide the file that follows
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
