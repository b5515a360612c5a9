"""Exercise 3: masks that say who may see whom: causal, with a prefix, a sliding window, and global positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autograder.compare import fail
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import attention


def drawn(picture: str) -> list[list[bool]]:
    """A mask from a picture: one line per query, # where it may see the key."""
    return [[cell == "#" for cell in line] for line in picture.split()]


def sees(query: int, key: int, kind: str, prefix_len: int = 0, window: int = 0, n_global: int = 0) -> bool:
    """The oracle: one cell, in the words of the exercise."""
    if kind == "prefix" and key < prefix_len:
        return True
    if key > query:
        return False
    if kind in ("causal", "prefix"):
        return True
    is_near = key in range(query - window + 1, query + 1)
    return is_near or (kind == "longformer" and (key < n_global or query < n_global))


def masked(T: int, kind: str, **sizes: int) -> list[list[bool]]:
    return [[sees(query, key, kind, **sizes) for key in range(T)] for query in range(T)]


def a_mask(got: Any, T: int, what: str) -> Tensor:
    """The value if it is a boolean tensor [T, T]; the check fails otherwise."""
    if not isinstance(got, Tensor):
        fail(f"{what} returned {type_name(got)}, expected a Tensor", got)
    if tuple(got.shape) != (T, T):
        fail(f"{what} has shape {tuple(got.shape)}, expected {(T, T)}", got)
    if got.dtype != torch.bool:
        fail(f"{what} has dtype {got.dtype}, expected torch.bool", got)
    return got


def compare(got: Any, want: list[list[bool]], what: str) -> None:
    mask = a_mask(got, len(want), what).tolist()
    wrong = [(i, j) for i, row in enumerate(want) for j, cell in enumerate(row) if mask[i][j] != cell]
    if wrong:
        i, j = wrong[0]
        may = "may see" if want[i][j] else "may not see"
        count = f"{len(wrong)} cells are wrong" if len(wrong) > 1 else "1 cell is wrong"
        fail(f"{what}: {count}; row {i}, column {j} is {mask[i][j]}, but query {i} {may} key {j}", got)


def try_on(student: Student, T: int, kind: str, **sizes: int) -> None:
    sizes_text = "".join(f", {name}={size}" for name, size in sizes.items())
    what = f"make_mask({T}, {kind!r}{sizes_text})"
    compare(student.make_mask(T, kind, **sizes), masked(T, kind, **sizes), what)


def flawed(T, kind, prefix_len=0, window=0, n_global=0, **flaws):
    """What most mistakes have in common: right but for what is named."""
    i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]
    past = j < i if flaws.get("strict") else j <= i
    if kind == "causal":
        return past
    if kind == "prefix":
        return flaws.get("prefix", lambda i, j, p: past | (j < p))(i, j, prefix_len)
    near = past & (i - j < window + flaws.get("wider", 0))
    if flaws.get("both_ways"):
        near = (i - j).abs() < window
    if kind == "sliding":
        return near
    return near | flaws.get("globals", lambda i, j, g: past & (j < g))(i, j, n_global)


