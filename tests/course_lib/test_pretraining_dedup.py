"""Exact duplicates: what counts as the same, across shards and across processes."""

import subprocess
import sys

import pytest

from course_lib.pretraining.dedup import content_hash, exact_dedup
from course_lib.pretraining.documents import Document


def assert_dedups(candidate):
    docs = ["b", "a", "b", "a\n", "  a", "a b", "a  b", "ab", "A", "", " "]
    assert candidate(docs) == ["b", "a", "a b", "ab", "A", ""]
    assert candidate([]) == []


def test_first_of_each_is_kept():
    assert_dedups(exact_dedup)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda docs: list(dict.fromkeys(docs)),  # white space counts
        lambda docs: list({"".join(doc.split()): doc for doc in docs}.values()),  # the last is kept, all space goes
        lambda docs: sorted({" ".join(doc.split()) for doc in docs}),  # the order is lost
    ],
)
def test_wrong_dedup_fails(wrong):
    with pytest.raises(AssertionError):
        assert_dedups(wrong)


def test_across_shards():
    seen = set()
    assert exact_dedup(["one", "two"], seen) == ["one", "two"]
    assert exact_dedup(["two ", "three"], seen) == ["three"]
    assert len(seen) == 3 and all(len(key) == 16 for key in seen)
    assert exact_dedup(["two"]) == ["two"]  # each call without `seen` starts anew


def test_documents_keep_what_belongs_to_them():
    docs = [Document("same", "a", "MIT", "g"), Document("same ", "b", "CC0-1.0", "h")]
    assert exact_dedup(docs) == docs[:1]


def test_hashes_are_the_same_in_another_process():
    program = "from course_lib.pretraining.dedup import content_hash; print(content_hash('to be').hex(), hash('to be'))"
    outs = {
        seed: subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout.split()
        for seed in ("1", "2")
    }
    assert outs["1"][0] == outs["2"][0] == content_hash("to be").hex()
    assert outs["1"][1] != outs["2"][1]  # Python's own hash would not have done
    assert content_hash("half \ud800 a pair") != content_hash("half a pair")
    with pytest.raises(ValueError, match="text"):
        content_hash(b"to be")
