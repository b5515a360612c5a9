"""Language models that come with the course, trained by its own command on the text that comes with Python."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from course_lib.attention import GPT
    from course_lib.tokenization import Tokenizer

FOLDER = Path(__file__).parent


def model_names() -> list[str]:
    """Return the names that `base_model` knows.

    >>> model_names()
    ['base', 'draft']
    """
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def base_model(
    name: str = "base", device: "torch.device | str" = "cpu", dtype: "torch.dtype | None" = None
) -> "tuple[GPT, Tokenizer]":
    """Return a trained model, in evaluation mode, and its tokenizer.

    "base" writes like Python's manual and library; "draft" is about a tenth of its size, with the same tokenizer.
    Every call returns a new model, so that changing one changes no other. `dtype` is float32 unless given.
    What each was trained on, and how good it is, stands in the README.md beside its weights.
    ValueError for another name.

    >>> model, tokenizer = base_model("draft")
    >>> import torch
    >>> model(torch.tensor([tokenizer.encode("def main")])).shape[-1] == len(tokenizer)
    True
    """
    import torch

    from course_lib.attention import load_safetensors

    if name not in model_names():
        raise ValueError(f"name: expected {' or '.join(model_names())}, got {name!r}")
    model = load_safetensors(FOLDER / name)
    return model.to(device, dtype or torch.float32).eval(), _tokenizer(name)


@cache
def _tokenizer(name: str) -> "Tokenizer":
    from course_lib.tokenization import Tokenizer

    return Tokenizer.load(FOLDER / name / "tokenizer.json")
