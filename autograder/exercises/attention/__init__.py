"""Chapter 2, attention and architecture: the exercises in the notebook's reading order."""

# The order of the imports is the order of the exercises.
# ruff: isort: skip_file

from autograder.exercises.attention.positions import RelativeBias

__all__ = [
    "RelativeBias",
]
