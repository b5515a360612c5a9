"""The MoE layer: grouped dispatch against every expert on every token, and against transformers' Mixtral."""

import pytest
import torch
from torch import nn

from course_lib.attention import (
    Block,
    MoE,
    SwiGLU,
    assign_slots,
    capacity,
    combine,
    dispatch,
    mix_experts,
    mix_experts_dense,
    route_topk,
)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def experts_of(count, width, dtype=torch.float64):
    torch.manual_seed(1)
    return [nn.Sequential(nn.Linear(width, 7), nn.Tanh(), nn.Linear(7, width)).to(dtype) for _ in range(count)]


def mix_by_token(x, idx, gate, experts, kept):
    """One token, one expert at a time."""
    rows = []
    for n, row in enumerate(x):
        total = torch.zeros_like(row)
        for j, expert in enumerate(idx[n].tolist()):
            if kept is None or kept[n, j]:
                total = total + gate[n, j] * experts[expert](row[None])[0]
        rows.append(total)
    return torch.stack(rows)


def assert_mixes(mix):
    for seed, (n, count, k) in enumerate([(17, 5, 2), (4, 8, 1), (6, 3, 3)]):
        x, logits = drawn(n, 6, seed=seed, dtype=torch.float64), drawn(n, count, seed=seed + 9, dtype=torch.float64)
        experts, (idx, gate) = experts_of(count, 6), route_topk(logits, k)
        for kept in (None, torch.ones_like(idx) > 0, drawn(n, k, seed=seed) > 0, torch.zeros_like(idx) > 0):
            want = mix_by_token(x, idx, gate, experts, kept)
            torch.testing.assert_close(mix(x, idx, gate, experts, kept), want)


@pytest.mark.parametrize("mix", [mix_experts, mix_experts_dense])
def test_mixing_equals_one_token_at_a_time(mix):
    assert_mixes(mix)


def mix_without_gate(x, idx, gate, experts, kept=None):
    return mix_experts(x, idx, torch.ones_like(gate), experts, kept)


def mix_dropped_as_themselves(x, idx, gate, experts, kept=None):
    out = mix_experts(x, idx, gate, experts, kept)
    return out if kept is None else torch.where(kept.any(-1, keepdim=True), out, x)


@pytest.mark.parametrize("wrong", [mix_without_gate, mix_dropped_as_themselves])
def test_the_oracle_refuses_wrong_mixing(wrong):
    with pytest.raises(AssertionError):
        assert_mixes(wrong)


def test_gradients_of_grouped_and_dense_mixing_agree():
    x, logits = drawn(11, 6, dtype=torch.float64), drawn(11, 4, seed=3, dtype=torch.float64)
    experts = nn.ModuleList(experts_of(4, 6))
    gradients = []
    for mix in (mix_experts, mix_experts_dense):
        a, b = x.clone().requires_grad_(), logits.clone().requires_grad_()
        idx, gate = route_topk(b, 2)
        loss = mix(a, idx, gate, experts).square().sum()
        gradients.append(torch.autograd.grad(loss, [a, b, *experts.parameters()]))
    for grouped, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(grouped, dense)


def test_an_expert_sees_only_its_own_tokens():
    seen = []

    def expert(number):
        return lambda rows: (seen.append((number, rows[:, 0].tolist())), rows)[1]

    x = torch.arange(4.0)[:, None]
    idx = torch.tensor([[2, 0], [0, 2], [2, 0], [3, 2]])
    mix_experts(x, idx, torch.ones(4, 2), [expert(n) for n in range(4)])
    assert seen == [(0, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [3])]  # expert 1 does not run at all


