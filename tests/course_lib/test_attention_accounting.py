"""Counts of parameters and operations against built models, published sizes and torch's own counter."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.attention import GPT, GPTConfig, count_params, flops_per_token

torch.set_num_threads(1)
SIZES = {"vocab_size": 37, "context_length": 11, "n_layers": 3, "n_heads": 4, "d_model": 24}
CHOICES = {
    "norm": ("layer", "rms"),
    "mlp": ("gelu", "swiglu"),
    "positions": ("learned", "rope"),
    "bias": (True, False),
    "tied": (True, False),
    "pre": (True, False),
    "n_kv_heads": (None, 2),
    "attention_only": (False, True),
}


def parts_of(model):
    """Sizes of all parameters, sorted by their names."""
    parts = dict.fromkeys(count_params(GPTConfig(**SIZES)), 0)
    for name, parameter in model.named_parameters():
        words = name.split(".")
        part = "norms" if any("norm" in word for word in words) else words[2 if words[0] == "blocks" else 0]
        parts[part] += parameter.numel()
        parts["total"] += parameter.numel()
    return parts


def test_the_count_is_what_is_built_in_every_combination():
    for values in product(*CHOICES.values()):
        cfg = GPTConfig(**SIZES, **dict(zip(CHOICES, values, strict=True)))
        with torch.device("meta"):
            assert count_params(cfg) == parts_of(GPT(cfg)), cfg
    for more in ({"head_dim": 10}, {"d_ff": 50}, {"window": 3, "positions": "alibi"}, {"n_layers": 0}):
        cfg = GPTConfig(**SIZES | more)
        assert count_params(cfg) == parts_of(GPT(cfg)), cfg


LLAMA3 = {"vocab_size": 128256, "n_kv_heads": 8, "d_ff": 14336, "rope_base": 5e5, "context_length": 8192}


@pytest.mark.parametrize(
    "cfg, total",
    [
        (GPTConfig.gpt2(), 124_439_808),
        (GPTConfig.gpt2(n_layers=24, n_heads=16, d_model=1024), 354_823_168),
        (GPTConfig.gpt2(n_layers=36, n_heads=20, d_model=1280), 774_030_080),
        (GPTConfig.gpt2(n_layers=48, n_heads=25, d_model=1600), 1_557_611_200),
        (GPTConfig.llama(), 6_738_415_616),
        (GPTConfig.llama(**LLAMA3), 8_030_261_248),
    ],
)
def test_published_models_have_their_published_size(cfg, total):
    assert count_params(cfg)["total"] == total


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_transformers_counts_the_same(kind):
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        if kind == "gpt2":
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
            cfg = GPTConfig.gpt2()
        else:
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_key_value_heads=4, num_hidden_layers=2))
            cfg = GPTConfig.llama(n_kv_heads=4, n_layers=2)
    assert count_params(cfg)["total"] == sum(p.numel() for p in model.parameters())


def counted(cfg, T):
    with torch.device("meta"):
        model, ids = GPT(cfg), torch.zeros(1, T, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(ids)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mlp": "swiglu", "norm": "rms", "positions": "rope", "bias": False, "tied": False},
        {"n_kv_heads": 2, "head_dim": 8},
        {"attention_only": True, "positions": "none"},
        {"d_ff": 31, "pre": False, "positions": "sinusoidal"},
    ],
)
def test_torch_counts_the_same_operations(changes):
    cfg = GPTConfig(**SIZES | changes)
    for T in (1, 8):
        assert flops_per_token(cfg, T) * T == counted(cfg, T)


def test_without_the_attention_term_it_is_twice_the_matrices():
    cfg = GPTConfig.gpt2()
    matrices = 12 * (4 * 768 * 768 + 8 * 768 * 768) + 50257 * 768  # Kaplan's 12 L C^2, and the head
    assert flops_per_token(cfg, 0) == 2 * matrices
    assert flops_per_token(cfg, 0) == flops_per_token(GPTConfig.gpt2(tied=False, bias=False), 0)
    # PaLM, appendix B: 12 L H Q T for training, a third of it forward.
    for T in (1, 100, 1024):
        assert 3 * (flops_per_token(cfg, T) - flops_per_token(cfg, 0)) == 12 * 12 * 12 * 64 * T


@pytest.mark.parametrize("window", [0, 1, 3, 8, 50])
def test_causal_counts_the_keys_that_may_be_seen(window):
    cfg = GPTConfig(**SIZES, window=window)
    for T in (1, 2, 3, 8, 11):
        seen = sum(1 for i in range(T) for j in range(i + 1) if not window or i - j < window)
        term = flops_per_token(cfg, T, causal=True) - flops_per_token(cfg, 0)
        assert term * T == pytest.approx(4 * 3 * 24 * seen)
        most = min(T, window or T)
        assert flops_per_token(cfg, T) - flops_per_token(cfg, 0) == 4 * 3 * 24 * most


def test_plain_objects_and_bad_ones():
    cfg = SimpleNamespace(**SIZES)
    assert count_params(cfg) == count_params(GPTConfig(**SIZES))
    assert flops_per_token(cfg, 5) == flops_per_token(GPTConfig(**SIZES), 5)
    with pytest.raises(ValueError, match="T: expected"):
        flops_per_token(cfg, -1)
    with pytest.raises(ValueError, match="cfg: expected"):
        count_params({"vocab_size": 3})
