"""Sinusoidal encodings and relative biases: against complex numbers and place-by-place definitions."""

import cmath
import math

import pytest
import torch

from course_lib.attention import relative_bias, sinusoidal


def assert_sinusoidal(candidate):
    for T, d, base in ((7, 2, 10000.0), (40, 8, 10000.0), (40, 6, 100.0)):
        got = candidate(T, d, base)
        assert got.shape == (T, d) and got.dtype == torch.float32
        for position in range(T):
            for i in range(d // 2):
                turn = cmath.exp(1j * position / base ** (2 * i / d))
                assert math.isclose(got[position, 2 * i], turn.imag, abs_tol=1e-6)
                assert math.isclose(got[position, 2 * i + 1], turn.real, abs_tol=1e-6)


def assert_relative(candidate):
    for T, m, H in ((1, 0, 1), (5, 2, 3), (4, 6, 2), (9, 3, 1)):
        table = torch.arange((2 * m + 1) * H, dtype=torch.float64).reshape(2 * m + 1, H)
        got = candidate(T, m, table)
        assert got.shape == (H, T, T) and got.dtype == table.dtype
        for h in range(H):
            for i in range(T):
                for j in range(T):
                    row = m + min(m, j - i) if j > i else m - min(m, i - j)
                    assert got[h, i, j] == table[row, h]


def test_sinusoidal_is_a_turning_complex_number():
    assert_sinusoidal(sinusoidal)


def test_a_step_is_the_same_rotation_everywhere():
    d, step, late = 16, 5, 100_000
    rows = sinusoidal(late + step + 1, d).double().unflatten(-1, (-1, 2))
    for start in (0, 3, 1000, late):
        before, after = rows[start], rows[start + step]
        cos = (before * after).sum(-1)  # both have length 1
        sin = before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]
        want = step / 10000 ** (torch.arange(0, d, 2) / d).double()
        torch.testing.assert_close(torch.atan2(sin, cos), torch.atan2(want.sin(), want.cos()), atol=1e-6, rtol=0)


def halves(T, d, base=10000.0):
    whole = sinusoidal(T, d, base)
    return torch.cat((whole[:, ::2], whole[:, 1::2]), -1)


def exponent_off(T, d, base=10000.0):
    i = torch.arange(d)
    angles = torch.outer(torch.arange(T).float(), base ** (-2 * i / d))
    return torch.where(i % 2 == 0, angles.sin(), angles.cos())


@pytest.mark.parametrize("wrong", [halves, exponent_off, lambda T, d, base=1e4: sinusoidal(T, d)])
def test_a_wrong_encoding_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_sinusoidal(wrong)


def test_relative_bias_place_by_place():
    assert_relative(relative_bias)
    assert relative_bias(0, 2, torch.ones(5, 3)).shape == (3, 0, 0)


def test_the_table_gets_the_sum_over_all_pairs_at_a_distance():
    T, m = 6, 2
    table = torch.zeros(2 * m + 1, 1, dtype=torch.float64, requires_grad=True)
    relative_bias(T, m, table).sum().backward()
    assert table.grad.flatten().tolist() == [10, 5, 6, 5, 10]  # 4+3+2+1 pairs at distance 2 and more, 5 at 1, 6 at 0
    table = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: relative_bias(4, 2, t), table)


def by_index(T, m, table, sign=1, clip=True):
    ahead = torch.arange(T)[None] - torch.arange(T)[:, None]
    ahead = sign * ahead
    return table[(ahead.clamp(-m, m) if clip else ahead % (2 * m + 1) - m) + m].permute(2, 0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda T, m, table: by_index(T, m, table, sign=-1),
        lambda T, m, table: by_index(T, m, table, clip=False),
        lambda T, m, table: by_index(T, m, table).transpose(0, 1),
    ],
)
def test_a_wrong_bias_is_rejected(wrong):
    assert_relative(by_index)
    with pytest.raises((AssertionError, IndexError)):
        assert_relative(wrong)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: sinusoidal(3, 5), "d"),
        (lambda: sinusoidal(-1, 4), "T"),
        (lambda: sinusoidal(3, 4, base=0), "base"),
        (lambda: relative_bias(3, 2, torch.zeros(4, 1)), "table"),
        (lambda: relative_bias(3, -1, torch.zeros(4, 1)), "max_dist"),
        (lambda: relative_bias(3, 1, torch.zeros(3)), "table"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        call()
