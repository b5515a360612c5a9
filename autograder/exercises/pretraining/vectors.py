"""Exercise 2: one vector for each word, from counts, and one for each place where it stands, from a model."""

from __future__ import annotations

import math

import torch

from autograder.compare import close, expect_error, true
from autograder.exercise import Exercise, check, mistake
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
from course_lib import pretraining


class Ppmi(Exercise):
    """Word vectors from counts of neighbours, by PPMI and an SVD, and vectors that know the sentence, from a model."""

    title = "Static and contextual vectors"
    difficulty = 2
    minutes = 30
    id = "ppmi"
    functions = ("cooccurrence", "ppmi", "svd_embeddings", "hidden_states")
    reference = pretraining
    forbid = ("sklearn", "scipy")
    hints = (
        "The words 7 and 3 stand side by side once. In which two cells of the table does that count? And if a word "
        "is twice as frequent as another one, how much more often should it stand beside any word by chance?",
        "cooccurrence: for each distance from 1 to window, pair the text with itself shifted by it, and count each "
        "pair in both directions. ppmi: log of C times the sum of all, divided by the sum of its row and the sum of "
        "its column; 0 where that is negative or C is 0. svd_embeddings: the first d columns of U, each times its "
        "singular value to the power. hidden_states: the embedding, then the first `layer` blocks one after the other.",
        "C.index_put_((a, b), ones, accumulate=True) with a, b = ids[:-distance], ids[distance:], and again with b, a. "
        "ratio = C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0)); torch.where(C > 0, ratio, 1.0).log().clamp(min=0). "
        "U, S, _ = torch.linalg.svd(M, full_matrices=False); U[:, :d] * S[:d] ** power. "
        "for block in model.blocks[:layer]: x = block(x).",
    )

    @check(hint="Both sides: if word 1 stands beside word 0, C[0, 1] and C[1, 0] grow. A place is not beside itself.")
    def counts_neighbours_on_both_sides(self, student: Student, rng: Rng) -> None:
        close(
            student.cooccurrence(torch.tensor([0, 1, 0, 2]), 3, 1), counted([0, 1, 0, 2], 3, 1), what="for 0 1 0 2, it"
        )
        ids = [*rng.ids(14, 0, 4), 5, 5]
        for window in (2, 3):
            got = student.cooccurrence(torch.tensor(ids), 7, window)
            close(got, counted(ids, 7, window), what=f"for 16 words and a window of {window}, the table")

    @check(
        hint="log(C * N / (sum of the row * sum of the column)), N the sum of all; 0 where that is below 0 or C is 0."
    )
    def compares_with_chance(self, student: Student, rng: Rng) -> None:
        C = torch.tensor([[0.0, 4.0, 1.0], [4.0, 0.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64)
        close(student.ppmi(C), surprise(C), what="for a table of 3 x 3, PPMI")
        C = draw_counts(rng, 5, 4)
        close(student.ppmi(C), surprise(C), what="for a table of 5 x 4, PPMI")
        C[2] = 0
        got, (after,) = student.ppmi.with_arguments(C)
        close(got, surprise(C), what="for a table with an empty row, PPMI")
        true(torch.equal(after, C), "the counts that were handed in have changed; make a new table")

    @check(hint="The d largest singular values; row i is row i of U, and each column times S to the power 1/2.")
    def keeps_the_main_directions(self, student: Student, rng: Rng) -> None:
        M = rng.normal(6, 5, dtype=torch.float64) + 1
        expect_vectors(student, M, 3, 0.5, "for 6 words and d = 3")
        expect_vectors(student, M, 2, 1.0, "with d = 2 and power 1")

    @check(hint="Layer 0 is the embedding; after that each block gets what the one before it returned.")
    def reads_a_model_layer_by_layer(self, student: Student, rng: Rng) -> None:
        model, ids = toy_model(rng), torch.tensor([[3, 1, 3, 6], [0, 3, 2, 3]])
        want = states_of(model, ids)
        got = [student.hidden_states(model, ids, layer) for layer in (2, 0, 1, 3)]
        for layer, vectors in zip((2, 0, 1, 3), got, strict=True):
            close(vectors, want[layer], rtol=1e-4, atol=1e-5, what=f"after {layer} of 3 blocks, the result")
        expect_error(ValueError, student.hidden_states, model, ids, 4)
        expect_error(ValueError, student.hidden_states, model, ids, -1)

    @mistake("looks to the right only; the window reaches as far to the left", of="cooccurrence")
    def one_side(ids, vocab_size, window=2):
        C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
        for i, word in enumerate(ids.tolist()):
            for other in ids[i + 1 : i + 1 + window].tolist():
                C[word, other] += 1
        return C

    @mistake("looks before the first place; in Python ids[-1] is the last token", of="cooccurrence")
    def before_the_first(ids, vocab_size, window=2):
        C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
        words = ids.tolist()
        for i, word in enumerate(words):
            for j in range(max(i - window, -len(words)), min(i + window + 1, len(words))):
                if j != i:
                    C[word, words[j]] += 1
        return C

    @mistake("makes the window one place too small; range ends before its second number", of="cooccurrence")
    def one_place_less(ids, vocab_size, window=2):
        if window == 1:
            return torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
        return pretraining.cooccurrence(ids, vocab_size, window - 1)

    @mistake("counts each place as its own neighbour", of="cooccurrence")
    def beside_itself(ids, vocab_size, window=2):
        return pretraining.cooccurrence(ids, vocab_size, window) + torch.bincount(ids, minlength=vocab_size).diag()

    @mistake("looks at places in exactly that distance; those in between count as well", of="cooccurrence")
    def only_that_far(ids, vocab_size, window=2):
        C = pretraining.cooccurrence(ids, vocab_size, window)
        return C - pretraining.cooccurrence(ids, vocab_size, window - 1) if window > 1 else C

    @mistake("notes that two words have met, and not how often", of="cooccurrence")
    def met_or_not(ids, vocab_size, window=2):
        return (pretraining.cooccurrence(ids, vocab_size, window) > 0).double()

    @mistake("joins the end of the text to its start, as torch.roll does", of="cooccurrence")
    def ring(ids, vocab_size, window=2):
        C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
        for distance in range(1, window + 1):
            for word, other in zip(ids.tolist(), ids.roll(-distance).tolist(), strict=True):
                C[word, other] += 1
                C[other, word] += 1
        return C

    @mistake("takes logarithms of the counts; a frequent word then seems close to everything", of="ppmi")
    def log_of_counts(C):
        return C.double().log1p()

    @mistake("keeps negative values; rare pairs in little text make them mostly noise, so they become 0", of="ppmi")
    def negatives_kept(C):
        C = C.double()
        ratio = C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0))
        return torch.where(C > 0, ratio, 1.0).log()

    @mistake("divides by the sum of the row only; the frequency of the other word counts as well", of="ppmi")
    def rows_only(C):
        C = C.double()
        ratio = C * C.shape[1] / C.sum(1, keepdim=True)
        return torch.where(C > 0, ratio, 1.0).log().clamp(min=0)

    @mistake("forgets the sum of all counts: counts are no probabilities", of="ppmi")
    def forgets_the_total(C):
        C = C.double()
        return torch.where(C > 0, C / (C.sum(1, keepdim=True) * C.sum(0)), 1.0).log().clamp(min=0)

    @mistake("measures in bits; this is the natural logarithm", of="ppmi")
    def in_bits(C):
        return pretraining.ppmi(C) / math.log(2)

    @mistake("returns infinities or nan for words that never meet; that is 0", of="ppmi")
    def infinite(C):
        C = C.double()
        return (C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0))).log()

    @mistake("returns nan for a word without any count, which is 0 / 0; its row and its column are 0", of="ppmi")
    def empty_rows(C):
        C = C.double()
        return (C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0))).log().clamp(min=0)

    @mistake("overwrites the counts; make a new table", of="ppmi")
    def overwrites(C):
        M = pretraining.ppmi(C)
        C /= C.sum()
        return M

    @mistake("leaves the singular values out; then weak directions count as much as strong ones", of="svd_embeddings")
    def directions_only(M, d, power=0.5):
        return torch.linalg.svd(M, full_matrices=False)[0][:, :d]

    @mistake("always multiplies by the whole singular values, whatever the power", of="svd_embeddings")
    def whole_values(M, d, power=0.5):
        return pretraining.svd_embeddings(M, d, 1.0)

    @mistake("takes the vectors of the columns, V; the words are the rows of U", of="svd_embeddings")
    def of_the_columns(M, d, power=0.5):
        return pretraining.svd_embeddings(M.T.contiguous(), d, power)

    @mistake("takes the smallest singular values; the largest come first", of="svd_embeddings")
    def the_smallest(M, d, power=0.5):
        U, S, _ = torch.linalg.svd(M, full_matrices=False)
        return U[:, -d:] * S[-d:] ** power

    @mistake("takes the smallest: eigh sorts from small to large, and its values are squares", of="svd_embeddings")
    def from_small_to_large(M, d, power=0.5):
        values, directions = torch.linalg.eigh(M @ M.T)
        return directions[:, :d] * values[:d].clamp(min=0) ** (power / 2)

    @mistake("subtracts the mean first; that would be a principal component analysis", of="svd_embeddings")
    def centred(M, d, power=0.5):
        return pretraining.svd_embeddings(M - M.mean(0), d, power)

    @mistake("returns all directions; d of them are asked for", of="svd_embeddings")
    def all_directions(M, d, power=0.5):
        return pretraining.svd_embeddings(M, min(M.shape), power)

    @mistake("returns the embedding whatever the layer; it does not know the context yet", of="hidden_states")
    def embedding_only(model, ids, layer):
        return model.embed(ids)

    @mistake("goes one block too far: layer 0 is before the first block", of="hidden_states")
    def one_too_far(model, ids, layer):
        return pretraining.hidden_states(model, ids, min(layer + 1, len(model.blocks)))

    @mistake("always goes through all blocks", of="hidden_states")
    def to_the_end(model, ids, layer):
        return pretraining.hidden_states(model, ids, len(model.blocks))

    @mistake("hands the embedding to the last block only; each block gets what the one before it returned",
             of="hidden_states")  # fmt: skip
    def skips_blocks(model, ids, layer):
        x = model.embed(ids)
        return model.blocks[layer - 1](x) if layer else x

    @mistake("adds each block's result to its input; the blocks have done that already", of="hidden_states")
    def adds_again(model, ids, layer):
        x = model.embed(ids)
        for block in model.blocks[:layer]:
            x = x + block(x)
        return x

    @mistake("shows each token to the model by itself; so nothing depends on the context", of="hidden_states")
    def word_by_word(model, ids, layer):
        return torch.cat([pretraining.hidden_states(model, ids[:, t : t + 1], layer) for t in range(ids.shape[1])], 1)

    @mistake("takes any number as a layer; one that the model does not have is a ValueError", of="hidden_states")
    def any_layer(model, ids, layer):
        return pretraining.hidden_states(model, ids, min(layer, len(model.blocks)))

    @mistake("takes negative layers, which Python counts from the end; a ValueError is asked for", of="hidden_states")
    def from_the_end(model, ids, layer):
        if layer > len(model.blocks):
            raise ValueError("no such layer")
        return pretraining.hidden_states(model, ids, layer if layer >= 0 else layer + len(model.blocks))
