"""Absolute discounting and continuation counts: against definitions that scan the text, in exact fractions."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from course_lib.pretraining import kneser_ney, train_kneser_ney, train_ngram
from course_lib.pretraining.discounting import absolute_discounting, continuation_counts

LETTERS = "abcde"


def random_text(seed, length=50):
    return "".join(np.random.default_rng(seed).choice(list(LETTERS), length, p=[0.4, 0.3, 0.15, 0.1, 0.05]))


def occurrences(text, gram):
    return sum(text[i : i + len(gram)] == gram for i in range(len(text) - len(gram) + 1))


def neighbours(text, gram):
    return sum(occurrences(text, x + gram) > 0 for x in LETTERS)


def assert_continuations(candidate):
    for seed, n in product(range(3), (1, 2, 3, 4)):
        text = random_text(seed)
        levels = candidate(train_ngram(text, n))
        assert len(levels) == n
        for k, level in enumerate(levels):
            count = occurrences if k == n - 1 else neighbours
            found = {"".join(c) + w: number for c, followers in level.items() for w, number in followers.items()}
            grams = map("".join, product(LETTERS, repeat=k + 1))
            assert found == {gram: count(text, gram) for gram in grams if count(text, gram)}


def test_neighbours_by_scanning():
    assert_continuations(continuation_counts)


def followers_instead(counts):
    """Counts what comes after, where what stands before is meant."""
    levels = []
    for k in range(len(counts) - 1):
        level = {c: {w: len(counts[k + 1].get((*c, w), {})) for w in followers} for c, followers in counts[k].items()}
        levels.append(level)
    return [*levels, counts[-1]]


@pytest.mark.parametrize("wrong", [lambda counts: counts, followers_instead])
def test_wrong_neighbours_fail(wrong):
    with pytest.raises(AssertionError):
        assert_continuations(wrong)


def by_definition(w, ctx, text, n, discount, vocab_size):
    """The recursion of Ney, Essen and Kneser, down to the uniform distribution, on counts by scanning."""
    ctx = ctx[max(0, len(ctx) - n + 1) :]
    below = by_definition(w, ctx[1:], text, n, discount, vocab_size) if ctx else Fraction(1, vocab_size)
    total = sum(occurrences(text, ctx + x) for x in LETTERS)
    if not total:
        return below
    kinds = sum(occurrences(text, ctx + x) > 0 for x in LETTERS)
    return (max(occurrences(text, ctx + w) - discount, 0) + discount * kinds * below) / total


@pytest.mark.parametrize("n", [1, 2, 3])
def test_discounting_by_definition(n):
    text = random_text(n)
    counts = train_ngram(text, n)
    for ctx, w in product(["", "a", "e", "z", "ab", "ee", "za", text[-2:], "abcde"], "abez"):
        for discount in (Fraction(3, 4), Fraction(1, 4)):
            want = by_definition(w, ctx, text, n, discount, 7)
            assert absolute_discounting(w, ctx, counts, 7, float(discount)) == pytest.approx(float(want), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_with_continuation_counts_it_is_kneser_ney(n):
    text = random_text(10 + n)
    model = train_kneser_ney(text, n, 7, discounts=[0.6] * n)
    levels = continuation_counts(train_ngram(text, n))
    for ctx, w in product(["", "a", "ee", "za", text[-3:], "abcde"], "abez"):
        assert absolute_discounting(w, ctx, levels, 7, 0.6) == pytest.approx(kneser_ney(w, ctx, model), rel=1e-12)


@pytest.mark.parametrize("discount", [0, 0.3, 1])
def test_probabilities_add_up_to_one_from_plain_dictionaries_too(discount):
    counts = [{c: dict(f) for c, f in level.items()} for level in train_ngram(random_text(5), 3)]
    for levels, ctx in product((counts, continuation_counts(counts)), ("", "a", "ab", "zz")):
        ps = [absolute_discounting(w, ctx, levels, 7, discount) for w in "abcdeyz"]
        assert math.fsum(ps) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("arguments, name", [({"vocab_size": 0}, "vocab_size"), ({"discount": 1.5}, "discount")])
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        absolute_discounting(**{"w": "a", "ctx": "", "levels": train_ngram("ab", 1), "vocab_size": 2, **arguments})
