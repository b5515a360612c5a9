"""FlashAttention in plain torch: equal to the direct form, its gradients too, and never a T x T tensor."""

import pytest
import torch
from flash_oracle import assert_same, draw, oracle
from torch.autograd import gradcheck

from course_lib.attention import flash_attention
from course_lib.attention.flash import flash_backward, flash_forward
from course_lib.tensor_size import largest_tensor

torch.set_num_threads(1)


def flash(block, causal):
    return lambda q, k, v: flash_attention(q, k, v, block, causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block", [1, 3, 8, 16, 100])
@pytest.mark.parametrize(("T", "S"), [(16, 16), (1, 1), (13, 13), (1, 20), (7, 19), (19, 7)])
def test_equals_the_direct_form_for_any_length_and_any_block(T, S, block, causal):
    assert_same(flash(block, causal), *draw((2, 4, T, 6), (2, 4, S, 6), (2, 4, S, 6)), causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_heads_share_keys_and_their_gradients_add_up(groups, causal):
    assert_same(flash(5, causal), *draw((3, 4, 12, 6), (3, groups, 14, 6), (3, groups, 14, 6)), causal)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)])
def test_any_leading_dimensions_and_values_of_another_width(lead):
    q, k, v = draw((*lead, 9, 4), (*lead, 9, 4), (*lead, 9, 7))
    assert_same(flash(4, True), q, k, v, True)


def test_inputs_may_be_views_with_any_strides():
    (qkv,) = draw((2, 11, 3, 4, 6))  # [B, T, 3, H, D], as one projection gives it
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    assert_same(flash(4, True), q, k, v, True)


def test_gradients_agree_with_finite_differences():
    for causal in (False, True):
        inputs = draw((2, 5, 3), (1, 7, 3), (1, 7, 2))
        assert gradcheck(lambda q, k, v, c=causal: flash_attention(q, k, v, 3, c), inputs)


