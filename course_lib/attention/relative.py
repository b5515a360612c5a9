"""Relative positions from a table: one learned number per head for every distance, clipped at a largest one."""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor


def relative_bias(T: int, max_dist: int, table: Tensor) -> Tensor:
    """Return the bias to add to the attention scores, [H, T, T], from a table [2 max_dist + 1, H].

    ``bias[h, i, j] = table[clip(j - i, -max_dist, max_dist) + max_dist, h]`` for query i and key j: row 0 is for keys
    that lie max_dist or more before the query, the middle row for the query's own place, the last for keys behind it.
    Gradients flow back into the table, where every pair of positions at one distance adds up.
    ValueError for a table of another shape. Source: the clipping is Shaw et al. 2018, section 3.2, who add vectors to
    the keys; one number per head, added to the scores, is Raffel et al. 2020 (T5), section 2.1.

    >>> relative_bias(3, 1, torch.tensor([[10.0], [0.0], [20.0]]))
    tensor([[[ 0., 20., 20.],
             [10.,  0., 20.],
             [10., 10.,  0.]]])
    """
    require_int("T", T, 0)
    require_int("max_dist", max_dist, 0)
    require_tensor("table", table, "[2 max_dist + 1, H]")
    if len(table) != 2 * max_dist + 1:
        raise ValueError(f"table: expected {2 * max_dist + 1} rows, 2 max_dist + 1, got {len(table)}")
    if T == 0:
        return table.new_zeros(table.shape[1], 0, 0)
    # A bias that depends on j - i alone has only 2T - 1 different numbers per head. Each row of the square is a window
    # of T of them, and the windows start one place further left from row to row.
    distances = torch.arange(1 - T, T, device=table.device).clamp(-max_dist, max_dist)
    strip = table[distances + max_dist].t()  # [H, 2T - 1]
    return strip.unfold(-1, T, 1).flip(-2)
