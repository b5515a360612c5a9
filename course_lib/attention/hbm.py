"""How many numbers attention moves to and from a GPU's large memory (HBM): by formula, and counted in a run.

A GPU computes in a small memory on the chip (SRAM) and keeps its tensors in a large one beside it (HBM), which is many
times slower. Attention with a T x T matrix in HBM spends its time there; FlashAttention moves far less.
"""

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor


def hbm_accesses(T: int, D: int, M: int) -> dict[str, int]:
    """Count the numbers that pass between HBM and chip in one head's forward pass, without a mask.

    T queries and keys of dimension D; M is how many numbers the SRAM holds. "standard" writes the scores, reads them,
    writes the weights, reads them; q, k and v are read and out is written once. "tiled" is FlashAttention: of M numbers
    it gives a quarter to a block of keys, and for each such block goes over all rows: it reads q, out, running maximum
    and running sum, and writes the last three, which it has set to their first values before. Together 4TD + 4T² and
    3TD + 2T + ceil(T / ceil(M / 4D)) · (3TD + 4T): of the order of TD + T² and T²D² / M, for D <= M <= TD.
    ValueError for T < 1, D < 1 or M < D. Source: Dao et al. 2022, algorithms 0 and 1, theorem 2.

    >>> hbm_accesses(1024, 64, 65536)
    {'standard': 4456448, 'tiled': 1001472}
    """
    require_int("T", T, 1)
    require_int("D", D, 1)
    require_int("M", M, D)
    standard = 4 * T * D + 4 * T * T
    passes = -(-T // keys_per_block(D, M))
    tiled = (T * D + 2 * T) + 2 * T * D + passes * (3 * T * D + 4 * T)
    return {"standard": standard, "tiled": tiled}


def keys_per_block(D: int, M: int) -> int:
    """Keys in a block: a quarter of M holds them; values, queries and outputs have the rest. (Dao et al., algorithm 1.)

    >>> keys_per_block(64, 65536)
    256
    """
    return -(-M // (4 * D))


class HBM:
    """Tensors in the large memory; whatever is loaded onto the chip or stored back is counted in `accesses`.

    >>> hbm = HBM(x=torch.zeros(10, 3))
    >>> rows = hbm.load("x", 2, 6)
    >>> hbm.accesses
    12
    """

    def __init__(self, **tensors: Tensor):
        self.tensors = tensors
        self.accesses = 0

    def load(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Copy rows `start` to `stop` onto the chip."""
        rows = self.tensors[name][start:stop].clone()
        self.accesses += rows.numel()
        return rows

    def store(self, name: str, rows: Tensor, start: int = 0) -> None:
        """Copy rows from the chip to where they belong; a name that is new makes a tensor."""
        self.accesses += rows.numel()
        self.tensors.setdefault(name, torch.empty_like(rows))[start : start + len(rows)] = rows


def run_standard(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, int]:
    """Attention of q, k, v [T, D] through a T x T matrix in HBM: the output [T, D] and the accesses that were counted.

    Source: Dao et al. 2022, algorithm 0.

    >>> out, accesses = run_standard(*torch.zeros(3, 8, 2))
    >>> accesses, hbm_accesses(8, 2, 2)["standard"]
    (320, 320)
    """
    _require_square(q, k, v)
    hbm = HBM(q=q, k=k, v=v)
    hbm.store("scores", hbm.load("q") @ hbm.load("k").T * q.shape[1] ** -0.5)
    hbm.store("weights", torch.softmax(hbm.load("scores"), dim=-1))
    hbm.store("out", hbm.load("weights") @ hbm.load("v"))
    return hbm.tensors["out"], hbm.accesses


def run_tiled(q: Tensor, k: Tensor, v: Tensor, M: int) -> tuple[Tensor, int]:
    """FlashAttention of q, k, v [T, D] on a chip that holds M numbers: the output and the accesses that were counted.

    Keys are in the outer loop here, as in the first paper; so the output goes back and forth once for each block of
    keys. Source: Dao et al. 2022, algorithm 1.

    >>> out, accesses = run_tiled(*torch.zeros(3, 8, 2), M=16)
    >>> accesses, hbm_accesses(8, 2, 16)["tiled"]
    (384, 384)
    """
    _require_square(q, k, v)
    T, D = q.shape
    require_int("M", M, D)
    cols = keys_per_block(D, M)
    rows = min(cols, D)
    hbm = HBM(q=q, k=k, v=v)
    hbm.store("out", torch.zeros_like(q))
    hbm.store("total", q.new_zeros(T, 1))
    hbm.store("highest", q.new_full((T, 1), -torch.inf))
    for left in range(0, T, cols):
        keys, values = hbm.load("k", left, left + cols), hbm.load("v", left, left + cols)
        for top in range(0, T, rows):
            here = (top, top + rows)
            queries, out = hbm.load("q", *here), hbm.load("out", *here)
            total, highest = hbm.load("total", *here), hbm.load("highest", *here)
            scores = queries @ keys.T * D**-0.5
            new = torch.maximum(highest, scores.amax(-1, keepdim=True))
            weights = (scores - new).exp()
            kept = total * (highest - new).exp()  # what the sum so far is worth under the new maximum
            total = kept + weights.sum(-1, keepdim=True)
            hbm.store("out", (out * kept + weights @ values) / total, top)
            hbm.store("total", total, top)
            hbm.store("highest", new, top)
    return hbm.tensors["out"], hbm.accesses


def _require_square(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        require_tensor(name, x, "[T, D]")
        if x.shape != q.shape:
            raise ValueError(f"{name}: expected the shape of q, {tuple(q.shape)}, got {tuple(x.shape)}")
