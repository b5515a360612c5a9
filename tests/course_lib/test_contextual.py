"""Hidden states by layer: the last one gives the logits, and only what stands before a token changes its vector."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import contextual_vectors

POSITIONS = ["learned", "sinusoidal", "rope", "alibi"]


def model_with(positions: str, dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    cfg = GPTConfig(vocab_size=11, context_length=8, n_layers=3, n_heads=2, d_model=8, positions=positions)
    model = GPT(GPTConfig(**{**vars(cfg), "dropout": dropout}))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)
    return model


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_last_layer_gives_the_logits(positions):
    model, ids = model_with(positions), torch.tensor([[1, 2, 3, 1], [4, 5, 6, 7]])
    x = contextual_vectors(model, ids, 3)
    logits = F.linear(model.final_norm(x), model.token_embedding.weight)
    torch.testing.assert_close(logits, model(ids))


@pytest.mark.parametrize("positions", POSITIONS)
def test_each_layer_is_what_a_hook_on_its_block_sees(positions):
    model, ids = model_with(positions), torch.tensor([[1, 2, 3, 1]])
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    model(ids)
    for layer, expected in enumerate(seen[:], start=1):
        assert torch.equal(contextual_vectors(model, ids, layer), expected)


def test_layer_zero_is_the_table_and_later_ones_see_the_past_only():
    model = model_with("rope")
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 4]])
    assert torch.equal(contextual_vectors(model, a, 0), model.token_embedding(a).detach())
    for layer in (1, 2, 3):
        x, y = contextual_vectors(model, a, layer), contextual_vectors(model, b, layer)
        torch.testing.assert_close(x[:, :2], y[:, :2])
        assert not torch.allclose(x[:, 3], y[:, 3])


def test_dropout_is_off_and_the_modes_stay():
    model, ids = model_with("rope", dropout=0.5), torch.tensor([[1, 2, 3]])
    model.train()
    model.blocks[1].eval()
    x = contextual_vectors(model, ids, 2)
    assert torch.equal(x, contextual_vectors(model, ids, 2)) and not x.requires_grad
    assert model.training and model.blocks[0].training and not model.blocks[1].training


@pytest.mark.parametrize("layer", [-1, 4, 1.0, True, None])
def test_a_layer_that_is_not_there(layer):
    with pytest.raises(ValueError, match="layer: expected an integer from 0 to 3"):
        contextual_vectors(model_with("rope"), torch.tensor([[1]]), layer)
