"""What the audit does not show about exercise 9: other seeds, odd models, memorised answers, the oracles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from autograder.exercise import Check
from autograder.exercises.attention.gpt_parts import (
    counted,
    draw_config,
    draw_ids,
    draw_state,
    gpt_with,
    logits_of,
    operations,
    shapes,
)
from autograder.hidden.attention.gpt import GPT
from autograder.rng import Rng
from autograder.run import Outcome, Report, run_exercise
from autograder.student import LocalBackend
from course_lib import attention

torch.set_num_threads(1)
EXERCISE = GPT()


def run(code: dict[str, Any], seed: int, checks: list[Check] | None = None) -> Report:
    checks = EXERCISE.checks if checks is None else checks
    return run_exercise(EXERCISE, LocalBackend(code), checks=checks, seed=lambda check: seed * 7919 + len(check.name))


def test_each_wrong_thing_of_the_chapter_has_its_mistake() -> None:
    assert {
        "no_position_table", "head_twice", "large_start", "dropout_always", "head_bias", "own_head", "not_causal",
        "no_positions", "no_final_norm",
    } <= {mistake.name for mistake in EXERCISE.mistakes}  # fmt: skip


@pytest.mark.parametrize("seed", range(3, 6))
def test_right_solutions_pass_under_other_seeds(seed: int) -> None:
    assert len(EXERCISE.variants) >= 2
    right = EXERCISE.solution()
    wide = right | {"GPT": gpt_with()}  # no scaled residual projections: that is no mistake here
    for code in (right, wide, *(EXERCISE.solution(**variant.code) for variant in EXERCISE.variants)):
        report = run(code, seed)
        assert report.passed, report.first_problem


def same_wrong_model_written_differently() -> dict[str, type]:
    """Models with a known mistake, other names for what is free, and parts made in another order."""

    def rewritten(base: type, forward: Any = None, finish: Any = None) -> type:
        class GPT(base):  # type: ignore[misc, valid-type]
            def __init__(self, cfg: Any):
                torch.rand(7)  # the random stream stands elsewhere
                super().__init__(cfg)
                if finish:
                    finish(self, cfg)

        if forward:
            GPT.forward = forward
        return GPT

    def own_table(model: Any, cfg: Any) -> None:
        model.lm_head = nn.Linear(cfg.d_model, cfg.vocab_size, bias=False)

    def own_bias(model: Any, cfg: Any) -> None:
        model.out_bias = nn.Parameter(torch.randn(cfg.vocab_size))

    def larger(model: Any, cfg: Any) -> None:
        nn.init.normal_(model.token_embedding.weight, std=0.8)

    right = gpt_with()

    def drops(self: Any, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(right.forward(self, ids), self.rate)

    return {
        "own_head": rewritten(right, finish=own_table),
        "head_bias": rewritten(right, finish=own_bias),
        "large_start": rewritten(right, finish=larger),
        "dropout_always": rewritten(right, forward=drops),
    }


@pytest.mark.parametrize("name", same_wrong_model_written_differently())
def test_mistakes_with_random_numbers_are_recognised_in_other_code(name: str) -> None:
    code = EXERCISE.solution(GPT=same_wrong_model_written_differently()[name])
    failed = [r for r in run(code, 2, EXERCISE.public_checks).results if r.outcome is not Outcome.PASSED]
    assert failed and {result.mistake for result in failed} == {name}


@pytest.mark.parametrize(
    "value",
    [None, "text", 3, 2.5, [], [[1]], {}, {"total": 1}, {"total": "x"}, (), SimpleNamespace(total=1), torch.zeros(2)],
    ids=lambda value: repr(value)[:20],
)
def test_wrong_types_are_failures_and_not_accidents(value: Any) -> None:
    for function in EXERCISE.functions:
        report = run(EXERCISE.solution(**{function: lambda *args, **kwargs: value}), 1)
        failed = [result for result in report.results if result.outcome is not Outcome.PASSED]
        assert failed and not failed[0].hidden
        for result in failed:
            assert result.outcome is Outcome.FAILED, f"{result.check}: {result.outcome} {result.message}"
            assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


def modules(forward: Any = None, **methods: Any) -> type:
    base = gpt_with()
    return type("GPT", (base,), methods | ({"forward": forward} if forward else {}))


@pytest.mark.parametrize(
    "model",
    [
        modules(lambda self, ids: None),
        modules(lambda self, ids: [1.0]),
        modules(lambda self, ids: torch.zeros(())),
        modules(lambda self, ids: torch.full((*ids.shape, self.token_embedding.num_embeddings), torch.nan)),
        modules(lambda self, ids: torch.zeros(3, 16, 5)),
        modules(load_state_dict=lambda self, *args, **kwargs: None),
        modules(load_state_dict=lambda self, *args, **kwargs: (1, 2), state_dict=lambda self: {"a": 1}),
        modules(state_dict=lambda self: [1]),
        modules(state_dict=lambda self: nn.Module.state_dict(self) | {1: torch.zeros(2)}),
        modules(state_dict=lambda self: dict.fromkeys(nn.Module.state_dict(self), 0)),
    ],
)
def test_odd_models_are_failures_and_not_accidents(model: type) -> None:
    results = run(EXERCISE.solution(GPT=model), 1).results
    assert any(result.outcome is not Outcome.PASSED for result in results)
    for result in results:
        assert result.outcome in (Outcome.PASSED, Outcome.FAILED), f"{result.check}: {result.outcome} {result.message}"
        assert "cannot be used" not in result.message, f"{result.check}: {result.message}"


def test_a_model_that_only_shows_the_right_weights_does_not_pass() -> None:
    """State that is shown and not used: the logits tell."""

    def uniform(self: Any, ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*ids.shape, self.token_embedding.num_embeddings)

    outcomes = {r.check: r.outcome for r in run(EXERCISE.solution(GPT=modules(uniform)), 1).results}
    assert outcomes["logits_follow_from_the_past"] is Outcome.FAILED
    assert outcomes["logits_are_right_for_texts_of_every_length"] is Outcome.FAILED
    assert outcomes["chance_acts_where_it_should"] is Outcome.FAILED


def test_counts_learned_by_heart_fail_the_hidden_checks() -> None:
    known: dict[str, Any] = {}

    def recorded(right: Any) -> Any:
        return lambda *args: known.setdefault(f"{right.__name__} {args}", right(*args))

    right = EXERCISE.solution()
    counts = ("count_params", "flops_per_token")
    assert run(right | {name: recorded(right[name]) for name in counts}, 1, EXERCISE.public_checks).passed
    by_heart = {name: lambda *args, name=name: known.get(f"{name} {args}") for name in counts}
    assert run(right | by_heart, 1, EXERCISE.public_checks).passed
    for result in run(right | by_heart, 1, EXERCISE.hidden_checks).results:
        about_counts = "count" in result.check
        assert (result.outcome is Outcome.FAILED) == about_counts, result.check


def test_public_and_hidden_points_are_balanced() -> None:
    public, hidden = (sum(c.points for c in checks) for checks in (EXERCISE.public_checks, EXERCISE.hidden_checks))
    assert 6 <= public + hidden <= 12 and abs(public - hidden) <= 1
    assert all(check.hint for check in EXERCISE.checks)


def test_the_oracles_agree_with_the_library() -> None:
    rng = Rng(4)
    for _ in range(5):
        cfg = draw_config(rng)
        model = attention.GPT(cfg).eval()
        assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == shapes(cfg)
        state = draw_state(rng, cfg)
        model.load_state_dict(state)
        ids = draw_ids(rng, cfg, 2, 5)
        torch.testing.assert_close(logits_of(ids, state, cfg), model(ids), atol=1e-3, rtol=1e-3)
        assert counted(cfg) == attention.count_params(cfg)
        assert operations(cfg, 17) == attention.flops_per_token(cfg, 17)


def test_the_oracle_for_logits_agrees_with_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    rng = Rng(5)
    cfg = draw_config(rng)
    full = attention.GPTConfig.of(cfg)
    settings = {k: v for k, v in attention.gpt2_settings(full).items() if k not in ("architectures", "model_type")}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings)).eval()
    state = draw_state(rng, cfg)
    theirs.load_state_dict(attention.gpt2_state_to_hf(state, full), strict=False)
    ids = draw_ids(rng, cfg, 2, 5)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(ids, state, cfg), theirs(ids).logits, atol=1e-3, rtol=1e-3)
