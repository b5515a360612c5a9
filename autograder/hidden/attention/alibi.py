"""Hidden part of exercise 7."""

import math
from itertools import pairwise

import torch

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.attention import alibi as public
from autograder.exercises.attention.alibi import draw_slopes, lines, past
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Student


class AlibiBias(public.AlibiBias):
    @check(hint="Work out 1, 20 and 40 heads by hand: which power of two is below, and how many are still missing?")
    def the_rule_holds_for_many_heads(self, student: Student, rng: Rng) -> None:
        for n in (24, 1, rng.randint(9, 15), rng.randint(33, 60), 64):
            low = max(2**k for k in range(8) if 2**k <= n)
            exponents = [8 * h / low for h in range(1, low + 1)]
            exponents += [8 * h / (2 * low) for h in range(1, 2 * low) if h % 2][: n - low]
            want = torch.tensor([0.5**e for e in exponents])
            close(student.alibi_slopes(n), want, rtol=1e-4, what=f"alibi_slopes({n})", dtype=False)

    @check(hint="Nothing in ALiBi is random or trained: no two heads are alike, all slopes lie between 0 and 1.")
    def every_head_has_a_slope_of_its_own(self, student: Student, rng: Rng) -> None:
        n = rng.randint(10, 40)
        slopes = a_tensor(student.alibi_slopes(n), "alibi_slopes")
        equal(tuple(slopes.shape), (n,), what="the shape of the slopes")
        true(bool(((slopes > 0) & (slopes < 1)).all()), f"not all slopes for {n} heads lie between 0 and 1")
        values = sorted(slopes.tolist())
        true(all(b > a * 1.001 for a, b in pairwise(values)), "two heads have the same slope")

    @check(hint="The price of a token of distance is the same in a short text and far along in a long one.")
    def the_price_is_the_same_all_along_the_text(self, student: Student, rng: Rng) -> None:
        heads, T = rng.randint(2, 5), rng.randint(50, 80)
        slopes = draw_slopes(rng, heads)
        got = past(student.alibi_bias(T, slopes), heads, T, "the bias of a longer text")
        close(got, lines(T, slopes), rtol=1e-4, atol=1e-4, what="the bias of a longer text")
        close(got[:, 1:, 1:], got[:, :-1, :-1], rtol=1e-4, atol=1e-4, what="the bias one place further along the text")

    @check(hint="Add the bias to scores of your own, mask the future, and look at the weights.")
    def it_works_together_with_scores_and_a_mask(self, student: Student, rng: Rng) -> None:
        heads, T = rng.randint(2, 4), rng.randint(4, 7)
        slopes, scores = draw_slopes(rng, heads), rng.normal(2, heads, T, T).double()
        bias = a_tensor(student.alibi_bias(T, slopes), "alibi_bias")
        past(bias, heads, T, "the bias")
        seen = torch.ones(T, T, dtype=torch.bool).tril()
        got = (scores + bias.double()).masked_fill(~seen, -math.inf).softmax(-1)
        want = (scores.exp() * lines(T, slopes).exp() * seen).double()
        close(got, want / want.sum(-1, keepdim=True), rtol=1e-4, atol=1e-5, what="the weights")
        single = past(student.alibi_bias(1, slopes), heads, 1, "the bias of one position")
        close(single, torch.zeros_like(single), what="the bias of one position")

    @variant
    class Loops:
        """Fills lists; keys behind the query get minus infinity, which is a causal mask already."""

        def alibi_slopes(n_heads):
            low = 1
            while 2 * low <= n_heads:
                low *= 2
            slopes = [2 ** -(8 * h / low) for h in range(1, low + 1)]
            h = 1
            while len(slopes) < n_heads:
                slopes.append(2 ** -(4 * h / low))
                h += 2
            return torch.tensor(slopes)

        def alibi_bias(T, slopes):
            rows = [[[-m * (i - j) if j <= i else -math.inf for j in range(T)] for i in range(T)] for m in slopes]
            return torch.tensor(rows)

    @variant
    class SignedDistances:
        """No clipping: keys behind the query get positive numbers, which the causal mask hides. In float64."""

        def alibi_slopes(n_heads):
            low = 1 << (int(n_heads).bit_length() - 1)
            coarse = torch.arange(1, low + 1, dtype=torch.float64) * 8 / low
            fine = (2 * torch.arange(n_heads - low, dtype=torch.float64) + 1) * 4 / low
            return torch.exp2(-torch.cat((coarse, fine)))

        def alibi_bias(T, slopes):
            j = torch.arange(T, dtype=torch.float64)
            return torch.einsum("h,ij->hij", slopes.double(), j[None, :] - j[:, None])

    @variant
    class Recursion:
        """The published rule calls itself for twice the power; distances without sign, as an encoder has them."""

        def alibi_slopes(n_heads):
            def power_of_two(n):
                start = 2.0 ** (-(2.0 ** (3 - math.log2(n))))
                return [start ** (h + 1) for h in range(n)]

            if math.log2(n_heads).is_integer():
                return torch.tensor(power_of_two(n_heads))
            low = 2 ** math.floor(math.log2(n_heads))
            return torch.tensor(power_of_two(low) + power_of_two(2 * low)[0::2][: n_heads - low])

        def alibi_bias(T, slopes):
            places = torch.arange(T).float()
            return -torch.cdist(places[:, None], places[:, None]).unsqueeze(0) * slopes.view(-1, 1, 1)
