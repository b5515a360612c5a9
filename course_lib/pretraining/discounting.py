"""Absolute discounting, and the counts of neighbours that make it Kneser-Ney: both from the counts of `ngram`."""

from collections import Counter
from collections.abc import Mapping, Sequence

from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.ngram import Counts, Token, contexts


def continuation_counts(counts: Counts) -> Counts:
    """Return counts of the same form in which shorter contexts count different neighbours, not occurrences.

    `levels[k][context][token]` says how many different tokens stand before "context token", for contexts of k tokens;
    the longest contexts keep their counts, because nothing longer is known. "Francisco" is frequent but follows one
    word only, so its count in `levels[0]` is 1. Source: Kneser & Ney 1995; Chen & Goodman 1999.

    >>> from course_lib.pretraining import train_ngram
    >>> levels = continuation_counts(train_ngram("abracadabra", 2))
    >>> levels[0][()]["a"], levels[0][()]["b"], levels[1]["a",]["b"]  # "a" stands after r, c and d; "b" after a
    (3, 1, 2)
    """
    levels: Counts = []
    for longer in counts[1:]:
        level: dict[tuple[Token, ...], Counter[Token]] = {}
        for context, followers in longer.items():
            level.setdefault(context[1:], Counter()).update(followers.keys())  # each of them once more
        levels.append(level)
    return [*levels, *counts[-1:]]


def absolute_discounting(
    w: Token, ctx: Sequence[Token], levels: Sequence[Mapping], vocab_size: int, discount: float = 0.75
) -> float:
    """Return the probability of `w` after `ctx`; over a vocabulary of `vocab_size` tokens these add up to 1.

    From the uniform distribution up, each longer context takes `discount` off each of its counts, and gives what it
    took to the distribution below: p = max(c - d, 0) / total + d * kinds / total * p_below, with `kinds` the number of
    different tokens seen there. A context that was never seen changes nothing. Of `ctx` the last n - 1 tokens count.
    With `continuation_counts` as levels this is interpolated Kneser-Ney, with plain counts its predecessor. ValueError
    for a vocabulary without tokens and for a discount outside 0 to 1.
    Source: Ney, Essen & Kneser 1994; Chen & Goodman 1999, in the interpolated form.

    >>> from course_lib.pretraining import train_ngram
    >>> absolute_discounting("c", "b", train_ngram("abab", 2), vocab_size=4, discount=0.5)  # 0.5/1 * 0.5 * 2/4 * 1/4
    0.03125
    """
    require_int("vocab_size", vocab_size, 1)
    if not 0 <= discount <= 1:
        raise ValueError(f"discount: expected a number from 0 to 1, got {discount!r}")
    p = 1 / vocab_size
    for context in reversed(contexts(ctx, len(levels))):
        followers = levels[len(context)].get(context)
        if not followers:
            break  # a context that was never seen says nothing, and no longer one was seen either
        total = sum(followers.values())
        p = (max(followers.get(w, 0) - discount, 0) + discount * len(followers) * p) / total
    return p
