"""Hidden checks of exercise 2, and other ways to solve it."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import reduce
from itertools import chain, groupby

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import pairs as public
from autograder.exercises.tokenization.pairs import replaced, without_zeros
from autograder.rng import Rng
from autograder.student import Student


class Merge(public.Merge):
    @check(hint="Pairs of neighbours: n - 1 in a sequence of n ids, each with the given weight.")
    def counts_pairs_in_any_sequence(self, student: Student, rng: Rng) -> None:
        rows = [[1, 7, 7, 7, 2, *rng.ids(rng.randint(2, 60), 0, rng.choice((1, 3, 40)))] for _ in range(8)]
        weights = rng.ids(8, 1, 1000)
        for ids, weight, counts in zip(rows, weights, student.get_pair_counts.map(rows, weights), strict=True):
            windows = ["{} {}".format(*ids[i : i + 2]) for i in range(len(ids) - 1)]
            want = {tuple(map(int, key.split())): weight * windows.count(key) for key in windows}
            equal(without_zeros(counts), want)

    @check(points=2, hint="What happens at the border of a run of equal ids, and when the pair stands at the end?")
    def merges_any_sequence(self, student: Student, rng: Rng) -> None:
        rows, pairs = [], []
        for highest in rng.choices((1, 2, 5), k=8):
            pair = (rng.randint(0, highest), rng.randint(0, highest))
            rows.append([*pair, *rng.ids(rng.randint(0, 50), 0, highest), *pair, 6, *pair])
            pairs.append(pair)
        rows, pairs = [*rows, rng.ids(30, 1, 3)], [*pairs, (8, 9)]
        for ids, pair, merged in zip(rows, pairs, student.merge.map(rows, pairs, [256] * 9), strict=True):
            equal(merged, replaced(ids, pair, 256))

    @check(hint="Merging loses nothing: writing the pair for its new id gives the sequence back.")
    def a_chain_of_merges_can_be_undone(self, student: Student, rng: Rng) -> None:
        start = ids = rng.ids(200, 0, 2)
        made: list[tuple[int, int]] = []
        for new_id in range(3, 11):
            pair = (ids[0], ids[1])
            shorter = student.merge(ids, pair, new_id)
            true(isinstance(shorter, list), f"it returned {shorter!r:.60}, expected a list")
            possible = len(ids) // 2 <= len(shorter) < len(ids)
            true(possible, f"{len(ids)} ids that begin with the pair {pair} became {len(shorter)} ids")
            ids, made = shorter, [*made, pair]
        for new_id, pair in reversed([*enumerate(made, 3)]):
            ids = [part for i in ids for part in (pair if i == new_id else (i,))]
        equal(ids, start, what="undoing eight merges")

    @check(hint="An empty list and a list of one id hold no pair: nothing to count, nothing to merge.")
    def short_sequences_hold_no_pair(self, student: Student, rng: Rng) -> None:
        lonely = [rng.randint(0, 255)]
        for ids in ([], lonely):
            equal(without_zeros(student.get_pair_counts(ids)), {})
            equal(student.merge(ids, (lonely[0], lonely[0]), 256), ids)

    @variant
    class WithGroups:
        """Runs of equal ids by groupby; unequal pairs cannot overlap, so a look ahead is enough for them."""

        def get_pair_counts(ids, weight=1):
            counts = defaultdict(int)
            runs = [(key, len(list(group))) for key, group in groupby(ids)]
            for number, (key, length) in enumerate(runs):
                counts[key, key] += weight * (length - 1)
                if number:
                    counts[runs[number - 1][0], key] += weight
            return counts

        def merge(ids, pair, new_id):
            first, second = pair
            if first == second:
                runs = ((key, len(list(group))) for key, group in groupby(ids))
                parts = ([new_id] * (n // 2) + [key] * (n % 2) if key == first else [key] * n for key, n in runs)
                return list(chain.from_iterable(parts))
            starts = {i for i in range(len(ids) - 1) if ids[i] == first and ids[i + 1] == second}
            return [new_id if i in starts else current for i, current in enumerate(ids) if i - 1 not in starts]

    @variant
    class WithFolds:
        """A stack: each id is pushed, unless it completes the pair with an untouched id on top."""

        def get_pair_counts(ids, weight=1):
            pairs = [(ids[i], ids[i + 1]) for i in range(len(ids) - 1)]
            return Counter(chain.from_iterable([pair] * weight for pair in pairs))

        def merge(ids, pair, new_id):
            def push(state, current):
                stack, is_open = state
                if is_open and (stack[-1], current) == tuple(pair):
                    return [*stack[:-1], new_id], False
                return [*stack, current], True

            return reduce(push, ids, ([], False))[0]

    @variant
    class WithIterator:
        def get_pair_counts(ids, weight=1):
            counts = {}
            before = None
            for position, current in enumerate(ids):
                if position:
                    counts[(before, current)] = counts.get((before, current), 0) + weight
                before = current
            return counts

        def merge(ids, pair, new_id):
            rest = list(reversed(ids))
            merged = []
            while rest:
                current = rest.pop()
                if rest and [current, rest[-1]] == [*pair]:
                    rest.pop()
                    current = new_id
                merged.append(current)
            return merged
