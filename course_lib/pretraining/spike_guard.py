"""Loss spikes: notice them against the recent past, go back to the last good state, and go on with other data."""

import copy
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tqdm import tqdm

from course_lib.pretraining._arguments import require_int

DEVIATION = 1.4826  # a normal distribution's standard deviation, in median absolute deviations


class SpikeGuard:
    """Says whether a loss is a spike: far above the median of the last `window` good losses, or not finite.

    "Far" is more than `threshold` standard deviations, estimated by the median absolute deviation: both are hardly
    moved by the outliers they are to find, as mean and variance would be. The deviation counts as at least a
    thousandth of the median, so that a loss that has come to rest does not make every tremor a spike. Before
    `min_history` losses have been seen only those that are not finite are spikes. ValueError for settings that cannot
    be. Source: Hampel 1974 (the median absolute deviation); Chowdhery et al. 2022, section 5.1 (spikes).

    >>> guard = SpikeGuard(min_history=3)
    >>> [guard.observe(loss) for loss in (2.1, 2.0, 2.2, 2.1, 9.0, 2.0)]
    [False, False, False, False, True, False]
    """

    def __init__(self, window: int = 64, threshold: float = 8.0, min_history: int = 16):
        require_int("window", window, 3)
        if require_int("min_history", min_history, 1) > window:
            raise ValueError(f"min_history: expected at most window = {window}, got {min_history}")
        if not threshold > 0:
            raise ValueError(f"threshold: expected a positive number, got {threshold!r}")
        self.threshold, self.min_history = threshold, min_history
        self.history: deque[float] = deque(maxlen=window)

    def is_spike(self, loss: float) -> bool:
        """Return whether `loss` would be a spike now; nothing is remembered."""
        if not math.isfinite(loss):
            return True
        if len(self.history) < self.min_history:
            return False
        median = statistics.median(self.history)
        deviation = DEVIATION * statistics.median(abs(x - median) for x in self.history)
        return loss > median + self.threshold * max(deviation, 1e-3 * abs(median))

    def observe(self, loss: float) -> bool:
        """Return whether `loss` is a spike, and remember it if it is not."""
        if self.is_spike(loss):
            return True
        self.history.append(loss)
        return False


class GuardedRun(NamedTuple):
    """The losses of the steps that were kept, and the numbers of the batches that were left out."""

    losses: list[float]
    skipped: list[int]


def train_with_spike_guard(
    step: Callable[[Any], float],
    save: Callable[[], Any],
    restore: Callable[[Any], object],
    batches: Iterable[Any],
    guard: SpikeGuard,
    every: int = 10,
    max_rewinds: int = 10,
    progress: bool = False,
) -> GuardedRun:
    """Train on the batches; after a spike go back to the last good state and go on behind the spike's batch.

    ``step(batch)`` makes one step and returns the loss before it; ``save()`` returns the state of model and optimiser,
    as a copy of its own, and ``restore(state)`` puts it back. A state is saved before every `every`-th step, and is
    good once a loss computed with it was no spike: damage done by one step shows only at the next. What came between
    the good state and the spike is lost, and those batches are not tried again, because the spike may come from any.
    RuntimeError after `max_rewinds` returns to the same state: then it is not the data. ValueError for `every` or
    `max_rewinds` below 1.
    Source: Chowdhery et al. 2022, section 5.1 (they went back about 100 steps and skipped 200 to 500 batches).

    >>> weight = [0.0]
    >>> def step(batch):
    ...     weight[0] += batch
    ...     return abs(weight[0] - batch)
    >>> train_with_spike_guard(step, weight.copy, lambda old: weight.__setitem__(0, old[0]),
    ...                        [0.1, 0.1, 0.1, 50.0, 0.1, 0.1], SpikeGuard(min_history=2), every=1).skipped
    [3, 4]
    """
    require_int("every", every, 1)
    require_int("max_rewinds", max_rewinds, 1)
    losses: list[float] = []
    skipped: list[int] = []
    since: list[int] = []  # the batches that have been used since the good state
    good = pending = Snapshot(0, save())
    rewinds = 0
    for number, batch in enumerate(tqdm(batches, desc="training", disable=not progress)):
        if len(losses) % every == 0 and len(losses) != pending.step:
            pending = Snapshot(len(losses), save())
        loss = float(step(batch))
        if guard.observe(loss):
            rewinds += 1
            if rewinds > max_rewinds:
                raise RuntimeError(f"the loss is {loss:.4g} after {max_rewinds} returns to step {good.step}")
            restore(copy.deepcopy(good.state))  # it may be needed again
            skipped += [*since, number]
            since.clear()
            del losses[good.step :]
            pending = good
            continue
        losses.append(loss)
        since.append(number)
        if pending is not good:
            good, since, rewinds = pending, [number], 0
    return GuardedRun(losses, skipped)


class Snapshot(NamedTuple):
    """A state to return to, and how many steps led to it."""

    step: int
    state: Any
