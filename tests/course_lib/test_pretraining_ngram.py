"""n-grams: against the definitions, evaluated by scanning the text, and by sums over the whole vocabulary."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from course_lib.pretraining.kneser_ney import kneser_ney, train_kneser_ney
from course_lib.pretraining.ngram import bits_per_token, contexts, stupid_backoff, train_ngram

LETTERS = "abcdef"


def random_text(seed, length=60, letters=LETTERS):
    weights = np.arange(1, len(letters) + 1) ** 1.5
    return "".join(np.random.default_rng(seed).choice(list(letters), length, p=weights / weights.sum()))


def occurrences(text, gram):
    return sum(text[i : i + len(gram)] == gram for i in range(len(text) - len(gram) + 1))


def assert_counts(candidate):
    for seed, n in product(range(4), range(1, 5)):
        text = random_text(seed)
        counts = candidate(text, n)
        assert len(counts) == n
        for k in range(n):
            assert all(len(context) == k for context in counts[k])
            grams = {text[i : i + k + 1] for i in range(len(text) - k)}
            found = {"".join(c) + w: count for c, followers in counts[k].items() for w, count in followers.items()}
            assert found == {gram: occurrences(text, gram) for gram in grams}


def test_counts_by_scanning():
    assert_counts(train_ngram)
    assert train_ngram([], 2) == [{(): Counter()}, {}]
    assert train_ngram("a", 3) == [{(): Counter("a")}, {}, {}]
    assert train_ngram([5, 6, 5], 2)[1] == {(5,): Counter([6]), (6,): Counter([5])}
    with pytest.raises(ValueError, match="n: expected"):
        train_ngram("abc", 0)


def test_counts_that_miss_the_last_gram_fail():
    with pytest.raises(AssertionError):
        assert_counts(lambda text, n: train_ngram(text[:-1], n))


def score_by_definition(w, ctx, text, n, alpha):
    """Brants et al., equation 5, with counts by scanning. A context's count is how often something follows it."""
    ctx = ctx[max(0, len(ctx) - n + 1) :]
    if not ctx:
        return occurrences(text, w) / len(text)
    seen = occurrences(text, ctx + w)
    if seen:
        return seen / occurrences(text[:-1], ctx)
    return alpha * score_by_definition(w, ctx[1:], text, n, alpha)


def assert_scores(candidate):
    for seed in range(3):
        text = random_text(seed)
        for n, alpha in ((1, 0.4), (2, 0.4), (3, 0.3), (4, 0.9)):
            counts = train_ngram(text, n)
            asked = [text[i : i + 4] for i in range(0, 50, 5)] + ["", "a", "zz", "aaaa", "fffff", text[-3:]]
            for ctx, w in product(asked, LETTERS + "z"):
                want = score_by_definition(w, ctx, text, n, alpha)
                assert candidate(w, ctx, counts, alpha) == pytest.approx(want, rel=1e-12)


def test_stupid_backoff_by_definition():
    assert_scores(stupid_backoff)


def alpha_once(w, ctx, counts, alpha=0.4):
    for k, context in enumerate(contexts(ctx, len(counts))):
        followers = counts[len(context)].get(context, Counter())
        if followers[w]:
            return alpha ** min(k, 1) * followers[w] / followers.total()
    return 0.0


def counts_the_end(w, ctx, counts, alpha=0.4):
    """Divides by how often the context occurs, although at the end of the text nothing follows it."""
    n, factor = len(counts), 1.0
    for context in contexts(ctx, n):
        followers = counts[len(context)].get(context, Counter())
        if followers[w]:
            shorter = counts[len(context) - 1].get(context[:-1], Counter()) if context else None
            return factor * followers[w] / (shorter[context[-1]] if context else followers.total())
        factor *= alpha
    return 0.0


def alpha_inside_too(w, ctx, counts, alpha=0.4):
    return alpha * stupid_backoff(w, ctx, counts, alpha)


def keeps_the_whole_context(w, ctx, counts, alpha=0.4):
    extra = max(0, len(ctx) - len(counts) + 1)
    return alpha**extra * stupid_backoff(w, ctx, counts, alpha)


@pytest.mark.parametrize("wrong", [alpha_once, counts_the_end, alpha_inside_too, keeps_the_whole_context])
def test_wrong_backoff_fails(wrong):
    with pytest.raises(AssertionError):
        assert_scores(wrong)


def test_scores_do_not_add_up_to_one():
    counts = train_ngram(random_text(1, 30), 3)
    sums = [sum(stupid_backoff(w, context, counts) for w in LETTERS) for context in counts[2]]
    assert max(sums) > 1.1


@pytest.mark.parametrize("alpha", [0, -0.4, 1.1])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="alpha"):
        stupid_backoff("a", "b", train_ngram("ab", 2), alpha)


# Kneser-Ney


