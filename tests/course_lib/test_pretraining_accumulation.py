"""Accumulated gradients equal those of the whole batch, however unequal the parts."""

import pytest
import torch
from torch import nn

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import TokenBatches, accumulate, backward_by_tokens, count_targets, token_loss_sum

torch.set_num_threads(1)
CFG = GPTConfig(13, 8, 2, 2, 16)


def setting():
    torch.manual_seed(0)
    model = GPT(CFG)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    inputs, targets = torch.randint(13, (2, 6, 8), generator=torch.Generator().manual_seed(1))
    targets[1, 2:] = targets[2, 1:] = targets[4, 5:] = -100
    targets[3] = -100  # a row, and a micro-batch below, with nothing to predict
    return model, inputs, targets


def whole(model, inputs, targets):
    """The gradient of one batch, by the model's own loss: a mean over all targets."""
    return dict(zip(names(model), torch.autograd.grad(model(inputs, targets), list(model.parameters())), strict=True))


def names(model):
    return [name for name, _ in model.named_parameters()]


CUTS = {"equal": [2, 2, 2], "unequal": [1, 4, 1], "one": [6], "each": [1] * 6}


@pytest.mark.parametrize("sizes", CUTS.values(), ids=CUTS)
def test_the_parts_together_are_the_whole(sizes):
    model, inputs, targets = setting()
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    want = whole(model, inputs, targets)
    got = accumulate(model, batches)
    assert list(got) == list(want) and all(p.grad is None for p in model.parameters())
    loss = backward_by_tokens(model, batches)
    assert loss.item() / count_targets(batches) == pytest.approx(model(inputs, targets).item(), rel=1e-6)
    for name, p in model.named_parameters():
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(p.grad, want[name], rtol=1e-5, atol=1e-7)


def test_a_mean_of_means_is_something_else():
    model, inputs, targets = setting()
    want = whole(model, inputs, targets)["token_embedding.weight"]
    keep = [0, 1, 2, 4, 5]
    parts = [whole(model, inputs[i : i + 1], targets[i : i + 1])["token_embedding.weight"] for i in keep]
    assert (sum(parts) / len(parts) - want).abs().max() > 0.02 * want.abs().max()


def test_what_is_divided_by_and_scaled():
    model, inputs, targets = setting()
    want = whole(model, inputs, targets)
    tokens = count_targets([(inputs, targets)])
    assert tokens == 8 * 5 - 6 - 7 - 3
    loss = backward_by_tokens(model, [(inputs, targets)], tokens=2 * tokens, scale=6.0)
    assert loss.item() == pytest.approx(token_loss_sum(model, inputs, targets).item())
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, 3 * want[name], rtol=1e-5, atol=1e-7)


def test_frozen_and_unused_parameters():
    model, inputs, targets = setting()
    model.position_embedding.weight.requires_grad_(False)
    model.unused = nn.Parameter(torch.ones(2))
    got = accumulate(model, [(inputs, targets)])
    assert "position_embedding.weight" not in got and torch.equal(got["unused"], torch.zeros(2))


def test_documents_that_are_kept_apart():
    model, _, _ = setting()
    tokens = torch.randint(13, (60,), generator=torch.Generator().manual_seed(2))
    apart = TokenBatches(tokens, 3, 8, eos=0).next_batch()
    loss = token_loss_sum(model, *apart)
    logits = model(apart.inputs, mask=apart.mask[:, None], positions=apart.positions)
    picked = logits.log_softmax(-1).gather(2, apart.targets.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(loss, -picked[apart.targets != -100].sum())
    assert (loss - token_loss_sum(model, apart.inputs, apart.targets)).abs() > 1e-3
    plain = TokenBatches(tokens, 3, 8).next_batch()
    torch.testing.assert_close(token_loss_sum(model, *plain), model(plain.inputs, plain.targets) * 24)


def test_nothing_to_predict_is_refused():
    model, inputs, targets = setting()
    nothing = [(inputs, torch.full_like(targets, -100))]
    for call in (accumulate, backward_by_tokens):
        with pytest.raises(ValueError, match="batches: expected at least one token to predict"):
            call(model, nothing)
    with pytest.raises(ValueError, match="batches: expected at least one, got none"):
        backward_by_tokens(model, [], tokens=3)
