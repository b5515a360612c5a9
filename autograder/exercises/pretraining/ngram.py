"""Exercise 1: n-gram models, from Markov's table over Stupid Backoff to counts of neighbours."""

from __future__ import annotations

import math

from autograder.compare import true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining import ngram_parts as parts
from autograder.exercises.pretraining.ngram_parts import draw_text, expect_counts, expect_number
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class StupidBackoff(Exercise):
    """Count what follows each context, score by the longest context that knows the token, and make it add up to one."""

    title = "n-grams: the next token from counts"
    difficulty = 2
    minutes = 45
    id = "stupid_backoff"
    functions = ("train_ngram", "stupid_backoff", "continuation_counts", "absolute_discounting")
    reference = pretraining
    forbid = ("nltk",)
    hints = (
        "Write the table for abracadabra and n = 2 on paper. The last a is a context that nothing follows: does it "
        "count? And which token of a context tells least about the next one: the first or the last?",
        "train_ngram: one table for each k from 0 to n - 1; slide over all places that have k tokens before them. "
        "stupid_backoff: start with the last n - 1 tokens of ctx, and drop the oldest until w has been seen; each drop "
        "costs alpha. continuation_counts: each longer context that w follows adds one to the count of w after the "
        "context without its first token. absolute_discounting: begin with 1 / vocab_size and no context, and go up.",
        "counts[k].setdefault(tuple(tokens[i - k : i]), {}) is the row for tokens[i], for i from k on. Backoff: "
        "row = counts[len(ctx)].get(tuple(ctx), {}); if w in row, factor * row[w] / sum(row.values()), else "
        "ctx = ctx[1:] and factor *= alpha. Discounting, for k = 0, 1, ...: "
        "p = (max(row.get(w, 0) - discount, 0) + discount * len(row) * p) / sum(row.values()).",
    )

    @check(hint="For n = 2 there are two tables: counts[0][()] has the letters, counts[1][('a',)] what followed a.")
    def counts_what_follows(self, student: Student, rng: Rng) -> None:
        got = student.train_ngram("abracadabra", 2)
        followers = {("a",): {"b": 2, "c": 1, "d": 1}, ("b",): {"r": 2}, ("r",): {"a": 2}, ("c",): {"a": 1}}
        want = [{(): {"a": 5, "b": 2, "r": 2, "c": 1, "d": 1}}, followers | {("d",): {"a": 1}}]
        expect_counts(got, want, "for abracadabra and n = 2, the result")
        text = draw_text(rng, 24)
        expect_counts(
            student.train_ngram(text, 3), parts.scanned(text, 3), "for a list of letters and n = 3, the result"
        )

    @check(hint="Each token that ctx loses, from the left, costs one factor alpha; a row's total is what followed it.")
    def backs_off_to_what_is_known(self, student: Student, rng: Rng) -> None:
        counts = parts.scanned("abracadabra", 3)
        asked = (
            ("r", "ab", 1.0),  # always
            ("a", "", 5 / 11),
            ("c", "a", 1 / 4),  # five a, but only four of them have a successor
            ("c", "ra", 1.0),  # "ra" twice, once at the end
            ("d", "zz", 0.4 * 0.4 * 1 / 11),
            ("d", "ra", 0.4 * 1 / 4),
            ("d", "bb", 0.4 * 0.4 * 1 / 11),
            ("r", "cab", 1.0),  # of three tokens only the last two count
            ("z", "ab", 0.0),
        )
        scores = [student.stupid_backoff(w, ctx, counts) for w, ctx, _ in asked]
        for got, (w, ctx, want) in zip(scores, asked, strict=True):
            expect_number(got, want, f"after {ctx!r} for {w!r}, with n = 3, it")
        text = draw_text(rng, 30)
        counts = parts.scanned(text, 3)
        for _ in range(6):
            ctx, w = rng.choices("abcd", k=rng.randint(0, 4)), rng.choice("abcd")
            want = parts.score(w, ctx, text, 3, 0.25)
            expect_number(student.stupid_backoff(w, ctx, counts, 0.25), want, f"after {ctx} for {w!r}, alpha 0.25, it")

    @check(hint="How many different tokens stand before? Each longer context that w follows is one of them.")
    def counts_different_neighbours(self, student: Student, rng: Rng) -> None:
        words = [
            "san",
            "francisco",
            "san",
            "francisco",
            "san",
            "francisco",
            "hot",
            "tea",
            "iced",
            "tea",
            "green",
            "tea",
        ]
        counts = parts.scanned(words, 2)
        got = student.continuation_counts(counts)
        expect_counts(got, parts.neighbours(words, 2), "for san francisco and tea, the result")
        text = draw_text(rng, 26)
        got = student.continuation_counts(parts.scanned(text, 3))
        expect_counts(got, parts.neighbours(text, 3), "for a drawn text and n = 3, the result")

    @check(hint="p = max(count - d, 0) / total + d * kinds / total * (p of the context without its first token).")
    def smooths_by_a_discount(self, student: Student, rng: Rng) -> None:
        levels = [{(): {"a": 3, "b": 1}}, {("a",): {"a": 1, "b": 1}}]
        asked = (
            ("a", "", 2.5 / 4 + 0.5 * 2 / 4 / 4),
            ("c", "", 0.5 * 2 / 4 / 4),
            ("a", "a", 0.5 / 2 + 0.5 * 2 / 2 * (2.5 / 4 + 0.5 * 2 / 4 / 4)),
            ("c", "a", 0.5 * 2 / 2 * (0.5 * 2 / 4 / 4)),
            ("a", "b", 2.5 / 4 + 0.5 * 2 / 4 / 4),  # nothing followed b
        )
        # All of them are asked before one is judged: some wrong formulas differ only in the later ones.
        ps = [student.absolute_discounting(w, ctx, levels, 4, 0.5) for w, ctx, _ in asked]
        for got, (w, ctx, want) in zip(ps, asked, strict=True):
            expect_number(got, want, f"after {ctx!r} for {w!r}, discount 0.5 and 4 tokens, it")
        text = draw_text(rng, 30)
        for levels in (parts.scanned(text, 3), parts.neighbours(text, 3)):
            for ctx in (["a", "b"], ["d", "d"], [*"dbca"]):
                for w in "adz":
                    want = parts.smoothed(w, ctx, levels, 9, 0.75)
                    got = student.absolute_discounting(w, ctx, levels, 9)
                    expect_number(got, want, f"after {ctx} for {w!r}, with n = 3, it")

    @check(hint="The scores of Stupid Backoff need not add up to one; what absolute discounting returns must.")
    def scores_are_not_probabilities_and_these_are(self, student: Student, rng: Rng) -> None:
        text = draw_text(rng, 30)
        counts = parts.scanned(text, 3)
        asked = [("a", "zz"), *((w, "ca") for w in "abcd")]
        scores = [student.stupid_backoff(w, ctx, counts) for w, ctx in asked]
        for got, (w, ctx) in zip(scores, asked, strict=True):
            expect_number(got, parts.score(w, ctx, text, 3, 0.4), f"after {ctx!r} for {w!r}, it")
        ps = [student.absolute_discounting(w, "ca", counts, 6, 0.5) for w in "abcdyz"]
        for w, p in zip("abcdyz", ps, strict=True):
            expect_number(p, parts.smoothed(w, "ca", counts, 6, 0.5), f"after 'ca' for {w!r}, with discount 0.5, it")
        true(abs(math.fsum(ps) - 1) < 1e-9, f"the probabilities of all 6 tokens add up to {math.fsum(ps):.6g}")

    @mistake("counts only contexts of n - 1 tokens; backing off needs the shorter ones, too", of="train_ngram")
    def only_the_longest(tokens, n):
        return [{} for _ in range(n - 1)] + right_counts(tokens, n)[-1:]

    @mistake("uses pieces of text as contexts; a context is a tuple of tokens, which may be words or ids as well",
             of="train_ngram")  # fmt: skip
    def contexts_as_text(tokens, n):
        return [{"".join(map(str, c)): row for c, row in t.items()} for t in right_counts(tokens, n)]

    @mistake("stops one place too early: the last token of the text followed something as well", of="train_ngram")
    def misses_the_last(tokens, n):
        return right_counts(tokens[:-1], n)

    @mistake("puts shorter contexts from the start of the text into the tables of longer ones", of="train_ngram")
    def short_contexts_at_the_start(tokens, n):
        counts = right_counts(tokens, n)
        for k in range(1, n):
            for i in range(min(k, len(tokens))):
                row = counts[k].setdefault(tuple(tokens[:i]), {})
                row[tokens[i]] = row.get(tokens[i], 0) + 1
        return counts

    @mistake("makes contexts of up to n tokens; in an n-gram the predicted token is the n-th", of="train_ngram")
    def one_too_long(tokens, n):
        return right_counts(tokens, n + 1)

    @mistake("looks at stretches that do not overlap; a window slides by one token", of="train_ngram")
    def strides(tokens, n):
        counts = right_counts(tokens, 1)
        for k in range(1, n):
            table: dict = {}
            for i in range(0, len(tokens) - k, k + 1):
                row = table.setdefault(tuple(tokens[i : i + k]), {})
                row[tokens[i + k]] = row.get(tokens[i + k], 0) + 1
            counts.append(table)
        return counts

    @mistake("pays alpha only once, however many tokens the context has lost", of="stupid_backoff")
    def alpha_once(w, ctx, counts, alpha=0.4):
        return parts.backed_off(w, ctx, counts, alpha, once=True)

    @mistake("divides by how often the context occurs; at the end of the text nothing follows it, so it does not count",
             of="stupid_backoff")  # fmt: skip
    def counts_the_end(w, ctx, counts, alpha=0.4):
        return parts.backed_off(w, ctx, counts, alpha, totals_of_text=True)

    @mistake("backs off only from contexts that were never seen; one that w did not follow is left as well",
             of="stupid_backoff")  # fmt: skip
    def known_context_is_final(w, ctx, counts, alpha=0.4):
        return parts.backed_off(w, ctx, counts, alpha, only_unseen_contexts=True)

    @mistake("gives 0 to what the longest context has not seen, without asking shorter ones", of="stupid_backoff")
    def never_backs_off(w, ctx, counts, alpha=0.4):
        return parts.backed_off(w, ctx, counts, alpha, stop=True)

    @mistake("drops the newest token of the context; the oldest tells least", of="stupid_backoff")
    def drops_the_newest(w, ctx, counts, alpha=0.4):
        return parts.backed_off(w, ctx, counts, alpha, drop_newest=True)

    @mistake("pays alpha for tokens that lie further back than n - 1; those never count", of="stupid_backoff")
    def pays_for_the_far_past(w, ctx, counts, alpha=0.4):
        return alpha ** max(0, len(ctx) - len(counts) + 1) * parts.backed_off(w, ctx, counts, alpha)

    @mistake("pays alpha on every level, the longest one too", of="stupid_backoff")
    def alpha_from_the_start(w, ctx, counts, alpha=0.4):
        return alpha * parts.backed_off(w, ctx, counts, alpha)

    @mistake("adds the shorter contexts to the longer ones; backing off asks them only if the longer one knows nothing",
             of="stupid_backoff")  # fmt: skip
    def adds_all_levels(w, ctx, counts, alpha=0.4):
        tried = pretraining.ngram.contexts(ctx, len(counts))
        rows = [counts[len(context)].get(context, {}) for context in tried]
        return sum(alpha**i * row.get(w, 0) / sum(row.values()) for i, row in enumerate(rows) if row)

    @mistake(
        "leaves the occurrences as they are; shorter contexts count different neighbours", of="continuation_counts"
    )
    def occurrences_again(counts):
        return counts

    @mistake("counts what comes after; it asks for what stands before", of="continuation_counts")
    def what_comes_after(counts):
        return [
            {c: {w: len(counts[k + 1].get((*c, w), {})) for w in row} for c, row in counts[k].items()}
            for k in range(len(counts) - 1)
        ] + counts[-1:]

    @mistake("adds up how often the neighbours occur; each of them counts once", of="continuation_counts")
    def sums_of_neighbours(counts):
        return shortened(counts, lambda context: context[1:], lambda count: count)

    @mistake(
        "takes the last token off the context; the neighbour is the first, which stands before",
        of="continuation_counts",
    )
    def wrong_end(counts):
        return shortened(counts, lambda context: context[:-1], lambda count: 1)

    @mistake("drops the longest contexts; these keep their counts", of="continuation_counts")
    def without_the_longest(counts):
        return pretraining.continuation_counts(counts)[:-1]

    @mistake("takes the discount off counts of 0 as well; a probability below nothing comes of it",
             of="absolute_discounting")  # fmt: skip
    def no_clamp(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, clamp=False)

    @mistake("takes the discount and gives it to nobody; the probabilities add up to less than one",
             of="absolute_discounting")  # fmt: skip
    def gives_nothing_back(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, give_back=False)

    @mistake("gives back one discount; it has been taken once from each kind of token", of="absolute_discounting")
    def one_discount_only(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, kinds=False)

    @mistake(
        "does not go down to 1 / vocab_size; so a token that was never seen is impossible", of="absolute_discounting"
    )
    def no_floor(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, floor=False)

    @mistake("asks shorter contexts only about tokens that the longer one has not seen; here all levels are mixed",
             of="absolute_discounting")  # fmt: skip
    def backs_off_instead(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, interpolate=False)

    @mistake("falls back to 1 / vocab_size where the context was never seen; the shorter contexts still know something",
             of="absolute_discounting")  # fmt: skip
    def forgets_below(w, ctx, levels, vocab_size, discount=0.75):
        return parts.discounted(w, ctx, levels, vocab_size, discount, forget_below=True)


def right_counts(tokens, n):
    """Right counts as plain dictionaries, which mistakes may change."""
    return [{c: dict(row) for c, row in table.items()} for table in pretraining.train_ngram(tokens, n)]


def shortened(counts, shorter, weight):
    """Tables made of the longer ones, by a rule for the context and one for what a count adds."""
    levels = []
    for table in counts[1:]:
        level: dict = {}
        for context, row in table.items():
            for w, count in row.items():
                target = level.setdefault(shorter(context), {})
                target[w] = target.get(w, 0) + weight(count)
        levels.append(level)
    return levels + counts[-1:]
