"""Hidden part of exercise 11."""

from collections import Counter, defaultdict
from heapq import heappop, heappush
from itertools import pairwise

import regex

from autograder.compare import equal
from autograder.exercise import check, variant
from autograder.exercises.tokenization import fast as public
from autograder.exercises.tokenization.fast import expect_changes, expect_training
from autograder.exercises.tokenization.fast_oracles import bucket_merges, recounted_merges, words_of
from autograder.rng import Rng
from autograder.student import Student
from course_lib.tokenization import GPT2_PATTERN


class TrainByteBpeFast(public.TrainByteBpeFast):
    @check(points=2, hint="Try words without the pair, words that are the pair, and words that are one long run.")
    def keeps_the_counts_of_any_word_right(self, student: Student, rng: Rng) -> None:
        rows, pairs = [], []
        for _ in range(15):
            alphabet = rng.randint(1, 4)
            rows.append(rng.ids(rng.randint(1, 25), 1, alphabet))
            pairs.append((rng.randint(1, alphabet), rng.randint(1, alphabet)))
        length = rng.randint(301, 399)
        rows += [[4] * length, [4, 4, 5] * (length // 3)]
        expect_changes(student, rows, [*pairs, (4, 4), (4, 4)], 500)
        # Two merges, one after the other: the changes of both lead from the first counts to the last.
        ids = rng.ids(60, 1, 3)
        counts = Counter(pairwise(ids))
        for pair, new_id in (((1, 2), 10), ((10, 3), 11)):
            ids, changes = student.merge_with_changes(ids, pair, new_id)
            for p, change in changes.items():
                counts[p] += change
        equal({p: n for p, n in counts.items() if n}, dict(Counter(pairwise(ids))), what="adding up the changes")

    @check(points=2, hint="Think of no merges at all, of an empty text, of other scripts, and of another pattern.")
    def holds_for_other_texts_and_patterns(self, student: Student, rng: Rng) -> None:
        word = rng.word(5, 8, "ab")
        for text in ("", rng.word(1, 1)):
            expect_training(student.train_byte_bpe_fast(text, 256 + 50), [])
        expect_training(student.train_byte_bpe_fast(word * 3, 256), [])
        pattern = r"\S+|\s+"
        pieces = [rng.unicode(3) + "12" * rng.randint(1, 3) for _ in range(6)]
        text = "  ".join(rng.choices(pieces, k=30)) + "\n\n\n"
        # One character for each byte, as the oracle wants it.
        words = Counter(piece.encode().decode("latin-1") for piece in regex.findall(pattern, text))
        expect_training(student.train_byte_bpe_fast(text, 256 + 60, pattern), recounted_merges(words, 60))

    @check(points=2, time_limit=5.0, hint="Compare with train_byte_bpe on a text of some hundred words.")
    def learns_long_tokens_from_frequent_words(self, student: Student, rng: Rng) -> None:
        syllables = [a + b + c for a in rng.sample("bdfgklmnpt", 5) for b in "aeio" for c in ("", rng.choice("nrs"))]
        words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(500)]
        drawn = rng.choices(words, weights=[1 / (k + 1) for k in range(500)], k=2500)
        for size, merges in ((80, 100), (2500, 700)):
            text = " ".join(drawn[:size])
            expect_training(student.train_byte_bpe_fast(text, 256 + merges), bucket_merges(words_of(text), merges))

    @variant
    class Buckets:
        """Pairs in buckets by count instead of a heap; changes as a difference of two full counts of the word."""

        def merge_with_changes(ids, pair, new_id):
            merged, rest = [], list(ids)
            while rest:
                hit = tuple(rest[:2]) == tuple(pair)
                merged.append(new_id if hit else rest[0])
                rest = rest[1 + hit :]
            changes = Counter(pairwise(merged))
            changes.subtract(Counter(pairwise(ids)))
            return merged, {p: n for p, n in changes.items() if n}

        def train_byte_bpe_fast(text, vocab_size, pattern=GPT2_PATTERN):
            frequency = Counter(tuple(piece.encode()) for piece in regex.findall(pattern, text))
            words, weights = [list(word) for word in frequency], list(frequency.values())
            counts, where, bucket = Counter(), defaultdict(set), defaultdict(set)
            for k, word in enumerate(words):
                for pair in pairwise(word):
                    counts[pair] += weights[k]
                    where[pair].add(k)
            for pair, n in counts.items():
                bucket[n].add(pair)
            vocab, merges = {i: bytes([i]) for i in range(256)}, []
            while len(vocab) < vocab_size:
                bucket = {n: pairs for n, pairs in bucket.items() if pairs and n} if len(vocab) % 100 == 0 else bucket
                top = max((n for n, pairs in bucket.items() if pairs and n), default=None)
                if top is None:
                    break
                pair = min(bucket[top])
                new_id = len(vocab)
                total = Counter()
                for k in where.pop(pair):
                    old, word, i = words[k], [], 0
                    while i < len(old):
                        hit = i + 1 < len(old) and (old[i], old[i + 1]) == pair
                        word.append(new_id if hit else old[i])
                        i += 1 + hit
                    for p in pairwise(old):
                        total[p] -= weights[k]
                    for p in pairwise(word):
                        total[p] += weights[k]
                        where[p].add(k)
                    words[k] = word
                for p, change in total.items():
                    if change:
                        bucket.setdefault(counts[p], set()).discard(p)
                        counts[p] += change
                        bucket.setdefault(counts[p], set()).add(p)
                vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
                merges.append(pair)
            return vocab, merges

    @variant
    class LinkedPositions:
        """One chain of symbols for the whole text; the index holds positions, and old heap entries are skipped."""

        def merge_with_changes(ids, pair, new_id):
            first, second = pair
            changes, merged = defaultdict(int), []
            waiting = list(reversed(ids))
            while waiting:
                symbol = waiting.pop()
                if symbol == first and waiting and waiting[-1] == second:
                    waiting.pop()
                    changes[first, second] -= 1
                    if merged:
                        changes[merged[-1], first] -= 1
                        changes[merged[-1], new_id] += 1
                    if waiting:
                        changes[second, waiting[-1]] -= 1
                        changes[new_id, waiting[-1]] += 1
                    symbol = new_id
                merged.append(symbol)
            return merged, {p: n for p, n in changes.items() if n != 0}

        def train_byte_bpe_fast(text, vocab_size, pattern=GPT2_PATTERN):
            symbol, weight = [None], [0]  # a None between two words: no pair reaches across
            for piece, n in Counter(regex.findall(pattern, text)).items():
                symbol += [*piece.encode(), None]
                weight += [n] * (len(piece.encode()) + 1)
            after, before = list(range(1, len(symbol) + 1)), list(range(-1, len(symbol) - 1))
            counts, where, heap = defaultdict(int), defaultdict(set), []

            def note(a, b, place, step):
                pair = symbol[a], symbol[b]
                if None not in pair:
                    counts[pair] += step * weight[place]
                    (where[pair].add if step > 0 else where[pair].discard)(place)
                    touched.add(pair)

            touched = set()
            for place in range(len(symbol) - 1):
                note(place, place + 1, place, +1)
            vocab, merges = {i: bytes([i]) for i in range(256)}, []
            while len(vocab) < vocab_size:
                for pair in touched:
                    heappush(heap, (-counts[pair], *pair))
                touched.clear()
                while heap and (heap[0][0] == 0 or -heap[0][0] != counts[heap[0][1:]]):
                    heappop(heap)
                if not heap:
                    break
                pair = heappop(heap)[1:]
                new_id = len(vocab)
                for place in sorted(where[pair]):
                    if place not in where[pair]:
                        continue  # in a run, the merge before this one has taken it
                    left, right = before[place], after[place]
                    far = after[right]
                    note(left, place, left, -1)
                    note(place, right, place, -1)
                    note(right, far, right, -1)
                    symbol[place], symbol[right] = new_id, None
                    after[place], before[far] = far, place
                    note(left, place, left, +1)
                    note(place, far, place, +1)
                vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
                merges.append(pair)
            return vocab, merges
