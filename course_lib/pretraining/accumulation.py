"""Gradient accumulation: many small batches, one gradient, and exactly that of the large batch.

A mean of means is not the mean: a micro-batch with two real tokens would count as much as one with two thousand. So
losses are added up, and the sum is divided once by the number of tokens that were predicted.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.pretraining.objectives import IGNORED, at_least_float32

Batch = Sequence[Any]  # inputs [B, T], targets [B, T], and perhaps positions [B, T] and a mask [B, T, T]


def token_loss_sum(model: nn.Module, inputs: Tensor, targets: Tensor, *more: Tensor | None) -> Tensor:
    """Return the summed cross-entropy, in nats, over the targets that are not -100; inputs and targets are [B, T].

    ``model(inputs)`` returns logits [B, T, V]. A batch whose documents are kept apart has `more`: positions [B, T] and
    a mask [B, T, T], handed on as ``model(inputs, mask=mask[:, None], positions=positions)``. Half precision is
    widened to float32 for the sum.

    >>> logits = lambda ids: torch.zeros(*ids.shape, 4)
    >>> token_loss_sum(logits, torch.tensor([[0, 1]]), torch.tensor([[1, -100]]))  # ln 4
    tensor(1.3863)
    """
    positions, mask = more if more else (None, None)
    logits = model(inputs) if mask is None else model(inputs, mask=mask.unsqueeze(1), positions=positions)
    return F.cross_entropy(
        at_least_float32(logits.flatten(0, -2)), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def count_targets(batches: Iterable[Batch]) -> int:
    """Count the targets that are not -100 in all batches together.

    >>> count_targets([(None, torch.tensor([[1, -100]])), (None, torch.tensor([[1, 2, 3]]))])
    4
    """
    return sum(int((batch[1] != IGNORED).sum()) for batch in batches)


def accumulate(model: nn.Module, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all tokens of all batches, by parameter name; nothing is changed.

    Each batch is (inputs [B, T], targets [B, T]), of any sizes; targets of -100 do not count. The result equals the
    gradient of one batch that holds all rows. ``model(inputs)`` returns logits. A parameter that the loss does not
    depend on has a gradient of zeros. ValueError if there is no target at all.
    Source: follows from the linearity of the gradient.

    >>> model = nn.Embedding(3, 3)
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> grads = accumulate(model, [(ids[:, :1], ids[:, 1:2]), (ids[:, 1:], ids[:, :2])])
    >>> list(grads), grads["weight"].shape
    (['weight'], torch.Size([3, 3]))
    """
    tokens = _require_targets(count_targets(batches))
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    for batch in batches:
        loss = token_loss_sum(model, *batch) / tokens
        grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for sum_so_far, grad in zip(total.values(), grads, strict=True):
            if grad is not None:
                sum_so_far += grad
    return total


def backward_by_tokens(
    model: nn.Module,
    batches: Sequence[Batch],
    tokens: int | None = None,
    scale: float = 1.0,
    loss_sum: Callable[..., Tensor] = token_loss_sum,
) -> Tensor:
    """Add the gradient of the mean loss over all tokens to the parameters' ``.grad``, and return the summed loss.

    As `accumulate`, but in place: one backward pass for each batch, so only one batch's activations are alive.
    `tokens` is what to divide by, if that is not the count of these batches: several processes divide by the count of
    all. `scale` multiplies the gradient, not what is returned. A model in `DistributedDataParallel` exchanges gradients
    only in the last backward pass. The returned sum is detached, a float64 tensor on the loss's device, so that a GPU
    need not be waited for. ``loss_sum(model, *batch)`` returns a batch's summed loss. ValueError if there is nothing
    to predict.

    >>> model = nn.Embedding(3, 3)
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> loss = backward_by_tokens(model, [(ids[:, :-1], ids[:, 1:])])
    >>> model.weight.grad.shape, loss.dtype
    (torch.Size([3, 3]), torch.float64)
    """
    tokens = _require_targets(count_targets(batches) if tokens is None else tokens)
    total: Tensor | None = None
    for i, batch in enumerate(batches):
        waits = i < len(batches) - 1 and isinstance(model, nn.parallel.DistributedDataParallel)
        with model.no_sync() if waits else nullcontext():
            loss = loss_sum(model, *batch)
            (loss * (scale / tokens)).backward()
        loss = loss.detach().double()
        total = loss if total is None else total + loss
    if total is None:
        raise ValueError("batches: expected at least one, got none")
    return total


def _require_targets(tokens: int) -> int:
    if not tokens > 0:
        raise ValueError(f"batches: expected at least one token to predict, got {tokens}")
    return tokens
