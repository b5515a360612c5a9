"""Hidden checks and other correct solutions of chapter 2; never handed out."""

# ruff: isort: skip_file

from autograder.hidden.attention.embedding import Embed
from autograder.hidden.attention.scaled_dot_product import ScaledDotProductAttention
from autograder.hidden.attention.masks import MakeMask
from autograder.hidden.attention.multi_head import MultiHeadAttention
from autograder.hidden.attention.positions import RelativeBias
from autograder.hidden.attention.rope import ApplyRope
from autograder.hidden.attention.alibi import AlibiBias
from autograder.hidden.attention.norms import Block
from autograder.hidden.attention.gpt import GPT
from autograder.hidden.attention.flash import FlashAttention
from autograder.hidden.attention.moe import Dispatch
from autograder.hidden.attention.linear import Wkv
from autograder.hidden.attention.recurrent import GradNormVsDistance
from autograder.hidden.attention.patches import Patchify

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
    "RelativeBias",
    "ScaledDotProductAttention",
    "Wkv",
]
