"""Word vectors: counts by looking at every pair, PPMI by its definition in fractions, SVD against scipy."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from course_lib.pretraining.vectors import cooccurrence, nearest, ppmi, svd_embeddings


def random_counts(seed, shape=(7, 5)):
    counts = np.random.default_rng(seed).poisson(1.2, shape)
    counts[2], counts[:, 3] = 0, 0  # a word and a context that never occur
    return torch.from_numpy(counts)


@pytest.mark.parametrize("window", [1, 2, 3, 50])
def test_counts_by_looking_at_every_pair(window):
    ids = np.random.default_rng(window).integers(0, 5, 40).tolist()
    want = torch.zeros(5, 5, dtype=torch.float64)
    for place, i in enumerate(ids):
        for other, j in enumerate(ids):
            want[i, j] += 0 < abs(place - other) <= window
    assert torch.equal(cooccurrence(ids, 5, window), want)
    assert torch.equal(cooccurrence(torch.tensor(ids, dtype=torch.int32), 5, window), want)


def test_counts_of_next_to_nothing():
    assert cooccurrence([], 3).sum() == cooccurrence([1], 3).sum() == 0
    assert cooccurrence([1, 1], 3)[1, 1] == 2


def assert_ppmi(candidate):
    for seed in range(5):
        C = random_counts(seed)
        got, total = candidate(C), int(C.sum())
        for i in range(7):
            for j in range(5):
                p = Fraction(int(C[i, j]), total)
                apart = Fraction(int(C[i].sum()), total) * Fraction(int(C[:, j].sum()), total)
                want = max(0.0, math.log(p / apart)) if p else 0.0
                assert float(got[i, j]) == pytest.approx(want, abs=1e-12)


def test_ppmi_by_definition():
    assert_ppmi(ppmi)
    C = random_counts(1)
    assert torch.allclose(ppmi(3 * C), ppmi(C)) and torch.equal(ppmi(torch.zeros(2, 3)), torch.zeros(2, 3).double())
    # Independent counts have no information at all.
    outer = torch.outer(torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5]))
    assert ppmi(outer).abs().max() < 1e-12
    assert torch.allclose(ppmi(C, shift=2), (ppmi(C, shift=1e-9) + math.log(1e-9) - math.log(2)).clamp(min=0))


def pmi_with_negatives(C):
    C = C.double()
    ratio = C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0))
    return torch.where(C > 0, ratio.log(), 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        pmi_with_negatives,
        lambda C: torch.log1p(C.double()),
        lambda C: ppmi(C) / math.log(2),  # bits, not nats
        lambda C: ppmi(C + 1),
        lambda C: (C.double() / C.sum(1, keepdim=True).clamp(min=1) * len(C)).clamp(min=1).log(),  # one marginal
    ],
)
def test_wrong_ppmi_fails(wrong):
    with pytest.raises(AssertionError):
        assert_ppmi(wrong)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (8, 8)])
def test_svd_against_scipy(shape, power):
    M = torch.from_numpy(np.random.default_rng(sum(shape)).normal(size=shape))
    W = svd_embeddings(M, 3, power)
    U, S, _ = scipy.sparse.linalg.svds(M.numpy(), k=3)
    U, S = U[:, ::-1], S[::-1]  # scipy's smallest comes first
    assert np.allclose(W @ W.T, (U * S ** (2 * power)) @ U.T, atol=1e-9)  # free of the signs
    assert W.shape == (shape[0], 3) and (W.gather(0, W.abs().argmax(0, keepdim=True)) > 0).all()
    assert torch.allclose(svd_embeddings(-M, 3, power), W)  # the sign is decided
    norms = W.norm(dim=0)
    assert np.allclose(norms, S**power)


def test_full_rank_keeps_all_products():
    M = random_counts(0).double()
    W = svd_embeddings(M, 5, power=1)
    assert torch.allclose(W @ W.T, M @ M.T, atol=1e-9)
    assert svd_embeddings(M.float(), 2).dtype == torch.float32 and svd_embeddings(random_counts(0), 2).shape == (7, 2)


def test_words_of_a_kind_are_near_each_other():
    """Nouns of two worlds that never meet in a window: counts of neighbours alone sort them."""
    generator = np.random.default_rng(0)
    ids = []
    for _ in range(600):
        world = int(generator.integers(2))
        nouns, verbs = (0, 1, 2), (6, 7, 8)
        noun, verb = (int(generator.choice(words)) + 3 * world for words in (nouns, verbs))
        ids += [12, noun, verb, 13]
    vectors = svd_embeddings(ppmi(cooccurrence(ids, 14, window=1)), 4)
    for noun in range(6):
        assert {j for j, _ in nearest(vectors, noun, 2)} == {3 * (noun // 3) + k for k in range(3)} - {noun}


def test_nearest_by_cosine():
    vectors = torch.tensor([[1.0, 0], [10, 1], [0, 3], [-1, 0], [0, 0], [0, 9]])
    found = nearest(vectors, 0, 10)
    assert [j for j, _ in found] == [1, 2, 4, 5, 3]
    assert [c for _, c in found] == pytest.approx([10 / 101**0.5, 0, 0, 0, -1])


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: cooccurrence([0, 5], 5), "ids"),
        (lambda: cooccurrence([-1, 0], 5), "ids"),
        (lambda: cooccurrence([[0, 1]], 5), "ids"),
        (lambda: cooccurrence([0.5, 1], 5), "ids"),
        (lambda: cooccurrence([0], 5, window=0), "window"),
        (lambda: ppmi(torch.ones(3)), "C"),
        (lambda: ppmi(-torch.ones(3, 3)), "C"),
        (lambda: ppmi(torch.full((2, 2), math.nan)), "C"),
        (lambda: ppmi(torch.ones(3, 3), shift=0), "shift"),
        (lambda: svd_embeddings(torch.ones(3), 1), "M"),
        (lambda: svd_embeddings(torch.ones(3, 2), 3), "d"),
        (lambda: svd_embeddings(torch.ones(3, 2), 0), "d"),
        (lambda: nearest(torch.ones(3, 2), 3), "i"),
        (lambda: nearest(torch.ones(3, 2), 0, k=0), "k"),
    ],
)
def test_bad_arguments(call, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()
