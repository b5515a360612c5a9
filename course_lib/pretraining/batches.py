"""Batches from one long row of tokens: windows, their targets, and a cursor that resumes exactly.

The tokens may be a tensor, an array or a memory map that is larger than memory: only the windows asked for are read.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.packing import IGNORE, document_mask, document_positions, document_targets

Tokens = Tensor | np.ndarray


class Batch(NamedTuple):
    """Inputs and targets [B, T], int64; positions [B, T] and a mask [B, T, T] where documents are kept apart."""

    inputs: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None


def windows(tokens: Tokens, starts: Sequence[int] | np.ndarray, T: int) -> tuple[Tensor, Tensor]:
    """Read the windows that begin at `starts`: inputs [B, T] and, shifted by one, targets [B, T], both int64.

    A window takes T + 1 tokens, so the last possible start is len(tokens) - T - 1.
    ValueError for T < 1 and for a start outside.

    >>> windows(torch.arange(10, 20), [0, 6], T=3)
    (tensor([[10, 11, 12],
            [16, 17, 18]]), tensor([[11, 12, 13],
            [17, 18, 19]]))
    """
    _require_tokens(tokens)
    require_int("T", T, 1)
    last = len(tokens) - T - 1
    for start in starts:
        if not 0 <= start <= last:
            raise ValueError(f"starts: expected integers from 0 to {last} ({len(tokens)} tokens, T={T}), got {start}")
    rows = torch.empty(len(starts), T + 1, dtype=torch.int64)
    for row, start in zip(rows, starts, strict=True):
        piece = tokens[start : start + T + 1]
        row.copy_(piece if isinstance(piece, Tensor) else torch.from_numpy(piece.astype(np.int64)))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


class TokenBatches:
    """An endless supply of batches with a cursor: `next_batch()`, `state_dict()`, `load_state_dict(state)`.

    An epoch cuts the tokens into windows side by side and takes each once. Shuffled, every epoch has another order
    and another offset of the cuts, so that nothing always falls at the edge of a window; both follow from `seed` and
    the epoch's number alone. So the cursor is two integers, and a run that is resumed reads what it would have read.
    A batch may take its last rows from the next epoch.

    With `eos`, documents are kept apart: the batch has positions that restart and a document mask, and what follows an
    end token is no target. Several processes share the work with `rank` and `world`: each reads its own
    `batch_size` rows of a batch of batch_size * world. ValueError for too few tokens or sizes below 1.

    >>> batches = TokenBatches(torch.arange(100), batch_size=2, T=8, seed=3)
    >>> first = batches.next_batch()
    >>> state = batches.state_dict()
    >>> second = batches.next_batch()
    >>> batches.load_state_dict(state)
    >>> torch.equal(batches.next_batch().inputs, second.inputs)
    True
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        T: int,
        seed: int = 0,
        shuffle: bool = True,
        eos: int | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _require_tokens(tokens)
        self.batch_size, self.T, self.seed = require_int("batch_size", batch_size, 1), require_int("T", T, 1), seed
        require_int("seed", seed, 0)
        if len(tokens) < T + 1:
            raise ValueError(f"tokens: expected at least T + 1 = {T + 1}, got {len(tokens)}")
        if not 0 <= require_int("rank", rank, 0) < require_int("world", world, 1):
            raise ValueError(f"rank: expected less than world={world}, got {rank}")
        self.tokens, self.shuffle, self.eos, self.device = tokens, shuffle, eos, torch.device(device)
        self.rank, self.world = rank, world
        self.epoch = self.position = 0  # `position` windows of this epoch have been read, by all ranks together
        self._starts = self._epoch_starts(0)

    def next_batch(self) -> Batch:
        """Return the next batch, on the device, and move the cursor."""
        starts = self._take(self.batch_size * self.world)
        mine = starts[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
        inputs, targets = (self._to_device(part) for part in windows(self.tokens, mine, self.T))
        if self.eos is None:
            return Batch(inputs, targets)
        targets = document_targets(inputs, targets, self.eos)
        return Batch(inputs, targets, document_positions(inputs, self.eos), document_mask(inputs, self.eos))

    def state_dict(self) -> dict[str, Any]:
        """Return where the cursor stands, and what it belongs to, as plain numbers."""
        identity = {"tokens": len(self.tokens), "T": self.T, "seed": self.seed, "shuffle": self.shuffle}
        return {"epoch": self.epoch, "position": self.position, **identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move the cursor to where `state` says; batch size and number of processes may differ from then.

        ValueError if the state is of other tokens, another T, seed or order.
        """
        mine = self.state_dict()
        if not isinstance(state, dict) or state.keys() != mine.keys():
            raise ValueError(f"state: expected the keys {sorted(mine)}, got {state!r}")
        for name in ("tokens", "T", "seed", "shuffle"):
            if state[name] != mine[name]:
                raise ValueError(f"state: expected {name}={mine[name]}, got {name}={state[name]}")
        epoch, position = require_int("epoch", state["epoch"], 0), require_int("position", state["position"], 0)
        starts = self._epoch_starts(epoch)
        if position > len(starts):
            raise ValueError(f"state: expected a position up to {len(starts)}, got {position}")
        self.epoch, self.position, self._starts = epoch, position, starts

    def _take(self, count: int) -> np.ndarray:
        parts = []
        while count:
            if self.position == len(self._starts):
                self.epoch, self.position = self.epoch + 1, 0
                self._starts = self._epoch_starts(self.epoch)
            part = self._starts[self.position : self.position + count]
            self.position, count = self.position + len(part), count - len(part)
            parts.append(part)
        return np.concatenate(parts)

    def _epoch_starts(self, epoch: int) -> np.ndarray:
        last = len(self.tokens) - self.T - 1
        if not self.shuffle:
            return np.arange(0, last + 1, self.T)
        generator = np.random.default_rng([self.seed, epoch])
        offset = generator.integers(min(self.T, last + 1))  # fewer choices where there is only just one window
        return generator.permutation(np.arange(offset, last + 1, self.T))

    def _to_device(self, part: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return part.to(self.device)
        return part.pin_memory().to(self.device, non_blocking=True)  # from pinned memory the copy need not wait


def evaluation_batches(tokens: Tokens, batch_size: int, T: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, targets) [B, T] in which every token but the first is a target exactly once.

    The last window is filled with the target -100, the last batch may have fewer rows. A mean over batches is
    therefore not the mean over tokens: add up the losses and count the targets. ValueError for fewer than two tokens.

    >>> [targets.tolist() for _, targets in evaluation_batches(torch.arange(6), batch_size=2, T=3)]
    [[[1, 2, 3], [4, 5, -100]]]
    """
    _require_tokens(tokens)
    require_int("batch_size", batch_size, 1)
    require_int("T", T, 1)
    if len(tokens) < 2:
        raise ValueError(f"tokens: expected at least 2, got {len(tokens)}")
    return _evaluation_batches(tokens, batch_size, T)


def _evaluation_batches(tokens: Tokens, batch_size: int, T: int) -> Iterator[tuple[Tensor, Tensor]]:
    count = len(tokens) - 1  # targets
    for first in range(0, count, batch_size * T):
        piece = tokens[first : first + batch_size * T + 1]
        ids = piece.long() if isinstance(piece, Tensor) else torch.from_numpy(piece.astype(np.int64))
        rows = -(-(len(ids) - 1) // T)
        inputs, targets = ids.new_zeros(rows * T), ids.new_full((rows * T,), IGNORE)
        inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
        yield inputs.view(rows, T), targets.view(rows, T)


def _require_tokens(tokens: Any) -> None:
    if not isinstance(tokens, Tensor | np.ndarray) or tokens.ndim != 1:
        got = f"shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor | np.ndarray) else type(tokens).__name__
        raise ValueError(f"tokens: expected a tensor or array [N], got {got}")
