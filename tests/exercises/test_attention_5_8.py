"""What the audit does not show about exercises 5 to 8: other seeds, wrong types, memorised answers, the oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import run
from torch import Tensor, nn

from autograder.exercise import Exercise
from autograder.exercises.attention import alibi, norms_parts, positions, rope
from autograder.forbid import find_forbidden, forbidden
from autograder.hidden.attention.alibi import AlibiBias
from autograder.hidden.attention.norms import Block
from autograder.hidden.attention.positions import RelativeBias
from autograder.hidden.attention.rope import ApplyRope
from autograder.rng import Rng
from autograder.run import Outcome, Report, run_exercise
from autograder.student import LocalBackend
from course_lib import attention

EXERCISES = [RelativeBias(), ApplyRope(), AlibiBias(), Block()]
IDS = ("relative_bias", "apply_rope", "alibi_bias", "Block")


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize(
    "value",
    [None, "text", 3, 2.5, object(), [], [None], [[1.0]], {}, (), {1, 2}, iter([1]), torch.zeros(0), torch.tensor(1)],
    ids=lambda value: repr(value)[:20].split(" at ")[0],
)
def test_wrong_types_are_failures_and_not_accidents(exercise: Exercise, value: Any) -> None:
    for function in exercise.functions:
        report = run(exercise, exercise.solution(**{function: lambda *args, **kwargs: value}), 1)
        failed = [result for result in report.results if result.outcome is not Outcome.PASSED]
        assert failed and not failed[0].hidden
        for result in failed:
            # An object that is no module has no load_state_dict: that is an error of the student's code.
            kinds = (Outcome.FAILED, Outcome.ERROR) if function == "Block" else (Outcome.FAILED,)
            assert result.outcome in kinds, f"{result.check}: {result.outcome} {result.message}"
            assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


def plain(value: Any) -> Any:
    return (str(value.dtype), value.tolist()) if isinstance(value, Tensor) else value


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
def test_answers_learned_by_heart_fail_every_hidden_check(exercise: Exercise) -> None:
    known: dict[str, Any] = {}

    def key(name: str, args: tuple, kwargs: dict) -> str:
        return f"{name} {[plain(a) for a in args]} {sorted((k, plain(v)) for k, v in kwargs.items())}"

    def recorded(name: str, right: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            known[key(name, args, kwargs)] = right(*args, **kwargs)
            return known[key(name, args, kwargs)]

        return call

    def repeated(name: str) -> Callable:
        return lambda *args, **kwargs: known.get(key(name, args, kwargs), "never seen")

    right = exercise.solution()
    functions = {name: f for name, f in right.items() if not isinstance(f, type)}
    learned = right | {name: recorded(name, f) for name, f in functions.items()}
    assert run(exercise, learned, 1, exercise.public_checks).passed
    by_heart = right | {name: repeated(name) for name in functions}
    assert run(exercise, by_heart, 1, exercise.public_checks).passed
    # A class cannot be learned by heart like this; what uses nothing else may pass.
    of_the_class = {"a_new_block_has_two_neutral_norms", "blocks_stack_in_both_orders"}
    for result in run(exercise, by_heart, 1, exercise.hidden_checks).results:
        assert (result.outcome is Outcome.PASSED) == (result.check in of_the_class), result.check


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
def test_public_and_hidden_points_are_balanced(exercise: Exercise) -> None:
    public, hidden = (sum(c.points for c in checks) for checks in (exercise.public_checks, exercise.hidden_checks))
    assert 6 <= public + hidden <= 12
    assert abs(public - hidden) <= 1
    assert len(exercise.public_checks) >= 4 and len(exercise.hidden_checks) >= 3
    assert all(check.hint for check in exercise.checks)


def own_layer_norm(x, g, b, eps=1e-5):
    wide = x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    return (centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) * g + b).to(x.dtype)


class OwnLayerNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, x):
        return own_layer_norm(x, self.weight, self.bias)


def test_a_block_is_made_of_ones_own_norm() -> None:
    exercise = EXERCISES[-1]
    right = exercise.solution()

    def graded(norm: Callable) -> Report:
        def block(d, attention_, mlp, pre=True):
            return attention.Block(d, attention_, mlp, pre, norm=norm)

        code = right | {"layer_norm": own_layer_norm, "Block": block}
        backend = LocalBackend(code, guard=lambda: forbidden(exercise.forbid))
        return run_exercise(exercise, backend, checks=exercise.checks, seed=lambda check: len(check.name))

    # What the functions are called is part of what a mistake is recognised by; whether they pass is not.
    assert graded(OwnLayerNorm).passed
    refused = graded(nn.LayerNorm)
    assert {r.outcome for r in refused.results if "block" in r.check and "norm" in r.check} == {Outcome.ERROR}
    source = "import torch.nn.functional as F\nfrom torch import nn\nnn.LayerNorm(3)\nF.rms_norm(x, (3,))\n"
    assert [line for line, _ in find_forbidden(source, exercise.forbid)] == [3, 4]


def test_the_oracle_of_the_encoding_is_known_at_a_few_places() -> None:
    table = positions.encoding(4, 6, 8.0)  # frequencies 1, 1/2 and 1/4
    assert table[0].tolist() == [0, 1] * 3
    want = [f(3 * s) for s in (1, 1 / 2, 1 / 4) for f in (math.sin, math.cos)]
    torch.testing.assert_close(table[3], torch.tensor(want))


def test_the_oracle_of_the_bias_agrees_with_a_picture() -> None:
    table = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    want = [[3, 4, 5, 5], [2, 3, 4, 5], [1, 2, 3, 4], [1, 1, 2, 3]]
    assert positions.bias_of(4, 2, table)[0].tolist() == want
    assert positions.bias_of(3, 0, table[:1]).unique().tolist() == [1]


def test_the_oracle_of_rope_agrees_with_rotation_matrices() -> None:
    rng = Rng(3)
    x, at, freqs = rng.normal(2, 3, 4), torch.tensor([5, 0, 70]), torch.tensor([0.9, 0.2])
    want = torch.empty_like(x)
    for t, position in enumerate(at.tolist()):
        for i in (0, 1):
            c, s = math.cos(position * freqs[i]), math.sin(position * freqs[i])
            want[:, t, [i, i + 2]] = x[:, t, [i, i + 2]] @ torch.tensor([[c, s], [-s, c]])
    torch.testing.assert_close(rope.turned(x, at, freqs), want, atol=1e-4, rtol=1e-4)
    q, k, v = (rng.normal(2, 3, 4) for _ in range(3))
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    for seen in (None, mask):
        want = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        torch.testing.assert_close(rope.attended(q, k, v, seen), want)


def test_the_oracles_of_alibi_are_the_reference() -> None:
    for n, exponents in alibi.EXPONENTS.items():
        torch.testing.assert_close(alibi.slopes_of(exponents), attention.alibi_slopes(n))
    slopes = alibi.draw_slopes(Rng(1), 3)
    torch.testing.assert_close(alibi.lines(9, slopes).float(), attention.alibi_bias(9, slopes))


def test_the_oracles_of_the_norms_are_torch_s() -> None:
    rng = Rng(2)
    x, g, b, up = rng.normal(2, 3, 5), rng.normal(5), rng.normal(5), rng.normal(2, 3, 5)
    torch.testing.assert_close(norms_parts.normalised(x, g, b, 0.1), F.layer_norm(x, (5,), g, b, 0.1))
    torch.testing.assert_close(norms_parts.rms_normalised(x, g, 0.1), F.rms_norm(x, (5,), g, 0.1))
    leaves = [t.clone().requires_grad_() for t in (x, g, b)]
    want = torch.autograd.grad(F.layer_norm(leaves[0], (5,), *leaves[1:], 0.1), leaves, up)
    torch.testing.assert_close(norms_parts.gradients(up, x, g, 0.1), want)
