"""What the weights of single steps tell about exercise 10's loop: the rate, the clipping, the clearing of gradients."""

from __future__ import annotations

import torch
from torch import Tensor


class Moves:
    """Keeps the weights that observe is given, step by step."""

    __name__ = "observe"  # what a card calls it

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def __call__(self, step: int, state: dict[str, Tensor]) -> None:
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("observe expects the step and model.state_dict()")
        self.states.append(state)

    def usual(self) -> list[float]:
        """How far a weight has moved in each step but the first: the median of those that moved at all."""
        found = []
        for old, new in zip(self.states, self.states[1:], strict=False):
            moved = torch.cat([(new[name] - old[name]).abs().flatten() for name in new])
            found.append(moved[moved >= 0.3 * moved.max()].median().item())
        return found

    def second(self, lr: float) -> tuple[float, float]:
        """The second step's length and its largest number, in units of lr.

        Weight decay moves a tensor along itself, so what lies along the tensor is left out.
        """
        old, new = self.states[:2]
        rests = []
        for name in new:
            move, weight = (new[name] - old[name]).flatten().double(), old[name].flatten().double()
            along = move @ weight / (weight @ weight).clamp(min=1e-12)
            rests.append(move - along * weight)
        rest = torch.cat(rests) / lr
        return rest.norm().item(), rest.abs().max().item()


def kind_of_pace(moves: Moves, rates: list[float], peak: float) -> str:
    """Where gradients stay the same and are not cut, every step of Adam moves a weight by the rate, to the digit.

    If gradients pile up (g, 2 g, 3 g ...), the mean is behind the root of the mean square: 4 to 6 per cent less.
    """
    found, due = moves.usual(), rates[1:]

    def all_near(wanted: list[float], least: float, most: float) -> bool:
        return all(least < step / want < most for step, want in zip(found, wanted, strict=True))

    if all_near(due, 0.98, 1.02):
        return "as the log says"
    if all_near(due, 0.92, 0.97):
        return "as if gradients piled up"
    if all_near(rates[:-1], 0.95, 1.05):
        return "a step late"
    return "always at cfg.lr" if all_near([peak] * len(due), 0.95, 1.05) else "otherwise"


def kind_of_clipping(moves: Moves, lr: float, clip: float = 1e-8) -> str:
    """Below Adam's eps, 1e-8, a step is the clipped gradient times lr / eps: its length tells how it was cut."""
    length, largest = moves.second(lr * clip / 1e-8)
    if length < 1.3:
        return "all together"
    if largest > 0.75:
        return "not at all"
    return "number by number" if length > 10 else "tensor by tensor"


def same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.allclose(a[name], b[name], atol=1e-5) for name in a if name in b)
