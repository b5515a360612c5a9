"""The embedding lookup: against torch's layer, the product with a one-hot matrix, and wrong implementations."""

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from course_lib.attention import embed, embed_backward

IDS = torch.tensor([[3, 0, 3, 5], [5, 5, 1, 3]])


def table(dtype=torch.float64, rows=7, width=3):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def assert_embeds(candidate):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        E = table(dtype)
        got = candidate(IDS, E)
        want = torch.stack([torch.stack([E[int(i)] for i in row]) for row in IDS])
        assert got.dtype == dtype and torch.equal(got, want)


def assert_backward(candidate):
    grad = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    want = torch.zeros(7, 3, dtype=torch.float64)
    for b in range(2):
        for t in range(4):
            want[int(IDS[b, t])] += grad[b, t]
    got = candidate(IDS, grad, 7)
    assert got.shape == want.shape and torch.allclose(got, want)


def test_against_loops():
    assert_embeds(embed)
    assert_backward(embed_backward)


def test_it_is_a_product_with_a_one_hot_matrix():
    E = table()
    assert torch.equal(embed(IDS, E), one_hot(IDS, 7).double() @ E)
    grad = torch.randn(2, 4, 3, dtype=torch.float64)
    by_product = one_hot(IDS, 7).double().flatten(0, 1).T @ grad.flatten(0, 1)
    assert torch.allclose(embed_backward(IDS, grad, 7), by_product)


@pytest.mark.parametrize("id_type", [torch.int64, torch.int32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_torch_and_autograd(dtype, id_type):
    layer = nn.Embedding(7, 3, dtype=dtype)
    E = layer.weight.detach().clone().requires_grad_()
    ids = IDS.to(id_type)
    out, mine = layer(ids), embed(ids, E)
    assert torch.equal(out, mine)
    grad = torch.randn_like(out)
    out.backward(grad)
    mine.backward(grad)
    by_hand = embed_backward(ids, grad, 7)
    assert by_hand.dtype == dtype
    assert torch.allclose(layer.weight.grad, E.grad, atol=1e-2 if dtype == torch.bfloat16 else 1e-6)
    assert torch.allclose(layer.weight.grad, by_hand, atol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_any_leading_shape_and_no_ids():
    E = table()
    assert embed(torch.tensor(2), E).shape == (3,)
    assert embed(torch.zeros(2, 0, dtype=torch.int64), E).shape == (2, 0, 3)
    assert torch.equal(embed_backward(torch.tensor([], dtype=torch.int64), torch.zeros(0, 3), 4), torch.zeros(4, 3))
    # Gradients often come as a view that is not contiguous.
    grad = torch.randn(3, 2, 4, dtype=torch.float64).permute(1, 2, 0)
    assert torch.equal(embed_backward(IDS, grad, 7), embed_backward(IDS, grad.contiguous(), 7))


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: embed(torch.tensor([7]), table()), "ids"),
        (lambda: embed(torch.tensor([-1]), table()), "ids"),
        (lambda: embed(torch.tensor([1.0]), table()), "ids"),
        (lambda: embed([1], table()), "ids"),
        (lambda: embed(torch.tensor([1]), table()[0]), "E"),
        (lambda: embed_backward(torch.tensor([7]), torch.zeros(1, 3), 7), "ids"),
        (lambda: embed_backward(IDS, torch.zeros(2, 3, 3), 7), "grad_out"),
        (lambda: embed_backward(torch.tensor(1), torch.tensor(1.0), 7), "grad_out"),
        (lambda: embed_backward(IDS, torch.zeros(2, 4, 3), 0), "vocab_size"),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .* got "):
        call()


def overwrites(ids, grad_out, vocab_size):
    grad = grad_out.new_zeros(vocab_size, grad_out.shape[-1])
    grad[ids] = grad_out
    return grad


def adds_with_plus_equals(ids, grad_out, vocab_size):
    grad = grad_out.new_zeros(vocab_size, grad_out.shape[-1])
    grad[ids] += grad_out
    return grad


@pytest.mark.parametrize("wrong", [overwrites, adds_with_plus_equals])
def test_a_wrong_gradient_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_backward(wrong)


@pytest.mark.parametrize(
    "wrong", [lambda ids, E: E[ids - 1], lambda ids, E: one_hot(ids, len(E)).float() @ E.float(), lambda ids, E: E[:4]]
)
def test_a_wrong_lookup_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_embeds(wrong)
