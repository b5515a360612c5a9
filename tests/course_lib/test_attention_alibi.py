"""ALiBi: slopes against BLOOM's and against their definition by hand, the bias place by place."""

import pytest
import torch

from course_lib.attention import alibi_bias, alibi_slopes

BY_HAND = {
    1: [2**-8],
    2: [2**-4, 2**-8],
    3: [2**-4, 2**-8, 2**-2],
    4: [2**-2, 2**-4, 2**-6, 2**-8],
    6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3],
    8: [2.0**-h for h in range(1, 9)],
    12: [*(2.0**-h for h in range(1, 9)), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
}


def assert_slopes(candidate):
    for n, want in BY_HAND.items():
        got = candidate(n)
        assert got.shape == (n,) and got.dtype == torch.float32
        torch.testing.assert_close(got, torch.tensor(want))


def assert_bias(candidate):
    for T, slopes in ((1, [0.5]), (6, [0.5, 0.125, 3.0])):
        got = candidate(T, torch.tensor(slopes))
        assert got.shape == (len(slopes), T, T)
        for h, slope in enumerate(slopes):
            for i in range(T):
                for j in range(T):
                    assert got[h, i, j] == (-slope * (i - j) if j <= i else 0)


def test_slopes_by_hand_and_the_bias_place_by_place():
    assert_slopes(alibi_slopes)
    assert_bias(alibi_bias)


def test_slopes_are_bloom_s():
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    for n in range(1, 70):
        # BLOOM adds m j instead of -m (i - j): the softmax of a row does not see the difference.
        at_one = bloom.build_alibi_tensor(torch.ones(1, 2), n, torch.float32)[:, 0, 1]
        torch.testing.assert_close(alibi_slopes(n), at_one, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n: 2.0 ** (-8.0 * torch.arange(1, n + 1) / n),  # the rule for powers of two, whatever n is
        lambda n: 2.0 ** (-8.0 * torch.arange(n) / n),
        lambda n: -alibi_slopes(n),
        lambda n: alibi_slopes(n).sort(descending=True).values,
    ],
)
def test_wrong_slopes_are_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_slopes(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda T, slopes: -slopes[:, None, None].expand(-1, T, T),
        lambda T, slopes: -alibi_bias(T, slopes),
        lambda T, slopes: alibi_bias(T, slopes).transpose(-1, -2),
        lambda T, slopes: alibi_bias(T, slopes).square(),
    ],
)
def test_a_wrong_bias_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_bias(wrong)


def test_more_keys_than_queries_are_the_last_rows():
    slopes = alibi_slopes(4)
    whole = alibi_bias(9, slopes)
    assert torch.equal(alibi_bias(2, slopes, S=9), whole[:, -2:])
    assert torch.equal(alibi_bias(1, slopes, 9)[0, 0], 0.25 * torch.arange(-8.0, 1.0))


def test_bfloat16_slopes_keep_the_distances_apart():
    row = alibi_bias(300, torch.tensor([0.5], dtype=torch.bfloat16))[0, -1]
    assert row.dtype == torch.bfloat16
    want = -0.5 * torch.arange(299, -1, -1).double()
    assert ((row.double() - want).abs() <= want.abs() * 2**-8).all()


def test_the_softmax_of_equal_scores_falls_by_the_same_factor_per_token():
    slopes, T = alibi_slopes(8), 12
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = alibi_bias(T, slopes).masked_fill(future, float("-inf")).softmax(-1)
    ratio = weights[:, -1, 1:] / weights[:, -1, :-1]
    torch.testing.assert_close(ratio, slopes.exp()[:, None].expand_as(ratio))


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: alibi_slopes(0), "n_heads"),
        (lambda: alibi_slopes(2.0), "n_heads"),
        (lambda: alibi_bias(-1, torch.ones(2)), "T"),
        (lambda: alibi_bias(3, torch.ones(2, 2)), "slopes"),
        (lambda: alibi_bias(3, torch.ones(2), S=2), "S"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        call()
