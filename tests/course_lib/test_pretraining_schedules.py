"""Schedules at their corners, against torch's scheduler, and against what they must not do."""

import math
from itertools import pairwise

import pytest
import torch

from course_lib.pretraining import lr_at, wsd_at

torch.set_num_threads(1)


def rates(schedule, total=40, **settings):
    return [schedule(step, total=total, **settings) for step in range(total + 5)]


@pytest.mark.parametrize("schedule", [lr_at, wsd_at])
def test_warm_up_begins_above_zero_and_the_end_is_exactly_the_floor(schedule):
    got = rates(schedule, warmup=4, peak=0.3, floor=0.07)
    assert got[:5] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3]) and got[4] == 0.3
    assert got[39:] == [0.07] * 6 and got[38] > 0.07  # exactly, and not before
    assert all(a >= b for a, b in pairwise(got[4:]))
    assert rates(schedule, warmup=0, peak=0.3)[0] == 0.3


def test_cosine_equals_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=29, eta_min=0.02)
    want = []
    for _ in range(30):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    got = [lr_at(step, 5, 35, 0.3, 0.02) for step in range(5, 35)]
    assert got == pytest.approx(want, rel=1e-9)
    # torch's scheduler rises again after its end; ours stays down.
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] > lr_at(36, 5, 35, 0.3, 0.02) == 0.02


def test_cool_downs_have_their_shapes():
    line = rates(wsd_at, warmup=5, peak=1.0, floor=0.2, cooldown=8, shape="linear")
    assert line[5:32] == [1.0] * 27
    assert line[32:40] == pytest.approx([0.2 + 0.8 * (1 - n / 8) for n in range(1, 9)])
    root = rates(wsd_at, warmup=5, peak=1.0, floor=0.2, cooldown=8)
    assert root[32:40] == pytest.approx([0.2 + 0.8 * (1 - math.sqrt(n / 8)) for n in range(1, 9)])
    assert all(r < s for r, s in zip(root[32:39], line[32:39], strict=True))


def test_a_stable_stretch_does_not_depend_on_the_end():
    short, long = rates(wsd_at, 40, warmup=5, peak=1.0), rates(wsd_at, 80, warmup=5, peak=1.0)
    assert short[:32] == long[:32] and short[32] < long[32]  # a fifth of the steps cools down
    assert rates(lr_at, 40, warmup=5, peak=1.0)[20] != rates(lr_at, 80, warmup=5, peak=1.0)[20]


def test_short_runs():
    assert lr_at(0, 0, 1, 0.3) == 0.3
    assert [lr_at(s, 1, 2, 0.3) for s in range(3)] == pytest.approx([0.15, 0.3, 0.0])
    assert wsd_at(0, 0, 1, 0.3) == 0.3 and wsd_at(0, 0, 1, 0.3, cooldown=1) == 0.0
    assert rates(wsd_at, 6, warmup=2, peak=1.0, cooldown=0)[2:] == [1.0] * 9
    assert wsd_at(3, 2, 4, 1.0, 0.1, cooldown=2) == 0.1


@pytest.mark.parametrize(
    "change, name",
    [
        ({"step": -1}, "step"),
        ({"step": 1.5}, "step"),
        ({"total": 0}, "total"),
        ({"warmup": 10}, "warmup"),
        ({"warmup": -1}, "warmup"),
        ({"peak": 0.0}, "peak"),
        ({"peak": math.inf}, "peak"),
        ({"floor": 2.0}, "floor"),
        ({"floor": -0.1}, "floor"),
        ({"shape": "cosine"}, "shape"),
        ({"cooldown": 9}, "cooldown"),
        ({"cooldown": -1}, "cooldown"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(change, name):
    settings = {"step": 0, "warmup": 2, "total": 10, "peak": 1.0, "floor": 0.0}
    for schedule in (lr_at, wsd_at) if name not in ("shape", "cooldown") else (wsd_at,):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            schedule(**settings | change)
