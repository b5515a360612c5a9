"""The transformer block: attention lets tokens exchange information, the MLP works on each, both are added to x."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from course_lib.attention.layer_norm import LayerNorm


class Block(nn.Module):
    """One layer of a transformer around any `attention` and `mlp` that map [B, T, C] to [B, T, C].

    ``pre=True`` normalises what goes into a sublayer and leaves the sum alone, so that x runs through all layers
    unchanged but for what is added: ``x = x + attention(norm1(x))``, then ``x = x + mlp(norm2(x))``.
    ``pre=False`` is the original order: ``x = norm1(x + attention(x))``, then ``x = norm2(x + mlp(x))``.
    A stack of pre-norm blocks needs one more norm at its end (`GPT` has it); post-norm blocks end in their own.

    `attention` and `mlp` are modules or plain functions. `norm` makes a norm of width d_model: `LayerNorm`, `RMSNorm`
    or a function such as ``lambda d: RMSNorm(d, eps=1e-5)``. `dropout` is applied to what the sublayers return.
    Source: Vaswani et al. 2017, sections 3.1 and 5.4 (post); Xiong et al. 2020, table 1 (both).

    >>> import torch
    >>> block = Block(2, attention=lambda x: 10 * x, mlp=lambda x: 0 * x)
    >>> block(torch.tensor([[[1.0, 3.0]]])).detach()  # x + 10 norm1(x)
    tensor([[[-9.0000, 13.0000]]])
    """

    def __init__(
        self,
        d_model: int,
        attention: Callable[..., Tensor],
        mlp: Callable[[Tensor], Tensor],
        pre: bool = True,
        norm: Callable[[int], nn.Module] = LayerNorm,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.norm1 = norm(d_model)
        self.attention = attention
        self.norm2 = norm(d_model)
        self.mlp = mlp
        self.pre = pre
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Map x [B, T, C] to the same shape; further arguments, such as ``mask=``, go to the attention."""
        if self.pre:
            x = x + self._drop(self.attention(self.norm1(x), **kwargs))
            return x + self._drop(self.mlp(self.norm2(x)))
        x = self.norm1(x + self._drop(self.attention(x, **kwargs)))
        return self.norm2(x + self._drop(self.mlp(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)
