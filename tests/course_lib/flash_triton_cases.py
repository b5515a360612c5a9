"""What the Triton kernels must do; `test_attention_flash_triton.py` runs this on a GPU or in Triton's interpreter."""

import pytest
import torch
from flash_oracle import assert_same, draw

from course_lib.attention import flash_attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ATOL = {torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2.5e-2}
ANY_LENGTH = [(1, 1, 16), (16, 16, 32), (33, 33, 64), (50, 50, 48), (20, 75, 32), (75, 20, 32), (64, 64, 128)]


def triton(causal):
    return lambda q, k, v: flash_attention(q, k, v, causal=causal, tier="triton")


def inputs(*shapes, dtype=torch.float32):
    return draw(*shapes, dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("T", "S", "D"), ANY_LENGTH, ids=str)
def test_equals_the_direct_form_for_any_length(T, S, D, causal):
    q, k, v = inputs((1, 2, T, D), (1, 1, S, D), (1, 1, S, D))
    assert_same(triton(causal), q, k, v, causal, ATOL[torch.float32])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_half_precision(dtype, causal):
    q, k, v = inputs((1, 2, 70, 64), (1, 2, 70, 64), (1, 2, 70, 64), dtype=dtype)
    assert_same(triton(causal), q, k, v, causal, ATOL[dtype])


def test_heads_share_keys_and_their_gradients_add_up():
    q, k, v = inputs((2, 4, 20, 16), (2, 2, 24, 16), (2, 2, 24, 16))
    assert_same(triton(True), q, k, v, True, ATOL[torch.float32])


@pytest.mark.parametrize("shape", [(18, 16), (2, 18, 16), (2, 1, 2, 18, 16)], ids=str)
def test_any_leading_dimensions(shape):
    assert_same(triton(True), *inputs(shape, shape, shape), True, ATOL[torch.float32])


@pytest.mark.parametrize("D", [1, 5, 24, 100])
def test_head_dimensions_that_are_no_power_of_two(D):
    q, k, v = inputs((1, 1, 18, D), (1, 1, 18, D), (1, 1, 18, D))
    assert_same(triton(True), q, k, v, True, ATOL[torch.float32])


def test_views_are_read_in_place_and_the_output_has_their_order():
    (qkv,) = inputs((2, 18, 3, 2, 16))  # [B, T, 3, H, D], as one projection gives it
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    assert_same(triton(True), q, k, v, True, ATOL[torch.float32])
    assert flash_attention(*(x.contiguous().transpose(1, 2) for x in qkv.unbind(2)), tier="triton").stride(1) == 16


def test_tensors_that_no_descriptor_can_describe_are_copied():
    q, k, v = (x.expand(2, 2, -1, -1)[..., 1:17] for x in inputs((1, 1, 18, 20), (1, 1, 18, 20), (1, 1, 18, 20)))
    assert_same(triton(True), q, k, v, True, ATOL[torch.float32])
    out = flash_attention(q, k, v, tier="triton")
    (grad,) = torch.autograd.grad(out.sum(), q)  # its gradient is one number, expanded
    assert grad.isfinite().all()


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_logits_of_ten_thousand(causal):
    q, k, v = inputs((1, 1, 40, 16), (1, 1, 40, 16), (1, 1, 40, 16))
    q = (q * 1e4).detach().requires_grad_()
    assert (q @ k.mT / 4).abs().max() > 1e4
    # The scores themselves are off by 1e-3 or so in float32; nearly every row has one winner, who takes it all.
    out = flash_attention(q, k, v, causal=causal, tier="triton")
    direct = flash_attention(q.double(), k.double(), v.double(), causal=causal, tier="torch")
    torch.testing.assert_close(out.double(), direct, rtol=0, atol=1e-2)
    for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
        assert gradient.isfinite().all()


def test_rows_that_see_no_key_are_zero_and_give_nothing_back():
    q, k, v = inputs((1, 1, 45, 16), (1, 1, 5, 16), (1, 1, 5, 16))
    out = flash_attention(q, k, v, causal=True, tier="triton")
    assert not out[:, :, :40].any() and torch.equal(out[:, :, 40], v[:, :, 0])
    dq, dk, dv = torch.autograd.grad(out.sum(), (q, k, v))
    assert not dq[:, :, :40].any() and dq.isfinite().all() and dk.isfinite().all() and dv.isfinite().all()


def test_what_lies_beyond_the_end_of_a_tensor_is_never_used():
    wide = torch.full((3, 1, 1, 64, 16), torch.nan, device=DEVICE)
    wide[..., :33, :] = torch.stack([x.detach() for x in inputs(*[(1, 1, 33, 16)] * 3)])
    q, k, v = (x[:, :, :33].requires_grad_() for x in wide.unbind(0))
    assert_same(triton(True), q, k, v, True, ATOL[torch.float32])


def test_two_runs_give_the_same_bits():
    q, k, v = inputs((1, 2, 40, 16), (1, 1, 40, 16), (1, 1, 40, 16))
    first, second = (torch.autograd.grad(triton(True)(q, k, v).sum(), (q, k, v)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_derivative_is_refused():
    q, k, v = inputs((1, 1, 4, 16), (1, 1, 4, 16), (1, 1, 4, 16))
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(triton(False)(q, k, v).sum(), q, create_graph=True)


@pytest.mark.parametrize(
    ("shapes", "dtype", "message"),
    [
        ([(4, 256)] * 3, torch.float32, "a head dimension of 256"),
        ([(4, 16), (4, 16), (4, 32)], torch.float32, "keys of dimension 16 and values of dimension 32"),
        ([(4, 16)] * 3, torch.float64, "dtype torch.float64"),
    ],
)
def test_what_the_kernels_cannot_take_is_said(shapes, dtype, message):
    with pytest.raises(ValueError, match=f"tier: expected inputs that the triton kernels can take, got {message}"):
        triton(False)(*inputs(*shapes, dtype=dtype))


def test_a_wrong_answer_is_noticed():
    q, k, v = inputs((1, 2, 40, 16), (1, 1, 40, 16), (1, 1, 40, 16))
    with pytest.raises(AssertionError):
        assert_same(triton(False), q, k, v, True, ATOL[torch.float32])
    with pytest.raises(AssertionError):
        assert_same(lambda q, k, v: triton(True)(q, k, v.roll(1, -2)), q, k, v, True, ATOL[torch.float32])


@pytest.mark.skipif(DEVICE == "cpu", reason="long sequences need a GPU")
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("T", "S"), [(1000, 1000), (257, 2049), (2049, 257), (4096, 4096)], ids=str)
@pytest.mark.parametrize("D", [64, 128])
def test_long_sequences(T, S, D, causal):
    q, k, v = inputs((2, 4, T, D), (2, 2, S, D), (2, 2, S, D), dtype=torch.bfloat16)
    assert_same(triton(causal), q, k, v, causal, ATOL[torch.bfloat16])


@pytest.mark.skipif(DEVICE == "cpu", reason="auto takes the kernels on a GPU only")
def test_auto_takes_the_kernels():
    q, k, v = inputs((2, 100, 64), (2, 100, 64), (2, 100, 64), dtype=torch.bfloat16)
    assert torch.equal(flash_attention(q, k, v), flash_attention(q, k, v, tier="triton"))
