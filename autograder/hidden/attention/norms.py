"""Hidden part of exercise 8."""

import torch
from torch import nn

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.attention import norms as public
from autograder.exercises.attention.norms_parts import (
    bending,
    both_orders,
    draw_state,
    expected,
    gradients,
    mixing,
    normalised,
    rms_normalised,
)
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Student


class Block(public.Block):
    @check(hint="A vector's result depends on this vector alone: not on the batch, nor on the length of the text.")
    def norms_treat_every_vector_alone(self, student: Student, rng: Rng) -> None:
        C, eps = rng.randint(3, 12), rng.uniform(1e-3, 0.3)
        g, b = rng.normal(C), rng.normal(C)
        for shape in ((2, 3, 4, C), (C,), (1, C), (1, 1, C)):
            x = 3 * rng.normal(*shape) - 1
            if len(shape) == 4:
                x[0, 1, 2], x[1, 0, 0] = 0.0, 5.0  # and the constant vectors among them
            got = student.layer_norm(x, g, b, eps)
            what = f"of x of shape {list(shape)}"
            close(got, normalised(x, g, b, eps), rtol=1e-4, atol=1e-4, what=f"layer_norm {what}", dtype=False)
            got = student.rms_norm(x, g, eps)
            close(got, rms_normalised(x, g, eps), rtol=1e-4, atol=1e-4, what=f"rms_norm {what}", dtype=False)
        x = rng.normal(4, 6, C)
        for f, arguments in ((student.layer_norm, (g, b)), (student.rms_norm, (g,))):
            whole, part = f(x, *arguments), f(x[1:2, 2:5], *arguments)
            close(part, a_tensor(whole, "a norm")[1:2, 2:5], rtol=1e-4, atol=1e-5, what="a part of the text alone")

    @check(hint="Work on tensors throughout: gradients have to find their way from the result to x, g and b.")
    def gradients_pass_through_both_norms(self, student: Student, rng: Rng) -> None:
        C, eps = rng.randint(3, 6), rng.uniform(0.1, 0.5)
        x, g, b, up = rng.normal(2, 3, C), rng.normal(C) + 2, rng.normal(C), rng.normal(2, 3, C)
        close(student.rms_norm(0 * x, g), 0 * x, what="vectors of zeros", dtype=False)
        close(student.layer_norm(0 * x, g, b), b.expand(2, 3, C), what="vectors of zeros", dtype=False)
        _, grads = student.layer_norm.gradient(x, g, b, eps, wrt=[0, 1, 2], upstream=up)
        want = list(gradients(up, x, g, eps))
        close(grads, want, rtol=1e-3, atol=1e-4, what="the gradients through layer_norm", dtype=False)
        leaves = [t.clone().requires_grad_() for t in (x, g)]
        want = list(torch.autograd.grad(rms_normalised(*leaves, eps), leaves, up))
        _, grads = student.rms_norm.gradient(x, g, eps, wrt=[0, 1], upstream=up)
        close(grads, want, rtol=1e-3, atol=1e-4, what="the gradients through rms_norm", dtype=False)

    @check(hint="Moving or stretching a vector changes nothing behind the norm: dx has no part in those directions.")
    def backward_holds_for_any_shape(self, student: Student, rng: Rng) -> None:
        for shape in ((rng.randint(3, 6),), (4, rng.randint(3, 6)), (2, 3, 2, rng.randint(3, 6))):
            x, g, up = 2 * rng.normal(*shape) + 3, rng.normal(shape[-1]), rng.normal(*shape)
            eps = rng.uniform(0.1, 0.5)
            got = student.layer_norm_backward(up, x, g, eps)
            what = f"the gradient for x of shape {list(shape)}"
            close(got, gradients(up, x, g, eps), rtol=1e-3, atol=1e-4, what=what, dtype=False)
        x, g, up = 3 * rng.normal(5, 64), rng.normal(64), rng.normal(5, 64)
        got = student.layer_norm_backward(up, x, g)
        close(got, gradients(up, x, g, 1e-5), rtol=1e-3, atol=1e-4, what="the gradient with the usual eps", dtype=False)
        close(got[0].sum(-1), torch.zeros(5), atol=1e-3, what="the sum of each row of dx", dtype=False)
        close((got[0] * x).sum(-1), torch.zeros(5), atol=2e-3, what="each row of dx times that of x", dtype=False)

    @check(hint="A new block's norms have gain 1 and shift 0, under the names norm1.weight, norm1.bias and so on.")
    def a_new_block_has_two_neutral_norms(self, student: Student, rng: Rng) -> None:
        d = rng.randint(4, 9)
        x, state = 2 * rng.normal(3, 4, d) + 2, {}
        for norm in ("norm1", "norm2"):
            state |= {f"{norm}.weight": torch.ones(d), f"{norm}.bias": torch.zeros(d)}
        for got, pre in zip(both_orders(student, d, None, (x, x)), (True, False), strict=True):
            what = f"a new block with pre={pre}"
            close(got, expected(x, state, pre), rtol=1e-3, atol=1e-3, what=what, dtype=False)
        found = student.Block(d, mixing, bending).state_dict()
        true(isinstance(found, dict), "state_dict() did not return a dictionary")
        equal(sorted(found), sorted(state), what="sorted(block.state_dict())")
        for name, value in state.items():
            close(found[name], value, what=f"{name} of a new block")

    @check(points=2, hint="Run two blocks one after the other by hand, in both orders.")
    def blocks_stack_in_both_orders(self, student: Student, rng: Rng) -> None:
        d, T = rng.randint(6, 12), rng.randint(2, 7)
        x = 3 * rng.normal(3, T, d) - 1
        inputs = (x, x)
        for layer in (1, 2, 3):
            state = draw_state(rng, d)
            results = both_orders(student, d, state, inputs)
            wants = tuple(expected(x, state, pre) for x, pre in zip(inputs, (True, False), strict=True))
            for got, want, pre in zip(results, wants, (True, False), strict=True):
                what = f"block {layer} of a stack with pre={pre}"
                close(got, want, rtol=2e-3, atol=2e-3, what=what, dtype=False)
            inputs = wants

    @variant
    class Statistics:
        """torch.var_mean and a Block that holds its gains itself."""

        def layer_norm(x, g, b, eps=1e-5):
            var, middle = torch.var_mean(x.double(), dim=-1, keepdim=True, correction=0)
            return torch.addcmul(b.double(), (x.double() - middle) / torch.sqrt(var + eps), g.double()).to(x.dtype)

        def layer_norm_backward(grad_out, x, g, eps=1e-5):
            C = x.shape[-1]
            rows, up = x.reshape(-1, C), grad_out.reshape(-1, C)
            std = (rows.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
            n, h = (rows - rows.mean(-1, keepdim=True)) / std, up * g
            dx = (C * h - h.sum(-1, keepdim=True) - n * (h * n).sum(-1, keepdim=True)) / (C * std)
            return dx.reshape(x.shape), (up * n).sum(0), up.sum(0)

        def rms_norm(x, g, eps=1e-6):
            wide = x.to(torch.float32)
            return (wide * wide.pow(2).mean(-1, keepdim=True).add(eps).rsqrt()).type_as(x) * g

        class Block(nn.Module):
            class Norm(nn.Module):
                def __init__(self, d):
                    super().__init__()
                    self.weight = nn.Parameter(torch.ones(d))
                    self.bias = nn.Parameter(torch.zeros(d))

                def forward(self, x):
                    centred = x - x.mean(-1, keepdim=True)
                    return centred * (centred.pow(2).mean(-1, keepdim=True) + 1e-5) ** -0.5 * self.weight + self.bias

            def __init__(self, d_model, attention, mlp, pre=True):
                super().__init__()
                self.norm1, self.norm2 = self.Norm(d_model), self.Norm(d_model)
                self.sublayers = ((self.norm1, attention), (self.norm2, mlp))
                self.pre = pre

            def forward(self, x):
                for norm, sublayer in self.sublayers:
                    x = x + sublayer(norm(x)) if self.pre else norm(x + sublayer(x))
                return x

    @variant
    class Autograd:
        """The gradient by torch.autograd.grad through the formula."""

        def layer_norm(x, g, b, eps=1e-5):
            wide = x.float()
            centred = wide - wide.sum(-1, keepdim=True) / x.shape[-1]
            return (centred / (centred.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps).sqrt() * g + b).type_as(x)

        def layer_norm_backward(grad_out, x, g, eps=1e-5):
            leaves = [t.detach().clone().requires_grad_() for t in (x, g, torch.zeros_like(g))]
            centred = leaves[0] - leaves[0].mean(-1, keepdim=True)
            out = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * leaves[1] + leaves[2]
            return torch.autograd.grad(out, leaves, grad_out)

    @variant
    class Projections:
        """dx as a product with the Jacobian of each vector, dg and db by einsum; RMS through the vector norm."""

        def layer_norm_backward(grad_out, x, g, eps=1e-5):
            C = x.shape[-1]
            centred = x - x.mean(-1, keepdim=True)
            std = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
            n = centred / std
            jacobian = (torch.eye(C) - 1 / C - n[..., :, None] * n[..., None, :] / C) / std[..., None]
            dx = torch.einsum("...ij,...j->...i", jacobian, grad_out * g)
            return dx, torch.einsum("...c,...c->c", grad_out, n), torch.einsum("...c->c", grad_out)

        def rms_norm(x, g, eps=1e-6):
            wide = x.double()
            length = torch.sqrt(torch.linalg.vector_norm(wide, dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps)
            return (g.double() * wide / length).to(x.dtype)
