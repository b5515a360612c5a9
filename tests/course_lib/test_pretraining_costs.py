"""Costs against published figures and against what torch counts and keeps."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.attention import GPT, GPTConfig, count_params
from course_lib.pretraining import (
    activation_bytes,
    mfu,
    peak_flops,
    train_flops,
    train_flops_per_token,
    train_memory_bytes,
)

torch.set_num_threads(1)


def test_published_runs():
    # GPT-3: 3,640 petaflop/s-days by the paper's own table D.1, a little above 6 N D of the rounded sizes.
    assert train_flops(174.6e9, 300e9) / (1e15 * 86400) == pytest.approx(3640, rel=2e-3)
    # PaLM (Chowdhery et al. 2022): 2.5e24 operations; utilisation 45.7% without attention, 46.2% with it.
    assert train_flops(540.35e9, 780e9) == pytest.approx(2.53e24, rel=2e-3)
    chips = 6144 * peak_flops("TPU v4")
    assert mfu(540.35e9, 238.3e3, chips) == pytest.approx(0.457, abs=5e-4)
    assert mfu(540.35e9, 238.3e3, chips, L=118, H=48, Q=256, T=2048) == pytest.approx(0.462, abs=5e-4)


def test_operations_equal_what_torch_counts_in_a_training_step():
    cfg = GPTConfig(64, 32, 3, 4, 32, bias=False)
    model = GPT(cfg)
    ids = torch.randint(64, (2, 32))
    everything = torch.ones(32, 32, dtype=torch.bool)  # with a mask, the kernel skips nothing
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(ids, ids, mask=everything).backward()
    parts = count_params(cfg)
    N = parts["token_embedding"] + parts["attention"] + parts["mlp"]  # the tied table once: as the head
    want = train_flops_per_token(N, L=3, H=4, Q=8, T=32)
    assert counter.get_total_flops() / ids.numel() == pytest.approx(want, rel=0.01)
    assert abs(want / train_flops_per_token(N) - 1) > 0.1  # attention is no small part here


def test_bytes_of_a_training_state_equal_those_of_torch():
    model = torch.nn.Linear(30, 40)
    optimizers = {
        "adam-fp32": torch.optim.AdamW(model.parameters()),
        "momentum-fp32": torch.optim.SGD(model.parameters(), momentum=0.9),
        "sgd-fp32": torch.optim.SGD(model.parameters()),
    }
    N = sum(p.numel() for p in model.parameters())
    for name, optimizer in optimizers.items():
        model(torch.ones(1, 30)).sum().backward()
        optimizer.step()
        state = [x for s in optimizer.state.values() for x in s.values() if x is not None and x.ndim]
        tensors = [*model.parameters(), *(p.grad for p in model.parameters()), *state]
        assert train_memory_bytes(N, name)["total"] == sum(x.nbytes for x in tensors)
    parts = train_memory_bytes(N)
    assert parts.pop("total") == sum(parts.values()) == 16 * N


def test_activations_by_hand():
    # Bytes per token and channel: 11 for attention, 19 for the MLP, 4 for two norms; 5 per head and pair of tokens.
    assert activation_bytes(2, 3, 4, 1, 2) == (11 + 19 + 4) * 2 * 3 * 4 + 5 * 2 * 2 * 3 * 3
    assert activation_bytes(2, 3, 4, 5, 2, True) == 5 * 34 * 24


@pytest.mark.parametrize(
    "name, peak",
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla T4", 65e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
    ],
)
def test_devices_are_known_by_their_names(name, peak):
    assert peak_flops(name) == peak


@pytest.mark.parametrize("name", ["NVIDIA A10G", "NVIDIA GeForce RTX 2080", "cpu", "NVIDIA L40"])
def test_devices_that_are_not_in_the_table_are_not_guessed(name):
    with pytest.raises(ValueError, match=r"^device: expected a name with one of H200.*got '"):
        peak_flops(name)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: train_flops(-1, 1), "N"),
        (lambda: train_flops(1, float("nan")), "D"),
        (lambda: train_flops_per_token(1, L=-1), "L"),
        (lambda: mfu(1, -1, 1), "tokens_per_s"),
        (lambda: mfu(1, 1, 0), "peak"),
        (lambda: train_memory_bytes(1, "lion"), "optimizer"),
        (lambda: train_memory_bytes(1.5), "N"),
        (lambda: activation_bytes(1, 1, 1, 1, -1), "H"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()
