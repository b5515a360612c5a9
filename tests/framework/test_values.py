"""The border: what crosses comes out as plain data, what is hostile or not data does not come out at all."""

import math
from collections import Counter, defaultdict
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autograder.alike import same
from autograder.student import short
from autograder.values import BadValue, Packed, decode, encode

names = st.from_regex("[a-z][a-z_0-9]{0,8}", fullmatch=True)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.dictionaries(names, inner).map(lambda values: SimpleNamespace(**values))
    ),
    max_leaves=20,
)


@given(plain)
def test_plain_data_survives_the_round_trip_with_its_types(value):
    assert repr(decode(encode(value))) == repr(value)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]
)
def test_tensors_keep_shape_dtype_and_bits(dtype):
    tensor = (torch.arange(12).reshape(3, 4) % 5).to(dtype).t()
    back = decode(encode(tensor))
    assert back.dtype == dtype and back.shape == (4, 3) and torch.equal(back, tensor)


def test_subclasses_and_scalars_become_plain():
    class Always(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Sneaky(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return True

    assert type(decode(encode(Always(3)))) is int
    assert type(decode(encode(Counter(a=1)))) is dict
    assert decode(encode(defaultdict(int, b=2))) == {"b": 2}
    assert type(decode(encode(np.float32(0.5)))) is float
    assert type(decode(encode(torch.ones(2).as_subclass(Sneaky)))) is torch.Tensor


def test_a_counter_is_a_dictionary_to_a_check_and_a_counter_to_student_code():
    from autograder.executor import Executor
    from autograder.values import Opaque

    packed = encode(Counter("aab"))
    assert type(decode(packed)) is dict and type(decode(packed, counters=True)) is Counter
    call = Executor({}, lambda number, sent: packed)._unwrap(Opaque(-1, "function"))
    assert call() == Counter(a=2, b=1) and call().most_common(1) == [("a", 2)]


def test_a_namespace_keeps_its_names_and_values():
    cfg = SimpleNamespace(n_layers=2, table=torch.arange(3.0), inner=SimpleNamespace(rates=[0.1, None]))
    back = decode(encode(cfg))
    assert type(back) is SimpleNamespace and list(vars(back)) == ["n_layers", "table", "inner"]
    assert back.n_layers == 2 and torch.equal(back.table, cfg.table) and back.inner.rates == [0.1, None]
    assert type(back.inner) is SimpleNamespace


def test_a_generator_crosses_as_its_seed_until_somebody_has_drawn_from_it():
    generator = torch.Generator().manual_seed(7)
    back, again = decode(encode((generator, generator)))
    want = torch.rand(3, generator=torch.Generator().manual_seed(7))
    assert back is not generator and torch.equal(torch.rand(3, generator=back), want)
    assert torch.equal(torch.rand(3, generator=again), want)
    assert short(generator) == "torch.Generator().manual_seed(7)"
    torch.rand(1, generator=generator)
    with pytest.raises(BadValue, match="not data"):
        encode(generator)
    assert encode(generator, lambda value: 4).tree == {"t": "object", "v": 4, "of": "Generator"}


def test_weights_are_not_written_out_wherever_they_lie():
    weights = {"a": torch.zeros(3, 4), "b": torch.zeros(2)}
    assert short(weights) == "a dict of 2 values"
    assert short({"cfg": SimpleNamespace(d_model=4), "weights": weights}) == "a dict of 2 values"
    assert short({"cfg": {"d_model": 4}}) == "{'cfg': {'d_model': 4}}"


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None, "7", [7]])
def test_a_generator_without_a_seed_does_not_cross(seed):
    with pytest.raises(BadValue):
        decode(Packed({"t": "generator", "v": seed}))


@pytest.mark.parametrize("name", ["two words", "", "1st", "__class__", "_hidden", "a.b", "a" * 201, "\ud800"])
def test_a_namespace_with_names_that_nobody_could_write_does_not_cross(name):
    with pytest.raises(BadValue, match="name"):
        encode(SimpleNamespace(**{name: 1}))
    with pytest.raises(BadValue, match="name"):
        decode(Packed({"t": "namespace", "v": [[name, 1]]}))


def test_a_namespace_that_contains_itself_is_refused():
    knot = SimpleNamespace()
    knot.knot = knot
    with pytest.raises(BadValue, match="nested"):
        encode(knot)


def test_empty_and_zero_dimensional_arrays():
    for value in (np.zeros((0, 3)), np.array(7), np.asfortranarray(np.arange(6.0).reshape(2, 3))):
        back = decode(encode(value))
        assert back.shape == value.shape and np.array_equal(back, value)


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, np.array([object()]), np.array(["a"]), (x for x in "ab"), torch.empty(2, device="meta")],
)
def test_what_is_not_data_is_refused_without_a_place_to_keep_it(value):
    with pytest.raises(BadValue):
        encode(value)


def test_endless_nesting_is_refused():
    knot: list = []
    knot.append(knot)
    with pytest.raises(BadValue, match="nested"):
        encode(knot)


