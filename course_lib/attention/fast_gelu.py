"""GPT-2's GELU for training on a CPU: one node of the graph, built on exp instead of tanh.

As ``tanh(u) = 2 sigmoid(2 u) - 1``, the approximation ``x (1 + tanh(u)) / 2`` is ``x sigmoid(2 u)``. Torch's kernel
computes the tanh, in the forward pass and again in the backward pass. Here the sigmoid is computed once and kept, which
costs one more tensor of the size of x until the backward pass, and saves a third of the time of both on a CPU tried.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LINEAR = 2 * math.sqrt(2 / math.pi)  # 2 u = LINEAR x + CUBIC x^3
CUBIC = 0.044715 * LINEAR


def gelu_tanh(x: Tensor) -> Tensor:
    """Return ``gelu(x, approximate="tanh")``; shape and dtype of x, to rounding the same as torch's.

    On a GPU, and for half precision, it is torch's kernel. Source: Hendrycks and Gimpel 2016, section 2.

    >>> gelu_tanh(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1588,  0.0000,  0.8412])
    """
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return _GeluFunction.apply(x)[0]
    return F.gelu(x, approximate="tanh")


class _GeluFunction(torch.autograd.Function):
    # `out=` below writes into a tensor that is done with: to get fresh memory would cost as much as the operation.

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        square = x * x
        s = torch.add(square.new_tensor(LINEAR), square, alpha=CUBIC).mul_(x).sigmoid_()
        return torch.mul(x, s, out=square), s

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # s has no gradient, not one of zeros
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, _: None) -> Tensor | None:
        if grad_out is None:
            return None
        x, s = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants second derivatives: torch knows them
            return torch.ops.aten.gelu_backward(grad_out, x, approximate="tanh")
        # With s = sigmoid(2 u): (x s)' = s + x s (1 - s) (2 u)' = s (1 + t - t s), where t = x (2 u)'.
        t = (x * x).mul_(3 * CUBIC).add_(LINEAR).mul_(x)
        t.addcmul_(t, s, value=-1)
        return torch.addcmul(s, s, t, out=t).mul_(grad_out)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return _GeluFunction.apply(x), (in_dims[0], in_dims[0])  # element by element: one dimension more is no matter
