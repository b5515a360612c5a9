"""Pretraining: objectives, optimiser, data, and a training loop that survives being killed (chapter 3)."""

from course_lib.pretraining.accumulation import accumulate, backward_by_tokens, count_targets, token_loss_sum
from course_lib.pretraining.adamw import AdamW, adamw_step, decay_groups
from course_lib.pretraining.batches import Batch, TokenBatches, evaluation_batches, windows
from course_lib.pretraining.checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state, unwrap
from course_lib.pretraining.clipping import clip_grad_norm, clip_grad_norm_, global_norm
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
    "AdamW",
    "Batch",
    "TokenBatches",
    "accumulate",
    "adamw_step",
    "backward_by_tokens",
    "causal_lm_loss",
    "clip_grad_norm",
    "clip_grad_norm_",
    "count_targets",
    "cross_attention",
    "decay_groups",
    "document_index",
    "document_mask",
    "document_positions",
    "document_targets",
    "evaluation_batches",
    "global_norm",
    "load_checkpoint",
    "lr_at",
    "masked_lm_loss",
    "mlm_mask",
    "pack",
    "perplexity",
    "prefix_lm_loss",
    "random_state",
    "replace_spans",
    "save_checkpoint",
    "set_random_state",
    "span_corrupt",
    "span_mask",
    "token_loss_sum",
    "unwrap",
    "windows",
    "wsd_at",
]
