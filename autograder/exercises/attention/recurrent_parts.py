"""What exercise 13 compares with, and the parts of which its wrong networks are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autograder.compare import close, fail
from autograder.rng import Rng
from autograder.student import Remote, Student, StudentError, type_name

State = dict[str, Tensor]


def draw_state(rng: Rng, d_in: int, d_hidden: int, recurrent: Tensor | None = None) -> State:
    """Parameters large enough to matter, and small enough that no tanh is saturated."""
    return {
        "input.weight": 0.6 * rng.normal(d_hidden, d_in),
        "input.bias": 0.3 * rng.normal(d_hidden),
        "recurrent.weight": 0.9 * rng.normal(d_hidden, d_hidden) / d_hidden**0.5 if recurrent is None else recurrent,
    }


def states_of(state: State, x: Tensor) -> Tensor:
    """The oracle, in float64: one number after the other."""
    W, b, U = (state[name].double() for name in ("input.weight", "input.bias", "recurrent.weight"))
    h, out = torch.zeros(len(b), dtype=torch.float64), []
    for step in x.double():
        h = torch.stack([torch.tanh(W[i] @ step + b[i] + U[i] @ h) for i in range(len(b))])
        out.append(h)
    return torch.stack(out)


def jacobians(state: State, x: Tensor) -> list[Tensor]:
    """d h_T / d x_t for every t, in float64: the chain rule written out as a product of matrices."""
    W, U = state["input.weight"].double(), state["recurrent.weight"].double()
    product, found = torch.eye(len(W), dtype=torch.float64), []
    for h in reversed(states_of(state, x)):
        product = product @ (1 - h**2).diag()  # the slope of tanh
        found.append(product @ W)
        product = product @ U
    return found[::-1]


def norms_of(state: State, x: Tensor) -> Tensor:
    return torch.stack([(J**2).sum().sqrt() for J in jacobians(state, x)])


def build(student: Student, state: State) -> Remote:
    """The student's network with these parameters."""
    d_hidden, d_in = state["input.weight"].shape
    rnn = student.TanhRNN(d_in, d_hidden)
    if not isinstance(rnn, Remote):
        fail(f"TanhRNN(...) gave {type_name(rnn)}, expected a module", rnn)
    try:
        rnn.load_state_dict(state)
    except StudentError as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in state.items())
        fail(f"TanhRNN({d_in}, {d_hidden}) cannot load the parameters {shapes}: {error}")
    return rnn


def gradient_for_inputs(rnn: Remote, x: Tensor, upstream: Tensor) -> tuple[Any, Any]:
    """The states, and the gradient that comes back from them to x."""
    try:
        states, (grad,) = rnn.gradient(x, wrt=[0], upstream=upstream)
    except StudentError as error:
        fail(f"no gradient comes back from the states to x: {error}")
    if grad is None:
        fail("no gradient comes back from the states to x: they do not depend on it")
    return states, grad


def compare_states(got: Any, state: State, x: Tensor, what: str) -> None:
    close(got, states_of(state, x).float(), rtol=1e-3, atol=1e-4, what=what)


def compare_norms(student: Student, *cases: tuple[State, Tensor]) -> None:
    """Ask for all of them before the first is judged: what one case leaves open about a mistake, another one tells."""
    answers = [student.grad_norm_vs_distance(build(student, state), x) for state, x in cases]
    for got, (state, x) in zip(answers, cases, strict=True):
        want = norms_of(state, x).float()
        # What is far away may be very small, and has to be right all the same.
        small = float(want[want > 0].min()) if (want > 0).any() else 1.0
        close(got, want, rtol=3e-3, atol=1e-3 * small, what=f"{len(x)} steps, {len(state['input.bias'])} states: it")


def network(
    step: Callable[[Any, Tensor, Tensor], Tensor], keep: Callable[[list[Tensor]], Tensor] = torch.stack
) -> type:
    """A TanhRNN whose next state is step(network, x_t, h)."""

    class TanhRNN(nn.Module):
        def __init__(self, d_in, d_hidden):
            super().__init__()
            self.input = nn.Linear(d_in, d_hidden)
            self.recurrent = nn.Linear(d_hidden, d_hidden, bias=False)

        def forward(self, x):
            h, states = torch.zeros(self.recurrent.in_features), []
            for row in x:
                h = step(self, row, h)
                states.append(h)
            return keep(states)

    return TanhRNN


class Remembering(nn.Module):
    """Goes on from where the last sequence ended."""

    def __init__(self, d_in, d_hidden):
        super().__init__()
        self.input = nn.Linear(d_in, d_hidden)
        self.recurrent = nn.Linear(d_hidden, d_hidden, bias=False)
        self.h = torch.zeros(d_hidden)

    def forward(self, x):
        states = []
        for row in x:
            self.h = torch.tanh(self.input(row) + self.recurrent(self.h))
            states.append(self.h)
        self.h = self.h.detach()
        return torch.stack(states)


Remembering.__name__ = "TanhRNN"  # a student's class has this name


def jacobian(model: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [T, Out], and the derivatives [Out, T, C] of the last one."""
    x = x.detach().clone().requires_grad_()
    out = model(x)
    rows = [torch.autograd.grad(value, x, retain_graph=True, materialize_grads=True)[0] for value in out[-1]]
    return out.detach(), torch.stack(rows)


def gradient_of(model: Callable, x: Tensor, scalar: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient [T, C] of one number that is computed from the outputs."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(scalar(model(x)), x, materialize_grads=True)[0]


def powers_of(model: Any, x: Tensor, order: Any) -> Tensor:
    """The norm of the recurrent weights to the power of the distance, times that of the input's weights."""
    recurrent, inputs = (torch.linalg.norm(m.weight.detach(), order) for m in (model.recurrent, model.input))
    return inputs * recurrent ** torch.arange(len(x) - 1, -1, -1)


def norms_of_weights(model: Any, x: Tensor) -> Tensor:
    """For each start, how much the last state changes with the recurrent weights."""
    weight = next(p for name, p in model.named_parameters() if name.endswith("weight") and "input" not in name)
    found = [torch.autograd.grad(model(x[t:])[-1].sum(), weight, materialize_grads=True)[0] for t in range(len(x))]
    return torch.stack([grad.norm() for grad in found])
