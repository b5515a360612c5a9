"""What the audit does not show about exercises 7 to 12: wrong types, the oracles, what is tolerated."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import pytest
from seeded import expect_no_accident, shown

from autograder.compare import CheckFailed
from autograder.exercise import Exercise, load_chapter
from autograder.exercises.tokenization.fast import LARGE_MERGES, expect_change, expect_training
from autograder.exercises.tokenization.fast_oracles import (
    bucket_merges,
    flawed_trainer,
    large_text,
    net_changes,
    recounted_merges,
    words_of,
)
from autograder.exercises.tokenization.unigram import brute_force, expect_best, random_logp
from autograder.exercises.tokenization.wordpiece import longest_pieces, random_vocab
from autograder.rng import Rng
from autograder.run import Report, run_exercise
from autograder.student import LocalBackend
from course_lib.tokenization import GPT2_PATTERN, pretokenize, train_byte_bpe

IDS = ("wordpiece_encode", "unigram_viterbi", "bits_per_byte", "embedding_params", "train_byte_bpe_fast", "fertility")
CHAPTER = load_chapter("01_tokenization")
EXERCISES = [CHAPTER.exercises[name] for name in IDS]
LARGE = "finishes_a_large_text_in_time"  # left out where many runs are wanted


def run(exercise: Exercise, code: dict[str, Any], seed: int) -> Report:
    checks = [check for check in exercise.checks if check.name != LARGE]
    return run_exercise(exercise, LocalBackend(code), checks=checks, seed=lambda check: seed * 7919 + len(check.name))


def test_the_exercises_stand_in_reading_order() -> None:
    assert list(CHAPTER.exercises)[6:12] == list(IDS)


WRONG = [None, "text", 3, -2.5, math.nan, object(), [], [None], ["a", 1], {}, {1: 2}, (), ([], {}), (["a"], None), {1}]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


# Exercise 7


def test_the_wordpiece_oracle_agrees_with_the_tokenizers_library() -> None:
    models = pytest.importorskip("tokenizers").models
    for seed in range(60):
        rng = Rng(seed)
        vocab = random_vocab(rng, "abc", 10, 4)
        model = models.WordPiece({piece: i for i, piece in enumerate(["[UNK]", *vocab])}, unk_token="[UNK]")
        for word in rng.words(10, longest=9, letters="abc"):
            assert longest_pieces(word, vocab) == [token.value for token in model.tokenize(word)], (word, vocab)


# Exercise 8


def test_every_one_of_equally_good_segmentations_is_accepted() -> None:
    logp = {"a": -2.0, "aa": -3.0}
    best = brute_force("aaa", logp)
    assert best[1] == -5.0
    for pieces in (["a", "aa"], ["aa", "a"]):
        expect_best((pieces, -5.0), "aaa", logp, best)
    for wrong in ((["a", "a", "a"], -6.0), (["aa", "a"], -4.0), (["aa"], -3.0), (["aaa"], -5.0)):
        with pytest.raises(CheckFailed):
            expect_best(wrong, "aaa", logp, best)


def test_brute_force_looks_at_every_way_to_cut() -> None:
    # With every piece allowed and equally probable, the whole text in one piece is best; without it, two pieces are.
    pieces = dict.fromkeys(("a", "b", "c", "ab", "bc", "abc"), -1.0)
    assert brute_force("abc", pieces) == (["abc"], -1.0)
    del pieces["abc"]
    assert brute_force("abc", pieces)[1] == -2.0
    assert all(set(letters) <= set(random_logp(Rng(1), letters, 5)) for letters in ("ab", "▁x"))


# Exercise 11


def test_two_oracles_and_the_plain_trainer_learn_the_same() -> None:
    for seed in range(15):
        rng = Rng(seed)
        words = rng.words(20, longest=8, letters="abc")
        text = " ".join(rng.choices(words, k=60))
        plain = recounted_merges(words_of(text), 80)
        assert plain == bucket_merges(words_of(text), 80) == train_byte_bpe(text, 256 + 80)[1]


def test_the_flawed_trainer_without_a_flaw_is_right() -> None:
    text = large_text(Rng(0))[:1500]
    vocab, merges = flawed_trainer(text, 256 + 200, GPT2_PATTERN, "")
    assert (vocab, merges) == train_byte_bpe(text, 256 + 200)


def test_net_changes_turn_the_old_counts_into_the_new() -> None:
    rng = Rng(0)
    for _ in range(50):
        ids = rng.ids(12, 1, 3)
        merged, changes = net_changes(ids, (1, 2), 9)
        counts = Counter(pairwise(ids))
        counts.update(changes)
        assert +counts == Counter(pairwise(merged)) and 0 not in changes.values()


def test_the_large_text_is_too_large_for_visiting_every_word() -> None:
    words = words_of(large_text(Rng(0)))
    merges = bucket_merges(words, LARGE_MERGES)
    assert len(merges) == LARGE_MERGES
    spelled, visited, needed = "\n".join(words), 0, 0
    for k, (left, right) in enumerate(merges):
        visited += len(spelled)
        before, spelled = spelled, spelled.replace(chr(left) + chr(right), chr(256 + k))
        needed += 10 * (len(before) - len(spelled))  # the words that a merge changes have about ten letters at first
    assert visited > 50 * needed


@pytest.mark.parametrize(
    "form",
    [
        lambda vocab, merges: (vocab, merges),
        lambda vocab, merges: [vocab, [list(pair) for pair in merges]],
        lambda vocab, merges: (dict(reversed(vocab.items())), merges),
    ],
)
def test_the_form_of_a_right_training_result_is_free(form: Callable) -> None:
    vocab, merges = train_byte_bpe("low lower lowest", 259)
    expect_training(form(vocab, merges), merges)
    for wrong in (
        (vocab, merges[:2]),
        (vocab, [*merges, (1, 2)]),
        (vocab | {258: b"low"}, merges),
        (vocab, merges[::-1]),
    ):
        with pytest.raises(CheckFailed):
            expect_training(wrong, merges)


def test_a_change_of_zero_may_be_listed() -> None:
    merged, changes = net_changes([5, 1, 2, 6], (1, 2), 9)
    expect_change((merged, changes | {(8, 8): 0}), [5, 1, 2, 6], (1, 2), 9)
    with pytest.raises(CheckFailed):
        expect_change((merged, changes | {(8, 8): 1}), [5, 1, 2, 6], (1, 2), 9)


# Mistakes in the forms that students give them


def unknown_letter_by_letter(word: str, vocab: list[str], unk: str = "[UNK]", max_chars: int = 100) -> list[str]:
    pieces, start = [], 0
    while start < len(word):
        known = [end for end in range(start + 1, len(word) + 1) if "##" * (start > 0) + word[start:end] in vocab]
        pieces.append("##" * (start > 0) + word[start : known[-1]] if known else unk)
        start = known[-1] if known else start + 1
    return pieces


def heap_of_every_count(text: str, vocab_size: int) -> tuple[dict[int, bytes], list[tuple[int, int]]]:
    words, vocab, merges = (
        [list(piece.encode()) for piece in pretokenize(text)],
        {i: bytes([i]) for i in range(256)},
        [],
    )
    counts: Counter = Counter()
    heap: list = []
    for pair in (pair for ids in words for pair in pairwise(ids)):
        counts[pair] += 1
        heappush(heap, (-counts[pair], pair))
    while heap and len(vocab) < vocab_size:
        pair = heappop(heap)[1]
        new_id = len(vocab)
        vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
        merges.append(pair)
        for k, ids in enumerate(words):
            words[k], changes = net_changes(ids, pair, new_id)
            for changed, change in changes.items():
                counts[changed] += change
                heappush(heap, (-counts[changed], changed))
    return vocab, merges


@pytest.mark.parametrize(
    ("name", "function", "code", "mistake"),
    [
        ("wordpiece_encode", "wordpiece_encode", unknown_letter_by_letter, "keeps_the_beginning"),
        ("train_byte_bpe_fast", "train_byte_bpe_fast", heap_of_every_count, "merges_a_pair_again"),
        ("fertility", "split_digits", lambda t: re.findall(r"[\d²³¹]|[^\d²³¹]+", t), "raised_digits"),
        (
            "fertility",
            "fertility",
            lambda encode, texts: len(encode("\n".join(texts))) / len("\n".join(texts).split()),
            "joins_with_spaces",
        ),
    ],
)
def test_another_form_of_a_mistake_has_its_name(name: str, function: str, code: Callable, mistake: str) -> None:
    exercise = CHAPTER.exercises[name]
    report = run(exercise, exercise.solution(**{function: code}), 1)
    assert report.first_problem is not None
    assert report.first_problem.mistake == mistake


def test_a_repeated_merge_is_called_one() -> None:
    merges = recounted_merges(words_of("low lower lowest"), 3)
    vocab, repeated = flawed_trainer("low lower lowest", 259, GPT2_PATTERN, "again")
    with pytest.raises(CheckFailed, match="was merge number 1 already"):
        expect_training((vocab, repeated), merges)
