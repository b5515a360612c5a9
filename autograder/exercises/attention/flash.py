"""Exercise 10: attention block by block, exact, without ever holding the whole matrix; and what that saves."""

from __future__ import annotations

import math

import torch

from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.flash_parts import (
    averaged,
    compare,
    compare_counts,
    compare_size,
    draw,
    draw_far_from_zero,
    strips,
    tiled,
    whole_matrix,
)
from autograder.exercises.attention.scaled_dot_product import READY_MADE
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


class FlashAttention(Exercise):
    """Compute exact attention in blocks, with a running maximum and sum, and count what it moves to and from memory."""

    title = "FlashAttention by hand"
    difficulty = 3
    minutes = 45
    functions = ("hbm_accesses", "flash_attention")
    reference = attention
    forbid = READY_MADE
    hints = (
        "You have summed exp(score - 3) over the keys so far, and now a score of 5 comes. By which factor is your sum "
        "too large, if from now on everything is measured from 5? Does the same hold for the sum of values?",
        "For each block of queries: start with maximum -inf, sum 0, mixed values 0. For each block of keys: scores, "
        "mask, new maximum; multiply sum and mixed values by exp(old maximum - new maximum), then add what the block "
        "brings. Divide once, at the very end. Where the new maximum is still -inf, measure from 0 instead.",
        "new = torch.maximum(m, s.amax(-1, keepdim=True)); base = new.masked_fill(new == -math.inf, 0); p = (s - base)"
        ".exp(); a = (m - base).exp(); l = l * a + p.sum(-1, keepdim=True); acc = acc * a + p @ v[j : j + block]; "
        "m = new. At the end acc / l.masked_fill(l == 0, 1). Causal: s.masked_fill(keys > rows + S - T, -math.inf). "
        "tiled: 3TD + 2T + ceil(T / ceil(M / 4D)) passes of 3TD + 4T.",
    )

    @check(hint="After each block, multiply both the sum and the mixed values by exp(old maximum - new maximum).")
    def equals_attention_that_sees_everything_at_once(self, student: Student, rng: Rng) -> None:
        block = rng.randint(2, 4)
        compare(student, (*draw(rng, 3 * block, 4 * block, rng.randint(3, 6)), block, False))

    @check(hint="The last block of queries and the last block of keys may be shorter than the others.")
    def blocks_need_not_divide_the_lengths(self, student: Student, rng: Rng) -> None:
        block = rng.randint(3, 5)
        T, S, D = 2 * block + rng.randint(1, block - 1), 3 * block + rng.randint(1, block - 1), rng.randint(3, 6)
        compare(student, (*draw(rng, T, S, D), block, False), (*draw(rng, T, S, D), T + S, False))

    @check(hint="Inside a block on the diagonal each row sees another number of keys: compare positions, not blocks.")
    def causal_hides_every_later_key(self, student: Student, rng: Rng) -> None:
        block = rng.randint(3, 5)
        T = 3 * block + rng.randint(1, block - 1)
        compare(student, (*draw(rng, T, T, rng.randint(3, 6)), block, True))

    @check(hint="exp(100) is too much for float32. Take the largest score so far from every score; it may be negative.")
    def scores_may_be_far_from_zero(self, student: Student, rng: Rng) -> None:
        block = rng.randint(2, 4)
        for sign, word in ((1, "around 10,000"), (-1, "around -10,000")):
            q, k, v = draw_far_from_zero(rng, block + 1, 3 * block - 1, sign)
            compare(student, (q, k, v, block, False), far=f", scores {word}")

    @check(hint="With T queries and S keys, query i stands at position S - T + i: the last of both stand side by side.")
    def causal_counts_from_the_end(self, student: Student, rng: Rng) -> None:
        block, D = rng.randint(2, 4), rng.randint(3, 6)
        T = 2 * block + rng.randint(1, 4)
        compare(student, (*draw(rng, T, T + rng.randint(3, 9), D), block, True))

    @check(hint="A row of nothing but -inf: what is its maximum, and what is -inf - (-inf)? And what do you divide by?")
    def a_query_that_sees_no_key_gets_zeros(self, student: Student, rng: Rng) -> None:
        block, S, D = rng.randint(2, 3), rng.randint(2, 5), rng.randint(3, 6)
        compare(student, (*draw(rng, S + rng.randint(4, 7), S, D), block, True), (*draw(rng, 9, 9, D), block, True))

    @check(hint="Only ever multiply a block of queries with a block of keys; masks have that size, too.")
    def never_holds_more_than_a_block_of_scores(self, student: Student, rng: Rng) -> None:
        block, D = rng.randint(10, 12), rng.randint(3, 4)
        T = rng.randint(52, 60)
        compare_size(student, rng, T, T, D, block, False)
        compare_size(student, rng, T, T, D, block, True)

    @check(hint="Follow the algorithm line by line. A pass goes over all rows for one block of ceil(M / 4D) keys.")
    def counts_what_moves_to_and_from_memory(self, student: Student, rng: Rng) -> None:
        D = rng.randint(5, 9)
        cols = rng.randint(5, 9)
        T, M = 6 * cols + rng.randint(1, cols - 1), 4 * D * cols - rng.randint(1, 3 * D)
        compare_counts(student, (4, 1, 8), (T, D, M))

    @mistake("does not scale down the mixed values when a larger maximum comes; they were measured from the old one")
    def mixed_not_scaled(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, shrink_mixed=False)

    @mistake("does not scale down the sum when a larger maximum comes; it was measured from the old one")
    def sum_not_scaled(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, shrink_sum=False)

    @mistake("scales down neither sum nor mixed values when a larger maximum comes")
    def nothing_scaled(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, shrink_sum=False, shrink_mixed=False)

    @mistake("measures each block from its own maximum and adds up the results; the maximum goes from block to block")
    def own_maximum(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, carry=False)

    @mistake("divides by the sum after every block; the next one then adds to what is divided already")
    def divides_at_once(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, divide="at once")

    @mistake("takes a softmax in each block and averages the blocks; a block with small scores then counts too much")
    def averages_blocks(q, k, v, block=64, causal=False):
        return averaged(q, k, v, block, causal)

    @mistake("does not divide by the sum at the end; the weights of a row must add up to 1")
    def never_divides(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, divide="never")

    @mistake("does not divide the scores by the square root of D")
    def scores_not_scaled(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, scale=1.0)

    @mistake("leaves out the last, shorter block: the number of blocks is rounded down")
    def whole_blocks_only(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, whole_blocks=True)

    @mistake("masks whole blocks only; in a block on the diagonal each row still sees keys after it")
    def masks_whole_blocks(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, mask="blocks")

    @mistake("does not hide later keys when causal is True")
    def never_masks(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, mask="none")

    @mistake("hides from each query the key at its own position as well")
    def masks_itself(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, mask="strict")

    @mistake("gives nan where the first block that a query meets is wholly masked, because -inf - (-inf) is no number")
    def masked_first_block(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, guarded=False, backwards=True)

    @mistake("takes exp of the scores as they are; beyond 88 that is infinite in float32, and below -104 it is zero")
    def no_maximum(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, start=0.0, carry=False)

    @mistake("starts the running maximum at 0; if all scores lie far below, every weight is zero: start at -inf")
    def maximum_from_zero(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, start=0.0)

    @mistake("starts both positions at 0; with fewer queries than keys, the last query stands at the last key")
    def top_left(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, mask="top left")

    @mistake("gives nan to a query that sees no key: -inf - (-inf) in the exponent, or 0 / 0 at the end")
    def nan_without_keys(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, guarded=False)

    @mistake("masks with a large negative number, so that a query that sees no key attends to all of them; use -inf")
    def masks_with_a_number(q, k, v, block=64, causal=False):
        return tiled(q, k, v, block, causal, hidden=-1e9)

    @mistake("holds the whole matrix of scores at once; only a block of queries may meet a block of keys")
    def holds_the_matrix(q, k, v, block=64, causal=False):
        return whole_matrix(q, k, v, causal)

    @mistake("holds a strip of scores: a block of queries with all keys; cut the keys into blocks as well")
    def holds_strips(q, k, v, block=64, causal=False):
        return strips(q, k, v, block, causal)

    @mistake("builds the causal mask for all queries and keys at once; build the part that belongs to a block")
    def holds_the_mask(q, k, v, block=64, causal=False):
        if causal:
            torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        return tiled(q, k, v, block, causal)

    @mistake("counts what is read only; what is written crosses the same border", of="hbm_accesses")
    def counts_reads(T, D, M):
        passes = math.ceil(T / math.ceil(M / (4 * D)))
        return {"standard": 3 * T * D + 2 * T * T, "tiled": 2 * T * D + passes * (2 * T * D + 2 * T)}

    @mistake("counts the T x T matrix twice; scores are written and read, and so are weights", of="hbm_accesses")
    def matrix_twice(T, D, M):
        return attention.hbm_accesses(T, D, M) | {"standard": 4 * T * D + 2 * T * T}

    @mistake("forgets out, sums and maxima, which are set to their first values before the passes", of="hbm_accesses")
    def no_first_values(T, D, M):
        counts = attention.hbm_accesses(T, D, M)
        return counts | {"tiled": counts["tiled"] - T * D - 2 * T}

    @mistake("counts queries and outputs once; each pass reads and writes all of them again", of="hbm_accesses")
    def rows_once(T, D, M):
        counts = attention.hbm_accesses(T, D, M)
        return counts | {"tiled": 3 * T * D + 2 * T + 3 * T * D + 4 * T}

    @mistake("gives all of M to a block of keys; queries, values and outputs need room, too: M / 4D", of="hbm_accesses")
    def all_for_keys(T, D, M):
        passes = math.ceil(T / math.ceil(M / D))
        return attention.hbm_accesses(T, D, M) | {"tiled": 3 * T * D + 2 * T + passes * (3 * T * D + 4 * T)}

    @mistake("rounds the number of passes down; a shorter last block needs its own pass", of="hbm_accesses")
    def passes_rounded_down(T, D, M):
        passes = T // math.ceil(M / (4 * D))
        return attention.hbm_accesses(T, D, M) | {"tiled": 3 * T * D + 2 * T + passes * (3 * T * D + 4 * T)}

    @mistake("leaves out running sums and maxima; each row's two numbers are read and written too", of="hbm_accesses")
    def no_statistics(T, D, M):
        passes = math.ceil(T / math.ceil(M / (4 * D)))
        return attention.hbm_accesses(T, D, M) | {"tiled": 3 * T * D + passes * 3 * T * D}
