"""Quality rules: each at its limit, from both sides; repetition against a count by character."""

import numpy as np
import pytest

from course_lib.pretraining.documents import Document
from course_lib.pretraining.quality import (
    _covered,
    c4_clean,
    gopher_quality,
    gopher_repetition,
    quality_filter,
)

WORDS = [f"{a}{b}{c}" for a in ("ba", "do", "ki") for b in ("lu", "me", "no", "ra") for c in ("st", "ng", "p", "ren")]
PROSE = (
    "The committee met on Tuesday to talk about the new bridge. Nobody had expected that so many people would come, "
    "and the chairs ran out long before the mayor began to speak. She said that the old bridge would have to close "
    "in spring, with or without a replacement, because the steel was tired. A farmer asked how his cows should cross."
)


def different(n, extra=""):
    """n different words of lower-case letters, with two stop words among them."""
    words = [WORDS[i % 48] + "abcdefghij"[i // 48 % 10] + "abcdefghij"[i // 480 % 10] for i in range(n - 2)]
    return " ".join([*words, "the", "of"]) + extra


def test_prose_is_good():
    assert gopher_quality(PROSE) == gopher_repetition(PROSE) == []


@pytest.mark.parametrize(
    "good, bad, problem",
    [
        (different(50), different(49), "fewer than 50 words"),
        # What is neither letter nor digit is no word.
        (different(50), different(49, " ~"), "fewer than 50 words"),
        ("that of " + "abc " * 98, "that of " + "ab " * 98, "2.0 characters a word"),
        (different(98, " " + "x" * 100), different(98, " " + "x" * 900), "characters a word"),
        ("#" * 10 + " " + different(100), "#" * 11 + " " + different(100), "too many #"),
        ("…" * 5 + "..." * 5 + " " + different(100), "…" * 6 + "..." * 5 + " " + different(100), "too many ellipses"),
        (
            "\n".join(["- " + different(10)] * 9 + [different(10)]),
            "\n".join(["- " + different(10)] * 10),
            "bullet points",
        ),
        (
            "\n".join([different(20) + " end..."] * 3 + [different(20)] * 7),
            "\n".join([different(20) + " end…"] * 4 + [different(20)] * 6),
            "end with an ellipsis",
        ),
        (different(80, " 1234" * 20), different(79, " 1234" * 21), "without a letter"),
        (
            different(60).replace("the", "That,").replace("of", "HAVE."),
            different(60).replace("the", "of"),
            "most common English words",
        ),
    ],
)
def test_each_rule_at_its_limit(good, bad, problem):
    assert gopher_quality(good) == []
    assert len(gopher_quality(bad)) == 1 and problem in gopher_quality(bad)[0]


def test_a_document_may_be_too_long():
    assert gopher_quality("the of " * 50_000) == ["2.5 characters a word"]
    assert gopher_quality("those of " * 50_000 + "and") == ["more than 100,000 words"]


@pytest.mark.parametrize("text", ["", "   \n", "###", "- - -\n* *"])
def test_nothing_to_judge(text):
    assert gopher_quality(text) == ["no words"]
    assert isinstance(gopher_repetition(text), list) and c4_clean(text) is None


# Repetition


def covered_by_characters(words, grams, n):
    """Mark every word that lies in an occurrence, then add up."""
    marked = [False] * len(words)
    for i in range(len(words) - n + 1):
        if tuple(words[i : i + n]) in grams:
            marked[i : i + n] = [True] * n
    return sum(len(word) for word, mark in zip(words, marked, strict=True) if mark)


def assert_covers(candidate):
    generator = np.random.default_rng(0)
    for n in (1, 2, 3, 5):
        for _ in range(30):
            words = generator.choice(["a", "bb", "ccc"], 25).tolist()
            grams = {tuple(words[i : i + n]) for i in generator.integers(0, 25 - n, 3)}
            assert candidate(words, grams, n) == covered_by_characters(words, grams, n)


def test_overlapping_occurrences_count_once():
    assert_covers(_covered)
    assert _covered([], {("a",)}, 1) == 0
    with pytest.raises(AssertionError):  # counts each occurrence in full
        assert_covers(
            lambda words, grams, n: sum(
                sum(map(len, words[i : i + n])) for i in range(len(words) - n + 1) if tuple(words[i : i + n]) in grams
            )
        )


def test_copied_lines_and_paragraphs():
    lines = [different(30).replace("a", letter) for letter in "abcdefghij"]
    assert not [p for p in gopher_repetition("\n".join(lines)) if "copi" in p]
    three_copies = gopher_repetition("\n".join([*lines[:7], *lines[:3]]))
    assert not [p for p in three_copies if "lines are copies" in p]  # 30% is not more than 30%
    assert any("of characters in copied lines" in p for p in three_copies)
    four_copies = gopher_repetition("\n".join([*lines[:6], *lines[:4]]))
    assert "40% of lines are copies" in four_copies
    assert "50% of paragraphs are copies" in gopher_repetition(f"{lines[0]}\n\n{lines[0]}")
    short = "\n".join([*lines[:5], *["ok"] * 4])
    assert "33% of lines are copies" in gopher_repetition(short)
    assert not [p for p in gopher_repetition(short) if "characters in copied lines" in p]


def test_repeated_ngrams():
    filler = different(200).split()
    once = gopher_repetition(" ".join(filler))
    assert once == []
    often = " ".join(word for chunk in range(0, 200, 4) for word in [*filler[chunk : chunk + 4], "spam", "eggs"])
    assert [p.split(" in ")[1] for p in gopher_repetition(often)] == ["the most frequent 2-gram"]
    twice = " ".join(filler + filler[:30])
    assert [p.split(" in ")[1] for p in gopher_repetition(twice)] == [f"repeated {n}-grams" for n in range(5, 11)]
    # 60 of 230 words are in repeated ones, copies and originals alike.
    assert gopher_repetition(twice)[0].startswith("26%")


# C4


@pytest.mark.parametrize(
    "text, kept",
    [
        ("One two three four five. " * 3, True),
        ("One two three four five. One two three four five", False),  # no mark at the end of the line
        ("One two three four five! Is that it? \"Yes indeed it is.\"", True),
        ("One two three four five.\nOne two three four five.", False),  # two sentences
        ("One two three four five. " * 3 + "Lorem Ipsum dolor.", False),
        ("if (x) { return; } One two three four five. " * 3, False),
        ("One two three four.\n" * 5, False),  # four words a line
        ("One two three four five...\n" * 5, False),
    ],
)  # fmt: skip
def test_c4_documents(text, kept):
    assert (c4_clean(text) is not None) is kept


def test_c4_lines():
    good = "The bridge will close in spring. It is old. So it goes, said she.”"
    text = f"Menu\n{good}\nPlease enable JavaScript to see this page.\nThis site uses cookies, as sites do.\n"
    assert c4_clean(text + "Steel gets tired over the years [12][citation needed].") == (
        good + "\nSteel gets tired over the years ."
    )


# Filter by score


def test_filter_keeps_the_upper_part():
    docs = [Document("x" * n, f"d{n}", "MIT", str(n)) for n in (5, 1, 4, 2, 3)]
    assert [len(d.text) for d in quality_filter(docs, len, 0.6)] == [5, 4, 3]
    assert quality_filter(docs, len, 0) == docs and [d.source for d in quality_filter(docs, len, 1)] == ["d5"]
    assert quality_filter([], len, 0.5) == []
    for q in (-0.1, 1.1, "half"):
        with pytest.raises(ValueError, match="q: expected"):
            quality_filter(docs, len, q)


def test_threshold_comes_from_the_reference_alone():
    train, test = ["x" * n for n in range(1, 101)], ["x" * 90, "x" * 95]
    assert quality_filter(test, len, 0.5, reference=train) == test
    assert quality_filter(test[:1], len, 0.5, reference=train) == test[:1]  # whatever else is tested
    assert quality_filter(["x"], len, 0.5, reference=train) == []
    with pytest.raises(ValueError, match="reference"):
        quality_filter(test, len, 0.5, reference=[])
