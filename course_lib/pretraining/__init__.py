"""Pretraining: objectives, optimiser, data, and a training loop that survives being killed (chapter 3)."""

from course_lib.pretraining.accumulation import accumulate, backward_by_tokens, count_targets, token_loss_sum
from course_lib.pretraining.adamw import AdamW, adamw_step, decay_groups
from course_lib.pretraining.adapt import Classifier, finetune_classifier, format_task, masked_mean
from course_lib.pretraining.batches import Batch, TokenBatches, evaluation_batches, windows
from course_lib.pretraining.bigram import BigramLM
from course_lib.pretraining.checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state, unwrap
from course_lib.pretraining.classifier import QualityClassifier, hashed_ngrams, train_quality_classifier
from course_lib.pretraining.clipping import clip_grad_norm, clip_grad_norm_, global_norm
from course_lib.pretraining.clusters import duplicate_clusters
from course_lib.pretraining.contextual import contextual_vectors
from course_lib.pretraining.corruption import mlm_mask, replace_spans, span_corrupt, span_mask
from course_lib.pretraining.costs import (
    PEAK_FLOPS,
    activation_bytes,
    mfu,
    peak_flops,
    train_flops,
    train_flops_per_token,
    train_memory_bytes,
)
from course_lib.pretraining.dataset import TokenSet, prepare_tokens, split_of, tokenizer_hash
from course_lib.pretraining.dedup import content_hash, exact_dedup
from course_lib.pretraining.discounting import absolute_discounting, continuation_counts
from course_lib.pretraining.documents import (
    Corpus,
    Document,
    huggingface_corpus,
    open_corpus,
    python_corpus,
    text_corpus,
)
from course_lib.pretraining.evaluate import bits_per_byte, continue_text
from course_lib.pretraining.hidden_states import hidden_states
from course_lib.pretraining.kneser_ney import KneserNey, kneser_ney, train_kneser_ney
from course_lib.pretraining.lsh import (
    NearDuplicates,
    UnionFind,
    choose_bands,
    detection_probability,
    lsh_candidates,
    near_dedup,
)
from course_lib.pretraining.minhash import estimate_jaccard, jaccard, minhash, minhash_shingles, shingles
from course_lib.pretraining.ngram import bits_per_token, stupid_backoff, train_ngram
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
from course_lib.pretraining.pii import PII, PrecisionRecall, find_pii, precision_recall, redact_pii
from course_lib.pretraining.precision import MasterWeights, bf16_round
from course_lib.pretraining.quality import c4_clean, gopher_quality, gopher_repetition, quality_filter
from course_lib.pretraining.resumable import continue_run
from course_lib.pretraining.schedules import lr_at, wsd_at
from course_lib.pretraining.spike_guard import GuardedRun, SpikeGuard, train_with_spike_guard
from course_lib.pretraining.tiny_gpt import held_out_loss, pretrain, sample
from course_lib.pretraining.train_config import TrainConfig
from course_lib.pretraining.train_log import TrainLog, read_log
from course_lib.pretraining.train_loop import Trainer
from course_lib.pretraining.vectors import cooccurrence, nearest, ppmi, svd_embeddings

__all__ = [
    "IGNORE",
    "PEAK_FLOPS",
    "PII",
    "AdamW",
    "Batch",
    "BigramLM",
    "Classifier",
    "Corpus",
    "Document",
    "GuardedRun",
    "KneserNey",
    "MasterWeights",
    "NearDuplicates",
    "PrecisionRecall",
    "QualityClassifier",
    "SpikeGuard",
    "TokenBatches",
    "TokenSet",
    "TrainConfig",
    "TrainLog",
    "Trainer",
    "UnionFind",
    "absolute_discounting",
    "accumulate",
    "activation_bytes",
    "adamw_step",
    "backward_by_tokens",
    "bf16_round",
    "bits_per_byte",
    "bits_per_token",
    "c4_clean",
    "causal_lm_loss",
    "choose_bands",
    "clip_grad_norm",
    "clip_grad_norm_",
    "content_hash",
    "contextual_vectors",
    "continuation_counts",
    "continue_run",
    "continue_text",
    "cooccurrence",
    "count_targets",
    "cross_attention",
    "decay_groups",
    "detection_probability",
    "document_index",
    "document_mask",
    "document_positions",
    "document_targets",
    "duplicate_clusters",
    "estimate_jaccard",
    "evaluation_batches",
    "exact_dedup",
    "find_pii",
    "finetune_classifier",
    "format_task",
    "global_norm",
    "gopher_quality",
    "gopher_repetition",
    "hashed_ngrams",
    "held_out_loss",
    "hidden_states",
    "huggingface_corpus",
    "jaccard",
    "kneser_ney",
    "load_checkpoint",
    "lr_at",
    "lsh_candidates",
    "masked_lm_loss",
    "masked_mean",
    "mfu",
    "minhash",
    "minhash_shingles",
    "mlm_mask",
    "near_dedup",
    "nearest",
    "open_corpus",
    "pack",
    "peak_flops",
    "perplexity",
    "ppmi",
    "precision_recall",
    "prefix_lm_loss",
    "prepare_tokens",
    "pretrain",
    "python_corpus",
    "quality_filter",
    "random_state",
    "read_log",
    "redact_pii",
    "replace_spans",
    "sample",
    "save_checkpoint",
    "set_random_state",
    "shingles",
    "span_corrupt",
    "span_mask",
    "split_of",
    "stupid_backoff",
    "svd_embeddings",
    "text_corpus",
    "token_loss_sum",
    "tokenizer_hash",
    "train_flops",
    "train_flops_per_token",
    "train_kneser_ney",
    "train_memory_bytes",
    "train_ngram",
    "train_quality_classifier",
    "train_with_spike_guard",
    "unwrap",
    "windows",
    "wsd_at",
]
