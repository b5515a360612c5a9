"""Clusters of near-duplicates against a search through a graph; what is no candidate or no duplicate stays apart."""

from itertools import combinations

import pytest

from course_lib.pretraining import duplicate_clusters, jaccard, shingles
from course_lib.pretraining.lsh import near_dedup


def walked(docs, pairs, threshold, k):
    """The oracle: from every document along all good pairs."""
    good = {p for p in pairs if jaccard(shingles(docs[p[0]], k), shingles(docs[p[1]], k)) >= threshold}
    found, left = [], set(range(len(docs)))
    while left:
        cluster, edge = set(), {min(left)}
        while edge:
            cluster |= edge
            edge = {b for p in good for a, b in (p, p[::-1]) if a in edge} - cluster
        left -= cluster
        if len(cluster) > 1:
            found.append(sorted(cluster))
    return found


# Neighbours share 7 of 9 letters, those two apart 6 of 10.
CHAIN = [" ".join("abcdefghijklmnop"[i : i + 8]) for i in range(6)]


def assert_clusters(candidate):
    everything = list(combinations(range(len(CHAIN)), 2))
    assert candidate(CHAIN, everything, 0.7, 1) == [[0, 1, 2, 3, 4, 5]]
    assert candidate(CHAIN, [(4, 5), (0, 1), (2, 3), (1, 2)], 0.7, 1) == [[0, 1, 2, 3], [4, 5]]
    assert candidate(CHAIN, [(0, 2), (1, 3)], 0.7, 1) == []  # candidates, but not similar enough
    assert candidate(CHAIN, [(0, 1)], 7 / 9, 1) == [[0, 1]] and candidate(CHAIN, [], 0.7, 1) == []


def test_clusters():
    assert_clusters(duplicate_clusters)
    assert_clusters(walked)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda docs, pairs, t, k: [sorted(p) for p in pairs],
        lambda docs, pairs, t, k: walked(docs, pairs, 0.0, k),  # not verified
        lambda docs, pairs, t, k: walked(docs, pairs, t + 1e-6, k),  # the threshold itself does not count
        lambda docs, pairs, t, k: walked(docs, list(combinations(range(len(docs)), 2)), t, k),
    ],
)
def test_wrong_clusters_fail(wrong):
    with pytest.raises(AssertionError):
        assert_clusters(wrong)


def test_agrees_with_near_dedup_where_all_pairs_are_candidates():
    docs = [*CHAIN, "q r s", "q r s!", "t"]
    everything = combinations(range(len(docs)), 2)
    assert duplicate_clusters(docs, everything, 0.7, 1) == near_dedup(docs, 0.7, 1, recall=0.9999).clusters


def test_what_cannot_be():
    with pytest.raises(ValueError, match="threshold"):
        duplicate_clusters(["a"], [], 0.0)
    with pytest.raises(ValueError, match="pairs"):
        duplicate_clusters(["a"], [(0, 1)])