class MakeMask(Exercise):
    """Build a decoder's boolean masks: causal, prefix, sliding window, and a window with global positions."""

    title = "Masks"
    difficulty = 2
    minutes = 20
    id = "make_mask"
    functions = ("make_mask",)
    reference = attention
    forbid = ("torch.nn.attention", "torch.nn.Transformer")
    hints = (
        "Give every query a number i and every key a number j. What do i and j have to satisfy for the query to see "
        "the key? Say it in words for each kind first.",
        "Make a column of query numbers and a row of key numbers; comparing them gives a [T, T] mask. causal: j <= i. "
        "prefix: that, or j is in the prefix. sliding: causal, and i - j is one of 0 .. window - 1. longformer: "
        "causal, and near or j < n_global.",
        "i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]; causal = j <= i; prefix = causal | (j < "
        "prefix_len); sliding = causal & (i - j < window); longformer = causal & ((i - j < window) | (j < n_global)).",
    )

    @check(hint="Row i is what query i may see: columns 0 to i, its own place included. True means: may see.")
    def causal_sees_itself_and_the_past(self, student: Student, rng: Rng) -> None:
        picture = drawn("#..... ##.... ###... ####.. #####. ######")
        compare(student.make_mask(6, "causal"), picture, "make_mask(6, 'causal')")
        try_on(student, rng.randint(7, 12), "causal")

    @check(hint="The prefix is seen by everybody, from both sides. What comes after it is seen by nobody before it.")
    def prefix_is_seen_from_both_sides(self, student: Student, rng: Rng) -> None:
        picture = drawn("###... ###... ###... ####.. #####. ######")
        compare(student.make_mask(6, "prefix", prefix_len=3), picture, "make_mask(6, 'prefix', prefix_len=3)")
        T = rng.randint(7, 12)
        try_on(student, T, "prefix", prefix_len=rng.randint(2, T - 3))

    @check(hint="A window of 3 holds three keys: the query's own and the two before it. Count the # in the last row.")
    def a_window_holds_that_many_keys(self, student: Student, rng: Rng) -> None:
        picture = drawn("#..... ##.... ###... .###.. ..###. ...###")
        compare(student.make_mask(6, "sliding", window=3), picture, "make_mask(6, 'sliding', window=3)")
        T = rng.randint(8, 12)
        try_on(student, T, "sliding", window=rng.randint(2, T - 3))

    @check(hint="Who comes later may look back at the first n_global positions from any distance; nobody looks ahead.")
    def global_positions_are_seen_from_afar(self, student: Student, rng: Rng) -> None:
        picture = drawn("#..... ##.... ###... ##.#.. ##..#. ##...#")
        want = "make_mask(6, 'longformer', window=1, n_global=2)"
        compare(student.make_mask(6, "longformer", window=1, n_global=2), picture, want)
        T = rng.randint(10, 14)
        window = rng.randint(2, 3)
        try_on(student, T, "longformer", window=window, n_global=window + rng.randint(1, 3))

    @mistake("gives numbers, 0 and -inf, as one adds them to scores; this mask is boolean")
    def numbers_to_add(T, kind, prefix_len=0, window=0, n_global=0):
        return torch.zeros(T, T).masked_fill_(~flawed(T, kind, prefix_len, window, n_global), -torch.inf)

    @mistake("gives True to what is hidden; here True means that the query may see the key")
    def inverted(T, kind, prefix_len=0, window=0, n_global=0):
        return ~flawed(T, kind, prefix_len, window, n_global)

    @mistake("keeps the upper triangle: rows are queries and columns are keys, and a query sees what is before it")
    def upper_triangle(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global).T

    @mistake("hides every position from itself; a token may always see itself")
    def not_itself(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, strict=True)

    @mistake("goes one column too far: position i already sees position i + 1")
    def one_ahead(T, kind, prefix_len=0, window=0, n_global=0):
        next_one = torch.arange(T)[None, :] == torch.arange(T)[:, None] + 1
        return flawed(T, kind, prefix_len, window, n_global) | next_one

    @mistake("lets the prefix see everything, what comes after it too; then an answer can be read from the prefix")
    def prefix_sees_the_rest(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, prefix=lambda i, j, p: (j <= i) | (i < p))

    @mistake("keeps the prefix causal; within it every position sees every other")
    def prefix_is_causal(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, prefix=lambda i, j, p: j <= i)

    @mistake("cuts what follows off from the prefix; those positions see the prefix and what came after it")
    def prefix_stands_apart(T, kind, prefix_len=0, window=0, n_global=0):
        def apart(i, j, p):
            return ((i < p) & (j < p)) | ((j <= i) & (j >= p))

        return flawed(T, kind, prefix_len, window, n_global, prefix=apart)

    @mistake("counts the prefix one too long: its positions are 0 to prefix_len - 1")
    def prefix_too_long(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, prefix=lambda i, j, p: (j <= i) | (j <= p))

    @mistake("makes the window one too wide: the query's own key is one of the window keys")
    def window_too_wide(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, wider=1)

    @mistake("makes the window one too narrow: a window of w reaches back to i - (w - 1)")
    def window_too_narrow(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, wider=-1)

    @mistake("lets the window reach ahead as far as back; a decoder's window ends at the query")
    def window_both_ways(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, both_ways=True)

    @mistake("leaves out the global positions: its 'longformer' is its 'sliding'")
    def no_globals(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, globals=lambda i, j, g: j < 0)

    @mistake("lets global positions see far, but not be seen: it fills their rows and forgets their columns")
    def global_rows_only(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, globals=lambda i, j, g: (j <= i) & (i < g))

    @mistake("lets global positions see the future, and through them everybody: in a decoder nobody looks ahead")
    def globals_see_the_future(T, kind, prefix_len=0, window=0, n_global=0):
        return flawed(T, kind, prefix_len, window, n_global, globals=lambda i, j, g: (j < g) | (i < g))
