"""Kneser-Ney smoothing: probabilities that add up to one, from counts and from the number of different neighbours.

"Francisco" is frequent, but nearly always after "San". Where the context says nothing, a frequent word is a worse
guess than a word that is seen after many different ones; so the shorter contexts count neighbours, not occurrences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.discounting import continuation_counts
from course_lib.pretraining.ngram import Counts, Token, train_ngram

FALLBACK_DISCOUNT = 0.75  # where no count is 1, so that the formula gives nothing


@dataclass(frozen=True)
class KneserNey:
    """A trained model of order n = len(levels).

    `levels[k][context][token]`, contexts of k tokens: at k = n - 1 how often the token followed the context, below
    how many different tokens stood before the two. `totals` sums them over tokens; `discounts[k]` is taken off each.
    """

    levels: Counts
    totals: list[dict[tuple[Token, ...], int]]
    discounts: list[float]
    vocab_size: int


def train_kneser_ney(
    tokens: Sequence[Token], n: int, vocab_size: int, discounts: Sequence[float] | None = None
) -> KneserNey:
    """Count for interpolated Kneser-Ney of order n over a vocabulary of `vocab_size` tokens, seen or not.

    The discount of each level, by default, is n1 / (n1 + 2 n2) with n1 and n2 the number of counts that are 1 and 2
    (0.75 where n1 is 0). ValueError for n < 1, a vocabulary smaller than what occurs, or discounts that are not n
    numbers from 0 to 1. Source: Kneser & Ney 1995; Chen & Goodman 1999, in the interpolated form.

    >>> train_kneser_ney("abracadabra", 2, vocab_size=26).levels[0][()]["a"]  # after r, c and d
    3
    """
    counts = train_ngram(tokens, n)
    require_int("vocab_size", vocab_size, max(1, len(counts[0][()])))
    levels = continuation_counts(counts)
    if discounts is None:
        discounts = [_discount(level) for level in levels]
    if len(discounts) != n or not all(0 <= d <= 1 for d in discounts):
        raise ValueError(f"discounts: expected {n} numbers from 0 to 1, got {list(discounts)}")
    totals = [{context: followers.total() for context, followers in level.items()} for level in levels]
    return KneserNey(levels, totals, list(discounts), vocab_size)


def kneser_ney(w: Token, ctx: Sequence[Token], model: KneserNey) -> float:
    """Return the probability of `w` after `ctx`; over the whole vocabulary these add up to 1.

    From the uniform distribution up, each longer context takes a discount off its counts and gives what it took to
    the distribution below: p = max(c - D, 0) / total + D * kinds / total * p_below. Of `ctx` the last n - 1 tokens
    count. Source: as `train_kneser_ney`.

    >>> model = train_kneser_ney("abracadabra", 2, vocab_size=26)
    >>> round(sum(kneser_ney(w, "r", model) for w in "abcdefghijklmnopqrstuvwxyz"), 12)
    1.0
    """
    p = 1 / model.vocab_size
    for k, (level, totals, discount) in enumerate(zip(model.levels, model.totals, model.discounts, strict=True)):
        if k > len(ctx):
            break
        context = tuple(ctx[len(ctx) - k :])
        total = totals.get(context)
        if not total:
            break  # a context that was never seen says nothing, and no longer one was seen either
        followers = level[context]
        p = (max(followers[w] - discount, 0) + discount * len(followers) * p) / total
    return p


def _discount(level: dict[tuple[Token, ...], Counter[Token]]) -> float:
    ones = sum(count == 1 for followers in level.values() for count in followers.values())
    twos = sum(count == 2 for followers in level.values() for count in followers.values())
    return ones / (ones + 2 * twos) if ones else FALLBACK_DISCOUNT
