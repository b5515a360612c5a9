"""Exercise 13: a recurrent network, and how much of what it read long ago still reaches its last state."""

from __future__ import annotations

import torch

from autograder.compare import close
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.recurrent_parts import (
    Remembering,
    build,
    compare_norms,
    compare_states,
    draw_state,
    gradient_for_inputs,
    gradient_of,
    jacobian,
    jacobians,
    network,
    norms_of_weights,
    powers_of,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


class GradNormVsDistance(Exercise):
    """Write the recurrence of a tanh network, and measure how strongly its last state depends on each input."""

    title = "Why not an RNN"
    difficulty = 2
    minutes = 45
    functions = ("TanhRNN", "grad_norm_vs_distance")
    reference = attention
    forbid = ("torch.nn.RNN", "torch.nn.RNNCell", "torch.rnn_tanh", "torch.rnn_tanh_cell")
    hints = (
        "How does the last state change if you nudge a single number of x[t]? There are d_hidden numbers that can "
        "change and C that can be nudged: how many derivatives is that for each t?",
        "TanhRNN: start with a state of zeros, go through the rows of x, collect every state, stack them. The norm: "
        "take a copy of x that requires a gradient, run the model, and for each coordinate of the last output ask "
        "torch.autograd.grad for its gradient with respect to x, [T, C]. Square, add up over coordinates and columns, "
        "and take the root at the end.",
        "forward: h = torch.zeros(d_hidden); for row in x: h = torch.tanh(self.input(row) + self.recurrent(h)). The "
        "norm: x = x.detach().clone().requires_grad_(); last = model(x)[-1]; g = torch.stack([torch.autograd.grad(y, "
        "x, retain_graph=True)[0] for y in last]); return g.square().sum(dim=(0, 2)).sqrt().",
    )

    @check(hint="h = tanh(input(x_t) + recurrent(h)), row by row, from h = 0 at the start of every sequence.")
    def the_network_follows_its_recurrence(self, student: Student, rng: Rng) -> None:
        d_in, d_hidden, T = rng.randint(2, 4), rng.randint(3, 5), rng.randint(4, 6)
        state, x = draw_state(rng, d_in, d_hidden), rng.normal(T, d_in)
        rnn = build(student, state)
        first, again = rnn(x), rnn(x)
        compare_states(first, state, x, f"a sequence of {T} steps: the states")
        compare_states(again, state, x, "the same sequence once more: the states")

    @check(hint="Gradients must find their way from the last state through every step to the first input: no detach().")
    def gradients_flow_through_every_step(self, student: Student, rng: Rng) -> None:
        d_in, d_hidden, T = rng.randint(2, 4), rng.randint(3, 5), rng.randint(4, 6)
        state, x, upstream = draw_state(rng, d_in, d_hidden), rng.normal(T, d_in), torch.zeros(T, d_hidden)
        upstream[-1] = rng.normal(d_hidden)
        states, grad = gradient_for_inputs(build(student, state), x, upstream)
        compare_states(states, state, x, "the states")
        want = torch.stack([upstream[-1].double() @ J for J in jacobians(state, x)]).float()
        close(grad, want, rtol=1e-3, atol=1e-5, what="the gradient of the last state for the inputs")

    @check(hint="All derivatives of the last output's coordinates for the numbers of x[t]: square, add, take the root.")
    def it_is_the_norm_of_the_true_jacobian(self, student: Student, rng: Rng) -> None:
        cases = []
        for T in (rng.randint(3, 4), rng.randint(5, 7)):
            d_in, d_hidden = rng.randint(2, 4), rng.randint(3, 5)
            cases.append((draw_state(rng, d_in, d_hidden), rng.normal(T, d_in)))
        compare_norms(student, *cases)

    @check(hint="Without recurrent weights the last output knows the last input only; with them, all the others.")
    def without_recurrence_only_the_last_input_counts(self, student: Student, rng: Rng) -> None:
        T, H = rng.randint(4, 6), rng.randint(3, 4)
        cases = [(draw_state(rng, 2, H, U), rng.normal(T, 2)) for U in (torch.zeros(H, H), 0.5 * torch.ones(H, H))]
        compare_norms(student, *cases)

    @check(hint="Each step back multiplies by the same matrix: what halves once halves every time.")
    def a_network_that_halves_forgets_exponentially(self, student: Student, rng: Rng) -> None:
        T, H = rng.randint(10, 14), rng.randint(3, 4)
        turn = torch.linalg.qr(rng.normal(H, H).double())[0].float()  # changes no length
        cases = []
        for factor in (0.5, 1.25):
            state = draw_state(rng, 2, H, factor * turn) | {"input.bias": torch.zeros(H)}
            cases.append((state, 1e-3 * rng.normal(T, 2)))  # so small that tanh is nearly a straight line
        compare_norms(student, *cases, (draw_state(rng, 2, H), rng.normal(6, 2)))

    never_carries = mistake("computes each state from its input alone; the state before belongs in it", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x)))
    )
    no_tanh = mistake("leaves out the tanh around the sum", of="TanhRNN")(
        network(lambda m, x, h: m.input(x) + m.recurrent(h))
    )
    tanh_of_the_input = mistake("takes the tanh of the input's part only; it goes around the sum", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x)) + m.recurrent(h))
    )
    adds_the_state = mistake("adds the old state as it is; it goes through self.recurrent first", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x) + h))
    )
    transposed = mistake("multiplies the recurrent weights the wrong way round: h @ W instead of W h", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x) + h @ m.recurrent.weight))
    )
    returns_the_last = mistake("returns the last state only; asked is one row for each step", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x) + m.recurrent(h)), lambda states: states[-1])
    )
    goes_on = mistake("goes on from the state where the last sequence ended; each one starts at zero", of="TanhRNN")(
        Remembering
    )
    detaches = mistake("cuts the state off (detach, no_grad, .data); then no gradient goes back", of="TanhRNN")(
        network(lambda m, x, h: torch.tanh(m.input(x) + m.recurrent(h.detach())))
    )

    @mistake("averages derivatives with their signs; they cancel each other: square them first")
    def signed_average(model, x):
        return gradient_of(model, x, lambda out: out[-1].sum()).mean(dim=1)

    @mistake("averages all derivatives with their signs; they cancel each other: square them first")
    def signed_average_of_all(model, x):
        return jacobian(model, x)[1].mean(dim=(0, 2))

    @mistake("adds up the coordinates of the last output and differentiates the sum; opposite signs cancel there")
    def of_the_sum(model, x):
        return gradient_of(model, x, lambda out: out[-1].sum()).norm(dim=1)

    @mistake("differentiates the sum of all outputs; only the last one shows what has been kept")
    def of_all_outputs(model, x):
        return gradient_of(model, x, lambda out: out.sum()).norm(dim=1)

    @mistake("adds up the outputs over time before it differentiates; only the last one shows what has been kept")
    def of_the_sum_over_time(model, x):
        return jacobian(lambda x: model(x).sum(dim=0, keepdim=True), x)[1].norm(dim=(0, 2))

    @mistake("multiplies norms of the weights; the slopes of tanh and the directions belong to the Jacobian")
    def product_of_norms(model, x):
        return powers_of(model, x, None)

    @mistake("multiplies the largest singular values of the weights; that is a bound, the true Jacobian is smaller")
    def product_of_singular_values(model, x):
        return powers_of(model, x, 2)

    @mistake("takes the gradient of the weights; asked is how the last output depends on each input")
    def of_the_weights(model, x):
        return norms_of_weights(model, x)

    @mistake("differentiates with respect to the outputs; the last output depends on itself only: take x")
    def of_the_outputs(model, x):
        out = model(x)
        (grad,) = torch.autograd.grad(out[-1].sum(), out)
        return grad.norm(dim=1)

    @mistake("looks at the first output; it has seen nothing but the first input")
    def of_the_first(model, x):
        return jacobian(lambda x: model(x)[:1], x)[1].norm(dim=(0, 2))

    @mistake("begins with the nearest input; entry t belongs to x[t], so the nearest comes last")
    def reversed_order(model, x):
        return attention.grad_norm_vs_distance(model, x).flip(0)

    @mistake("does not take the root of the sum of squares")
    def no_root(model, x):
        return attention.grad_norm_vs_distance(model, x).square()

    @mistake("takes the root of the mean of squares; the norm is the root of their sum")
    def mean_of_squares(model, x):
        return jacobian(model, x)[1].square().mean(dim=(0, 2)).sqrt()

    @mistake("adds up absolute values; the norm is the root of the sum of squares")
    def absolute_values(model, x):
        return jacobian(model, x)[1].abs().sum(dim=(0, 2))

    @mistake("takes the largest singular value of each Jacobian; asked is the norm of Frobenius, over all entries")
    def spectral(model, x):
        return torch.linalg.matrix_norm(jacobian(model, x)[1].transpose(0, 1), ord=2)
