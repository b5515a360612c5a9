"""A model and its tokenizer as a folder that transformers reads, and back."""

import json
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from course_lib.attention import GPT, load_safetensors, save_safetensors
from course_lib.attention.weights_folder import CONFIG, undrawn_gpt
from course_lib.pretraining.checkpoint import unwrap
from course_lib.tokenization import Tokenizer

END, TOKENIZER = "<|endoftext|>", "tokenizer.json"


def export_model(
    model: nn.Module, tokenizer: Tokenizer, folder: str | PathLike[str], dtype: torch.dtype = torch.float32
) -> None:
    """Write model.safetensors, config.json and tokenizer.json; transformers loads them as a LlamaForCausalLM.

    The weights are rounded to `dtype` in the files; the model keeps its own. The end of a document is written down as
    the model's end of text. ValueError for a model that is no Llama or GPT-2, and for a tokenizer of another size.
    """
    model, folder = unwrap(model), Path(folder)
    if len(tokenizer) != model.cfg.vocab_size:
        raise ValueError(f"tokenizer: expected {model.cfg.vocab_size} tokens, as the model has, got {len(tokenizer)}")
    rounded = undrawn_gpt(model.cfg)
    state = {name: x.detach().to("cpu", dtype) for name, x in model.state_dict().items()}
    rounded.load_state_dict(state, assign=True)
    save_safetensors(rounded, folder)
    tokenizer.save(folder / TOKENIZER)
    end = tokenizer.special.get(END)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | {"eos_token_id": end}
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load_exported(
    folder: str | PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[GPT, Tokenizer]:
    """Return the model, in evaluation mode, and the tokenizer of a folder that `export_model` wrote.

    ValueError if there is none.
    """
    folder = Path(folder)
    model = load_safetensors(folder).to(device, dtype).eval()
    if not (folder / TOKENIZER).is_file():
        raise ValueError(f"folder: expected a folder with {TOKENIZER} in it, got {folder}")
    return model, Tokenizer.load(folder / TOKENIZER)
