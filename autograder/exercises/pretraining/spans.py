"""Exercise 5: spans cut out of a text, after T5."""

from __future__ import annotations

import math

import torch

from autograder.compare import SEVERAL_CALLS, fail
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining.spans_parts import (
    SENTINEL0,
    by_mask,
    counted_up,
    cut,
    drawn_text,
    expect_texts,
    fingerprint,
    laid_at,
    laid_out,
    one_mask,
    replaced,
    right_mask,
    survey,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


def tensors(ids, inputs, targets):
    return torch.tensor(inputs, dtype=ids.dtype), torch.tensor(targets, dtype=ids.dtype)


class SpanCorrupt(Exercise):
    """Cut spans out of a text: the text with numbered gaps is the input, what belongs into the gaps is the target."""

    title = "Span corruption"
    difficulty = 2
    minutes = 35
    functions = ("replace_spans", "span_corrupt")
    reference = pretraining
    forbid = ("transformers",)
    hints = (
        "Walk through the text with a finger. At which tokens does a new span begin? What is written into the inputs "
        "there, what into the targets? And how does a reader of the targets know that the last span is over?",
        "replace_spans: a loop with two lists. A hidden token whose left neighbour is not hidden begins a span: the "
        "next sentinel goes into both lists. span_corrupt: cut the hidden tokens into spans at random joints, then "
        "choose a different place for each span: one of the kept + 1 before, between and behind the kept tokens.",
        "cuts = sorted(torch.randperm(hidden - 1, generator=g)[: spans - 1] + 1) are the ends of all spans but the "
        "last; lengths are the differences of 0, cuts, hidden. gaps = sorted(torch.randperm(kept + 1, generator=g)"
        "[:spans]). Then for place in range(kept + 1): if it is the next gap, append the next length times True; "
        "after it one False (not after the last place).",
    )

    @check(
        hint="Each gap: one sentinel in the inputs; the same sentinel and the span in the targets; one more at the end."
    )
    def does_the_example_of_the_paper(self, student: Student, rng: Rng) -> None:
        ids = torch.arange(11)  # Thank you for inviting me to your party last week .
        hidden = [i in (2, 3, 8) for i in range(11)]
        expect_texts(student.replace_spans(ids, torch.tensor(hidden), 99), ids, hidden, 99)

    @check(hint="A run of hidden tokens is one span, at the beginning and at the end of the text, too.")
    def writes_both_texts(self, student: Student, rng: Rng) -> None:
        for T in (6, 9, rng.randint(12, 20)):
            ids = drawn_text(rng, T)
            middle = [rng.random() < 0.5 for _ in range(T - 5)]
            hidden = [True, False, True, *middle, False, True]
            expect_texts(student.replace_spans(ids, torch.tensor(hidden), SENTINEL0), ids, hidden, SENTINEL0)

    @check(
        points=2, hint="round(noise T) tokens in round(hidden / mean_span) spans, and a kept token between two spans."
    )
    def hides_as_much_as_asked(self, student: Student, rng: Rng) -> None:
        # 512 * 0.15 is 76.8 tokens, in 25.7 spans; 88 * 0.15 is 13.2 tokens, in 2.2 spans.
        for cases in ((100, 0.3, 3.0), (64, 0.5, 2.0)), ((512, 0.15, 3.0, 2),), ((88, 0.15, 6.0, 4),):
            for message, call in [finding for case in cases for finding in survey(student, rng, *case)]:
                fail(message, call)

    @check(hint="A span may lie anywhere and be longer or shorter than the mean; on average it has mean_span tokens.")
    def spans_lie_anywhere(self, student: Student, rng: Rng) -> None:
        for message, call in fingerprint(student, rng):
            fail(message, call)

    @check(hint="All random numbers come from g: the same seed gives the same gaps, another seed gives others.")
    def every_call_draws_anew_and_from_g(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        ids, seed = drawn_text(rng, 200), rng.getrandbits(32)
        generators = [torch.Generator().manual_seed(s) for s in (seed, seed, seed + 1)]
        one, same, other = (one_mask(student, ids, 0.5, 3.0, g=g) for g in generators)
        unseeded = [one_mask(student, ids, 0.5, 3.0) for _ in range(2)]
        student.conclude(f"same {one == same}, other {one == other}, none {unseeded[0] == unseeded[1]}")
        if one != same:
            fail(
                "two generators with the same seed hid different tokens; draw all random numbers from g", SEVERAL_CALLS
            )
        if one == other:
            fail("two generators with different seeds hid the same tokens", SEVERAL_CALLS)
        if unseeded[0] == unseeded[1]:
            fail("without g, two calls hid the same tokens; each epoch needs gaps of its own", SEVERAL_CALLS)

    @mistake("gives every hidden token a sentinel of its own; a whole span shares one", of="replace_spans")
    def a_sentinel_for_each_token(ids, hidden, sentinel0):
        inputs, targets, sentinel = [], [], sentinel0
        for token, hide in zip(ids.tolist(), hidden.tolist(), strict=True):
            if hide:
                inputs.append(sentinel)
                targets += [sentinel, token]
                sentinel -= 1
            else:
                inputs.append(token)
        return tensors(ids, inputs, [*targets, sentinel])

    @mistake("leaves out the last sentinel; it tells the decoder that nothing more is missing", of="replace_spans")
    def no_last_sentinel(ids, hidden, sentinel0):
        inputs, targets = replaced(ids.tolist(), hidden.tolist(), sentinel0)
        return tensors(ids, inputs, targets[:-1])

    @mistake(
        "ends the targets with the sentinel of the last span again; the end has one of its own", of="replace_spans"
    )
    def last_sentinel_repeated(ids, hidden, sentinel0):
        inputs, targets = replaced(ids.tolist(), hidden.tolist(), sentinel0)
        return tensors(ids, inputs, [*targets[:-1], targets[-1] + 1])

    @mistake("uses one sentinel for all gaps; so nobody can tell which span belongs where", of="replace_spans")
    def one_sentinel(ids, hidden, sentinel0):
        texts = replaced(ids.tolist(), hidden.tolist(), sentinel0)
        marks = set(range(sentinel0 - len(ids) - 1, sentinel0 + 1))
        return tensors(ids, *([sentinel0 if t in marks else t for t in text] for text in texts))

    counts_up = mistake(
        "counts the sentinels up; they go down from sentinel0, the end of the vocabulary", of="replace_spans"
    )(counted_up)
    counts_up_here = mistake("counts the sentinels up; they go down from sentinel0, the end of the vocabulary")(
        by_mask(right_mask, replace=counted_up)
    )

    @mistake("leaves the gaps unmarked in the inputs; a sentinel stands for each", of="replace_spans")
    def gaps_unmarked(ids, hidden, sentinel0):
        targets = replaced(ids.tolist(), hidden.tolist(), sentinel0)[1]
        return ids[~hidden], torch.tensor(targets, dtype=ids.dtype)

    @mistake("writes only the hidden tokens into the targets, without sentinels", of="replace_spans")
    def bare_targets(ids, hidden, sentinel0):
        inputs = replaced(ids.tolist(), hidden.tolist(), sentinel0)[0]
        return torch.tensor(inputs, dtype=ids.dtype), ids[hidden]

    @mistake("asks for the whole text; the targets hold what is missing, and nothing else", of="replace_spans")
    def whole_text(ids, hidden, sentinel0):
        inputs = replaced(ids.tolist(), hidden.tolist(), sentinel0)[0]
        return torch.tensor(inputs, dtype=ids.dtype), ids.clone()

    @mistake("keeps the length of the inputs: one sentinel stands for a whole span, however long", of="replace_spans")
    def a_sentinel_at_each_place(ids, hidden, sentinel0):
        targets = replaced(ids.tolist(), hidden.tolist(), sentinel0)[1]
        begins = hidden & ~torch.cat([torch.zeros(1, dtype=torch.bool), hidden[:-1]])
        inputs = torch.where(hidden, sentinel0 + 1 - begins.cumsum(0), ids)
        return inputs, torch.tensor(targets, dtype=ids.dtype)

    @mistake(
        "writes the sentinel behind its span; it comes first, as the question before the answer", of="replace_spans"
    )
    def sentinel_behind(ids, hidden, sentinel0):
        inputs, targets = replaced(ids.tolist(), hidden.tolist(), sentinel0)
        return tensors(ids, inputs, [*targets[1:-1], targets[-1] + 1, targets[-1]])

    @mistake("cuts out what should stay: hidden is True where a token is missing", of="replace_spans")
    def the_other_way_round(ids, hidden, sentinel0):
        return tensors(ids, *replaced(ids.tolist(), (~hidden).tolist(), sentinel0))

    @mistake("tosses a coin for each token; exactly round(noise T) are hidden, in spans")
    @by_mask
    def a_coin_for_each_token(T, hidden, spans, g):
        mask = torch.rand(T, generator=g) < hidden / T
        return mask if mask.any() else torch.arange(T) == 0

    @mistake("hides single tokens; mean_span says how long a span is on average")
    @by_mask
    def single_tokens(T, hidden, spans, g):
        mask = torch.zeros(T, dtype=torch.bool)
        mask[torch.randperm(T, generator=g)[:hidden]] = True
        return mask

    @mistake("lets spans overlap; then fewer tokens are hidden than asked")
    @by_mask
    def overlapping(T, hidden, spans, g):
        mask = torch.zeros(T, dtype=torch.bool)
        for length in cut(hidden, spans, g):
            start = int(torch.randint(T - length + 1, (), generator=g))
            mask[start : start + length] = True
        return mask

    @mistake(
        "makes fewer spans than asked: two lie side by side, or one is empty. Are all places different, and all joints?"
    )
    @by_mask
    def touching(T, hidden, spans, g):
        lengths = cut(hidden, spans, g)
        return laid_at(T, torch.randint(T - hidden + 1, (spans,), generator=g).tolist(), lengths)

    @mistake("hides everything in one span; there are round(hidden / mean_span)")
    @by_mask
    def one_span(T, hidden, spans, g):
        start = int(torch.randint(T - hidden + 1, (), generator=g))
        return (torch.arange(T) >= start) & (torch.arange(T) < start + hidden)

    tokens_rounded_down = mistake(
        "cuts off what stands behind the point of noise * T; round goes to the nearest whole number"
    )(by_mask(right_mask, of_tokens=int))
    tokens_rounded_up = mistake("rounds noise * T up; round goes to the nearest whole number")(
        by_mask(right_mask, of_tokens=math.ceil)
    )
    spans_rounded_down = mistake(
        "cuts off what stands behind the point of hidden / mean_span; round goes to the nearest whole number"
    )(by_mask(right_mask, of_spans=int))
    spans_rounded_up = mistake("rounds hidden / mean_span up; round goes to the nearest whole number")(
        by_mask(right_mask, of_spans=math.ceil)
    )

    @mistake("cuts all spans to the same length; mean_span is the mean, and single spans are shorter or longer")
    @by_mask
    def equal_lengths(T, hidden, spans, g):
        return laid_out(T, [hidden // spans + (k < hidden % spans) for k in range(spans)], g)

    @mistake("always begins with a token that stays; the first token may be hidden like any other")
    @by_mask
    def first_token_stays(T, hidden, spans, g):
        kept = cut(T - hidden, min(spans + 1, T - hidden), g)
        kept += [0] * (spans + 1 - len(kept))
        parts = []
        for stay, hide in zip(kept, [*cut(hidden, spans, g), 0], strict=True):
            parts += [False] * stay + [True] * hide
        return torch.tensor(parts)

    @mistake("takes noise for the share of spans: round(noise T) spans are hidden instead of so many tokens")
    def noise_counts_spans(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        more = min(noise * mean_span, 1 - 1 / len(ids))
        return pretraining.span_corrupt(ids, more, mean_span, sentinel0, g)

    @mistake("hides what should stay: noise is the share that is cut out")
    def noise_is_what_stays(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        return pretraining.span_corrupt(ids, 1 - noise, mean_span, sentinel0, g)

    @mistake("always makes spans of 3 on average, whatever mean_span says")
    def always_three(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        return pretraining.span_corrupt(ids, noise, 3.0, sentinel0, g)

    @mistake("sets a seed of its own; so each epoch has the same gaps")
    def same_gaps_every_epoch(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        fixed = torch.Generator().manual_seed(0)
        return pretraining.span_corrupt(ids, noise, mean_span, sentinel0, fixed)

    @mistake("does not use g; random numbers without it cannot be drawn again")
    def ignores_g(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        return pretraining.span_corrupt(ids, noise, mean_span, sentinel0)
