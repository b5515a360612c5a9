"""Vectors after each block of a model that is given as its parts."""

from types import SimpleNamespace

import pytest
import torch

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import contextual_vectors, hidden_states

IDS = torch.tensor([[3, 1, 3, 0], [2, 2, 5, 3]])


def parts_of(model):
    how = model._attend_how(IDS.shape[1], model._embed(IDS, None), None)
    blocks = [lambda x, block=block: block(x, **how) for block in model.blocks]
    return SimpleNamespace(embed=lambda ids: model._embed(ids, None), blocks=blocks)


@torch.no_grad()
def test_the_parts_of_a_gpt_give_what_the_gpt_gives():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=6, context_length=8, n_layers=3, n_heads=2, d_model=8, positions="rope")).eval()
    for layer in range(4):
        torch.testing.assert_close(hidden_states(parts_of(model), IDS, layer), contextual_vectors(model, IDS, layer))


@pytest.mark.parametrize("layer", [-1, 3, 1.0, True, None])
def test_layers_that_there_are_not(layer):
    model = SimpleNamespace(embed=lambda ids: ids * 1.0, blocks=[lambda x: x + 1] * 2)
    assert hidden_states(model, IDS, 2)[0, 0] == 5
    with pytest.raises(ValueError, match=r"^layer: expected an integer from 0 to 2"):
        hidden_states(model, IDS, layer)
