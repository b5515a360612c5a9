"""The Triton kernels behind `flash_triton`: one program for each block of rows, and the same algorithm as in `flash`.

What makes them fast: blocks are fetched as tensor descriptors, which Hopper's copy engine (TMA) moves without help and
pads with zeros beyond the end; exponentials are powers of two, with the scale in the same multiply-add; blocks that
every row sees whole have a loop of their own without masks; the longest rows of a causal mask start first.

q, out and their gradients are [B, H, T, D], k and v [B, G, S, D]; lse and along are float32 and hold `padded_rows` for
each head; WIDTH is D rounded up to a power of two. `scale` is log2(e) / sqrt(D), and lse is a logarithm to base 2.
Source: Dao et al. 2022, algorithms 1 and 4; Dao 2023, section 3; Tillet et al. 2019 (the language).
"""

import triton
import triton.language as tl
from triton import cdiv

from course_lib.attention.flash_configs import INTERPRETED, ROWS_MULTIPLE, tuned

__all__ = ["ROWS_MULTIPLE", "along_kernel", "cdiv", "forward_kernel", "keys_kernel", "queries_kernel"]

# Block sizes to try: rows, keys, warps, stages of the pipeline. None of them spills registers on an H100 at D = 64, and
# at D = 128 none but the fourth of the forward pass.
FORWARD = [(128, 128, 8, 2), (128, 128, 8, 3), (128, 64, 8, 3), (128, 64, 4, 3), (64, 64, 4, 3)]
ALONG = [(64, 64, 4, 1)]
KEYS = [(64, 128, 8, 2), (64, 64, 4, 2), (64, 64, 4, 3)]
QUERIES = [(128, 64, 8, 2), (128, 64, 8, 3), (128, 128, 8, 1), (64, 64, 4, 2)]

LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
BARE: tl.constexpr = tl.constexpr(INTERPRETED)


