"""What exercise 8 compares with, and the wrong versions of which its mistakes are made."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from autograder.alike import same
from autograder.compare import fail, true
from autograder.rng import Rng
from autograder.student import Student, type_name

LARGEST = 2**32 - 1


def document(text: str, licence: str = "unknown") -> SimpleNamespace:
    return SimpleNamespace(text=text, licence=licence)


def expect_documents(got: Any, want: Sequence[SimpleNamespace], what: str) -> None:
    """The very documents, in this order, with their licences."""
    true(isinstance(got, list), f"{what} is {type_name(got)}, expected a list of documents")
    whole = all(isinstance(doc, SimpleNamespace) and {"text", "licence"} <= vars(doc).keys() for doc in got)
    true(whole, f"{what} does not hold documents: each of them has a text and a licence, and keeps both")
    texts, wanted = [doc.text for doc in got], [doc.text for doc in want]
    true(texts == wanted, f"{what} has the texts {texts}, expected {wanted}")
    licences, wanted = [doc.licence for doc in got], [doc.licence for doc in want]
    true(licences == wanted, f"{what} has the licences {licences}, expected {wanted}")


def runs(text: str, k: int) -> set[str]:
    """The oracle for shingles: characters are read one by one, words end at whatever is no letter and no digit."""
    words, word = [], ""
    for character in text.lower() + " ":
        if character.isalnum():
            word += character
        elif word:
            words.append(word)
            word = ""
    if 0 < len(words) < k:
        return {" ".join(words)}
    return {" ".join(words[i + j] for j in range(k)) for i in range(len(words) - k + 1)}


def blame_shingles(student: Student, texts: Sequence[str], k: int) -> None:
    """Fail if the student's own shingles of these texts are wrong: what is built on them cannot be judged then."""
    for text in texts:
        with student.off_the_record():
            wrong = not same(student.shingles(text, k), runs(text, k))
        student.conclude("wrong shingles" if wrong else "right shingles")
        true(
            not wrong,
            f"your shingles of {text!r} with k = {k} are wrong, and all else is built on them; mend them first",
        )


def similarity(a: str, b: str, k: int) -> Fraction:
    one, other = runs(a, k), runs(b, k)
    return Fraction(len(one & other), len(one | other)) if one or other else Fraction(1)


def number_of(shingle: str) -> int:
    return int.from_bytes(hashlib.blake2b(shingle.encode(), digest_size=4).digest(), "big")


def functions(count: int, seed: int) -> list[tuple[int, int]]:
    """The coefficients a, b of every hash function, as the exercise gives them."""
    drawn = [hashlib.blake2b(f"{seed} {i}".encode(), digest_size=16).digest() for i in range(count)]
    return [(int.from_bytes(d[:8], "little"), int.from_bytes(d[8:], "little")) for d in drawn]


def signature(
    items: Iterable[str],
    count: int,
    seed: int,
    pick: Callable = min,
    shift: int = 32,
    number: Callable[[str], int] = number_of,
) -> np.ndarray:
    """The oracle for MinHash, in Python's whole numbers; other settings make wrong ones."""
    numbers = [number(item) for item in sorted(items)]
    row = [
        pick([((a * x + b) % 2**64 >> shift) % 2**32 for x in numbers], default=LARGEST)
        for a, b in functions(count, seed)
    ]
    return np.array(row, dtype=np.uint32)


def bottom(items: Iterable[str], count: int, seed: int) -> np.ndarray:
    """The smallest values of a single hash function."""
    a, b = functions(1, seed)[0]
    values = sorted((a * number_of(item) + b) % 2**64 >> 32 for item in items)[:count]
    return np.array(values + [LARGEST] * (count - len(values)), dtype=np.uint32)


def wrong_signatures(text: str, k: int, count: int, seed: int) -> dict[str, np.ndarray]:
    """Signatures that are not right, by what is wrong with them."""
    return {
        "maxima": signature(runs(text, k), count, seed, pick=max),
        "lower bits": signature(runs(text, k), count, seed, shift=0),
        "always one seed": signature(runs(text, k), count, 0),
        "words": signature(runs(text, 1), count, seed),
        "five words": signature(runs(text, 5), count, seed),
        "one function": bottom(runs(text, k), count, seed),
    }


def signature_of(student: Student, text: str, k: int, count: int, seed: int) -> np.ndarray:
    """The student's signature; what kind it is goes on record, since the numbers of a salted hash never come again."""
    with student.off_the_record():
        got = student.minhash(text, k, count, seed)
    if not isinstance(got, np.ndarray) or got.shape != (count,) or got.dtype != np.uint32:
        kind = f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else type_name(got)
        student.conclude(kind)
        fail(f"the signature is {kind}, expected an array of {count} numbers of dtype uint32", got)
    if np.array_equal(got, signature(runs(text, k), count, seed)):
        student.conclude("right")
        return got
    blame_shingles(student, [text], k)
    known = wrong_signatures(text, k, count, seed)
    student.conclude(next((kind for kind, numbers in known.items() if np.array_equal(got, numbers)), "other numbers"))
    return got


