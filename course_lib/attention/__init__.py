"""Attention and architecture: from the embedding table to a GPT (chapter 2)."""

from course_lib.attention.accounting import count_params, flops_per_token
from course_lib.attention.alibi import alibi_bias, alibi_slopes
from course_lib.attention.block import Block
from course_lib.attention.config import GPTConfig
from course_lib.attention.embedding import embed, embed_backward
from course_lib.attention.flash import flash_attention
from course_lib.attention.gpt import GPT
from course_lib.attention.gpt2_weights import gpt2_config, gpt2_settings, gpt2_state_from_hf, gpt2_state_to_hf
from course_lib.attention.hbm import hbm_accesses
from course_lib.attention.layer_norm import LayerNorm, layer_norm, layer_norm_backward
from course_lib.attention.linear_attention import (
    feature_map,
    linear_attention_blocked,
    linear_attention_parallel,
    linear_attention_recurrent,
    linear_attention_step,
)
from course_lib.attention.llama_weights import llama_config, llama_settings, llama_state_from_hf, llama_state_to_hf
from course_lib.attention.masks import causal_mask, make_mask
from course_lib.attention.mlp import MLP, SwiGLU, gelu, silu, swiglu_width
from course_lib.attention.moe import (
    assign_slots,
    capacity,
    combine,
    dispatch,
    importance_loss,
    load_balance_loss,
    noisy_logits,
    route_topk,
    router_z_loss,
)
from course_lib.attention.moe_layer import MoE, Routing, mix_experts, mix_experts_dense
from course_lib.attention.multi_head import MultiHeadAttention, attention_weights, repeat_kv
from course_lib.attention.patches import PatchEmbedding, patchify, unpatchify
from course_lib.attention.recurrent import LSTM, TanhRNN, grad_norm_vs_distance
from course_lib.attention.relative import relative_bias
from course_lib.attention.rms_norm import RMSNorm, rms_norm, rms_norm_backward
from course_lib.attention.rope import (
    apply_rope,
    apply_rope_interleaved,
    half_to_interleaved,
    interleaved_to_half,
    rope_attention,
    rope_freqs,
    rope_tables,
    rotate_half_split,
    rotate_interleaved,
)
from course_lib.attention.rwkv import wkv, wkv_parallel, wkv_step
from course_lib.attention.scaled_dot_product import attention, attention_naive, scaled_dot_product_attention
from course_lib.attention.sinusoidal import sinusoidal
from course_lib.attention.training import learning_rate, make_optimizer, mean_loss, random_windows, train
from course_lib.attention.weights_folder import gpt_from_hf, load_safetensors, save_safetensors
from course_lib.tensor_size import largest_tensor

__all__ = [
    "GPT",
    "LSTM",
    "MLP",
    "Block",
    "GPTConfig",
    "LayerNorm",
    "MoE",
    "MultiHeadAttention",
    "PatchEmbedding",
    "RMSNorm",
    "Routing",
    "SwiGLU",
    "TanhRNN",
    "alibi_bias",
    "alibi_slopes",
    "apply_rope",
    "apply_rope_interleaved",
    "assign_slots",
    "attention",
    "attention_naive",
    "attention_weights",
    "capacity",
    "causal_mask",
    "combine",
    "count_params",
    "dispatch",
    "embed",
    "embed_backward",
    "feature_map",
    "flash_attention",
    "flops_per_token",
    "gelu",
    "gpt2_config",
    "gpt2_settings",
    "gpt2_state_from_hf",
    "gpt2_state_to_hf",
    "gpt_from_hf",
    "grad_norm_vs_distance",
    "half_to_interleaved",
    "hbm_accesses",
    "importance_loss",
    "interleaved_to_half",
    "largest_tensor",
    "layer_norm",
    "layer_norm_backward",
    "learning_rate",
    "linear_attention_blocked",
    "linear_attention_parallel",
    "linear_attention_recurrent",
    "linear_attention_step",
    "llama_config",
    "llama_settings",
    "llama_state_from_hf",
    "llama_state_to_hf",
    "load_balance_loss",
    "load_safetensors",
    "make_mask",
    "make_optimizer",
    "mean_loss",
    "mix_experts",
    "mix_experts_dense",
    "noisy_logits",
    "patchify",
    "random_windows",
    "relative_bias",
    "repeat_kv",
    "rms_norm",
    "rms_norm_backward",
    "rope_attention",
    "rope_freqs",
    "rope_tables",
    "rotate_half_split",
    "rotate_interleaved",
    "route_topk",
    "router_z_loss",
    "save_safetensors",
    "scaled_dot_product_attention",
    "silu",
    "sinusoidal",
    "swiglu_width",
    "train",
    "unpatchify",
    "wkv",
    "wkv_parallel",
    "wkv_step",
]
