"""Exercise 4: attention in several heads at once, and fewer key heads than query heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autograder.compare import close, fail
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.scaled_dot_product import READY_MADE, attended
from autograder.rng import Rng
from autograder.student import Remote, Student, StudentError, type_name
from course_lib import attention

PARTS = ("q_proj", "k_proj", "v_proj", "o_proj")


def draw_weights(rng: Rng, d_model: int, n_heads: int, n_kv_heads: int) -> dict[str, Tensor]:
    """Weights of a whole layer, large enough that heads attend to different places."""
    width = n_kv_heads * (d_model // n_heads)
    rows = (d_model, width, width, d_model)
    return {f"{part}.weight": 0.7 * rng.normal(n, d_model) for part, n in zip(PARTS, rows, strict=True)}


def layer(student: Student, d_model: int, n_heads: int, n_kv_heads: int, weights: dict[str, Tensor]) -> Remote:
    """The student's layer with these weights in it."""
    what = f"MultiHeadAttention({d_model}, {n_heads}, {n_kv_heads})"
    built = student.MultiHeadAttention(d_model, n_heads, n_kv_heads)
    if not isinstance(built, Remote):
        fail(f"{what} gave {type_name(built)}, expected a torch.nn.Module")
    shapes = ", ".join(f"{name} {list(weight.shape)}" for name, weight in weights.items())
    try:
        keys = built.load_state_dict(weights, strict=False)
    except StudentError as error:
        fail(f"{what} should have the parameters {shapes}; loading them gave {error}")
    if not isinstance(keys, tuple) or len(keys) != 2 or not all(isinstance(names, list) for names in keys):
        fail(f"{what} is not a torch.nn.Module: its load_state_dict returned {type_name(keys)}")
    lacking, extra = keys[1], [name for name in keys[0] if str(name).endswith((".weight", ".bias"))]
    if lacking or extra:
        wrong = f"lacks {', '.join(map(str, lacking))}" if lacking else f"also has {', '.join(map(str, extra))}"
        fail(f"{what} should have exactly the parameters {shapes}; it {wrong}")
    return built


def layer_output(
    weights: dict[str, Tensor], x: Tensor, n_heads: int, n_kv_heads: int, mask: Tensor | None = None
) -> Tensor:
    """The oracle, one head after the other, with slices of the weights and in double precision."""
    D = x.shape[-1] // n_heads
    q, k, v, o = (weights[f"{part}.weight"].double() for part in PARTS)
    out = torch.zeros_like(x, dtype=torch.float64)
    for head in range(n_heads):
        own, shared = slice(head * D, (head + 1) * D), head * n_kv_heads // n_heads
        shared = slice(shared * D, (shared + 1) * D)
        mixed, _ = attended(x.double() @ q[own].T, x.double() @ k[shared].T, x.double() @ v[shared].T, mask)
        out += mixed @ o[:, own].T  # joining heads and projecting is a sum over heads
    return out


def matches(got: Any, want: Tensor, what: str) -> None:
    close(got, want, 1e-3, 1e-4, what=what, dtype=False)


