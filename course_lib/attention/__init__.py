"""Attention and architecture: from the embedding table to a GPT (chapter 2)."""

from course_lib.attention.embedding import embed, embed_backward

__all__ = [
    "embed",
    "embed_backward",
]
