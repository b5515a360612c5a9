"""Exact duplicates: found by a hash of each document, in one pass and with 16 bytes a document to remember."""

import hashlib
from collections.abc import Iterable
from typing import Any, TypeVar

Doc = TypeVar("Doc", bound=Any)


def content_hash(text: str) -> bytes:
    """Return 16 bytes that say which text this is, whatever its white space: runs of it count as one space.

    BLAKE2b, not Python's `hash()`: that one is salted anew in every process, so hashes from two runs or two machines
    would never meet. Two different texts share 128 bits by chance with probability 2^-128.

    >>> content_hash("to  be\\n") == content_hash("to be")
    True
    """
    if not isinstance(text, str):
        raise ValueError(f"text: expected a str, got {type(text).__name__}")
    joined = " ".join(text.split())
    return hashlib.blake2b(joined.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()


def exact_dedup(docs: Iterable[Doc], seen: set[bytes] | None = None) -> list[Doc]:
    """Return the documents without exact copies: the first of each is kept, the order stays.

    A document is a str or has a `text`. `seen` holds the hashes of what was there before and is added to: hand the
    same set over from shard to shard, and copies are found across them. White space does not count, letter case does.
    Source: Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", for why.

    >>> exact_dedup(["to be", "or not", "to  be"])
    ['to be', 'or not']
    """
    seen = set() if seen is None else seen
    kept = []
    for doc in docs:
        key = content_hash(doc if isinstance(doc, str) else doc.text)
        if key not in seen:
            seen.add(key)
            kept.append(doc)
    return kept
