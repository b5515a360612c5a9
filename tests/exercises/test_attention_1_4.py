"""What the audit does not show about exercises 1 to 4: other seeds, wrong types, memorised answers, the oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import run
from torch import nn

from autograder.compare import CheckFailed
from autograder.exercise import Exercise
from autograder.exercises.attention import masks
from autograder.exercises.attention.embedding import collected, rows_of
from autograder.exercises.attention.multi_head import draw_weights, layer_output
from autograder.exercises.attention.scaled_dot_product import READY_MADE, attended, draw, draw_mask, draw_uneven
from autograder.forbid import ForbiddenCall, find_forbidden, forbidden
from autograder.hidden.attention.embedding import Embed
from autograder.hidden.attention.masks import MakeMask
from autograder.hidden.attention.multi_head import MultiHeadAttention
from autograder.hidden.attention.scaled_dot_product import ScaledDotProductAttention
from autograder.rng import Rng
from autograder.run import Outcome
from course_lib import attention

torch.set_num_threads(1)
EXERCISES = [Embed(), ScaledDotProductAttention(), MakeMask(), MultiHeadAttention()]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


WRONG = [None, "text", 3, 2.5, object(), [], [None], {}, {1: 2}, (), (None, None), ([1], [2]), {1, 2}, nn.Linear(2, 2)]
WRONG += [torch.tensor(1.0), torch.zeros(0), torch.zeros(2, 2), (torch.zeros(2), torch.zeros(2)), torch.zeros(1) * 1j]


@each_exercise
@pytest.mark.parametrize("value", WRONG, ids=lambda value: " ".join(repr(value).split())[:20].split(" at ")[0])
def test_wrong_types_are_failures_and_not_accidents(exercise: Exercise, value: Any) -> None:
    for function in exercise.functions:
        report = run(exercise, exercise.solution(**{function: lambda *args, **kwargs: value}), 1)
        failed = [result for result in report.results if result.outcome is not Outcome.PASSED]
        assert failed and not failed[0].hidden
        for result in failed:
            assert result.outcome is Outcome.FAILED, f"{result.check}: {result.outcome} {result.message}"
            assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


def key(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), str(value.tolist())
    return [key(v) for v in value] if isinstance(value, (list, tuple)) else repr(value)


@pytest.mark.parametrize("exercise", EXERCISES[:3], ids=lambda exercise: exercise.id)
def test_answers_learned_by_heart_fail_every_hidden_check(exercise: Exercise) -> None:
    known: dict[str, Any] = {}

    def recorded(name: str, right: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            known[str((name, key(args), sorted(kwargs.items())))] = answer = right(*args, **kwargs)
            return answer

        return call

    def repeated(name: str) -> Callable:
        return lambda *args, **kwargs: known.get(str((name, key(args), sorted(kwargs.items()))), "never seen")

    right = exercise.solution()
    assert run(exercise, {n: recorded(n, f) for n, f in right.items()}, 1, exercise.public_checks).passed
    by_heart = {name: repeated(name) for name in right}
    for result in run(exercise, by_heart, 1, exercise.hidden_checks).results:
        assert result.outcome is not Outcome.PASSED, result.check


@each_exercise
def test_public_and_hidden_points_are_balanced(exercise: Exercise) -> None:
    public, hidden = (sum(c.points for c in checks) for checks in (exercise.public_checks, exercise.hidden_checks))
    assert 6 <= public + hidden <= 12
    assert abs(public - hidden) <= 1
    assert all(check.hint for check in exercise.checks)


@each_exercise
def test_nothing_ready_made_stands_in_the_forbidden_list_in_vain(exercise: Exercise) -> None:
    for name in exercise.forbid:
        assert find_forbidden(f"import torch\ny = {name}(x)\n", exercise.forbid), name


def test_ready_made_functions_are_noticed_when_they_run() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with forbidden(READY_MADE), pytest.raises(ForbiddenCall):
        F.scaled_dot_product_attention(x, x, x)
    with forbidden(READY_MADE), pytest.raises(ForbiddenCall):
        nn.MultiheadAttention(2, 1)(x[0], x[0], x[0])
    with forbidden(Embed.forbid), pytest.raises(ForbiddenCall):
        nn.Embedding(3, 2)(torch.tensor([1]))
    # The course's own attention with weights is what exercise 4 is built on; it must not trip the wire.
    with forbidden(READY_MADE):
        attention.scaled_dot_product_attention(x, x, x)


def test_mistaken_layers_are_of_the_type_that_a_student_writes() -> None:
    """Objects that stay on the student's side are told apart by their type's name: a student's has this one."""
    exercise = EXERCISES[3]
    for mistake in exercise.mistakes:
        if mistake.function == "MultiHeadAttention":
            assert type(mistake.code(12, 4, 4)).__name__ == "MultiHeadAttention"


