"""Hidden checks of exercise 3, and other ways to solve it."""

from __future__ import annotations

import torch

from autograder.compare import equal, fail, true
from autograder.exercise import check, variant
from autograder.exercises.attention import masks as public
from autograder.exercises.attention.masks import a_mask, compare, try_on
from autograder.exercises.attention.scaled_dot_product import attended
from autograder.rng import Rng
from autograder.student import Student


def draw_sizes(rng: Rng, T: int) -> list[tuple[str, dict[str, int]]]:
    window = rng.randint(3, T // 3)
    return [
        ("causal", {}),
        ("prefix", {"prefix_len": rng.randint(2, T - 3)}),
        ("sliding", {"window": window}),
        ("longformer", {"window": window, "n_global": window + rng.randint(1, T // 3)}),
    ]


class MakeMask(public.MakeMask):
    @check(hint="Change one token and look where the output changes: in the rows that may see it, and in no other.")
    def a_changed_token_shows_where_it_may_be_seen(self, student: Student, rng: Rng) -> None:
        T = rng.randint(9, 12)
        q, k, v = (rng.normal(T, 4, dtype=torch.float64) for _ in range(3))
        for kind, sizes in draw_sizes(rng, T):
            mask = a_mask(student.make_mask(T, kind, **sizes), T, f"the {kind!r} mask")
            before = attended(q, k, v, mask)[0]
            for token in rng.sample(range(T), 4):
                changed = v.clone()
                changed[token] += 1
                reached = (attended(q, k, changed, mask)[0] != before).any(-1)
                for row in range(T):
                    if bool(reached[row]) != public.sees(row, token, kind, **sizes):
                        does = "reaches" if reached[row] else "does not reach"
                        fail(f"with {kind!r} and {sizes}, a change of token {token} {does} the output of {row}", mask)

    @check(hint="Count True in each row: i + 1 while the window fills up, then exactly window.")
    def rows_hold_as_many_keys_as_they_should(self, student: Student, rng: Rng) -> None:
        T, window = rng.randint(30, 50), rng.randint(3, 9)
        what = f"make_mask({T}, 'sliding', window={window})"
        mask = a_mask(student.make_mask(T, "sliding", window=window), T, what)
        equal(mask.sum(1).tolist(), [min(i + 1, window) for i in range(T)], what="the number of keys in each row")
        prefix_len = rng.randint(5, 20)
        mask = a_mask(student.make_mask(T, "prefix", prefix_len=prefix_len), T, "the mask with a prefix")
        want = [max(i + 1, prefix_len) for i in range(T)]
        equal(mask.sum(1).tolist(), want, what="the number of keys in each row with a prefix")

    @check(hint="Without global positions the third kind is the second; with them, only their columns are added.")
    def globals_add_to_the_window_and_change_nothing_else(self, student: Student, rng: Rng) -> None:
        T, window, n_global = rng.randint(12, 20), rng.randint(2, 3), rng.randint(4, 7)
        sliding = a_mask(student.make_mask(T, "sliding", window=window), T, "the sliding mask")
        none = student.make_mask(T, "longformer", window=window, n_global=0)
        compare(none, sliding.tolist(), "'longformer' with n_global=0, held against 'sliding',")
        some = a_mask(student.make_mask(T, "longformer", window=window, n_global=n_global), T, "the longformer mask")
        extra = (some & ~sliding).nonzero().tolist()
        equal(extra, [[i, j] for i in range(T) for j in range(n_global) if j <= i - window], what="what is added")
        true(not (sliding & ~some).any(), "with global positions, something near is hidden that was seen before")

    @check(hint="Try a single token, a window wider than the text, a prefix of nothing and of everything.")
    def extreme_sizes_work(self, student: Student, rng: Rng) -> None:
        T = rng.randint(4, 9)
        for length in (T, 1):
            try_on(student, length, "causal")
            for prefix_len in (0, 1, length):
                try_on(student, length, "prefix", prefix_len=prefix_len)
            for window in (1, length, length + rng.randint(1, 9)):
                try_on(student, length, "sliding", window=window)
                for n_global in (length, 1, 0):
                    try_on(student, length, "longformer", window=window, n_global=n_global)

    @variant
    class CellByCell:
        def make_mask(T, kind, prefix_len=0, window=0, n_global=0):
            mask = torch.zeros(T, T, dtype=torch.bool)
            for i in range(T):
                for j in range(T):
                    if kind == "prefix" and j < prefix_len:
                        mask[i, j] = True
                    elif j <= i:
                        near = i - j < window
                        mask[i, j] = kind in ("causal", "prefix") or near or (kind == "longformer" and j < n_global)
            return mask

    @variant
    class Triangles:
        """A window is a triangle less a smaller one."""

        def make_mask(T, kind, prefix_len=0, window=0, n_global=0):
            mask = torch.tril(torch.ones(T, T)).bool()
            if kind == "prefix":
                mask[:, :prefix_len] = True
            elif kind != "causal":
                mask = mask.triu(diagonal=1 - window)
                if kind == "longformer":
                    mask[:, :n_global] = True
                    mask[:n_global, :] = True
                    mask = mask.tril()
            return mask

    @variant
    class Distances:
        def make_mask(T, kind, prefix_len=0, window=0, n_global=0):
            place = torch.arange(T)
            back = place.unsqueeze(1) - place.unsqueeze(0)
            kinds = {
                "causal": lambda: back >= 0,
                "prefix": lambda: torch.maximum(back, (prefix_len - 1 - place).expand(T, T)) >= 0,
                "sliding": lambda: torch.logical_and(back.ge(0), back.lt(window)),
                "longformer": lambda: back.ge(0) & (back.lt(window) + place.lt(n_global)),
            }
            return kinds[kind]()
