"""Exercise 11: byte pair encoding that touches only what a merge changes."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from autograder.compare import equal, fail, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.tokenization.fast_oracles import (
    Pair,
    bucket_merges,
    flawed_trainer,
    large_text,
    net_changes,
    recounted_merges,
    words_of,
)
from autograder.rng import Rng
from autograder.student import Student, short
from course_lib import tokenization
from course_lib.tokenization import GPT2_PATTERN

# With large_text a trainer with a heap needs 0.05 to 0.2 s for these on one slow core, one that visits every word
# 2.4 to 6 s.
LARGE_MERGES = 1200


def expect_change(result: Any, ids: list[int], pair: Pair, new_id: int) -> None:
    """The merged word and its changes are right; a pair that is listed with a change of zero does no harm."""
    what = f"{short(ids)} with {pair} merged"
    if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[1], dict):
        fail(f"it returned {short(result)}, expected a pair: the merged ids and a dictionary of changes")
    merged, changes = result
    want, want_changes = net_changes(ids, pair, new_id)
    equal(merged, want, what=what)
    equal({p: n for p, n in changes.items() if n != 0}, want_changes, what=f"{what}: the changes: it")


def expect_changes(student: Student, rows: list[list[int]], pairs: list[Pair], new_id: int) -> None:
    """Each row is merged at its pair as it should be, and the changes are right."""
    results = student.merge_with_changes.map(rows, pairs, [new_id] * len(rows))
    for ids, pair, result in zip(rows, pairs, results, strict=True):
        expect_change(result, ids, pair, new_id)


def expect_training(result: Any, want: list[Pair], number: int = 0) -> None:
    """These merges, ``number`` with those that follow and are not known, and the vocabulary that they make."""
    number = max(number, len(want))
    if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[1], list):
        fail(f"it returned {short(result)}, expected a pair: the vocabulary and the list of merges")
    vocab, merges = result
    spelled = {i: bytes([i]) for i in range(256)}
    for k, pair in enumerate(want):
        got = merges[k] if k < len(merges) else None
        name = f"merge number {k + 1} (of {number})"
        right = f"{pair}, which is {spelled[pair[0]]!r} + {spelled[pair[1]]!r}"
        true(got is not None, f"there are only {len(merges)} merges, {name} is {right}")
        if isinstance(got, (tuple, list)) and tuple(got) != pair and got in merges[:k]:
            before = f"that pair was merge number {merges.index(got) + 1} already, and occurs no more"
            fail(f"{name} is {short(got)}, but {before} (an old entry of the heap?); expected {right}")
        true(isinstance(got, (tuple, list)) and tuple(got) == pair, f"{name} is {short(got)}, expected {right}")
        spelled[256 + k] = spelled[pair[0]] + spelled[pair[1]]
    true(len(merges) == number, f"there are {len(merges)} merges, expected {number}")
    for k, pair in enumerate(merges[len(want) :], len(want)):
        known = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(i, int) for i in pair)
        true(known and {*pair} <= spelled.keys(), f"merge number {k + 1} is {short(pair)}, expected two ids before it")
        spelled[256 + k] = spelled[pair[0]] + spelled[pair[1]]
    equal(vocab, spelled, what="the vocabulary: it")


def counted(pairs: Iterable[Pair], step: int, changes: dict[Pair, int]) -> None:
    """Add ``step`` to the change of each pair."""
    for pair in pairs:
        changes[pair] = changes.get(pair, 0) + step


class TrainByteBpeFast(Exercise):
    """Train byte-level BPE with a pair index: the same merges, without visiting every word every time."""

    title = "Make it fast"
    difficulty = 3
    minutes = 50
    functions = ("merge_with_changes", "train_byte_bpe_fast")
    reference = tokenization
    does_as = ("train_byte_bpe",)
    forbid = ("tokenizers", "tiktoken", "sentencepiece", "transformers")
    hints = (
        "A merge changes the words that hold the pair, and in them the pairs beside it. What would you have to "
        "remember from the first count so that all other words can be left alone?",
        "Keep three things: the count of each pair, the set of words that hold it, and a heap of (-count, pair). Take "
        "the top of the heap; if its count is no longer true, throw it away. Otherwise merge the pair in its words "
        "only. For each of them add the changes, times the word's frequency, to the counts, note the word under its "
        "new pairs, and push every changed pair with its new count. Stop when no pair with a count above 0 is left.",
        "while heap and len(vocab) < vocab_size: n, pair = heappop(heap); if counts[pair] != -n or n == 0: continue. "
        "new_id = len(vocab); for each k in where.pop(pair): words[k], changes = merge_with_changes(words[k], pair, "
        "new_id); for p, c in changes.items(): counts[p] += c * freq[k]; touched.add(p); if c > 0: where[p].add(k). "
        "Then push (-counts[p], p) for every p touched. merge_with_changes may count the pairs before and after.",
    )

    @check(points=1, hint="Count the pairs before and after the merge; the change is what came minus what went.")
    def reports_what_one_merge_changes(self, student: Student, rng: Rng) -> None:
        expect_changes(student, [[5, 1, 2, 6], [1, 2], [4, 1, 2], [3, 4, 5]], [(1, 2)] * 4, 9)
        ids = [*rng.ids(3, 3, 7), 1, 2, *rng.ids(4, 3, 7), 1, 2, *rng.ids(2, 3, 7)]
        result, after = student.merge_with_changes.with_arguments(ids, (1, 2), 300)
        expect_change(result, ids, (1, 2), 300)
        true(after[0] == ids, f"it changed the list that it was given to {short(after[0])}; make a new one")

    @check(points=1, hint="In 1 2 1 2 two merges touch: the new pair is (9, 9). And 7 7 7 7 holds (7, 7) three times.")
    def gets_runs_and_touching_merges_right(self, student: Student, rng: Rng) -> None:
        rows, pairs = [[7, 7, 7], [7, 7, 7, 7], [1, 2, 1, 2], [2, 1, 2, 1, 2, 2]], [(7, 7)] * 2 + [(1, 2)] * 2
        for _ in range(10):
            rows.append(rng.ids(rng.randint(6, 14), 1, 2))
            pairs.append((rng.randint(1, 2), rng.randint(1, 2)))
        expect_changes(student, rows, pairs, 9)

    @check(points=1, hint="Compare with train_byte_bpe on a text of five words: at which merge do the two part? Why?")
    def learns_what_counting_everything_anew_would_learn(self, student: Student, rng: Rng) -> None:
        # In the first text bc goes first, and takes most of the cd with it: ef is then more frequent than cd.
        texts = [
            "abc abc abc bcd bcd xbcd bcde ef ef ef cd",
            "low low low low low lower lower newest newest newest newest",
        ]
        for _ in range(3):
            words = rng.words(14, shortest=2, longest=7, letters="abcd")
            texts.append(" ".join(rng.choices(words, weights=range(1, 15), k=40)))
        # Two merges are enough to see an old count at work, and show little else.
        expect_training(student.train_byte_bpe_fast(texts[0], 256 + 2), recounted_merges(words_of(texts[0]), 2))
        for text in texts:
            want = recounted_merges(words_of(text), 24)
            expect_training(student.train_byte_bpe_fast(text, 256 + 24), want)

    @check(
        points=1, hint="Equal counts: the smaller (id, id) wins, as (-count, pair) does in a heap. At count 0, stop."
    )
    def takes_the_smallest_of_equal_pairs_and_stops_when_none_is_left(self, student: Student, rng: Rng) -> None:
        letters = rng.sample("bcdfghjklm", 8)
        for text in ("dc ba fe", "".join(letters[:4]) + " " + "".join(letters[4:])):
            want = recounted_merges(words_of(text), 300)
            expect_training(student.train_byte_bpe_fast(text, 256 + 300), want)

    @check(
        points=2,
        time_limit=2.0,
        hint="Visiting every word at every merge takes too long here. Keep, for each pair, the words that hold it.",
    )
    def finishes_a_large_text_in_time(self, student: Student, rng: Rng) -> None:
        text = large_text(rng)
        some = text.split()[:40]
        start = " ".join(some + some[:10] * 2)
        expect_training(student.train_byte_bpe_fast(start, 256 + 120), recounted_merges(words_of(start), 120))
        result = student.train_byte_bpe_fast(text, 256 + LARGE_MERGES)
        # The first of them tell whether it counts right; what the others are, smaller texts show.
        expect_training(result, bucket_merges(words_of(text), LARGE_MERGES // 10), LARGE_MERGES)

    @mistake(
        "takes the neighbours from the word as it was; where two merges touch, the neighbour is new itself",
        of="merge_with_changes",
    )
    def old_neighbours(ids, pair, new_id):
        first, second = pair
        changes, merged, i = {}, [], 0
        while i < len(ids):
            if tuple(ids[i : i + 2]) != tuple(pair):
                merged.append(ids[i])
                i += 1
                continue
            counted([(first, second)], -1, changes)
            if i > 0:
                counted([(ids[i - 1], first)], -1, changes)
                counted([(ids[i - 1], new_id)], +1, changes)
            if i + 2 < len(ids):
                counted([(second, ids[i + 2])], -1, changes)
                counted([(new_id, ids[i + 2])], +1, changes)
            merged.append(new_id)
            i += 2
        return merged, changes

    @mistake("takes away the pair itself, but not the pairs it made with its neighbours", of="merge_with_changes")
    def neighbours_stay(ids, pair, new_id):
        merged, changes = net_changes(ids, pair, new_id)
        return merged, {p: n for p, n in changes.items() if new_id in p or p == tuple(pair)}

    @mistake(
        "leaves out the pairs that are gone, as the difference of two Counters does; but their counts must fall",
        of="merge_with_changes",
    )
    def counter_difference(ids, pair, new_id):
        merged = tokenization.merge(ids, pair, new_id)
        return merged, dict(Counter(pairwise(merged)) - Counter(pairwise(ids)))

    @mistake(
        "has the signs the wrong way round; what is gone is negative, what came is positive", of="merge_with_changes"
    )
    def signs_reversed(ids, pair, new_id):
        merged, changes = net_changes(ids, pair, new_id)
        return merged, {p: -n for p, n in changes.items()}

    @mistake(
        "takes the pair away once for each merge; in a run like 7 7 7 it occurs more often than that",
        of="merge_with_changes",
    )
    def once_for_each_merge(ids, pair, new_id):
        merged, changes = net_changes(ids, pair, new_id)
        return merged, changes | {tuple(pair): len(merged) - len(ids)}

    @mistake("changes the list that it was given; the caller may still need the old word", of="merge_with_changes")
    def overwrites(ids, pair, new_id):
        merged, changes = net_changes(ids, pair, new_id)
        ids[:] = merged
        return merged, changes

    @mistake("trusts old entries of the heap; a pair's count may have fallen since, so compare it when it comes up")
    def stale_entries(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "stale")

    @mistake("merges a pair again that was merged before; its old entries in the heap still claim the old count")
    def merges_a_pair_again(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "again")

    @mistake("does not note the words under their new pairs, so that a merged symbol is never found again")
    def new_pairs_not_indexed(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "no new index")

    @mistake("never counts pairs with a new symbol, so that no token grows beyond two bytes")
    def new_pairs_not_counted(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "no new pairs")

    @mistake("counts every different word once; a word that occurs five times counts five times")
    def frequency_ignored(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "frequency")

    @mistake("takes the greatest of equally frequent pairs; the rule says the smallest")
    def greatest_pair(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "greatest")

    @mistake("takes the first of equally frequent pairs that it saw; the rule says the smallest")
    def first_seen(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "first seen")

    @mistake("compares the bytes of equally frequent pairs; the rule compares their ids")
    def compares_bytes(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "bytes")

    @mistake("goes on with pairs whose count has fallen to 0; when no pair is left, the vocabulary stays smaller")
    def goes_on_at_zero(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "zero")

    @mistake("merges across words; pre-tokenize first, and merge inside each piece only")
    def across_words(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "one word")

    @mistake("makes vocab_size merges; the 256 bytes belong to the vocabulary too")
    def bytes_not_counted(text, vocab_size, pattern=GPT2_PATTERN):
        return flawed_trainer(text, vocab_size, pattern, "all merges")
