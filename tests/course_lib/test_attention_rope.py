"""RoPE: against complex multiplication in float64, transformers' Llama and GPT-J, and its defining property."""

import pytest
import torch

from course_lib.attention import (
    apply_rope,
    apply_rope_interleaved,
    half_to_interleaved,
    interleaved_to_half,
    rope_attention,
    rope_freqs,
    rope_tables,
    rotate_half_split,
    rotate_interleaved,
)


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def turned_by_complex_numbers(x, positions, base, first, second):
    D = x.shape[-1]
    angles = positions.double()[:, None] / base ** (torch.arange(0, D, 2).double() / D)
    z = torch.complex(x[..., first].double(), x[..., second].double()) * torch.exp(1j * angles)
    want = torch.empty_like(x, dtype=torch.float64)
    want[..., first], want[..., second] = z.real, z.imag
    return want


def assert_turns(candidate, half_split):
    for shape, base in (((5, 2), 10000.0), ((2, 3, 7, 8), 10000.0), ((4, 6, 16), 500000.0)):
        x, D = normal(*shape), shape[-1]
        places = torch.arange(D)
        first, second = (places[: D // 2], places[D // 2 :]) if half_split else (places[::2], places[1::2])
        for positions in (torch.arange(shape[-2]), torch.tensor([11, 3, 500, 0, 77, 8, 4096])[: shape[-2]]):
            got = candidate(x, positions, rope_freqs(D, base))
            assert got.dtype == x.dtype
            want = turned_by_complex_numbers(x, positions, base, first, second)
            torch.testing.assert_close(got.double(), want, atol=3e-3 if positions.max() > 1000 else 3e-4, rtol=0)


def test_both_conventions_are_complex_multiplication():
    assert_turns(apply_rope, half_split=True)
    assert_turns(apply_rope_interleaved, half_split=False)


def test_the_two_conventions_are_not_the_same():
    with pytest.raises(AssertionError):
        assert_turns(apply_rope_interleaved, half_split=True)


def with_angles(change):
    def wrong(x, positions, freqs):
        first, second = x.chunk(2, -1)
        angles = change(positions[:, None] * freqs, positions, freqs)
        return torch.cat(
            (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), -1
        )

    return wrong


WRONG = {
    "degrees": with_angles(lambda angles, p, f: torch.deg2rad(angles)),
    "counts from nought": with_angles(lambda angles, p, f: torch.arange(len(p))[:, None] * f),
    "one frequency": with_angles(lambda angles, p, f: (p[:, None] * f[0]).expand_as(angles)),
    "backwards": with_angles(lambda angles, p, f: -angles),
    "adds": lambda x, p, f: x + torch.cat(((p[:, None] * f).cos(), (p[:, None] * f).sin()), -1),
    "identity": lambda x, p, f: x,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_rotation_is_rejected(wrong):
    assert_turns(with_angles(lambda angles, p, f: angles), half_split=True)
    with pytest.raises(AssertionError):
        assert_turns(wrong, half_split=True)


@pytest.mark.parametrize("turn", [apply_rope, apply_rope_interleaved])
def test_scores_depend_on_the_distance_alone(turn):
    q, k, freqs = normal(1, 32), normal(1, 32, seed=1), rope_freqs(32)

    def score(m, n):
        return (turn(q, torch.tensor([m]), freqs) @ turn(k, torch.tensor([n]), freqs).T).item()

    for distance in (0, 1, 17):
        for start in (0, 5, 1000):
            assert score(start + distance, start) == pytest.approx(score(distance, 0), abs=5e-3)
    assert abs(score(3, 0) - score(0, 3)) > 0.1  # and the direction counts


def test_permuted_weights_and_the_other_convention_give_the_same_scores():
    heads, D, C, T = 3, 8, 16, 6
    x, positions, freqs = normal(2, T, C), torch.arange(3, 3 + T), rope_freqs(D)
    wq, wk = normal(heads * D, C, seed=1), normal(heads * D, C, seed=2)
    bq, bk = normal(heads * D, seed=3), normal(heads * D, seed=4)

    def scores(turn, *parameters):
        wq, wk, bq, bk = parameters
        q, k = ((x @ w.T + b).unflatten(-1, (heads, D)).transpose(1, 2) for w, b in ((wq, bq), (wk, bk)))
        return turn(q, positions, freqs) @ turn(k, positions, freqs).transpose(-1, -2)

    want = scores(apply_rope_interleaved, wq, wk, bq, bk)
    permuted = [interleaved_to_half(w, heads) for w in (wq, wk, bq, bk)]
    torch.testing.assert_close(scores(apply_rope, *permuted), want, atol=2e-4, rtol=1e-4)
    assert (scores(apply_rope, wq, wk, bq, bk) - want).abs().max() > 1
    for weight, there in zip((wq, wk, bq, bk), permuted, strict=True):
        assert torch.equal(half_to_interleaved(there, heads), weight)
    assert interleaved_to_half(torch.arange(12), 2).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_bfloat16_keeps_exact_positions():
    x = normal(4, 8)
    positions, freqs = torch.tensor([0, 257, 4097, 8191]), rope_freqs(8)
    for turn in (apply_rope, apply_rope_interleaved):
        exact = turn(x.bfloat16().double(), positions, freqs)
        got = turn(x.bfloat16(), positions, freqs)
        assert got.dtype == torch.bfloat16
        # Rounding the finished number is the only error: half a unit in the eighth bit.
        assert ((got.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all()
        rounded = positions.bfloat16().double()
        assert (turn(x.double(), rounded, freqs) - exact).abs().max() > 0.5
    assert rope_tables(positions.bfloat16(), freqs.bfloat16())[0].dtype == torch.float32


def test_positions_per_sequence_and_gradients():
    x, freqs = normal(2, 3, 4, 6), rope_freqs(6)
    positions = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])
    both = apply_rope(x, positions[:, None], freqs)
    for b in range(2):
        assert torch.equal(both[b], apply_rope(x[b], positions[b], freqs))
    x = normal(2, 3, 4, dtype=torch.float64).requires_grad_()
    cos, sin = (table.double() for table in rope_tables(torch.arange(3), rope_freqs(4)))
    assert torch.autograd.gradcheck(lambda x: rotate_half_split(x, cos, sin), x)
    assert torch.autograd.gradcheck(lambda x: rotate_interleaved(x, cos, sin), x)
    strided = normal(4, 6, 2).transpose(1, 2)  # [4, 2, 6], not contiguous
    plain = apply_rope_interleaved(strided.contiguous(), torch.arange(2), freqs)
    assert torch.equal(apply_rope_interleaved(strided, torch.arange(2), freqs), plain)


def test_attention_turns_queries_and_keys_but_not_values():
    q, k, v = (normal(2, 3, 5, 8, seed=seed) for seed in range(3))
    positions, freqs = torch.arange(7, 12), rope_freqs(8)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    places = torch.arange(8)
    turned = [turned_by_complex_numbers(x, positions, 1e4, places[:4], places[4:]).float() for x in (q, k)]
    for causal in (None, mask):
        want = torch.nn.functional.scaled_dot_product_attention(*turned, v, attn_mask=causal)
        got = rope_attention(q, k, v, positions, freqs, causal)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
        # Only distances count, for whole attention too.
        torch.testing.assert_close(rope_attention(q, k, v, positions + 20, freqs, causal), got, atol=1e-4, rtol=1e-4)
        with pytest.raises(AssertionError):
            wrong = rope_attention(q, k, apply_rope(v, positions, freqs), positions, freqs, causal)
            torch.testing.assert_close(wrong, want, atol=1e-4, rtol=1e-4)


def test_equals_transformers():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    gptj = pytest.importorskip("transformers.models.gptj.modeling_gptj")
    from transformers import LlamaConfig

    T, D, base = 9, 16, 500000.0
    config = LlamaConfig(hidden_size=4 * D, num_attention_heads=4, rope_parameters={"rope_type": "default"})
    config.rope_parameters["rope_theta"] = base
    positions = torch.arange(40, 40 + T)
    q, k = normal(2, 4, T, D), normal(2, 4, T, D, seed=1)
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, positions[None])
    freqs = rope_freqs(D, base)
    for got, want in zip((q, k), llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(apply_rope(got, positions, freqs), want, atol=1e-5, rtol=1e-5)

    table = gptj.create_sinusoidal_positions(64, D)[positions][None]  # sines, then cosines
    sin, cos = table.chunk(2, -1)
    want = gptj.apply_rotary_pos_emb(q.transpose(1, 2), sin, cos).transpose(1, 2)
    torch.testing.assert_close(apply_rope_interleaved(q, positions, rope_freqs(D)), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: rope_freqs(3), "D"),
        (lambda: rope_freqs(4, base=-1.0), "base"),
        (lambda: apply_rope(torch.zeros(2, 4), torch.arange(2), rope_freqs(2)), "freqs"),
        (lambda: apply_rope(torch.zeros(2, 4), torch.arange(3), rope_freqs(4)), "positions"),
        (lambda: apply_rope_interleaved(torch.zeros(4), torch.arange(1), rope_freqs(4)), "x"),
        (lambda: interleaved_to_half(torch.zeros(6, 2), 2), "weight"),
        (lambda: half_to_interleaved(torch.zeros(6, 2), 0), "n_heads"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        call()
