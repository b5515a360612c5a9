"""What exercise 9 compares with, and the parts of which its wrong models are made."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.compare import fail
from autograder.rng import Rng
from autograder.student import Remote, Student, type_name
from course_lib import attention

PARTS = ("token_embedding", "position_embedding", "attention", "mlp", "norms", "head")


def draw_config(rng: Rng, dropout: float = 0.0) -> SimpleNamespace:
    """Sizes that all differ, so that none can stand for another."""
    heads = rng.randint(2, 3)
    width = heads * rng.choice((4, 5))
    return SimpleNamespace(
        vocab_size=rng.randint(17, 29),
        context_length=rng.randint(5, 7),
        n_layers=5 - heads,
        n_heads=heads,
        d_model=width,
        dropout=dropout,
    )


def shapes(cfg: Any) -> dict[str, tuple[int, ...]]:
    """Every weight of a GPT-2 by its name; linear layers are [out, in], as torch keeps them."""
    C = cfg.d_model
    found: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (cfg.vocab_size, C),
        "position_embedding.weight": (cfg.context_length, C),
    }
    linear = {f"attention.{name}_proj": (C, C) for name in "qkvo"} | {"mlp.up": (4 * C, C), "mlp.down": (C, 4 * C)}
    for i in range(cfg.n_layers):
        for norm in ("norm1", "norm2"):
            found |= {f"blocks.{i}.{norm}.weight": (C,), f"blocks.{i}.{norm}.bias": (C,)}
        for name, shape in linear.items():
            found |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
    return found | {"final_norm.weight": (C,), "final_norm.bias": (C,)}


def counted(cfg: Any) -> dict[str, int]:
    """The oracle for the parameters: the sizes of all weights, one by one, sorted by their names."""
    parts = dict.fromkeys((*PARTS, "total"), 0)
    for name, shape in shapes(cfg).items():
        part = next((part for part in PARTS if part in name), "norms")
        parts[part] += math.prod(shape)
        parts["total"] += math.prod(shape)
    return parts


def operations(cfg: Any, T: int) -> float:
    """The oracle for the operations: all matrix products for a text of T tokens, [m, k] times [k, n] each."""
    C, D = cfg.d_model, cfg.d_model // cfg.n_heads
    products = []
    for _ in range(cfg.n_layers):
        products += [(T, C, C)] * 4 + [(T, C, 4 * C), (T, 4 * C, C)]
        products += [(T, D, T), (T, T, D)] * cfg.n_heads  # queries with keys; weights with values
    products.append((T, C, cfg.vocab_size))
    return sum(2 * m * k * n for m, k, n in products) / T


def draw_state(rng: Rng, cfg: Any) -> dict[str, Tensor]:
    """Weights large enough for attention to choose, and gains and biases that no two places share."""
    state = {}
    for name, shape in shapes(cfg).items():
        scale = 1.5 / shape[-1] ** 0.5 if len(shape) == 2 else 0.3
        state[name] = scale * rng.normal(*shape) + ("norm" in name and name.endswith("weight"))
    return state


def draw_ids(rng: Rng, cfg: Any, B: int, T: int) -> Tensor:
    return torch.tensor([rng.ids(T, 0, cfg.vocab_size - 1) for _ in range(B)])


def logits_of(ids: Tensor, state: dict[str, Tensor], cfg: Any) -> Tensor:
    """The oracle for the model: GPT-2 in float64, written out, one position of one head at a time."""
    weight = {name: tensor.double() for name, tensor in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weight[name + ".weight"].T + weight[name + ".bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weight[name + ".weight"] + weight[name + ".bias"]

    T = ids.shape[1]
    D = cfg.d_model // cfg.n_heads
    x = weight["token_embedding.weight"][ids] + weight["position_embedding.weight"][:T]
    for i in range(cfg.n_layers):
        at = f"blocks.{i}."
        y = norm(x, at + "norm1")
        q, k, v = (linear(y, f"{at}attention.{name}_proj").split(D, dim=-1) for name in "qkv")  # one per head
        heads = []
        for of_q, of_k, of_v in zip(q, k, v, strict=True):
            rows = []
            for t in range(T):
                scores = (of_k[:, : t + 1] @ of_q[:, t, :, None])[..., 0] / math.sqrt(D)  # [B, t + 1]
                rows.append((scores.softmax(-1)[..., None] * of_v[:, : t + 1]).sum(1))
            heads.append(torch.stack(rows, 1))
        x = x + linear(torch.cat(heads, -1), at + "attention.o_proj")
        y = linear(norm(x, at + "norm2"), at + "mlp.up")
        y = y * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + linear(y, at + "mlp.down")
    return (norm(x, "final_norm") @ weight["token_embedding.weight"].T).float()


def built(student: Student, cfg: Any) -> Remote:
    model = student.GPT(cfg)
    if not isinstance(model, Remote):
        fail(f"GPT(cfg) gave {type_name(model)}, expected a module", model)
    return model


def loaded(student: Student, cfg: Any, state: dict[str, Tensor]) -> Remote:
    """The student's model with these weights, in evaluation mode; fails when some of them find no place."""
    # Weights that are not replaced are random, and a tied head may have a name of its own or none.
    with student.off_the_record():
        model = built(student, cfg)
        reply = model.load_state_dict(state, strict=False)
        own = weights_of(model)
    if not isinstance(reply, tuple) or len(reply) != 2:
        fail("the model's load_state_dict does not do what an nn.Module's does")
    kind, message = _misplaced(own, state, cfg)
    student.conclude(kind)
    if message:
        fail(message)
    with student.off_the_record():
        model.eval()
    return model


