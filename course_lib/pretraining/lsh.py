"""Locality-sensitive hashing: near-duplicates among many documents without comparing all pairs.

A signature is cut into bands. Documents that agree in all rows of at least one band are candidates, and only
candidates are compared.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.minhash import EMPTY, jaccard, minhash_shingles, shingles


class NearDuplicates(NamedTuple):
    """Indices of the documents to keep, and the clusters of two or more that are near-duplicates of each other."""

    kept: list[int]
    clusters: list[list[int]]


def detection_probability(j: float, bands: int, rows: int) -> float:
    """Return how likely a pair with Jaccard similarity `j` becomes a candidate: 1 - (1 - j^rows)^bands.

    An S-curve in `j`. Its steepest place is near (1 / bands)^(1 / rows), often called the threshold; but a pair right
    there is found with a probability of about 0.63 only, and one that is just above it is still often missed.
    Source: Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", section 3.4.

    >>> round(detection_probability(0.8, bands=9, rows=13), 2), round(detection_probability(0.8, bands=14, rows=8), 2)
    (0.4, 0.92)
    """
    if not 0 <= j <= 1:
        raise ValueError(f"j: expected a number from 0 to 1, got {j!r}")
    return 1 - (1 - j ** require_int("rows", rows, 1)) ** require_int("bands", bands, 1)


def choose_bands(num_perm: int, threshold: float, recall: float = 0.95) -> tuple[int, int]:
    """Return (bands, rows) with the most rows that still find a pair at `threshold` with probability `recall`.

    More rows make fewer false candidates, so this is the cheapest choice that keeps the promise.
    ValueError if no choice with bands * rows <= num_perm does.

    >>> choose_bands(128, threshold=0.8)
    (18, 7)
    """
    require_int("num_perm", num_perm, 1)
    for rows in range(num_perm, 0, -1):
        bands = num_perm // rows
        if detection_probability(threshold, bands, rows) >= recall:
            return bands, rows
    raise ValueError(f"num_perm: expected enough for probability {recall} at threshold {threshold}, got {num_perm}")


def lsh_candidates(sigs: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """Return the pairs (i, j), i < j, that agree in at least one band: sigs [N, num_perm].

    A band has num_perm // bands rows; what is left over is not looked at. Documents without shingles are candidates
    for nothing. ValueError for other shapes and for more bands than numbers.

    >>> sorted(lsh_candidates(np.array([[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, 3, 5]]), bands=2))
    [(0, 1)]
    """
    pairs: set[tuple[int, int]] = set()
    for members in _buckets(sigs, bands):
        pairs.update(combinations(members, 2))
    return pairs


def near_dedup(
    docs: Sequence[Any],
    threshold: float = 0.8,
    k: int = 5,
    num_perm: int = 128,
    seed: int = 0,
    recall: float = 0.95,
) -> NearDuplicates:
    """Find near-duplicates, true Jaccard similarity of k-word shingles at least `threshold`, and keep one of each.

    Documents are str or have a `text`. Bands are chosen so that a pair right at the threshold becomes a candidate
    with probability `recall`; a more similar pair is found more surely. Each candidate is verified with its true
    similarity, so nothing below the threshold is joined. What is similar to something similar is in the same cluster
    (union-find), and its first document is kept. ValueError for a threshold outside 0 to 1 and as `choose_bands`.
    Source: Lee et al. 2022, section 4.2.

    >>> near_dedup(["a b c d e f g h", "z", "A b c d e f g h!", "a b c"])
    NearDuplicates(kept=[0, 1, 3], clusters=[[0, 2]])
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a number above 0 and up to 1, got {threshold!r}")
    bands, rows = choose_bands(num_perm, threshold, recall)
    sets = [shingles(doc if isinstance(doc, str) else doc.text, k) for doc in docs]
    if not sets:
        return NearDuplicates([], [])
    sigs = np.stack([minhash_shingles(items, num_perm, seed) for items in sets])
    union = UnionFind(len(sets))
    for members in _buckets(sigs[:, : bands * rows], bands):
        for i, j in combinations(members, 2):
            # Whoever is in one cluster already need not be compared: of many copies, that is nearly everyone.
            if union.find(i) != union.find(j) and jaccard(sets[i], sets[j]) >= threshold:
                union.join(i, j)
    clusters = union.clusters()
    return NearDuplicates([cluster[0] for cluster in clusters], [cluster for cluster in clusters if len(cluster) > 1])


class UnionFind:
    """Disjoint clusters of 0 .. n - 1 that can be joined; the least member stands for its cluster.

    >>> union = UnionFind(4)
    >>> union.join(3, 1)
    >>> union.clusters()
    [[0], [1, 3], [2]]
    """

    def __init__(self, n: int) -> None:
        self.parent = list(range(require_int("n", n, 0)))

    def find(self, i: int) -> int:
        """Return the least member of the cluster of `i`."""
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]  # halve the path for the next time
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one cluster of those of `i` and `j`."""
        low, high = sorted((self.find(i), self.find(j)))
        self.parent[high] = low

    def clusters(self) -> list[list[int]]:
        """Return all clusters, each in rising order, by their least member."""
        members: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self.parent)):
            members[self.find(i)].append(i)
        return list(members.values())


def _buckets(sigs: np.ndarray, bands: int) -> list[list[int]]:
    """Return the groups of two or more documents, in rising order, that agree in a band."""
    if not isinstance(sigs, np.ndarray) or sigs.ndim != 2:
        got = sigs.shape if isinstance(sigs, np.ndarray) else type(sigs).__name__
        raise ValueError(f"sigs: expected an array [N, num_perm], got {got}")
    require_int("bands", bands, 1)
    if bands > sigs.shape[1]:
        raise ValueError(f"bands: expected at most num_perm = {sigs.shape[1]}, got {bands}")
    rows = sigs.shape[1] // bands
    full = np.flatnonzero((sigs != EMPTY).any(1)).tolist()
    found: list[list[int]] = []
    for band in range(bands):
        part = np.ascontiguousarray(sigs[:, band * rows : (band + 1) * rows])
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for i in full:
            buckets[part[i].tobytes()].append(i)
        found += [members for members in buckets.values() if len(members) > 1]
    return found
