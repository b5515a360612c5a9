"""What the checks of exercise 11 compare with: two trainers written differently, and one with flaws to choose from."""

import re
from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from itertools import pairwise

from autograder.rng import Rng
from course_lib import tokenization

Pair = tuple[int, int]


def net_changes(ids: list[int], pair: Pair, new_id: int) -> tuple[list[int], dict[Pair, int]]:
    """The oracle for one word: str.replace merges it, and all its pairs are counted before and after."""
    text = "".join(map(chr, ids))
    merged = [ord(char) for char in text.replace(chr(pair[0]) + chr(pair[1]), chr(new_id))]
    before, after = list(pairwise(ids)), list(pairwise(merged))
    changes = {p: after.count(p) - before.count(p) for p in {*before, *after}}
    return merged, {p: change for p, change in changes.items() if change}


def words_of(text: str) -> Counter[str]:
    """Pre-tokens of text that holds nothing but small letters and single spaces, with one character for each id."""
    return Counter(re.findall(" ?[a-z]+", text))


def recounted_merges(words: Counter[str], count: int) -> list[Pair]:
    """The plain oracle: count all pairs anew at every step."""
    merges: list[Pair] = []
    while len(merges) < count:
        pairs = [word[i : i + 2] for word, n in words.items() for i in range(len(word) - 1) for _ in range(n)]
        if not pairs:
            break
        counts = Counter(pairs)
        best = min(sorted(counts), key=lambda p: -counts[p])  # min keeps the first, which is the smallest
        words = Counter({word.replace(best, chr(256 + len(merges))): n for word, n in words.items()})
        merges.append((ord(best[0]), ord(best[1])))
    return merges


def bucket_merges(words: Counter[str], count: int) -> list[Pair]:
    """The quick oracle: pairs sorted into buckets by their count; the fullest count never rises."""
    spelled, weights = list(words), list(words.values())
    counts, where, buckets = defaultdict(int), defaultdict(set), defaultdict(set)
    for k, word in enumerate(spelled):
        for i in range(len(word) - 1):
            counts[word[i : i + 2]] += weights[k]
            where[word[i : i + 2]].add(k)
    for pair, n in counts.items():
        buckets[n].add(pair)
    merges: list[Pair] = []
    top = max(buckets, default=0)
    while top and len(merges) < count:
        if not buckets[top]:
            top -= 1
            continue
        best, new = min(buckets[top]), chr(256 + len(merges))
        merges.append((ord(best[0]), ord(best[1])))
        change: dict[str, int] = defaultdict(int)
        for k in where.pop(best):
            old, weight = spelled[k], weights[k]
            spelled[k] = word = old.replace(best, new)
            for i in range(len(old) - 1):
                change[old[i : i + 2]] -= weight
            for i in range(len(word) - 1):
                pair = word[i : i + 2]
                change[pair] += weight
                if new in pair:
                    where[pair].add(k)
        for pair, difference in change.items():
            if difference:
                buckets[counts[pair]].discard(pair)
                counts[pair] += difference
                buckets[counts[pair]].add(pair)
    return merges


def large_text(rng: Rng) -> str:
    """2,150 words drawn at random, most of them different: too many to visit all of them at every merge."""
    words = rng.words(2000, shortest=6, longest=10, letters="abcdefghijklmnopqrst")
    words += rng.choices(words, k=150)
    rng.shuffle(words)
    return " ".join(words)


def flawed_trainer(text: str, vocab_size: int, pattern: str, flaw: str) -> tuple[dict[int, bytes], list[Pair]]:
    """An indexed trainer with one thing wrong."""
    pieces = Counter([text] if flaw == "one word" else tokenization.pretokenize(text, pattern))
    words = [list(piece.encode()) for piece in pieces]
    weights = [1 if flaw == "frequency" else n for n in pieces.values()]
    vocab = {i: bytes([i]) for i in range(256)}
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)
    seen: dict[Pair, int] = {}
    for k, ids in enumerate(words):
        for pair in pairwise(ids):
            counts[pair] += weights[k]
            where[pair].add(k)
            seen.setdefault(pair, len(seen))

    def entry(pair: Pair) -> tuple:
        left, right = pair
        order = {
            "greatest": (-left, -right),
            "first seen": (seen.setdefault(pair, len(seen)),),
            "bytes": (vocab[left], vocab[right]),
        }
        return -counts[pair], order.get(flaw, pair), pair

    heap = [entry(pair) for pair in counts]
    heapify(heap)
    merges: list[Pair] = []
    limit = vocab_size if flaw == "all merges" else vocab_size - 256
    while heap and len(merges) < limit:
        n, _, pair = heappop(heap)
        if (-n != counts[pair] and flaw not in ("stale", "again")) or (n == 0 and flaw != "zero"):
            continue
        if flaw == "again":
            heappush(heap, (n, _, pair))
        new_id = len(vocab)
        vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
        merges.append(pair)
        changed = set()
        for k in where.pop(pair, ()):
            before = words[k]
            words[k] = merged = tokenization.merge(before, pair, new_id)
            for p in pairwise(before):
                counts[p] -= weights[k]
                changed.add(p)
            for p in pairwise(merged):
                if flaw == "no new pairs" and new_id in p:
                    continue
                counts[p] += weights[k]
                changed.add(p)
                if flaw != "no new index" or new_id not in p:
                    where[p].add(k)
        for p in changed:
            heappush(heap, entry(p))
    return vocab, merges
