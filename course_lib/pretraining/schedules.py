"""Learning-rate schedules: up, and down again, as a function of the step."""

import math

from course_lib.attention._arguments import require_int

COOLDOWNS = ("linear", "1-sqrt")


def lr_at(step: int, warmup: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Return the learning rate of step 0 .. total - 1: warm-up to `peak`, then half a cosine down to `floor`.

    The warm-up takes `warmup` equal stairs and its first is not zero: a step at rate 0 would be wasted. Step `warmup`
    has the peak, step total - 1 exactly the floor, and so has every later one: the cosine does not come up again. If
    both are the same step, it has the peak.
    ValueError for negative steps, a warm-up that leaves no step, a peak that is not positive, or a floor above it.
    Source: Loshchilov and Hutter 2017, equation 5, without restarts; Radford et al. 2018, section 4.1 (with warm-up).

    >>> [round(lr_at(step, warmup=1, total=6, peak=1.0), 3) for step in range(7)]
    [0.5, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    _check(step, warmup, total, peak, floor)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step >= total:
        return floor
    done = (step - warmup) / max(1, total - 1 - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


def wsd_at(
    step: int,
    warmup: int,
    total: int,
    peak: float,
    floor: float = 0.0,
    cooldown: int | None = None,
    shape: str = "1-sqrt",
) -> float:
    """Return the learning rate of a warm-up, a stable stretch at `peak`, and a cool-down over the last steps.

    The last `cooldown` steps (a fifth of all, unless given) go down to `floor`, which step total - 1 reaches exactly:
    in a straight line ("linear") or by one minus the root of the share done ("1-sqrt"), which falls faster at first.
    Until the cool-down begins, the rate does not depend on `total`: so one run can be branched into cool-downs of
    several lengths. Warm-up as in `lr_at`. ValueError as for `lr_at`, for an unknown shape, and for a cool-down that
    does not fit between warm-up and end.
    Source: Hu et al. 2024, section 4.2 (WSD); Hägele et al. 2024, section 3 (both shapes, and that a fifth suffices).

    >>> [round(wsd_at(step, 1, 7, 1.0, cooldown=4, shape="linear"), 2) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    >>> [round(wsd_at(step, 1, 7, 1.0, cooldown=4), 2) for step in range(3, 7)]
    [0.5, 0.29, 0.13, 0.0]
    """
    _check(step, warmup, total, peak, floor)
    if shape not in COOLDOWNS:
        raise ValueError(f"shape: expected one of {', '.join(COOLDOWNS)}, got {shape!r}")
    if cooldown is None:
        cooldown = min(-(-total // 5), total - warmup - 1)  # so that one step has the peak
    if require_int("cooldown", cooldown, 0) > total - warmup:
        raise ValueError(f"cooldown: expected at most total - warmup = {total - warmup} steps, got {cooldown}")
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step < total - cooldown or not cooldown:
        return peak
    done = 1.0 if step >= total - 1 else (step + 1 - (total - cooldown)) / cooldown
    left = 1 - done if shape == "linear" else 1 - math.sqrt(done)
    return floor + (peak - floor) * left


def _check(step: int, warmup: int, total: int, peak: float, floor: float) -> None:
    require_int("step", step, 0)
    require_int("total", total, 1)
    if require_int("warmup", warmup, 0) >= total:
        raise ValueError(f"warmup: expected less than total = {total}, got {warmup}")
    if not (peak > 0 and math.isfinite(peak)):
        raise ValueError(f"peak: expected a positive number, got {peak!r}")
    if not 0 <= floor <= peak:
        raise ValueError(f"floor: expected a number from 0 to peak = {peak}, got {floor!r}")
