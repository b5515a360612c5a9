"""Linear attention: against sums written out, and that its state does not grow."""

import math

import pytest
import torch

from course_lib.attention import (
    feature_map,
    linear_attention_blocked,
    linear_attention_parallel,
    linear_attention_recurrent,
    linear_attention_step,
)
from course_lib.tensor_size import largest_tensor

FORMS = [
    linear_attention_parallel,
    linear_attention_recurrent,
    lambda q, k, v: linear_attention_blocked(q, k, v, block=1),
    lambda q, k, v: linear_attention_blocked(q, k, v, block=3),
    linear_attention_blocked,
]


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def phi(x):
    return x + 1 if x > 0 else math.exp(x)


def by_definition(q, k, v):
    """Sums over the past, number by number, of one [T, D] sequence."""
    rows = []
    for t in range(len(q)):
        weights = [
            sum(phi(a) * phi(b) for a, b in zip(q[t].tolist(), k[s].tolist(), strict=True)) for s in range(t + 1)
        ]
        rows.append(sum(w * v[s] for s, w in enumerate(weights)) / sum(weights))
    return torch.stack(rows)


def assert_attends(form):
    for seed, (length, width, out) in enumerate([(7, 3, 3), (1, 2, 4), (9, 4, 1), (65, 2, 2)]):
        q, k, v = (drawn(length, d, seed=seed + 10 * n) for n, d in enumerate((width, width, out)))
        torch.testing.assert_close(form(q, k, v), by_definition(q, k, v))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_the_definition(form):
    assert_attends(form)


def with_the_future(q, k, v):
    weights = feature_map(q) @ feature_map(k).T
    return weights @ v / weights.sum(-1, keepdim=True)


def without_denominator(q, k, v):
    return (feature_map(q) @ feature_map(k).T).tril() @ v


def without_features(q, k, v):
    weights = (q @ k.T).tril()
    return weights @ v / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("wrong", [with_the_future, without_denominator, without_features])
def test_wrong_versions_differ_from_the_definition(wrong):
    with pytest.raises(AssertionError):
        assert_attends(wrong)


@pytest.mark.parametrize("form", FORMS)
def test_leading_dimensions_and_gradients(form):
    q, k, v = (drawn(2, 3, 7, 4, seed=n).requires_grad_() for n in range(3))
    out = form(q, k, v)
    assert out.shape == (2, 3, 7, 4)
    torch.testing.assert_close(out[1, 2], by_definition(q[1, 2], k[1, 2], v[1, 2]))
    upstream = drawn(2, 3, 7, 4, seed=5)
    ours = torch.autograd.grad(out, (q, k, v), upstream)
    theirs = torch.autograd.grad(linear_attention_parallel(q, k, v), (q, k, v), upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_the_future_does_not_leak(form):
    q, k, v = (drawn(8, 3, seed=n) for n in range(3))
    before = form(q, k, v)
    k[5:], v[5:] = 9.0, -9.0
    torch.testing.assert_close(form(q, k, v)[:5], before[:5])


def test_step_carries_a_state_of_fixed_size():
    q, k, v = (drawn(2, 50, 4, seed=n) for n in range(3))
    state, want = None, linear_attention_parallel(q, k, v)
    for t in range(50):
        out, state = linear_attention_step(q[:, t], k[:, t], v[:, t], state)
        torch.testing.assert_close(out, want[:, t])
        assert [tuple(part.shape) for part in state] == [(2, 4, 4), (2, 4)]


def test_the_blocked_form_makes_no_table_of_t_by_t():
    length = 512
    q, k, v = (drawn(length, 8, seed=n).requires_grad_() for n in range(3))
    with largest_tensor() as largest:
        linear_attention_blocked(q, k, v, block=16).sum().backward()
    assert largest.elements <= length * 16
    with largest_tensor() as largest:
        linear_attention_parallel(q, k, v)
    assert largest.elements >= length * length


def test_the_features_are_those_of_elu():
    x = torch.linspace(-20, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(feature_map(x), torch.tensor([phi(value) for value in x.tolist()], dtype=torch.float64))
    assert feature_map(x).min() > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((4, 2), (3, 2), (4, 2)), "k: expected the shape of q"),
        (((4, 2), (4, 2), (3, 2)), "v: expected shape"),
        (((4,), (4,), (4,)), "q: expected a tensor of shape"),
        (((0, 2), (0, 2), (0, 2)), "q: expected at least one position"),
    ],
)
def test_bad_input_is_named(form, shapes, words):
    with pytest.raises(ValueError, match=words):
        form(*(torch.zeros(shape) for shape in shapes))
