"""The largest tensor that a piece of code creates: what shows that something is *not* held in memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class largest_tensor(TorchDispatchMode):
    """Record the largest tensor that torch creates inside a `with` block, backward passes included.

    `elements` and `shape` are those of the tensor with the most elements, 0 and () before there is one. A view counts
    as nothing, because it holds no memory of its own. What a single torch call uses inside itself is not seen, nor is
    what NumPy or plain Python hold.

    >>> x = torch.ones(1000, 1)
    >>> with largest_tensor() as largest:
    ...     total = (x.expand(1000, 1000)[:10] * x.T).sum()
    >>> largest.elements, largest.shape
    (10000, (10, 1000))
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.shape: tuple[int, ...] = ()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch.compile is kept away: saying yes makes the first tensor import the whole compiler, seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = {_memory(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(out):
            if tensor.numel() > self.elements and _memory(tensor) not in given:
                self.elements, self.shape = tensor.numel(), tuple(tensor.shape)
        return out


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.layout == torch.strided)


def _memory(tensor: Tensor) -> int:
    """What tells one piece of memory from another; two views of one tensor share it."""
    return tensor.untyped_storage()._cdata
