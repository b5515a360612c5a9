"""Exercise 7: ALiBi, which takes something off each score for every token of distance."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, fail
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.positions import a_tensor, ahead
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention

# Exponents of 1/2, by hand: those of the power of two below, then every second one of the power of two above.
EXPONENTS = {
    3: [4, 8, 2],
    5: [2, 4, 6, 8, 1],
    6: [2, 4, 6, 8, 1, 3],
    7: [2, 4, 6, 8, 1, 3, 5],
    12: [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5],
}


def slopes_of(exponents: list[float]) -> Tensor:
    return torch.tensor([math.exp(-e * math.log(2)) for e in exponents])


def draw_slopes(rng: Rng, heads: int) -> Tensor:
    """Slopes that no rule gives, in no order."""
    return torch.tensor([rng.uniform(0.05, 0.9) for _ in range(heads)])


def past(bias: Any, heads: int, T: int, what: str) -> Tensor:
    """The part of a bias that is ever used: keys up to the query. What stands behind it, the causal mask hides."""
    bias = a_tensor(bias, what)
    if tuple(bias.shape) != (heads, T, T):
        fail(f"{what} has shape {tuple(bias.shape)}, expected {(heads, T, T)}", bias)
    return bias.double().tril()


def lines(T: int, slopes: Tensor) -> Tensor:
    """The oracle for the past: every step to the left costs one slope more."""
    steps = [[*range(i, 0, -1), *[0] * (T - i)] for i in range(T)]
    return torch.stack([-slope * torch.tensor(steps, dtype=torch.float64) for slope in slopes.double()])


def powers(n_heads: int) -> Tensor:
    return 2.0 ** (-8.0 * torch.arange(1, n_heads + 1) / n_heads)


def below(n_heads: int) -> int:
    return 2 ** int(math.log2(n_heads))


def outer(slopes: Tensor, matrix: Tensor) -> Tensor:
    return slopes[:, None, None] * matrix


class AlibiBias(Exercise):
    """Compute ALiBi's fixed slopes, one per head, and the bias that makes far tokens count less."""

    title = "ALiBi: a price per token of distance"
    difficulty = 2
    minutes = 20
    functions = ("alibi_slopes", "alibi_bias")
    reference = attention
    hints = (
        "With 8 heads the slopes are 1/2, 1/4 ... 1/256. Which number is each multiplied by to give the next one? And "
        "how much does a head with slope 1/2 take off the score of a key that stands 3 places before the query?",
        "Power of two: slope number h, counted from 1, is 2 to the power of -8h/n. Otherwise take all slopes for the "
        "power of two below n, then the first, third, fifth ... of those for twice that number, until there are n. "
        "The bias is minus slope times (i - j), one matrix per head; keys behind the query are masked anyway.",
        "def powers(n): return [2 ** (-8 * h / n) for h in range(1, n + 1)]. below = 2 ** int(math.log2(n_heads)); "
        "slopes = powers(below) + powers(2 * below)[::2][: n_heads - below]. Bias: places = torch.arange(T); distance "
        "= places[:, None] - places[None, :]; -slopes[:, None, None] * distance.clamp(min=0).",
    )

    @check(hint="For n heads, n a power of two, each slope is 2**(-8/n) times the one before; the first is 2**(-8/n).")
    def halves_the_slope_from_head_to_head(self, student: Student, rng: Rng) -> None:
        want = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
        close(student.alibi_slopes(8), want, what="alibi_slopes(8)", dtype=False)
        n = rng.choice((2, 4, 16, 32))
        want = slopes_of([8 * h / n for h in range(1, n + 1)])
        close(student.alibi_slopes(n), want, rtol=1e-4, what=f"alibi_slopes({n})", dtype=False)

    @check(hint="6 heads: the four slopes for 4 heads, then number one and number three of the slopes for 8 heads.")
    def knows_the_rule_for_other_numbers_of_heads(self, student: Student, rng: Rng) -> None:
        for n in (12, rng.choice((3, 5)), rng.choice((6, 7))):
            want = slopes_of(EXPONENTS[n])
            close(student.alibi_slopes(n), want, rtol=1e-4, what=f"alibi_slopes({n})", dtype=False)

    @check(hint="In row i, column i is 0; every step to the left costs one slope more. Use the slopes you are given.")
    def costs_one_slope_per_token_of_distance(self, student: Student, rng: Rng) -> None:
        heads = rng.randint(2, 4)
        T = heads + rng.randint(2, 5)
        slopes = draw_slopes(rng, heads)
        what = f"the bias of {T} positions and {heads} heads, up to each query,"
        got = past(student.alibi_bias(T, slopes), heads, T, what)
        close(got, lines(T, slopes), rtol=1e-4, atol=1e-5, what=what)

    @check(hint="With equal scores, each key's weight is exp(-slope) times that of the next one, in every row.")
    def makes_weights_fall_with_distance(self, student: Student, rng: Rng) -> None:
        heads, T = rng.randint(2, 4), rng.randint(8, 12)
        slopes = draw_slopes(rng, heads)
        bias = a_tensor(student.alibi_bias(T, slopes), "alibi_bias")
        past(bias, heads, T, "the bias")
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        weights = bias.double().masked_fill(future, -math.inf).softmax(-1)
        want = torch.zeros_like(weights)
        for i in range(T):
            falling = torch.exp(-slopes.double()[:, None] * torch.arange(i, -1, -1))
            want[:, i, : i + 1] = falling / falling.sum(-1, keepdim=True)
        close(weights, want, rtol=1e-4, atol=1e-5, what="the softmax of the bias and a causal mask")

    @mistake("starts with slope 1, at exponent 0; the first exponent is 8/n", of="alibi_slopes")
    def starts_at_one(n_heads):
        return attention.alibi_slopes(n_heads) * 2.0 ** (8 / below(n_heads))

    @mistake("takes powers of e; the slopes are powers of 2", of="alibi_slopes")
    def powers_of_e(n_heads):
        return attention.alibi_slopes(n_heads) ** (1 / math.log(2))

    @mistake("lets the slopes fall in equal steps; each is the one before times a fixed number", of="alibi_slopes")
    def equal_steps(n_heads):
        return torch.linspace(0.5, 2**-8, n_heads)

    @mistake("returns negative slopes; the minus sign belongs to the bias", of="alibi_slopes")
    def negative_slopes(n_heads):
        return -attention.alibi_slopes(n_heads)

    @mistake("lets the slopes grow from head to head; the exponent is -8h/n", of="alibi_slopes")
    def growing(n_heads):
        return 1 / attention.alibi_slopes(n_heads)

    @mistake("uses 1/2, 1/4, 1/8 ... for any number of heads; the exponent depends on n", of="alibi_slopes")
    def always_halves(n_heads):
        return 0.5 ** torch.arange(1, n_heads + 1)

    @mistake(
        "uses the rule for powers of two with any number of heads; 6 or 12 heads have a rule of their own",
        of="alibi_slopes",
    )
    def rule_for_powers_only(n_heads):
        return powers(n_heads)

    @mistake(
        "cuts off the slopes for the next larger power of two; those for the smaller come first", of="alibi_slopes"
    )
    def cut_from_above(n_heads):
        return powers(2 ** math.ceil(math.log2(n_heads)))[:n_heads]

    @mistake(
        "adds the second, fourth ... of the finer slopes, which are there already; it is the first, third ...",
        of="alibi_slopes",
    )
    def the_other_half(n_heads):
        low = below(n_heads)
        return torch.cat((powers(low), powers(2 * low)[1::2][: n_heads - low]))

    @mistake("adds the first of the finer slopes one after the other; it is every second one", of="alibi_slopes")
    def not_every_second(n_heads):
        low = below(n_heads)
        return torch.cat((powers(low), powers(2 * low)[: n_heads - low]))

    @mistake("has the right slopes in another order: the finer ones come last, not in between", of="alibi_slopes")
    def sorted_slopes(n_heads):
        return attention.alibi_slopes(n_heads).sort(descending=True).values

    @mistake("takes off the same for every key, however far away; the bias grows with the distance")
    def constant(T, slopes):
        return outer(-slopes, (ahead(T) != 0).float())

    @mistake("adds the same number everywhere, at the query's own place too; the softmax does not see that at all")
    def constant_everywhere(T, slopes):
        return outer(-slopes, torch.ones(T, T))

    @mistake("has positive numbers: it rewards distance instead of taking something off")
    def positive(T, slopes):
        return outer(slopes, ahead(T).neg().clamp(min=0))

    @mistake("counts from the other end: it takes off slope times the key's place, so that early tokens cost least")
    def place_of_the_key(T, slopes):
        return outer(-slopes, torch.arange(T).expand(T, T))

    @mistake(
        "adds slope times the key's place; the softmax gives the same weights, but in this exercise the bias is 0 at "
        "the query's own place"
    )
    def shifted_rows(T, slopes):
        return outer(slopes, torch.arange(T).expand(T, T))

    @mistake("has queries and keys the wrong way round: the price is for keys behind the query")
    def transposed(T, slopes):
        return attention.alibi_bias(T, slopes).transpose(-1, -2)

    @mistake("squares the distance; twice as far costs twice as much")
    def squared(T, slopes):
        return outer(-slopes, ahead(T).square())

    @mistake("takes the logarithm of the distance; each further token costs the same")
    def logarithmic(T, slopes):
        return outer(-slopes, ahead(T).abs().add(1).log())

    @mistake("counts distances from 1; the query's own place is at distance 0")
    def from_one(T, slopes):
        return outer(-slopes, ahead(T).abs() + 1)

    @mistake("leaves the heads in the last dimension; they come first: [h, T, T]")
    def heads_last(T, slopes):
        return attention.alibi_bias(T, slopes).permute(1, 2, 0)

    @mistake("works out its own slopes and does not use those it is given")
    def own_slopes(T, slopes):
        return attention.alibi_bias(T, attention.alibi_slopes(len(slopes)))

    @mistake("divides the distance by the length of the text; a token of distance always costs the same")
    def share_of_the_text(T, slopes):
        return attention.alibi_bias(T, slopes) / T
