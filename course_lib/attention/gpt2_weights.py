"""GPT-2's weights under the names and in the layout of transformers' ``GPT2LMHeadModel``, both ways.

Two things differ. Its linear layers are "Conv1D", which keep the matrix transposed, [in, out]. And queries, keys and
values come from one matrix, ``c_attn``, [C, 3C].
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_lib.attention.config import GPTConfig

# What we call a part of a block, what they call it; all of them have a weight and a bias.
NORMS = {"norm1": "ln_1", "norm2": "ln_2"}
LINEAR = {"attention.o_proj": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
QKV = tuple(f"attention.{name}_proj" for name in "qkv")
OLD_MASKS = (".attn.bias", ".attn.masked_bias")  # older versions saved their causal masks, too
# What a GPT-2 may say about itself that this library's GPT cannot do otherwise.
FIXED = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def gpt2_config(settings: Mapping[str, Any]) -> GPTConfig:
    """Return the configuration that the ``config.json`` of a GPT-2 describes, given as a dict; without dropout.

    ValueError for a setting that no `GPTConfig` has.

    >>> gpt2_config({"vocab_size": 50, "n_positions": 8, "n_layer": 1, "n_head": 2, "n_embd": 4}).d_ff
    16
    """
    require_settings(settings, FIXED)
    return GPTConfig(
        settings["vocab_size"],
        settings["n_positions"],
        settings["n_layer"],
        settings["n_head"],
        settings["n_embd"],
        d_ff=settings.get("n_inner"),
        tied=settings.get("tie_word_embeddings", True),
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
    )


def gpt2_settings(cfg: GPTConfig) -> dict[str, Any]:
    """Return the ``config.json`` of a GPT-2 with this configuration, as a dict; ValueError if it is not a GPT-2.

    >>> gpt2_settings(GPTConfig.gpt2())["n_embd"]
    768
    """
    style = {"norm": "layer", "mlp": "gelu", "positions": "learned", "bias": True, "pre": True, "window": 0}
    width = {"n_kv_heads": cfg.n_heads, "head_dim": cfg.d_model // cfg.n_heads}
    require_style(cfg, style | width | {"attention_only": False}, "a GPT-2")
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": cfg.vocab_size,
        "n_positions": cfg.context_length,
        "n_layer": cfg.n_layers,
        "n_head": cfg.n_heads,
        "n_embd": cfg.d_model,
        "n_inner": cfg.d_ff,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": cfg.norm_eps,
        "tie_word_embeddings": cfg.tied,
        "embd_pdrop": cfg.dropout,
        "resid_pdrop": cfg.dropout,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def gpt2_state_from_hf(state: Mapping[str, Tensor], cfg: GPTConfig) -> dict[str, Tensor]:
    """Return a copy of GPT2LMHeadModel's weights for `GPT`: renamed, turned to [out, in], c_attn in three.

    The names may lack "transformer." in front, as in the published file, and there may be buffers of old versions.
    ValueError that names a weight that is missing or left over, or its shape if that is wrong.
    """
    state = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    taken: dict[str, Tensor] = {}

    def take(name: str, *shape: int) -> Tensor:
        return take_weight(state, taken, name, shape)

    C = cfg.d_model
    ours = {
        "token_embedding.weight": take("wte.weight", cfg.vocab_size, C),
        "position_embedding.weight": take("wpe.weight", cfg.context_length, C),
        "final_norm.weight": take("ln_f.weight", C),
        "final_norm.bias": take("ln_f.bias", C),
    }
    shapes = {"attention.o_proj": (C, C), "mlp.up": (C, cfg.d_ff), "mlp.down": (cfg.d_ff, C)}  # [in, out]
    for i in range(cfg.n_layers):
        mine, theirs = f"blocks.{i}.", f"h.{i}."
        for name, other in NORMS.items():
            for kind in ("weight", "bias"):
                ours[f"{mine}{name}.{kind}"] = take(f"{theirs}{other}.{kind}", C)
        for name, other in LINEAR.items():
            ours[f"{mine}{name}.weight"] = take(f"{theirs}{other}.weight", *shapes[name]).T
            ours[f"{mine}{name}.bias"] = take(f"{theirs}{other}.bias", shapes[name][1])
        weights = take(f"{theirs}attn.c_attn.weight", C, 3 * C).T.chunk(3)
        biases = take(f"{theirs}attn.c_attn.bias", 3 * C).chunk(3)
        for name, weight, bias in zip(QKV, weights, biases, strict=True):
            ours[f"{mine}{name}.weight"], ours[f"{mine}{name}.bias"] = weight, bias
    if not cfg.tied:
        ours["head.weight"] = take("lm_head.weight", cfg.vocab_size, C)
    state = {name: tensor for name, tensor in state.items() if not name.endswith(OLD_MASKS)}
    require_nothing_left(state, taken, "lm_head.weight" if cfg.tied else "")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in ours.items()}


def gpt2_state_to_hf(state: Mapping[str, Tensor], cfg: GPTConfig) -> dict[str, Tensor]:
    """Return a copy of a GPT-2 style `GPT`'s weights for GPT2LMHeadModel; undoes `gpt2_state_from_hf`."""
    theirs = {
        "transformer.wte.weight": state["token_embedding.weight"],
        "transformer.wpe.weight": state["position_embedding.weight"],
        "transformer.ln_f.weight": state["final_norm.weight"],
        "transformer.ln_f.bias": state["final_norm.bias"],
    }
    for i in range(cfg.n_layers):
        mine, other = f"blocks.{i}.", f"transformer.h.{i}."
        for kind in ("weight", "bias"):
            for name, their in (NORMS | LINEAR).items():
                theirs[f"{other}{their}.{kind}"] = state[f"{mine}{name}.{kind}"]
            theirs[f"{other}attn.c_attn.{kind}"] = torch.cat([state[f"{mine}{name}.{kind}"] for name in QKV])
        for their in (*LINEAR.values(), "attn.c_attn"):
            theirs[f"{other}{their}.weight"] = theirs[f"{other}{their}.weight"].T
    if not cfg.tied:
        theirs["lm_head.weight"] = state["head.weight"]
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def require_settings(settings: Mapping[str, Any], fixed: Mapping[str, tuple]) -> None:
    """ValueError if a setting is there and has none of the values that it may have."""
    for name, values in fixed.items():
        if settings.get(name, values[0]) not in values:
            raise ValueError(f"settings: expected {name} = {' or '.join(map(repr, values))}, got {settings[name]!r}")


def require_style(cfg: GPTConfig, style: Mapping[str, Any], what: str) -> None:
    """ValueError if the configuration differs from the style in one of its fields."""
    for name, value in style.items():
        if getattr(cfg, name) != value:
            raise ValueError(f"cfg: expected {name} = {value!r} for {what}, got {getattr(cfg, name)!r}")


def take_weight(state: Mapping[str, Tensor], taken: dict[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    """Return a weight and note that it was taken; ValueError if it is missing or has another shape."""
    if name not in state:
        raise ValueError(f"state: expected a weight {name}, got {len(state)} weights without it")
    if state[name].shape != shape:
        raise ValueError(f"state: expected shape {shape} for {name}, got {tuple(state[name].shape)}")
    taken[name] = state[name]
    return state[name]


def require_nothing_left(state: Mapping[str, Tensor], taken: Mapping[str, Any], tied_head: str) -> None:
    """ValueError for weights that nobody took; a tied head may be there once more."""
    left = sorted(set(state) - set(taken) - {tied_head})
    if left:
        raise ValueError(f"state: expected only weights that the configuration has, got {', '.join(left[:3])} as well")
