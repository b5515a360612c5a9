"""The vectors of tokens inside a model that is given as its parts: an embedding and a list of blocks."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor


class Layers(Protocol):
    """What a stack of blocks is made of: `embed` maps ids [B, T] to [B, T, C], each block maps [B, T, C] to itself."""

    embed: Callable[[Tensor], Tensor]
    blocks: Sequence[Callable[[Tensor], Tensor]]


def hidden_states(model: Layers, ids: Tensor, layer: int) -> Tensor:
    """Return the vectors [B, T, C] of ids [B, T] after the first `layer` blocks; layer 0 is the embedding.

    `contextual.contextual_vectors` does this for a GPT of chapter 2. ValueError for a layer that the model lacks.
    Source: Peters et al. 2018, section 3.2, and Devlin et al. 2019, section 5.3, take their vectors so.

    >>> from types import SimpleNamespace
    >>> import torch
    >>> model = SimpleNamespace(embed=lambda ids: ids[..., None] * 1.0, blocks=[lambda x: x.cumsum(1)] * 2)
    >>> hidden_states(model, torch.tensor([[1, 2]]), layer=1).flatten()
    tensor([1., 3.])
    """
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= len(model.blocks):
        raise ValueError(f"layer: expected an integer from 0 to {len(model.blocks)}, got {layer!r}")
    x = model.embed(ids)
    for block in model.blocks[:layer]:
        x = block(x)
    return x
