"""Hidden checks of exercise 5, and other ways to solve it."""

from __future__ import annotations

import torch

from autograder.compare import fail
from autograder.exercise import check, variant
from autograder.exercises.pretraining import spans as public
from autograder.exercises.pretraining.spans_parts import (
    drawn_text,
    expect_texts,
    fingerprint,
    survey,
    two_texts,
)
from autograder.rng import Rng
from autograder.student import Student


class SpanCorrupt(public.SpanCorrupt):
    @check(hint="Try a text in which nothing is hidden, one in which everything is, and a single token.")
    def extreme_masks_work(self, student: Student, rng: Rng) -> None:
        ids, hidden = drawn_text(rng, 6), [True, False, True, True, False, False]
        expect_texts(student.replace_spans(ids, torch.tensor(hidden), 5000), ids, hidden, 5000)
        for T in (1, 5):
            ids = drawn_text(rng, T).to(torch.int32)
            for hidden in ([True] * T, [False] * T, [i == 0 for i in range(T)], [i == T - 1 for i in range(T)]):
                expect_texts(student.replace_spans(ids, torch.tensor(hidden), 5000), ids, hidden, 5000)

    @check(hint="The dtype of ids stays, and the sentinels are where the vocabulary says: sentinel0 and below.")
    def long_texts_of_any_integers(self, student: Student, rng: Rng) -> None:
        for dtype in (torch.int64, torch.int32):
            ids = torch.tensor(rng.ids(300, 0, 50), dtype=dtype)  # tokens occur many times
            hidden = [rng.random() < 0.3 for _ in range(300)]
            expect_texts(student.replace_spans(ids, torch.tensor(hidden), 32099), ids, hidden, 32099)

    @check(hint="At least one token is hidden, and at least one stays; no more spans than there is room for.")
    def extreme_amounts_work(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        for T, noise, mean_span in ((2, 0.1, 3.0), (2, 0.9, 3.0), (9, 0.01, 3.0), (30, 0.9, 1.0), (31, 0.5, 1.0)):
            for message, call in survey(student, rng, T, noise, mean_span, draws=4):
                fail(message, call)

    @check(hint="Unless told otherwise: 15% noise, spans of 3 tokens, and sentinels from 32099 downwards.")
    def the_defaults_are_those_of_t5(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        ids = drawn_text(rng, 200)
        with student.off_the_record():
            got = student.span_corrupt(ids)
        problem = two_texts(got, ids, "span_corrupt")
        if not problem:
            inputs, targets = (x.tolist() for x in got)
            marks = [token for token in targets if token > 1000]
            sizes = (len(inputs), len(targets))
            if marks != [32099 - k for k in range(11)]:
                problem = f"the targets of 200 tokens have the sentinels {marks}, expected 32099 to 32089"
            elif sizes != (180, 41):
                problem = f"200 tokens gave inputs and targets of {sizes} tokens, expected (180, 41)"
        student.conclude(problem[:40] or "defaults are right")
        if problem:
            fail(problem)

    @check(hint="Many long texts: the counts are exact every time, and never do two spans touch.")
    def counts_hold_for_long_texts(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        for T, noise, mean_span in ((512, 0.15, 3.0), (300, 0.7, 5.0)):
            for message, call in survey(student, rng, T, noise, mean_span, draws=10):
                fail(message, call)

    @variant
    class Loops:
        """Both by loops; the places of the spans by putting a shuffled row of kinds together."""

        def replace_spans(ids, hidden, sentinel0):
            inputs, targets, mark = [], [], sentinel0
            before = False
            for token, hide in zip(ids.tolist(), hidden.tolist(), strict=True):
                if hide and not before:
                    inputs += [mark]
                    targets += [mark]
                    mark -= 1
                if hide:
                    targets += [token]
                else:
                    inputs += [token]
                before = hide
            return torch.tensor(inputs, dtype=ids.dtype), torch.tensor([*targets, mark], dtype=ids.dtype)

        def span_corrupt(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
            T = len(ids)
            hidden = min(max(round(noise * T), 1), T - 1)
            kept = T - hidden
            spans = min(max(round(hidden / mean_span), 1), hidden, kept + 1)
            cuts = sorted((torch.randperm(hidden - 1, generator=g)[: spans - 1] + 1).tolist())
            sizes = [b - a for a, b in zip([0, *cuts], [*cuts, hidden], strict=True)]
            gaps = set(torch.randperm(kept + 1, generator=g)[:spans].tolist())
            mask = []
            for place in range(kept + 1):
                if place in gaps:
                    mask += [True] * sizes.pop()
                mask += [False] * (place < kept)
            return SpanCorrupt.Loops.replace_spans(ids, torch.tensor(mask), sentinel0)

    @variant
    class Pieces:
        """Cuts the text into runs with a comparison of neighbours, and joins the pieces."""

        def replace_spans(ids, hidden, sentinel0):
            edges = (hidden[1:] != hidden[:-1]).nonzero().flatten() + 1
            inputs, targets, k = [], [], 0
            for piece, flags in zip(ids.tensor_split(edges), hidden.tensor_split(edges), strict=True):
                if flags[0]:
                    mark = torch.tensor([sentinel0 - k], dtype=ids.dtype)
                    inputs.append(mark)
                    targets += [mark, piece]
                    k += 1
                else:
                    inputs.append(piece)
            targets.append(torch.tensor([sentinel0 - k], dtype=ids.dtype))
            return torch.cat(inputs), torch.cat(targets)

        def span_corrupt(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
            # Weights instead of permutations: the largest of random numbers are the joints and the places.
            T = ids.numel()
            hidden = max(1, min(T - 1, round(noise * T)))
            spans = max(1, min(round(hidden / mean_span), hidden, T - hidden + 1))
            joints = torch.rand(hidden - 1, generator=g).argsort()[: spans - 1]
            opens = torch.zeros(hidden, dtype=torch.long)
            opens[0] = 1
            opens[joints + 1] = 1
            number = opens.cumsum(0) - 1  # which span each hidden token belongs to
            where = torch.rand(T - hidden + 1, generator=g).argsort()[:spans].sort().values
            mask = torch.zeros(T, dtype=torch.bool)
            mask[where[number] + torch.arange(hidden)] = True
            return SpanCorrupt.Pieces.replace_spans(ids, mask, sentinel0)

    @variant
    class TokenByToken:
        """One token for each span, and each of the others joins a span at random: lengths of another distribution."""

        def span_corrupt(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
            T = len(ids)
            hidden = min(max(round(noise * T), 1), T - 1)
            spans = min(max(round(hidden / mean_span), 1), hidden, T - hidden + 1)
            blocks = torch.randperm(T - hidden + 1, generator=g)[:spans].sort().values
            extra = torch.randint(spans, (hidden - spans,), generator=g)
            sizes = 1 + torch.bincount(extra, minlength=spans)
            mask = []
            for k, place in enumerate(blocks.tolist()):
                mask += [False] * (place - (mask.count(False))) + [True] * int(sizes[k])
            mask += [False] * (T - len(mask))
            return SpanCorrupt.Loops.replace_spans(ids, torch.tensor(mask), sentinel0)
