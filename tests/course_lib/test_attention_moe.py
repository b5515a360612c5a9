"""Routing: against loops over tokens, exact fractions, and the losses of transformers."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention import (
    assign_slots,
    capacity,
    combine,
    dispatch,
    importance_loss,
    load_balance_loss,
    noisy_logits,
    route_topk,
    router_z_loss,
)

SIZES = st.tuples(st.integers(1, 25), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slots_by_loop(idx, n_experts, room):
    """Count up, choice by choice and token by token."""
    used, slots = [0] * n_experts, torch.full_like(idx, -1)
    for j in range(idx.shape[1]):
        for n in range(idx.shape[0]):
            expert = int(idx[n, j])
            if used[expert] < room:
                slots[n, j] = used[expert]
                used[expert] += 1
    return slots


# route_topk


def assert_routes(route):
    for seed, (n, experts, k) in enumerate([(7, 5, 1), (9, 4, 2), (3, 6, 6), (1, 1, 1)]):
        logits = drawn(n, experts, seed=seed)
        idx, gate = route(logits, k)
        for row, chosen, weights in zip(logits.tolist(), idx.tolist(), gate.tolist(), strict=True):
            assert chosen == sorted(range(experts), key=lambda e: -row[e])[:k]
            exp = [math.exp(value) for value in row]
            total = sum(exp) if k == 1 else sum(exp[e] for e in chosen)
            assert weights == pytest.approx([exp[e] / total for e in chosen])


def test_routing_equals_sorting_by_hand():
    assert_routes(route_topk)


def switch_renormalised(logits, k):
    return route_topk(logits, k, renormalise=True)


def never_renormalised(logits, k):
    return route_topk(logits, k, renormalise=False)


@pytest.mark.parametrize("wrong", [switch_renormalised, never_renormalised])
def test_the_two_gates_are_told_apart(wrong):
    with pytest.raises(AssertionError):
        assert_routes(wrong)


def test_ties_go_to_the_smaller_number_and_huge_logits_stay_finite():
    assert route_topk(torch.zeros(2, 7), 3)[0].tolist() == [[0, 1, 2]] * 2
    idx, gate = route_topk(torch.tensor([[1e4, 0.0, 1e4]]), 2)
    assert idx.tolist() == [[0, 2]] and gate.tolist() == [[0.5, 0.5]]


def test_half_precision_logits_are_gated_in_float32():
    logits = drawn(6, 4).bfloat16()
    gate = route_topk(logits, 2)[1]
    assert gate.dtype == torch.float32
    torch.testing.assert_close(gate, route_topk(logits.float(), 2)[1])
    assert router_z_loss(logits).dtype == torch.float32


def test_the_gradient_of_the_gate_reaches_the_router_unless_it_is_constant():
    for k in (1, 2):
        logits = drawn(5, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, k=k: route_topk(x, k)[1], logits)
        assert torch.autograd.grad(route_topk(logits, k)[1][:, 0].sum(), logits)[0].abs().amax(dim=-1).min() > 0
    logits = drawn(5, 4).requires_grad_()
    constant = route_topk(logits, 1, renormalise=True)[1]
    assert constant.tolist() == [[1.0]] * 5
    assert torch.autograd.grad(constant.sum(), logits)[0].abs().max() == 0


# capacity


def capacity_counted(n, experts, k, factor):
    """The smallest number of places that E experts can offer so that they hold factor k N in all."""
    room = 1
    while room * experts < factor * k * n:
        room += 1
    return room


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), st.integers(1, 400))
@settings(max_examples=200, deadline=None)
def test_capacity_is_the_rounded_up_share(n, experts, k, hundredths):
    want = capacity_counted(n, experts, k, Fraction(hundredths, 100))
    assert capacity(n, experts, k, hundredths / 100) == want


def test_capacity_is_not_fooled_by_floating_point():
    assert math.ceil(1.1 * 50 / 5) == 12  # 1.1 * 50 is a little more than 55
    assert capacity(50, 5, 1, 1.1) == 11


# dispatch and combine


@given(SIZES, st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_slots_equal_counting_in_order_of_priority(sizes, room):
    n, experts, k, seed = sizes
    k = min(k, experts)
    idx = drawn(n, experts, seed=seed).argsort(dim=-1)[:, :k]
    slots = assign_slots(idx, experts, room)
    assert torch.equal(slots, slots_by_loop(idx, experts, room))
    x = drawn(n, 3, seed=seed + 1)
    buffers, same = dispatch(x, idx, experts, room)
    assert torch.equal(same, slots) and buffers.shape == (experts, room, 3)
    for token in range(n):
        for choice in range(k):
            if slots[token, choice] >= 0:
                assert torch.equal(buffers[idx[token, choice], slots[token, choice]], x[token])
    filled = int((slots >= 0).sum())
    assert int((buffers.abs().sum(-1) > 0).sum()) == filled  # all other places hold zeros


def test_second_choices_never_take_the_place_of_a_first_one():
    idx = torch.tensor([[0, 1], [0, 1], [1, 0]])
    assert assign_slots(idx, 2, 2).tolist() == [[0, 1], [1, -1], [0, -1]]
    by_token = slots_by_loop(idx.flatten()[:, None], 2, 2).view(3, 2)  # token by token, both of its choices
    assert by_token.tolist() == [[0, 0], [1, 1], [-1, -1]]  # the third token loses even its first choice


def test_combining_what_was_dispatched():
    x, gate = drawn(6, 3), drawn(6, 2, seed=1).sigmoid()
    idx = drawn(6, 4, seed=2).argsort(dim=-1)[:, :2]
    for room in (1, 2, 6):
        buffers, slots = dispatch(x, idx, 4, room)
        scale = torch.arange(1.0, 5.0, dtype=torch.float64)
        got = combine(x, buffers * scale[:, None, None], idx, slots, gate)
        want = [
            x[n] + sum(gate[n, j] * scale[idx[n, j]] * x[n] for j in range(2) if slots[n, j] >= 0) for n in range(6)
        ]
        torch.testing.assert_close(got, torch.stack(want))
        everywhere_dropped = (slots < 0).all(-1)
        assert torch.equal(got[everywhere_dropped], x[everywhere_dropped])


def test_gradients_flow_through_buffers_and_gates():
    idx = torch.tensor([[0], [0], [1]])
    x, gate = drawn(3, 2).requires_grad_(), drawn(3, 1, seed=1).requires_grad_()

    def through(x, gate):
        buffers, slots = dispatch(x, idx, 2, 1)
        return combine(x, buffers.tanh(), idx, slots, gate)

    assert torch.autograd.gradcheck(through, (x, gate))
    dropped = torch.autograd.grad(through(x, gate)[1].sum(), (x, gate))
    assert dropped[0].tolist() == [[0, 0], [1, 1], [0, 0]] and dropped[1].abs().max() == 0


# Losses


def balance_by_loop(probs, idx):
    n, experts = probs.shape
    total = 0.0
    for expert in range(experts):
        share = sum(int(chosen == expert) for row in idx.tolist() for chosen in row) / idx.numel()
        total += share * sum(row[expert] for row in probs.tolist()) / n
    return experts * total


def test_balance_loss_by_hand():
    for seed, (n, experts, k) in enumerate([(12, 4, 1), (9, 5, 2), (5, 3, 3)]):
        logits = drawn(n, experts, seed=seed)
        probs, idx = logits.softmax(-1), route_topk(logits, k)[0]
        torch.testing.assert_close(load_balance_loss(probs, idx).item(), balance_by_loop(probs, idx))


def test_balance_loss_is_1_at_balance_and_e_at_collapse_for_every_k():
    for k in (1, 2, 4):
        idx = torch.stack([(torch.arange(8) + j) % 8 for j in range(k)], dim=1)
        assert load_balance_loss(torch.full((8, 8), 1 / 8), idx).item() == pytest.approx(1)
    certain = torch.eye(8)[torch.zeros(5, dtype=torch.long)]
    assert load_balance_loss(certain, torch.zeros(5, 1, dtype=torch.long)).item() == 8


def test_balance_loss_can_be_below_1_when_counts_and_probabilities_lean_apart():
    probs = torch.tensor([[0.51, 0.49]] * 6 + [[0.01, 0.99]] * 4)
    assert load_balance_loss(probs, probs.argmax(-1, keepdim=True)).item() == pytest.approx(
        2 * (0.6 * 0.31 + 0.4 * 0.69)
    )


def test_balance_loss_sends_its_gradient_through_the_probabilities_only():
    probs, idx = torch.full((4, 2), 0.5, requires_grad=True), torch.tensor([[0], [0], [0], [1]])
    load_balance_loss(probs, idx).backward()
    torch.testing.assert_close(probs.grad, torch.tensor([[0.75, 0.25]] * 4) * 2 / 4)


def test_balance_and_z_loss_equal_transformers():
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers")
    logits = drawn(20, 6, dtype=torch.float32)
    for k in (1, 2, 3):
        theirs = mixtral.load_balancing_loss_func((logits,), 6, k)
        torch.testing.assert_close(k * load_balance_loss(logits.softmax(-1), route_topk(logits, k)[0]), theirs)
    probs, idx = logits.softmax(-1), route_topk(logits, 1)[0]
    torch.testing.assert_close(load_balance_loss(probs, idx), switch.load_balancing_loss_func(probs[None], idx[None]))
    torch.testing.assert_close(router_z_loss(logits), switch.router_z_loss_func(logits[None]))
    mask = torch.arange(20) < 13
    theirs = mixtral.load_balancing_loss_func((logits,), 6, 2, attention_mask=mask[None].long())
    torch.testing.assert_close(2 * load_balance_loss(probs, route_topk(logits, 2)[0], mask=mask), theirs)


def test_masked_rows_count_for_nothing():
    logits = drawn(10, 4)
    mask = torch.arange(10) % 3 > 0
    probs, idx = logits.softmax(-1), route_topk(logits, 2)[0]
    torch.testing.assert_close(load_balance_loss(probs, idx, mask), load_balance_loss(probs[mask], idx[mask]))
    torch.testing.assert_close(router_z_loss(logits, mask), router_z_loss(logits[mask]))
    nobody = torch.zeros(10, dtype=torch.bool)
    assert load_balance_loss(probs, idx, nobody) == 0 and router_z_loss(logits, nobody) == 0


def test_z_loss_by_hand_and_not_the_mean_of_squares():
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    want = (math.log(2) ** 2 + math.log(math.e + math.e**3) ** 2) / 2
    assert router_z_loss(logits).item() == pytest.approx(want)
    assert abs(logits.square().mean().item() - want) > 1
    assert torch.isfinite(router_z_loss(torch.full((1, 3), 1e4)))


def test_importance_is_the_squared_coefficient_of_variation():
    gates = drawn(9, 5).softmax(-1)
    totals = gates.sum(0).tolist()
    mean = sum(totals) / 5
    want = sum((total - mean) ** 2 for total in totals) / 5 / mean**2
    assert importance_loss(gates).item() == pytest.approx(want)
    assert importance_loss(7 * gates).item() == pytest.approx(want)


def test_noise_has_the_learned_scale():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([-50.0, 0.0, 4.0]).expand(40_000, 3)
    noisy = noisy_logits(torch.full((40_000, 3), 2.0), scale, generator)
    want = torch.tensor([0.0, math.log(2), math.log(1 + math.e**4)])
    torch.testing.assert_close(noisy.std(0), want, rtol=0.03, atol=1e-6)
    torch.testing.assert_close(noisy.mean(0), torch.full((3,), 2.0), rtol=0, atol=0.1)


# Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: route_topk(torch.zeros(4), 1), "logits: expected a tensor of shape"),
        (lambda: route_topk(torch.zeros(2, 4), 5), "k: expected at most the 4 experts, got 5"),
        (lambda: route_topk(torch.zeros(2, 4), 0), "k: expected an integer >= 1"),
        (lambda: capacity(10, 0, 1, 1.0), "n_experts: expected"),
        (lambda: capacity(10, 2, 1, 0.0), "factor: expected a positive number, got 0.0"),
        (lambda: capacity(10, 2, 1, math.nan), "factor: expected a positive number, got nan"),
        (lambda: dispatch(torch.zeros(2, 3), torch.tensor([[0], [4]]), 2, 1), "idx: expected ids from 0 to 1"),
        (lambda: dispatch(torch.zeros(2, 3), torch.tensor([[0]]), 2, 1), "idx: expected 2 rows"),
        (lambda: dispatch(torch.zeros(2, 3), torch.zeros(2, 1), 2, 1), "idx: expected a tensor of int64"),
        (lambda: load_balance_loss(torch.zeros(2, 3), torch.zeros(1, 1).long()), "idx: expected 2 rows"),
        (lambda: router_z_loss(torch.zeros(3)), "logits: expected"),
        (lambda: router_z_loss(torch.zeros(3, 2), torch.ones(3)), "mask: expected bool"),
        (lambda: importance_loss(torch.zeros(3)), "gates: expected"),
        (lambda: noisy_logits(torch.zeros(1, 2), torch.zeros(1, 3)), "noise_scale: expected"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_combine_names_a_shape_that_does_not_fit():
    x, outputs, idx = torch.zeros(2, 3), torch.zeros(2, 1, 3), torch.zeros(2, 1).long()
    with pytest.raises(ValueError, match="gate: expected the shape of idx"):
        combine(x, outputs, idx, idx, torch.zeros(2, 2))