def kn_by_definition(w, ctx, text, n, discounts, vocab_size, top=True):
    """Interpolated Kneser-Ney in exact fractions; every count is made by scanning the text."""
    ctx = ctx[max(0, len(ctx) - n + 1) :] if top else ctx
    raw = len(ctx) == n - 1
    letters = sorted(set(text))

    def count(gram):
        return occurrences(text, gram) if raw else sum(occurrences(text, x + gram) > 0 for x in letters)

    below = kn_by_definition(w, ctx[1:], text, n, discounts, vocab_size, top=False) if ctx else Fraction(1, vocab_size)
    total = sum(count(ctx + x) for x in letters)
    if not total:
        return below
    discount = Fraction(discounts[len(ctx)])
    kinds = sum(count(ctx + x) > 0 for x in letters)
    return (max(count(ctx + w) - discount, 0) + discount * kinds * below) / total


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kneser_ney_by_definition(n):
    text = random_text(n, 45)
    discounts = [0.5, 0.25, 0.75][:n]
    model = train_kneser_ney(text, n, 8, discounts)
    for ctx in ["", "a", "f", "z", "ab", "ff", "zf", "fz", text[:2], text[-2:], "abcdef"]:
        for w in "acfz":
            want = kn_by_definition(w, ctx, text, n, discounts, 8)
            assert kneser_ney(w, ctx, model) == pytest.approx(float(want), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [0, 1, 2, 5, 80])
def test_probabilities_add_up_to_one(n, length):
    letters = LETTERS + "xyz"
    model = train_kneser_ney(random_text(n, length), n, len(letters))
    for ctx in map("".join, product(letters, repeat=min(n - 1, 2))):
        ps = [kneser_ney(w, "ab" + ctx, model) for w in letters]
        assert math.fsum(ps) == pytest.approx(1, abs=1e-12) and min(ps) > 0


def test_discounts_from_counts_of_one_and_two():
    # Pairs: ab 3, bc 1, ca 2, and so n1 = 1, n2 = 1 at the top; one neighbour each below: n1 = 3, n2 = 0.
    model = train_kneser_ney("abcabcab", 2, 3)
    assert occurrences("abcabcab", "ab") == 3 and occurrences("abcabcab", "bc") == 2
    assert model.discounts == [1.0, 0.75]  # bc 2, ca 2: no count is 1, so the fallback
    assert train_kneser_ney("abcabca" + "d", 2, 4).discounts[1] == pytest.approx(1 / (1 + 2 * 3))


def test_rare_company_counts_for_little():
    """ "Francisco" is more frequent than "tea", but follows one word only."""
    words = ("san francisco " * 6 + "hot tea iced tea green tea black tea").split()
    model = train_kneser_ney(words, 2, 20)
    assert words.count("francisco") > words.count("tea")
    assert kneser_ney("tea", ["unheard"], model) > 2 * kneser_ney("francisco", ["unheard"], model)
    counts = train_ngram(words, 2)
    assert stupid_backoff("tea", ["unheard"], counts) < stupid_backoff("francisco", ["unheard"], counts)


def test_longer_contexts_help_on_held_out_text():
    """Text from a known second-order chain: order 3 gets near its entropy, orders 1 and 2 do not."""
    generator = np.random.default_rng(5)
    table = generator.dirichlet([0.3] * 6, size=(6, 6))
    ids = [0, 1]
    for draw in generator.random(12_000):
        ids.append(min(5, int(np.searchsorted(table[ids[-2], ids[-1]].cumsum(), draw))))
    train, held_out = ids[:10_000], ids[10_000:]
    truth = bits_per_token(held_out, 3, lambda w, ctx: table[ctx[0], ctx[1], w] if len(ctx) == 2 else 1)
    bits = []
    for n in (1, 2, 3):
        model = train_kneser_ney(train, n, 6)
        bits.append(bits_per_token(held_out, n, lambda w, ctx, model=model: kneser_ney(w, ctx, model)))
    assert bits[0] > bits[1] + 0.1 > bits[2] + 0.2
    assert truth - 0.02 < bits[2] < truth + 0.1


def test_bits_per_token():
    ps = iter([0.5, 0.25, 0.125])
    seen = []
    assert bits_per_token("xyz", 2, lambda w, ctx: (seen.append((ctx, w)), next(ps))[1]) == 2.0
    assert seen == [("", "x"), ("x", "y"), ("y", "z")]
    assert bits_per_token("ab", 1, lambda w, ctx: 0.0) == math.inf
    with pytest.raises(ValueError, match="tokens"):
        bits_per_token("", 1, lambda w, ctx: 1.0)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"n": 0}, "n"),
        ({"vocab_size": 2}, "vocab_size"),
        ({"discounts": [0.5]}, "discounts"),
        ({"discounts": [0.5, 1.5]}, "discounts"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        train_kneser_ney(**{"tokens": "abcabc", "n": 2, "vocab_size": 3, **arguments})
