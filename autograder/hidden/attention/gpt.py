"""Hidden part of exercise 9."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.attention import gpt as public
from autograder.exercises.attention.gpt_parts import (
    CausalAttention,
    built,
    counted,
    draw_config,
    draw_ids,
    draw_state,
    gpt_with,
    loaded,
    logits_of,
    operations,
    shapes,
    weights_of,
)
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


class GPT(public.GPT):
    @check(hint="Try a model without layers, one with a single head, and the larger GPT-2s.")
    def counts_models_of_other_shapes(self, student: Student, rng: Rng) -> None:
        for changes in ({"n_layers": 1, "n_heads": 1}, {"d_model": 4 * rng.randint(9, 40), "n_heads": 4}):
            cfg = draw_config(rng)
            vars(cfg).update(changes)
            equal(student.count_params(cfg), counted(cfg), what="count_params")
        sizes = ((24, 16, 1024, 354_823_168), (36, 20, 1280, 774_030_080), (48, 25, 1600, 1_557_611_200))
        for layers, heads, width, total in rng.sample(sizes, 2):
            names = {"n_layers": layers, "n_heads": heads, "d_model": width, "dropout": 0.1}
            got = student.count_params(SimpleNamespace(**public.GPT2 | names))
            true(isinstance(got, dict) and "total" in got, 'count_params returned no dictionary with the key "total"')
            equal(got["total"], total, what=f"the total for {layers} layers of width {width}")

    @check(hint="Count what your own model holds: does count_params say the same?")
    def the_count_is_what_is_built(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng)
        loaded(student, cfg, draw_state(rng, cfg))  # the names are right and the head is tied
        with student.off_the_record():
            own = weights_of(built(student, cfg))
        held = sum(own[name].numel() for name in shapes(cfg))
        got = student.count_params(cfg)
        true(isinstance(got, dict) and set(got) == set(counted(cfg)), "count_params has other keys than it should")
        equal(got["total"], held, what="count_params' total")
        equal(sum(got[name] for name in got if name != "total"), held, what="the sum of its parts")

    @check(hint="Follow the shapes of all products by hand, for one token and for many.")
    def counts_operations_of_other_shapes(self, student: Student, rng: Rng) -> None:
        for T in (1, rng.randint(100, 5000)):
            cfg = draw_config(rng)
            cfg.n_heads, cfg.d_model = rng.choice(((1, 24), (8, 64), (5, 35)))
            close(student.flops_per_token(cfg, T), operations(cfg, T), rtol=1e-9, what=f"flops_per_token, T = {T}")
        cfg = SimpleNamespace(**public.GPT2, dropout=0.0)
        close(student.flops_per_token(cfg, 1024), 284_812_800, rtol=1e-9, what="the smallest GPT-2 with T = 1024")

    @check(points=2, hint="Try texts of length 1 and of full length, one head, and rows of a batch one by one.")
    def logits_are_right_for_texts_of_every_length(self, student: Student, rng: Rng) -> None:
        for heads, layers, lengths in ((1, 1, (1, 6)), (4, 3, (9, 2))):
            cfg = draw_config(rng)
            cfg.n_heads, cfg.n_layers, cfg.d_model, cfg.context_length = heads, layers, 8, max(lengths)
            state = draw_state(rng, cfg)
            model = loaded(student, cfg, state)
            for B, T in zip((3, 1), lengths, strict=True):
                ids = draw_ids(rng, cfg, B, T)
                what = f"the model for {B} texts of {T} tokens"
                close(model(ids), logits_of(ids, state, cfg), rtol=2e-3, atol=2e-3, what=what, dtype=False)

    @check(hint="Two fresh models differ, and dropout changes what a model in training mode says.")
    def chance_acts_where_it_should(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng, dropout=0.5)
        ids = draw_ids(rng, cfg, 4, 5)
        with student.off_the_record():
            fresh = [weights_of(built(student, cfg)) for _ in range(2)]
        name = "token_embedding.weight"
        true(all(name in own for own in fresh), f"the model has no weight {name}")
        differ = not torch.equal(*(own[name] for own in fresh))
        student.conclude("fresh models differ" if differ else "fresh models are alike")
        true(differ, "two fresh models have the same weights: they are to be drawn at random")
        model = loaded(student, cfg, draw_state(rng, cfg))
        with student.off_the_record():
            model.train()
            first, second = (a_tensor(model(ids), "the model") for _ in range(2))
        differ = not torch.equal(first, second)
        student.conclude("dropout acts" if differ else "dropout does not act")
        true(differ, "in training mode, with cfg.dropout = 0.5, two calls with the same ids gave the same logits")

    @variant
    class OwnParts:
        """Nothing but torch: attention with one matrix product for all heads, a head that is a tied nn.Linear."""

        def count_params(cfg):
            with torch.device("meta"):
                model = gpt_with()(cfg)
            found = {"token_embedding": 0, "position_embedding": 0, "attention": 0, "mlp": 0, "norms": 0, "head": 0}
            for name, p in model.named_parameters():
                found[next((part for part in found if part in name), "norms")] += p.numel()
            return {**found, "total": sum(p.numel() for p in model.parameters())}

        def flops_per_token(cfg, T):
            C, L = cfg.d_model, cfg.n_layers
            return 24 * L * C**2 + 2 * cfg.vocab_size * C + 4 * L * T * C

        class GPT(nn.Module):
            class Attention(nn.Module):
                def __init__(self, cfg):
                    super().__init__()
                    self.heads = cfg.n_heads
                    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                        setattr(self, name, nn.Linear(cfg.d_model, cfg.d_model))
                    mask = torch.full((cfg.context_length, cfg.context_length), -torch.inf).triu(1)
                    self.register_buffer("mask", mask)

                def forward(self, x):
                    B, T, C = x.shape
                    q, k, v = (f(x).view(B, T, self.heads, -1) for f in (self.q_proj, self.k_proj, self.v_proj))
                    scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(C // self.heads) + self.mask[:T, :T]
                    return self.o_proj(torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).reshape(B, T, C))

            class Layer(nn.Module):
                def __init__(self, cfg, attention):
                    super().__init__()
                    C = cfg.d_model
                    self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
                    self.attention = attention
                    self.mlp = nn.ModuleDict({"up": nn.Linear(C, 4 * C), "down": nn.Linear(4 * C, C)})
                    self.drop = nn.Dropout(getattr(cfg, "dropout", 0.0))

                def forward(self, x):
                    x = x + self.drop(self.attention(self.norm1(x)))
                    hidden = F.gelu(self.mlp["up"](self.norm2(x)), approximate="tanh")
                    return x + self.drop(self.mlp["down"](hidden))

            def __init__(self, cfg):
                super().__init__()
                self.token_embedding = nn.Embedding(cfg.vocab_size, cfg.d_model)
                self.position_embedding = nn.Embedding(cfg.context_length, cfg.d_model)
                self.drop = nn.Dropout(getattr(cfg, "dropout", 0.0))
                self.blocks = nn.Sequential(*(self.Layer(cfg, self.Attention(cfg)) for _ in range(cfg.n_layers)))
                self.final_norm = nn.LayerNorm(cfg.d_model)
                self.lm_head = nn.Linear(cfg.d_model, cfg.vocab_size, bias=False)
                self.apply(self.start)
                self.lm_head.weight = self.token_embedding.weight

            def start(self, module):
                if isinstance(module, nn.Linear | nn.Embedding):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

            def forward(self, ids):
                places = torch.arange(ids.shape[1], device=ids.device)
                x = self.drop(self.token_embedding(ids) + self.position_embedding(places))
                return self.lm_head(self.final_norm(self.blocks(x)))

    @variant
    class FromTheParts:
        """The chapter's parts, residual projections scaled, counts by the formulas with everything factored out."""

        def count_params(cfg):
            V, T, L, C = cfg.vocab_size, cfg.context_length, cfg.n_layers, cfg.d_model
            head = V * C - V * C
            parts = {"head": head, "mlp": L * C * (8 * C + 5), "attention": 4 * L * C * (C + 1)}
            parts |= {"norms": 2 * C * (2 * L + 1), "position_embedding": T * C, "token_embedding": V * C}
            parts["total"] = (V + T) * C + L * (12 * C * C + 13 * C) + 2 * C
            return parts

        def flops_per_token(cfg, T):
            D = cfg.d_model // cfg.n_heads
            per_layer = 24 * cfg.d_model**2 + sum(2 * 2 * D * T for _ in range(cfg.n_heads))
            return float(cfg.n_layers * per_layer + 2 * cfg.d_model * cfg.vocab_size)

        class GPT(nn.Module):
            def __init__(self, cfg):
                super().__init__()
                C, L = cfg.d_model, cfg.n_layers
                self.token_embedding = nn.Embedding(cfg.vocab_size, C)
                self.position_embedding = nn.Embedding(cfg.context_length, C)
                self.dropout = nn.Dropout(getattr(cfg, "dropout", 0.0))
                attend = (CausalAttention(C, cfg.n_heads, bias=True) for _ in range(L))
                self.blocks = nn.ModuleList(attention.Block(C, a, attention.MLP(C, bias=True)) for a in attend)
                self.final_norm = attention.LayerNorm(C)
                for name, p in self.named_parameters():
                    if p.ndim == 2:
                        p.data.normal_(0, 0.02 / (2 * L) ** 0.5 if "o_proj" in name or "down" in name else 0.02)
                    elif name.endswith("bias"):
                        p.data.zero_()

            def forward(self, ids):
                x = self.token_embedding.weight[ids] + self.position_embedding.weight[None, : ids.shape[1]]
                x = self.dropout(x)
                for block in self.blocks:
                    x = block(x)
                return F.linear(self.final_norm(x), self.token_embedding.weight)
