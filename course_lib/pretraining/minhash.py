"""MinHash: a short signature of a document from which its similarity to any other can be estimated.

Two documents that share most of their k-word shingles are near-duplicates: a page with another date, a licence with
another name. Comparing all shingles of all pairs is out of the question; comparing signatures is cheap.
"""

import hashlib
import re
import unicodedata

import numpy as np

from course_lib.pretraining._arguments import require_int, require_text

EMPTY = np.uint32(2**32 - 1)  # a signature full of it: no shingle at all
CHUNK = 4096  # shingles hashed at a time, so that a long document does not need num_perm times its memory

_NOT_WORDS = re.compile(r"[\W_]+")


def shingles(text: str, k: int = 5) -> set[str]:
    """Return the set of runs of `k` words in `text`, normalised: that decides what counts as the same.

    Unicode variants of a letter become one (NFKC), letter case, punctuation and white space do not count. A text with
    fewer than `k` words has one shingle, all its words, and so equals only a text with the same words; one without a
    word has none. ValueError for k < 1. Source: Broder 1997.

    >>> sorted(shingles("The cat,  the CAT!\\nThe cat", k=2))
    ['cat the', 'the cat']
    """
    require_text("text", text)
    require_int("k", k, 1)
    words = _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split()
    if not words:
        return set()
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Return the size of what two sets share over the size of both together; 1 for two empty sets.

    >>> jaccard({"x", "y"}, {"y", "z"}) == 1 / 3
    True
    """
    union = len(a | b)
    return len(a & b) / union if union else 1.0


def minhash(doc: str, k: int = 5, num_perm: int = 128, seed: int = 0) -> np.ndarray:
    """Return the signature of a document, uint32 [num_perm]: under each hash function, the least hash of a shingle.

    Under a random order of all shingles, the first of two sets together lies in both with probability Jaccard. So the
    share of equal numbers in two signatures estimates it, with a standard error of sqrt(J (1 - J) / num_perm). The
    hash functions are (a x + b) mod 2^64, its upper 32 bits, of a 32-bit BLAKE2b hash x: pairwise independent, which
    is less than the random orders of the theory, with a bias too small to see here. They follow from `seed` alone, on
    every machine and in every process. Without a shingle every number is 2^32 - 1.
    ValueError for num_perm < 1, k < 1, a negative seed. Source: Broder 1997; Dietzfelbinger 1996 (hash functions).

    >>> a, b = minhash("one two three four", k=2), minhash("ONE two; three four", k=2)
    >>> a.shape, bool((a == b).all())
    ((128,), True)
    """
    return minhash_shingles(shingles(doc, k), num_perm, seed)


def minhash_shingles(items: set[str], num_perm: int = 128, seed: int = 0) -> np.ndarray:
    """Return the signature, uint32 [num_perm], of a set of shingles made before; otherwise as `minhash`."""
    require_int("num_perm", num_perm, 1)
    a, b = _coefficients(num_perm, require_int("seed", seed, 0))
    hashes = np.array([_hash32(item) for item in items], dtype=np.uint64)
    signature = np.full(num_perm, EMPTY)
    for start in range(0, len(hashes), CHUNK):
        values = hashes[start : start + CHUNK, None] * a + b  # [chunk, num_perm], mod 2^64 by the width of the type
        np.minimum(signature, (values >> np.uint64(32)).astype(np.uint32).min(0), out=signature)
    return signature


def estimate_jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of equal numbers in two signatures [num_perm]; ValueError for different lengths.

    >>> estimate_jaccard(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0]))
    0.5
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"b: expected a signature of the shape of a, {a.shape}, got {b.shape}")
    return float((a == b).mean())


def _hash32(item: str) -> int:
    return int.from_bytes(hashlib.blake2b(item.encode("utf-8", errors="surrogatepass"), digest_size=4).digest())


def _coefficients(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a and b, uint64 [num_perm] each, from BLAKE2b: the same numbers whatever numpy's generators become."""
    draws = [hashlib.blake2b(f"{seed} {i}".encode(), digest_size=16).digest() for i in range(num_perm)]
    pairs = np.frombuffer(b"".join(draws), dtype="<u8").reshape(num_perm, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]
