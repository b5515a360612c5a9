"""GPT-2's GELU for training on a CPU: one node of the graph, built on exp instead of tanh.

As ``tanh(u) = 2 sigmoid(2 u) - 1``, the approximation ``x (1 + tanh(u)) / 2`` is ``x sigmoid(2 u)``. Torch's kernel
computes the tanh, in the forward pass and again in the backward pass, and on the CPUs tried here that takes several
times as long as a sigmoid and a few multiplications.
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
        return _GeluFunction.apply(x)
    return F.gelu(x, approximate="tanh")


class _GeluFunction(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _sigmoid(x, x * x).mul_(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants second derivatives: torch knows them
            return torch.ops.aten.gelu_backward(grad_out, x, approximate="tanh")
        # With s = sigmoid(2 u): (x s)' = s + x s (1 - s) (2 u)' = s (1 + t - t s), where t = x (2 u)'.
        square = x * x
        s = _sigmoid(x, square)
        t = square.mul_(3 * CUBIC).add_(LINEAR).mul_(x)
        t.addcmul_(t, s, value=-1)
        return s.addcmul_(s, t).mul_(grad_out)


def _sigmoid(x: Tensor, square: Tensor) -> Tensor:
    return torch.add(square.new_tensor(LINEAR), square, alpha=CUBIC).mul_(x).sigmoid_()
