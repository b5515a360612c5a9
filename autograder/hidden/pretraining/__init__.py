"""Hidden checks and other correct solutions of chapter 3; never handed out."""

# ruff: isort: skip_file

from autograder.hidden.pretraining.loss import CausalLmLoss
from autograder.hidden.pretraining.masking import MlmMask

__all__ = [
    "CausalLmLoss",
    "MlmMask",
]
