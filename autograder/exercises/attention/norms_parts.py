"""What exercise 8 compares with, and the parts of which its wrong blocks are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autograder.compare import close, fail
from autograder.rng import Rng
from autograder.student import Remote, Student, type_name


def normalised(x: Tensor, g: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """The oracle in float64: the variance is the mean squared distance between all pairs of numbers, halved."""
    wide = x.double()
    pairs = wide.unsqueeze(-1) - wide.unsqueeze(-2)
    variance = pairs.square().mean((-1, -2)).unsqueeze(-1) / 2
    return (pairs.mean(-1) / (variance + eps).sqrt() * g.double() + b.double()).to(x.dtype)


def rms_normalised(x: Tensor, g: Tensor, eps: float = 1e-6) -> Tensor:
    """The oracle in float64: the mean square as an inner product."""
    wide = x.double()
    mean_square = torch.einsum("...c,...c->...", wide, wide)[..., None] / x.shape[-1]
    return (wide / (mean_square + eps) ** 0.5 * g.double()).to(x.dtype)


def gradients(grad_out: Tensor, x: Tensor, g: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The oracle for the backward pass: autograd through the oracle for the forward pass."""
    leaves = [t.double().requires_grad_() for t in (x, g, torch.zeros_like(g))]
    found = torch.autograd.grad(normalised(*leaves, eps), leaves, grad_out.double())
    return tuple(grad.to(x.dtype) for grad in found)


def mixing(x: Tensor) -> Tensor:
    """Stands in for attention: every place gets half of what stood before it."""
    return 0.5 * x.roll(1, -2) + 0.3


def bending(x: Tensor) -> Tensor:
    """Stands in for the MLP: each place for itself, and no straight line."""
    return 1.5 * torch.sin(2 * x)


def draw_state(rng: Rng, d: int) -> dict[str, Tensor]:
    """Gains and shifts that tell the two norms apart."""
    state = {}
    for norm in ("norm1", "norm2"):
        state |= {f"{norm}.weight": rng.normal(d) + 2, f"{norm}.bias": rng.normal(d)}
    return state


def expected(x: Tensor, state: dict[str, Tensor], pre: bool) -> Tensor:
    """What a block must return, written out in full."""
    norm1, norm2 = ((state[f"{n}.weight"], state[f"{n}.bias"]) for n in ("norm1", "norm2"))
    if pre:
        middle = x + mixing(normalised(x, *norm1))
        return middle + bending(normalised(middle, *norm2))
    middle = normalised(x + mixing(x), *norm1)
    return normalised(middle + bending(middle), *norm2)


def both_orders(student: Student, d: int, state: dict[str, Tensor] | None, inputs: tuple[Tensor, Tensor]) -> list[Any]:
    """What a pre-norm and a post-norm block return, both asked before either is judged: then one tells on the other."""
    results = []
    # pre=True is what Block does unless told otherwise.
    for x, order in zip(inputs, ({}, {"pre": False}), strict=True):
        block = student.Block(d, mixing, bending, **order)
        if not isinstance(block, Remote):
            fail(f"Block(...) gave {type_name(block)}, expected a module", block)
        if state is not None:
            block.load_state_dict(state)
        results.append(block(x))
    return results


def compare_block(student: Student, rng: Rng, pre: bool) -> None:
    d, T = rng.randint(5, 9), rng.randint(3, 6)
    state, x = draw_state(rng, d), 2 * rng.normal(2, T, d) + 1
    got = both_orders(student, d, state, (x, x))[0 if pre else 1]
    what = f"a {'pre' if pre else 'post'}-norm block of width {d}"
    close(got, expected(x, state, pre), rtol=1e-3, atol=1e-3, what=what, dtype=False)


def norm_over(x: Tensor, g: Tensor, b: Tensor, eps: float, dims: Any) -> Tensor:
    wide = x.float()
    var, mean = torch.var_mean(wide, dim=dims, correction=0, keepdim=True)
    return ((wide - mean) / (var + eps).sqrt() * g + b).to(x.dtype)


def backward_parts(grad_out: Tensor, x: Tensor, g: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return centred * scale, scale, grad_out * g


def rows_added(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).sum(0)


def mean(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True)


def block_with(pre: Callable, post: Callable) -> type:
    """A Block class whose two orders are the given functions of (block, x)."""

    class Block(nn.Module):
        def __init__(self, d_model, attention, mlp, pre=True):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
            self.attention, self.mlp, self.pre = attention, mlp, pre

        def forward(self, x):
            return self.order[0](self, x) if self.pre else self.order[1](self, x)

    Block.order = (pre, post)
    return Block


def right_pre(block: Any, x: Tensor) -> Tensor:
    x = x + block.attention(block.norm1(x))
    return x + block.mlp(block.norm2(x))


def right_post(block: Any, x: Tensor) -> Tensor:
    x = block.norm1(x + block.attention(x))
    return block.norm2(x + block.mlp(x))


def added_to_the_norm(block: Any, x: Tensor) -> Tensor:
    x = block.norm1(x)
    x = block.norm2(x + block.attention(x))
    return x + block.mlp(x)


def second_sum_from_x(block: Any, x: Tensor) -> Tensor:
    middle = x + block.attention(block.norm1(x))
    return x + block.mlp(block.norm2(middle))


def second_norm_missing(block: Any, x: Tensor) -> Tensor:
    x = x + block.attention(block.norm1(x))
    return x + block.mlp(x)


def norm_behind(block: Any, x: Tensor) -> Tensor:
    x = x + block.norm1(block.attention(x))
    return x + block.norm2(block.mlp(x))


def one_norm_for_both(block: Any, x: Tensor) -> Tensor:
    x = x + block.attention(block.norm1(x))
    return x + block.mlp(block.norm1(x))


def mlp_first(block: Any, x: Tensor) -> Tensor:
    x = x + block.mlp(block.norm1(x))
    return x + block.attention(block.norm2(x))


def first_post_norm_only(block: Any, x: Tensor) -> Tensor:
    x = block.norm1(x + block.attention(x))
    return x + block.mlp(x)


def last_post_norm_only(block: Any, x: Tensor) -> Tensor:
    x = x + block.attention(x)
    return block.norm2(x + block.mlp(x))