@triton.jit
def _load(tensor, batch, head, row, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Rows `row` to row + ROWS of one head; zeros beyond the end of the tensor, in both directions."""
    return tensor.load([batch, head, row, 0]).reshape(ROWS, WIDTH)


@triton.jit
def _store(tensor, batch, head, row, block, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Write rows; what lies beyond the end of the tensor is dropped."""
    tensor.store([batch, head, row, 0], block.to(tensor.dtype).reshape(1, 1, ROWS, WIDTH))


@triton.jit
def _dot(a, b, added, PRECISION: tl.constexpr):
    """A product of two blocks, added up in float32 on top of `added` if that is not None."""
    if BARE:  # the interpreter multiplies the bits of bfloat16 as if they were integers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, added, input_precision=PRECISION)


@triton.jit
def _seen_whole(top, T, S, CAUSAL: tl.constexpr, COLS: tl.constexpr):
    """How many keys, in whole blocks, the row `top` and all below it see: there no mask is needed."""
    keys = S
    if CAUSAL:
        keys = tl.minimum(S, tl.maximum(0, S - T + top + 1))
    return keys // COLS * COLS


@triton.jit
def _seen(bottom, T, S, CAUSAL: tl.constexpr):
    """How many keys the row above `bottom` sees."""
    keys = S
    if CAUSAL:
        keys = tl.minimum(S, tl.maximum(0, S - T + bottom))
    return keys


@triton.jit
def _visible(rows, keys, T, S, CAUSAL: tl.constexpr):
    """The mask of one block; `rows` [R, 1] and `keys` [1, C] or the other way round."""
    seen = keys < S
    if CAUSAL:
        seen = seen & (keys <= rows + (S - T))
    return seen


@triton.jit
def _attend(
    mixed, total, highest, q, k_tensor, v_tensor, batch, group, rows, left, right, T, S, scale,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, COLS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Let a block of rows attend to the keys from `left` to `right`."""
    for start in tl.range(left, right, COLS):
        k = _load(k_tensor, batch, group, start, COLS, WIDTH)
        scores = _dot(q, k.T, None, PRECISION)
        if MASKED:
            keys = start + tl.arange(0, COLS)
            scores = tl.where(_visible(rows[:, None], keys[None, :], T, S, CAUSAL), scores, -float("inf"))
        new = tl.maximum(highest, tl.max(scores, 1) * scale)
        origin = new
        if MASKED:
            origin = tl.where(new == -float("inf"), 0.0, new)  # (-inf) - (-inf) would be nan
        weights = tl.exp2(scores * scale - origin[:, None])
        shrink = tl.exp2(highest - origin)
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None]
        v = _load(v_tensor, batch, group, start, COLS, WIDTH)
        mixed = _dot(weights.to(v.dtype), v, mixed, PRECISION)
        highest = new
    return mixed, total, highest


@tuned(by_rows="q out", by_cols="k v", tries=FORWARD)
@triton.jit
def forward_kernel(
    q, k, v, out, lse, T, S, scale, heads, padded_rows, bucket, D: tl.constexpr, GROUP: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    top = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS  # a causal mask's longest rows first
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    group = head // GROUP
    rows = top + tl.arange(0, ROWS)
    q_rows = _load(q, batch, head, top, ROWS, WIDTH)
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, WIDTH], tl.float32)
    whole = _seen_whole(top, T, S, CAUSAL, COLS)
    mixed, total, highest = _attend(
        mixed, total, highest, q_rows, k, v, batch, group, rows, 0, whole, T, S, scale,
        CAUSAL, False, PRECISION, COLS, WIDTH,
    )  # fmt: skip
    mixed, total, highest = _attend(
        mixed, total, highest, q_rows, k, v, batch, group, rows, whole, _seen(top + ROWS, T, S, CAUSAL), T, S, scale,
        CAUSAL, True, PRECISION, COLS, WIDTH,
    )  # fmt: skip
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    mixed = mixed / total[:, None]
    _store(out, batch, head, top, mixed, ROWS, WIDTH)
    # +inf for a row that sees nothing makes each of its weights exp2(score - inf) = 0 in the backward pass.
    norm = tl.where(empty, float("inf"), highest + tl.log2(total))
    tl.store(lse + tl.program_id(1).to(tl.int64) * padded_rows + rows, norm, mask=rows < T)


@tuned(by_rows="out grad_out", by_cols="", tries=ALONG)
@triton.jit
def along_kernel(
    out, grad_out, along, heads, padded_rows, bucket, D: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The dot product of each row of out with its gradient, which the softmax's derivative subtracts."""
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    top = tl.program_id(0) * ROWS
    a = _load(out, batch, head, top, ROWS, WIDTH).to(tl.float32)
    b = _load(grad_out, batch, head, top, ROWS, WIDTH).to(tl.float32)
    rows = top + tl.arange(0, ROWS)
    tl.store(along + tl.program_id(1).to(tl.int64) * padded_rows + rows, tl.sum(a * b, 1), mask=rows < padded_rows)


@triton.jit
def _gather(
    dk, dv, k_rows, v_rows, q, grad_out, lse, along, batch, head, keys, top, bottom, T, S, scale,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Collect what the rows from `top` to `bottom` owe to a block of keys; everything here is [keys, rows].

    Beyond the last row q and grad_out are zeros and the weights too, because lse is +inf there. Beyond the last key
    the sums are worthless, but nobody writes them.
    """
    for start in tl.range(top, bottom, ROWS):
        rows = start + tl.arange(0, ROWS)
        q_rows = _load(q, batch, head, start, ROWS, WIDTH)
        scores = _dot(k_rows, q_rows.T, None, PRECISION)
        weights = tl.exp2(scores * scale - tl.load(lse + rows)[None, :])
        if MASKED:
            weights = tl.where(_visible(rows[None, :], keys[:, None], T, S, CAUSAL), weights, 0.0)
        grad = _load(grad_out, batch, head, start, ROWS, WIDTH)
        dv = _dot(weights.to(grad.dtype), grad, dv, PRECISION)
        dweights = _dot(v_rows, grad.T, None, PRECISION)
        dscores = weights * (dweights - tl.load(along + rows)[None, :])
        dk = _dot(dscores.to(q_rows.dtype), q_rows, dk, PRECISION)
    return dk, dv


@tuned(by_rows="q grad_out", by_cols="k v dk dv", tries=KEYS)
@triton.jit
def keys_kernel(
    q, k, v, grad_out, dk, dv, lse, along, T, S, scale, groups, padded_rows, bucket, D: tl.constexpr,
    GROUP: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Gradients of a block of keys and values, added up over all heads of queries that share them."""
    left = tl.program_id(0) * COLS
    batch, group = tl.program_id(1) // groups, tl.program_id(1) % groups
    keys = left + tl.arange(0, COLS)
    k_rows = _load(k, batch, group, left, COLS, WIDTH)
    v_rows = _load(v, batch, group, left, COLS, WIDTH)
    sum_k = tl.zeros([COLS, WIDTH], tl.float32)
    sum_v = tl.zeros([COLS, WIDTH], tl.float32)
    first, whole = 0, 0  # the first row that sees a key of this block, and the first that sees all of them
    if CAUSAL:
        first = tl.maximum(0, left - (S - T)) // ROWS * ROWS
        whole = tl.cdiv(tl.maximum(0, left + COLS - 1 - (S - T)), ROWS) * ROWS
    for member in range(GROUP):
        head = group * GROUP + member
        here = (batch * groups * GROUP + head).to(tl.int64) * padded_rows
        if CAUSAL:
            sum_k, sum_v = _gather(
                sum_k, sum_v, k_rows, v_rows, q, grad_out, lse + here, along + here, batch, head, keys,
                first, tl.minimum(whole, T), T, S, scale, CAUSAL, True, PRECISION, ROWS, WIDTH,
            )  # fmt: skip
        sum_k, sum_v = _gather(
            sum_k, sum_v, k_rows, v_rows, q, grad_out, lse + here, along + here, batch, head, keys,
            whole, T, T, S, scale, CAUSAL, False, PRECISION, ROWS, WIDTH,
        )  # fmt: skip
    _store(dk, batch, group, left, sum_k * (scale * LN_2), COLS, WIDTH)
    _store(dv, batch, group, left, sum_v, COLS, WIDTH)


@triton.jit
def _collect(
    dq, q_rows, grad, norm, along, k, v, batch, group, rows, left, right, T, S, scale,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, COLS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of a block of rows what comes by way of the keys from `left` to `right`."""
    for start in tl.range(left, right, COLS):
        k_rows = _load(k, batch, group, start, COLS, WIDTH)
        scores = _dot(q_rows, k_rows.T, None, PRECISION)
        weights = tl.exp2(scores * scale - norm[:, None])
        if MASKED:
            keys = start + tl.arange(0, COLS)
            weights = tl.where(_visible(rows[:, None], keys[None, :], T, S, CAUSAL), weights, 0.0)
        v_rows = _load(v, batch, group, start, COLS, WIDTH)
        dweights = _dot(grad, v_rows.T, None, PRECISION)
        dscores = weights * (dweights - along[:, None])
        dq = _dot(dscores.to(k_rows.dtype), k_rows, dq, PRECISION)
    return dq


@tuned(by_rows="q grad_out dq", by_cols="k v", tries=QUERIES)
@triton.jit
def queries_kernel(
    q, k, v, grad_out, dq, lse, along, T, S, scale, heads, padded_rows, bucket, D: tl.constexpr, GROUP: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Gradient of a block of queries."""
    top = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    group = head // GROUP
    rows = top + tl.arange(0, ROWS)
    here = tl.program_id(1).to(tl.int64) * padded_rows
    norm = tl.load(lse + here + rows)
    sums = tl.load(along + here + rows)
    q_rows = _load(q, batch, head, top, ROWS, WIDTH)
    grad = _load(grad_out, batch, head, top, ROWS, WIDTH)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    whole = _seen_whole(top, T, S, CAUSAL, COLS)
    total = _collect(
        total, q_rows, grad, norm, sums, k, v, batch, group, rows, 0, whole, T, S, scale,
        CAUSAL, False, PRECISION, COLS, WIDTH,
    )  # fmt: skip
    total = _collect(
        total, q_rows, grad, norm, sums, k, v, batch, group, rows, whole, _seen(top + ROWS, T, S, CAUSAL), T, S, scale,
        CAUSAL, True, PRECISION, COLS, WIDTH,
    )  # fmt: skip
    _store(dq, batch, head, top, total * (scale * LN_2), ROWS, WIDTH)
