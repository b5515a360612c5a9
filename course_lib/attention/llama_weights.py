"""Llama's weights under the names of transformers' ``LlamaForCausalLM``, both ways: here only the names differ.

Its queries and keys are permuted for half-split RoPE already, as ours are; see `interleaved_to_half` for weights that
are not.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_lib.attention.config import GPTConfig
from course_lib.attention.gpt2_weights import require_nothing_left, require_settings, require_style, take_weight

NAMES = {
    "norm1": "input_layernorm",
    "attention.q_proj": "self_attn.q_proj",
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "attention.o_proj": "self_attn.o_proj",
    "norm2": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def llama_config(settings: Mapping[str, Any]) -> GPTConfig:
    """Return the configuration that the ``config.json`` of a Llama describes, given as a dict.

    The base of RoPE is looked for in "rope_parameters", where transformers 5 writes it, and as "rope_theta", where
    earlier versions did. ValueError for a setting that no `GPTConfig` has, such as scaled RoPE.

    >>> sizes = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> llama_config(sizes | {"intermediate_size": 24, "max_position_embeddings": 16, "rope_theta": 5e5}).rope_base
    500000.0
    """
    bias = bool(settings.get("attention_bias", False))
    require_settings({"mlp_bias": False, **settings}, {"hidden_act": ("silu",), "mlp_bias": (bias,)})
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    require_settings(rope, {"rope_type": ("default",), "type": ("default",), "partial_rotary_factor": (1.0,)})
    return GPTConfig.llama(
        vocab_size=settings["vocab_size"],
        context_length=settings["max_position_embeddings"],
        n_layers=settings["num_hidden_layers"],
        n_heads=settings["num_attention_heads"],
        n_kv_heads=settings.get("num_key_value_heads"),
        head_dim=settings.get("head_dim"),
        d_model=settings["hidden_size"],
        d_ff=settings["intermediate_size"],
        norm_eps=settings.get("rms_norm_eps", 1e-6),
        rope_base=float(rope.get("rope_theta", settings.get("rope_theta", 10000.0))),
        bias=bias,
        tied=settings.get("tie_word_embeddings", False),
    )


def llama_settings(cfg: GPTConfig) -> dict[str, Any]:
    """Return the ``config.json`` of a Llama with this configuration, as a dict; ValueError if it is not a Llama.

    >>> llama_settings(GPTConfig.llama())["rope_parameters"]
    {'rope_type': 'default', 'rope_theta': 10000.0}
    """
    style = {"norm": "rms", "mlp": "swiglu", "positions": "rope", "pre": True, "window": 0, "attention_only": False}
    require_style(cfg, style | {"dropout": 0.0}, "a Llama")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": cfg.vocab_size,
        "max_position_embeddings": cfg.context_length,
        "num_hidden_layers": cfg.n_layers,
        "num_attention_heads": cfg.n_heads,
        "num_key_value_heads": cfg.n_kv_heads,
        "head_dim": cfg.head_dim,
        "hidden_size": cfg.d_model,
        "intermediate_size": cfg.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": cfg.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_base},
        "rope_theta": cfg.rope_base,  # for readers older than rope_parameters
        "attention_bias": cfg.bias,
        "mlp_bias": cfg.bias,
        "tie_word_embeddings": cfg.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def llama_state_from_hf(state: Mapping[str, Tensor], cfg: GPTConfig) -> dict[str, Tensor]:
    """Return a copy of LlamaForCausalLM's weights for `GPT`, renamed.

    ValueError that names a weight that is missing or left over, or its shape if that is wrong.
    """
    taken: dict[str, Tensor] = {}
    ours = {mine: take_weight(state, taken, other, shape) for mine, (other, shape) in _table(cfg).items()}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("rotary_emb.inv_freq")}  # old files
    require_nothing_left(state, taken, "lm_head.weight" if cfg.tied else "")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in ours.items()}


def llama_state_to_hf(state: Mapping[str, Tensor], cfg: GPTConfig) -> dict[str, Tensor]:
    """Return a copy of a Llama style `GPT`'s weights for LlamaForCausalLM; undoes `llama_state_from_hf`."""
    table = _table(cfg)
    return {
        table[name][0]: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
    }


def _table(cfg: GPTConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """For each of our weights its name over there and its shape."""
    C, F, wide, narrow = cfg.d_model, cfg.d_ff, cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
    sizes = [(C,), (wide, C), (narrow, C), (narrow, C), (C, wide), (C,), (F, C), (F, C), (C, F)]  # as in NAMES
    table: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embedding.weight": ("model.embed_tokens.weight", (cfg.vocab_size, C)),
        "final_norm.weight": ("model.norm.weight", (C,)),
    }
    for i in range(cfg.n_layers):
        for (mine, other), size in zip(NAMES.items(), sizes, strict=True):
            table[f"blocks.{i}.{mine}.weight"] = (f"model.layers.{i}.{other}.weight", size)
            if cfg.bias and len(size) == 2:
                table[f"blocks.{i}.{mine}.bias"] = (f"model.layers.{i}.{other}.bias", size[:1])
    if not cfg.tied:
        table["head.weight"] = ("lm_head.weight", (cfg.vocab_size, C))
    return table
