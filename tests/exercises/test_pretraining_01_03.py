"""What the audit does not show about exercises 1 to 3 of chapter 3: wrong types, independent oracles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded import expect_no_accident, run, shown

from autograder.compare import CheckFailed
from autograder.exercise import Exercise
from autograder.exercises.pretraining import loss as public_loss
from autograder.exercises.pretraining import ngram_parts as parts
from autograder.exercises.pretraining import vectors_parts
from autograder.hidden.pretraining.loss import CausalLmLoss
from autograder.hidden.pretraining.ngram import StupidBackoff
from autograder.hidden.pretraining.vectors import Ppmi
from autograder.rng import Rng
from autograder.run import run_exercise
from autograder.student import LocalBackend
from course_lib import pretraining

EXERCISES = [StupidBackoff(), Ppmi(), CausalLmLoss()]
IDS = [exercise.id for exercise in EXERCISES]


def test_names_and_order() -> None:
    assert IDS == ["stupid_backoff", "ppmi", "causal_lm_loss"]
    assert all(set(exercise.functions) <= set(dir(pretraining)) for exercise in EXERCISES)


ONES = torch.ones(3, 2)
WRONG = [
    None,
    "text",
    3,
    -2.5,
    math.nan,
    True,
    [],
    [None],
    [[]],
    [{(): 1}],
    [{(): {"a": "b"}}, 3, {}],
    {},
    (),
    ONES,
    ONES > 0,
    ONES.long(),
    1j * ONES,
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


@pytest.mark.parametrize(
    ("number", "line"),
    [(0, "import nltk"), (1, "from sklearn.decomposition import TruncatedSVD"), (2, "loss = F.cross_entropy(a, b)")],
)
def test_what_does_it_all_is_not_allowed(number: int, line: str) -> None:
    source = f"import torch.nn.functional as F\n{line}\n"
    report = run_exercise(EXERCISES[number], LocalBackend(EXERCISES[number].solution()), source=source)
    assert report.earned == 0


# Exercise 1


def test_the_counts_of_the_oracle_are_those_of_windows() -> None:
    text = parts.draw_text(Rng(0), 40)
    for n in (1, 2, 4):
        for k, table in enumerate(parts.scanned(text, n)):
            grams = Counter(zip(*(text[i:] for i in range(k + 1)), strict=False))
            assert {(*c, w): count for c, row in table.items() for w, count in row.items()} == grams


def test_the_neighbours_of_the_oracle_by_hand() -> None:
    words = [*["san", "francisco"] * 2, "hot", "tea", "iced", "tea"]
    levels = parts.neighbours(words, 2)
    assert levels[0][()]["tea"] == 2 and levels[0][()]["francisco"] == 1
    assert levels[1] == parts.scanned(words, 2)[1]
    # "a" opens the text and never comes back: nothing stands before it.
    assert "a" not in parts.neighbours("abcb", 2)[0][()]
    assert ("a",) not in parts.neighbours("abcb", 3)[1]


def test_the_smoothing_of_the_oracle_adds_up_to_one_and_agrees_with_kneser_ney() -> None:
    text = parts.draw_text(Rng(1), 40)
    model = pretraining.train_kneser_ney(text, 3, 7, discounts=[0.6] * 3)
    levels = parts.neighbours(text, 3)
    for ctx in ("", "a", "ab", "dd", "zz", "abca"):
        ps = [parts.smoothed(w, ctx, levels, 7, 0.6) for w in "abcdxyz"]
        assert math.fsum(ps) == pytest.approx(1)
        assert ps == pytest.approx([pretraining.kneser_ney(w, ctx, model) for w in "abcdxyz"])


def test_scores_that_add_up_to_more_than_one() -> None:
    total = sum(parts.score(w, "ra", "abracadabra", 3, 0.4) for w in "abcdr")
    assert total == pytest.approx(1 + 0.4 * 3 / 4 + 0.16 * 7 / 11)


@pytest.mark.parametrize("function", ["backed_off", "discounted"])
def test_the_flawed_helpers_without_a_flaw_are_right(function: str) -> None:
    text = parts.draw_text(Rng(2), 40)
    counts = parts.scanned(text, 3)
    for ctx in ("", "a", "ca", "dd", "zz", "abca"):
        for w in "abcdz":
            if function == "backed_off":
                assert parts.backed_off(w, ctx, counts, 0.3) == pytest.approx(parts.score(w, ctx, text, 3, 0.3))
            else:
                want = parts.smoothed(w, ctx, counts, 9, 0.6)
                assert parts.discounted(w, ctx, counts, 9, 0.6) == pytest.approx(want)


def test_a_wrong_count_is_spoken_of_by_its_place() -> None:
    with pytest.raises(CheckFailed, match=r"x\[1\]\[\('a',\)\]\['b'\] is 3, expected 1"):
        parts.expect_counts([{(): {"a": 1, "b": 1}}, {("a",): {"b": 3}}], parts.scanned("ab", 2), "x")
    with pytest.raises(CheckFailed, match="lacks the context"):
        parts.expect_counts([{(): {"a": 1, "b": 1}}, {}], parts.scanned("ab", 2), "x")
    parts.expect_counts([{(): {"a": 1, "b": 1}}, {("a",): {"b": 1, "c": 0}}], parts.scanned("ab", 2), "x")


# Exercise 2


def test_the_table_of_the_oracle_by_matrices() -> None:
    ids = Rng(0).ids(20, 0, 4)
    one_hot = np.eye(6)[ids]
    near = sum(np.eye(20, k=k) for k in (-2, -1, 1, 2))
    assert np.array_equal(vectors_parts.counted(ids, 6, 2).numpy(), one_hot.T @ near @ one_hot)


def test_the_surprise_of_the_oracle_has_the_mean_of_mutual_information() -> None:
    """Where nothing is clipped, the mean of PMI is the mutual information, which is not negative."""
    independent = torch.outer(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 1.0])).double()
    assert vectors_parts.surprise(independent).abs().max() < 1e-12
    C = torch.tensor([[2.0, 0.0], [0.0, 6.0]]).double()
    assert vectors_parts.surprise(C).diagonal().exp().tolist() == pytest.approx([4, 4 / 3])


def test_products_of_vectors_agree_with_numpy() -> None:
    M = Rng(3).normal(5, 4).double()
    U, S, _ = np.linalg.svd(M.numpy())
    want = (U[:, :3] * S[:3]) @ U[:, :3].T
    np.testing.assert_allclose(vectors_parts.similarities(M, 3, 0.5).numpy(), want, atol=1e-12)


def flipped(M: torch.Tensor, d: int, power: float = 0.5) -> torch.Tensor:
    return -pretraining.svd_embeddings(M, d, power)


def flipped_columns(M: torch.Tensor, d: int, power: float = 0.5) -> torch.Tensor:
    return -pretraining.svd_embeddings(M.T.contiguous(), d, power)


# Exercise 3


def test_the_loss_of_the_oracle_agrees_with_torch() -> None:
    logits, ids = public_loss.draw(Rng(0), [7, 3, 5], 6)
    want = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert public_loss.mean_of(public_loss.surprises(logits, ids)) == pytest.approx(want.item(), rel=1e-5)


def item_by_item(logits: torch.Tensor, ids: torch.Tensor, ignore_index: int = -100) -> torch.Tensor:
    rows = [pretraining.causal_lm_loss(logits[b : b + 1], ids[b : b + 1], ignore_index) for b in range(len(ids))]
    return sum(rows) / len(rows)


def off_by_none(logits: torch.Tensor, ids: torch.Tensor, ignore_index: int = -100) -> torch.Tensor:
    if ids.shape[1] < 2 or bool((ids[:, 1:] == ignore_index).all()):
        raise ValueError("nothing")
    return F.cross_entropy(logits.float().transpose(1, 2), ids, ignore_index=ignore_index)


def neighbours_by_index(ids: torch.Tensor, vocab_size: int, window: int = 2) -> torch.Tensor:
    C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    for i in range(len(ids)):
        for d in range(1, window + 1):
            C[ids[i], ids[i - d]] += 1
            if i + d < len(ids):
                C[ids[i], ids[i + d]] += 1
    return C


def by_eigenvectors(M: torch.Tensor, d: int, power: float = 0.5) -> torch.Tensor:
    squares, directions = torch.linalg.eigh(M @ M.T)
    return directions[:, :d] * squares[:d].abs().sqrt() ** power


def shares_in_place(C: torch.Tensor) -> torch.Tensor:
    P = C.double()
    P /= P.sum()
    ratio = P / (P.sum(1, keepdim=True) * P.sum(0))
    return torch.where(P > 0, ratio, 1.0).log().clamp(min=0)


def taken_out(logits: torch.Tensor, ids: torch.Tensor, ignore_index: int = -100) -> torch.Tensor:
    return torch.tensor(pretraining.causal_lm_loss(logits, ids, ignore_index).item())


# Mistakes in the forms that students give them, and right answers that only look different


@pytest.mark.parametrize(
    ("number", "function", "code", "mistake"),
    [
        (0, "train_ngram", lambda t, n: pretraining.train_ngram(t, n + 1), "one_too_long"),
        (0, "stupid_backoff", lambda w, c, k, alpha=0.4: 0.4 * pretraining.stupid_backoff(w, c, k, alpha), None),
        (1, "svd_embeddings", flipped, ""),
        (1, "svd_embeddings", flipped_columns, "of_the_columns"),
        (1, "cooccurrence", neighbours_by_index, "before_the_first"),
        (1, "svd_embeddings", by_eigenvectors, "from_small_to_large"),
        (1, "ppmi", shares_in_place, "overwrites"),
        (2, "causal_lm_loss", taken_out, "detached"),
        (2, "causal_lm_loss", item_by_item, "mean_of_means"),
        (2, "causal_lm_loss", off_by_none, "no_shift"),
    ],
)
def test_another_form(number: int, function: str, code: Callable, mistake: str | None) -> None:
    exercise = EXERCISES[number]
    report = run(exercise, exercise.solution(**{function: code}), 1)
    if mistake == "":
        assert report.passed
    else:
        assert report.first_problem is not None
        assert mistake is None or report.first_problem.mistake == mistake


@pytest.mark.parametrize("number", (1, 2))
def test_messages_are_sentences(number: int) -> None:
    exercise = EXERCISES[number]
    for mistake in exercise.mistakes:
        report = run(exercise, exercise.solution(**{mistake.function: mistake.code}), 2, exercise.public_checks)
        for result in report.results:
            assert "at []" not in result.message and "vectors is" not in result.message, result.message
            assert ", it: " not in result.message and not result.message.startswith("sure,"), result.message
