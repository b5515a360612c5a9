"""The largest tensor: views are free, copies, intermediate results and backward passes are seen."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from course_lib.tensor_size import largest_tensor

T, D = 50, 3


def created(function, *args):
    with largest_tensor() as largest:
        function(*args)
    return largest.elements


@pytest.fixture
def x():
    return torch.linspace(-1, 1, T * D).reshape(T, D)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x @ x.T) @ x,
        lambda x: torch.softmax(torch.einsum("td,sd->ts", x, x), -1) @ x,
        lambda x: torch.stack([torch.stack([a @ b for b in x]) for a in x]),
        lambda x: F.linear(x, x).sum(),
        lambda x: x.new_zeros(T, T).add_(1),
        lambda x: torch.cdist(x, x),
    ],
)
def test_a_square_is_seen_however_it_is_made(x, function):
    assert created(function, x) == T * T


def test_what_the_sum_of_many_small_ones_would_be_does_not_count(x):
    def by_rows(x):
        return torch.cat([torch.softmax(row @ x.T, -1) @ x for row in x.split(1)])

    assert created(by_rows, x) == T * D


def test_views_and_changes_in_place_create_nothing(x):
    def views(x):
        x[None].expand(T, T, D).transpose(0, 1)
        x.view(-1)[:10].add_(1)
        x.T.reshape(D, T).detach()
        x.clamp_(-1, 1)

    assert created(views, x) == 0
    assert created(lambda x: x[:, None].expand(T, T, D).reshape(T, -1), x) == T * T * D


def test_the_backward_pass_is_seen(x):
    x.requires_grad_()
    w = torch.ones(D, 40 * D, requires_grad=True)

    def loss():
        return (checkpoint(lambda x: x @ w, x, use_reentrant=False)).sum()

    assert created(lambda: torch.autograd.grad((x * x).sum(), x)) == T * D
    assert created(lambda: torch.autograd.grad(loss(), w)) == T * 40 * D


def test_shape_and_nesting(x):
    with largest_tensor() as outer:
        x @ x.T
        with largest_tensor() as inner:
            x + 1
    assert (outer.elements, outer.shape) == (T * T, (T, T))
    assert (inner.elements, inner.shape) == (T * D, (T, D))
    assert not torch._C._len_torch_dispatch_stack()


def test_an_error_leaves_no_mode_behind(x):
    with pytest.raises(RuntimeError), largest_tensor():
        x @ x
    assert not torch._C._len_torch_dispatch_stack()
