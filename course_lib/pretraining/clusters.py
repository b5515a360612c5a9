"""From candidate pairs to clusters of near-duplicates: verify each pair, then join what hangs together."""

from collections.abc import Iterable, Sequence

from course_lib.pretraining.lsh import UnionFind
from course_lib.pretraining.minhash import jaccard, shingles


def duplicate_clusters(
    docs: Sequence[str], pairs: Iterable[tuple[int, int]], threshold: float = 0.8, k: int = 5
) -> list[list[int]]:
    """Return the clusters of two or more documents that are near-duplicates, by their first member, each in order.

    A candidate pair counts if the true Jaccard similarity of its sets of k-word shingles is at least `threshold`.
    Pairs that share a document are in one cluster, however long the chain (union-find). Pairs that are no candidates
    are not compared. ValueError for a threshold outside 0 to 1 and for a pair of a document that is not there.
    Source: Lee et al. 2022, section 4.2.

    >>> docs = ["a b c d", "A b c d!", "x y z", "a, b: c d"]
    >>> duplicate_clusters(docs, {(0, 1), (1, 3), (0, 2)}, k=2)
    [[0, 1, 3]]
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a number above 0 and up to 1, got {threshold!r}")
    sets: dict[int, set[str]] = {}
    union = UnionFind(len(docs))
    for pair in pairs:
        for i in pair:
            if not 0 <= i < len(docs):
                raise ValueError(f"pairs: expected numbers below {len(docs)}, got {pair}")
            if i not in sets:
                sets[i] = shingles(docs[i], k)
        if jaccard(sets[pair[0]], sets[pair[1]]) >= threshold:
            union.join(*pair)
    return [cluster for cluster in union.clusters() if len(cluster) > 1]
