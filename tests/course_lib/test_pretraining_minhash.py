"""MinHash and LSH: estimates against true Jaccard within five sigma, candidates against the formula, clusters."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from course_lib.pretraining.documents import Document
from course_lib.pretraining.lsh import (
    UnionFind,
    choose_bands,
    detection_probability,
    lsh_candidates,
    near_dedup,
)
from course_lib.pretraining.minhash import estimate_jaccard, jaccard, minhash, minhash_shingles, shingles


def pair_of_sets(shared, only_a, only_b, tag=""):
    common = {f"{tag}s{i}" for i in range(shared)}
    return common | {f"{tag}a{i}" for i in range(only_a)}, common | {f"{tag}b{i}" for i in range(only_b)}


def text_from(generator, words):
    return " ".join(f"w{i}" for i in generator.integers(0, 10_000, words))


# Shingles


def test_shingles_are_normalised():
    assert shingles("a b c d", 2) == {"a b", "b c", "c d"}
    same = ["Straße, offen: 3 Uhr", "straße OFFEN 3 uhr!", "  Strasse\toffen\n3 Uhr ", "ｓtraße_offen 3 ｕhr"]
    assert len({frozenset(shingles(text, 3)) for text in same}) == 1
    assert shingles("a b a b a b", 2) == {"a b", "b a"}  # a set, not a list
    assert shingles("a b", 5) == {"a b"} and shingles("", 5) == shingles(" ?!\n", 5) == set()
    for bad in ({"k": 0}, {"text": b"a"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            shingles(**{"text": "a b", "k": 2, **bad})


def test_jaccard():
    assert jaccard({"x"}, set()) == 0 and jaccard(set(), set()) == 1 and jaccard({"x"}, {"x"}) == 1
    a, b = pair_of_sets(30, 5, 15)
    assert jaccard(a, b) == jaccard(b, a) == 0.6


# Signatures


def assert_estimates(signature):
    """At each similarity the mean over many seeds and pairs is within five standard errors of the truth."""
    for shared, only in ((10, 40), (50, 25), (90, 5)):
        truth = shared / (shared + 2 * only)
        estimates = []
        for seed in range(12):
            a, b = pair_of_sets(shared, only, only, tag=f"{seed}:")
            estimates.append(estimate_jaccard(signature(a, 256, seed), signature(b, 256, seed)))
        sigma = (truth * (1 - truth) / (256 * 12)) ** 0.5
        assert abs(np.mean(estimates) - truth) < 5 * sigma
        # The spread is that of independent draws: with hash functions that follow each other it would be larger.
        assert np.std(estimates) < 2.2 * (truth * (1 - truth) / 256) ** 0.5


def test_signatures_estimate_jaccard():
    assert_estimates(minhash_shingles)


def one_function_for_all(items, num_perm, seed):
    return np.sort(minhash_shingles(items, 1, seed).repeat(num_perm))


def lists_instead_of_sets(items, num_perm, seed):
    """The place in a list decides as well, not the shingle alone."""
    in_order = sorted(items, key=lambda item: minhash_shingles({item}, 1).tolist())
    return minhash_shingles({f"{i} {item}" for i, item in enumerate(in_order)}, num_perm, seed)


def adds_instead_of_the_least(items, num_perm, seed):
    return np.sum([minhash_shingles({item}, num_perm, seed) for item in items], axis=0)


@pytest.mark.parametrize("wrong", [one_function_for_all, lists_instead_of_sets, adds_instead_of_the_least])
def test_wrong_signatures_fail(wrong):
    with pytest.raises(AssertionError):
        assert_estimates(wrong)


def test_signature_by_definition():
    """The least of (a x + b mod 2^64) >> 32 in Python's unbounded integers, over chunks."""
    module = sys.modules["course_lib.pretraining.minhash"]  # in the package the name is that of the function
    items = {f"shingle {i}" for i in range(300)}
    a, b = module._coefficients(16, 3)
    xs = [module._hash32(item) for item in items]
    want = [min((int(p) * x + int(q)) % 2**64 >> 32 for x in xs) for p, q in zip(a, b, strict=True)]
    assert minhash_shingles(items, 16, 3).tolist() == want
    chunk, module.CHUNK = module.CHUNK, 7
    try:
        assert minhash_shingles(items, 16, 3).tolist() == want
    finally:
        module.CHUNK = chunk


