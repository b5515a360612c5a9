"""The guard sees spikes and only spikes; the rewind leaves nothing of a poisoned batch behind."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.pretraining import SpikeGuard, train_with_spike_guard

torch.set_num_threads(1)


def test_a_spike_is_what_stands_out_of_the_noise():
    rng = np.random.default_rng(0)
    guard = SpikeGuard(window=50)
    falling = [3 - n / 200 + 0.05 * x for n, x in enumerate(rng.normal(size=300))]
    assert not any(guard.observe(x) for x in falling)
    median = np.median(falling[-50:])
    deviation = np.median(np.abs(np.array(falling[-50:]) - median)) / 0.67448975  # of a normal distribution
    edge = median + 8 * deviation
    assert guard.is_spike(edge + 1e-3) and not guard.is_spike(edge - 1e-3)
    assert not guard.is_spike(0.0) and guard.is_spike(math.nan) and guard.is_spike(math.inf)
    # Spikes do not become part of what is normal; with mean and deviation a few of them would hide all others.
    assert all(guard.observe(9.0) for _ in range(60))
    spoilt = np.array([*falling[-35:], *[9.0] * 15])
    assert spoilt.mean() + 8 * spoilt.std() > 9.0


def test_before_there_is_a_past_and_at_rest():
    guard = SpikeGuard(min_history=4)
    assert [guard.observe(x) for x in (5.0, math.nan, 50.0, 0.1, 5.0)] == [False, True, False, False, False]
    resting = SpikeGuard()
    assert not any(resting.observe(2.0) for _ in range(40))
    assert not resting.is_spike(2.0 * 1.007) and resting.is_spike(2.0 * 1.009)


def least_squares(poison=(), every=4, steps=60, guarded=True, **settings):
    """A linear model whose batches are [8, 3]; the poisoned ones have targets far off, and throw the weights far."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    used = []

    def step(batch):
        number, x = batch
        used.append(number)
        target = x.sum(1, keepdim=True) * (500.0 if number in poison else 1.0)
        loss = (model(x) - target).square().mean() + 0.1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def save():
        return copy.deepcopy((model.state_dict(), optimizer.state_dict()))

    def restore(state):
        model.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])

    g = torch.Generator().manual_seed(1)
    batches = [(n, torch.randn(8, 3, generator=g)) for n in range(steps)]
    if not guarded:
        return [step(batch) for batch in batches], model, step, batches
    run = train_with_spike_guard(step, save, restore, batches, SpikeGuard(min_history=8, **settings), every)
    return run, model, used


def test_without_poison_nothing_happens():
    run, model, used = least_squares()
    losses, plain, *_ = least_squares(guarded=False)
    assert run.losses == losses and run.skipped == [] and used == list(range(60))
    assert torch.equal(model.weight, plain.weight)


@pytest.mark.parametrize("every", [1, 4, 7])
def test_the_result_is_that_of_never_having_seen_the_skipped_batches(every):
    run, model, used = least_squares(poison=[33], every=every)
    assert 33 in run.skipped and used == list(range(60)) and len(run.losses) == 60 - len(run.skipped)
    assert run.skipped == list(range(34 - len(run.skipped), 34)) and len(run.skipped) <= every + 1
    _, plain, step, batches = least_squares(guarded=False, steps=0)
    g = torch.Generator().manual_seed(1)
    batches = [(n, torch.randn(8, 3, generator=g)) for n in range(60)]
    assert [step(b) for b in batches if b[0] not in run.skipped] == run.losses
    assert torch.equal(model.weight, plain.weight)
    spoilt, *_ = least_squares(poison=[33], guarded=False)
    assert max(spoilt[34:]) > 100 * max(run.losses[30:])  # what going on would have cost


def test_damage_that_shows_only_later_is_undone_too():
    # A gradient that is not finite: the loss before that step was fine, all later ones are not.
    weight, saved = [1.0], []

    def step(number):
        loss = weight[0]
        weight[0] = math.nan if number == 20 else weight[0] * 0.99
        return loss

    def save():
        saved.append(weight[0])
        return weight[0]

    run = train_with_spike_guard(step, save, lambda w: weight.__setitem__(0, w), range(40), SpikeGuard(), every=1)
    # The state after the bad step was saved, but never held to be good.
    assert any(math.isnan(w) for w in saved) and run.skipped == [20, 21]
    assert run.losses == pytest.approx([0.99**n for n in range(38)])


def test_a_state_can_be_gone_back_to_twice():
    state = {"seen": []}

    def step(number):
        state["seen"].append(number)
        return math.nan if number in (20, 21) else 1.0

    def restore(saved):  # takes over what it gets, and goes on to change it
        state.update(saved)

    run = train_with_spike_guard(step, lambda: copy.deepcopy(state), restore, range(25), SpikeGuard(), every=20)
    assert run.skipped == [*range(22)]  # no loss of the state before step 20 was good, so both go back to the start
    assert state["seen"] == [n for n in range(25) if n not in run.skipped]


def test_what_never_ends_is_an_error():
    with pytest.raises(RuntimeError, match="after 3 returns to step 0"):
        train_with_spike_guard(lambda b: math.nan, dict, lambda s: None, range(9), SpikeGuard(), max_rewinds=3)
    for settings in ({"window": 2}, {"min_history": 65}, {"threshold": 0}):
        with pytest.raises(ValueError, match=f"^{next(iter(settings))}: expected"):
            SpikeGuard(**settings)
    with pytest.raises(ValueError, match=r"^every: expected"):
        train_with_spike_guard(float, dict, dict, [], SpikeGuard(), every=0)
