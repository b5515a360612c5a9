"""Hidden checks of exercise 2, and other ways to solve it."""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F

from autograder.compare import close, expect_error, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import vectors as public
from autograder.exercises.pretraining.vectors_parts import (
    counted,
    draw_counts,
    expect_vectors,
    states_of,
    surprise,
    toy_model,
)
from autograder.rng import Rng
from autograder.student import Student


def of_six_words(student: Student, rng: Rng) -> None:
    """For the record: on a table with more columns than rows, or with as many, some mistakes look alike."""
    expect_vectors(student, rng.normal(6, 5, dtype=torch.float64) + 1, 3, 0.5, "for 6 words and d = 3")


class Ppmi(public.Ppmi):
    @check(hint="A window may be longer than the text, a text may be one word, and a word may never occur.")
    def counts_in_short_texts(self, student: Student, rng: Rng) -> None:
        for ids, window in ((rng.ids(4, 0, 2), 6), ([2], 2), ([1, 1, 1], 1), (rng.ids(30, 0, 5), 5)):
            got = student.cooccurrence(torch.tensor(ids), 8, window)
            close(got, counted(ids, 8, window), what=f"for {len(ids)} words and a window of {window}, the table")
        ids = rng.ids(9, 0, 3)
        close(student.cooccurrence(torch.tensor(ids), 4), counted(ids, 4, 2), what="without a window given, the table")

    @check(hint="Rows and columns without any count are 0 in PPMI; integer counts give float64; C stays as it was.")
    def takes_every_table_of_counts(self, student: Student, rng: Rng) -> None:
        C = draw_counts(rng, 6, 8)
        C[2] = 0
        C[:, 3] = 0
        for table in (C, C.float(), C.long()):
            got, (after,) = student.ppmi.with_arguments(table)
            close(got, surprise(C), what=f"for counts in {table.dtype}, PPMI")
            true(torch.equal(after, table), "the counts have been changed")
        close(3 * student.ppmi(7 * C), 3 * surprise(C), what="for all counts times 7, PPMI")

    @check(hint="From counts to vectors: words that stand in the same company must come out alike.")
    def finds_words_of_a_kind(self, student: Student, rng: Rng) -> None:
        of_six_words(student, rng)
        animals, tools = [0, 1, 2], [3, 4, 5]  # 6 to 8 stand beside animals, 9 to 11 beside tools
        ids = []
        for _ in range(60):
            kind = rng.randint(0, 1)
            ids += [rng.choice((animals, tools)[kind]), 6 + 3 * kind + rng.randint(0, 2), 12]
        table = student.cooccurrence(torch.tensor(ids), 13, 1)
        close(table, counted(ids, 13, 1), what="the table of counts")
        M = student.ppmi(table)
        close(M, surprise(table), what="PPMI of it")
        with student.off_the_record():
            vectors = student.svd_embeddings(M, 3)
        expect_vectors(student, M, 3, 0.5, "of these counts")
        unit = F.normalize(vectors.double(), dim=1)
        cosines = unit @ unit.T
        for word in range(6):
            same = animals if word < 3 else tools
            other = tools if word < 3 else animals
            true(min(cosines[word, same]) > max(cosines[word, other]), "words of another kind came out more alike")

    @check(hint="Wide tables, narrow tables and single precision: the vectors have the dtype of M.")
    def factors_any_shape(self, student: Student, rng: Rng) -> None:
        of_six_words(student, rng)
        for shape, dtype in (((4, 9), torch.float64), ((9, 4), torch.float32)):
            M = rng.normal(*shape).to(dtype) + 0.5
            for d, power in ((1, 0.5), (4, 0.5), (3, 0.0), (2, 1.0)):
                expect_vectors(student, M, d, power, f"for shape {shape}, d = {d} and power {power}")

    @check(hint="The same token in two sentences: one vector at layer 0, two from layer 1 on.")
    def knows_the_context_from_the_first_block_on(self, student: Student, rng: Rng) -> None:
        model = toy_model(rng, C=5, layers=2)
        ids = torch.tensor([[1, 2, 4], [3, 2, 4], [1, 2, 0]])
        want = states_of(model, ids)
        got = [student.hidden_states(model, ids, layer) for layer in range(3)]
        for layer, vectors in enumerate(got):
            close(vectors, want[layer], rtol=1e-4, atol=1e-5, what=f"after {layer} of 2 blocks, the result")
        for wrong in (-1, 3):
            expect_error(ValueError, student.hidden_states, model, ids, wrong)

    @variant
    class Loops:
        """Cell by cell, with a Counter of pairs."""

        def cooccurrence(ids, vocab_size, window=2):
            ids = ids.tolist()
            pairs = Counter(
                (word, ids[j])
                for i, word in enumerate(ids)
                for j in range(max(0, i - window), min(len(ids), i + window + 1))
                if j != i
            )
            C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
            for (word, other), count in pairs.items():
                C[word, other] = count
            return C

        def ppmi(C):
            P = C.double() / C.sum()
            p_i, p_j = P.sum(1), P.sum(0)
            M = torch.zeros_like(P)
            for i, j in P.nonzero().tolist():
                M[i, j] = max(torch.log(P[i, j] / (p_i[i] * p_j[j])).item(), 0.0)
            return M

        def svd_embeddings(M, d, power=0.5):
            U, S, _ = torch.svd(M)
            return -U[:, :d] @ torch.diag(S[:d].pow(power))  # signs are free

        def hidden_states(model, ids, layer):
            if not 0 <= layer <= len(model.blocks):
                raise ValueError("no such layer")
            return (
                model.blocks[layer - 1](Ppmi.Loops.hidden_states(model, ids, layer - 1)) if layer else model.embed(ids)
            )

    @variant
    class Matrices:
        """Products of one-hot matrices, logarithms of sums, and eigenvectors."""

        def cooccurrence(ids, vocab_size, window=2):
            one_hot = F.one_hot(ids, vocab_size).double()
            places = torch.arange(len(ids))
            distance = (places[:, None] - places[None, :]).abs()
            near = ((distance <= window) & (distance > 0)).double()
            return one_hot.T @ near @ one_hot

        def ppmi(C):
            C = C.double()
            logs = C.log() + C.sum().log() - C.sum(1).log()[:, None] - C.sum(0).log()
            return torch.nan_to_num(logs, nan=0.0, posinf=0.0, neginf=0.0).relu()

        def svd_embeddings(M, d, power=0.5):
            _, S, Vh = torch.linalg.svd(M.T, full_matrices=False)
            return Vh[:d].T * S[:d] ** power
