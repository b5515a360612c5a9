"""What a decoder costs before it is built: parameters by part, and operations per token."""

from typing import Any

from course_lib.attention._arguments import require_int
from course_lib.attention.config import GPTConfig


def count_params(cfg: Any) -> dict[str, int]:
    """Count a GPT's parameters by part, without building it; a shared table counts once.

    Keys: "token_embedding", "position_embedding", "attention" and "mlp" (over all layers, with their biases), "norms"
    (all of them), "head" (0 when it is tied to the token embedding), "total". `cfg` as for `GPT`.
    ValueError for a `cfg` that cannot be. Source: counted from the definition; compare Kaplan et al. 2020, table 1,
    which leaves out biases and norms.

    >>> count_params(GPTConfig.gpt2())["total"]
    124439808
    """
    cfg = GPTConfig.of(cfg)
    C, L, bias = cfg.d_model, cfg.n_layers, int(cfg.bias)
    wide, narrow = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim  # queries; keys or values
    projections = [(C, wide), (C, narrow), (C, narrow), (wide, C)]
    layers = [(C, cfg.d_ff), (cfg.d_ff, C)] if cfg.mlp == "gelu" else [(C, cfg.d_ff), (C, cfg.d_ff), (cfg.d_ff, C)]
    norms = L * (1 if cfg.attention_only else 2) + int(cfg.pre)
    parts = {
        "token_embedding": cfg.vocab_size * C,
        "position_embedding": cfg.context_length * C if cfg.positions == "learned" else 0,
        "attention": L * sum((n_in + bias) * n_out for n_in, n_out in projections),
        "mlp": 0 if cfg.attention_only else L * sum((n_in + bias) * n_out for n_in, n_out in layers),
        "norms": norms * C * (1 + bias if cfg.norm == "layer" else 1),
        "head": 0 if cfg.tied else cfg.vocab_size * C,
    }
    return parts | {"total": sum(parts.values())}


def flops_per_token(cfg: Any, T: int, causal: bool = False) -> float:
    """Return the operations of the matrix products in a forward pass over T tokens, divided by T.

    A multiply-add counts as 2, so every weight of a matrix costs 2 per token: the projections of the attention, the
    MLPs, and the head, tied or not. Looking up an embedding is no product; biases, norms, GELU and softmax are left
    out, as in the sources. Queries times keys and weights times values add 4 H D per layer and key. All T keys count:
    that is what a plain matrix product costs, masked or not. ``causal=True`` counts only keys that may be seen,
    (T + 1) / 2 on average. With a window it is at most that many keys. ``T=0`` leaves this term out: what is left is
    the famous "2 N". A training step costs three times as much. ValueError for a negative T.
    Source: Kaplan et al. 2020, section 2.1 (2 N, where N has neither embeddings nor head, and an attention term of
    2 n_ctx d_attn per layer, half of ours); Chowdhery et al. 2022, appendix B (6 N + 12 L H Q T for training, three
    times ours).

    >>> flops_per_token(GPTConfig.gpt2(), 0), flops_per_token(GPTConfig.gpt2(), 1024)
    (247064064, 284812800)
    """
    cfg = GPTConfig.of(cfg)
    require_int("T", T, 0)
    wide, narrow = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
    weights = 2 * cfg.d_model * (wide + narrow)
    if not cfg.attention_only:
        weights += (2 if cfg.mlp == "gelu" else 3) * cfg.d_model * cfg.d_ff
    window = min(T, cfg.window or T)
    keys: float = window
    if causal and T:
        keys -= window * (window - 1) / (2 * T)  # the first ones see fewer
    return cfg.n_layers * (2 * weights + 4 * wide * keys) + 2 * cfg.d_model * cfg.vocab_size
