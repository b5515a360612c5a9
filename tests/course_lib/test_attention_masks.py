"""Masks: against the definition cell by cell, torch's own, and what a perturbed token reaches."""

import pytest
import torch

from course_lib.attention import attention, causal_mask, make_mask

CASES = [
    ("causal", {}),
    *[("prefix", {"prefix_len": n}) for n in (0, 1, 3, 8, 20)],
    *[("sliding", {"window": n}) for n in (1, 2, 3, 8, 20)],
    *[("longformer", {"window": w, "n_global": n}) for w in (1, 3, 20) for n in (0, 1, 2, 5, 20)],
]


def sees(i, j, kind, prefix_len=0, window=0, n_global=0):
    """The definition in words: may the query at position i look at position j?"""
    if kind == "prefix" and j in range(prefix_len):
        return True
    past = list(range(i + 1))
    if kind == "sliding":
        return j in past[-window:]
    if kind == "longformer":
        return j in past and (j in past[-window:] or min(i, j) < n_global)
    return j in past


def assert_masks(candidate):
    for kind, sizes in CASES:
        for T in (1, 2, 8):
            got = candidate(T, kind, **sizes)
            assert got.dtype == torch.bool and got.shape == (T, T)
            assert got.tolist() == [[sees(i, j, kind, **sizes) for j in range(T)] for i in range(T)]


def test_cell_by_cell():
    assert_masks(make_mask)


def test_a_picture():
    rows = make_mask(6, "longformer", window=2, n_global=1).int().tolist()
    assert ["".join(".#"[cell] for cell in row) for row in rows] == [
        "#.....",
        "##....",
        "###...",
        "#.##..",
        "#..##.",
        "#...##",
    ]


@pytest.mark.parametrize("kind, sizes", CASES)
def test_what_a_changed_token_reaches(kind, sizes):
    """A token's change shows in exactly the rows that may see it; so nothing leaks from the future."""
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(8, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = make_mask(8, kind, **sizes)
    before = attention(q, k, v, mask)
    for j in range(8):
        other = v.clone()
        other[j] += 1
        changed = (attention(q, k, other, mask) != before).any(-1)
        assert changed.tolist() == mask[:, j].tolist()


def test_counts():
    window = make_mask(50, "sliding", window=7)
    assert window.sum(1).tolist() == [min(i + 1, 7) for i in range(50)]
    assert make_mask(50, "causal").sum() == 50 * 51 // 2
    assert torch.equal(make_mask(50, "longformer", window=7), window)
    # The first n_global columns below the diagonal, less what the window had.
    extra = make_mask(50, "longformer", window=7, n_global=2) & ~window
    assert extra[:, 2:].sum() == 0 and extra.sum() == (50 - 7) + (50 - 8)


@pytest.mark.parametrize("T, S", [(4, 4), (1, 5), (2, 5), (5, 2)])
def test_causal_mask_is_the_end_of_the_square_one(T, S):
    n = max(T, S)
    square = torch.ones(n, n, dtype=torch.bool).tril()
    want = square[n - T :, :S] if T <= S else square[:, n - S :].tril(S - T)
    for i in range(T):
        for j in range(S):
            assert want[i, j] == (j <= S - T + i)
    assert torch.equal(causal_mask(T, S), want)
    assert torch.equal(causal_mask(n), square) and torch.equal(causal_mask(n), make_mask(n, "causal"))


@pytest.mark.parametrize(
    "name, args, kwargs",
    [
        ("kind", (4, "diagonal"), {}),
        ("kind", (4, "Causal"), {}),
        ("T", (0, "causal"), {}),
        ("T", (2.0, "causal"), {}),
        ("window", (4, "sliding"), {}),
        ("window", (4, "longformer"), {"n_global": 1}),
        ("window", (4, "causal"), {"window": -1}),
        ("prefix_len", (4, "prefix"), {"prefix_len": -1}),
        ("n_global", (4, "longformer"), {"window": 1, "n_global": -1}),
    ],
)
def test_bad_input_names_the_argument(name, args, kwargs):
    with pytest.raises(ValueError, match=rf"^{name}: expected .* got "):
        make_mask(*args, **kwargs)
    with pytest.raises(ValueError, match=r"^S: "):
        causal_mask(3, 0)


def built(T, kind, prefix_len=0, window=0, n_global=0, extra=0, rows_only=False, ahead=False, both_ways=False):
    i, j = torch.arange(T)[:, None], torch.arange(T)[None]
    causal = j <= i
    if kind == "causal":
        return causal
    if kind == "prefix":
        return causal | ((i < prefix_len) if ahead else (j < prefix_len))
    near = ((i - j).abs() < window) if both_ways else causal & (i - j < window + extra)
    if kind == "sliding":
        return near
    return near | causal & ((i < n_global) | (j < (0 if rows_only else n_global)))


@pytest.mark.parametrize(
    "flaw", [{"extra": 1}, {"rows_only": True}, {"ahead": True}, {"both_ways": True}, {"extra": -1}], ids=str
)
def test_a_wrong_mask_is_rejected(flaw):
    assert_masks(built)
    with pytest.raises(AssertionError):
        assert_masks(lambda *args, **sizes: built(*args, **sizes, **flaw))
