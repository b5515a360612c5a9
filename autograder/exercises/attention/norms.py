"""Exercise 8: layer and RMS normalisation with their gradient, and the block in its two orders."""

from __future__ import annotations

import torch

from autograder.compare import close
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention import norms_parts as parts
from autograder.exercises.attention.norms_parts import (
    backward_parts,
    block_with,
    compare_block,
    gradients,
    mean,
    norm_over,
    normalised,
    right_post,
    right_pre,
    rms_normalised,
    rows_added,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


class Block(Exercise):
    """Normalise vectors in two ways, derive one gradient by hand, and put a block together in both orders."""

    title = "LayerNorm, RMSNorm and the block"
    difficulty = 2
    minutes = 45
    functions = ("layer_norm", "layer_norm_backward", "rms_norm", "Block")
    reference = attention
    forbid = (
        "torch.nn.functional.layer_norm",
        "torch.nn.functional.rms_norm",
        "torch.layer_norm",
        "torch.native_layer_norm",
        "torch.rms_norm",
        "torch.nn.LayerNorm",
        "torch.nn.RMSNorm",
    )
    hints = (
        "Each token's vector is normalised by itself: over which dimension of [B, T, C] do you take the mean? And in "
        "the block: which x is added to what a sublayer returns?",
        "layer_norm: subtract the mean, divide by the root of (mean square of that + eps), then gain and shift; all in "
        "float32, and back to the dtype of x at the end. Backward: with n the normalised x and h = grad_out * g, take "
        "from h its mean and n times the mean of h n, then divide as in the forward pass; dg and db are sums over all "
        "vectors. rms_norm: the same without mean and shift. Block: norm in front of the sublayer (pre) or behind the "
        "sum (post), twice.",
        "layer_norm: c = x.float() - x.float().mean(-1, keepdim=True); r = torch.rsqrt(c.square().mean(-1, "
        "keepdim=True) + eps); (c * r * g + b).to(x.dtype). Backward: n = c * r; h = grad_out * g; dx = r * (h - "
        "h.mean(-1, keepdim=True) - n * (h * n).mean(-1, keepdim=True)); dg = (grad_out * n).flatten(0, -2).sum(0). "
        "Block: x = x + self.attention(self.norm1(x)) for pre, x = self.norm1(x + self.attention(x)) for post.",
    )

    @check(hint="Mean and variance are taken over the last dimension, for each vector; the variance divides by C.")
    def layer_norm_normalises_each_vector(self, student: Student, rng: Rng) -> None:
        C = rng.randint(4, 7)
        x, g, b = 2 * rng.normal(2, 3, C) + 1, rng.normal(C) + 2, rng.normal(C)
        x[1, 2] = 3.0  # a constant vector has the variance 0
        ones, zeros = torch.ones(C), torch.zeros(C)
        what = f"x of shape [2, 3, {C}], with gain 1 and shift 0,"
        got = student.layer_norm(x, ones, zeros)
        close(got, normalised(x, ones, zeros), rtol=1e-4, atol=1e-4, what=what, dtype=False)
        eps = rng.uniform(0.2, 0.6)
        got = student.layer_norm(x, g, b, eps)
        what = f"the same with gain, shift and eps = {eps:.2f}"
        close(got, normalised(x, g, b, eps), rtol=1e-4, atol=1e-4, what=what, dtype=False)

    @check(
        hint="Try a constant vector, numbers around 3,000, and bfloat16 with its 8 significant bits: widen it first."
    )
    def layer_norm_keeps_its_digits(self, student: Student, rng: Rng) -> None:
        C = 2 * rng.randint(4, 8)
        g, b = rng.normal(C) + 2, rng.normal(C)
        constant = torch.tensor(rng.sample(range(2, 50), 6)).float().reshape(2, 3, 1).expand(2, 3, C)
        got = student.layer_norm(constant, g, b)
        close(got, b.expand(2, 3, C), atol=1e-4, what="constant vectors, which leave only the shift,", dtype=False)
        x = rng.normal(2, 3, C) + 3000
        got = student.layer_norm(x, g, b)
        close(got, normalised(x, g, b), rtol=1e-2, atol=1e-2, what="vectors of numbers around 3,000", dtype=False)
        # The mean of each row lies between two neighbouring numbers of bfloat16.
        rows = [[m + 0.5 * (k % 2) for k in rng.sample(range(C), C)] for m in rng.sample(range(64, 127), 4)]
        x, g, b = torch.tensor(rows).bfloat16(), g.bfloat16(), b.bfloat16()
        got = student.layer_norm(x, g, b)
        close(got, normalised(x, g, b), rtol=0.02, atol=0.03, what="vectors in bfloat16")

    @check(hint="Each number of x moves the mean and the variance of its vector: two terms besides the direct one.")
    def layer_norm_backward_is_the_gradient(self, student: Student, rng: Rng) -> None:
        C, eps = rng.randint(3, 6), rng.uniform(0.2, 0.6)
        x, g, grad_out = 2 * rng.normal(2, 3, C), rng.normal(C) + 2, rng.normal(2, 3, C)
        got = student.layer_norm_backward(grad_out, x, g, eps)
        want = gradients(grad_out, x, g, eps)
        what = f"the gradient for x of shape [2, 3, {C}]"
        close(got, want, rtol=1e-3, atol=1e-4, what=what, dtype=False)

    @check(hint="Divide by the root of (mean square + eps). 300 squared is more than float16 can hold: widen first.")
    def rms_norm_divides_by_the_root_mean_square(self, student: Student, rng: Rng) -> None:
        C = rng.randint(4, 7)
        x, g = 2 * rng.normal(2, 3, C) + 1, rng.normal(C) + 2
        zeros = torch.zeros(2, C)
        close(student.rms_norm(zeros, g), zeros, what="a vector of zeros", dtype=False)
        close(student.rms_norm(x, g), rms_normalised(x, g), rtol=1e-4, atol=1e-4, what="x with a gain", dtype=False)
        eps = rng.uniform(0.2, 0.6)
        got = student.rms_norm(x, g, eps)
        close(got, rms_normalised(x, g, eps), rtol=1e-4, atol=1e-4, what=f"x with eps = {eps:.2f}", dtype=False)
        x, g = (300 + 10 * x).half(), g.half()
        got = student.rms_norm(x, g)
        close(got, rms_normalised(x, g), rtol=0.01, atol=0.01, what="vectors in float16 of numbers around 300")

    @check(hint="x + attention(norm1(x)), then the same with norm2 and mlp on that sum: x itself is never normalised.")
    def pre_norm_block_adds_to_x_itself(self, student: Student, rng: Rng) -> None:
        compare_block(student, rng, pre=True)

    @check(hint="With pre=False each norm stands behind its sum: norm1(x + attention(x)), and norm2 after the MLP.")
    def post_norm_block_normalises_each_sum(self, student: Student, rng: Rng) -> None:
        compare_block(student, rng, pre=False)

    @mistake("normalises over the texts of the batch; each vector is normalised by itself", of="layer_norm")
    def over_the_batch(x, g, b, eps=1e-5):
        return norm_over(x, g, b, eps, 0)

    @mistake("normalises over time; each token's vector is normalised by itself", of="layer_norm")
    def over_time(x, g, b, eps=1e-5):
        return norm_over(x, g, b, eps, -2)

    @mistake("normalises each channel over batch and time; that is batch normalisation", of="layer_norm")
    def batch_norm(x, g, b, eps=1e-5):
        return norm_over(x, g, b, eps, tuple(range(x.ndim - 1)))

    @mistake("divides by C - 1 in the variance (torch.var does, unless told otherwise); it is C", of="layer_norm")
    def unbiased(x, g, b, eps=1e-5):
        wide = x.float()
        var, middle = torch.var_mean(wide, dim=-1, keepdim=True)
        return ((wide - middle) / (var + eps).sqrt() * g + b).to(x.dtype)

    @mistake("does not add eps; a constant vector is then divided by 0", of="layer_norm")
    def no_eps(x, g, b, eps=1e-5):
        return norm_over(x, g, b, 0.0, -1)

    @mistake("adds eps to the root; it stands under the root", of="layer_norm")
    def eps_outside(x, g, b, eps=1e-5):
        wide = x.float()
        var, middle = torch.var_mean(wide, dim=-1, correction=0, keepdim=True)
        return ((wide - middle) / (var.sqrt() + eps) * g + b).to(x.dtype)

    @mistake("always uses 1e-5 and not its argument eps", of="layer_norm")
    def fixed_eps(x, g, b, eps=1e-5):
        return attention.layer_norm(x, g, b)

    @mistake("does not subtract the mean; that is RMS normalisation", of="layer_norm")
    def mean_stays(x, g, b, eps=1e-5):
        return (attention.rms_norm(x.float(), g.float(), eps) + b).to(x.dtype)

    @mistake("adds the shift before it multiplies by the gain; the shift comes last", of="layer_norm")
    def shift_first(x, g, b, eps=1e-5):
        ones, zeros = torch.ones_like(g), torch.zeros_like(b)
        return ((attention.layer_norm(x.float(), ones.float(), zeros.float(), eps) + b) * g).to(x.dtype)

    @mistake(
        "computes the variance as mean of squares minus square of the mean; far from 0 the two are nearly equal, and "
        "their difference has no digits left",
        of="layer_norm",
    )
    def difference_of_squares(x, g, b, eps=1e-5):
        wide = x.float()
        var = wide.square().mean(-1, keepdim=True) - wide.mean(-1, keepdim=True).square()
        return ((wide - wide.mean(-1, keepdim=True)) / (var + eps).sqrt() * g + b).to(x.dtype)

    @mistake("computes in bfloat16; take x.float() first, and go back to the dtype of x at the end", of="layer_norm")
    def in_half_precision(x, g, b, eps=1e-5):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * g + b

    @mistake("returns float32 where x is bfloat16; the result has the dtype of x", of="layer_norm")
    def returns_float32(x, g, b, eps=1e-5):
        return attention.layer_norm(x.float(), g.float(), b.float(), eps)

    @mistake("lets the gradient through as if mean and variance were fixed numbers", of="layer_norm_backward")
    def statistics_fixed(grad_out, x, g, eps=1e-5):
        n, scale, h = backward_parts(grad_out, x, g, eps)
        return scale * h, rows_added(grad_out * n), rows_added(grad_out)

    @mistake("forgets in dx that each number moves the mean", of="layer_norm_backward")
    def mean_fixed(grad_out, x, g, eps=1e-5):
        n, scale, h = backward_parts(grad_out, x, g, eps)
        dx = scale * (h - n * mean(h * n))
        return dx, rows_added(grad_out * n), rows_added(grad_out)

    @mistake("forgets in dx that each number moves the variance", of="layer_norm_backward")
    def variance_fixed(grad_out, x, g, eps=1e-5):
        n, scale, h = backward_parts(grad_out, x, g, eps)
        return scale * (h - mean(h)), rows_added(grad_out * n), rows_added(grad_out)

    @mistake("multiplies by the gain at the end of dx; it belongs in front of the means", of="layer_norm_backward")
    def gain_at_the_end(grad_out, x, g, eps=1e-5):
        dx = attention.layer_norm_backward(grad_out, x, torch.ones_like(g), eps)[0]
        return dx * g, *attention.layer_norm_backward(grad_out, x, g, eps)[1:]

    @mistake("multiplies by x itself in dg; the gain multiplies the normalised x", of="layer_norm_backward")
    def gain_of_x(grad_out, x, g, eps=1e-5):
        dx, _, db = attention.layer_norm_backward(grad_out, x, g, eps)
        return dx, rows_added(grad_out * x), db

    @mistake("sums dg and db over the batch only; the sum is over all vectors, over time too", of="layer_norm_backward")
    def sums_over_the_batch(grad_out, x, g, eps=1e-5):
        n = backward_parts(grad_out, x, g, eps)[0]
        return attention.layer_norm_backward(grad_out, x, g, eps)[0], (grad_out * n).sum(0), grad_out.sum(0)

    @mistake("takes means for dg and db; each vector adds its part, they are sums", of="layer_norm_backward")
    def means_for_sums(grad_out, x, g, eps=1e-5):
        dx, dg, db = attention.layer_norm_backward(grad_out, x, g, eps)
        return dx, dg * len(g) / x.numel(), db * len(g) / x.numel()

    @mistake("always uses 1e-5 in the gradient and not its argument eps", of="layer_norm_backward")
    def fixed_eps_backward(grad_out, x, g, eps=1e-5):
        return attention.layer_norm_backward(grad_out, x, g)

    @mistake("returns the three gradients in another order; it is dx, dg, db", of="layer_norm_backward")
    def other_order(grad_out, x, g, eps=1e-5):
        dx, dg, db = attention.layer_norm_backward(grad_out, x, g, eps)
        return dg, db, dx

    @mistake("subtracts the mean; RMS normalisation only divides", of="rms_norm")
    def subtracts_the_mean(x, g, eps=1e-6):
        wide = x.float() - x.float().mean(-1, keepdim=True)
        return attention.rms_norm(wide, g.float(), eps).to(x.dtype)

    @mistake("divides by the root of the sum of squares; it is the root of their mean", of="rms_norm")
    def root_of_the_sum(x, g, eps=1e-6):
        wide = x.float()
        return (wide / (wide.square().sum(-1, keepdim=True) + eps).sqrt() * g).to(x.dtype)

    @mistake("does not add eps; a vector of zeros is then divided by 0", of="rms_norm")
    def rms_without_eps(x, g, eps=1e-6):
        wide = x.float()
        return (wide / wide.square().mean(-1, keepdim=True).sqrt() * g).to(x.dtype)

    @mistake("adds eps to the root; it stands under the root", of="rms_norm")
    def rms_eps_outside(x, g, eps=1e-6):
        wide = x.float()
        return (wide / (wide.square().mean(-1, keepdim=True).sqrt() + eps) * g).to(x.dtype)

    @mistake("always uses 1e-6 and not its argument eps", of="rms_norm")
    def rms_fixed_eps(x, g, eps=1e-6):
        return attention.rms_norm(x, g)

    @mistake("multiplies by 1 + g; that is Gemma's convention, here it is g", of="rms_norm")
    def one_plus_gain(x, g, eps=1e-6):
        return attention.rms_norm(x, 1 + g, eps)

    @mistake("squares in float16, where 300 squared is infinite; take x.float() first", of="rms_norm")
    def rms_in_half_precision(x, g, eps=1e-6):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * g

    @mistake("returns float32 where x is float16; the result has the dtype of x", of="rms_norm")
    def rms_returns_float32(x, g, eps=1e-6):
        return attention.rms_norm(x.float(), g.float(), eps)

    no_residual = mistake("returns what the sublayers give; x has to be added to it")(
        block_with(
            lambda b, x: b.mlp(b.norm2(b.attention(b.norm1(x)))), lambda b, x: b.norm2(b.mlp(b.norm1(b.attention(x))))
        )
    )
    adds_to_the_norm = mistake("normalises x and adds to that; in a pre-norm block x itself stays on its path")(
        block_with(parts.added_to_the_norm, right_post)
    )
    adds_to_the_old_x = mistake("adds the MLP's result to the block's input; so what attention gave is lost")(
        block_with(parts.second_sum_from_x, right_post)
    )
    side_by_side = mistake("runs attention and MLP side by side on the same x; the MLP works on attention's sum")(
        block_with(lambda b, x: x + b.attention(b.norm1(x)) + b.mlp(b.norm2(x)), right_post)
    )
    no_second_norm = mistake("hands the MLP the sum as it is; norm2 stands in front of it")(
        block_with(parts.second_norm_missing, right_post)
    )
    norm_behind_the_sublayer = mistake("normalises what a sublayer returns; pre-norm normalises what goes in")(
        block_with(parts.norm_behind, right_post)
    )
    one_norm = mistake("uses norm1 in both places; norm2 has gains and shifts of its own")(
        block_with(parts.one_norm_for_both, right_post)
    )
    the_mlp_first = mistake("runs the MLP before attention; it is the other way round")(
        block_with(parts.mlp_first, right_post)
    )
    always_pre = mistake("does not look at pre; with pre=False the norms stand behind the sums")(
        block_with(right_pre, right_pre)
    )
    always_post = mistake("does not look at pre; with pre=True the norms stand in front of the sublayers")(
        block_with(right_post, right_post)
    )
    the_other_way_round = mistake("has the two orders exchanged: pre=True means norms in front of the sublayers")(
        block_with(right_post, right_pre)
    )
    only_the_first_post_norm = mistake("leaves out the norm behind the MLP; post-norm has one behind each sum")(
        block_with(right_pre, parts.first_post_norm_only)
    )
    only_the_last_post_norm = mistake("leaves out the norm behind attention; post-norm has one behind each sum")(
        block_with(right_pre, parts.last_post_norm_only)
    )
    norm_inside_the_sum = mistake("normalises before x is added; post-norm normalises the sum")(
        block_with(right_pre, parts.norm_behind)
    )
