"""MLPs and the block: against torch's and transformers' modules, and the block's two orders against plain functions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.attention import MLP, Block, LayerNorm, RMSNorm, SwiGLU, gelu, silu, swiglu_width


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_gelu_is_the_normal_distribution():
    x = torch.linspace(-6, 6, 201, dtype=torch.float64)
    below = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0).cdf(x)
    torch.testing.assert_close(gelu(x), x * below)
    for approximate in ("none", "tanh"):
        torch.testing.assert_close(gelu(x, approximate), F.gelu(x, approximate=approximate))
    assert 1e-4 < (gelu(x) - gelu(x, "tanh")).abs().max() < 5e-4
    # Not the same as the sigmoid that is sometimes written for it.
    assert (gelu(x) - x * torch.sigmoid(1.702 * x)).abs().max() > 0.01
    torch.testing.assert_close(silu(x), F.silu(x))
    assert math.isclose(silu(torch.tensor(1.0)), 1 / (1 + math.exp(-1)), rel_tol=1e-6)
    with pytest.raises(ValueError, match=r"^approximate: expected"):
        gelu(x, "sigmoid")


def test_mlp_equals_gpt2_s():
    gpt2 = pytest.importorskip("transformers.models.gpt2.modeling_gpt2")
    from transformers import GPT2Config

    theirs = gpt2.GPT2MLP(64, GPT2Config(n_embd=16, resid_pdrop=0.0)).eval()
    mine = MLP(16)
    with torch.no_grad():  # GPT-2 stores its matrices transposed
        for linear, conv in ((mine.up, theirs.c_fc), (mine.down, theirs.c_proj)):
            linear.weight.copy_(conv.weight.T)
            linear.bias.copy_(conv.bias.normal_(generator=torch.Generator().manual_seed(0)))
    x = normal(2, 5, 16)
    torch.testing.assert_close(mine(x), theirs(x))


def test_swiglu_equals_llama_s():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    theirs = llama.LlamaMLP(LlamaConfig(hidden_size=16, intermediate_size=40, num_attention_heads=2))
    mine = SwiGLU(16, 40)
    mine.load_state_dict({name.replace("_proj", ""): value for name, value in theirs.state_dict().items()})
    x = normal(2, 5, 16)
    torch.testing.assert_close(mine(x), theirs(x))


def test_sizes_of_the_mlps():
    assert sum(p.numel() for p in MLP(12).parameters()) == 12 * 48 + 48 + 48 * 12 + 12
    assert sum(p.numel() for p in MLP(12, 20, bias=False).parameters()) == 2 * 12 * 20
    assert sum(p.numel() for p in SwiGLU(12).parameters()) == sum(p.numel() for p in MLP(12, bias=False).parameters())
    assert list(SwiGLU(4, 6, bias=True).state_dict())[1::2] == ["gate.bias", "up.bias", "down.bias"]
    # Llama 7B, 13B and 65B: models of width 4096, 5120 and 8192.
    assert [swiglu_width(d, 256) for d in (4096, 5120, 8192)] == [11008, 13824, 22016]
    assert swiglu_width(6) == 16 and swiglu_width(5) == 13 and swiglu_width(5, 2) == 14


def attention(x):
    """Any mixing over time will do: here the running mean."""
    return x.cumsum(-2) / torch.arange(1, x.shape[-2] + 1)[:, None]


def mlp(x):
    return (3 * x).sin()


def norm(x, block, which):
    gain, shift = block.state_dict()[f"{which}.weight"], block.state_dict()[f"{which}.bias"]
    return F.layer_norm(x, x.shape[-1:], gain, shift)


def assert_block(candidate):
    x = normal(2, 5, 8) + 1
    state = {f"norm{i}.{name}": normal(8, seed=2 * i + len(name)) for i in (1, 2) for name in ("weight", "bias")}
    pre, post = candidate(8, attention, mlp), candidate(8, attention, mlp, pre=False)
    for block in (pre, post):
        assert set(block.state_dict()) == set(state)
        block.load_state_dict(state)
    y = x + attention(norm(x, pre, "norm1"))
    torch.testing.assert_close(pre(x), y + mlp(norm(y, pre, "norm2")))
    y = norm(x + attention(x), post, "norm1")
    torch.testing.assert_close(post(x), norm(y + mlp(y), post, "norm2"))


def test_block_in_both_orders():
    assert_block(Block)


def wrong_block(pre, post):
    class Wrong(nn.Module):
        def __init__(self, d_model, attention, mlp, pre=True):
            super().__init__()
            self.norm1, self.norm2 = LayerNorm(d_model), LayerNorm(d_model)
            self.attention, self.mlp, self.pre = attention, mlp, pre

        def forward(self, x):
            return pre(self, x) if self.pre else post(self, x)

    return Wrong


def right_pre(b, x):
    x = x + b.attention(b.norm1(x))
    return x + b.mlp(b.norm2(x))


def right_post(b, x):
    x = b.norm1(x + b.attention(x))
    return b.norm2(x + b.mlp(x))


@pytest.mark.parametrize(
    "wrong",
    [
        wrong_block(lambda b, x: b.mlp(b.norm2(b.attention(b.norm1(x)))), right_post),
        wrong_block(right_post, right_post),
        wrong_block(right_pre, right_pre),
        wrong_block(lambda b, x: x + b.attention(b.norm1(x)) + b.mlp(b.norm2(x)), right_post),
        wrong_block(right_pre, lambda b, x: b.norm2(x + b.attention(x) + b.mlp(x + b.attention(x)))),
    ],
)
def test_a_wrong_block_is_rejected(wrong):
    assert_block(wrong_block(right_pre, right_post))
    with pytest.raises(AssertionError):
        assert_block(wrong)


def test_modules_are_registered_and_arguments_go_to_the_attention():
    seen = []

    def masked(x, mask=None):
        seen.append(mask)
        return x

    block = Block(8, masked, MLP(8), norm=RMSNorm)
    block(normal(1, 3, 8))
    block(normal(1, 3, 8), mask="the mask")
    assert seen == [None, "the mask"]
    assert list(block.state_dict()) == [
        "norm1.weight",
        "norm2.weight",
        *(f"mlp.{layer}.{name}" for layer in ("up", "down") for name in ("weight", "bias")),
    ]
    assert Block(8, nn.Identity(), MLP(8), norm=lambda d: RMSNorm(d, eps=0.5)).norm2.eps == 0.5


def test_only_pre_norm_has_a_path_without_norms_through_all_layers():
    def nothing(x):
        return 0 * x

    x, upstream = 3 * normal(1, 4, 16) + 1, normal(1, 4, 16, seed=1)
    for pre in (True, False):
        x.requires_grad_()
        y = nn.Sequential(*(Block(16, nothing, nothing, pre=pre) for _ in range(12)))(x)
        (grad,) = torch.autograd.grad((y * upstream).sum(), x)
        if pre:
            assert torch.equal(y, x) and torch.equal(grad, upstream)
        else:  # whatever the length of x was, it is lost, and with it the gradient along x
            assert y.std(-1, correction=0).sub(1).abs().max() < 1e-3
            assert (grad * x).sum(-1).abs().max() < 1e-3 * (upstream * x).sum(-1).abs().max()


def test_dropout_is_applied_to_the_sublayers_in_training_only():
    block = Block(8, attention, mlp, dropout=0.5)
    x = normal(1, 3, 8)
    torch.testing.assert_close(block.eval()(x), Block(8, attention, mlp)(x))
    torch.manual_seed(0)
    assert not torch.allclose(block.train()(x), block(x))
    off = Block(8, lambda x: 0 * x, lambda x: 0 * x, dropout=0.5)
    assert torch.equal(off.train()(x), x)  # the residual path itself is never dropped
