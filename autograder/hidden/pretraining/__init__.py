"""Hidden checks and other correct solutions of chapter 3; never handed out."""

# ruff: isort: skip_file

from autograder.hidden.pretraining.ngram import StupidBackoff
from autograder.hidden.pretraining.vectors import Ppmi
from autograder.hidden.pretraining.loss import CausalLmLoss
from autograder.hidden.pretraining.masking import MlmMask
from autograder.hidden.pretraining.spans import SpanCorrupt
from autograder.hidden.pretraining.prefix import PrefixLmLoss
from autograder.hidden.pretraining.optimizer import AdamwStep
from autograder.hidden.pretraining.data_pipeline import Minhash
from autograder.hidden.pretraining.packing import DocumentMask
from autograder.hidden.pretraining.pretrain import Pretrain
from autograder.hidden.pretraining.precision import Accumulate
from autograder.hidden.pretraining.costs import TrainFlops
from autograder.hidden.pretraining.resume import ContinueRun
from autograder.hidden.pretraining.adapt import FinetuneClassifier

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
    "SpanCorrupt",
    "StupidBackoff",
    "TrainFlops",
]
