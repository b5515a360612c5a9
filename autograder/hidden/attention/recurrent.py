"""Hidden checks of exercise 13, and other ways to solve it."""

from __future__ import annotations

import torch
from torch import nn

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.attention import recurrent as public
from autograder.exercises.attention.recurrent_parts import (
    build,
    compare_norms,
    compare_states,
    draw_state,
    norms_of,
)
from autograder.rng import Rng
from autograder.student import Student


class GradNormVsDistance(public.GradNormVsDistance):
    @check(hint="One step, one state, one input number: nothing in the recurrence depends on how many there are.")
    def any_sizes(self, student: Student, rng: Rng) -> None:
        cases = []
        for T, d_in, d_hidden in ((1, 3, 2), (5, 1, 1), (2, 1, 6), (rng.randint(6, 9), 5, 3), (7, 2, 4)):
            cases.append((draw_state(rng, d_in, d_hidden), rng.normal(T, d_in)))
        for state, x in cases:
            rnn = build(student, state)
            first, again = rnn(x), rnn(x)
            compare_states(first, state, x, f"{list(x.shape)} inputs: the states")
            compare_states(again, state, x, f"{list(x.shape)} inputs once more: the states")
        compare_norms(student, *cases)

    @check(hint="Over forty steps the norms fall or grow by many powers of ten; each of them is a number to get right.")
    def long_sequences(self, student: Student, rng: Rng) -> None:
        H = rng.randint(3, 5)
        turn = torch.linalg.qr(rng.normal(H, H).double())[0].float()
        cases = [(draw_state(rng, 2, H, factor * turn), 0.3 * rng.normal(40, 2)) for factor in (0.8, 1.2)]
        compare_norms(student, *cases, (draw_state(rng, 2, H), rng.normal(6, 2)))

    @check(hint="The model may be anything that maps [T, C] to [T, Out]: call it, and look at nothing inside.")
    def any_model_can_be_measured(self, student: Student, rng: Rng) -> None:
        H = rng.randint(3, 5)
        state, x, far = draw_state(rng, 2, H), rng.normal(6, H), rng.normal(5, 2)
        rnn = build(student, state)
        of_rnn = student.grad_norm_vs_distance(rnn, far)
        got = student.grad_norm_vs_distance(rnn.recurrent, x)  # a linear map, which treats each step alone
        close(of_rnn, norms_of(state, far).float(), rtol=3e-3, atol=1e-5, what="the network first: it")
        want = torch.zeros(6)
        want[-1] = state["recurrent.weight"].norm()
        close(got, want, rtol=1e-3, atol=1e-6, what="a linear map as the model: it")

    @check(hint="Work on a copy of x, and leave no gradients behind that the next call would add to.")
    def a_second_call_gives_the_same(self, student: Student, rng: Rng) -> None:
        state, x = draw_state(rng, 3, 4), rng.normal(6, 3)
        rnn = build(student, state)
        answers = []
        for _ in range(2):
            got, after = student.grad_norm_vs_distance.with_arguments(rnn, x)
            answers.append((got, after[1]))
        for (got, after), word in zip(answers, ("first", "second"), strict=True):
            close(got, norms_of(state, x).float(), rtol=3e-3, atol=1e-5, what=f"the {word} call: it")
            close(after, x, rtol=0, atol=0, what=f"x after the {word} call")
        compare_states(rnn(x), state, x, "the network afterwards: the states")

    @variant
    class BackwardPasses:
        """The states in a preallocated list of rows; .backward() for each coordinate, on an x that is cleared."""

        class TanhRNN(nn.Module):
            def __init__(self, d_in, d_hidden):
                super().__init__()
                self.recurrent = nn.Linear(d_hidden, d_hidden, bias=False)
                self.input = nn.Linear(d_in, d_hidden)
                self.d_hidden = d_hidden

            def forward(self, x):
                rows = [x.new_zeros(1, self.d_hidden)]
                for t in range(x.shape[0]):
                    rows.append(torch.tanh(self.input(x[t : t + 1]) + self.recurrent(rows[-1])))
                return torch.cat(rows[1:])

        def grad_norm_vs_distance(model, x):
            x = x.clone().requires_grad_(True)
            out = model(x)
            total = torch.zeros(x.shape[0])
            for i in range(out.shape[1]):
                x.grad = None
                out[-1, i].backward(retain_graph=True)
                total += (x.grad**2).sum(1)
            return total**0.5

    @variant
    class WholeJacobian:
        """torch.autograd.functional.jacobian, and a cell with one weight matrix at a time."""

        class TanhRNN(nn.Module):
            def __init__(self, d_in, d_hidden):
                super().__init__()
                self.add_module("input", nn.Linear(d_in, d_hidden))
                self.add_module("recurrent", nn.Linear(d_hidden, d_hidden, bias=False))

            def forward(self, x):
                projected = x @ self.input.weight.T + self.input.bias
                h, states = torch.zeros_like(projected[0]), []
                for p in projected:
                    h = (p + self.recurrent.weight @ h).tanh()
                    states.append(h)
                return torch.stack(states, dim=0)

        def grad_norm_vs_distance(model, x):
            J = torch.autograd.functional.jacobian(lambda x: model(x)[-1], x)  # [Out, T, C]
            return torch.linalg.matrix_norm(J.transpose(0, 1))

    @variant
    class OneBackwardPass:
        """A copy of x for each coordinate of the last output, and one sum whose gradient is all of them."""

        def grad_norm_vs_distance(model, x):
            width = model(x).shape[-1]
            copies = x.detach().expand(width, *x.shape).clone().requires_grad_()
            total = sum(model(copies[i])[-1, i] for i in range(width))
            total.backward()
            return torch.einsum("otc,otc->t", copies.grad, copies.grad).sqrt()
