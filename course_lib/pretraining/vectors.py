"""Word vectors from counts: which words stand near which, how surprising that is, and the main directions of it.

One vector a word, whatever the sentence: "bank" is the same by the river and in the high street.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.pretraining._arguments import require_int


def cooccurrence(ids: Sequence[int] | Tensor, vocab_size: int, window: int = 2) -> Tensor:
    """Count how often word j stands within `window` places of word i, on either side: float64 [V, V], symmetric.

    ValueError for ids outside 0 to vocab_size - 1, for another shape than [N], and for window < 1.

    >>> cooccurrence([0, 1, 0, 2], vocab_size=3, window=1)
    tensor([[0., 2., 1.],
            [2., 0., 0.],
            [1., 0., 0.]], dtype=torch.float64)
    """
    require_int("vocab_size", vocab_size, 1)
    require_int("window", window, 1)
    ids = torch.as_tensor(ids)
    if ids.ndim != 1 or (len(ids) and ids.is_floating_point()):
        raise ValueError(f"ids: expected integers [N], got {ids.dtype} of shape {tuple(ids.shape)}")
    ids = ids.long()
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        low, high = int(ids.min()), int(ids.max())
        raise ValueError(f"ids: expected ids from 0 to {vocab_size - 1}, got ids from {low} to {high}")
    counts = torch.zeros(vocab_size * vocab_size, dtype=torch.float64)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        pairs = ids[:-distance] * vocab_size + ids[distance:]
        counts += torch.bincount(pairs, minlength=len(counts))
    counts = counts.view(vocab_size, vocab_size)
    return counts + counts.T


def ppmi(C: Tensor, shift: float = 1.0) -> Tensor:
    """Return max(log(P(i, j) / (P(i) P(j))) - log(shift), 0) for counts C [V, K]: float64 [V, K].

    Positive pointwise mutual information, in nats: how much more often two words meet than if they did not care for
    each other. Pairs that never meet, and rows and columns without counts, are 0. A `shift` of k corresponds to k
    negative samples in word2vec. ValueError for another shape, for negative or infinite counts, and for a shift that
    is not above 0. Source: Levy & Goldberg 2014, on (shifted) positive PMI.

    >>> ppmi(torch.tensor([[4, 0], [0, 4]])).exp()
    tensor([[2., 1.],
            [1., 2.]], dtype=torch.float64)
    """
    if not isinstance(C, Tensor) or C.ndim != 2:
        got = tuple(C.shape) if isinstance(C, Tensor) else type(C).__name__
        raise ValueError(f"C: expected a tensor of shape [V, K], got {got}")
    C = C.double()
    if not bool(((C >= 0) & C.isfinite()).all()):
        raise ValueError("C: expected counts, finite and not negative, got others")
    if not shift > 0:
        raise ValueError(f"shift: expected a number above 0, got {shift!r}")
    expected = C.sum(1, keepdim=True) * C.sum(0) / C.sum().clamp(min=1)  # [V, K]: the counts without any preference
    ratio = torch.where(C > 0, C / (expected * shift), 1.0)  # log 1 = 0, where log 0 would be minus infinity
    return ratio.log().clamp(min=0)


def svd_embeddings(M: Tensor, d: int, power: float = 0.5) -> Tensor:
    """Return the rows of U_d S_d^power, from the d largest singular values of M [V, K]: word vectors [V, d].

    With power 1 their products are those of the rows of the best approximation of rank d; 1/2, which splits the
    singular values between words and contexts, does better on word similarity. The sign of a column is free, and
    chosen so that its largest entry is positive. ValueError for another shape and for d outside 1 to min(V, K).
    Source: Levy & Goldberg 2014, section 4.2.

    >>> svd_embeddings(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), d=1)
    tensor([[0.],
            [2.]])
    """
    if not isinstance(M, Tensor) or M.ndim != 2:
        got = tuple(M.shape) if isinstance(M, Tensor) else type(M).__name__
        raise ValueError(f"M: expected a tensor of shape [V, K], got {got}")
    if require_int("d", d, 1) > min(M.shape):
        raise ValueError(f"d: expected at most {min(M.shape)} for shape {tuple(M.shape)}, got {d}")
    U, S, _ = torch.linalg.svd(M if M.is_floating_point() else M.double(), full_matrices=False)
    U = U[:, :d]  # [V, d]
    largest = U.gather(0, U.abs().argmax(0, keepdim=True))  # [1, d]
    return U * torch.where(largest < 0, -1.0, 1.0).to(U.dtype) * S[:d] ** power


def nearest(vectors: Tensor, i: int, k: int = 5) -> list[tuple[int, float]]:
    """Return the k rows most like row i of `vectors` [V, d], without i itself, and their cosines, the highest first.

    Rows of zeros have cosine 0 with everything. Ties in order of the index. ValueError for i outside.

    >>> nearest(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), 0, k=2)
    [(2, 1.0), (1, 0.0)]
    """
    if not 0 <= i < len(vectors):
        raise ValueError(f"i: expected an index from 0 to {len(vectors) - 1}, got {i!r}")
    require_int("k", k, 1)
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    cosines = (unit @ unit[i]).tolist()
    others = sorted((j for j in range(len(cosines)) if j != i), key=lambda j: (-cosines[j], j))
    return [(j, cosines[j]) for j in others[:k]]
