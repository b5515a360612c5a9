"""Scaled dot-product attention: torch's kernel, loops and closed forms as oracles; three tiers held equal."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import attention, attention_naive, causal_mask, scaled_dot_product_attention

torch.set_num_threads(1)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def case(T=5, S=7, D=4, lead=(2, 3), dtype=torch.float64):
    mask = draw(*lead, T, S, seed=4) > 0
    mask[..., 0] = True
    q, k, v = (draw(*lead, n, D, seed=seed, dtype=dtype) for seed, n in ((1, T), (2, S), (3, S)))
    return q, k, v, mask


def assert_attends(candidate):
    """Equal to torch's fused kernel, with and without a mask, for T = S and not; one row of the mask is empty."""
    for T, S, D in ((5, 7, 4), (6, 6, 2), (1, 4, 8)):
        q, k, v, mask = case(T, S, D)
        assert torch.allclose(candidate(q, k, v, None), F.scaled_dot_product_attention(q, k, v))
        want = F.scaled_dot_product_attention(q, k, v, mask)
        assert torch.allclose(candidate(q, k, v, mask), want)
        mask[0, 0, 0] = False
        want[0, 0, 0] = 0
        assert torch.allclose(candidate(q, k, v, mask), want)


@pytest.mark.parametrize(
    "tier",
    [attention, attention_naive, lambda *a: scaled_dot_product_attention(*a)[0]],
    ids=["fused", "naive", "plain"],
)
def test_every_tier_equals_torch(tier):
    assert_attends(tier)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)])
def test_tiers_agree_for_any_leading_shape(lead):
    q, k, v, mask = case(lead=lead)
    out, weights = scaled_dot_product_attention(q, k, v, mask)
    assert out.shape == (*lead, 5, 4) and weights.shape == (*lead, 5, 7)
    assert torch.allclose(out, attention_naive(q, k, v, mask))
    assert torch.allclose(out, attention(q, k, v, mask))


def test_tiers_agree_on_bias_and_scale():
    q, k, v, mask = case()
    bias = draw(3, 5, 7, seed=5)  # one for each head
    for scale in (None, 1.0, 0.3):
        want = attention_naive(q, k, v, mask, bias, scale)
        assert torch.allclose(attention(q, k, v, mask, bias, scale), want)
        factor = 1.0 if scale is None else scale * math.sqrt(4)
        by_torch = F.scaled_dot_product_attention(q * factor, k, v, bias.masked_fill(~mask, -torch.inf))
        assert torch.allclose(want, by_torch)
    assert torch.allclose(attention(q, k, v, None, bias), attention_naive(q, k, v, None, bias))


def test_a_hand_calculation():
    # D = 4, so the scale is 1/2; the scores are 2 ln 3 / 2 = ln 3 and 0, the weights 3/4 and 1/4.
    q = torch.tensor([[2 * math.log(3), 0, 0, 0]])
    out, weights = scaled_dot_product_attention(q, torch.eye(4)[:2], torch.tensor([[8.0], [4.0]]))
    assert torch.allclose(weights, torch.tensor([[0.75, 0.25]]))
    assert torch.allclose(out, torch.tensor([[7.0]]))


def test_weights_are_shares():
    q, k, v, mask = case()
    out, weights = scaled_dot_product_attention(q, k, v, mask)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    assert (weights[~mask] == 0).all() and (weights[mask] > 0).all()
    assert torch.allclose(out, torch.einsum("bhts,bhsd->bhtd", weights, v))


def gradients(function, q, k, v, mask):
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = function(*leaves, mask)
    return torch.autograd.grad((out * draw(*out.shape, seed=9)).sum(), leaves)


def tuple_tier(*args):
    return scaled_dot_product_attention(*args)[0]


@pytest.mark.parametrize("tier", [attention, tuple_tier])
def test_a_row_without_keys_gives_zeros_and_no_gradient(tier):
    q, k, v, mask = case()
    mask[:, :, 2] = False
    with torch.autograd.set_detect_anomaly(True):
        grads = gradients(tier, q, k, v, mask)
    assert (tier(q, k, v, mask)[:, :, 2] == 0).all()
    assert (grads[0][:, :, 2] == 0).all()
    # What the other rows get is as if the empty one were not there.
    rest = [0, 1, 3, 4]
    without = gradients_of_rows(tier, q, k, v, mask, rest)
    assert all(torch.allclose(a, b) for a, b in zip(grads[1:], without, strict=True))
    nothing = torch.zeros_like(mask)
    assert (tier(q, k, v, nothing) == 0).all()
    assert all((grad == 0).all() for grad in gradients(tier, q, k, v, nothing))


def gradients_of_rows(tier, q, k, v, mask, rows):
    k, v = k.clone().requires_grad_(), v.clone().requires_grad_()
    out = tier(q[:, :, rows], k, v, mask[:, :, rows])
    return torch.autograd.grad((out * draw(2, 3, 5, 4, seed=9)[:, :, rows]).sum(), [k, v])


@pytest.mark.parametrize("tier", [attention, tuple_tier])
def test_gradients_by_finite_differences(tier):
    q, k, v, mask = case(T=3, S=4, D=2, lead=(1, 2))
    mask[:, :, 1] = False
    leaves = [x.requires_grad_() for x in (q, k, v)]
    assert torch.autograd.gradcheck(lambda *a: tier(*a, mask), leaves)


def test_the_bias_is_learnable():
    q, k, v, mask = case(T=3, S=4, D=2, lead=(1, 2))
    bias = draw(2, 3, 4, seed=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: attention(q, k, v, mask, b), [bias])