def test_both_flaws_of_a_tiling_student_are_named() -> None:
    """A student whose layer uses a wrong repeat_kv: either check says what is wrong."""

    def repeat_kv(x, n_rep):
        return x.repeat(1, n_rep, 1, 1)

    class MultiHeadAttention(attention.MultiHeadAttention):
        def forward(self, x, mask=None):
            q, k, v = self._heads(x, None)
            times = self.n_heads // self.n_kv_heads
            out, _ = attention.scaled_dot_product_attention(q, repeat_kv(k, times), repeat_kv(v, times), mask)
            return self.o_proj(out.transpose(1, 2).flatten(2))

    code = {"repeat_kv": repeat_kv, "MultiHeadAttention": MultiHeadAttention}
    report = run(EXERCISES[3], code, 5, EXERCISES[3].public_checks)
    assert [result.mistake for result in report.results] == ["tiles", "", "", "tiles_key_heads"]


def test_the_attention_oracle_is_torchs_attention() -> None:
    rng = Rng(3)
    for T, S in ((1, 4), (5, 1), (6, 9)):
        q, k, v = (x.double() for x in draw_uneven(rng, 2, 3, T, S, 5))
        for mask in (None, draw_mask(rng, T, S) | (torch.arange(S) == 0)):
            assert torch.allclose(attended(q, k, v, mask)[0], F.scaled_dot_product_attention(q, k, v, mask))
    q, k, v = draw(rng, 1, 1, 3, 4, 2)
    out, weights = attended(q, k, v, torch.zeros(3, 4, dtype=torch.bool))
    assert not out.any() and not weights.any()


def test_the_embedding_oracles_are_torchs_layer() -> None:
    ids = torch.tensor([[3, 0, 3], [1, 3, 0]])
    table = nn.Embedding(5, 2, dtype=torch.float64)
    grad = Rng(4).normal(2, 3, 2, dtype=torch.float64)
    table(ids).backward(grad)
    assert torch.equal(rows_of(ids, table.weight), table(ids))
    assert torch.allclose(collected(ids, grad, 5), table.weight.grad)


def test_the_layer_oracle_is_torchs_layer() -> None:
    weights, x = draw_weights(Rng(5), 12, 4, 4), Rng(6).normal(2, 5, 12, dtype=torch.float64)
    layer = nn.MultiheadAttention(12, 4, bias=False, batch_first=True).double()
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([weights[f"{p}_proj.weight"] for p in "qkv"]))
        layer.out_proj.weight.copy_(weights["o_proj.weight"])
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    assert torch.allclose(layer_output(weights, x, 4, 4), layer(x, x, x)[0])
    assert torch.allclose(layer_output(weights, x, 4, 4, mask), layer(x, x, x, attn_mask=~mask)[0])


@pytest.mark.parametrize("T", [1, 2, 9])
def test_the_mask_oracle_by_bands(T: int) -> None:
    square = torch.ones(T, T, dtype=torch.bool)
    for window in (1, 2, 5, 20):
        band = square.tril().triu(1 - window)
        assert masks.masked(T, "sliding", window=window) == band.tolist()
        for n_global in (0, 2, 9):
            columns = band.clone()
            columns[:, :n_global] = True
            assert masks.masked(T, "longformer", window=window, n_global=n_global) == columns.tril().tolist()
    prefix = square.tril()
    prefix[:, :3] = True
    assert masks.masked(T, "prefix", prefix_len=3) == prefix.tolist()
    assert masks.masked(T, "causal") == square.tril().tolist()


def test_a_wrong_mask_is_explained_in_words() -> None:
    with pytest.raises(CheckFailed, match="row 0, column 1 is True, but query 0 may not see key 1"):
        masks.compare(torch.ones(2, 2, dtype=torch.bool), masks.masked(2, "causal"), "it")
