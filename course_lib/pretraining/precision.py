"""bfloat16: what rounding to it does, and why the weights that are updated stay in float32."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def bf16_round(x: Tensor) -> Tensor:
    """Round float32 values to the nearest that bfloat16 has, ties to the even one; the result is float32 again.

    bfloat16 is the upper half of a float32: the same 8 bits of exponent, but 8 significant binary digits (7 of them
    stored) in place of 24. So the range stays and neighbours are 1/128 apart between 1 and 2. Values above the largest
    bfloat16 by half a step or more become infinite; NaN stays NaN. Any shape. ValueError for another dtype.
    Source: Kalamkar et al. 2019 (A study of BFLOAT16 for deep learning training).

    >>> bf16_round(torch.tensor([1.0, 1.003, 1.005, 300.7]))
    tensor([  1.0000,   1.0000,   1.0078, 300.0000])
    """
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: expected a float32 tensor, got {got}")
    bits = x.detach().contiguous().view(torch.int32)
    # Half of the last kept bit, less one unless that bit is odd: then a tie is carried up to the even neighbour. A
    # carry out of the fraction lands in the exponent, which is where it belongs.
    up = 0x7FFF + ((bits >> 16) & 1)
    rounded = ((bits + up) & ~0xFFFF).view(torch.float32)
    return torch.where(x.isnan(), x, rounded)


class MasterWeights:
    """A model in bfloat16 for the work, and its weights in float32 for the updates.

    `model` stays the float32 master and is what to save. ``.working`` is a copy of it in bfloat16: half the memory
    traffic, and matrix products at the speed of the tensor cores; its loss is computed and ``backward`` called on it.
    `step` hands its gradients to the masters, lets the optimizer move those, and rounds them into the copy again. An
    update smaller than half a unit in bfloat16's last place is kept by the master until enough of them have come
    together; on bfloat16 weights alone it would vanish, every time. ValueError for parameters that are not float32.
    Source: Micikevicius et al. 2018, section 3.1 (for float16, which needs loss scaling besides); Hoffmann et al.
    2022, section 4.1 (a float32 copy with bfloat16 training).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> weights = MasterWeights(model, lambda ps: torch.optim.SGD(ps, lr=0.001))
    >>> for _ in range(10):
    ...     weights.working(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
    ...     weights.step()
    >>> round(model.weight.item(), 3), weights.working.weight.item()
    (0.99, 0.98828125)
    """

    def __init__(self, model: nn.Module, make_optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer]):
        for name, p in model.named_parameters():
            if p.dtype != torch.float32:
                raise ValueError(f"model: expected float32 parameters, got {p.dtype} for {name}")
        self.model = model
        self.working = copy.deepcopy(model).to(torch.bfloat16)
        self.optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad])

    def pull_gradients(self) -> None:
        """Add the copy's gradients to the masters', in float32, and clear them; after each backward pass or at its end.

        Pulled after each micro-batch, gradients add up in float32 and lose nothing to the size of the sum.
        """
        for master, worker in self._pairs():
            if worker.grad is not None:
                grad = worker.grad.float()
                master.grad = grad if master.grad is None else master.grad + grad
                worker.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Pull what gradients there are, move the masters, clear the gradients, and round the masters into the copy."""
        self.pull_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.push_weights()

    @torch.no_grad()
    def push_weights(self) -> None:
        """Round the masters into the copy: after a step, and after a checkpoint has been loaded into the model."""
        for master, worker in self._pairs():
            worker.copy_(master)

    def _pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        return zip(self.model.parameters(), self.working.parameters(), strict=True)
