"""Multi-head attention: against torch's layer, head by head in loops, and an equal layer with copied heads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.attention import (
    MultiHeadAttention,
    attention_naive,
    attention_weights,
    causal_mask,
    make_mask,
    repeat_kv,
)

torch.set_num_threads(1)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fill(module, seed=0):
    """Give every parameter numbers that do not depend on torch's initialisation."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data = draw(*parameter.shape, seed=100 * seed + number) * 0.4
    return module.double()


def layer(*args, **kwargs):
    return fill(MultiHeadAttention(*args, **kwargs))


def by_loops(module, x, mask=None, bias=None):
    """One head at a time, with slices of the weights."""
    D, share = module.head_dim, module.n_heads // module.n_kv_heads
    heads = []
    for h in range(module.n_heads):
        q, k, v = (
            F.linear(x, p.weight[i * D : (i + 1) * D], None if p.bias is None else p.bias[i * D : (i + 1) * D])
            for p, i in ((module.q_proj, h), (module.k_proj, h // share), (module.v_proj, h // share))
        )
        heads.append(attention_naive(q, k, v, mask, None if bias is None else bias[h]))
    return F.linear(torch.cat(heads, -1), module.o_proj.weight, module.o_proj.bias)


def assert_layer(build):
    for n_kv, bias in ((4, False), (4, True), (2, False), (1, True)):
        module = fill(build(12, 4, n_kv, bias=bias), seed=n_kv)
        x = draw(2, 5, 12, seed=7)
        assert torch.allclose(module(x), by_loops(module, x))
        mask = causal_mask(5)
        assert torch.allclose(module(x, mask), by_loops(module, x, mask))


def test_head_by_head():
    assert_layer(MultiHeadAttention)


@pytest.mark.parametrize("bias", [False, True])
def test_against_torchs_layer(bias):
    mine, theirs = layer(12, 4, bias=bias), nn.MultiheadAttention(12, 4, bias=bias, batch_first=True).double()
    with torch.no_grad():
        projections = (mine.q_proj, mine.k_proj, mine.v_proj)
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(mine.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
            theirs.out_proj.bias.copy_(mine.o_proj.bias)
    x, mask = draw(2, 5, 12, seed=7), make_mask(5, "sliding", window=2)
    # True means the opposite there.
    want, weights = theirs(x, x, x, attn_mask=~mask, average_attn_weights=False)
    assert torch.allclose(mine(x, mask), want)
    assert torch.allclose(attention_weights(mine, x, mask), weights)


@pytest.mark.parametrize("n_kv", [1, 2])
def test_shared_heads_equal_copied_heads(n_kv):
    grouped, full = layer(12, 4, n_kv), layer(12, 4)
    copies = {"q_proj": 1, "k_proj": 4 // n_kv, "v_proj": 4 // n_kv, "o_proj": 1}
    for name, times in copies.items():
        weight = getattr(grouped, name).weight.detach()
        if times > 1:
            weight = torch.cat([head for head in weight.split(3) for _ in range(times)])
        getattr(full, name).weight.data = weight
    x = draw(2, 5, 12, seed=7)
    assert torch.allclose(grouped(x, causal_mask(5)), full(x, causal_mask(5)))
    # A shared head's gradient is the sum over the query heads that it serves.
    grouped(x).square().sum().backward()
    full(x).square().sum().backward()
    summed = full.k_proj.weight.grad.unflatten(0, (n_kv, 4 // n_kv, 3)).sum(1).flatten(0, 1)
    assert torch.allclose(grouped.k_proj.weight.grad, summed)


@pytest.mark.parametrize("n_kv", [1, 2, 4])
def test_against_torchs_grouped_queries(n_kv):
    q, k, v = draw(2, 4, 5, 3, seed=1), draw(2, n_kv, 5, 3, seed=2), draw(2, n_kv, 5, 3, seed=3)
    want = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    got = F.scaled_dot_product_attention(q, repeat_kv(k, 4 // n_kv), repeat_kv(v, 4 // n_kv))
    assert torch.allclose(got, want)


def test_repeat_kv_keeps_the_order_of_heads():
    x = draw(2, 3, 4, 5)
    got = repeat_kv(x, 2)
    assert got.shape == (2, 6, 4, 5)
    for h in range(6):
        assert torch.equal(got[:, h], x[:, h // 2])
    assert repeat_kv(x, 1) is x


@pytest.mark.parametrize(
    "d, heads, n_kv, head_dim, bias", [(12, 4, 4, None, False), (12, 4, 2, 5, True), (6, 2, 1, 8, 1)]
)
def test_parameter_count(d, heads, n_kv, head_dim, bias):
    module = MultiHeadAttention(d, heads, n_kv, bias=bool(bias), head_dim=head_dim)
    D = head_dim or d // heads
    want = d * D * (2 * heads + 2 * n_kv) + (D * (heads + 2 * n_kv) + d if bias else 0)
    assert sum(p.numel() for p in module.parameters()) == want
    assert module(torch.zeros(2, 3, d)).shape == (2, 3, d)
    assert list(module.state_dict())[:: 2 if bias else 1] == [f"{p}_proj.weight" for p in "qkvo"]


def test_masks_for_each_text_and_each_head():
    module, x = layer(12, 4, 2), draw(2, 5, 12, seed=7)
    lengths = (torch.arange(5) < torch.tensor([[5], [3]]))[:, None, None]  # [B, 1, 1, T]: padding at the end
    got = module(x, causal_mask(5) & lengths)
    assert torch.allclose(got[1, :3], module(x[1:, :3], causal_mask(3))[0])
    assert torch.allclose(got[0], module(x[:1], causal_mask(5))[0])
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    assert (module(x, nothing) == 0).all()


def test_causal_flag_bias_and_mask_together():
    module, x, bias = layer(12, 4, 2), draw(2, 5, 12, seed=7), draw(4, 5, 5, seed=8)
    other = make_mask(5, "sliding", window=2)
    for mask, added, is_causal in ((None, None, True), (None, bias, True), (other, bias, False), (other, bias, True)):
        whole = [m for m in (mask, causal_mask(5) if is_causal else None) if m is not None]
        want = by_loops(module, x, torch.stack(whole).all(0), added)
        assert torch.allclose(module(x, mask, attention_bias=added, is_causal=is_causal), want)
        weights = attention_weights(module, x, mask, attention_bias=added, is_causal=is_causal)
        values = repeat_kv(module.v_proj(x).unflatten(-1, (2, 3)).transpose(1, 2), 2)
        joined = (weights @ values).transpose(1, 2).flatten(2)
        assert torch.allclose(module.o_proj(joined), want)


def test_nothing_leaks_from_the_future():
    module, x = layer(12, 4, 2), draw(2, 6, 12, seed=7)
    before = module(x, is_causal=True)
    for t in range(1, 6):
        changed = x.clone()
        changed[:, t:] += 1
        assert torch.equal(module(changed, is_causal=True)[:, :t], before[:, :t])


def turned_by_complex_numbers(x, angles):
    """Rotation as a product of complex numbers; channel i is the real part of pair i, channel i + D / 2 the other."""
    half = x.shape[-1] // 2
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([z.real, z.imag], -1)


def test_rotary_turns_queries_and_keys_and_leaves_values():
    module, x = layer(16, 4, 2), draw(2, 5, 16, seed=7)
    angles = torch.arange(5, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.1], dtype=torch.float64)
    q, k, v = (getattr(module, f"{n}_proj")(x).unflatten(-1, (-1, 4)).transpose(1, 2) for n in "qkv")
    q, k = turned_by_complex_numbers(q, angles), turned_by_complex_numbers(k, angles)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    want = module.o_proj(out.transpose(1, 2).flatten(2))
    pair = (angles.cos(), angles.sin())
    assert torch.allclose(module(x, rotary=pair, is_causal=True), want)
    assert torch.allclose(module(x, rotary=lambda t: turned_by_complex_numbers(t, angles), is_causal=True), want)
    weights = attention_weights(module, x, rotary=pair, is_causal=True)
    assert torch.allclose((weights @ repeat_kv(v, 2)), out)
    assert not torch.allclose(module(x, is_causal=True), want)


def test_weights_have_one_row_per_query_and_no_gradient():
    module, x = layer(12, 4, 2), draw(2, 5, 12, seed=7)
    weights = attention_weights(module, x)
    assert weights.shape == (2, 4, 5, 5) and not weights.requires_grad
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    module, x = layer(16, 4, 2), draw(2, 5, 16, seed=7)
    want = module(x, is_causal=True)
    angles = torch.zeros(5, 2)
    got = module.to(dtype)(x.to(dtype), is_causal=True, rotary=(angles.cos(), angles.sin()))
    assert got.dtype == dtype and torch.allclose(got.double(), want, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "name, call",
    [
        ("n_heads", lambda: MultiHeadAttention(10, 4)),
        ("n_heads", lambda: MultiHeadAttention(10, 0)),
        ("n_kv_heads", lambda: MultiHeadAttention(12, 4, 3)),
        ("n_kv_heads", lambda: MultiHeadAttention(12, 4, 8)),
        ("head_dim", lambda: MultiHeadAttention(12, 4, head_dim=0)),
        ("x", lambda: MultiHeadAttention(12, 4)(torch.zeros(5, 12))),
        ("x", lambda: MultiHeadAttention(12, 4)(torch.zeros(1, 5, 8))),
        ("mask", lambda: MultiHeadAttention(12, 4)(torch.zeros(1, 5, 12), torch.zeros(5, 5))),
        ("x", lambda: repeat_kv(torch.zeros(2, 3, 4), 2)),
        ("n_rep", lambda: repeat_kv(torch.zeros(2, 3, 4, 5), 0)),
    ],
)
def test_bad_input_names_the_argument(name, call):
    with pytest.raises(ValueError, match=rf"^{name}: expected .* got "):
        call()


class Plain(nn.Module):
    """Right as it stands; every flag switches on one mistake."""

    def __init__(self, d, n_heads, n_kv_heads, bias, flaw=""):
        super().__init__()
        self.n_heads, self.n_kv, self.d, self.flaw = n_heads, n_kv_heads, d // n_heads, flaw
        self.head_dim, self.n_kv_heads = self.d, n_kv_heads
        self.q_proj, self.o_proj = nn.Linear(d, d, bias=bias), nn.Linear(d, d, bias=bias)
        self.k_proj, self.v_proj = (nn.Linear(d, self.n_kv * self.d, bias=bias) for _ in "kv")

    def forward(self, x, mask=None):
        B, T, C = x.shape
        share = self.n_heads // self.n_kv

        def split(y, n):
            if self.flaw == "view without transpose":
                return y.view(B, n, T, self.d)
            if self.flaw == "channels outside":
                return y.view(B, T, self.d, n).permute(0, 3, 1, 2)
            return y.view(B, T, n, self.d).transpose(1, 2)

        q, k, v = (
            split(self.q_proj(x), self.n_heads),
            split(self.k_proj(x), self.n_kv),
            split(self.v_proj(x), self.n_kv),
        )
        if self.flaw == "tiles":
            k, v = k.repeat(1, share, 1, 1), v.repeat(1, share, 1, 1)
        else:
            k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        scores = q @ k.mT / (C if self.flaw == "scaled by d" else self.d) ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        out = scores.softmax(-1) @ v
        out = out.reshape(B, T, C) if self.flaw == "joins without transpose" else out.transpose(1, 2).reshape(B, T, C)
        return out if self.flaw == "no output projection" else self.o_proj(out)


@pytest.mark.parametrize(
    "flaw",
    [
        "view without transpose",
        "channels outside",
        "tiles",
        "scaled by d",
        "joins without transpose",
        "no output projection",
    ],
)
def test_a_wrong_layer_is_rejected(flaw):
    assert_layer(Plain)
    with pytest.raises(AssertionError):
        assert_layer(lambda *args, bias: Plain(*args, bias, flaw=flaw))
