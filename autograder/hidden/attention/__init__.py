"""Hidden checks and other correct solutions of chapter 2; never handed out."""

# ruff: isort: skip_file

from autograder.hidden.attention.positions import RelativeBias

__all__ = [
    "RelativeBias",
]
