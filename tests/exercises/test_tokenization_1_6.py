"""What the audit does not show about exercises 1 to 6: other seeds, wrong types, memorised answers, the oracles."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from seeded import run

from autograder.exercise import Exercise, load_chapter
from autograder.exercises.tokenization.encoding import by_rank, draw_merges, encode_with, encoded, vocab_of
from autograder.exercises.tokenization.pairs import replaced
from autograder.exercises.tokenization.text import TABLES, misread, utf8_by_hand
from autograder.exercises.tokenization.word_bpe import HANDBOOK, SENNRICH
from autograder.rng import Rng
from autograder.run import Outcome

IDS = ("repair_mojibake", "merge", "train_bpe", "train_byte_bpe", "encode", "encode_with_special")
CHAPTER = load_chapter("01_tokenization")
EXERCISES = [CHAPTER.exercises[name] for name in IDS]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize(
    "value",
    [None, "text", 3, 2.5, object(), [], [None], [[1]], {}, {1: 2}, (), ({}, []), ({1: 2}, [3]), {1, 2}, iter([1])],
    ids=lambda value: repr(value)[:20].split(" at ")[0],
)
def test_wrong_types_are_failures_and_not_accidents(exercise: Exercise, value: Any) -> None:
    for function in exercise.functions:
        report = run(exercise, exercise.solution(**{function: lambda *args, **kwargs: value}), 1)
        failed = [result for result in report.results if result.outcome is not Outcome.PASSED]
        assert failed and not failed[0].hidden
        for result in failed:
            assert result.outcome is Outcome.FAILED, f"{result.check}: {result.outcome} {result.message}"
            assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
def test_answers_learned_by_heart_fail_every_hidden_check(exercise: Exercise) -> None:
    known: dict[str, Any] = {}

    def key(name: str, args: tuple, kwargs: dict) -> str:
        plain = ["function" if callable(arg) else sorted(arg) if isinstance(arg, set) else arg for arg in args]
        return f"{name} {plain} {sorted((k, sorted(v) if isinstance(v, set) else v) for k, v in kwargs.items())}"

    def recorded(name: str, right: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            at = key(name, args, kwargs)
            try:
                known[at] = right(*args, **kwargs)
            except ValueError as error:
                known[at] = error
            return repeat(at)

        return call

    def repeat(at: str) -> Any:
        answer = known.get(at, "never seen")
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def repeated(name: str) -> Callable:
        return lambda *args, **kwargs: repeat(key(name, args, kwargs))

    right = exercise.solution()
    assert run(exercise, {n: recorded(n, f) for n, f in right.items()}, 1, exercise.public_checks).passed
    by_heart = {name: repeated(name) for name in right}
    assert run(exercise, by_heart, 1, exercise.public_checks).passed
    # The table of exercise 4 is the same for everybody, so knowing it by heart is knowing it.
    constant = {"the_table_can_be_read_backwards"}
    for result in run(exercise, by_heart, 1, exercise.hidden_checks).results:
        assert (result.outcome is Outcome.PASSED) == (result.check in constant), result.check


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
def test_public_and_hidden_points_are_balanced(exercise: Exercise) -> None:
    public, hidden = (sum(c.points for c in checks) for checks in (exercise.public_checks, exercise.hidden_checks))
    assert 6 <= public + hidden <= 12
    assert abs(public - hidden) <= 1
    assert all(check.hint for check in exercise.checks)


def test_the_utf8_oracle_is_utf8() -> None:
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code % 97 < 2)
    assert bytes(utf8_by_hand(text)) == text.encode()
    for table in TABLES:
        assert misread(text, table).encode(table).decode() == text


def test_the_merge_oracle_agrees_with_a_direct_one() -> None:
    draw = random.Random(5)
    for _ in range(200):
        ids = [draw.randint(1, 2) for _ in range(draw.randint(0, 12))]
        pair = (draw.randint(1, 2), draw.randint(1, 2))
        direct, rest = [], list(ids)
        while rest:
            taken = 2 if tuple(rest[:2]) == pair else 1
            direct += [9] if taken == 2 else rest[:1]
            del rest[:taken]
        assert replaced(ids, pair, 9) == direct


def test_replaying_merges_equals_taking_the_lowest_rank() -> None:
    rng = Rng(11)
    for _ in range(60):
        merges = draw_merges(rng, [*b"abc"], 20)
        assert len({*vocab_of(merges).values()}) == 276
        word = rng.word(1, 25, letters="abc")
        assert encoded([word], merges) == encode_with(by_rank, word, merges, r"\w+")


@pytest.mark.parametrize("corpus", [SENNRICH, HANDBOOK])
def test_the_two_famous_corpora_start_as_counted_by_hand(corpus: dict[str, int]) -> None:
    # Sennrich: e-s, s-t and t-</w> 6 + 3 = 9 times each. The handbook: w-e in all three words, everything else less.
    counts: dict[tuple[str, str], int] = {}
    for word, frequency in corpus.items():
        symbols = [*word, "</w>"]
        for i in range(len(word)):
            counts[symbols[i], symbols[i + 1]] = counts.get((symbols[i], symbols[i + 1]), 0) + frequency
    leaders = {pair for pair, count in counts.items() if count == max(counts.values())}
    want = {("e", "s"), ("s", "t"), ("t", "</w>")} if corpus is SENNRICH else {("w", "e")}
    assert leaders == want
    first = CHAPTER.exercises["train_bpe"].reference.train_bpe(corpus, 1)
    assert first == [min(want)]
