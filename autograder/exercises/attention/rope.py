"""Exercise 6: rotary position embedding, where scores depend on distances although each vector turns by its place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autograder.compare import close, fail
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


def turned(x: Tensor, positions: Tensor, freqs: Tensor) -> Tensor:
    """The oracle: components i and i + D/2 are the parts of a complex number, in float64; result in x's dtype."""
    half = x.shape[-1] // 2
    numbers = torch.complex(x[..., :half].double(), x[..., half:].double())
    numbers = numbers * torch.exp(1j * torch.outer(positions.double(), freqs.double()))
    return torch.cat((numbers.real, numbers.imag), -1).to(x.dtype)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The oracle for attention, in float64 and by exponentials."""
    scores = q.double() @ k.double().transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * (1.0 if mask is None else mask)
    return (weights / weights.sum(-1, keepdim=True) @ v.double()).to(v.dtype)


def draw_positions(rng: Rng, T: int, highest: int = 60) -> Tensor:
    """Places in a text, rising, but not 0, 1, 2 ..."""
    return torch.tensor(sorted(rng.sample(range(2, highest), T)))


def draw_freqs(rng: Rng, pairs: int) -> Tensor:
    """Frequencies that differ clearly, the largest first."""
    return torch.tensor([rng.uniform(0.8, 1.2) * 0.4**i for i in range(pairs)])


def turn_by(angles: Tensor, x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


class ApplyRope(Exercise):
    """Turn pairs of numbers in queries and keys by angles that grow with the position."""

    title = "RoPE: positions as rotations"
    difficulty = 2
    minutes = 30
    id = "apply_rope"
    functions = ("rope_freqs", "apply_rope", "rope_attention")
    reference = attention
    hints = (
        "A pair (a, b) turned by an angle t becomes (a cos t - b sin t, b cos t + a sin t). Which angle does a pair "
        "get, and which two numbers of a head of width D form a pair?",
        "rope_freqs: D/2 numbers, base to the power of -2i/D. apply_rope: angles are positions times freqs, of shape "
        "[T, D/2]. Cut x into its first and its second half, turn with the cosines and sines of the angles, and join "
        "the new halves with torch.cat. Compute the angles in float32 and give the result the dtype of x. "
        "rope_attention: turn q and k, leave v, and attend as in exercise 2.",
        "angles = positions.float()[:, None] * freqs; cos, sin = angles.cos(), angles.sin(); a, b = x.chunk(2, -1); "
        "return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype). In rope_attention: q = "
        "apply_rope(q, positions, freqs), k likewise, then your scaled_dot_product_attention(q, k, v, mask), of which "
        "you return the output alone.",
    )

    @check(hint="Pair i of D/2 turns by base to the power of -2i/D per token: the first by 1, the others more slowly.")
    def gives_each_pair_its_own_frequency(self, student: Student, rng: Rng) -> None:
        got = student.rope_freqs(8)
        close(got, torch.tensor([1.0, 0.1, 0.01, 0.001]), what="rope_freqs(8)", dtype=False)
        D, base = 2 * rng.randint(3, 20), float(rng.randint(100, 900_000))
        want = torch.tensor([base ** (-2 * i / D) for i in range(D // 2)])
        close(student.rope_freqs(D, base), want, rtol=1e-4, what=f"rope_freqs({D}, {base:g})", dtype=False)

    @check(hint="(1, 0) turned by t is (cos t, sin t), t = position times frequency. Use the positions given to you.")
    def turns_a_pair_by_position_times_frequency(self, student: Student, rng: Rng) -> None:
        positions, freq = draw_positions(rng, 3, 9), rng.uniform(0.2, 0.9)
        x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [rng.uniform(1, 2), rng.uniform(1, 2)]])
        rows = []
        for (a, b), position in zip(x.tolist(), positions.tolist(), strict=True):
            c, s = math.cos(position * freq), math.sin(position * freq)
            rows.append([a * c - b * s, b * c + a * s])
        got = student.apply_rope(x, positions, torch.tensor([freq]))
        what = f"turning three pairs at positions {positions.tolist()} with frequency {freq:.3f}"
        close(got, torch.tensor(rows), rtol=1e-4, atol=1e-4, what=what, dtype=False)

    @check(hint="Number i of the first half and number i of the second half are a pair, and stay where they are.")
    def pairs_the_two_halves(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(3, 6), 2 * rng.randint(3, 5)
        x, positions, freqs = rng.normal(T, D), draw_positions(rng, T), draw_freqs(rng, D // 2)
        got, after = student.apply_rope.with_arguments(x, positions, freqs)
        close(got, turned(x, positions, freqs), rtol=1e-4, atol=3e-4, what=f"x of shape [{T}, {D}]", dtype=False)
        if not torch.equal(after[0], x):
            fail("apply_rope changed the x it was given; the caller still needs it")

    @check(hint="Angles have the shape [T, D/2]; that fits the last two dimensions of x, whatever stands before them.")
    def works_for_batches_heads_and_half_precision(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(4, 6), 2 * rng.randint(3, 5)
        x, positions, freqs = rng.normal(2, T, T, D), draw_positions(rng, T), draw_freqs(rng, D // 2)
        got = student.apply_rope(x, positions, freqs)
        close(
            got, turned(x, positions, freqs), rtol=1e-4, atol=3e-4, what=f"x of shape [2, {T}, {T}, {D}]", dtype=False
        )
        # None of these positions can be written with the 8 significant bits of bfloat16.
        positions = torch.tensor([2 * rng.randint(128, 250) + 1 for _ in range(T)])
        x = x.bfloat16()
        got = student.apply_rope(x, positions, freqs)
        close(got, turned(x, positions, freqs), rtol=0.02, atol=0.08, what="x in bfloat16")

    @check(hint="Turn queries and keys the same way round, each by its own position: only the difference counts then.")
    def only_the_distance_counts(self, student: Student, rng: Rng) -> None:
        D, distance, shift = 2 * rng.randint(4, 8), rng.randint(1, 9), rng.randint(10, 90)
        q, k = rng.normal(2, D), rng.normal(2, D)
        freqs = torch.tensor([10000.0 ** (-2 * i / D) for i in range(D // 2)])
        here, there = torch.tensor([0, shift]), torch.tensor([distance, shift + distance])
        turned_q = student.apply_rope(q[:1].expand(2, D), there, freqs)
        turned_k = student.apply_rope(k[:1].expand(2, D), here, freqs)
        what = "a query at positions " + " and ".join(map(str, there.tolist()))
        close(turned_q, turned(q[:1].expand(2, D), there, freqs), atol=1e-3, what=what, dtype=False)
        close(turned_k[0], k[0], atol=1e-6, what="a key at position 0, which stays as it was,", dtype=False)
        scores = (turned_q * turned_k).sum(-1)
        close(scores[1], scores[0], atol=1e-2, what=f"the score at distance {distance}, {shift} places further on,")

    @check(hint="Only the scores need to know where tokens stand. What a token passes on, its value, is not turned.")
    def attention_turns_queries_and_keys_only(self, student: Student, rng: Rng) -> None:
        T, D = rng.randint(4, 7), 2 * rng.randint(2, 4)
        q, k, v = (rng.normal(2, 3, T, D) for _ in range(3))
        positions, freqs = draw_positions(rng, T), draw_freqs(rng, D // 2)
        want = attended(turned(q, positions, freqs), turned(k, positions, freqs), v)
        got = student.rope_attention(q, k, v, positions, freqs)
        close(got, want, rtol=1e-3, atol=1e-3, what="attention with RoPE", dtype=False)
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        want = attended(turned(q, positions, freqs), turned(k, positions, freqs), v, mask)
        got = student.rope_attention(q, k, v, positions, freqs, mask=mask)
        close(got, want, rtol=1e-3, atol=1e-3, what="attention with RoPE and a causal mask", dtype=False)

    @mistake("gives all pairs the same frequency; then far places look like near ones", of="rope_freqs")
    def one_frequency(D, base=10000.0):
        return torch.ones(D // 2)

    @mistake("uses the exponent -i/D for pair i; it is -2i/D", of="rope_freqs")
    def exponent_without_two(D, base=10000.0):
        return base ** (-torch.arange(D // 2) / D)

    @mistake("lets the frequencies grow; the exponent is negative, later pairs turn more slowly", of="rope_freqs")
    def growing(D, base=10000.0):
        return base ** (torch.arange(0, D, 2) / D)

    @mistake("gives D frequencies; there are D/2 pairs", of="rope_freqs")
    def one_for_every_number(D, base=10000.0):
        return attention.rope_freqs(D, base).repeat(2)

    @mistake("always uses 10,000 and not its argument base", of="rope_freqs")
    def fixed_base(D, base=10000.0):
        return attention.rope_freqs(D)

    @mistake("spreads the exponents over 0 .. -1 with -1 included; -2i/D stays above -1", of="rope_freqs")
    def last_exponent_is_one(D, base=10000.0):
        return base ** -torch.linspace(0, 1, D // 2)

    @mistake("returns x as it came")
    def identity(x, positions, freqs):
        return x

    @mistake("adds the cosines and sines to x, as with sinusoidal encodings; RoPE multiplies, it turns")
    def adds(x, positions, freqs):
        angles = positions[:, None] * freqs
        return (x + torch.cat((angles.sin(), angles.cos()), -1)).to(x.dtype)

    @mistake("counts 0, 1, 2 ... and does not look at positions; with a KV cache the first row stands at place 1,000")
    def counts_from_nought(x, positions, freqs):
        return attention.apply_rope(x, torch.arange(x.shape[-2]), freqs)

    @mistake("takes the angles for degrees; position times frequency is in radians, as torch.cos expects")
    def degrees(x, positions, freqs):
        return turn_by(torch.deg2rad(positions[:, None] * freqs), x)

    @mistake("turns the other way round: (1, 0) at angle t becomes (cos t, sin t), not (cos t, -sin t)")
    def backwards(x, positions, freqs):
        return attention.apply_rope(x, -positions, freqs)

    @mistake("has sine and cosine the wrong way round; at position 0 nothing may change, and cos 0 is 1")
    def sine_for_cosine(x, positions, freqs):
        return turn_by(math.pi / 2 - positions[:, None] * freqs, x)

    @mistake("forgets the minus sign; a turn is (a cos t - b sin t, b cos t + a sin t)")
    def no_minus(x, positions, freqs):
        first, second = x.chunk(2, -1)
        cos, sin = (positions[:, None] * freqs).cos(), (positions[:, None] * freqs).sin()
        return torch.cat((first * cos + second * sin, second * cos + first * sin), -1).to(x.dtype)

    @mistake("computes the second half from the new first half; both need the old one")
    def uses_the_new_half(x, positions, freqs):
        first, second = x.chunk(2, -1)
        cos, sin = (positions[:, None] * freqs).cos(), (positions[:, None] * freqs).sin()
        first = first * cos - second * sin
        return torch.cat((first, second * cos + first * sin), -1).to(x.dtype)

    @mistake("pairs neighbours, x[2i] and x[2i + 1]; that is the paper's convention, here it is x[i] and x[i + D/2]")
    def interleaved(x, positions, freqs):
        return attention.apply_rope_interleaved(x, positions, freqs)

    @mistake("turns the right pairs but writes the two parts of each side by side; they stay in their halves")
    def result_interleaved(x, positions, freqs):
        first, second = attention.apply_rope(x, positions, freqs).chunk(2, -1)
        return torch.stack((first, second), -1).flatten(-2)

    @mistake("turns all pairs by the first frequency; each pair has its own")
    def first_frequency_only(x, positions, freqs):
        return attention.apply_rope(x, positions, freqs[:1].expand_as(freqs))

    @mistake("writes into the x it was given")
    def changes_its_input(x, positions, freqs):
        return x.copy_(attention.apply_rope(x, positions, freqs))

    @mistake("takes another dimension for the time; it is the last but one, in [B, H, T, D] as well")
    def other_dimension(x, positions, freqs):
        if x.ndim < 3:
            return attention.apply_rope(x, positions, freqs)
        return attention.apply_rope(x.transpose(-2, -3), positions, freqs).transpose(-2, -3)

    @mistake("computes the angles in the dtype of x; in bfloat16, positions 256 and 257 are the same number")
    def angles_in_half_precision(x, positions, freqs):
        return attention.apply_rope(x, positions.to(x.dtype), freqs)

    @mistake(
        "rounds the angles to the dtype of x before the cosine; in bfloat16, from 256 on they are 2 and more apart"
    )
    def rounds_the_angles(x, positions, freqs):
        return turn_by((positions[:, None] * freqs).to(x.dtype), x)

    @mistake("rounds the frequencies to the dtype of x; with 8 binary digits, far positions are turned by wrong angles")
    def frequencies_in_half_precision(x, positions, freqs):
        return attention.apply_rope(x, positions, freqs.to(x.dtype).float())

    @mistake("returns float32 where x is bfloat16; the result has the dtype of x")
    def returns_float32(x, positions, freqs):
        return attention.apply_rope(x.float(), positions, freqs)

    @mistake("turns the values too; only queries and keys are turned", of="rope_attention")
    def turns_the_values(q, k, v, positions, freqs, mask=None):
        return attention.rope_attention(q, k, attention.apply_rope(v, positions, freqs), positions, freqs, mask)

    @mistake("turns only the queries; then absolute places count, not distances", of="rope_attention")
    def turns_only_queries(q, k, v, positions, freqs, mask=None):
        return attention.attention(attention.apply_rope(q, positions, freqs), k, v, mask)

    @mistake("turns only the keys; then absolute places count, not distances", of="rope_attention")
    def turns_only_keys(q, k, v, positions, freqs, mask=None):
        return attention.attention(q, attention.apply_rope(k, positions, freqs), v, mask)

    @mistake("turns nothing: it is attention without positions", of="rope_attention")
    def turns_nothing(q, k, v, positions, freqs, mask=None):
        return attention.attention(q, k, v, mask)

    @mistake("turns what comes out of attention; queries and keys are turned before the scores", of="rope_attention")
    def turns_the_output(q, k, v, positions, freqs, mask=None):
        return attention.apply_rope(attention.attention(q, k, v, mask), positions, freqs)

    @mistake("does not use the mask", of="rope_attention")
    def no_mask(q, k, v, positions, freqs, mask=None):
        return attention.rope_attention(q, k, v, positions, freqs)
