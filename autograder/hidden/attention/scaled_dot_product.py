"""Hidden checks of exercise 2, and other ways to solve it."""

from __future__ import annotations

import math

import torch

from autograder.compare import close, true
from autograder.exercise import check, variant
from autograder.exercises.attention import scaled_dot_product as public
from autograder.exercises.attention.scaled_dot_product import attended, attends, draw, draw_mask, draw_uneven
from autograder.rng import Rng
from autograder.student import Student


class ScaledDotProductAttention(public.ScaledDotProductAttention):
    @check(hint="Try one query, one key, one head, a width of 1, and a mask for each text: [B, 1, T, S].")
    def works_for_all_shapes_and_masks(self, student: Student, rng: Rng) -> None:
        for T, S in ((1, rng.randint(3, 6)), (rng.randint(3, 6), 1), (rng.randint(3, 6), rng.randint(2, 6))):
            B, H, D = rng.randint(2, 3), rng.randint(2, 3), rng.randint(7, 10)
            q, k, v = draw(rng, B, H, T, S, D)
            what = f"with B={B}, H={H}, T={T}, S={S}, D={D}"
            attends(student.scaled_dot_product_attention(q, k, v), attended(q, k, v), torch.float32, what)
            mask = torch.stack([draw_mask(rng, T, S) for _ in range(B)])[:, None]
            got = student.scaled_dot_product_attention(q, k, v, mask)
            attends(got, attended(q, k, v, mask), torch.float32, what + " and a mask for each text")

    @check(hint="Scores of ten thousand are fine when the largest is subtracted first; float64 stays float64.")
    def huge_scores_stay_finite(self, student: Student, rng: Rng) -> None:
        q, k, v = (x.double() for x in draw_uneven(rng, 2, 2, 6, 9, 5, strength=2000.0))
        for mask in (None, draw_mask(rng, 6, 9)):
            got = student.scaled_dot_product_attention(q, k, v, mask)
            attends(got, attended(q, k, v, mask), torch.float64, "with scores of about 10,000")

    @check(hint="A nan in a masked row comes back in the gradients. Nothing may be divided by zero on the way.")
    def gradients_are_finite_where_all_is_masked(self, student: Student, rng: Rng) -> None:
        q, k, v = draw(rng, 1, 2, 4, 5, 4)
        mask, blind = draw_mask(rng, 4, 5), rng.randrange(4)
        mask[blind] = False
        upstream = (rng.normal(1, 2, 4, 4), rng.normal(1, 2, 4, 5))
        got = student.scaled_dot_product_attention(q, k, v, mask)
        attends(got, attended(q, k, v, mask), torch.float32, "with a row that is masked throughout")
        _, grads = student.scaled_dot_product_attention.gradient(q, k, v, mask, wrt=[0, 1, 2], upstream=upstream)
        # By the chain rule: softmax sends a gradient g on as w * (g - sum of w g).
        w = got[1]
        into = upstream[0] @ v.mT + upstream[1]
        scores = w * (into - (w * into).sum(-1, keepdim=True)) / math.sqrt(4)
        want = (scores @ k, scores.mT @ q, w.mT @ upstream[0])
        for name, grad, right in zip("qkv", grads, want, strict=True):
            close(grad, right, 1e-3, 1e-5, what=f"the gradient of {name}")
        true(bool((grads[0][:, :, blind] == 0).all()), "a query that may see nothing got a gradient")

    @check(hint="Without a mask nothing says where a key stands: shuffled keys and values give the same output.")
    def the_order_of_keys_does_not_matter(self, student: Student, rng: Rng) -> None:
        q, k, v = draw(rng, 2, 2, 5, 7, 3)
        order = torch.tensor(rng.sample(range(7), 7))
        want, weights = attended(q, k, v)
        got = student.scaled_dot_product_attention(q, k[:, :, order], v[:, :, order])
        attends(got, (want, weights[..., order]), torch.float32, "with keys and values in another order")

    @check(hint="masked_fill_ and the like change a tensor in place; the caller still needs q, k, v and the mask.")
    def leaves_its_inputs_as_they_were(self, student: Student, rng: Rng) -> None:
        given = (*draw(rng, 1, 2, 4, 6, 5), draw_mask(rng, 4, 6))
        got, after = student.scaled_dot_product_attention.with_arguments(*(x.clone() for x in given))
        attends(got, attended(*given), torch.float32)
        true(all(torch.equal(a, b) for a, b in zip(after, given, strict=True)), "it changed a tensor that it was given")

    @variant
    class SoftmaxByHand:
        """Scales the keys, subtracts the maximum, and replaces an empty sum by one."""

        def scaled_dot_product_attention(q, k, v, mask=None):
            wide = torch.float64 if q.dtype == torch.float64 else torch.float32
            scores = torch.einsum("...td,...sd->...ts", q.to(wide), k.to(wide) * k.shape[-1] ** -0.5)
            if mask is None:
                mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
            highest = scores.detach().masked_fill(~mask, -1e30).amax(-1, keepdim=True)
            share = torch.where(mask, (scores - highest).clamp(max=0).exp(), 0.0)
            total = share.sum(-1, keepdim=True)
            weights = share / torch.where(total == 0, torch.ones_like(total), total)
            return (weights @ v.to(wide)).to(q.dtype), weights

    @variant
    class SafeRows:
        """Lets a query without keys see all of them for the softmax, and takes its output away afterwards."""

        def scaled_dot_product_attention(q, k, v, mask=None):
            D = q.size(-1)
            if q.dtype in (torch.float16, torch.bfloat16):
                q, k = q.float(), k.float()
            scores = torch.matmul(q, k.mT) / D**0.5
            if mask is None:
                weights = scores.softmax(-1)
            else:
                blind = ~mask.any(-1, keepdim=True)
                weights = scores.masked_fill(~(mask | blind), float("-inf")).softmax(-1)
                weights = weights * (~blind).to(weights.dtype)
            weights = weights.to(v.dtype)
            return torch.matmul(weights, v), weights

    @variant
    class AddedMask:
        """A mask of 0 and -inf that is added; nan goes out of the weights and, by where, out of the gradient too."""

        def scaled_dot_product_attention(q, k, v, mask=None):
            dtype = v.dtype
            q, k, v = (x if x.dtype == torch.float64 else x.float() for x in (q, k, v))
            scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
            if mask is not None:
                scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(
                    ~mask, torch.finfo(q.dtype).min
                )
            weights = torch.nn.functional.softmax(scores, dim=-1)
            if mask is not None:
                weights = torch.where(mask, weights, torch.zeros(()).to(weights))
            return (weights @ v).to(dtype), weights.to(dtype)
