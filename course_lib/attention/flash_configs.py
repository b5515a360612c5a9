"""Which block sizes the Triton kernels try, and how their tensor descriptors learn of the one that won."""

from collections.abc import Callable
from typing import Any

import triton

INTERPRETED = bool(triton.knobs.runtime.interpret)
ROWS_MULTIPLE = 128  # rows of lse are padded to a multiple of the tallest block, so that they are read without a mask
# Full precision runs outside the tensor cores and fills registers twice as fast; the interpreter is quick where
# blocks are few, and tests want more than one. Rows, keys, warps, stages of the pipeline.
FULL_PRECISION = (32, 32, 8, 2)
SMALL = (16, 32, 4, 1)


def tuned(by_rows: str, by_cols: str, tries: list[tuple[int, int, int, int]]) -> Callable[[Any], Any]:
    """Decorate a kernel so that the first call for a kind of input measures `tries` and keeps the fastest.

    Each try is (rows, keys, warps, stages). `by_rows` and `by_cols` name the arguments that are read in blocks of
    ROWS and of COLS rows. A kind of input is: head dimension, causal or not, precision, and the power of two below
    the length (the argument `bucket`).
    """

    def shape_blocks(arguments: dict[str, Any]) -> None:
        for names, size in ((by_rows, "ROWS"), (by_cols, "COLS")):
            for name in names.split():
                arguments[name].block_shape = [1, 1, arguments[size], arguments["WIDTH"]]

    def config(rows: int, cols: int, warps: int, stages: int) -> triton.Config:
        sizes = {"ROWS": rows, "COLS": cols}
        return triton.Config(sizes, num_warps=warps, num_stages=stages, pre_hook=shape_blocks)

    fast = [config(*SMALL)] if INTERPRETED else [config(*sizes) for sizes in tries]
    exact = [] if INTERPRETED else [config(*FULL_PRECISION)]

    def choose(_configs: Any, _arguments: Any, PRECISION: str, **_: Any) -> list[triton.Config]:
        return exact if PRECISION == "ieee" else fast

    return triton.autotune(
        configs=[*fast, *exact],
        key=["D", "CAUSAL", "PRECISION", "bucket"],
        prune_configs_by={"early_config_prune": choose},
    )
