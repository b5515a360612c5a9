"""Chapter 3, pretraining: the exercises in the notebook's reading order."""

# The order of the imports is the order of the exercises.
# ruff: isort: skip_file

from autograder.exercises.pretraining.ngram import StupidBackoff
from autograder.exercises.pretraining.vectors import Ppmi
from autograder.exercises.pretraining.loss import CausalLmLoss
from autograder.exercises.pretraining.masking import MlmMask
from autograder.exercises.pretraining.spans import SpanCorrupt
from autograder.exercises.pretraining.prefix import PrefixLmLoss
from autograder.exercises.pretraining.optimizer import AdamwStep
from autograder.exercises.pretraining.data_pipeline import Minhash
from autograder.exercises.pretraining.packing import DocumentMask
from autograder.exercises.pretraining.pretrain import Pretrain
from autograder.exercises.pretraining.precision import Accumulate
from autograder.exercises.pretraining.costs import TrainFlops
from autograder.exercises.pretraining.resume import ContinueRun
from autograder.exercises.pretraining.adapt import FinetuneClassifier
from autograder.exercises.pretraining.quiz import Quiz

CHAPTER = "03_pretraining"

__all__ = [
    "Accumulate",
    "AdamwStep",
    "CausalLmLoss",
    "ContinueRun",
    "DocumentMask",
    "FinetuneClassifier",
    "Minhash",
    "MlmMask",
    "Ppmi",
    "PrefixLmLoss",
    "Pretrain",
    "Quiz",
    "SpanCorrupt",
    "StupidBackoff",
    "TrainFlops",
]
