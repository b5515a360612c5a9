"""Exercise 6: the loss of a prefix language model, and the attention of a decoder to an encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining.prefix_parts import (
    Reader,
    attended,
    attention_with,
    draw_texts,
    expect_attended,
    expect_loss,
    look_at_what_the_model_got,
    loss_with,
    on_everything,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class PrefixLmLoss(Exercise):
    """Two ways to read the question before the answer: a prefix seen from both sides, and an encoder of its own."""

    title = "Prefix-LM and encoder-decoder"
    difficulty = 2
    minutes = 35
    id = "prefix_lm_loss"
    functions = ("prefix_lm_loss", "cross_attention")
    reference = pretraining
    forbid = (
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.MultiheadAttention",
        "torch.nn.Transformer",
        "torch.nn.TransformerDecoderLayer",
    )
    hints = (
        "Write 3 prefix tokens and 2 target tokens in a row. Which of the 5 places predict a token of the target? And "
        "which cells of the 5 x 5 mask differ from a causal one?",
        "ids: prefix and target side by side, padding replaced by some real token. mask: causal, or the key is in the "
        "prefix. Of the logits take places P - 1 to P + S - 2 and compare them with the target; padding does not "
        "count. cross_attention is exercise 2 of chapter 2, with no mask but that of the input's padding.",
        "place = torch.arange(P + S); mask = (place <= place[:, None]) | (place < P); logits = model(ids, mask=mask)"
        "[:, P - 1 : -1]; return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignore_index). "
        "cross_attention: scores = q_dec @ k.mT / math.sqrt(D); where enc_mask is False, -inf; softmax(-1) @ v.",
    )

    @check(points=2, hint="Place P - 1 predicts the first target token, place P + S - 2 the last. Nothing else counts.")
    def the_loss_is_about_the_target(self, student: Student, rng: Rng) -> None:
        for lengths in ([4, 4, 4], [rng.randint(5, 7)]):
            reader = Reader.draw(rng, 7)
            prefix, target = draw_texts(rng, 7, rng.randint(3, 5), lengths)
            got = student.prefix_lm_loss(reader.read, prefix, target)
            sizes = f"{tuple(prefix.shape)} prefixes and {tuple(target.shape)} targets"
            expect_loss(got, reader, prefix, target, f"the loss of {sizes}")
        reader = Reader.draw(rng, 7, dtype=torch.bfloat16)
        got = student.prefix_lm_loss(reader.read, prefix, target)
        expect_loss(got, reader, prefix, target, "the loss of logits in bfloat16")

    @check(hint="Everybody may look at the prefix, from both sides; the target may look at itself and back, not ahead.")
    def the_model_gets_the_mask_of_a_prefix(self, student: Student, rng: Rng) -> None:
        reader = Reader.draw(rng, 7)
        prefix, target = draw_texts(rng, 7, rng.randint(3, 5), [4, 4])
        got = student.prefix_lm_loss(reader.read, prefix, target)
        look_at_what_the_model_got(reader, prefix, target)
        expect_loss(got, reader, prefix, target, "the loss")

    @check(hint="-100 is no token: feed the model some real one instead, and leave the place out of the mean.")
    def padding_of_the_target_does_not_count(self, student: Student, rng: Rng) -> None:
        reader = Reader.draw(rng, 7)
        prefix, target = draw_texts(rng, 7, 3, [5, 2, 3])
        expect_loss(
            student.prefix_lm_loss(reader.read, prefix, target), reader, prefix, target, "the loss of padded targets"
        )

    @check(hint="Each query sees all of the input: no causal mask, and T need not be S. Scores are divided by sqrt(D).")
    def the_decoder_sees_the_whole_input(self, student: Student, rng: Rng) -> None:
        for T, S in ((3, 6), (5, 5), (6, 3)):
            q, k, v = rng.normal(T, 4), rng.normal(S, 4), rng.normal(S, 4)
            got = student.cross_attention(q, (k, v))
            expect_attended(got, attended(q, k, v), f"for {T} queries and {S} keys, the result")
        values = torch.tensor([[0.0], [4.0]])
        got = student.cross_attention(torch.zeros(3, 1), (torch.zeros(2, 1), values))
        expect_attended(got, torch.full((3, 1), 2.0), "for equal scores, the result")

    @check(hint="enc_mask is True for real tokens. Hide the others before the softmax, so that the rest sums to one.")
    def only_padding_of_the_input_is_hidden(self, student: Student, rng: Rng) -> None:
        for T in (2, 6):
            q, k, v = rng.normal(T, 4), rng.normal(6, 4), rng.normal(6, 4)
            real = torch.tensor([True] * 4 + [False] * 2)
            got = student.cross_attention(q, (k, v), real)
            expect_attended(got, attended(q, k, v, real), "with two places of padding, the result")

    on_the_prefix_too = mistake("counts the loss on the prefix as well; the prefix is given, nobody asks for it")(
        on_everything
    )
    prefix_is_causal = mistake(
        "keeps the prefix causal, or gives the model no mask; its tokens may see each other from both sides"
    )(loss_with(mask=lambda i, j, P: j <= i))
    everything_visible = mistake("lets everybody see everything; so the target reads its own answers")(
        loss_with(mask=lambda i, j, P: (j >= 0) & (i >= 0))
    )
    prefix_too_long = mistake("counts the prefix one too long in the mask: the first answer is seen by everybody")(
        loss_with(mask=lambda i, j, P: (j <= i) | (j <= P))
    )
    prefix_sees_the_target = mistake("lets the prefix see the target; what it knows, the target learns from it")(
        loss_with(mask=lambda i, j, P: (j <= i) | (i < P))
    )
    target_sees_the_prefix_only = mistake("hides the target's own past from it; it is written token after token")(
        loss_with(mask=lambda i, j, P: (j < P) | (i == j))
    )
    transposed_mask = mistake("transposes the mask: its rows are the places that see, its columns those that are seen")(
        loss_with(mask=lambda i, j, P: (i <= j) | (i < P))
    )
    inverted_mask = mistake("inverts the mask; True means that a place may be seen")(
        loss_with(mask=lambda i, j, P: (j > i) & (j >= P))
    )
    not_shifted = mistake("compares each target token with the logits of its own place, which has seen it")(
        loss_with(logits=lambda logits, P: logits[:, P:])
    )
    from_the_start = mistake("takes the logits from the beginning of the prefix; the target begins after P tokens")(
        loss_with(
            logits=lambda logits, P: torch.cat([logits] * 2, 1)[:, : logits.shape[1] - P],
        )
    )
    mean_of_means = mistake("averages each row first; the mean is over all target tokens together")(
        loss_with(mean=lambda losses, counted: ((losses * counted).sum(1) / counted.sum(1)).mean())
    )
    padding_counts = mistake("counts padding; target tokens equal to ignore_index are no prediction")(
        loss_with(mean=lambda losses, counted: losses.mean())
    )
    padding_in_the_mean = mistake("divides by the number of all places, padding included")(
        loss_with(mean=lambda losses, counted: (losses * counted).sum() / counted.numel())
    )
    adds_up = mistake("adds up instead of averaging")(loss_with(mean=lambda losses, counted: losses[counted].sum()))
    stays_in_half = mistake("averages in half precision; convert the logits to float32 first")(
        loss_with(widen=lambda logits: logits)
    )
    feeds_ignore_index = mistake("feeds ignore_index to the model; it knows tokens of the vocabulary only")(
        loss_with(readable=False)
    )

    @mistake("leaves out the first target token; the last place of the prefix predicts it")
    def first_token_left_out(model, prefix, target, ignore_index=-100):
        P = prefix.shape[1]
        ids = torch.cat([prefix, target.masked_fill(target == ignore_index, 0)], dim=1)
        place = torch.arange(ids.shape[1])
        logits = model(ids, mask=(place <= place[:, None]) | (place < P))[:, P:-1]
        return F.cross_entropy(logits.flatten(0, 1).float(), target[:, 1:].flatten(), ignore_index=ignore_index)

    causal = mistake("puts a causal mask on the input; the encoder has read all of it before", of="cross_attention")(
        attention_with(
            hide=lambda scores, real: (scores if real is None else scores.masked_fill(~real, -torch.inf)).masked_fill(
                torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf
            )
        )
    )
    no_scale = mistake("does not divide by sqrt(D)", of="cross_attention")(attention_with(scale=lambda q, k: 1.0))
    divides_by_d = mistake("divides by D instead of its root", of="cross_attention")(
        attention_with(scale=lambda q, k: 1 / q.shape[-1])
    )
    divides_by_the_length = mistake(
        "divides by the root of S, the number of keys; it is the root of D, the length of a key", of="cross_attention"
    )(attention_with(scale=lambda q, k: k.shape[-2] ** -0.5))
    over_the_queries = mistake("takes the softmax over the queries; it runs over the keys", of="cross_attention")(
        attention_with(dim=-2)
    )
    mask_ignored = mistake("ignores enc_mask; padding is no part of the input", of="cross_attention")(
        attention_with(hide=lambda scores, real: scores)
    )
    mask_inverted = mistake("hides the real tokens; enc_mask is True for what may be seen", of="cross_attention")(
        attention_with(hide=lambda scores, real: scores if real is None else scores.masked_fill(real, -torch.inf))
    )
    zero_scores = mistake("sets hidden scores to 0, which is a score like any other; -inf hides", of="cross_attention")(
        attention_with(hide=lambda scores, real: scores if real is None else scores.masked_fill(~real, 0.0))
    )
    mixes_keys = mistake("mixes the keys; they are for finding, the values are what is found", of="cross_attention")(
        attention_with(values=lambda k, v: k)
    )

    @mistake("takes the pair the wrong way round: keys first, then values", of="cross_attention")
    def pair_swapped(q_dec, kv_enc, enc_mask=None):
        return attention_with()(q_dec, (kv_enc[1], kv_enc[0]), enc_mask)

    @mistake("hides after the softmax; then the weights no longer sum to one", of="cross_attention")
    def hidden_after_the_softmax(q_dec, kv_enc, enc_mask=None):
        k, v = kv_enc
        weights = (q_dec @ k.transpose(-1, -2) / q_dec.shape[-1] ** 0.5).softmax(-1)
        return (weights if enc_mask is None else weights * enc_mask) @ v
