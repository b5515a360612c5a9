"""A GPT-2 and its training loop as a person writes them in an afternoon: the peer without a library behind it.

The shape of the well-known small repositories: one linear layer for queries, keys and values, torch's own GELU and
LayerNorm, scaled dot-product attention, a loop of forward, backward, clip and step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import GPTConfig


class PlainBlock(nn.Module):
    """A pre-norm block."""

    def __init__(self, C: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(C, dim=2))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class PlainGPT2(nn.Module):
    """Ids and targets [B, T] give the mean loss."""

    def __init__(self, cfg: GPTConfig):
        super().__init__()
        self.tokens = nn.Embedding(cfg.vocab_size, cfg.d_model)
        self.places = nn.Embedding(cfg.context_length, cfg.d_model)
        self.blocks = nn.ModuleList(PlainBlock(cfg.d_model, cfg.n_heads) for _ in range(cfg.n_layers))
        self.ln = nn.LayerNorm(cfg.d_model)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))

    @torch.no_grad()
    def take_weights(self, state: dict[str, Tensor]) -> None:
        """Copy the weights of a GPT of this course with the same configuration."""
        self.tokens.weight.copy_(state["token_embedding.weight"])
        self.places.weight.copy_(state["position_embedding.weight"])
        for i, block in enumerate(self.blocks):
            pairs = {"ln_1": "norm1", "out": "attention.o_proj", "ln_2": "norm2", "up": "mlp.up", "down": "mlp.down"}
            for part in ("weight", "bias"):
                for mine, theirs in pairs.items():
                    getattr(getattr(block, mine), part).copy_(state[f"blocks.{i}.{theirs}.{part}"])
                joined = [state[f"blocks.{i}.attention.{name}_proj.{part}"] for name in "qkv"]
                getattr(block.qkv, part).copy_(torch.cat(joined))
        self.ln.weight.copy_(state["final_norm.weight"])
        self.ln.bias.copy_(state["final_norm.bias"])
