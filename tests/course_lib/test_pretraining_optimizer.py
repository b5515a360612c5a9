"""AdamW and clipping against torch's, and against the ways in which they are usually wrong."""

import math

import pytest
import torch
from torch import nn

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import AdamW, adamw_step, clip_grad_norm, clip_grad_norm_, decay_groups, global_norm

torch.set_num_threads(1)
SETTINGS = {"lr": 3e-2, "betas": (0.8, 0.99), "eps": 1e-3}  # a large eps shows where it is added


def gradients(steps=50):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, generator=g, dtype=torch.float64) * 10 ** (i % 3 - 1) for i in range(steps)]


def start():
    return torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)


def torchs_path(wd=0.3, kind=torch.optim.AdamW):
    p = nn.Parameter(start())
    optimizer = kind([p], weight_decay=wd, **SETTINGS)
    path = []
    for g in gradients():
        p.grad = g.clone()
        optimizer.step()
        path.append(p.detach().clone())
    return torch.stack(path)


def functional_path(step=adamw_step, wd=0.3):
    p, state, path = start(), None, []
    for g in gradients():
        p, state = step(p, g, state, wd=wd, **SETTINGS)
        path.append(p)
    return torch.stack(path)


def test_fifty_steps_equal_torch():
    want = torchs_path()
    torch.testing.assert_close(functional_path(), want, rtol=1e-12, atol=1e-14)
    p = nn.Parameter(start())
    optimizer, path = AdamW([p], wd=0.3, **SETTINGS), []
    for g in gradients():
        p.grad = g.clone()
        optimizer.step()
        path.append(p.detach().clone())
    torch.testing.assert_close(torch.stack(path), want, rtol=1e-12, atol=1e-14)


def l2_in_the_gradient(p, g, state, wd, **settings):
    return adamw_step(p, g + wd * p, state, wd=0.0, **settings)


def eps_in_the_root(p, g, state, lr, betas, eps, wd):
    _, state = adamw_step(p, g, state, lr, betas, eps, wd)
    m, v = (state[name] / (1 - beta ** state["step"]) for name, beta in zip("mv", betas, strict=True))
    return p - lr * wd * p - lr * m / (v + eps).sqrt(), state


def no_bias_correction(p, g, state, lr, betas, eps, wd):
    _, state = adamw_step(p, g, state, lr, betas, eps, wd)
    return p - lr * wd * p - lr * state["m"] / (state["v"].sqrt() + eps), state


@pytest.mark.parametrize("wrong", [l2_in_the_gradient, eps_in_the_root, no_bias_correction])
def test_the_usual_errors_are_far_from_torch(wrong):
    assert (functional_path(wrong) - torchs_path()).abs().max() > 1e-3
    if wrong is l2_in_the_gradient:  # it is exactly torch's Adam
        torch.testing.assert_close(functional_path(wrong), torchs_path(kind=torch.optim.Adam), rtol=1e-9, atol=1e-12)


def test_a_step_by_hand_and_nothing_in_place():
    p, g = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])
    moved, state = adamw_step(p, g, None, lr=0.1, wd=0.5)
    assert moved.tolist() == pytest.approx([2 - 0.1 * 0.5 * 2 - 0.1, -1 + 0.1 * 0.5])
    again, _ = adamw_step(p, g, None, lr=0.1, wd=0.5)
    assert torch.equal(moved, again) and p.tolist() == [2.0, -1.0]
    assert state["step"] == 1 and state["m"][0].item() == pytest.approx(0.05 * 0 + 0.1 * 0.5)
    before = state["m"].clone()
    adamw_step(moved, g, state, lr=0.1)
    assert torch.equal(state["m"], before) and state["step"] == 1


