"""Oracles for exercise 1, which scan the text for every count, and wrong ways to score and to smooth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import Any

from autograder.compare import close, fail, true
from autograder.rng import Rng
from autograder.student import type_name
from course_lib.pretraining.ngram import contexts

Counts = list[dict[tuple, dict[Hashable, int]]]


def occurrences(tokens: Sequence, gram: tuple) -> int:
    """How often these tokens stand in a row."""
    return sum(tuple(tokens[i : i + len(gram)]) == gram for i in range(len(tokens) - len(gram) + 1))


def scanned(tokens: Sequence, n: int) -> Counts:
    """The oracle of the counts: every stretch that occurs is searched for from the start of the text."""
    counts: Counts = []
    for k in range(n):
        table: dict[tuple, dict[Hashable, int]] = {(): {}} if k == 0 else {}
        for i in range(len(tokens) - k):
            gram = tuple(tokens[i : i + k + 1])
            table.setdefault(gram[:-1], {})[gram[-1]] = occurrences(tokens, gram)
        counts.append(table)
    return counts


def neighbours(tokens: Sequence, n: int) -> Counts:
    """The oracle of the continuation counts: for every stretch that occurs, the set of what stands before it."""
    levels = scanned(tokens, n)
    for table in levels[:-1]:
        for context, followers in table.items():
            for w in followers:
                gram = (*context, w)
                ends = range(1, len(tokens) - len(gram) + 1)
                followers[w] = len({tokens[i - 1] for i in ends if tuple(tokens[i : i + len(gram)]) == gram})
        for context in list(table):  # what only opens the text stands behind nothing
            table[context] = {w: number for w, number in table[context].items() if number}
            if context and not table[context]:
                del table[context]
    return levels


def score(w: Hashable, ctx: Sequence, tokens: Sequence, n: int, alpha: float) -> float:
    """The oracle of Stupid Backoff: the recursion as it is printed."""
    ctx = tuple(ctx)[max(0, len(ctx) - n + 1) :]
    seen = occurrences(tokens, (*ctx, w))
    if not ctx:
        return seen / len(tokens)
    if seen:
        return seen / occurrences(tokens[:-1], ctx)
    return alpha * score(w, ctx[1:], tokens, n, alpha)


def smoothed(w: Hashable, ctx: Sequence, levels: Counts, vocab_size: int, discount: float) -> float:
    """The oracle of absolute discounting: the recursion from the longest context down, in fractions."""
    ctx = tuple(ctx)[max(0, len(ctx) - len(levels) + 1) :]
    return float(_smoothed(w, ctx, levels, vocab_size, Fraction(discount)))


def _smoothed(w: Hashable, ctx: tuple, levels: Counts, vocab_size: int, discount: Fraction) -> Fraction:
    below = _smoothed(w, ctx[1:], levels, vocab_size, discount) if ctx else Fraction(1, vocab_size)
    seen = levels[len(ctx)].get(ctx, {})
    if not seen:
        return below
    kept = max(Fraction(0), seen.get(w, 0) - discount)
    return (kept + discount * len(seen) * below) / sum(seen.values())


def draw_text(rng: Rng, length: int) -> list[str]:
    """Letters of very different frequency; the last two have stood together before, where something else followed."""
    text = [*"abcab", *rng.choices("aaaabbbccd", k=length - 9), *"dbca"]
    return [*text, *text[3:5]]


def expect_counts(got: Any, want: Counts, what: str) -> None:
    """Dictionaries in a list; where a count is wrong, say of which context and token."""
    true(isinstance(got, list), f"{what} is {type_name(got)}, expected a list of dictionaries")
    true(len(got) == len(want), f"{what} has {len(got)} tables, expected {len(want)}: one for each length of context")
    for k, (table, right) in enumerate(zip(got, want, strict=True)):
        where = f"{what}[{k}]"
        true(isinstance(table, dict), f"{where} is {type_name(table)}, expected a dictionary")
        for context in right:
            if context not in table:
                fail(f"{where} lacks the context {context!r}", got)
        for context, followers in table.items():
            if context not in right:
                fail(f"{where} has the context {context!r}, which does not belong there", got)
            true(isinstance(followers, dict), f"{where}[{context!r}] is {type_name(followers)}, expected a dictionary")
            for w in {**right[context], **followers}:
                count, true_count = followers.get(w, 0), right[context].get(w, 0)
                if count != true_count or isinstance(count, bool):
                    fail(f"{where}[{context!r}][{w!r}] is {count!r}, expected {true_count}", got)


def expect_number(got: Any, want: float, what: str) -> None:
    close(got, want, rtol=1e-9, atol=1e-12, what=what)


def backed_off(
    w: Hashable,
    ctx: Sequence,
    counts: Counts,
    alpha: float,
    *,
    once: bool = False,
    only_unseen_contexts: bool = False,
    stop: bool = False,
    drop_newest: bool = False,
    totals_of_text: bool = False,
) -> float:
    """Stupid Backoff, with one of these flaws where it is asked for."""
    tried = contexts(ctx, len(counts))
    if drop_newest:
        longest = tried[0]
        tried = [longest[: len(longest) - i] for i in range(len(longest) + 1)]
    factor = 1.0
    for context in tried:
        followers = counts[len(context)].get(context, {})
        if followers.get(w) or (only_unseen_contexts and followers):
            total = sum(followers.values())
            if totals_of_text:  # how often the context occurs, also at the very end, where nothing follows it
                total = counts[len(context) - 1][context[:-1]][context[-1]] if context else total
            return factor * followers.get(w, 0) / total
        if stop:
            return 0.0
        factor = alpha if once else factor * alpha
    return 0.0


def discounted(
    w: Hashable,
    ctx: Sequence,
    levels: Counts,
    vocab_size: int,
    discount: float,
    *,
    clamp: bool = True,
    give_back: bool = True,
    kinds: bool = True,
    floor: bool = True,
    interpolate: bool = True,
    forget_below: bool = False,
) -> float:
    """Absolute discounting, with one of these flaws where it is asked for."""
    p = 1 / vocab_size if floor else 0.0
    for context in reversed(contexts(ctx, len(levels))):
        followers = levels[len(context)].get(context)
        if not followers:
            if forget_below:
                return 1 / vocab_size
            break
        kept = followers.get(w, 0) - discount
        if clamp:
            kept = max(kept, 0)
        spread = discount * (len(followers) if kinds else 1) * p if give_back else 0.0
        if not interpolate and followers.get(w):
            spread = 0.0
        p = (kept + spread) / sum(followers.values())
    return p
