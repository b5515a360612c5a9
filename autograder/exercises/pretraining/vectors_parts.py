"""What exercise 2 compares with: tables cell by cell, products of vectors, and a small model as its parts."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, true
from autograder.rng import Rng
from autograder.student import Student, type_name


def counted(ids: list[int], vocab_size: int, window: int) -> Tensor:
    """The oracle: every place looks at every other place that is near enough."""
    table = [[0.0] * vocab_size for _ in range(vocab_size)]
    for i, word in enumerate(ids):
        for j, other in enumerate(ids):
            if i != j and abs(i - j) <= window:
                table[word][other] += 1
    return torch.tensor(table, dtype=torch.float64)


def surprise(C: Tensor) -> Tensor:
    """The oracle of PPMI: cell by cell, with probabilities."""
    rows, total = C.tolist(), C.sum().item()
    table = [[0.0] * len(rows[0]) for _ in rows]
    for i, row in enumerate(rows):
        for j, count in enumerate(row):
            if count:
                p_i, p_j = sum(row) / total, sum(other[j] for other in rows) / total
                table[i][j] = max(0.0, math.log(count / total / p_i / p_j))
    return torch.tensor(table, dtype=torch.float64)


def similarities(M: Tensor, d: int, power: float) -> Tensor:
    """The oracle of the vectors: all their products, from the eigenvectors of M M^T, whatever the signs."""
    values, directions = torch.linalg.eigh(M.double() @ M.double().T)
    values, directions = values[-d:].clamp(min=0), directions[:, -d:]
    return directions * values**power @ directions.T


def draw_counts(rng: Rng, V: int, K: int) -> Tensor:
    """Counts with a few zeros, and sums of rows and columns that all differ."""
    C = torch.tensor([[float(rng.randint(1, 9) * (i + 1) + j) for j in range(K)] for i in range(V)]).double()
    C[0, 1] = C[1, 0] = C[V - 1, K - 1] = 0
    return C


def toy_model(rng: Rng, C: int = 4, layers: int = 3) -> SimpleNamespace:
    """A model as its parts: a table, and blocks that mix each token with the mean of those before it."""
    table, mixers = rng.normal(7, C), [rng.normal(C, C) for _ in range(layers)]

    def block_of(mixer: Tensor) -> Any:
        def block(x: Tensor) -> Tensor:
            past = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
            return x + torch.tanh(past @ mixer)

        return block

    return SimpleNamespace(embed=lambda ids: table[ids], blocks=[block_of(mixer) for mixer in mixers])


def states_of(model: SimpleNamespace, ids: Tensor) -> list[Tensor]:
    """The oracle: the vectors of all layers, the embedding first."""
    states = [model.embed(ids)]
    for block in model.blocks:
        states.append(block(states[-1]))
    return states


def expect_vectors(student: Student, M: Tensor, d: int, power: float, when: str) -> None:
    """Word vectors with the right products; the sign of a column is free, so it is no part of what is compared."""
    with student.off_the_record():
        got = student.svd_embeddings(M, d) if power == 0.5 else student.svd_embeddings(M, d, power)
    true(isinstance(got, Tensor), f"{when}, it returned {type_name(got)}, expected a tensor of shape [{len(M)}, {d}]")
    real = got.is_floating_point()
    products = (got.double() @ got.double().T).tolist() if real and got.ndim == 2 else []
    student.conclude(f"{tuple(got.shape)} {got.dtype} {[[round(x, 3) + 0.0 for x in row] for row in products]}")
    true(tuple(got.shape) == (len(M), d), f"{when}, the result has shape {tuple(got.shape)}, expected {(len(M), d)}")
    true(got.dtype == M.dtype, f"{when}, the result has dtype {got.dtype}, expected {M.dtype}")
    want = similarities(M, d, power)
    tolerance = 1e-6 if M.dtype == torch.float64 else 1e-3
    close(got.double() @ got.double().T, want, rtol=tolerance, atol=tolerance * want.abs().max().item(),
          what=f"{when}, the table of the products of the vectors with each other")  # fmt: skip