def weights_of(model: Remote) -> dict[str, Tensor]:
    own = model.state_dict()
    if not isinstance(own, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in own.items()):
        fail("the model's state_dict does not return what an nn.Module's does", own)
    return own


def _misplaced(own: dict[str, Tensor], state: dict[str, Tensor], cfg: Any) -> tuple[str, str]:
    """What is wrong with the weights a model has: in words for the record, and for the student."""
    lacking = [name for name in state if name not in own]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return f"lacking {' '.join(lacking)}", f"the model has no weight {', '.join(lacking[:3])}{more}"
    table = (cfg.vocab_size, cfg.d_model)
    for name in sorted(set(own) - set(state)):
        shape = tuple(own[name].shape)
        if shape == table and not torch.equal(own[name], state["token_embedding.weight"]):
            return "a second table", f"{name} is a second table [V, C]; the head is the token embedding's table itself"
        if shape == table[:1]:
            return "a bias of the head", f"{name} has one number for each token: the head has no bias"
    return "all weights in their places", ""


class CausalAttention(attention.MultiHeadAttention):
    """Attention that brings its mask along."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, is_causal=True)


class BackwardAttention(attention.MultiHeadAttention):
    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        return super().forward(x, torch.ones(T, T, dtype=torch.bool).triu())


def gpt_with(
    attend: type = CausalAttention,
    positions: str = "added",
    head: str = "tied",
    dropout: str = "module",
    final_norm: bool = True,
    pre: bool = True,
    bias: bool = True,
    one_block: bool = False,
    small: bool = True,
    rate: str = "0 if missing",
    returns: str = "logits",
) -> type:
    """A GPT class that is right but for what the arguments say."""

    class GPT(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            C = cfg.d_model
            self.token_embedding = nn.Embedding(cfg.vocab_size, C)
            self.position_embedding = nn.Embedding(cfg.context_length, C)
            self.rate = cfg.dropout if rate == "cfg.dropout" else getattr(cfg, "dropout", float(rate.split()[0]))

            def block():
                return attention.Block(C, attend(C, cfg.n_heads, bias=bias), attention.MLP(C), pre=pre)

            self.blocks = nn.ModuleList(
                [block()] * cfg.n_layers if one_block else [block() for _ in range(cfg.n_layers)]
            )
            self.final_norm = attention.LayerNorm(C)
            if head != "tied":
                self.head = nn.Linear(C, cfg.vocab_size, bias=head == "bias")
            if head == "bias":
                self.head.weight = self.token_embedding.weight
            if small:
                for module in self.modules():
                    if isinstance(module, nn.Embedding | nn.Linear):
                        nn.init.normal_(module.weight, std=0.02)

        def forward(self, ids):
            x = self.token_embedding(ids)
            if positions == "added":
                x = x + self.position_embedding.weight[: ids.shape[1]]
            elif positions == "from 1":
                x = x + self.position_embedding.weight.roll(-1, 0)[: ids.shape[1]]
            elif positions == "last":
                x = x + self.position_embedding.weight[ids.shape[1] - 1]
            x = F.dropout(x, self.rate, training=dropout == "always" or self.training)
            for block in self.blocks:
                x = block(x)
            if final_norm:
                x = self.final_norm(x)
            logits = self.head(x) if head != "tied" else x @ self.token_embedding.weight.T
            if returns == "probabilities":
                return logits.softmax(-1)
            return logits[:, -1] if returns == "last" else logits

    return GPT