def test_a_second_derivative_is_refused_and_not_wrong():
    q, k, v = draw((4, 2), (4, 2), (4, 2))
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(flash_attention(q, k, v, 2).sum(), q, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_added_up_in_float32(dtype):
    q, k, v = draw((2, 3, 70, 16), (2, 3, 70, 16), (2, 3, 70, 16), dtype=dtype)
    assert_same(flash(16, True), q, k, v, True, atol=8 * torch.finfo(dtype).eps)
    out, lse = flash_forward(q[0][:, None], k[0], v[0], 16, False)
    assert out.dtype == dtype and lse.dtype == torch.float32


@pytest.mark.parametrize("causal", [False, True])
def test_logits_of_ten_thousand(causal):
    q, k, v = draw((2, 40, 4), (2, 40, 4), (2, 40, 4))
    q = (q * 2e4).detach().requires_grad_()
    assert (q @ k.mT).abs().max() > 1e4
    assert_same(flash(7, causal), q, k, v, causal, atol=1e-7)


def test_the_maximum_may_grow_or_fall_from_block_to_block():
    T = 24
    for order in (1.0, -1.0):
        q, k, v = draw((T, 2), (T, 2), (T, 3))
        k = (k.detach() + order * torch.arange(T)[:, None] * 30).requires_grad_()
        q = (q.detach().abs() + 1).requires_grad_()
        assert_same(flash(5, False), q, k, v, False, atol=1e-8)


def test_rows_that_see_no_key_are_zero_and_give_nothing_back():
    q, k, v = draw((2, 9, 4), (2, 3, 4), (2, 3, 4))
    out = flash_attention(q, k, v, 2, causal=True)
    assert torch.equal(out[:, :6], torch.zeros(2, 6, 4, dtype=q.dtype))
    assert torch.equal(out[:, 6], v[:, 0])  # the first that sees one key, and copies its value
    for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
        assert gradient.isfinite().all()
    (dq,) = torch.autograd.grad(flash_attention(q, k, v, 2, causal=True).sum(), q)
    assert not dq[:, :6].any()


def test_the_row_sums_are_kept_as_logarithms():
    q, k, v = (x.detach() for x in draw((1, 2, 9, 4), (1, 5, 4), (1, 5, 4)))
    for causal in (False, True):
        _, lse = flash_forward(q, k, v, 2, causal)
        scores = q @ k[:, None].mT / 2
        if causal:
            scores = scores.masked_fill(~torch.ones(9, 5, dtype=torch.bool).tril(-4), -torch.inf)
        torch.testing.assert_close(lse, torch.logsumexp(scores, -1))
    assert (lse[:, :, :4] == -torch.inf).all()


@pytest.mark.parametrize("causal", [False, True])
def test_no_square_is_ever_held_forward_or_backward(causal):
    T, D, block = 256, 8, 16
    q, k, v = draw((2, T, D), (1, T, D), (1, T, D), dtype=torch.float32)
    with largest_tensor() as largest:
        flash_attention(q, k, v, block, causal).sum().backward()
    assert 2 * block * T > largest.elements  # not even a strip of block rows
    assert largest.elements == 2 * T * D  # the output of both heads is the largest
    with largest_tensor() as direct:
        oracle(q, k, v, causal)
    assert direct.elements >= 2 * T * T


def test_memory_of_the_scores_follows_the_block():
    q, k, v = draw((64, 1), (64, 1), (64, 1))
    for block in (8, 16, 32):
        with largest_tensor() as largest:
            flash_attention(q, k, v, block)
        assert largest.elements == max(64, block * block)


def test_later_keys_are_never_touched():
    q, k, v = (x.detach() for x in draw((10, 4), (10, 4), (10, 4)))
    out = flash_attention(q, k, v, 4, causal=True)
    k[6:], v[6:] = torch.nan, torch.inf
    spoiled = flash_attention(q, k, v, 2, causal=True)  # a multiple of 2 ends at 6: no block holds both kinds
    torch.testing.assert_close(spoiled[:6], out[:6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 0}, "block: expected an integer >= 1, got 0"),
        ({"block": 2.0}, "block: expected an integer >= 1"),
        ({"tier": "cuda"}, "tier: expected one of auto, torch, triton, got 'cuda'"),
        ({"q": torch.zeros(4)}, r"q: expected a tensor of shape \[..., T, D\]"),
        ({"q": [1.0]}, "q: expected a tensor"),
        ({"k": torch.zeros(2, 3, 5)}, "k: expected shape"),
        ({"k": torch.zeros(3, 3, 4)}, "k: expected a number of heads that divides 4, got 3"),
        ({"v": torch.zeros(2, 4, 4)}, "v: expected one row for each key"),
        ({"v": torch.zeros(2, 3, 4).double()}, "expected one floating point dtype"),
        ({"k": torch.zeros(2, 0, 4), "v": torch.zeros(2, 0, 4)}, "expected no empty dimension"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"q": torch.zeros(4, 5, 4), "k": torch.zeros(2, 3, 4), "v": torch.zeros(2, 3, 4)}
    flash_attention(**good)
    with pytest.raises(ValueError, match=message):
        flash_attention(**(good | change))


def test_the_triton_tier_says_why_it_cannot_and_auto_does_not_mind():
    q, k, v = draw((5, 4), (5, 4), (5, 4))
    with pytest.raises(ValueError, match="tier: expected inputs that the triton kernels can take, got dtype"):
        flash_attention(q, k, v, tier="triton")
    torch.testing.assert_close(flash_attention(q, k, v), flash_attention(q, k, v, tier="torch"), rtol=0, atol=0)


# --- the tests above can fail ----------------------------------------------------------------------------------------


class Wrong(torch.autograd.Function):
    """Forward right; backward with one error."""

    @staticmethod
    def forward(ctx, q, k, v, error):
        out, lse = flash_forward(q, k, v, 5, True)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.error = error
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, lse = ctx.saved_tensors
        if ctx.error == "forgets the softmax's own term":
            out = torch.zeros_like(out)
        if ctx.error == "forgets the future":
            return *flash_backward(grad, q, k, v, out, lse, 5, False), None
        dq, dk, dv = flash_backward(grad, q, k, v, out, lse, 5, True)
        if ctx.error == "takes one head of the group":
            dk = flash_backward(grad[:, :1], q[:, :1], k, v, out[:, :1], lse[:, :1], 5, True)[1]
        return dq, dk, dv, None


@pytest.mark.parametrize(
    "error", ["", "forgets the softmax's own term", "forgets the future", "takes one head of the group"]
)
def test_a_wrong_backward_pass_is_noticed(error):
    q, k, v = draw((2, 3, 12, 4), (2, 1, 12, 4), (2, 1, 12, 4))

    def function(q, k, v):
        return Wrong.apply(q, k.squeeze(1), v.squeeze(1), error)

    if error:
        with pytest.raises(AssertionError):
            assert_same(function, q, k, v, True)
    else:
        assert_same(function, q, k, v, True)


def top_left(q, k, v):
    T, S = q.shape[-2], k.shape[-2]
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(), -torch.inf)
    return torch.softmax(scores, -1) @ v


def averaged_blocks(q, k, v):
    return sum(oracle(q, a, b) for a, b in zip(k.split(4, -2), v.split(4, -2), strict=True)) / 3


def test_a_wrong_forward_pass_is_noticed():
    q, k, v = draw((2, 9, 4), (2, 12, 4), (2, 12, 4))
    for wrong, causal in ((top_left, True), (averaged_blocks, False)):
        with pytest.raises(AssertionError):
            assert_same(wrong, q, k, v, causal)