def test_huge_scores_stay_finite():
    q, k, v, _ = case(dtype=torch.float32)
    for tier in (attention, tuple_tier):
        out = tier(q * 1e4, k, v, None)
        assert out.isfinite().all() and torch.allclose(out, tier(q * 1e4, k - 50, v, None), atol=1e-2)
        ahead = tier(torch.full((1, 1), 1e4), torch.tensor([[1.0], [-1.0]]), torch.tensor([[5.0], [6.0]]), None)
        assert ahead.item() == 5.0


@pytest.mark.parametrize("dtype, step", [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_as_good_as_its_inputs(dtype, step):
    q, k, v, mask = case(T=16, S=32, D=16, dtype=dtype)
    q = q * 6  # scores of about 20, where bfloat16 has steps of 1/8
    exact, weights = scaled_dot_product_attention(q.double(), k.double(), v.double(), mask)
    out, got = scaled_dot_product_attention(q, k, v, mask)
    assert out.dtype == got.dtype == dtype
    assert ((got.double() - weights).abs() <= step * weights + 1e-7).all()
    for candidate in (out, attention(q, k, v, mask)):
        assert (candidate.double() - exact).abs().max() < 4 * step * v.abs().max()
    careless = torch.softmax((q @ k.mT / 4).masked_fill(~mask, -torch.inf), -1)
    assert ((careless.double() - weights).abs() > 4 * step * weights + 1e-7).any()


def test_float16_scores_beyond_its_range():
    q = torch.full((1, 64), 64.0, dtype=torch.float16)  # q k = 64 * 64 * 64 = 262144 > 65504
    out, _ = scaled_dot_product_attention(q, torch.cat([q, q / 2]), torch.tensor([[1.0], [2.0]]).half())
    assert out.item() == 1.0


def test_permuting_positions_permutes_the_result():
    q, k, v, _ = case(T=6, S=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    out, weights = scaled_dot_product_attention(q, k, v)
    moved, moved_weights = scaled_dot_product_attention(q[:, :, order], k[:, :, order], v[:, :, order])
    assert torch.allclose(moved, out[:, :, order])
    assert torch.allclose(moved_weights, weights[:, :, order][..., order])


@pytest.mark.parametrize("T, S", [(6, 6), (2, 6), (1, 6), (6, 4)])
def test_causal_counts_positions_from_the_end(T, S):
    q, k, v, _ = case(T=T, S=S)
    bias = draw(T, S, seed=8)
    mask = causal_mask(T, S)
    assert torch.allclose(attention(q, k, v, is_causal=True), attention_naive(q, k, v, mask))
    assert torch.allclose(attention(q, k, v, bias=bias, is_causal=True), attention_naive(q, k, v, mask, bias))
    other = draw(T, S, seed=7) > 0
    assert torch.allclose(attention(q, k, v, other, is_causal=True), attention_naive(q, k, v, mask & other))


def test_the_last_rows_of_a_long_text_are_a_short_query():
    q, k, v, _ = case(T=6, S=6)
    whole = attention(q, k, v, is_causal=True)
    assert torch.allclose(attention(q[:, :, 4:], k, v, is_causal=True), whole[:, :, 4:])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_shared_key_heads_are_neighbours(groups):
    q, k, v = draw(2, 4, 5, 3, seed=1), draw(2, groups, 7, 3, seed=2), draw(2, groups, 7, 3, seed=3)
    mask = causal_mask(5, 7)
    for kwargs in ({}, {"mask": mask}, {"bias": draw(4, 5, 7)}, {"mask": mask, "bias": draw(4, 5, 7)}):
        out = attention(q, k, v, **kwargs)
        for head in range(4):
            g = head // (4 // groups)
            one = {"bias": kwargs["bias"][head]} if "bias" in kwargs else {}
            one |= {"mask": mask} if "mask" in kwargs else {}
            assert torch.allclose(out[:, head], attention_naive(q[:, head], k[:, g], v[:, g], **one))


@pytest.mark.parametrize("tier", [attention, attention_naive, scaled_dot_product_attention])
def test_bad_input_names_the_argument(tier):
    q, k, v, mask = case()
    for name, args in {
        "q": (q[0, 0, 0], k, v),
        "k": (q, k[..., :2], v),
        "v": (q, k, v[..., :2, :]),
        "mask": (q, k, v, mask.double()),
    }.items():
        with pytest.raises(ValueError, match=rf"^{name}: expected .* got "):
            tier(*args)


def softmax_times(q, k, v, mask, scale=0.5, dim=-1, inverted=False, after=False, floor=-torch.inf):
    scores = q @ k.mT * scale
    if mask is not None and not after:
        scores = scores.masked_fill(mask if inverted else ~mask, floor)
    weights = torch.softmax(scores, dim=dim).nan_to_num(0.0)
    return (weights if mask is None or not after else weights * mask) @ v


def scaled_right(q, *rest, **kwargs):
    return softmax_times(q, *rest, scale=q.shape[-1] ** -0.5, **kwargs)


@pytest.mark.parametrize(
    "wrong",
    [
        softmax_times,
        lambda q, *a: softmax_times(q, *a, scale=1 / q.shape[-1]),
        lambda q, *a: softmax_times(q, *a, scale=(q.shape[1] * q.shape[-1]) ** -0.5),
        lambda *a: scaled_right(*a, dim=-2),
        lambda *a: scaled_right(*a, inverted=True),
        lambda *a: scaled_right(*a, after=True),
        lambda *a: scaled_right(*a, floor=-8.0),
    ],
)
def test_a_wrong_attention_is_rejected(wrong):
    assert_attends(scaled_right)
    with pytest.raises(AssertionError):
        assert_attends(wrong)
