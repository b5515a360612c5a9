"""wkv: against the sums of the paper in float64, against transformers, and where a plain exp overflows."""

from functools import partial

import pytest
import torch

from course_lib.attention import wkv, wkv_parallel, wkv_step

FORMS = [wkv, wkv_parallel, partial(wkv_parallel, block=1), partial(wkv_parallel, block=3)]


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(length=9, width=4, seed=0, lead=(2,)):
    k, v = drawn(*lead, length, width, seed=seed), drawn(*lead, length, width, seed=seed + 1)
    return k, v, drawn(width, seed=seed + 2).exp(), drawn(width, seed=seed + 3)


def by_definition(k, v, w, u):
    """Equation 16 with plain exponentials, which moderate keys allow in float64."""
    rows = []
    for t in range(k.shape[-2]):
        top, bottom = torch.exp(u + k[..., t, :]) * v[..., t, :], torch.exp(u + k[..., t, :])
        for i in range(t):
            weight = torch.exp(-(t - 1 - i) * w + k[..., i, :])
            top, bottom = top + weight * v[..., i, :], bottom + weight
        rows.append(top / bottom)
    return torch.stack(rows, dim=-2)


def assert_is_wkv(form):
    for seed, length in enumerate([1, 2, 3, 8, 9, 33]):
        args = inputs(length, seed=seed)
        torch.testing.assert_close(form(*args), by_definition(*args))


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_equal_the_paper(form):
    assert_is_wkv(form)


def decays_too_early(k, v, w, u):
    return by_definition(k, v, w, u + w)  # the past faded by one more step


def bonus_stays(k, v, w, u):
    return by_definition(k + u, v, w, torch.zeros_like(u))


def plain_average(k, v, w, u):
    return by_definition(k, v, torch.zeros_like(w), u)


@pytest.mark.parametrize("wrong", [decays_too_early, bonus_stays, plain_average])
def test_wrong_versions_are_told_apart(wrong):
    with pytest.raises(AssertionError):
        assert_is_wkv(wrong)


@pytest.mark.parametrize("form", FORMS)
def test_it_equals_transformers(form):
    theirs = pytest.importorskip("transformers.models.rwkv.modeling_rwkv").rwkv_linear_attention_cpu
    k, v, w, u = (x.float() for x in inputs(20, seed=4))
    torch.testing.assert_close(form(k, v, w, u), theirs(w.log(), u, k, v)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shift", [-2000.0, 800.0, 30_000.0])
def test_a_shift_of_all_keys_changes_nothing_and_overflows_nowhere(form, shift):
    k, v, w, u = inputs(12, seed=7)
    torch.testing.assert_close(form(k + shift, v, w, u), by_definition(k, v, w, u), rtol=1e-6, atol=1e-9)
    assert not torch.isfinite(by_definition(k + shift, v, w, u)).all()


@pytest.mark.parametrize("form", FORMS)
def test_keys_far_apart_pick_one_value(form):
    k = torch.tensor([[0.0], [5000.0], [0.0], [-5000.0]], dtype=torch.float64)
    v = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)
    assert form(k, v, torch.ones(1).double(), torch.zeros(1).double()).flatten().tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form):
    args = [x.requires_grad_() for x in inputs(6, width=2, lead=())]
    assert torch.autograd.gradcheck(form, args)
    k, v, w, u = (x.detach().requires_grad_() for x in args)
    for gradient in torch.autograd.grad(form(k + 3000, v, w, u).sum(), (k, v, w, u)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_float32(form):
    k, v, w, u = (x.bfloat16() for x in inputs(40))
    out = form(k, v, w, u)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, form(k.float(), v.float(), w.float(), u.float()).bfloat16())


@pytest.mark.parametrize("form", FORMS)
def test_the_future_does_not_leak_and_leading_dimensions_are_free(form):
    k, v, w, u = inputs(8, lead=())
    before = form(k, v, w, u)
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[5:], changed_v[5:] = 40.0, -9.0
    torch.testing.assert_close(form(changed_k, changed_v, w, u)[:5], before[:5])
    assert form(*inputs(3, lead=(2, 1, 3))).shape == (2, 1, 3, 3, 4)


def test_step_carries_a_state_of_fixed_size():
    k, v, w, u = inputs(30)
    state, want = None, by_definition(k, v, w, u)
    for t in range(30):
        out, state = wkv_step(k[:, t], v[:, t], w, u, state)
        torch.testing.assert_close(out, want[:, t])
        assert [tuple(part.shape) for part in state] == [(2, 4)] * 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"v": torch.zeros(4, 2)}, "v: expected the shape of k"),
        ({"w": torch.zeros(2)}, "w: expected shape"),
        ({"u": torch.zeros(1, 3)}, "u: expected shape"),
        ({"w": torch.tensor([1.0, -0.5, 0.0])}, "w: expected decays >= 0, got -0.5"),
        ({"k": torch.zeros(3), "v": torch.zeros(3)}, "k: expected a tensor"),
        ({"k": torch.zeros(0, 3), "v": torch.zeros(0, 3)}, "k: expected at least one position"),
    ],
)
def test_bad_input_is_named(form, change, words):
    args = {"k": torch.zeros(4, 3), "v": torch.zeros(4, 3), "w": torch.ones(3), "u": torch.zeros(3)}
    with pytest.raises(ValueError, match=words):
        form(**(args | change))
