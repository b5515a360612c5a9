"""Rounding against torch's, bit by bit; small updates that vanish in bfloat16 and do not with master weights."""

import pytest
import torch
from torch import nn

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import MasterWeights, bf16_round

torch.set_num_threads(1)


def every_kind_of_float():
    g = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=g)
    ties = (bits & ~0xFFFF) | 0x8000
    near = ties[:1000, None] + torch.tensor([-1, 1])
    corners = torch.tensor([0, 1, 0x7F7FFFFF, 0x7F7F7FFF, 0x7F7F8000, 0x7F800000, 0x7FC00000, 0x7F800001, 0x00007FFF])
    corners = torch.cat([corners, corners - 2**31])
    return torch.cat([bits, ties, near.flatten(), corners]).to(torch.int32).view(torch.float32)


def test_rounding_equals_torch_for_all_kinds_of_floats():
    x = every_kind_of_float()
    want = x.bfloat16().float()
    assert torch.equal(bf16_round(x).nan_to_num(nan=1e30), want.nan_to_num(nan=1e30))
    assert torch.equal(bf16_round(x).signbit()[~x.isnan()], x.signbit()[~x.isnan()])
    cut = (x.view(torch.int32) & ~0xFFFF).view(torch.float32)  # cutting the digits off is not rounding
    up = ((x.view(torch.int32) + 0x8000) & ~0xFFFF).view(torch.float32)  # nor is carrying every tie up
    for wrong in (cut, up):
        assert not torch.equal(wrong.nan_to_num(nan=1e30), want.nan_to_num(nan=1e30))


def test_eight_significant_digits():
    steps = torch.linspace(1, 2, 10_001)
    assert len(bf16_round(steps).unique()) == 2**7 + 1
    assert ((bf16_round(steps) - steps).abs() / steps).max() <= 2**-8
    x = torch.randn(3, 4).t()
    assert torch.equal(bf16_round(bf16_round(x)), bf16_round(x)) and bf16_round(x).shape == (4, 3)
    for bad in (torch.ones(2).double(), [1.0]):
        with pytest.raises(ValueError, match=r"^x: expected a float32 tensor"):
            bf16_round(bad)


def test_small_updates_vanish_in_bfloat16_and_add_up_in_masters():
    lr, steps = 2**-10, 512  # each step is a quarter of the distance to the next number below 1

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=lr)

    pure = nn.Linear(1, 1, bias=False).bfloat16()
    master = MasterWeights(nn.Linear(1, 1, bias=False), sgd)
    nn.init.ones_(pure.weight), nn.init.ones_(master.model.weight)
    master.push_weights()
    optimizer = sgd(pure.parameters())
    one = torch.ones(1, 1, dtype=torch.bfloat16)
    for _ in range(steps):
        optimizer.zero_grad()
        pure(one).sum().backward()
        optimizer.step()
        master.working(one).sum().backward()
        master.step()
    assert pure.weight.item() == 1.0  # not a step in 512
    assert master.model.weight.item() == master.working.weight.item() == 1 - lr * steps


def test_micro_batches_add_up_in_float32():
    master = MasterWeights(nn.Linear(1, 1, bias=False), lambda ps: torch.optim.SGD(ps, lr=1.0))
    nn.init.zeros_(master.model.weight)
    inputs = [256.0] + [0.5] * 64
    for x in inputs:
        master.working(torch.full((1, 1), x).bfloat16()).sum().backward()
        master.pull_gradients()
    assert master.model.weight.grad.item() == sum(inputs)
    in_bf16 = torch.zeros(1, dtype=torch.bfloat16)
    for x in inputs:
        in_bf16 += x
    assert in_bf16.item() == 256.0  # what adding up in the copy itself would give
    master.step()
    assert master.model.weight.item() == -sum(inputs) and master.model.weight.grad is None


def test_a_gpt_learns_and_the_copy_is_the_rounded_master():
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 8, 1, 2, 16))
    model.position_embedding.weight.requires_grad_(False)
    master = MasterWeights(model, lambda ps: torch.optim.AdamW(ps, lr=1e-2))
    ids = (torch.arange(9) * 7 % 11).expand(4, 9)
    losses = []
    for _ in range(40):
        loss = master.working(ids[:, :-1], ids[:, 1:])
        loss.backward()
        master.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 2 < losses[0]
    for p, q in zip(model.parameters(), master.working.parameters(), strict=True):
        assert p.dtype == torch.float32 and q.dtype == torch.bfloat16 and torch.equal(p.bfloat16(), q)
    with pytest.raises(ValueError, match=r"^model: expected float32 parameters, got torch.bfloat16"):
        MasterWeights(master.working, torch.optim.SGD)