@pytest.mark.parametrize(
    "tree, buffers",
    [
        ({"t": "array", "dtype": "float64", "shape": [10**9], "v": 0}, [b"12345678"]),
        ({"t": "array", "dtype": "float64", "shape": [-1], "v": 0}, [b"12345678"]),
        ({"t": "array", "dtype": "object", "shape": [1], "v": 0}, [b"12345678"]),
        ({"t": "array", "dtype": "float64", "shape": [1], "v": 5}, [b"12345678"]),
        ({"t": "array", "dtype": "float64", "shape": [True], "v": 0}, [b"12345678"]),
        ({"t": "tensor", "dtype": "float64", "shape": "11", "v": 0}, [b"12345678"]),
        ({"t": "dict", "k": [[1]], "v": [2]}, []),
        ({"t": "dict", "k": [1, 2], "v": [3]}, []),
        ({"t": "dict", "v": 3}, []),
        ({"t": "dict", "k": "ab", "v": [1, 2]}, []),
        ({"t": "tuples", "n": 2, "v": [1, 2, 3]}, []),
        ({"t": "tuples", "n": 0, "v": [1]}, []),
        ({"t": "tuples", "n": 10**12, "v": []}, []),  # would be a list of as many iterators
        ({"t": "tuples", "n": True, "v": [1]}, []),
        ({"t": "tuples", "n": 1, "v": "ab"}, []),
        ({"t": "tuples", "n": 1, "v": {"t": "tuple", "v": [1]}}, []),
        ({"t": "texts", "v": "ab"}, []),
        ({"t": "texts", "v": ["a", 1]}, []),
        ({"t": "texts", "v": ["\u20ac"]}, []),
        ({"t": "namespace", "v": 3}, []),
        ({"t": "namespace", "v": {"ab": 1}}, []),  # two letters would unpack like a pair
        ({"t": "namespace", "v": ["ab"]}, []),
        ({"t": "namespace", "v": [["a", 1, 2]]}, []),
        ({"t": "namespace", "v": [["a"]]}, []),
        ({"t": "namespace", "v": [[1, 1]]}, []),
        ({"t": "namespace", "v": [[["a"], 1]]}, []),
        ({"t": "namespace", "v": [["a", 1], ["a", 2]]}, []),
        ({"t": "namespace", "v": [["a", {"t": "eval"}]]}, []),
        ({"t": "object", "v": 1}, []),
        ({"t": "dtype", "v": "load"}, []),
        ({"t": "eval", "v": "1"}, []),
        ({"t": ["list"]}, []),
    ],
)
def test_malformed_trees_are_refused(tree, buffers):
    with pytest.raises(BadValue):
        decode(Packed(tree, buffers))


def test_a_huge_tree_is_refused(monkeypatch):
    monkeypatch.setattr("autograder.values.MAX_ITEMS", 1000)
    with pytest.raises(BadValue, match="too many"):
        decode(Packed([[0] * 600, [0] * 600]))


@pytest.mark.parametrize(
    "keys",
    [
        [n * (2**61 - 1) for n in range(200_000)],
        [{"t": "tuple", "v": list(signs)} for signs in product((-1, -2), repeat=15)],
        {"t": "tuples", "n": 15, "v": [sign for signs in product((-1, -2), repeat=15) for sign in signs]},
    ],
    ids=["numbers", "tuples", "tuples in one piece"],
)
def test_keys_made_to_collide_are_refused_before_a_table_is_built_of_them(keys):
    """Otherwise one step in C would take minutes to hours, and no time limit could strike before its end."""
    for tree in ({"t": "set", "v": keys}, {"t": "dict", "k": keys, "v": [0] * 2**15}):
        with pytest.raises(BadValue, match="hash alike"):
            decode(Packed([tree]))


def test_keys_that_collide_by_chance_are_not_refused():
    value = {*product((-1, -2), repeat=6), *range(-5000, 5000), *(n * (2**61 - 1) for n in range(50)), "a", None}
    assert decode(encode(value)) == value
    assert decode(encode(dict.fromkeys(value, 1))) == dict.fromkeys(value, 1)


def test_same_knows_numbers_from_flags_and_lists_from_tuples():
    assert same(math.nan, math.nan) and same(1, 1.0) and same({"a": [1.0]}, {"a": [1.0 + 1e-9]})
    assert not same(True, 1) and not same([1], (1,)) and not same(1.0, 1.1) and not same("1", 1)
    assert not same(torch.ones(2), torch.ones(2, dtype=torch.float64))
    assert same(torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf]))
    a, b = SimpleNamespace(x=1, w=torch.ones(3)), SimpleNamespace(w=torch.ones(3), x=1.0)
    assert same(a, b) and same([a], [b])
    assert not same(a, SimpleNamespace(x=1)) and not same(a, vars(a))
    assert not same(a, SimpleNamespace(x=1, w=torch.zeros(3)))
