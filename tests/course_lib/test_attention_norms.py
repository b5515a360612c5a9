"""Layer and RMS normalisation: against torch's, transformers' Llama, float64 gradients and finite differences."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import (
    LayerNorm,
    RMSNorm,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)

SHAPES = [(5,), (3, 8), (2, 3, 16), (2, 2, 3, 1), (0, 4)]


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_layer_norm(candidate):
    for shape in SHAPES:
        x, g, b = 3 * normal(*shape) + 1, normal(shape[-1], seed=1), normal(shape[-1], seed=2)
        for eps in (1e-5, 0.1):
            got = candidate(x, g, b, eps)
            torch.testing.assert_close(got, F.layer_norm(x, shape[-1:], g, b, eps), atol=1e-5, rtol=1e-5)


def assert_rms_norm(candidate):
    for shape in SHAPES:
        x, g = 3 * normal(*shape) + 1, normal(shape[-1], seed=1)
        for eps in (1e-6, 0.1):
            torch.testing.assert_close(candidate(x, g, eps), F.rms_norm(x, shape[-1:], g, eps), atol=1e-5, rtol=1e-5)


def test_both_norms_equal_torch():
    assert_layer_norm(layer_norm)
    assert_rms_norm(rms_norm)


def by_statistics(dims=-1, unbiased=False, outside=False):
    def candidate(x, g, b, eps):
        mean = x.mean(dims, keepdim=True)
        n = x.shape[dims]
        var = (x - mean).square().sum(dims, keepdim=True) / max(1, n - int(unbiased))
        return (x - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt()) * g + b

    return candidate


@pytest.mark.parametrize(
    "wrong", [by_statistics(dims=0), by_statistics(unbiased=True), by_statistics(outside=True)], ids=["0", "n-1", "out"]
)
def test_a_wrong_layer_norm_is_rejected(wrong):
    assert_layer_norm(by_statistics())
    with pytest.raises(AssertionError):
        assert_layer_norm(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, g, eps: x * g / (x.square().mean(-1, keepdim=True).sqrt() + eps),
        lambda x, g, eps: x * g / (x.square().sum(-1, keepdim=True) + eps).sqrt(),
        lambda x, g, eps: x * g / x.square().mean(-1, keepdim=True).sqrt(),
        lambda x, g, eps: (x - x.mean(-1, keepdim=True)) * g / (x.var(-1, keepdim=True, correction=0) + eps).sqrt(),
    ],
)
def test_a_wrong_rms_norm_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_rms_norm(wrong)


def finite_difference(f, x, upstream, step=1e-6):
    grad = torch.zeros_like(x)
    for place in range(x.numel()):
        sides = []
        for sign in (1, -1):
            moved = x.clone()
            moved.view(-1)[place] += sign * step
            sides.append((f(moved) * upstream).sum())
        grad.view(-1)[place] = (sides[0] - sides[1]) / (2 * step)
    return grad


@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 2, 3)])
def test_hand_written_gradients_equal_finite_differences(shape, eps):
    C = shape[-1]
    x, up = normal(*shape, dtype=torch.float64), normal(*shape, seed=1, dtype=torch.float64)
    g, b = normal(C, seed=2, dtype=torch.float64), normal(C, seed=3, dtype=torch.float64)
    got = layer_norm_backward(up, x, g, eps)
    want = (
        finite_difference(lambda x: layer_norm(x, g, b, eps), x, up),
        finite_difference(lambda g: layer_norm(x, g, b, eps), g, up),
        finite_difference(lambda b: layer_norm(x, g, b, eps), b, up),
    )
    torch.testing.assert_close(got, want, atol=1e-7, rtol=1e-6)
    got = rms_norm_backward(up, x, g, eps)
    want = (
        finite_difference(lambda x: rms_norm(x, g, eps), x, up),
        finite_difference(lambda g: rms_norm(x, g, eps), g, up),
    )
    torch.testing.assert_close(got, want, atol=1e-7, rtol=1e-6)


def test_hand_written_gradients_equal_autograd_through_torch():
    x, up = normal(4, 7, 32).requires_grad_(), normal(4, 7, 32, seed=1)
    g, b = normal(32, seed=2).requires_grad_(), normal(32, seed=3).requires_grad_()
    want = torch.autograd.grad(F.layer_norm(x, (32,), g, b), (x, g, b), up)
    torch.testing.assert_close(layer_norm_backward(up, x.detach(), g.detach()), want, atol=1e-5, rtol=1e-5)
    want = torch.autograd.grad(F.rms_norm(x, (32,), g, 1e-6), (x, g), up)
    torch.testing.assert_close(rms_norm_backward(up, x.detach(), g.detach()), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("module", [LayerNorm, RMSNorm])
def test_modules_pass_gradcheck_twice(module):
    norm = module(5, eps=0.1).double()
    names = [name for name, _ in norm.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(norm, dict(zip(names, parameters, strict=True)), (x,))

    parameters = [normal(5, seed=i, dtype=torch.float64).requires_grad_() for i in range(1, 1 + len(names))]
    inputs = (normal(2, 3, 5, dtype=torch.float64).requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_modules_equal_the_formulas(dtype):
    x = normal(3, 4, 64, dtype=dtype)
    for norm, formula in ((LayerNorm(64), layer_norm), (RMSNorm(64), rms_norm)):
        norm = norm.to(dtype)
        with torch.no_grad():
            for parameter in norm.parameters():
                parameter.copy_(normal(64, seed=3))
        want = formula(x, *norm.parameters(), norm.eps)
        assert norm(x).dtype == want.dtype == dtype
        unit = torch.finfo(dtype).eps
        torch.testing.assert_close(norm(x), want, atol=4 * unit, rtol=2 * unit)
        mine = torch.autograd.grad(norm(x), [*norm.parameters()], torch.ones_like(x))
        theirs = torch.autograd.grad(want, [*norm.parameters()], torch.ones_like(x))
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=200 * unit, rtol=20 * unit)


def test_half_precision_is_computed_in_float32():
    x = normal(4, 256, dtype=torch.bfloat16) + 40  # the mean is large: in bfloat16 the variance would be lost
    g, b = torch.ones(256, dtype=torch.bfloat16), torch.zeros(256, dtype=torch.bfloat16)
    for got, exact in (
        (layer_norm(x, g, b), layer_norm(x.double(), g.double(), b.double())),
        (rms_norm(x, g), rms_norm(x.double(), g.double())),
    ):
        assert got.dtype == torch.bfloat16
        assert ((got.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all()
    large = torch.full((2, 64), 300.0, dtype=torch.float16)  # its square is no float16
    torch.testing.assert_close(rms_norm(large, torch.ones(64, dtype=torch.float16)), torch.ones_like(large))


def test_rms_norm_rounds_as_llama_does():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    for dtype in (torch.float32, torch.bfloat16):
        theirs = llama.LlamaRMSNorm(32, eps=1e-6).to(dtype)
        x, g = normal(5, 32, dtype=dtype), normal(32, seed=1, dtype=dtype)
        with torch.no_grad():
            theirs.weight.copy_(g)
        torch.testing.assert_close(rms_norm(x, g), theirs(x).detach(), atol=0, rtol=1e-6)


def test_constant_and_empty_vectors_are_finite():
    x = torch.full((2, 6), 7.0)
    assert torch.equal(layer_norm(x, torch.ones(6), torch.full((6,), 2.0)), torch.full((2, 6), 2.0))
    assert torch.equal(rms_norm(torch.zeros(2, 6), torch.ones(6)), torch.zeros(2, 6))
    for grad in (*layer_norm_backward(x, x, torch.ones(6)), *rms_norm_backward(x, torch.zeros(2, 6), torch.ones(6))):
        assert grad.isfinite().all()


def test_state_dicts_have_the_usual_names():
    assert list(LayerNorm(4).state_dict()) == ["weight", "bias"]
    assert list(LayerNorm(4, bias=False).state_dict()) == list(RMSNorm(4).state_dict()) == ["weight"]
    assert LayerNorm(4, bias=False)(torch.ones(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: layer_norm(torch.zeros(2, 3), torch.ones(2), torch.zeros(3)), "g"),
        (lambda: layer_norm(torch.zeros(2, 3), torch.ones(3), torch.zeros(2, 3)), "b"),
        (lambda: layer_norm_backward(torch.zeros(3), torch.zeros(2, 3), torch.ones(3)), "grad_out"),
        (lambda: rms_norm(torch.tensor(1.0), torch.ones(1)), "x|g"),
        (lambda: rms_norm(torch.zeros(2, 3), torch.ones(1)), "g"),
        (lambda: rms_norm_backward(torch.zeros(3), torch.zeros(2, 3), torch.ones(3)), "grad_out"),
        (lambda: LayerNorm(0), "d"),
        (lambda: RMSNorm(2.5), "d"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(ValueError, match=f"^({argument}): expected"):
        call()