def test_layer_equals_transformers_mixtral():
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    config = pytest.importorskip("transformers").MixtralConfig(
        hidden_size=12, intermediate_size=20, num_local_experts=5, num_experts_per_tok=2
    )
    theirs = mixtral.MixtralSparseMoeBlock(config).eval()
    with torch.no_grad():
        for number, parameter in enumerate(theirs.parameters()):
            parameter.copy_(0.5 * drawn(*parameter.shape, seed=number))
    ours = MoE(d_model=12, n_experts=5, k=2, d_ff=20)
    weights = {"router.weight": theirs.gate.weight}
    for n in range(5):
        gate, up = theirs.experts.gate_up_proj[n].chunk(2)
        named = {"gate": gate, "up": up, "down": theirs.experts.down_proj[n]}
        weights |= {f"experts.{n}.{name}.weight": value for name, value in named.items()}
    ours.load_state_dict(weights)
    x = drawn(2, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_switch_layer_with_capacity_equals_buffers():
    torch.manual_seed(0)
    layer = MoE(d_model=6, n_experts=4, k=1, d_ff=8, capacity_factor=0.5).double()
    x = drawn(16, 6, dtype=torch.float64)
    out = layer(x)
    logits, idx, gate, kept = layer.routing
    room = capacity(16, 4, 1, 0.5)
    buffers, slots = dispatch(x, idx, 4, room)
    outputs = torch.stack([expert(rows) for expert, rows in zip(layer.experts, buffers, strict=True)])
    torch.testing.assert_close(x + out, combine(x, outputs, idx, slots, gate.double()))
    torch.testing.assert_close(gate, logits.softmax(-1).amax(-1, keepdim=True))
    assert not kept.all() and torch.equal(out[~kept.any(-1)], torch.zeros_like(out[~kept.any(-1)]))


def test_a_dropped_token_passes_by_the_residual_of_a_block():
    torch.manual_seed(0)
    layer = MoE(d_model=6, n_experts=3, k=1, d_ff=8, capacity_factor=0.3)
    block = Block(6, attention=torch.zeros_like, mlp=layer)
    x = drawn(1, 12, 6)
    out = block(x)
    dropped = ~layer.routing.kept.any(-1)
    assert 0 < dropped.sum() < 12
    assert torch.equal(out[0, dropped], x[0, dropped]) and not torch.isclose(out[0, ~dropped], x[0, ~dropped]).all()


def test_capacity_differs_in_training_and_evaluation():
    layer = MoE(d_model=4, n_experts=4, k=1, d_ff=4, capacity_factor=0.25, eval_capacity_factor=4.0)
    x = drawn(32, 4)
    layer(x)
    assert int(layer.routing.kept.sum()) <= 4 * 2
    layer.eval()(x)
    assert layer.routing.kept.all()
    layer(x[:0])
    assert layer.routing.idx.shape == (0, 1)


def test_router_stays_in_float32_under_autocast_and_in_half_precision():
    torch.manual_seed(0)
    layer = MoE(d_model=8, n_experts=4, k=2, d_ff=8)
    x = drawn(10, 8)
    layer(x)
    plain = layer.routing
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert torch.equal(layer.routing.logits, plain.logits)
    half = layer.bfloat16()
    assert half(x.bfloat16()).dtype == torch.bfloat16
    assert half.routing.logits.dtype == half.routing.gate.dtype == torch.float32


def test_noise_works_in_training_only_and_gives_every_expert_a_chance():
    torch.manual_seed(0)
    layer = MoE(d_model=4, n_experts=6, k=2, d_ff=4, noisy=True)
    x = drawn(200, 4)
    layer(x)
    assert set(layer.routing.idx.flatten().tolist()) == set(range(6))  # all logits are 0: the noise alone decides
    assert layer.routing.logits.abs().max() == 0  # and what the losses see has no noise
    loss = layer.losses()
    gates = torch.zeros(200, 6).scatter(1, layer.routing.idx, layer.routing.gate)
    totals = gates.sum(0)
    torch.testing.assert_close(loss["importance"], totals.var(correction=0) / totals.mean() ** 2)
    loss["importance"].backward()
    assert layer.noise.weight.grad is not None and torch.isfinite(layer.noise.weight.grad).all()
    layer.eval()(x)
    assert set(layer.routing.idx.flatten().tolist()) == {0, 1}


def test_every_loss_reaches_the_router():
    torch.manual_seed(0)
    layer = MoE(d_model=4, n_experts=6, k=2, d_ff=4)
    layer(drawn(50, 4))
    for name, loss in layer.losses().items():
        (gradient,) = torch.autograd.grad(loss, layer.router.weight, retain_graph=True)
        assert gradient.abs().max() > 0, name


def test_any_expert_may_be_given():
    layer = MoE(d_model=4, n_experts=3, k=3, expert=nn.Identity)
    x = drawn(2, 5, 4)
    torch.testing.assert_close(layer(x), x)  # the gates add up to one
    assert sum(p.numel() for p in MoE(8, 4, d_ff=16).parameters()) == 8 * 4 + 4 * 3 * 8 * 16
    assert isinstance(MoE(8, 2).experts[0], SwiGLU)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MoE(4, 2, k=3), "k: expected at most the 2 experts, got 3"),
        (lambda: MoE(4, 2, k=1, noisy=True), "k: expected an integer >= 2"),
        (lambda: MoE(4, 2, capacity_factor=-1.0)(torch.zeros(3, 4)), "factor: expected a positive number"),
        (lambda: MoE(4, 2).losses(), "routing: expected a forward pass"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_slots_and_kept_are_the_same_decision():
    layer = MoE(d_model=4, n_experts=3, k=2, d_ff=4, capacity_factor=0.7)
    layer(drawn(21, 4))
    room = capacity(21, 3, 2, 0.7)
    assert torch.equal(layer.routing.kept, assign_slots(layer.routing.idx, 3, room) >= 0)
