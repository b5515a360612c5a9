"""Vectors of tokens in their context: the hidden states of a decoder after each of its layers."""

import torch
from torch import Tensor

from course_lib.attention import GPT


@torch.no_grad()
def contextual_vectors(model: GPT, ids: Tensor, layer: int) -> Tensor:
    """Return the residual stream [B, T, C] after `layer` blocks, for ids [B, T]; layer 0 are the embeddings.

    At layer 0 a token has the same vector everywhere (but for learned or sinusoidal positions, which are added
    there), from layer 1 on one that depends on what stands before it. The model's last norm is not applied. Dropout is
    off, no gradient is kept, and the model is left in the mode it was in.
    ValueError for a layer that the model does not have, and for ids as in `GPT`.
    Source: Peters et al. 2018, section 3.2, and Devlin et al. 2019, section 5.3, take their vectors so.

    >>> from course_lib.attention import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=9, context_length=8, n_layers=2, n_heads=2, d_model=4, positions="rope"))
    >>> contextual_vectors(model, torch.tensor([[3, 1, 3]]), layer=2).shape
    torch.Size([1, 3, 4])
    >>> static = contextual_vectors(model, torch.tensor([[3, 1, 3]]), layer=0)
    >>> torch.equal(static[0, 0], static[0, 2])
    True
    """
    layers = len(model.blocks)
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= layers:
        raise ValueError(f"layer: expected an integer from 0 to {layers}, got {layer!r}")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        x = model._embed(ids, None)
        how = model._attend_how(ids.shape[1], x, None)
        for block in model.blocks[:layer]:
            x = block(x, **how)
    finally:
        for module, training in modes.items():
            module.training = training
    return x
