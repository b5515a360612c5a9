"""The fast GELU is torch's GELU: values, first and second derivatives, in every dtype and far out."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention.fast_gelu import gelu_tanh

torch.set_num_threads(1)


def theirs(x):
    return F.gelu(x, approximate="tanh")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 1e4])
def test_values_and_gradients_are_torchs(dtype, scale):
    draw = torch.Generator().manual_seed(0)
    x = (scale * torch.randn(50, 7, generator=draw)).to(dtype).requires_grad_()
    upstream = torch.randn(50, 7, generator=draw).to(dtype)
    got, want = gelu_tanh(x), theirs(x)
    assert got.dtype == dtype
    torch.testing.assert_close(got, want)
    (grad,), (right,) = (torch.autograd.grad(y, x, upstream) for y in (got, want))
    torch.testing.assert_close(grad, right)


def test_corners():
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 1e10, -1e10], requires_grad=True)
    assert torch.equal(gelu_tanh(x), theirs(x).detach())
    (grad,) = torch.autograd.grad(gelu_tanh(x).sum(), x)
    torch.testing.assert_close(grad, torch.tensor([0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 1.0, 0.0]))
    assert gelu_tanh(torch.zeros(0, 3)).shape == (0, 3)


def test_it_differs_from_the_exact_one():
    x = torch.linspace(-3, 3, 50)
    assert (gelu_tanh(x) - F.gelu(x)).abs().max() > 1e-4


def test_first_and_second_derivatives_by_finite_differences():
    x = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gelu_tanh, x)
    assert torch.autograd.gradgradcheck(gelu_tanh, x)


def test_gradients_for_each_example():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    got = torch.func.vmap(torch.func.grad(lambda row: gelu_tanh(row).sum()))(x)
    torch.testing.assert_close(got, torch.func.vmap(torch.func.grad(lambda row: theirs(row).sum()))(x))
    assert torch.equal(torch.func.vmap(gelu_tanh, in_dims=1, out_dims=1)(x), gelu_tanh(x))


def test_the_input_and_its_sigmoid_are_all_that_is_kept_and_stay_as_they_are():
    x = torch.randn(4, requires_grad=True)
    before, kept = x.detach().clone(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = gelu_tanh(x)
    assert len(kept) == 2 and kept[0].data_ptr() == x.data_ptr()
    sigmoid = kept[1].clone()
    for _ in range(2):
        (grad,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        assert torch.equal(x, before) and torch.equal(kept[1], sigmoid)
        torch.testing.assert_close(grad, torch.autograd.grad(theirs(x).sum(), x)[0])
    with torch.no_grad():
        assert torch.equal(gelu_tanh(x), y)
