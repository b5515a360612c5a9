"""Exercise 5: say to a model where its tokens stand, by absolute rows of sines and by biases for distances."""

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


def encoding(T: int, d: int, base: float = 10000.0) -> Tensor:
    """The oracle, number by number: even columns are sines, odd columns the cosines of the same angle."""
    rows = [[position / base ** (2 * (column // 2) / d) for column in range(d)] for position in range(T)]
    return torch.tensor([[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in rows])


def bias_of(T: int, max_dist: int, table: Tensor) -> Tensor:
    """The oracle: walk from the middle of the table, one row per token of distance, and stop at its ends."""
    bias = table.new_zeros(table.shape[1], T, T)
    for i in range(T):
        for j in range(T):
            row = max_dist
            for _ in range(abs(i - j)):
                row += 1 if j > i else -1
                if row in (0, 2 * max_dist):
                    break
            bias[:, i, j] = table[row if max_dist else 0]
    return bias


def distinct_table(rng: Rng, max_dist: int, heads: int) -> Tensor:
    """Every entry is another whole number, so that a wrong one shows which row it came from."""
    numbers = rng.sample(range(1, 1000), (2 * max_dist + 1) * heads)
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, heads)


def a_tensor(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        fail(f"{what} returned {type_name(value)}, expected a Tensor", value)
    return value


def angles(T: int, d: int, exponents: Tensor, base: float) -> Tensor:
    return torch.outer(torch.arange(T, dtype=torch.float64), float(base) ** -exponents.double())


def woven(sines_of: Tensor, cosines_of: Tensor) -> Tensor:
    return torch.stack((sines_of.sin(), cosines_of.cos()), -1).flatten(-2).float()


def ahead(T: int) -> Tensor:
    places = torch.arange(T)
    return places[None, :] - places[:, None]  # j - i


class RelativeBias(Exercise):
    """Write the sinusoidal position encoding, and a bias for attention scores that depends on distances."""

    title = "Positions, absolute and relative"
    difficulty = 1
    minutes = 20
    id = "relative_bias"
    functions = ("sinusoidal", "relative_bias")
    reference = attention
    hints = (
        "Columns 0 and 1 belong together: the sine and the cosine of one angle. Which columns share the next angle? "
        "For the bias: what does the table say about a key that stands one place before the query?",
        "sinusoidal: T positions times d/2 frequencies give T x d/2 angles. Put each angle's sine and cosine side by "
        "side. relative_bias: make the matrix of all j - i, clip it to -max_dist .. max_dist, add max_dist so that the "
        "smallest is 0, and look the rows up in the table. The heads come first in the result.",
        "sinusoidal: freqs = base ** (-torch.arange(0, d, 2) / d); angles = torch.outer(torch.arange(T).float(), "
        "freqs); torch.stack((angles.sin(), angles.cos()), -1).flatten(-2). relative_bias: places = torch.arange(T); "
        "offset = places[None, :] - places[:, None]; table[offset.clamp(-max_dist, max_dist) + max_dist].permute(2, 0, "
        "1).",
    )

    @check(hint="Position 0 has the sines of 0 and the cosines of 0, side by side: 0, 1, 0, 1, and so on.")
    def gives_every_angle_a_sine_and_a_cosine(self, student: Student, rng: Rng) -> None:
        # With d = 8 and base 10,000 the frequencies are 1, 0.1, 0.01 and 0.001.
        want = [f(a) for a in (1.0, 0.1, 0.01, 0.001) for f in (math.sin, math.cos)]
        first = student.sinusoidal(2, 8)
        close(first, torch.tensor([[0.0, 1.0] * 4, want]), atol=1e-5, what="sinusoidal(2, 8)", dtype=False)
        T = rng.randint(20, 60)
        close(student.sinusoidal(T, 6), encoding(T, 6), atol=2e-4, what=f"sinusoidal({T}, 6)", dtype=False)

    @check(hint="Frequency number i of d/2 is base to the power of -2i/d. Use base and d, not fixed numbers.")
    def uses_base_and_width(self, student: Student, rng: Rng) -> None:
        base, d, T = float(rng.randint(20, 500)), 2 * rng.randint(3, 9), rng.randint(5, 12)
        got = student.sinusoidal(T, d, base=base)
        close(got, encoding(T, d, base), atol=2e-4, what=f"sinusoidal({T}, {d}, base={base:g})", dtype=False)

    @check(hint="A key one place before the query: j - i is -1, so its row is max_dist - 1. Behind it: max_dist + 1.")
    def looks_up_the_row_of_each_offset(self, student: Student, rng: Rng) -> None:
        max_dist, heads = rng.randint(4, 5), rng.choice((2, 5))
        T = rng.choice((3, 4))  # nothing to clip, and not as many positions as heads
        table = distinct_table(rng, max_dist, heads)
        got = student.relative_bias(T, max_dist, table)
        close(got, bias_of(T, max_dist, table), what=f"the bias of {T} positions, max_dist={max_dist},")

    @check(hint="Everything farther away than max_dist gets the outermost row of its side: clamp the offsets.")
    def clips_at_the_largest_distance(self, student: Student, rng: Rng) -> None:
        max_dist, heads = rng.randint(2, 3), rng.randint(2, 4)
        T = 2 * max_dist + rng.randint(3, 5)
        table = distinct_table(rng, max_dist, heads)
        got = student.relative_bias(T, max_dist, table)
        close(got, bias_of(T, max_dist, table), what=f"the bias of {T} positions, max_dist={max_dist},")

    @mistake("puts all sines first and all cosines behind them; here they alternate", of="sinusoidal")
    def halves(T, d, base=10000.0):
        turned = angles(T, d, torch.arange(0, d, 2) / d, base)
        return torch.cat((turned.sin(), turned.cos()), -1).float()

    @mistake("puts the cosine before the sine; even columns are sines", of="sinusoidal")
    def cosines_first(T, d, base=10000.0):
        turned = angles(T, d, torch.arange(0, d, 2) / d, base)
        return torch.stack((turned.cos(), turned.sin()), -1).flatten(-2).float()

    @mistake(
        "gives every column a frequency of its own; columns 2i and 2i + 1 share one, with exponent 2i/d",
        of="sinusoidal",
    )
    def a_frequency_for_every_column(T, d, base=10000.0):
        turned = angles(T, d, torch.arange(d) / d, base)
        return woven(turned[:, ::2], turned[:, 1::2])

    @mistake("uses the exponent i/d for pair number i; it is 2i/d", of="sinusoidal")
    def exponent_without_two(T, d, base=10000.0):
        turned = angles(T, d, torch.arange(d // 2) / d, base)
        return woven(turned, turned)

    @mistake("uses the exponent 4i/d: the 2 is there twice, in the steps of the range and as a factor", of="sinusoidal")
    def exponent_with_two_twos(T, d, base=10000.0):
        turned = angles(T, d, 2 * torch.arange(0, d, 2) / d, base)
        return woven(turned, turned)

    @mistake("spreads the exponents over 0 .. 1 with 1 included; exponent 2i/d stays below 1", of="sinusoidal")
    def last_exponent_is_one(T, d, base=10000.0):
        turned = angles(T, d, torch.arange(d // 2) / max(1, d // 2 - 1), base)
        return woven(turned, turned)

    @mistake("multiplies the position by base to the power of 2i/d; it is divided by it", of="sinusoidal")
    def multiplies(T, d, base=10000.0):
        turned = angles(T, d, -torch.arange(0, d, 2) / d, base)
        return woven(turned, turned)

    @mistake("counts positions from 1; the first token stands at position 0", of="sinusoidal")
    def from_one(T, d, base=10000.0):
        return attention.sinusoidal(T + 1, d, base)[1:]

    @mistake("always uses 10,000 and not its argument base", of="sinusoidal")
    def fixed_base(T, d, base=10000.0):
        return attention.sinusoidal(T, d)

    @mistake("turns the sign around: it looks up i - j, so that keys before and behind the query change places")
    def sign_turned(T, max_dist, table):
        return table[(-ahead(T)).clamp(-max_dist, max_dist) + max_dist].permute(2, 0, 1)

    @mistake("treats before and behind alike: it looks up the distance without its sign")
    def distance_without_sign(T, max_dist, table):
        return table[ahead(T).abs().clamp(max=max_dist) + max_dist].permute(2, 0, 1)

    @mistake("does not add max_dist before the lookup; negative offsets then count from the end of the table")
    def no_shift(T, max_dist, table):
        return table[ahead(T).clamp(-max_dist, max_dist)].permute(2, 0, 1)

    @mistake("looks up the key's own place instead of its distance from the query")
    def place_of_the_key(T, max_dist, table):
        return table[torch.arange(T).clamp(max=2 * max_dist)].t()[:, None].expand(-1, T, -1)

    @mistake("leaves the heads in the last dimension; they come first: [h, T, T]")
    def heads_last(T, max_dist, table):
        return table[ahead(T).clamp(-max_dist, max_dist) + max_dist]

    @mistake("does not clip: keys farther away than max_dist leave the table")
    def no_clipping(T, max_dist, table):
        return table[ahead(T) + max_dist].permute(2, 0, 1)

    @mistake("lets distances beyond max_dist begin again at the other end of the table; they are clipped")
    def wraps_around(T, max_dist, table):
        return table[(ahead(T) + max_dist) % (2 * max_dist + 1)].permute(2, 0, 1)

    @mistake("gives no bias at all beyond max_dist; such keys get the outermost row")
    def nothing_beyond(T, max_dist, table):
        inside = ahead(T).abs() <= max_dist
        return attention.relative_bias(T, max_dist, table) * inside

    @mistake("clips one step too early; distance max_dist still has a row of its own")
    def clips_early(T, max_dist, table):
        return table[ahead(T).clamp(1 - max_dist, max_dist - 1) + max_dist].permute(2, 0, 1)
