"""Hidden part of exercise 5."""

import math

import torch

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.attention import positions as public
from autograder.exercises.attention.positions import a_tensor, bias_of, distinct_table, encoding
from autograder.rng import Rng
from autograder.student import Student


class RelativeBias(public.RelativeBias):
    @check(hint="One step further, every pair of columns turns by the same angle, wherever the step begins.")
    def a_step_is_the_same_rotation_everywhere(self, student: Student, rng: Rng) -> None:
        d, step = 2 * rng.randint(3, 8), rng.randint(1, 9)
        T = rng.randint(150, 250)
        rows = a_tensor(student.sinusoidal(T, d), "sinusoidal")
        equal(tuple(rows.shape), (T, d), what="the shape of the encoding")
        pairs = rows.double().unflatten(-1, (-1, 2))
        before, after = pairs[:-step], pairs[step:]
        cos = (before * after).sum(-1)
        sin = before[..., 1] * after[..., 0] - before[..., 0] * after[..., 1]
        for i in range(d // 2):
            angle = step / 10000.0 ** (2 * i / d)
            for name, got, want in (("cosine", cos, math.cos(angle)), ("sine", sin, math.sin(angle))):
                what = f"the {name} of the turn of pair {i} over {step} steps"
                close(got[:, i], torch.full_like(got[:, i], want), atol=5e-4, what=what)

    @check(hint="Try the smallest sizes: one position, two columns, a table with a single row.")
    def the_smallest_cases_work(self, student: Student, rng: Rng) -> None:
        T, heads = rng.randint(3, 8), rng.randint(1, 4)
        close(student.sinusoidal(T, 2), encoding(T, 2), atol=1e-4, what=f"sinusoidal({T}, 2)", dtype=False)
        table = distinct_table(rng, 0, heads)
        got = student.relative_bias(T, 0, table)
        close(got, table.t()[:, :, None].expand(-1, T, T), what="the bias with max_dist=0")
        table = distinct_table(rng, 3, heads)
        close(student.relative_bias(2, 3, table), bias_of(2, 3, table), what="the bias of two positions")
        close(student.relative_bias(1, 3, table), table[3][:, None, None], what="the bias of one position")

    @check(hint="Look the numbers up in table itself: the result has its dtype, and gradients flow back into it.")
    def the_table_can_be_trained(self, student: Student, rng: Rng) -> None:
        max_dist, heads, T = rng.randint(1, 3), rng.randint(1, 3), rng.randint(5, 8)
        table = distinct_table(rng, max_dist, heads).double()
        upstream = rng.normal(heads, T, T, dtype=torch.float64)
        got = student.relative_bias(T, max_dist, table)
        close(got, bias_of(T, max_dist, table), what="the bias from a float64 table")
        _, (grad,) = student.relative_bias.gradient(T, max_dist, table, wrt=[2], upstream=upstream)
        want = torch.zeros_like(table)
        for i in range(T):
            for j in range(T):
                want[min(max(j - i, -max_dist), max_dist) + max_dist] += upstream[:, i, j]
        close(grad, want, what="the gradient of the table")

    @check(hint="Compare a long text's bias with a short one's: along each diagonal all numbers are the same.")
    def only_the_offset_matters(self, student: Student, rng: Rng) -> None:
        max_dist, heads, T = rng.randint(5, 20), rng.randint(2, 6), rng.randint(30, 50)
        table = distinct_table(rng, max_dist, heads)
        got = a_tensor(student.relative_bias(T, max_dist, table), "relative_bias")
        equal(tuple(got.shape), (heads, T, T), what="the shape of the bias")
        close(got[:, 1:, 1:], got[:, :-1, :-1], what="the bias one place further along the text")
        close(got, bias_of(T, max_dist, table), what="the bias of a longer text")
        true(got[0, -1, 0] == table[0, 0] and got[0, 0, -1] == table[-1, 0], "the corners are not the outermost rows")

    @variant
    class Loops:
        """Fills both number by number."""

        def sinusoidal(T, d, base=10000.0):
            out = torch.zeros(T, d)
            for position in range(T):
                for i in range(0, d, 2):
                    out[position, i] = math.sin(position / base ** (i / d))
                    out[position, i + 1] = math.cos(position / base ** (i / d))
            return out

        def relative_bias(T, max_dist, table):
            rows = [[max(-max_dist, min(max_dist, j - i)) + max_dist for j in range(T)] for i in range(T)]
            return torch.stack([torch.stack([table[r] for r in row]) for row in rows]).movedim(-1, 0)

    @variant
    class Slices:
        """Frequencies by exp and log, written into every second column; the bias diagonal by diagonal."""

        def sinusoidal(T, d, base=10000.0):
            position = torch.arange(T, dtype=torch.float32).unsqueeze(1)
            frequency = torch.exp(torch.arange(0, d, 2).float() * (-math.log(base) / d))
            out = torch.empty(T, d)
            out[:, 0::2] = torch.sin(position * frequency)
            out[:, 1::2] = torch.cos(position * frequency)
            return out

        def relative_bias(T, max_dist, table):
            bias = 0
            for offset in range(1 - T, T):
                ones = torch.ones(T - abs(offset), dtype=table.dtype).diag(offset)
                row = table[max(-max_dist, min(max_dist, offset)) + max_dist]
                bias = bias + row[:, None, None] * ones
            return bias

    @variant
    class ComplexAndOneHot:
        """A turning complex number; a matrix of ones and zeros that picks the rows."""

        def sinusoidal(T, d, base=10000.0):
            step = torch.tensor([base ** (-2 * i / d) for i in range(d // 2)], dtype=torch.float64)
            turning = torch.polar(torch.ones(T, d // 2, dtype=torch.float64), torch.arange(T)[:, None] * step)
            return torch.view_as_real(turning).flip(-1).reshape(T, d).float()

        def relative_bias(T, max_dist, table):
            places = torch.arange(T)
            offsets = torch.clip(places.unsqueeze(0) - places.unsqueeze(1), min=-max_dist, max=max_dist)
            picked = torch.nn.functional.one_hot(offsets + max_dist, 2 * max_dist + 1).to(table.dtype)
            return torch.einsum("ijr,rh->hij", picked, table)
