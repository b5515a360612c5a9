"""A decoder that GPT-2, Llama and much between them are settings of: embed, mix L times, read off the next token."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_ids, require_tensor
from course_lib.attention.alibi import alibi_bias, alibi_slopes
from course_lib.attention.block import Block
from course_lib.attention.config import GPTConfig
from course_lib.attention.layer_norm import LayerNorm
from course_lib.attention.masks import make_mask
from course_lib.attention.mlp import MLP, SwiGLU
from course_lib.attention.multi_head import MultiHeadAttention
from course_lib.attention.rms_norm import RMSNorm
from course_lib.attention.rope import rope_freqs, rope_tables
from course_lib.attention.sinusoidal import sinusoidal

INITIAL_STD = 0.02
IGNORED = -100  # a target that is no target


class GPT(nn.Module):
    """A causal language model: ids [B, T] give logits [B, T, V]; with targets [B, T] their mean cross-entropy, in nats.

    `cfg` is a `GPTConfig`, or any object with its five sizes as attributes, which is then a GPT-2. Position t's logits
    are about token t + 1 and depend on tokens 0 .. t only. A target of -100 does not count. With `tied`, the head is
    the token embedding's table (Press and Wolf 2017) and there is no module `head`.
    Weights start as N(0, 0.02^2), those of the layers that add to the residual stream divided by the root of how many
    there are, biases as zero: so all tokens are about equally likely at first, and the loss is about ln V.
    ValueError for ids that are no [B, T] tensor of integers below V, or for more than `context_length` of them where
    positions are learned. The other positions have no such end.
    Source: Radford et al. 2019, section 2.3; Touvron et al. 2023, section 2.2, for the Llama settings.

    >>> model = GPT(GPTConfig(vocab_size=65, context_length=8, n_layers=2, n_heads=2, d_model=16))
    >>> ids = torch.tensor([[3, 1, 4, 1]])
    >>> model(ids).shape, model(ids, targets=ids).shape
    (torch.Size([1, 4, 65]), torch.Size([]))
    """

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg = GPTConfig.of(cfg)
        self.token_embedding = nn.Embedding(cfg.vocab_size, cfg.d_model)
        if cfg.positions == "learned":
            self.position_embedding = nn.Embedding(cfg.context_length, cfg.d_model)
        self.dropout = nn.Dropout(cfg.dropout) if cfg.dropout else None
        self.blocks = nn.ModuleList(make_block(cfg) for _ in range(cfg.n_layers))
        self.final_norm = make_norm(cfg)(cfg.d_model) if cfg.pre else None
        self.head = None if cfg.tied else nn.Linear(cfg.d_model, cfg.vocab_size, bias=False)
        self._initialise()

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return logits [B, T, V], or the mean loss if there are targets [B, T].

        `mask` (boolean, True means "may attend", [T, T] or [B, 1, T, T]) takes the place of the causal one: for a
        prefix that is seen from both sides, or for documents that must not see each other. Such documents may count
        from 0 each: `positions` [B, T] says which place a token has. Only learned and sinusoidal positions need it, the
        others ask for distances, and those are the same.
        """
        x = self._embed(ids, positions)
        how = self._attend_how(ids.shape[1], x, mask)
        for block in self.blocks:
            x = block(x, **how)
        if self.final_norm is not None:
            x = self.final_norm(x)
        logits = F.linear(x, (self.head or self.token_embedding).weight)
        if targets is None:
            return logits
        if targets.shape != ids.shape:
            raise ValueError(f"targets: expected the shape of ids, {tuple(ids.shape)}, got {tuple(targets.shape)}")
        # In float32 under half precision: a sum over V exponentials needs the digits.
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)

    def _embed(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        cfg = self.cfg
        T = require_tensor("ids", ids, "[B, T]").shape[1]
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():  # a GPU would have to be waited for
            require_ids("ids", ids, cfg.vocab_size)
        x = self.token_embedding(ids)
        if cfg.positions == "learned":
            if cfg.context_length < T:
                raise ValueError(f"ids: expected at most context_length = {cfg.context_length} in a row, got {T}")
            table = self.position_embedding.weight
            x = x + (table[:T] if positions is None else F.embedding(positions, table))
        elif cfg.positions == "sinusoidal":
            # Sines are much larger than fresh embeddings; the factor is that of Vaswani et al. 2017, section 3.4.
            table = sinusoidal(T, cfg.d_model).to(x)
            x = x * math.sqrt(cfg.d_model) + (table if positions is None else table[positions])
        return x if self.dropout is None else self.dropout(x)

    def _attend_how(self, T: int, x: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """What the attention of every block is told, made once for all of them."""
        cfg = self.cfg
        how: dict[str, Any] = {}
        if cfg.positions == "rope":
            freqs = rope_freqs(cfg.head_dim, cfg.rope_base, x.device)
            how["rotary"] = rope_tables(torch.arange(T, device=x.device), freqs)
        narrow = 0 < cfg.window < T
        if cfg.positions != "alibi" and not narrow and mask is None:
            return how | {"is_causal": True}  # the kernels know this one without a mask
        if mask is None:
            mask = make_mask(T, "sliding", window=cfg.window if narrow else T)
        mask = mask.to(x.device)
        if cfg.positions != "alibi":
            return how | {"mask": mask}
        bias = alibi_bias(T, alibi_slopes(cfg.n_heads).to(x.device))
        return {"attention_bias": torch.where(mask, bias, -torch.inf).to(x.dtype)}

    @torch.no_grad()
    def _initialise(self) -> None:
        adding = self.cfg.n_layers * (1 if self.cfg.attention_only else 2)
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                adds = name.endswith((".o_proj", ".down"))
                module.weight.normal_(0.0, INITIAL_STD / math.sqrt(adding) if adds else INITIAL_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()


class AttentionBlock(nn.Module):
    """A block without an MLP, for experiments on attention alone; otherwise as `Block`."""

    def __init__(self, attention: nn.Module, norm: nn.Module, pre: bool = True, dropout: float = 0.0):
        super().__init__()
        self.norm1 = norm
        self.attention = attention
        self.pre = pre
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        if self.pre:
            return x + self.dropout(self.attention(self.norm1(x), **kwargs))
        return self.norm1(x + self.dropout(self.attention(x, **kwargs)))


def make_norm(cfg: GPTConfig) -> Any:
    """Return the function that makes a norm of a given width."""
    if cfg.norm == "rms":
        return partial(RMSNorm, eps=cfg.norm_eps)
    return partial(LayerNorm, eps=cfg.norm_eps, bias=cfg.bias)


def make_block(cfg: GPTConfig) -> nn.Module:
    """Return one block of a GPT with this configuration.

    >>> block = make_block(GPTConfig.llama(d_model=64, n_heads=4, n_kv_heads=2, d_ff=None))
    >>> [name for name, _ in block.mlp.named_children()]
    ['gate', 'up', 'down']
    """
    attention = MultiHeadAttention(cfg.d_model, cfg.n_heads, cfg.n_kv_heads, cfg.bias, cfg.head_dim)
    if cfg.attention_only:
        return AttentionBlock(attention, make_norm(cfg)(cfg.d_model), cfg.pre, cfg.dropout)
    mlp = (SwiGLU if cfg.mlp == "swiglu" else MLP)(cfg.d_model, cfg.d_ff, cfg.bias)
    return Block(cfg.d_model, attention, mlp, cfg.pre, make_norm(cfg), cfg.dropout)
