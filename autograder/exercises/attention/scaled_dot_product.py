"""Exercise 2: scaled dot-product attention, with a mask, and what comes of a query that may see nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, fail
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import attention

READY_MADE = (
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.MultiheadAttention",
    "torch.nn.attention",
    "torch.nn.Transformer",
    "torch.nn.TransformerEncoderLayer",
    "torch.nn.TransformerDecoderLayer",
)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The oracle, query by query in double precision: it takes the keys it may see and never meets the others."""
    *lead, T, D = q.shape
    S = k.shape[-2]
    allowed = torch.ones(T, S, dtype=torch.bool) if mask is None else mask
    q, k, v = (x.double().reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    weights = torch.zeros(len(q), T, S, dtype=torch.float64)
    for n, rows in enumerate(allowed.expand(*lead, T, S).reshape(-1, T, S)):
        for t in range(T):
            seen = rows[t].nonzero().flatten()
            if len(seen):
                scores = (k[n, seen] * q[n, t]).sum(1) / math.sqrt(D)
                share = (scores - scores.max()).exp()
                weights[n, t, seen] = share / share.sum()
    out = torch.stack([w @ values for w, values in zip(weights, v, strict=True)])
    return out.reshape(*lead, T, -1), weights.reshape(*lead, T, S)


def attends(got: Any, want: tuple[Tensor, Tensor], dtype: torch.dtype, what: str = "", tolerance=(1e-4, 1e-5)):
    """Compare a pair (out, weights) with the oracle's; the weights may have a wider dtype than the output."""
    if not isinstance(got, tuple) or len(got) != 2:
        fail(f"it returned {type_name(got)}, expected a tuple (out, weights)", got)
    for value, right, part in zip(got, want, ("out", "weights"), strict=True):
        name = f"{part} {what}".rstrip()
        if not isinstance(value, Tensor):
            fail(f"{name} is {type_name(value)}, expected a Tensor", got)
        close(value, right, *tolerance, what=name, dtype=False)
    if got[0].dtype != dtype:
        fail(f"out has dtype {got[0].dtype}, expected {dtype}, the one of q, k and v", got)


def draw(rng: Rng, B: int, H: int, T: int, S: int, D: int, strength: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values; the scores have a spread of about ``strength``."""
    return strength * rng.normal(B, H, T, D), rng.normal(B, H, S, D), rng.normal(B, H, S, D)


def draw_uneven(rng: Rng, B: int, H: int, T: int, S: int, D: int, strength: float = 40.0):
    """Every third query agrees a little with this or that, the next disagrees strongly with all keys, the next agrees.

    So whatever stands in for a masked score is too high for the second kind, unless it is very low.
    """
    q, k, v = rng.normal(B, H, T, D), rng.normal(B, H, S, D) + 2, rng.normal(B, H, S, D)
    q[:, :, 1::3] = -strength * (1 + 0.1 * q[:, :, 1::3])
    q[:, :, 2::3] = strength * (1 + 0.1 * q[:, :, 2::3])
    return q, k, v


def draw_mask(rng: Rng, T: int, S: int) -> Tensor:
    """With two keys or more, every query may see something and not everything."""
    mask = rng.normal(T, S) > 0
    for t in range(T):
        mask[t, t % S], mask[t, (t + 1) % S] = True, False
    return mask


def plain(q, k, v, mask=None, *, scale=None, axis=-1, low=-math.inf):
    """What most mistakes have in common: right but for what is named."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, low)
    weights = torch.softmax(scores, dim=axis)
    if mask is not None:
        weights = weights.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    weights = weights.to(v.dtype)
    return weights @ v, weights


class ScaledDotProductAttention(Exercise):
    """Write softmax(q kᵀ / √D) v with a mask, and return the output together with the weights."""

    title = "Scaled dot-product attention"
    difficulty = 1
    minutes = 25
    id = "scaled_dot_product_attention"
    functions = ("scaled_dot_product_attention",)
    reference = attention
    forbid = READY_MADE
    hints = (
        "Each query asks all keys how well they fit and takes a mixture of their values. Over which of the two, "
        "queries or keys, do the weights of a mixture have to add up to 1?",
        "Convert q and k to float32 if they have half precision. Multiply q by the transposed k and divide by the "
        "root of q's last dimension. Put something very low where the mask is False, take the softmax along the last "
        "dimension, make what is masked zero, convert back and multiply by v.",
        "wide = torch.promote_types(q.dtype, torch.float32); scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / "
        "math.sqrt(q.shape[-1]); scores = scores.masked_fill(~mask, torch.finfo(wide).min); weights = "
        "torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0).to(v.dtype); return weights @ v, weights. Without a "
        "mask, leave both masked_fill out.",
    )

    @check(hint="Take the dot products 2 ln 3 and 0, divide by the root of 4, and take e to the power of the results.")
    def a_small_table_by_hand(self, student: Student, rng: Rng) -> None:
        # D = 4: the scores are ln 3 and 0 in the first row, 0 and ln 4 in the second, so 3 : 1 and 1 : 4.
        q = torch.tensor([[2 * math.log(3), 0.0, 0.0, 0.0], [0.0, 2 * math.log(4), 0.0, 0.0]])[None, None]
        v = torch.tensor([[8.0, 0.0, 1.0, 0.0], [4.0, 10.0, 1.0, 0.0]])[None, None]
        weights = torch.tensor([[0.75, 0.25], [0.2, 0.8]])[None, None]
        out = torch.tensor([[7.0, 2.5, 1.0, 0.0], [4.8, 8.0, 1.0, 0.0]])[None, None]
        got = student.scaled_dot_product_attention(q, torch.eye(4)[None, None, :2], v)
        attends(got, (out, weights), torch.float32)

    @check(hint="With q [B, H, T, D] and k [B, H, S, D], weights are [B, H, T, S] and every row of S adds up to 1.")
    def mixes_values_by_agreement(self, student: Student, rng: Rng) -> None:
        T = rng.randint(4, 5)
        for S in (T, T + 2):
            q, k, v = draw(rng, 2, 3, T, S, 6, strength=2.0)
            got = student.scaled_dot_product_attention(q, k, v)
            attends(got, attended(q, k, v), torch.float32, f"with {T} queries and {S} keys")

    @check(hint="True means: may attend. A forbidden key has weight 0 however well it agrees, and the others sum to 1.")
    def hides_what_the_mask_forbids(self, student: Student, rng: Rng) -> None:
        T, S = rng.randint(6, 7), rng.randint(8, 9)
        q, k, v = draw_uneven(rng, 2, 3, T, S, 5)
        mask = draw_mask(rng, T, S)
        got = student.scaled_dot_product_attention(q, k, v, mask)
        attends(got, attended(q, k, v, mask), torch.float32, "with a mask")

    @check(hint="A row of the mask may be False throughout. Its weights are 0, not 0 / 0, and so is its output.")
    def a_query_that_may_see_nothing_gets_zeros(self, student: Student, rng: Rng) -> None:
        T, S = rng.randint(6, 7), rng.randint(8, 9)
        q, k, v = draw_uneven(rng, 2, 3, T, S, 5)
        mask = draw_mask(rng, T, S)
        mask[rng.randrange(T)] = False
        got = student.scaled_dot_product_attention(q, k, v, mask)
        attends(got, attended(q, k, v, mask), torch.float32, "with a row that is masked throughout")

    @check(hint="Near 40 bfloat16 knows every quarter only. Convert q and k first, and the weights back at the end.")
    def half_precision_is_widened_before_the_product(self, student: Student, rng: Rng) -> None:
        # Scores of 40 and a little more or less, over three keys: what bfloat16 would round is what decides.
        q, k, v = 10 + rng.normal(2, 2, 12, 16), 1 + 0.1 * rng.normal(2, 2, 3, 16), rng.normal(2, 2, 3, 16)
        q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
        got = student.scaled_dot_product_attention(q, k, v)
        attends(got, attended(q, k, v), torch.bfloat16, "with bfloat16", tolerance=(0.01, 0.01))

    @mistake("divides by the root of d_model, the width of all heads together; it is the width D of one head")
    def scales_by_the_model_width(q, k, v, mask=None):
        return plain(q, k, v, mask, scale=(q.shape[-3] * q.shape[-1]) ** -0.5)

    @mistake("divides by D and not by its root")
    def scales_by_the_width(q, k, v, mask=None):
        return plain(q, k, v, mask, scale=1 / q.shape[-1])

    @mistake("divides by the root of the number of keys; it is the root of the last dimension, D")
    def scales_by_the_length(q, k, v, mask=None):
        return plain(q, k, v, mask, scale=k.shape[-2] ** -0.5)

    @mistake("does not divide by the root of D")
    def does_not_scale(q, k, v, mask=None):
        return plain(q, k, v, mask, scale=1.0)

    @mistake("multiplies by the root of D; it divides")
    def multiplies_by_the_root(q, k, v, mask=None):
        return plain(q, k, v, mask, scale=q.shape[-1] ** 0.5)

    @mistake("takes the softmax over the queries; the weights of one query, a row, add up to 1")
    def softmax_over_queries(q, k, v, mask=None):
        return plain(q, k, v, mask, axis=-2)

    @mistake("takes the softmax over the heads, where softmax has been given dim=1; keys are the last dimension")
    def softmax_over_heads(q, k, v, mask=None):
        return plain(q, k, v, mask, axis=1)

    @mistake("reads the mask the wrong way round: True means that the key may be seen")
    def mask_inverted(q, k, v, mask=None):
        return plain(q, k, v, None if mask is None else ~mask)

    @mistake("does not use the mask")
    def mask_unused(q, k, v, mask=None):
        return plain(q, k, v)

    @mistake("multiplies by the mask after the softmax; what is left no longer adds up to 1")
    def mask_after_softmax(q, k, v, mask=None):
        weights = plain(q, k, v)[1]
        weights = weights if mask is None else weights * mask
        return weights @ v, weights

    @mistake("sets masked scores to 0 before the softmax; e to the power of 0 is 1, so such keys still count")
    def masked_scores_are_zero(q, k, v, mask=None):
        return plain(q, k, v, mask, low=0.0)

    @mistake("adds the mask to the scores; True is 1, which makes a key likelier but forbids none")
    def mask_added(q, k, v, mask=None):
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = torch.softmax(scores if mask is None else scores + mask, -1).to(v.dtype)
        return weights @ v, weights

    @mistake("sets masked scores to a number like -30; a score that is lower still makes the masked key win")
    def mask_not_low_enough(q, k, v, mask=None):
        return plain(q, k, v, mask, low=-30.0)

    @mistake("gives nan where a query may see nothing: a softmax over nothing but -inf divides 0 by 0")
    def nothing_to_see_gives_nan(q, k, v, mask=None):
        weights = plain(q, k, v, mask)[1]
        if mask is not None:
            weights = weights.masked_fill(~mask.any(-1, keepdim=True), math.nan)
        return weights @ v, weights

    @mistake("gives the average of all values where a query may see nothing: equally low scores, equal weights")
    def nothing_to_see_gives_the_average(q, k, v, mask=None):
        weights = plain(q, k, v, mask)[1]
        if mask is not None:
            weights = weights.masked_fill(~mask.any(-1, keepdim=True), 1 / k.shape[-2])
        return weights @ v, weights

    @mistake("takes e to the power of the scores as they are; above 88 that is infinite. Subtract the row's maximum")
    def softmax_without_maximum(q, k, v, mask=None):
        wide = torch.promote_types(q.dtype, torch.float32)
        share = (q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(q.shape[-1])).exp()
        share = share if mask is None else share.masked_fill(~mask, 0.0)
        total = share.sum(-1, keepdim=True)
        weights = (share / total.masked_fill(total == 0, 1.0)).to(v.dtype)
        return weights @ v, weights

    @mistake("computes the scores in half precision; they are rounded before the softmax can weigh them")
    def scores_in_half_precision(q, k, v, mask=None):
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if mask is None:
            weights = torch.softmax(scores, -1)
        else:
            scores = scores.masked_fill(~mask, torch.finfo(q.dtype).min)
            weights = torch.softmax(scores, -1).masked_fill(~mask, 0.0)
        return weights @ v, weights
