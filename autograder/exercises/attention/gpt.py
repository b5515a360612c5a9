"""Exercise 9: a GPT from the parts, how many parameters it has and how many operations a token costs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from autograder.compare import close, equal, fail, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.gpt_parts import (
    BackwardAttention,
    built,
    counted,
    draw_config,
    draw_ids,
    draw_state,
    gpt_with,
    loaded,
    logits_of,
    operations,
)
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention

GPT2 = {"vocab_size": 50257, "context_length": 1024, "n_layers": 12, "n_heads": 12, "d_model": 768}


class GPT(Exercise):
    """Put a GPT-2 together from your own parts, and account for its parameters and operations."""

    title = "A GPT from parts"
    difficulty = 2
    minutes = 60
    functions = ("count_params", "flops_per_token", "GPT")
    reference = attention
    forbid = ("transformers", "torch.nn.Transformer", "torch.nn.TransformerEncoderLayer", "torch.nn.MultiheadAttention")
    hints = (
        "What happens to a token between its id and the logits? Write that as one line per part. And for the accounts: "
        "which tables and matrices does each of these parts own, and which of them does a token get multiplied with?",
        "GPT: token row plus position row, dropout, the blocks, the final norm, then a product with the token table. "
        "causal_attention is given above the class and brings its mask along, since your Block calls "
        "attention(x) without one. Then set all weights anew, with a small spread. Parameters: a linear layer from m "
        "to n has m n weights and n biases; a norm has 2 C. Operations: 2 for each weight that a token is multiplied "
        "with, and two products of T keys with C numbers in every layer.",
        "self.blocks = nn.ModuleList(Block(C, causal_attention(C, cfg.n_heads), MLP(C)) for _ in range(cfg.n_layers)). "
        "For every nn.Linear and nn.Embedding in self.modules(): nn.init.normal_(module.weight, std=0.02), and zeros "
        "for a bias; then o_proj and down smaller. forward returns self.final_norm(x) @ self.token_embedding.weight.T. "
        "Parameters per layer: 4 (C C + C) for attention, 8 C C + 5 C for the MLP, 4 C for two norms. Operations: "
        "2 (12 L C C + V C) + 4 L C T.",
    )

    @check(hint="List every table, matrix, bias, gain and shift of a tiny model with its shape, and add up.")
    def counts_every_parameter_once(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng)
        equal(student.count_params(cfg), counted(cfg), what="count_params")
        small = draw_config(rng)
        vars(small).update(GPT2)
        got = student.count_params(small)
        true(isinstance(got, dict) and "total" in got, 'count_params returned no dictionary with the key "total"')
        equal(got["total"], 124_439_808, what="the total for the smallest GPT-2")

    @check(hint="A product of [m, k] with [k, n] takes 2 m k n operations. Which products are there, for T tokens?")
    def counts_the_operations_of_a_token(self, student: Student, rng: Rng) -> None:
        cfg, T = draw_config(rng), rng.randint(8, 40)
        cfg.n_heads, cfg.d_model = rng.choice(((3, 12), (3, 15), (5, 20)))
        close(student.flops_per_token(cfg, T), operations(cfg, T), rtol=1e-9, what=f"flops_per_token with T = {T}")
        # Twice the keys: only one term grows.
        close(student.flops_per_token(cfg, 2 * T), operations(cfg, 2 * T), rtol=1e-9, what="the same with twice the T")

    @check(hint="The names of the weights come from the names of the attributes. The head owns no weight at all.")
    def every_weight_has_its_place_and_its_name(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng)
        model = loaded(student, cfg, draw_state(rng, cfg))
        ids = draw_ids(rng, cfg, 2, 4)
        equal(list(a_tensor(model(ids), "the model").shape), [2, 4, cfg.vocab_size], what="the shape of the logits")

    @check(hint="Which positions may token t look at, in every block? And which row does position t add, from 0 on?")
    def logits_follow_from_the_past(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng)
        T = cfg.context_length - 1
        state, ids = draw_state(rng, cfg), draw_ids(rng, cfg, 2, T)
        model = loaded(student, cfg, state)
        changed = ids.clone()
        changed[:, T - 2 :] = (changed[:, T - 2 :] + rng.randint(1, 9)) % cfg.vocab_size
        before, after = (a_tensor(model(x), "the model") for x in (ids, changed))
        shape = (2, T, cfg.vocab_size)
        true(before.shape == after.shape == shape, f"the model returned shape {tuple(before.shape)}, expected {shape}")
        same = torch.allclose(before[:, : T - 2], after[:, : T - 2], atol=1e-4, equal_nan=True)
        true(same, f"other tokens at {T - 2} and {T - 1} changed earlier logits: the model sees the future")
        close(before, logits_of(ids, state, cfg), rtol=2e-3, atol=2e-3, what="the model", dtype=False)

    @check(hint="Logits that are all nearly 0 give every token nearly the same chance. What makes yours so large?")
    def starts_with_about_equal_chances(self, student: Student, rng: Rng) -> None:
        cfg = draw_config(rng)
        cfg.vocab_size, cfg.context_length, cfg.d_model, cfg.n_heads = rng.randint(60, 90), 16, 32, 4
        ids, targets = draw_ids(rng, cfg, 3, 16), draw_ids(rng, cfg, 3, 16)
        with student.off_the_record():
            model = built(student, cfg)
            model.eval()
            logits = a_tensor(model(ids), "the model")
        if logits.shape != (3, 16, cfg.vocab_size):
            student.conclude(f"logits with {logits.ndim} dimensions")
            fail(f"the model returned shape {tuple(logits.shape)}, expected {(3, 16, cfg.vocab_size)}")
        loss, fair = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten()).item(), math.log(cfg.vocab_size)
        student.conclude("about ln V" if abs(loss - fair) < 0.5 else "far above ln V" if loss > fair else "no loss")
        message = f"a fresh model's loss is {loss:.2f}; equal chances for {cfg.vocab_size} tokens would be {fair:.2f}"
        true(abs(loss - fair) < 0.5, message)

    @check(
        hint='Not every cfg has a dropout: getattr(cfg, "dropout", 0.0). And what tells dropout that training is over?'
    )
    def no_dropout_in_evaluation_nor_where_cfg_has_none(self, student: Student, rng: Rng) -> None:
        without, half = draw_config(rng), draw_config(rng, dropout=0.5)
        del without.dropout
        for cfg, training, where in (
            (without, True, "with a cfg that has no dropout, two calls in training mode"),
            (half, False, "in evaluation mode, with cfg.dropout = 0.5, two calls"),
        ):
            model = loaded(student, cfg, draw_state(rng, cfg))
            ids = draw_ids(rng, cfg, 2, 5)
            with student.off_the_record():
                model.train(training)
                first, second = (a_tensor(model(ids), "the model") for _ in range(2))
            same = torch.equal(first, second)
            student.conclude("the same twice" if same else "not the same twice")
            true(same, f"{where} with the same ids gave different logits")

    @mistake("leaves out the table of positions", of="count_params")
    def no_position_table(cfg):
        return _recounted(cfg, position_embedding=0)

    @mistake("counts the tied head again; it is the token table, which is there already", of="count_params")
    def head_twice(cfg):
        return _recounted(cfg, head=cfg.vocab_size * cfg.d_model)

    @mistake("leaves out the biases of the linear layers", of="count_params")
    def no_biases(cfg):
        C, L = cfg.d_model, cfg.n_layers
        return _recounted(cfg, attention=4 * L * C * C, mlp=8 * L * C * C)

    @mistake("leaves out the final norm", of="count_params")
    def no_final_norm_counted(cfg):
        return _recounted(cfg, norms=4 * cfg.n_layers * cfg.d_model)

    @mistake("counts one number per channel for a norm; it has a gain and a shift", of="count_params")
    def norms_without_shift(cfg):
        return _recounted(cfg, norms=(2 * cfg.n_layers + 1) * cfg.d_model)

    @mistake("counts a single layer; there are n_layers of them", of="count_params")
    def one_layer(cfg):
        C = cfg.d_model
        return _recounted(cfg, attention=4 * (C + 1) * C, mlp=8 * C * C + 5 * C, norms=6 * C)

    @mistake("gives every head matrices of the full width; the heads share it", of="count_params")
    def every_head_full(cfg):
        return _recounted(cfg, attention=cfg.n_heads * counted(cfg)["attention"])

    @mistake("counts a multiply-add as one operation; it is a multiplication and an addition", of="flops_per_token")
    def one_per_multiply_add(cfg, T):
        return operations(cfg, T) / 2

    @mistake("forgets what attention does with the T keys: products that own no weights", of="flops_per_token")
    def no_attention_term(cfg, T):
        return operations(cfg, T) - 4 * cfg.n_layers * cfg.d_model * T

    @mistake("counts one of the two products with T keys; scores and weighted values are two", of="flops_per_token")
    def scores_only(cfg, T):
        return operations(cfg, T) - 2 * cfg.n_layers * cfg.d_model * T

    @mistake("counts the products with T keys for one head only", of="flops_per_token")
    def one_head(cfg, T):
        term = 4 * cfg.n_layers * cfg.d_model * T
        return operations(cfg, T) - term + term / cfg.n_heads

    @mistake("leaves out the head: tied or not, a token is multiplied with V rows there", of="flops_per_token")
    def no_head(cfg, T):
        return operations(cfg, T) - 2 * cfg.vocab_size * cfg.d_model

    @mistake(
        "takes every parameter twice; biases, norms and the position table are not multiplied with",
        of="flops_per_token",
    )
    def all_parameters(cfg, T):
        return 2 * counted(cfg)["total"] + 4 * cfg.n_layers * cfg.d_model * T

    @mistake("counts all T tokens together; asked is one token's share", of="flops_per_token")
    def whole_text(cfg, T):
        return operations(cfg, T) * T

    @mistake("counts a training step; the forward pass alone is a third of it", of="flops_per_token")
    def training_step(cfg, T):
        return 3 * operations(cfg, T)

    not_causal = mistake("lets tokens see what comes later; every block's attention needs the causal mask")(
        gpt_with(attend=type("Attention", (attention.MultiHeadAttention,), {}))
    )
    mask_the_wrong_way = mistake("masks the past instead of the future")(gpt_with(attend=BackwardAttention))
    no_positions = mistake("has a position table but does not add it to the tokens")(gpt_with(positions="none"))
    positions_from_one = mistake("gives the first token the second row of the position table")(
        gpt_with(positions="from 1")
    )
    same_position = mistake("adds the same row of the position table everywhere")(gpt_with(positions="last"))
    no_final_norm = mistake("leaves out the norm between the last block and the head")(gpt_with(final_norm=False))
    post_norm = mistake("builds post-norm blocks; GPT-2's norms stand before the sublayers")(gpt_with(pre=False))
    one_block_for_all = mistake("uses one and the same block in all layers; each layer has weights of its own")(
        gpt_with(one_block=True)
    )
    no_attention_biases = mistake("builds attention without biases; GPT-2 has them")(gpt_with(bias=False))
    own_head = mistake("gives the head a table of its own; here it is the token embedding's")(gpt_with(head="own"))
    head_bias = mistake("gives the head a bias; it is nothing but the token table")(gpt_with(head="bias"))
    large_start = mistake(
        "keeps torch's first weights, N(0, 1) for embeddings; with a tied head the first logits are far too large"
    )(gpt_with(small=False))
    dropout_always = mistake("drops in evaluation mode, too; nn.Dropout knows the mode, F.dropout has to be told")(
        gpt_with(dropout="always")
    )
    needs_dropout = mistake("takes cfg.dropout for granted; where cfg has no such attribute there is no dropout")(
        gpt_with(rate="cfg.dropout")
    )
    drops_by_habit = mistake("drops with some probability of its own where cfg says nothing; then it is 0")(
        gpt_with(rate="0.1 if missing")
    )
    probabilities = mistake("returns probabilities; logits are asked, the loss takes the softmax itself")(
        gpt_with(returns="probabilities")
    )
    last_place_only = mistake("returns logits for the last place only; every place predicts its next token")(
        gpt_with(returns="last")
    )


def _recounted(cfg, **parts):
    found = counted(cfg) | parts
    return found | {"total": sum(value for name, value in found.items() if name != "total")}
