"""Chapter 2, attention and architecture: the exercises in the notebook's reading order."""

# The order of the imports is the order of the exercises.
# ruff: isort: skip_file

from autograder.exercises.attention.embedding import Embed
from autograder.exercises.attention.scaled_dot_product import ScaledDotProductAttention
from autograder.exercises.attention.masks import MakeMask
from autograder.exercises.attention.multi_head import MultiHeadAttention
from autograder.exercises.attention.positions import RelativeBias
from autograder.exercises.attention.rope import ApplyRope
from autograder.exercises.attention.alibi import AlibiBias
from autograder.exercises.attention.norms import Block
from autograder.exercises.attention.gpt import GPT
from autograder.exercises.attention.flash import FlashAttention
from autograder.exercises.attention.moe import Dispatch
from autograder.exercises.attention.linear import Wkv
from autograder.exercises.attention.recurrent import GradNormVsDistance
from autograder.exercises.attention.patches import Patchify
from autograder.exercises.attention.quiz import Quiz

CHAPTER = "02_attention"

__all__ = [
    "GPT",
    "AlibiBias",
    "ApplyRope",
    "Block",
    "Dispatch",
    "Embed",
    "FlashAttention",
    "GradNormVsDistance",
    "MakeMask",
    "MultiHeadAttention",
    "Patchify",
    "Quiz",
    "RelativeBias",
    "ScaledDotProductAttention",
    "Wkv",
]
