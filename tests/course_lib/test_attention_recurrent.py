"""Recurrent networks against torch's; gradient norms against closed forms and finite differences."""

import pytest
import torch
from torch import nn

from course_lib.attention import LSTM, TanhRNN, grad_norm_vs_distance

torch.set_num_threads(1)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def twin(ours, theirs):
    """torch's network with the same parameters; it has a second bias, which is zero here."""
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.input.weight)
        theirs.weight_hh_l0.copy_(ours.recurrent.weight)
        theirs.bias_ih_l0.copy_(ours.input.bias)
        theirs.bias_hh_l0.zero_()
    return theirs


PAIRS = {
    "tanh": lambda: (TanhRNN(3, 5).double(), nn.RNN(3, 5, batch_first=True).double()),
    "lstm": lambda: (LSTM(3, 5).double(), nn.LSTM(3, 5, batch_first=True).double()),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("shape", [(6, 3), (2, 6, 3), (2, 1, 3)])
def test_states_and_gradients_are_those_of_torch(pair, shape):
    torch.manual_seed(0)
    ours, theirs = pair()
    twin(ours, theirs)
    x = draw(*shape).requires_grad_()
    want = theirs(x)[0]
    torch.testing.assert_close(ours(x), want)
    upstream = draw(*want.shape, seed=1)
    torch.testing.assert_close(
        torch.autograd.grad(ours(x), (x, ours.recurrent.weight), upstream),
        torch.autograd.grad(want, (x, theirs.weight_hh_l0), upstream),
    )


def test_more_leading_dimensions_are_a_batch():
    rnn, x = TanhRNN(3, 5).double(), draw(2, 3, 6, 3)
    torch.testing.assert_close(rnn(x)[1, 2], rnn(x[1, 2]))


def test_the_forget_gate_starts_open():
    lstm = LSTM(3, 4, forget_bias=2.0)
    assert (lstm.input.bias[4:8] == 2.0).all() and lstm.input.bias.abs().lt(0.6).sum() == 12


def jacobian_norms(model, x):
    """Every derivative by a central difference."""
    step = 1e-6
    norms = []
    for t in range(x.shape[0]):
        columns = []
        for c in range(x.shape[1]):
            change = torch.zeros_like(x)
            change[t, c] = step
            columns.append((model(x + change)[-1] - model(x - change)[-1]) / (2 * step))
        norms.append(torch.stack(columns).norm())
    return torch.stack(norms).detach()


@pytest.mark.parametrize("make", [lambda: TanhRNN(3, 4), lambda: LSTM(3, 4)], ids=["tanh", "lstm"])
def test_norms_agree_with_finite_differences(make):
    torch.manual_seed(0)
    model, x = make().double(), draw(7, 3)
    torch.testing.assert_close(grad_norm_vs_distance(model, x), jacobian_norms(model, x), rtol=1e-6, atol=1e-8)


def test_the_closed_form_of_a_recurrent_network():
    torch.manual_seed(0)
    rnn, x = TanhRNN(2, 3).double(), draw(6, 2)
    slopes = 1 - rnn(x).detach() ** 2  # of tanh
    with torch.no_grad():
        step, want = torch.eye(3, dtype=x.dtype), []
        for slope in reversed(slopes):
            step = step @ slope.diag()
            want.append((step @ rnn.input.weight).norm())
            step = step @ rnn.recurrent.weight
    torch.testing.assert_close(grad_norm_vs_distance(rnn, x), torch.stack(want[::-1]))


def test_a_contracting_network_forgets_exponentially_and_a_sum_does_not():
    rnn = TanhRNN(1, 4).double()
    with torch.no_grad():
        rnn.recurrent.weight.copy_(0.5 * torch.eye(4))
        rnn.input.bias.zero_()
    norms = grad_norm_vs_distance(rnn, 1e-6 * draw(20, 1))  # so small that tanh is the identity
    torch.testing.assert_close(norms[:-1] / norms[1:], torch.full((19,), 0.5).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        grad_norm_vs_distance(lambda x: x.cumsum(0), draw(20, 4)), torch.full((20,), 2.0).double()
    )


def test_inputs_after_the_last_output_that_is_asked_for_do_not_exist():
    x = draw(5, 2)
    norms = grad_norm_vs_distance(lambda x: x * 3, x)
    torch.testing.assert_close(norms, torch.tensor([0, 0, 0, 0, 18.0**0.5], dtype=x.dtype))


def test_an_output_that_does_not_use_its_input_has_norm_zero():
    weight = torch.ones(4, 3, requires_grad=True)
    assert grad_norm_vs_distance(lambda x: weight * 2, torch.ones(4, 2)).tolist() == [0.0] * 4


def test_nothing_is_left_behind():
    rnn, x = TanhRNN(2, 3), torch.ones(4, 2)
    with torch.no_grad():
        norms = grad_norm_vs_distance(rnn, x)
    assert not norms.requires_grad and not x.requires_grad and x.grad is None
    assert all(parameter.grad is None for parameter in rnn.parameters())


# Wrong versions of the measure; each must differ from the right one.
def signed_mean(model, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x)[-1].sum(), x)[0].mean(1)


def of_all_outputs(model, x):
    return torch.autograd.functional.jacobian(lambda x: model(x).sum(0), x).square().sum((0, 2)).sqrt()


def of_a_sum(model, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x)[-1].sum(), x)[0].norm(dim=1)


def of_weights(model, x):
    T = x.shape[0]
    powers = model.recurrent.weight.detach().norm() ** torch.arange(T - 1, -1, -1, dtype=x.dtype)
    return powers * model.input.weight.detach().norm()


@pytest.mark.parametrize("wrong", [signed_mean, of_all_outputs, of_a_sum, of_weights])
def test_wrong_measures_are_noticed(wrong):
    torch.manual_seed(0)
    rnn, x = TanhRNN(2, 3).double(), draw(6, 2)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(wrong(rnn, x), jacobian_norms(rnn, x), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TanhRNN(0, 3), "d_in: expected an integer >= 1, got 0"),
        (lambda: LSTM(2, -1), "d_hidden: expected an integer >= 1, got -1"),
        (lambda: TanhRNN(2, 3)(torch.zeros(4, 3)), r"x: expected shape \[..., T, 2\]"),
        (lambda: LSTM(2, 3)(torch.zeros(0, 2)), "with T >= 1"),
        (lambda: TanhRNN(2, 3)(torch.zeros(2)), r"x: expected a tensor of shape \[..., T, C\]"),
        (lambda: grad_norm_vs_distance(TanhRNN(2, 3), torch.zeros(1, 4, 2)), r"x: expected a tensor of shape \[T, C\]"),
        (lambda: grad_norm_vs_distance(TanhRNN(2, 3), torch.zeros(4, 2).long()), "x: expected floating point"),
        (lambda: grad_norm_vs_distance(lambda x: x.sum(), torch.zeros(4, 2)), r"model: expected .* \[T, Out\]"),
        (lambda: grad_norm_vs_distance(lambda x: x[:2], torch.zeros(4, 2)), "model: expected one output for each of 4"),
        (lambda: grad_norm_vs_distance(lambda x: x.detach(), torch.zeros(4, 2)), "model: expected an output that dep"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
