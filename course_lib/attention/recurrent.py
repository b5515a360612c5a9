"""Recurrent networks, and how much of the past still reaches the last state: why attention took over.

Both modules take a sequence [..., T, C] and return the state after each step, [..., T, Hidden]; the first starts at
zero. `grad_norm_vs_distance` measures any model that maps a sequence to one.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor


class TanhRNN(nn.Module):
    """The plain recurrent network: ``h_t = tanh(input(x_t) + recurrent(h_{t-1}))`` with ``h_0 = 0``.

    `input` is a linear map with bias from `d_in` to `d_hidden` numbers, `recurrent` one without bias from `d_hidden`
    to itself. Parameters start uniform within 1/sqrt(d_hidden). x [..., T, d_in] gives the states [..., T, d_hidden].
    ValueError for sizes below 1 or an x of another width. Source: Elman 1990; Pascanu et al. 2013,
    equation 2, where the state is what goes into the tanh.

    >>> rnn = TanhRNN(1, 1)
    >>> _ = rnn.load_state_dict({"input.weight": torch.ones(1, 1), "input.bias": torch.zeros(1),
    ...                          "recurrent.weight": torch.ones(1, 1)})
    >>> rnn(torch.tensor([[1.0], [0.0]])).flatten()  # tanh(1), tanh(tanh(1))
    tensor([0.7616, 0.6420], grad_fn=<ViewBackward0>)
    """

    def __init__(self, d_in: int, d_hidden: int):
        super().__init__()
        self.input, self.recurrent = _linear_maps(d_in, d_hidden, d_hidden)

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.input(_require_sequence(x, self.input))  # all steps at once: only the rest must wait for its turn
        state = inputs.new_zeros(*inputs.shape[:-2], self.recurrent.in_features)
        states = []
        for step in inputs.unbind(-2):
            state = torch.tanh(step + self.recurrent(state))
            states.append(state)
        return torch.stack(states, dim=-2)


class LSTM(nn.Module):
    """A recurrent network with a cell whose content is kept or forgotten by gates, not squeezed at every step.

    ``c_t = f·c_{t-1} + i·g`` and ``h_t = o·tanh(c_t)``, where i, f, g, o are the quarters of ``input(x_t) +
    recurrent(h_{t-1})`` after a sigmoid (g: a tanh). The bias of f starts at `forget_bias`: 1 keeps about three
    quarters of the cell at each step. x [..., T, d_in] gives the outputs h [..., T, d_hidden].
    ValueError as for `TanhRNN`. Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (the gate f).

    >>> LSTM(3, 5)(torch.zeros(2, 7, 3)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(self, d_in: int, d_hidden: int, forget_bias: float = 1.0):
        super().__init__()
        self.input, self.recurrent = _linear_maps(d_in, d_hidden, 4 * d_hidden)
        with torch.no_grad():
            self.input.bias[d_hidden : 2 * d_hidden] = forget_bias

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.input(_require_sequence(x, self.input))
        state = inputs.new_zeros(*inputs.shape[:-2], self.recurrent.in_features)
        cell, states = state, []
        for step in inputs.unbind(-2):
            i, f, g, o = (step + self.recurrent(state)).chunk(4, dim=-1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=-2)


def grad_norm_vs_distance(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return how strongly the last output depends on each input: entry t is the norm of the Jacobian d y_T / d x_t.

    x [T, C] is one sequence, `model` maps it to outputs [T, Out]; the norm is that of Frobenius: the root of the sum of
    all Out · C squared derivatives. The result [T] ends with the nearest input and begins with the farthest. One
    backward pass for each of the Out coordinates; neither x nor the model's gradients are changed.
    ValueError for an x that is no [T, C] of floating point numbers, or a model that returns no [T, Out].
    Source: Pascanu et al. 2013, section 2.1 (what they bound is the same Jacobian, with respect to states).

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> grad_norm_vs_distance(lambda x: x.cumsum(0) * torch.tensor([3.0, 4.0]), x)
    tensor([5., 5., 5.])
    """
    require_tensor("x", x, "[T, C]")
    if not x.dtype.is_floating_point:
        raise ValueError(f"x: expected floating point numbers, got {x.dtype}")
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = model(x)
        require_tensor("model", out, "[T, Out]")
        if out.shape[0] != x.shape[0]:
            raise ValueError(f"model: expected one output for each of {x.shape[0]} inputs, got {out.shape[0]}")
        if not out.requires_grad:
            raise ValueError("model: expected an output that depends on its input, got one without gradient")
        squares = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for coordinate in out[-1].unbind():
            (grad,) = torch.autograd.grad(coordinate, x, retain_graph=True, materialize_grads=True)
            squares += grad.square().sum(dim=1)
    return squares.sqrt()


def _linear_maps(d_in: int, d_hidden: int, d_out: int) -> tuple[nn.Linear, nn.Linear]:
    require_int("d_in", d_in, 1)
    require_int("d_hidden", d_hidden, 1)
    maps = nn.Linear(d_in, d_out), nn.Linear(d_hidden, d_out, bias=False)
    for linear in maps:
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -(d_hidden**-0.5), d_hidden**-0.5)
    return maps


def _require_sequence(x: Tensor, linear: nn.Linear) -> Tensor:
    require_tensor("x", x, "[..., T, C]")
    if x.shape[-1] != linear.in_features or x.shape[-2] == 0:
        raise ValueError(f"x: expected shape [..., T, {linear.in_features}] with T >= 1, got {tuple(x.shape)}")
    return x