def test_signatures_are_stable_and_seeds_matter():
    text = "the quick brown fox jumps over the lazy dog " * 3
    program = f"from course_lib.pretraining import minhash; print(minhash({text!r}, seed=7).tolist())"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(minhash(text, seed=7).tolist())
    assert (minhash(text, seed=7) != minhash(text, seed=8)).mean() > 0.9
    assert (minhash(text, num_perm=64, seed=7) == minhash(text, num_perm=128, seed=7)[:64]).all()
    assert minhash(text).dtype == np.uint32 and minhash(text, num_perm=3).shape == (3,)
    assert (minhash("") == 2**32 - 1).all()
    for bad in ({"num_perm": 0}, {"seed": -1}, {"k": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            minhash("a b", **bad)
    with pytest.raises(ValueError, match="b: expected"):
        estimate_jaccard(minhash(text), minhash(text, num_perm=64))


# Bands


def test_detection_probability_by_enumeration():
    """Every pattern of agreeing rows, with its probability."""
    j, bands, rows = 0.7, 3, 2
    total = 0.0
    for pattern in np.ndindex(*(2,) * (bands * rows)):
        agree = np.array(pattern).reshape(bands, rows)
        total += (agree.all(1).any()) * j ** agree.sum() * (1 - j) ** (agree == 0).sum()
    assert detection_probability(j, bands, rows) == pytest.approx(total, rel=1e-12)
    assert detection_probability(0, 5, 5) == 0 and detection_probability(1, 5, 5) == 1
    with pytest.raises(ValueError, match="j: expected"):
        detection_probability(1.1, 5, 5)


@pytest.mark.parametrize("num_perm, threshold, recall", [(128, 0.8, 0.95), (128, 0.5, 0.9), (64, 0.9, 0.99), (9, 1, 1)])
def test_chosen_bands_keep_the_promise(num_perm, threshold, recall):
    bands, rows = choose_bands(num_perm, threshold, recall)
    assert bands * rows <= num_perm and detection_probability(threshold, bands, rows) >= recall
    for other in range(rows + 1, num_perm + 1):
        assert detection_probability(threshold, num_perm // other, other) < recall
    with pytest.raises(ValueError, match="num_perm"):
        choose_bands(4, 0.1, 0.99)


@pytest.mark.parametrize("bands", [1, 3, 5, 16])
def test_candidates_by_comparing_all_pairs(bands):
    sigs = np.random.default_rng(bands).integers(0, 3, (40, 16)).astype(np.uint32)
    sigs[[7, 30]] = sigs[[2, 2]]
    rows = 16 // bands
    want = {
        (i, j)
        for i, j in combinations(range(40), 2)
        if any((sigs[i, b * rows : (b + 1) * rows] == sigs[j, b * rows : (b + 1) * rows]).all() for b in range(bands))
    }
    assert lsh_candidates(sigs, bands) == want and want
    for bad, name in ((sigs[0], "sigs"), (sigs.tolist(), "sigs")):
        with pytest.raises(ValueError, match=name):
            lsh_candidates(bad, bands)
    for bad in (0, 17):
        with pytest.raises(ValueError, match="bands"):
            lsh_candidates(sigs, bad)


def test_found_as_often_as_the_formula_says():
    """300 pairs at each similarity: the share that becomes a candidate is on the S-curve, within five sigma."""
    bands, rows = 16, 8
    for shared, only in ((80, 10), (65, 18), (30, 35)):
        j, found = shared / (shared + 2 * only), 0
        for trial in range(300):
            sets = pair_of_sets(shared, only, only, tag=f"{trial}:")
            found += bool(lsh_candidates(np.stack([minhash_shingles(s, 128, trial) for s in sets]), bands))
        p = detection_probability(j, bands, rows)
        assert abs(found - 300 * p) <= 5 * (300 * p * (1 - p)) ** 0.5 + 1


def test_documents_without_words_are_no_candidates():
    sigs = np.stack([minhash("?"), minhash(""), minhash("a b")])
    assert lsh_candidates(sigs, 16) == set()


# Clusters


def test_union_find_against_sets():
    generator = np.random.default_rng(0)
    union, sets = UnionFind(50), [{i} for i in range(50)]
    for i, j in generator.integers(0, 50, (40, 2)).tolist():
        union.join(i, j)
        a, b = (next(s for s in sets if x in s) for x in (i, j))
        if a is not b:
            sets.remove(b)
            a |= b
    assert union.clusters() == sorted(sorted(s) for s in sets)
    assert UnionFind(0).clusters() == []


def planted(seed):
    """Ten groups: an original, near copies with a word changed here and there, and half copies below the threshold."""
    generator = np.random.default_rng(seed)
    docs, group = [], []
    for g in range(10):
        words = text_from(generator, 400).split()
        docs.append(" ".join(words))
        group.append(g)
        for _ in range(g % 3):
            near = list(words)
            for place in generator.choice(400, 3, replace=False):  # at most 15 shingles of 396 change
                near[place] = f"x{generator.integers(10**9)}"
            docs.append("\n".join(near).upper())
            group.append(g)
        docs.append(" ".join(words[:200]) + " " + text_from(generator, 200))  # Jaccard about 1/3
        group.append(100 + g)
    order = generator.permutation(len(docs))
    return [docs[i] for i in order], [group[i] for i in order]


def assert_finds_planted(candidate):
    for seed in range(3):
        docs, group = planted(seed)
        result = candidate(docs)
        want = [[i for i, other in enumerate(group) if other == g] for g in dict.fromkeys(group)]
        assert result.clusters == [cluster for cluster in want if len(cluster) > 1]
        assert result.kept == [cluster[0] for cluster in want]


def test_near_duplicates_are_found_and_others_kept():
    assert_finds_planted(near_dedup)


def test_true_jaccard_of_the_planted(seed=0):
    docs, group = planted(seed)
    sets = [shingles(doc) for doc in docs]
    for i, j in combinations(range(len(docs)), 2):
        similarity = jaccard(sets[i], sets[j])
        assert similarity > 0.8 if group[i] == group[j] else similarity < 0.5


def without_verification(docs):
    from course_lib.pretraining import lsh

    sigs = np.stack([minhash(doc) for doc in docs])
    union = UnionFind(len(docs))
    for i, j in lsh_candidates(sigs, 64):
        union.join(i, j)
    clusters = union.clusters()
    return lsh.NearDuplicates([c[0] for c in clusters], [c for c in clusters if len(c) > 1])


def drops_all_copies(docs):
    result = near_dedup(docs)
    gone = {i for cluster in result.clusters for i in cluster}
    return result._replace(kept=[i for i in result.kept if i not in gone])


@pytest.mark.parametrize("wrong", [without_verification, drops_all_copies])
def test_wrong_near_dedup_fails(wrong):
    with pytest.raises(AssertionError):
        assert_finds_planted(wrong)


def test_similar_to_a_similar_one_joins():
    """a is near b and b near c, but a not near c: one cluster."""
    words = [f"w{i}" for i in range(100)]
    docs = [" ".join(words[i : i + 80]) for i in (0, 6, 12)]
    sets = [shingles(doc) for doc in docs]
    assert jaccard(sets[0], sets[1]) > 0.8 > jaccard(sets[0], sets[2])
    assert near_dedup(docs, recall=0.999).clusters == [[0, 1, 2]]


def test_short_and_empty_documents():
    docs = ["", "?", "Yes.", "yes", "no", "", "yes no"]
    result = near_dedup([Document(text, "s", "l", "g") for text in docs])
    assert result.clusters == [[2, 3]] and result.kept == [0, 1, 2, 4, 5, 6]
    assert near_dedup([]) == ([], [])
    for threshold in (0, 1.2):
        with pytest.raises(ValueError, match="threshold"):
            near_dedup(docs, threshold)


def test_many_copies_are_quick(monkeypatch):
    """Union-find spares the comparisons inside a cluster: 399 instead of 79,800."""
    from course_lib.pretraining import lsh

    calls = []
    monkeypatch.setattr(lsh, "jaccard", lambda a, b: calls.append(1) or jaccard(a, b))
    assert near_dedup(["the same seven words again and again"] * 400, num_perm=32).kept == [0]
    assert len(calls) == 399