def expect_signature(student: Student, text: str, k: int, count: int, seed: int) -> np.ndarray:
    got, want = signature_of(student, text, k, count, seed), signature(runs(text, k), count, seed)
    wrong = np.flatnonzero(got != want)
    if len(wrong):
        at = int(wrong[0])
        fail(
            f"minhash of a text of {len(text.split())} words, k = {k}, seed = {seed}: {len(wrong)} of {count} numbers "
            f"are wrong; number {at} is {got[at]}, expected {want[at]}"
        )
    return got


def agreeing(sigs: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """The oracle for candidates: every pair, every band, number by number."""
    rows = sigs.shape[1] // bands
    table = sigs.tolist()
    return {
        (i, j)
        for i, j in combinations(range(len(table)), 2)
        if set(table[i]) != {LARGEST} and set(table[j]) != {LARGEST}
        if any(all(table[i][b * rows + r] == table[j][b * rows + r] for r in range(rows)) for b in range(bands))
    }


def walked(docs: Sequence[str], pairs: Iterable[tuple[int, int]], threshold: float, k: int) -> list[list[int]]:
    """The oracle for clusters: labels that spread along verified pairs until nothing changes."""
    good = [(i, j) for i, j in sorted(pairs) if similarity(docs[i], docs[j], k) >= Fraction(threshold)]
    label = list(range(len(docs)))
    for _ in docs:
        for i, j in good:
            label[i] = label[j] = min(label[i], label[j])
    groups = [[i for i, x in enumerate(label) if x == first] for first in sorted(set(label))]
    return [group for group in groups if len(group) > 1]


def drawn_table(rng: Rng, count: int, numbers: int) -> np.ndarray:
    """Signatures of few different numbers, so that many bands agree."""
    return np.array([rng.ids(numbers, 0, 2) for _ in range(count)], dtype=np.uint32)


def bucketed(
    sigs: np.ndarray, bands: int, rows: int, key: Callable[[int, int], int] = lambda band, rows: band * rows
) -> list[tuple[int, int, bytes]]:
    """(band, document, what it has there) for bands of `rows` numbers that begin where `key` says."""
    return [
        (band, i, np.ascontiguousarray(row[key(band, rows) : key(band, rows) + rows]).tobytes())
        for band in range(bands)
        for i, row in enumerate(sigs)
        if (row != LARGEST).any()
    ]


def pairs_in(buckets: Iterable[tuple[int, int, bytes]], by_band: bool = True, only_next: bool = False) -> set:
    members: dict[Any, list[int]] = {}
    for band, i, content in buckets:
        members.setdefault((band if by_band else 0, content), []).append(i)
    together: set[tuple[int, int]] = set()
    for group in members.values():
        group = sorted(set(group))
        together |= set(pairwise(group) if only_next else combinations(group, 2))
    return together


def quantile(scores: Sequence[float], q: float) -> float:
    """The smallest score that at least the share q of all scores does not exceed."""
    return next(s for s in sorted(scores) if sum(x <= s for x in scores) >= q * len(scores))


EMAIL = r"(?<!\w)[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?!\.?\w|[(\[])"
IPV4 = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)"
PHONE = r"(?<!\w)\+\d(?:[ -]?\d){7,14}(?!\.?\w|[ -]\d)"


def redacted(
    text: str,
    email: str = EMAIL,
    ip: str = IPV4,
    phone: str = PHONE,
    public: bool = True,
    versions: bool = True,
    count: int = 0,
) -> str:
    """Redaction, right for what the exercise says unless an argument says otherwise."""

    def of_address(match: re.Match) -> str:
        before = match.string[max(0, match.start() - 12) : match.start()].lower()
        if versions and re.search(r"version\W{0,2}$", before):
            return match[0]
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        return "<IP_ADDRESS>" if address.is_global or not public else match[0]

    text = re.sub(email, "<EMAIL>", text, count=count)
    text = re.sub(ip, of_address, text, count=count)
    return re.sub(phone, "<PHONE>", text, count=count)


def near(text: str, rng: Rng, changed: int) -> str:
    """The text with so many words replaced, far apart."""
    words = text.split()
    for n in range(changed):
        words[(2 * n + 1) * len(words) // (2 * changed)] = "x" + rng.word(5, 9)
    return " ".join(words)


def spread(j: float, count: int) -> float:
    """Five standard errors of an estimate of j from `count` numbers."""
    return 5 * math.sqrt(j * (1 - j) / count)