class Layer(attention.MultiHeadAttention):
    """A layer in single steps, for mistakes to change one of them."""

    def split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.view(B, T, -1, self.head_dim).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        B, H, T, D = x.shape
        return x.transpose(1, 2).reshape(B, T, H * D)

    def share(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attention.scaled_dot_product_attention(q, k, v, mask)[0]

    def finish(self, x: Tensor) -> Tensor:
        return self.o_proj(x)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (self.split(part(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        return self.finish(self.join(self.mix(q, self.share(k), self.share(v), mask)))


def with_steps(**steps: Any) -> Any:
    """A class that is called like the student's: a trace tells objects apart by the names of their types."""
    return type("MultiHeadAttention", (Layer,), steps)


class MultiHeadAttention(Exercise):
    """Split attention into heads, and let several query heads share one key and value head."""

    title = "Many heads, few keys: MHA, GQA and MQA"
    difficulty = 2
    minutes = 35
    id = "MultiHeadAttention"
    functions = ("repeat_kv", "MultiHeadAttention")
    reference = attention
    forbid = READY_MADE
    hints = (
        "A projection gives d_model numbers for every position. The first D of them belong to head 0, the next D to "
        "head 1. Which dimension has to come before T for every head to attend on its own?",
        "Project; view as [B, T, heads, D]; exchange dimensions 1 and 2. Repeat each key and value head n_heads // "
        "n_kv_heads times in a row, so that neighbouring query heads share. Attend with your function from exercise 2. "
        "Exchange the dimensions back, reshape to [B, T, d_model], project with o_proj.",
        "repeat_kv: x.repeat_interleave(n_rep, dim=1). forward: q = self.q_proj(x).view(B, T, H, D).transpose(1, 2); "
        "k and v likewise with G heads, then repeat_kv(k, H // G); out, _ = scaled_dot_product_attention(q, k, v, "
        "mask); return self.o_proj(out.transpose(1, 2).reshape(B, T, C)).",
    )

    @check(hint="Two key heads, each for two query heads: the order is k0, k0, k1, k1, and not k0, k1, k0, k1.")
    def every_key_head_is_repeated_in_a_row(self, student: Student, rng: Rng) -> None:
        x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
        want = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]).reshape(1, 6, 1, 1)
        close(student.repeat_kv(x, 2), want, what="repeat_kv of three heads, twice each,")
        x, n_rep = rng.normal(2, 3, 4, 5), rng.randint(2, 4)
        want = torch.stack([x[:, head // n_rep] for head in range(3 * n_rep)], 1)
        close(student.repeat_kv(x, n_rep), want, what=f"repeat_kv(x, {n_rep})")

    @check(hint="Head h owns numbers h D to (h + 1) D of each projection. View as [B, T, H, D], then transpose.")
    def every_head_attends_on_its_own(self, student: Student, rng: Rng) -> None:
        T = rng.randint(5, 7)
        weights, x = draw_weights(rng, 12, 3, 3), rng.normal(2, T, 12)
        got = layer(student, 12, 3, 3, weights)(x)
        matches(got, layer_output(weights, x, 3, 3), f"a layer with 3 heads on {T} positions")

    @check(hint="Hand the mask on to the attention: [T, T] fits scores of shape [B, H, T, T].")
    def the_mask_holds_in_every_head(self, student: Student, rng: Rng) -> None:
        T = rng.randint(5, 7)
        weights, x = draw_weights(rng, 8, 2, 2), rng.normal(2, T, 8)
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        got = layer(student, 8, 2, 2, weights)(x, mask)
        matches(got, layer_output(weights, x, 2, 2, mask), "a layer with a causal mask")

    @check(
        points=2, hint="k_proj and v_proj have n_kv_heads * D rows. Query heads 0 and 1 share key head 0, and so on."
    )
    def neighbouring_heads_share_keys_and_values(self, student: Student, rng: Rng) -> None:
        T = rng.randint(5, 7)
        weights, x = draw_weights(rng, 24, 6, 3), rng.normal(2, T, 24)
        got = layer(student, 24, 6, 3, weights)(x)
        matches(got, layer_output(weights, x, 6, 3), "a layer with 6 query heads and 3 key heads")

    @mistake(
        "puts whole copies behind each other, k0 k1 k0 k1; each head is repeated in a row, k0 k0 k1 k1", "repeat_kv"
    )
    def tiles(x, n_rep):
        return x.repeat(1, n_rep, 1, 1)

    @mistake("repeats positions and not heads; heads are dimension 1 of [B, G, T, D]", of="repeat_kv")
    def repeats_positions(x, n_rep):
        return x.repeat_interleave(n_rep, dim=2)

    @mistake("leaves the copies in a dimension of their own; they join the heads: [B, G * n_rep, T, D]", of="repeat_kv")
    def five_dimensions(x, n_rep):
        return x[:, :, None].expand(-1, -1, n_rep, -1, -1)

    @mistake("makes one copy too many: n_rep is how often a head is there afterwards", of="repeat_kv")
    def one_copy_too_many(x, n_rep):
        return x.repeat_interleave(n_rep + 1, dim=1)

    @mistake("views [B, T, C] as [B, H, T, D] at once; that cuts the text into pieces. Split C first, then transpose")
    def views_without_transpose(d_model, n_heads, n_kv_heads=None):
        def split(self, x):
            return x.reshape(x.shape[0], -1, x.shape[1], self.head_dim)

        return with_steps(split=split)(d_model, n_heads, n_kv_heads)

    @mistake("views without transposing, on the way in and on the way out: every head gets a piece of the text")
    def views_both_ways(d_model, n_heads, n_kv_heads=None):
        def split(self, x):
            return x.reshape(x.shape[0], -1, x.shape[1], self.head_dim)

        def join(self, x):
            return x.reshape(x.shape[0], x.shape[2], -1)

        return with_steps(split=split, join=join)(d_model, n_heads, n_kv_heads)

    @mistake("joins the heads without transposing back; [B, H, T, D] has to be [B, T, H, D] before it is [B, T, C]")
    def joins_without_transpose(d_model, n_heads, n_kv_heads=None):
        def join(self, x):
            return x.reshape(x.shape[0], x.shape[2], -1)

        return with_steps(join=join)(d_model, n_heads, n_kv_heads)

    @mistake("attends across heads at each position and not across positions in each head: H has to come before T")
    def attends_across_heads(d_model, n_heads, n_kv_heads=None):
        def mix(self, q, k, v, mask):
            return Layer.mix(self, *(x.transpose(1, 2) for x in (q, k, v)), mask).transpose(1, 2)

        return with_steps(mix=mix)(d_model, n_heads, n_kv_heads)

    @mistake("deals the channels out one by one; a head owns D neighbours: view as [B, T, H, D], not [B, T, D, H]")
    def deals_channels_out(d_model, n_heads, n_kv_heads=None):
        def split(self, x):
            return x.unflatten(-1, (self.head_dim, -1)).permute(0, 3, 1, 2)

        return with_steps(split=split)(d_model, n_heads, n_kv_heads)

    @mistake("divides by the root of d_model; each head has D numbers only, so it is the root of D")
    def scales_by_the_model_width(d_model, n_heads, n_kv_heads=None):
        def mix(self, q, k, v, mask):
            return Layer.mix(self, q * (self.head_dim / d_model) ** 0.5, k, v, mask)

        return with_steps(mix=mix)(d_model, n_heads, n_kv_heads)

    @mistake("has one wide head: it attends before it splits, so that all heads look at the same places")
    def one_wide_head(d_model, n_heads, n_kv_heads=None):
        def mix(self, q, k, v, mask):
            return self.split(Layer.mix(self, *(self.join(x) for x in (q, k, v)), mask))

        return with_steps(mix=mix)(d_model, n_heads, n_kv_heads)

    @mistake("leaves out o_proj, which mixes what the heads have found")
    def no_output_projection(d_model, n_heads, n_kv_heads=None):
        return with_steps(finish=lambda self, x: x)(d_model, n_heads, n_kv_heads)

    @mistake("gives the projections biases; here they have none (bias=False)")
    def with_biases(d_model, n_heads, n_kv_heads=None):
        return type("MultiHeadAttention", (Layer,), {})(d_model, n_heads, n_kv_heads, bias=True)

    @mistake("does not hand the mask on")
    def mask_unused(d_model, n_heads, n_kv_heads=None):
        return with_steps(mix=lambda self, q, k, v, mask: Layer.mix(self, q, k, v, None))(d_model, n_heads, n_kv_heads)

    @mistake("repeats key heads as k0 k1 k0 k1; neighbouring query heads share one, so it is k0 k0 k1 k1")
    def tiles_key_heads(d_model, n_heads, n_kv_heads=None):
        def share(self, x):
            return x.repeat(1, self.n_heads // self.n_kv_heads, 1, 1)

        return with_steps(share=share)(d_model, n_heads, n_kv_heads)

    @mistake("uses the first key head for all query heads, whatever n_kv_heads says")
    def first_key_head_only(d_model, n_heads, n_kv_heads=None):
        def share(self, x):
            return x if self.n_heads == self.n_kv_heads else x[:, :1].expand(-1, self.n_heads, -1, -1)

        return with_steps(share=share)(d_model, n_heads, n_kv_heads)

    @mistake("makes k_proj and v_proj as large as q_proj; with fewer key heads they have n_kv_heads * D rows")
    def as_many_key_heads(d_model, n_heads, n_kv_heads=None):
        return with_steps()(d_model, n_heads)
