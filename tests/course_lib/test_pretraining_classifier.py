"""The quality classifier: features by hand, the optimum by its gradient, and texts that it has not seen."""

import math
import subprocess
import sys
import zlib

import numpy as np
import pytest

from course_lib.pretraining.classifier import hashed_ngrams, train_quality_classifier
from course_lib.pretraining.quality import quality_filter

PROSE = ["the", "old", "bridge", "over", "river", "was", "closed", "because", "steel", "had", "become", "tired"]
SPAM = ["buy", "cheap", "watches", "now", "best", "price", "click", "here", "free", "offer", "win", "deal"]


def texts(seed, words, others, count, length=30, share=0.7):
    """Texts of mostly one kind of words, some of the other."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(str(generator.choice(words if generator.random() < share else others)) for _ in range(length))
        for _ in range(count)
    ]


def test_features_by_hand():
    def bucket(gram):
        return zlib.crc32(gram.encode()) % 1000

    assert hashed_ngrams("A b, a", 1000, 2) == {
        bucket("a"): 2 / 7, bucket("b"): 1 / 7, bucket(","): 1 / 7,
        bucket("a b"): 1 / 7, bucket("b ,"): 1 / 7, bucket(", a"): 1 / 7,
    }  # fmt: skip
    assert hashed_ngrams("one", 10, 3).keys() == {zlib.crc32(b"one") % 10} and hashed_ngrams(" ", 10) == {}
    assert hashed_ngrams("a b c d", 1) == {0: 1.0}
    program = "from course_lib.pretraining.classifier import hashed_ngrams; print(hashed_ngrams('to be or'))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(hashed_ngrams("to be or"))


def loss_by_definition(classifier, good, bad, l2, weights=None, bias=None):
    """One document after the other, with logarithms of probabilities."""
    weights = classifier.weights if weights is None else weights
    bias = classifier.bias if bias is None else bias

    def score(text):
        features = hashed_ngrams(text, len(weights), classifier.ngrams)
        return bias + sum(weights[b] * v for b, v in features.items())

    right = sum(math.log1p(math.exp(-score(t))) for t in good) / len(good)
    wrong = sum(math.log1p(math.exp(score(t))) for t in bad) / len(bad)
    return (right + wrong) / 2 + l2 / 2 * float(weights @ weights)


@pytest.mark.parametrize("l2", [1e-2, 1e-3])
def test_training_ends_at_the_optimum(l2):
    """The loss is convex: where every derivative is 0, nothing is better. Derivatives by differences."""
    good, bad = texts(0, PROSE, SPAM, 12), texts(1, SPAM, PROSE, 5)
    classifier = train_quality_classifier(good, bad, buckets=40, l2=l2)
    at = loss_by_definition(classifier, good, bad, l2)
    for place in range(41):
        losses = []
        for step in (1e-4, -1e-4):
            weights, bias = classifier.weights.copy(), classifier.bias
            if place < 40:
                weights[place] += step
            else:
                bias += step
            losses.append(loss_by_definition(classifier, good, bad, l2, weights, bias))
        assert abs(losses[0] - losses[1]) / 2e-4 < 1e-5
        assert min(losses) >= at - 1e-9


def test_unseen_texts_are_told_apart():
    good, bad = texts(0, PROSE, SPAM, 60), texts(1, SPAM, PROSE, 60)
    classifier = train_quality_classifier(good, bad)
    scores_good = [classifier(text) for text in texts(2, PROSE, SPAM, 60)]
    scores_bad = [classifier(text) for text in texts(3, SPAM, PROSE, 60)]
    assert all(0 < score < 1 for score in scores_good + scores_bad)
    right = sum(s > 0.5 for s in scores_good) + sum(s < 0.5 for s in scores_bad)
    assert right > 110
    # Labels that say nothing about the texts teach nothing.
    mixed = texts(0, PROSE, SPAM, 30) + texts(1, SPAM, PROSE, 30)
    no_help = train_quality_classifier(mixed[::2], mixed[1::2])
    assert np.mean(scores_good) - np.mean([no_help(text) for text in texts(2, PROSE, SPAM, 60)]) > 0.2


def test_both_kinds_weigh_the_same():
    """Ten times as many bad examples do not make everything bad."""
    good, bad = texts(0, PROSE, SPAM, 10), texts(1, SPAM, PROSE, 10)
    few, many = train_quality_classifier(good, bad), train_quality_classifier(good, bad * 10)
    assert np.allclose(few.weights, many.weights, atol=1e-3) and few.bias == pytest.approx(many.bias, abs=1e-3)


def test_as_a_scorer_of_the_filter():
    classifier = train_quality_classifier(texts(0, PROSE, SPAM, 30), texts(1, SPAM, PROSE, 30))
    good, bad = texts(2, PROSE, SPAM, 10, share=0.9), texts(3, SPAM, PROSE, 10, share=0.9)
    assert quality_filter([*good, *bad], classifier, 0.55) == good
    assert 0 < classifier("") < 1


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"good": []}, "good"),
        ({"good": "text"}, "good"),
        ({"bad": []}, "bad"),
        ({"l2": 0}, "l2"),
        ({"buckets": 0}, "buckets"),
        ({"ngrams": 0}, "ngrams"),
        ({"good": [b"text"]}, "text"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        train_quality_classifier(**{"good": ["a"], "bad": ["b"], **arguments})
