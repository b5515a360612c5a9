"""n-gram models: the next token from counts of what followed the last n - 1 tokens, backing off where nothing did."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import islice

from course_lib.pretraining._arguments import require_int

Token = Hashable  # ids, words or letters: a str is a sequence of letters
Counts = list[dict[tuple[Token, ...], Counter[Token]]]


def train_ngram(tokens: Sequence[Token], n: int) -> Counts:
    """Count what follows each context of 0 to n - 1 tokens: `counts[k][context][token]`, contexts of k tokens.

    For n = 2 and letters this is the table that Markov made of 20,000 letters of "Eugene Onegin" in 1913. A context
    is counted as often as something followed it: not where the text ends with it. ValueError for n < 1.

    >>> counts = train_ngram("abracadabra", 2)
    >>> counts[0][()]["a"], counts[1]["a",]["b"], counts[1]["a",].total()
    (5, 2, 4)
    """
    require_int("n", n, 1)
    counts: Counts = [{(): Counter(tokens)}]
    for k in range(1, n):
        followers: dict[tuple[Token, ...], Counter[Token]] = {}
        grams = zip(*(islice(tokens, i, None) for i in range(k + 1)), strict=False)
        for gram, count in Counter(grams).items():  # counting in C first: four times as fast as a Python loop over all
            followers.setdefault(gram[:-1], Counter())[gram[-1]] = count
        counts.append(followers)
    return counts


def stupid_backoff(w: Token, ctx: Sequence[Token], counts: Counts, alpha: float = 0.4) -> float:
    """Return the score of `w` after `ctx`: its share of what followed the longest context that `w` did follow.

    Each token that the context loses costs a factor `alpha`, down to the share of `w` among all tokens, and 0 for a
    token never seen. Of `ctx` the last n - 1 tokens count. Scores are not probabilities: they need not add up to 1.
    ValueError for an alpha outside 0 to 1. Source: Brants et al. 2007, section 4, equation 5.

    >>> counts = train_ngram("abracadabra", 3)
    >>> stupid_backoff("r", "ab", counts)
    1.0
    >>> stupid_backoff("d", "ra", counts) == 0.4 * 1 / 4  # "d" follows 1 of the 4 "a" that something follows
    True
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha: expected a number above 0 and up to 1, got {alpha!r}")
    factor = 1.0
    for context in contexts(ctx, len(counts)):
        followers = counts[len(context)].get(context)
        if followers and followers.get(w):
            return factor * followers[w] / sum(followers.values())
        factor *= alpha
    return 0.0


def contexts(ctx: Sequence[Token], n: int) -> list[tuple[Token, ...]]:
    """Return the contexts that a model of order n tries, the longest first: the last n - 1 tokens, n - 2, ..., none.

    >>> contexts("abcd", 3)
    [('c', 'd'), ('d',), ()]
    """
    longest = tuple(ctx[max(0, len(ctx) - n + 1) :])
    return [longest[i:] for i in range(len(longest) + 1)]


def bits_per_token(tokens: Sequence[Token], n: int, probability: Callable[[Token, Sequence[Token]], float]) -> float:
    """Return the mean of -log2 probability(w, ctx) over `tokens`, each after the up to n - 1 tokens before it.

    Two to this power is the perplexity. Infinite if one of them has probability 0. Meaningful only for
    probabilities that add up to 1 over all tokens, and for tokens that were not counted. ValueError for no tokens.

    >>> bits_per_token("abba", 2, lambda w, ctx: 0.25)
    2.0
    """
    require_int("n", n, 1)
    if not len(tokens):
        raise ValueError("tokens: expected at least one, got none")
    bits = []
    for i, w in enumerate(tokens):
        p = probability(w, tokens[max(0, i - n + 1) : i])
        if p <= 0:
            return math.inf
        bits.append(-math.log2(p))
    return math.fsum(bits) / len(bits)