def test_groups_missing_gradients_and_saved_states():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    spare = nn.Parameter(torch.ones(2))
    groups = [*decay_groups(model, 0.4), {"params": [spare], "lr": 5.0}]
    ours = AdamW(groups, lr=0.1)
    theirs_model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    theirs_model.load_state_dict(model.state_dict())
    theirs = torch.optim.AdamW(decay_groups(theirs_model, 0.4, key="weight_decay"), lr=0.1, betas=(0.9, 0.95))
    for step in range(6):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        for each, optimizer in ((model, ours), (theirs_model, theirs)):
            optimizer.zero_grad()
            each(x)[:, 0].square().sum().backward()
            optimizer.step()
        if step == 2:  # the state is all there is: a new optimiser goes on with it
            fresh = AdamW([*decay_groups(model, 0.4), {"params": [spare], "lr": 5.0}], lr=0.7)
            fresh.load_state_dict(ours.state_dict())
            ours = fresh
    for a, b in zip(model.parameters(), theirs_model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(spare, torch.ones(2))
    assert ours.step(lambda: torch.tensor(3.0)) == 3.0


def test_which_tensors_decay():
    model = GPT(GPTConfig(11, 8, 2, 2, 8))
    model.final_norm.bias.requires_grad_(False)
    names = {id(p): name for name, p in model.named_parameters()}
    for embeddings in (True, False):
        groups = decay_groups(model, 0.2, embeddings)
        by = {group["wd"]: [names[id(p)] for p in group["params"]] for group in groups}
        assert sorted(by[0.2] + by[0.0]) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
        assert all(name.endswith(".weight") and "norm" not in name for name in by[0.2])
        assert all("norm" in n or n.endswith("bias") or n.endswith("embedding.weight") for n in by[0.0])
        assert ("token_embedding.weight" in by[0.2]) == ("position_embedding.weight" in by[0.2]) == embeddings
    assert len(decay_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_clipping_equals_torch_and_keeps_the_direction():
    gs = [torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) * n for n in (1, 4, 7)]
    norm = math.sqrt(sum(x * x for g in gs for x in g.flatten().double().tolist()))
    for max_norm in (0.5, norm * 0.999, norm * 1.001):
        parameters = [nn.Parameter(torch.zeros_like(g)) for g in gs] + [nn.Parameter(torch.zeros(2))]
        theirs = [nn.Parameter(torch.zeros_like(g)) for g in gs]
        for p, q, g in zip(parameters, theirs, gs, strict=False):
            p.grad, q.grad = g.clone(), g.clone()
        got = clip_grad_norm_(parameters, max_norm)
        want = nn.utils.clip_grad_norm_(theirs, max_norm)
        assert got.item() == pytest.approx(norm, rel=1e-5) == want.item()
        clipped, again = clip_grad_norm(gs, max_norm)
        for p, q, c in zip(parameters, theirs, clipped, strict=False):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=0)
            assert torch.equal(p.grad, c)
        assert again == got and global_norm(clipped).item() == pytest.approx(min(norm, max_norm), rel=1e-5)
        assert parameters[3].grad is None
        if max_norm > norm:
            assert all(torch.equal(c, g) for c, g in zip(clipped, gs, strict=True))
    # Each tensor alone is another thing: the direction turns.
    alone = torch.cat([(g * min(1, 0.5 / g.norm().item())).flatten() for g in gs])
    whole = torch.cat([g.flatten() for g in gs])
    together = torch.cat([g.flatten() for g in clip_grad_norm(gs, 0.5)[0]])
    cosine = nn.functional.cosine_similarity
    assert cosine(together, whole, 0) > 0.999999 and cosine(alone, whole, 0) < 0.99


def test_clipping_in_extremes():
    zero = [torch.zeros(3)]
    assert torch.equal(clip_grad_norm(zero, 1.0)[0][0], zero[0])
    for bad in (math.nan, math.inf):
        clipped, norm = clip_grad_norm([torch.tensor([bad, 1.0]), torch.ones(2)], 1.0)
        assert not norm.isfinite() and torch.equal(clipped[1], torch.ones(2))
    half = [torch.full((70_000,), 2.0, dtype=torch.bfloat16)]
    assert global_norm(half).item() == pytest.approx(2 * math.sqrt(70_000), rel=1e-6)
    assert clip_grad_norm(half, 1.0)[0][0].dtype == torch.bfloat16
    huge = [torch.tensor([1e30]), torch.tensor([1e30])]
    assert not global_norm([torch.tensor([1e30]) ** 2]).isfinite()  # what the sum of squares would be
    assert global_norm([g.double() for g in huge]).item() == pytest.approx(math.sqrt(2) * 1e30)


X = torch.ones(2)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: adamw_step(X, torch.ones(3), None, 0.1), "g"),
        (lambda: adamw_step(X, X, None, -0.1), "lr"),
        (lambda: adamw_step(X, X, None, 0.1, betas=(0.9, 1.0)), "betas"),
        (lambda: adamw_step(X, X, None, 0.1, eps=-1.0), "eps"),
        (lambda: adamw_step(X, X, None, 0.1, wd=math.nan), "wd"),
        (lambda: AdamW([nn.Parameter(X)], lr=-1.0), "lr"),
        (lambda: AdamW([{"params": [nn.Parameter(X)], "wd": -1.0}]), "wd"),
        (lambda: decay_groups(nn.Linear(2, 2), -0.1), "wd"),
        (lambda: decay_groups(nn.Identity(), 0.1), "model"),
        (lambda: clip_grad_norm([X], 0.0), "max_norm"),
        (lambda: clip_grad_norm([X], math.nan), "max_norm"),
        (lambda: clip_grad_norm([], 1.0), "gs"),
        (lambda: clip_grad_norm_([nn.Parameter(X)], 1.0), "gs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()
