"""Masks: which key each query may see. True means "may attend", everywhere in this package.

Torch's own layers disagree with each other here: in `scaled_dot_product_attention` True means "attend" as well, in
`nn.MultiheadAttention` it means "leave out".
"""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int

KINDS = ("causal", "prefix", "sliding", "longformer")


def make_mask(T: int, kind: str, prefix_len: int = 0, window: int = 0, n_global: int = 0) -> Tensor:
    """Build a boolean mask [T, T] for self-attention; row i holds what the query at position i may see.

    "causal"      itself and everything before it
    "prefix"      causal, and the first `prefix_len` positions are seen by everyone, from both sides
    "sliding"     causal, and only the last `window` positions: itself and window - 1 before it
    "longformer"  sliding, and the first `n_global` positions keep seeing and being seen over any distance

    This "longformer" is for decoders: nobody looks ahead. The paper's is an encoder, whose global positions see both
    sides. ValueError for an unknown kind, for T < 1, for a negative size, and for a window below 1 where one is needed.
    Source: Raffel et al. 2020, section 3.2 (causal, prefix); Mistral 7B, section 2 (a window of W is W keys, no global
    ones); Beltagy et al. 2020, section 3.1 (global positions).

    >>> make_mask(4, "sliding", window=2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    >>> make_mask(4, "prefix", prefix_len=2).int()[:2]
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0]], dtype=torch.int32)
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    require_int("T", T, 1)
    require_int("prefix_len", prefix_len, 0)
    require_int("n_global", n_global, 0)
    require_int("window", window, 1 if kind in ("sliding", "longformer") else 0)
    query, key = torch.arange(T).unsqueeze(1), torch.arange(T)  # [T, 1] and [T] compare to [T, T]
    causal = key <= query
    if kind == "causal":
        return causal
    if kind == "prefix":
        return causal | (key < prefix_len)
    near = query - key < window
    if kind == "sliding":
        return causal & near
    return causal & (near | (key < n_global) | (query < n_global))


def causal_mask(T: int, S: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """Build a causal mask [T, S] for the last T of S positions: query i stands at position S - T + i.

    With S = T this is the usual lower triangle. With S > T the first S - T keys are in the past, as when a model goes
    on with a text whose keys are kept; with S < T the first T - S rows see nothing. The triangle touches the bottom
    right corner, as in FlashAttention from version 2.1 on; torch's ``is_causal=True`` puts it in the top left one,
    which is right for S = T only. ValueError for T < 1 or S < 1.

    >>> causal_mask(2, 4).int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    S = T if S is None else S
    require_int("T", T, 1)
    require_int("S", S, 1)
    return torch.ones(T, S, dtype=torch.bool, device=device).tril_(S - T)
