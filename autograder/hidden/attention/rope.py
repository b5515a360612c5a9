"""Hidden part of exercise 6."""

import math

import torch

from autograder.compare import close, equal
from autograder.exercise import check, variant
from autograder.exercises.attention import rope as public
from autograder.exercises.attention.positions import a_tensor
from autograder.exercises.attention.rope import attended, draw_freqs, draw_positions, turned
from autograder.rng import Rng
from autograder.student import Student


class ApplyRope(public.ApplyRope):
    @check(points=2, hint="Try large positions, a large base, a token alone, and x with several leading dimensions.")
    def turns_any_shape_at_any_place(self, student: Student, rng: Rng) -> None:
        D, base = 2 * rng.randint(8, 16), float(rng.choice((500_000, 1_000_000)))
        want = torch.tensor([base ** (-2 * i / D) for i in range(D // 2)])
        close(student.rope_freqs(D, base), want, rtol=1e-4, what=f"rope_freqs({D}, {base:g})", dtype=False)
        for shape in ((5, D), (2, 1, 3, 4, D), (2, 3, 1, D)):
            x = rng.normal(*shape)
            positions = torch.tensor(rng.ids(shape[-2], 100, 5000))
            got = student.apply_rope(x, positions, want)
            what = f"x of shape {list(shape)} at positions up to {int(positions.max())}"
            close(got, turned(x, positions, want), atol=5e-3, what=what, dtype=False)

    @check(hint="A token that comes alone, with its position, turns as it would among the others.")
    def a_token_alone_turns_as_among_others(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(5, 9), 2 * rng.randint(3, 6)
        x, freqs, start = rng.normal(2, T, D), draw_freqs(rng, D // 2), rng.randint(10, 40)
        positions = torch.arange(start, start + T)
        whole = student.apply_rope(x, positions, freqs)
        close(whole, turned(x, positions, freqs), atol=1e-3, what="a whole text", dtype=False)
        order = rng.sample(range(T), T)
        shuffled = student.apply_rope(x[:, order], positions[order], freqs)
        close(shuffled, whole[:, order], atol=1e-3, what="the same rows in another order", dtype=False)
        for t in rng.sample(range(T), 2):
            alone = student.apply_rope(x[:, t : t + 1], positions[t : t + 1], freqs)
            close(alone, whole[:, t : t + 1], atol=1e-3, what=f"the row at position {start + t} alone", dtype=False)

    @check(hint="A turn keeps lengths, and its gradient is the turn back. Work on tensors, without .item() or numpy.")
    def keeps_lengths_and_lets_gradients_through(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(3, 6), 2 * rng.randint(3, 6)
        x, upstream = rng.normal(T, D), rng.normal(T, D)
        positions, freqs = draw_positions(rng, T), draw_freqs(rng, D // 2)
        got = a_tensor(student.apply_rope(x, positions, freqs), "apply_rope")
        equal(tuple(got.shape), (T, D), what="the shape of turned x")
        close(got.norm(dim=-1), x.norm(dim=-1), rtol=1e-3, what="the length of each row", dtype=False)
        close(got, turned(x, positions, freqs), atol=1e-3, what="turned x", dtype=False)
        _, (grad,) = student.apply_rope.gradient(x, positions, freqs, wrt=[0], upstream=upstream)
        close(grad, turned(upstream, -positions, freqs), atol=1e-3, what="the gradient of x", dtype=False)

    @check(hint="Move all positions on by the same number: what attention returns must stay the same.")
    def attention_looks_the_same_further_on(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(5, 8), 2 * rng.randint(2, 5)
        q, k, v = (rng.normal(2, T, D) for _ in range(3))
        positions, freqs = draw_positions(rng, T), draw_freqs(rng, D // 2)
        mask = torch.tensor([[j <= i and i - j < 3 for j in range(T)] for i in range(T)])
        want = attended(turned(q, positions, freqs), turned(k, positions, freqs), v, mask)
        for shift in (0, rng.randint(20, 80)):
            got = student.rope_attention(q, k, v, positions + shift, freqs, mask)
            close(got, want, rtol=1e-3, atol=2e-3, what=f"attention, {shift} places further on,", dtype=False)

    @variant
    class ComplexNumbers:
        """Halves as real and imaginary parts, times a complex number of length 1."""

        def rope_freqs(D, base=10000.0):
            return torch.exp(-math.log(base) * torch.arange(D // 2) * 2 / D)

        def apply_rope(x, positions, freqs):
            half = x.shape[-1] // 2
            wide = x.double()
            turns = torch.polar(torch.ones(1, dtype=torch.float64), torch.outer(positions.double(), freqs.double()))
            z = torch.complex(wide[..., :half], wide[..., half:]) * turns
            return torch.cat((z.real, z.imag), -1).type_as(x)

        def rope_attention(q, k, v, positions, freqs, mask=None):
            half = q.shape[-1] // 2
            angles = torch.outer(positions.float(), freqs)
            cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
            q, k = (x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin for x in (q, k))
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    @variant
    class RotateHalf:
        """The form of transformers: x cos plus the swapped halves times sin, tables cast to x's dtype."""

        def apply_rope(x, positions, freqs):
            angles = torch.cat([positions[:, None].float() * freqs] * 2, -1)
            first, second = x.chunk(2, -1)
            swapped = torch.cat((-second, first), -1)
            return x * angles.cos().to(x.dtype) + swapped * angles.sin().to(x.dtype)

    @variant
    class RotationMatrices:
        """One D x D matrix for every position."""

        def rope_freqs(D, base=10000.0):
            return torch.tensor([1 / base ** (2 * i / D) for i in range(D // 2)])

        def apply_rope(x, positions, freqs):
            half = len(freqs)
            turns = torch.zeros(len(positions), 2 * half, 2 * half)
            for t, position in enumerate(positions.tolist()):
                for i, freq in enumerate(freqs.tolist()):
                    c, s = math.cos(position * freq), math.sin(position * freq)
                    turns[t, i, i] = turns[t, i + half, i + half] = c
                    turns[t, i, i + half], turns[t, i + half, i] = -s, s
            return (turns @ x.float().unsqueeze(-1)).squeeze(-1).to(x.dtype)

        def rope_attention(q, k, v, positions, freqs, mask=None):
            turn = public.ApplyRope.reference.apply_rope
            scores = turn(q, positions, freqs) @ turn(k, positions, freqs).mT / q.shape[-1] ** 0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            return scores.softmax(-1) @ v
