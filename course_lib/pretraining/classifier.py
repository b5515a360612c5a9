"""A quality classifier: which of two kinds of text does a document resemble, by its words and pairs of words?

Rules must be thought of; a classifier learns from examples, here with a linear model on hashed n-grams. What it calls
good is what resembles the examples of good: no more than that.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from course_lib.pretraining._arguments import require_int, require_text

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class QualityClassifier:
    """Weights [buckets] and a bias; `classifier(text)` is the probability of "good", if both kinds are as frequent.

    A text without words gets the probability of the bias alone.
    """

    weights: np.ndarray
    bias: float
    ngrams: int

    def __call__(self, text: str) -> float:
        features = hashed_ngrams(text, len(self.weights), self.ngrams)
        return float(expit(self.bias + sum(self.weights[bucket] * value for bucket, value in features.items())))


def hashed_ngrams(text: str, buckets: int = 1 << 16, ngrams: int = 2) -> dict[int, float]:
    """Return the share of the n-grams of 1 to `ngrams` words that falls into each bucket; the shares add up to 1.

    Hashing (CRC-32, the same in every process) needs no list of words and a fixed amount of memory; now and then two
    n-grams share a bucket. Letter case does not count, a punctuation mark is a word. ValueError for sizes below 1.
    Source: Joulin et al. 2017 (fastText), sections 2 and 2.2.

    >>> sorted(hashed_ngrams("so so").values())  # "so" twice, "so so" once
    [0.3333333333333333, 0.6666666666666666]
    """
    require_int("buckets", buckets, 1)
    require_int("ngrams", ngrams, 1)
    words = _WORD.findall(require_text("text", text).casefold())
    grams = (" ".join(words[i : i + n]) for n in range(1, ngrams + 1) for i in range(len(words) - n + 1))
    counts = Counter(zlib.crc32(gram.encode("utf-8", errors="surrogatepass")) % buckets for gram in grams)
    total = counts.total()
    return {bucket: count / total for bucket, count in counts.items()}


def train_quality_classifier(
    good: Sequence[str], bad: Sequence[str], buckets: int = 1 << 16, ngrams: int = 2, l2: float = 1e-4
) -> QualityClassifier:
    """Fit a logistic regression that tells `good` from `bad` texts, both kinds weighing the same.

    The loss is the mean log loss of each kind, averaged, plus l2 / 2 times the squared weights; it is convex, so what
    is found does not depend on a seed. Test it on texts that are not in `good` or `bad`.
    ValueError without examples of both kinds and for an l2 that is not above 0.
    Source: Brown et al. 2020 (GPT-3), appendix A, filter Common Crawl with such a classifier.

    >>> classifier = train_quality_classifier(["the old bridge"], ["win win win"])
    >>> classifier("the bridge") > 0.5 > classifier("win")
    True
    """
    for name, texts in (("good", good), ("bad", bad)):
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"{name}: expected at least one text in a list, got {texts!r}")
    if not l2 > 0:
        raise ValueError(f"l2: expected a number above 0, got {l2!r}")
    X = _matrix([*good, *bad], buckets, ngrams)  # [N, buckets]
    sign = np.repeat([1.0, -1.0], [len(good), len(bad)])
    share = np.repeat([0.5 / len(good), 0.5 / len(bad)], [len(good), len(bad)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = sign * (X @ weights + bias)  # [N]
        pull = -share * sign * expit(-margin)  # the derivative by the score of each document
        value = share @ np.logaddexp(0, -margin) + l2 / 2 * (weights @ weights)
        return value, np.append(X.T @ pull + l2 * weights, pull.sum())

    found = minimize(loss, np.zeros(buckets + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-7})
    return QualityClassifier(found.x[:-1], float(found.x[-1]), ngrams)


def _matrix(texts: Iterable[str], buckets: int, ngrams: int) -> csr_matrix:
    columns: list[int] = []
    values: list[float] = []
    starts = [0]
    for text in texts:
        features = hashed_ngrams(text, buckets, ngrams)
        columns += features.keys()
        values += features.values()
        starts.append(len(columns))
    return csr_matrix((values, columns, starts), shape=(len(starts) - 1, buckets))
