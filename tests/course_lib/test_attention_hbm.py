"""Accesses to HBM: the formula against runs that count, the theorem's orders, and wrong counts that are noticed."""

import pytest
import torch

from course_lib.attention import hbm_accesses
from course_lib.attention.hbm import HBM, keys_per_block, run_standard, run_tiled

CASES = [(1, 1, 1), (8, 2, 2), (8, 2, 16), (9, 4, 33), (17, 3, 24), (20, 8, 160), (20, 8, 10_000), (33, 5, 5)]


def draw(T, D):
    generator = torch.Generator().manual_seed(T * D)
    return torch.randn(3, T, D, generator=generator, dtype=torch.float64).unbind()


@pytest.mark.parametrize(("T", "D", "M"), CASES)
def test_the_formula_is_what_a_run_counts(T, D, M):
    q, k, v = draw(T, D)
    want = torch.softmax(q @ k.T / D**0.5, -1) @ v
    out, standard = run_standard(q, k, v)
    torch.testing.assert_close(out, want)
    out, tiled = run_tiled(q, k, v, M)
    torch.testing.assert_close(out, want)
    assert hbm_accesses(T, D, M) == {"standard": standard, "tiled": tiled}


def test_by_hand():
    # T = 4, D = 1, M = 8: blocks of 2 keys, so two passes. Set up: 4 + 4 + 4. Keys and values: 4 + 4. Each pass reads
    # q, out, sum, maximum and writes three of them: 7 · 4.
    assert hbm_accesses(4, 1, 8) == {"standard": 4 * 4 + 4 * 16, "tiled": 12 + 8 + 2 * 28}


def test_orders_of_the_theorem():
    base = hbm_accesses(2**14, 64, 2**16)
    longer = hbm_accesses(2**15, 64, 2**16)
    for name in base:
        assert longer[name] / base[name] == pytest.approx(4, rel=0.05)  # both grow with the square of T
    larger = hbm_accesses(2**14, 64, 2**18)
    assert larger["standard"] == base["standard"]
    assert base["tiled"] / larger["tiled"] == pytest.approx(4, rel=0.05)  # and one falls with M
    wider = hbm_accesses(2**14, 128, 2**16)
    assert wider["tiled"] / base["tiled"] == pytest.approx(4, rel=0.05)  # but grows with D²
    assert wider["standard"] / base["standard"] == pytest.approx(1, rel=0.05)


def test_a_chip_that_holds_a_few_numbers_gains_nothing():
    small = hbm_accesses(1024, 64, 64)
    assert small["tiled"] > small["standard"]


def test_memory_on_the_chip_is_of_the_order_of_m():
    # Four blocks of at most M/4 and the scores of one pair of blocks: nothing on the chip grows with T.
    for D, M in ((64, 65536), (128, 65536), (64, 4096)):
        cols = keys_per_block(D, M)
        rows = min(cols, D)
        assert 2 * cols * D + 2 * rows * D + rows * cols <= 1.25 * M


def test_hbm_counts_both_ways_and_hands_out_copies():
    x = torch.arange(6.0).reshape(3, 2)
    hbm = HBM(x=x)
    rows = hbm.load("x", 1)
    rows += 100
    assert hbm.accesses == 4 and x.max() == 5
    hbm.store("x", rows, 1)
    assert hbm.accesses == 8 and x.max() == 105


def wrong_counts(T, D, M):
    passes = -(-T // keys_per_block(D, M))
    yield "only reads", 4 * T * D + passes * (2 * T * D + 2 * T)
    yield "q and out once", 6 * T * D + 4 * T * passes
    yield "whole blocks only", 3 * T * D + 2 * T + T // keys_per_block(D, M) * (3 * T * D + 4 * T)
    yield "all of M for keys", 3 * T * D + 2 * T + -(-T * D // M) * (3 * T * D + 4 * T)


def test_wrong_counts_are_not_what_a_run_counts():
    T, D, M = 17, 3, 24
    _, tiled = run_tiled(*draw(T, D), M)
    for name, count in wrong_counts(T, D, M):
        assert count != tiled, name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hbm_accesses(0, 1, 1), "T: expected an integer >= 1, got 0"),
        (lambda: hbm_accesses(4, 0, 1), "D: expected an integer >= 1, got 0"),
        (lambda: hbm_accesses(4, 8, 7), "M: expected an integer >= 8, got 7"),
        (lambda: hbm_accesses(4, 8, 64.0), "M: expected an integer >= 8, got 64.0"),
        (lambda: run_tiled(*torch.zeros(3, 4, 8), 7), "M: expected an integer >= 8"),
        (lambda: run_standard(torch.zeros(4, 2), torch.zeros(5, 2), torch.zeros(5, 2)), "k: expected the shape of q"),
        (lambda: run_tiled(*torch.zeros(3, 2, 4, 8), 8), r"q: expected a tensor of shape \[T, D\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
