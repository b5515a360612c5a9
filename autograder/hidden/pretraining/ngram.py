"""Hidden checks of exercise 1, and other ways to solve it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from autograder.compare import equal
from autograder.exercise import check, variant
from autograder.exercises.pretraining import ngram as public
from autograder.exercises.pretraining import ngram_parts as parts
from autograder.exercises.pretraining.ngram_parts import draw_text, expect_counts, expect_number
from autograder.rng import Rng
from autograder.student import Student


class StupidBackoff(public.StupidBackoff):
    @check(hint="Tokens may be ids or words; a text may be shorter than n; n = 1 has one table and one context, ().")
    def counts_any_tokens_and_short_texts(self, student: Student, rng: Rng) -> None:
        ids = rng.ids(30, 0, 3)
        expect_counts(student.train_ngram(ids, 4), parts.scanned(ids, 4), "for 30 ids and n = 4, the result")
        expect_counts(student.train_ngram(ids, 1), parts.scanned(ids, 1), "for 30 ids and n = 1, the result")
        expect_counts(student.train_ngram("ab", 4), parts.scanned("ab", 4), "for two letters and n = 4, the result")

    @check(hint="ctx may be shorter than n - 1, or longer; w may be a token that was never seen; alpha may be 1.")
    def scores_any_context(self, student: Student, rng: Rng) -> None:
        text = draw_text(rng, 40)
        for n, alpha in ((1, 0.4), (2, 0.1), (4, 0.4), (3, 1.0)):
            counts = parts.scanned(text, n)
            contexts = ([], ["a"], ["z"], ["d", "d", "d"], text[-n:], ["b", "z"], [*"aabca"])
            asked = [(w, ctx) for ctx in contexts for w in "acdz"]
            scores = [student.stupid_backoff(w, ctx, counts, alpha) for w, ctx in asked]
            for got, (w, ctx) in zip(scores, asked, strict=True):
                expect_number(got, parts.score(w, ctx, text, n, alpha), f"for n = {n} and alpha = {alpha}, the score")

    @check(hint="Held-out text: -log2 of each probability, averaged. Words that were never seen must cost, not crash.")
    def predicts_held_out_text(self, student: Student, rng: Rng) -> None:
        text, unknown = draw_text(rng, 60), [*draw_text(rng, 16), "z", "a"]
        levels = parts.neighbours(text, 3)
        got = student.continuation_counts(parts.scanned(text, 3))
        expect_counts(got, levels, "the continuation counts")
        places = range(len(unknown))
        ps = [student.absolute_discounting(unknown[i], unknown[:i], levels, 26, 0.6) for i in places]
        want = [parts.smoothed(unknown[i], unknown[:i], levels, 26, 0.6) for i in places]
        for i, (p, right) in enumerate(zip(ps, want, strict=True)):
            expect_number(p, right, f"at place {i} of a held-out text, the probability")
        bits = math.fsum(-math.log2(p) for p in ps)
        expect_number(bits, math.fsum(-math.log2(p) for p in want), "the bits of a held-out text")

    @check(hint="Make new tables; those that came in are still needed.")
    def leaves_the_counts_alone(self, student: Student, rng: Rng) -> None:
        text = draw_text(rng, 20)
        for call in (
            lambda counts: student.stupid_backoff.with_arguments("z", "dd", counts)[1][2],
            lambda counts: student.continuation_counts.with_arguments(counts)[1][0],
            lambda counts: student.absolute_discounting.with_arguments("z", "dd", counts, 9)[1][2],
        ):
            equal(call(parts.scanned(text, 3)), parts.scanned(text, 3), "after the call, counts: it")

    @variant
    class Recursive:
        """The formulas as they are printed, with plain dictionaries."""

        def train_ngram(tokens, n):
            counts = [{} for _ in range(n)]
            counts[0][()] = {}
            for i, w in enumerate(tokens):
                for k in range(min(n - 1, i) + 1):
                    row = counts[k].setdefault(tuple(tokens[i - k : i]), {})
                    row[w] = row.get(w, 0) + 1
            return counts

        def stupid_backoff(w, ctx, counts, alpha=0.4):
            ctx = tuple(ctx)[-(len(counts) - 1) :] if len(counts) > 1 else ()
            row = counts[len(ctx)].get(ctx, {})
            if w in row:
                return row[w] / sum(row.values())
            return alpha * StupidBackoff.Recursive.stupid_backoff(w, ctx[1:], counts[: len(ctx)], alpha) if ctx else 0.0

        def continuation_counts(counts):
            levels = [{(): {}}, *({} for _ in counts[1:])][: len(counts) - 1]
            for k in range(1, len(counts)):
                for context in counts[k]:
                    row = levels[k - 1].setdefault(context[1:], {})
                    for w in counts[k][context]:
                        row[w] = row.get(w, 0) + 1
            return [*levels, counts[-1]]

        def absolute_discounting(w, ctx, levels, vocab_size, discount=0.75):
            ctx = tuple(ctx)[-(len(levels) - 1) :] if len(levels) > 1 else ()
            if ctx:
                below = StupidBackoff.Recursive.absolute_discounting(
                    w, ctx[1:], levels[: len(ctx)], vocab_size, discount
                )
            else:
                below = 1 / vocab_size
            row = levels[len(ctx)].get(ctx)
            if not row:
                return below
            total = sum(row.values())
            return max(row.get(w, 0) - discount, 0) / total + discount * len(row) / total * below

    @variant
    class Collections:
        """Counters in defaultdicts, and neighbours as sets."""

        def train_ngram(tokens, n):
            tables = [defaultdict(Counter) for _ in range(n)]
            tables[0][()].update(tokens)
            for k in range(1, n):
                for i in range(len(tokens) - k):
                    tables[k][tuple(tokens[i : i + k])][tokens[i + k]] += 1
            return tables

        def stupid_backoff(w, ctx, counts, alpha=0.4):
            longest = min(len(ctx), len(counts) - 1)
            for dropped, k in enumerate(range(longest, -1, -1)):
                row = counts[k].get(tuple(ctx[len(ctx) - k :]), {})
                if row.get(w, 0) > 0:
                    return alpha**dropped * row[w] / sum(row.values())
            return 0.0

        def continuation_counts(counts):
            levels = []
            for longer in counts[1:]:
                before = defaultdict(lambda: defaultdict(set))
                for context, row in longer.items():
                    for w in row:
                        before[context[1:]][w].add(context[0])
                levels.append({c: {w: len(found) for w, found in row.items()} for c, row in before.items()})
            return levels + counts[-1:]
