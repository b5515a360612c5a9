"""Multi-head attention with any number of key and value heads: MHA, grouped-query and multi-query attention."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor
from course_lib.attention.masks import causal_mask
from course_lib.attention.rope import rotate_half_split
from course_lib.attention.scaled_dot_product import attention, scaled_dot_product_attention

# What turns queries and keys by their position: a function of [B, H, T, D], or (cos, sin) of shape [T, D / 2] each.
Rotary = Callable[[Tensor], Tensor] | tuple[Tensor, Tensor]


class MultiHeadAttention(nn.Module):
    """Attention in `n_heads` subspaces at once: project, split into heads, attend, join, project.

    x [B, T, C] gives [B, T, C]. Submodules q_proj, k_proj, v_proj, o_proj are nn.Linear; head h owns rows
    h D to (h + 1) D of q_proj. With `n_kv_heads` = G < n_heads, query heads h share key head h // (n_heads / G):
    grouped-query attention, and multi-query attention for G = 1. The head width D is d_model / n_heads unless given.
    ValueError for sizes that do not divide.
    Source: Vaswani et al. 2017, section 3.2.2; Shazeer 2019 (G = 1); Ainslie et al. 2023 (any G).

    >>> layer = MultiHeadAttention(16, n_heads=4, n_kv_heads=2)
    >>> layer(torch.zeros(3, 5, 16)).shape, layer.k_proj.weight.shape
    (torch.Size([3, 5, 16]), torch.Size([8, 16]))
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        bias: bool = False,
        head_dim: int | None = None,
    ):
        super().__init__()
        require_int("d_model", d_model, 1)
        require_int("n_heads", n_heads, 1)
        n_kv_heads = require_int("n_kv_heads", n_heads if n_kv_heads is None else n_kv_heads, 1)
        if n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads: expected a divisor of n_heads = {n_heads}, got {n_kv_heads}")
        if head_dim is None:
            if d_model % n_heads:
                raise ValueError(f"n_heads: expected a divisor of d_model = {d_model}, got {n_heads}")
            head_dim = d_model // n_heads
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.head_dim = require_int("head_dim", head_dim, 1)
        self.q_proj = nn.Linear(d_model, n_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(n_heads * head_dim, d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        attention_bias: Tensor | None = None,
        rotary: Rotary | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attend within x [B, T, C]; without a mask every position sees every other.

        `mask` (boolean, True means "may attend") and `attention_bias` (added to the scores, for ALiBi and the like)
        broadcast to [B, H, T, T]; a mask for each text of the batch is [B, 1, T, T]. `rotary` turns queries and keys,
        never values. `is_causal` is the causal mask, faster than handing it over.
        """
        q, k, v = self._heads(x, rotary)
        out = attention(q, k, v, mask, attention_bias, is_causal=is_causal)  # [B, H, T, D]
        return self.o_proj(_join(out))

    def _heads(self, x: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        require_tensor("x", x, "[B, T, C]")
        if x.shape[-1] != self.q_proj.in_features:
            raise ValueError(f"x: expected width {self.q_proj.in_features}, got shape {tuple(x.shape)}")
        q, k, v = (_split(proj(x), self.head_dim) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return (q, k, v) if rotary is None else (_turn(q, rotary), _turn(k, rotary), v)


def repeat_kv(x: Tensor, n_rep: int) -> Tensor:
    """Repeat every key or value head `n_rep` times in a row: [B, G, T, D] gives [B, G n_rep, T, D].

    Heads 1, 2 become 1, 1, 2, 2 and not 1, 2, 1, 2: neighbouring query heads share a key head.
    Source: Ainslie et al. 2023, section 2.2, as in the published weights of Llama 2 70B.

    >>> repeat_kv(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1), 2).flatten()
    tensor([1., 1., 2., 2.])
    """
    require_tensor("x", x, "[B, G, T, D]")
    require_int("n_rep", n_rep, 1)
    return x if n_rep == 1 else x.repeat_interleave(n_rep, dim=1)


@torch.no_grad()
def attention_weights(
    module: MultiHeadAttention,
    x: Tensor,
    mask: Tensor | None = None,
    *,
    attention_bias: Tensor | None = None,
    rotary: Rotary | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Return the weights [B, H, T, S] that `module` uses in ``module(x, mask, ...)``, for pictures; no gradients.

    >>> layer = MultiHeadAttention(8, n_heads=2)
    >>> attention_weights(layer, torch.zeros(1, 2, 8), is_causal=True)[0, 1]
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]])
    """
    q, k, _ = module._heads(x, rotary)
    k = repeat_kv(k, module.n_heads // module.n_kv_heads)
    if is_causal:
        triangle = causal_mask(x.shape[1], device=x.device)
        mask = triangle if mask is None else mask & triangle
    return scaled_dot_product_attention(q, k, k, mask, bias=attention_bias)[1]


def _split(x: Tensor, head_dim: int) -> Tensor:
    # Neighbouring channels belong to one head, so the heads are split off first and moved to the front after that.
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)  # [B, T, H D] -> [B, H, T, D]


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # [B, H, T, D] -> [B, T, H D]


def _turn(x: Tensor, rotary: Rotary) -> Tensor:
    return rotary(x) if callable(rotary) else rotate_half_split(x, *rotary)
