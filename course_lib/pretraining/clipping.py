"""Clipping: one length for all gradients together, and all are shortened alike when it is too long."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def clip_grad_norm(gs: Sequence[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """Return the gradients, shortened together if their common norm is above `max_norm`, and the norm before that.

    The norm is that of all tensors' entries as one long vector, so its direction stays: clipping each tensor alone
    would turn it. Gradients whose norm is not above `max_norm` come back as they are, to the bit. A norm that is
    infinite or not a number is for the caller to see: no factor can mend such gradients, they come back unchanged.
    ValueError for a `max_norm` that is not positive, or no gradients.
    Source: Pascanu et al. 2013, algorithm 1.

    >>> clipped, norm = clip_grad_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    >>> [round(g.item(), 6) for g in clipped], norm
    ([0.6, 0.8], tensor(5.))
    """
    norm = global_norm(gs)
    factor = _factor(norm, max_norm)
    return [g * factor.to(g.device, g.dtype) for g in gs], norm


@torch.no_grad()
def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Shorten the gradients of the parameters in place as `clip_grad_norm` does, and return the norm before that.

    Parameters without a gradient are left out. Nothing is waited for on a GPU. Errors as there.

    >>> weight = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> weight.grad = torch.tensor([12.0, 16.0])
    >>> clip_grad_norm_([weight], 5.0), weight.grad
    (tensor(20.), tensor([3., 4.]))
    """
    gs = [p.grad for p in parameters if p.grad is not None]
    norm = global_norm(gs)
    factor = _factor(norm, max_norm)
    for g in gs:
        g.mul_(factor.to(g.device, g.dtype))
    return norm


def global_norm(gs: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all entries of all tensors together, in float32 at least.

    >>> global_norm([torch.ones(3, 3), torch.ones(7)])
    tensor(4.)
    """
    if not gs:
        raise ValueError("gs: expected at least one gradient, got none")
    # The norm of the norms: squares of sums would overflow sooner, and no tensor is copied.
    norms = [torch.linalg.vector_norm(g, dtype=torch.promote_types(g.dtype, torch.float32)) for g in gs]
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))


def _factor(norm: Tensor, max_norm: float) -> Tensor:
    if not (max_norm > 0 and math.isfinite(max_norm)):
        raise ValueError(f"max_norm: expected a positive number, got {max_norm!r}")
    factor = torch.clamp(max_norm / norm, max=1.0)
    return torch.where(norm.isfinite(), factor, torch.ones_like(factor))
