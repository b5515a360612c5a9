"""Pretraining: objectives, optimiser, data, and a training loop that survives being killed (chapter 3)."""

from course_lib.pretraining.batches import Batch, TokenBatches, evaluation_batches, windows
from course_lib.pretraining.corruption import mlm_mask, replace_spans, span_corrupt, span_mask
from course_lib.pretraining.objectives import (
    causal_lm_loss,
    cross_attention,
    masked_lm_loss,
    perplexity,
    prefix_lm_loss,
)
from course_lib.pretraining.packing import (
    IGNORE,
    document_index,
    document_mask,
    document_positions,
    document_targets,
    pack,
)
from course_lib.pretraining.schedules import lr_at, wsd_at

__all__ = [
    "IGNORE",
    "Batch",
    "TokenBatches",
    "causal_lm_loss",
    "cross_attention",
    "document_index",
    "document_mask",
    "document_positions",
    "document_targets",
    "evaluation_batches",
    "lr_at",
    "masked_lm_loss",
    "mlm_mask",
    "pack",
    "perplexity",
    "prefix_lm_loss",
    "replace_spans",
    "span_corrupt",
    "span_mask",
    "windows",
    "wsd_at",
]
