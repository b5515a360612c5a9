"""Hidden part of exercise 10."""

from fractions import Fraction

import numpy as np

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import vocabulary as public
from autograder.rng import Rng
from autograder.student import Student


class EmbeddingParams(public.EmbeddingParams):
    @check(points=2, hint="Count with whole numbers: multiply, and do not divide.")
    def counts_exactly_at_any_size(self, student: Student, rng: Rng) -> None:
        both = tuple(student.embedding_params(1, 1, tied=tied) for tied in (True, False))
        equal(both, (1, 2), what="one token of width 1, tied and not tied,")
        # GPT-2's vocabulary and width, once and twice.
        both = tuple(student.embedding_params(50_257, 768, tied=tied) for tied in (True, False))
        equal(both, (38_597_376, 77_194_752), what="50,257 tokens of width 768, tied and not tied,")
        rows, width = rng.randint(10**8, 10**9) * 2 + 1, rng.randint(10**8, 10**9) * 2 + 1
        got = student.embedding_params(rows, width, tied=False)
        true(isinstance(got, int), f"a number of parameters is a whole number, it returned {got!r}")
        true(got == 2 * rows * width, "a product of two very large sizes is not exact")

    @check(points=1, hint="Without a single layer all work is the head's.")
    def holds_at_the_extremes(self, student: Student, rng: Rng) -> None:
        size, d = rng.randint(2, 99), rng.randint(2, 99)
        close(student.softmax_share(size, d, 0), 1.0, what="a model without layers")
        close(student.softmax_share(1, 1, 1), 1 / 13, what="the smallest model")
        close(student.softmax_share(1, d, 10**6) * 12 * d * 10**6, 1.0, rtol=1e-4, what="a very deep model, rescaled,")

    @check(points=1, hint="Compare with exact fractions: V d / (V d + 12 L d d).")
    def agrees_with_exact_fractions(self, student: Student, rng: Rng) -> None:
        columns = rng.ids(8, 256, 200_000), rng.ids(8, 64, 8192), rng.ids(8, 1, 120)
        for size, d, layers, share in zip(*columns, student.softmax_share.map(*columns), strict=True):
            want = float(1 / (1 + Fraction(12 * layers * d, size)))
            close(share, want, what=f"V={size}, d={d}, L={layers}")

    @variant
    class Cancelled:
        """One d cancels from the fraction; tables are counted as a sum."""

        def embedding_params(vocab_size, d_model, tied):
            tables = [(vocab_size, d_model)]
            if not tied:
                tables.append((d_model, vocab_size))
            return sum(rows * columns for rows, columns in tables)

        def softmax_share(vocab_size, d_model, n_layers):
            return 1 / (1 + 12 * n_layers * d_model / vocab_size)

    @variant
    class Itemised:
        """Every matrix of a layer by name: four of attention, two of the feed-forward part."""

        def embedding_params(vocab_size, d_model, tied):
            return (vocab_size * d_model) << (not tied)

        def softmax_share(vocab_size, d_model, n_layers):
            attention = sum(d_model * d_model for _ in ("query", "key", "value", "output"))
            feed_forward = d_model * 4 * d_model + 4 * d_model * d_model
            rest = n_layers * (attention + feed_forward)
            return 1 - rest / (vocab_size * d_model + rest)

    @variant
    class Numpy:
        """Sizes of shapes instead of products."""

        def embedding_params(vocab_size, d_model, tied):
            return int(np.prod([2 - bool(tied), vocab_size, d_model], dtype=object))

        def softmax_share(vocab_size, d_model, n_layers):
            work = np.array([vocab_size * d_model, *([12 * d_model**2] * min(n_layers, 1))], dtype=float)
            work[1:] *= n_layers
            return work[0] / work.sum()
