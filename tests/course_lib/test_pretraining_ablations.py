"""Ablations side by side: each seed as if alone, one change at a time, and an order that is scored fairly."""

import random

import pytest
import torch
from scipy.stats import kendalltau

from course_lib.pretraining.ablation_widget import make_predict_order, verdict
from course_lib.pretraining.ablations import (
    ABLATIONS,
    Recipe,
    Setup,
    initial,
    logits,
    pairs_right,
    parameter_shapes,
    train_ablation,
    windows_of,
)

RECIPES = {"everything": Recipe(), **ABLATIONS}
TINY = Setup(7, layers=2, heads=2, width=8, length=6, rows=4, steps=6, seeds=(0, 1))
DATA = torch.randint(7, (400,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_no_place_sees_what_comes_after_it_and_no_seed_another(recipe: Recipe) -> None:
    parameters = initial(TINY, recipe)
    ids = torch.randint(7, (2, 3, 6), generator=torch.Generator().manual_seed(1))
    before = logits(parameters, ids, TINY, recipe).view(2, 3, 6, 7)
    changed = ids.clone()
    changed[0, 1, 4] = (changed[0, 1, 4] + 1) % 7
    after = logits(parameters, changed, TINY, recipe).view(2, 3, 6, 7)
    moved = ((before - after).abs() > 1e-6).any(-1)
    assert moved[0, 1, 4:].all() and moved.sum() == 2


def test_an_ablation_takes_away_what_its_name_says() -> None:
    whole = set(parameter_shapes(TINY, Recipe()))
    assert whole - set(parameter_shapes(TINY, ABLATIONS["no positions"])) == {"positions"}
    assert {name for name in whole if "gain" in name or "shift" in name} == whole - set(
        parameter_shapes(TINY, ABLATIONS["no norm"])
    )
    assert whole - set(parameter_shapes(TINY, ABLATIONS["post-norm"])) == {"last.gain", "last.shift"}
    assert parameter_shapes(TINY, ABLATIONS["no warm-up"]).keys() == whole


def test_without_positions_equal_tokens_in_front_make_equal_logits() -> None:
    ids = torch.full((2, 1, 6), 3)
    for name, same in (("no positions", True), ("everything", False)):
        out = logits(initial(TINY, RECIPES[name]), ids, TINY, RECIPES[name]).view(2, 6, 7)
        assert torch.allclose(out, out[:, :1].expand_as(out), atol=1e-5) == same


def test_a_seed_trains_as_if_it_were_alone() -> None:
    _, together = train_ablation(DATA, DATA, TINY, Recipe(), every=3)
    alone = Setup(**(vars(TINY) | {"seeds": (1,)}))
    _, single = train_ablation(DATA, DATA, alone, Recipe(), every=3)
    torch.testing.assert_close(together[:, 1:], single, rtol=1e-4, atol=1e-5)


def test_the_functions_that_are_handed_in_are_used() -> None:
    rates = []

    def step(p, g, state, lr):
        rates.append((lr, state))
        return p, (state or 0) + 1

    asked = []

    def schedule(number, warmup, total, peak, floor):
        asked.append((number, warmup, total))
        return 0.5

    def clip(gs, limit):
        assert len(gs) == 1 and gs[0].dim() == 1
        return gs, 1.0

    steps, losses = train_ablation(DATA, DATA, TINY, Recipe(), step, schedule, clip, every=4)
    assert steps == [4, 6] and losses.shape == (2, 2)
    assert torch.equal(losses[0], losses[1])  # nothing has moved
    assert rates == [(0.5, k or None) for k in range(6)] and asked == [(k, 1, 6) for k in range(6)]
    train_ablation(DATA, DATA, TINY, ABLATIONS["no warm-up"], step, schedule, clip)
    assert asked[-1] == (5, 0, 6)


def test_windows_are_stretches_of_the_text() -> None:
    rows = windows_of(torch.arange(10), 200, 3, torch.Generator().manual_seed(0))
    assert (rows.diff(dim=1) == 1).all() and rows.min() == 0 and rows.max() == 9


def test_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="held_out: expected more than length = 6 ids, got 6"):
        train_ablation(DATA, DATA[:6], TINY, Recipe())


def test_pairs_agree_with_kendall() -> None:
    draw = random.Random(0)
    for _ in range(30):
        losses = {name: draw.random() for name in "abcde"}
        order = draw.sample(list(losses), 5)
        right, pairs = pairs_right(order, losses)
        tau = kendalltau(range(5), [losses[name] for name in order]).statistic
        assert 2 * right / pairs - 1 == pytest.approx(tau)
    with pytest.raises(ValueError, match="predicted"):
        pairs_right(["a", "a"], {"a": 1.0, "b": 2.0})


def test_the_widget_wants_each_once_and_then_shows_score_and_curves() -> None:
    runs = {name: ([1, 2], torch.tensor([[3.0, 3.1], [k, k + 0.1]])) for k, name in enumerate(RECIPES)}
    widget, static = make_predict_order(runs)
    *places, button, output = widget.children[1:]
    assert len(places) == 4 and static.count("<img") == 1 and "Final losses, lowest first: everything 0.05" in static
    button.click()
    assert "once" in output.value and "<img" not in output.value
    for place, name in zip(places, ABLATIONS, strict=True):
        place.value = name
    button.click()
    assert "6 of 6 pairs" in output.value and "<img" in output.value
    assert "0 of 6 pairs" in verdict(list(reversed(ABLATIONS)), runs)
    with pytest.raises(ValueError, match="baseline"):
        make_predict_order({"a": ([1], torch.ones(1, 1))})
