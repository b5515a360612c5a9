"""Alike is what few others wrote: found under new names, never from short or common code, whatever the text is."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small import REFERENCE

from autograder.exercise import Chapter, Exercise, mistake, variant
from autograder.judge.pieces import MAX_PIECES, as_text, from_text, pieces_of
from autograder.judge.similarity import (
    BANDS,
    ROWS,
    THRESHOLD,
    Pair,
    _candidates,
    _signature,
    alike,
    given_pieces,
    groups,
    most_sharing,
    similar_submissions,
)

LOOP = '''
import numpy as np

def attend(query, keys, values, scale=None):
    """Mix the values."""
    weights = []
    width = len(query)
    for key in keys:
        total = 0.0
        for i in range(width):
            total += query[i] * key[i]
        weights.append(total / (scale or width**0.5))
    largest = max(weights)
    weights = [np.exp(weight - largest) for weight in weights]
    whole = sum(weights)
    mixed = [0.0] * len(values[0])
    for weight, value in zip(weights, values):
        for i, number in enumerate(value):
            mixed[i] += weight / whole * number
    return mixed
'''
COPY = """
import numpy

# all mine
def attend(q: list, k: list, v: list, s: float | None = None) -> list:
    w: list[float] = []
    d = len(q)
    for one in k:
        t = 0.0
        for j in range(d):
            t += (q[j] *
                  one[j])
        w.append(t / (s or d**0.5))  # scaled
    top = max(w)
    w = [numpy.exp(x - top) for x in w]
    z = sum(w)
    out = [0.0] * len(v[0])
    for x, y in zip(w, v):
        for j, n in enumerate(y):
            out[j] += x / z * n
    return out
"""
ARRAYS = """
import numpy as np

def attend(query, keys, values, scale=None):
    query, keys, values = np.asarray(query), np.asarray(keys), np.asarray(values)
    scores = keys @ query / (np.sqrt(query.shape[-1]) if scale is None else scale)
    weights = np.exp(scores - scores.max())
    return (weights / weights.sum()) @ values
"""
RECURSIVE = """
import math

def attend(query, keys, values, scale=None):
    def mix(places, whole):
        if not places:
            return [0] * len(values[0]), whole
        score = math.exp(sum(map(lambda pair: pair[0] * pair[1], zip(query, keys[places[0]]))) / root)
        rest, whole = mix(places[1:], whole + score)
        return [r + score * v for r, v in zip(rest, values[places[0]])], whole
    root = scale if scale is not None else math.sqrt(len(query))
    mixed, whole = mix(list(range(len(keys))), 0)
    return [m / whole for m in mixed]
"""


def pairs_of(**texts):
    return {(p.one, p.other) for p in alike({name: pieces_of([text]) for name, text in texts.items()})}


def made_up(seed, statements=30):
    """A long function that nobody else writes: statements drawn with their operators and calls."""
    rng = random.Random(seed)
    lines = ["def work(x, y):"]
    for _ in range(statements):
        op, other = rng.choices(["+", "-", "*", "//", "%", "@", "<<", "&"], k=2)
        call = rng.choice(["max", "min", "sum", "abs", "pow", "divmod", "sorted", "zip", "hash"])
        left, right = f"x {op} {rng.randint(2, 99)}", f"y.{rng.choice('abcdefgh')} {other} x[{rng.randint(2, 99)}]"
        lines.append(f"    x = {call}({left}, {right})")
    return "\n".join([*lines, "    return x"])


def test_the_same_code_under_other_names_is_found():
    assert np.array_equal(pieces_of([LOOP]), pieces_of([COPY])), "names, comments, annotations, layout say nothing"
    others = {f"s{n}": made_up(n) for n in range(8)}
    assert pairs_of(ada=LOOP, ben=COPY, chen=ARRAYS, dana=RECURSIVE, **others) == {("ada", "ben")}


def test_what_the_code_does_is_not_hidden_by_the_signs():
    assert not np.array_equal(pieces_of([LOOP]), pieces_of([LOOP.replace("total +=", "total -=")]))
    assert not np.array_equal(pieces_of([LOOP]), pieces_of([LOOP.replace("max(", "min(")]))
    assert not np.array_equal(pieces_of([LOOP]), pieces_of([LOOP.replace("**0.5", "**0.25")]))


def test_helpers_may_stand_in_another_order_and_another_cell():
    first, second = made_up(1, 12), made_up(2, 12).replace("work", "more")
    together = pieces_of([f"{second}\n\n\n{first}"])
    assert np.array_equal(together, pieces_of([first, second])) and len(together) > 100


def test_a_copy_with_some_lines_changed_is_found_and_a_patchwork_is_not():
    lines = made_up(7).splitlines()
    changed = "\n".join([*lines[:8], "    x = [y for y in x if y]", *lines[10:]])
    patchwork = "\n".join(lines[:10] + made_up(8).splitlines()[10:])
    others = {f"s{n}": made_up(n) for n in range(20, 30)}
    texts = {"ada": "\n".join(lines), "ben": changed, "cyd": patchwork} | others
    found = alike({name: pieces_of([text]) for name, text in texts.items()})
    assert [(p.one, p.other) for p in found] == [("ada", "ben")] and 0.7 < found[0].score < 1


def test_short_solutions_are_not_listed_even_when_equal():
    short = "def double(numbers):\n    return [number * 2 for number in numbers if number > 0]\n"
    assert not pairs_of(**{f"s{n}": short for n in range(3)}, long=LOOP)


def test_what_most_have_is_not_listed_and_what_few_add_to_it_is():
    many = {f"s{n:02}": LOOP for n in range(40)}
    assert not pairs_of(**many, other=ARRAYS)
    assert pairs_of(**many, x=LOOP + made_up(1), y=COPY + made_up(1), z=LOOP + made_up(2)) == {("x", "y")}


def test_how_many_may_share_grows_with_the_class_to_a_limit():
    assert [most_sharing(n) for n in (2, 4, 6, 12, 80, 200, 1000, 9000)] == [2, 2, 3, 4, 4, 10, 50, 50]
    ring = {f"s{n}": pieces_of([LOOP]) for n in range(4)} | {f"t{n}": pieces_of([made_up(n)]) for n in range(8)}
    assert len(alike(ring)) == 6, "four of twelve are listed"


def test_a_chain_of_three_is_one_group():
    pieces = {"a": range(0, 100), "b": range(15, 115), "c": range(30, 130), "d": range(500, 600), "e": range(500, 600)}
    pieces["alone"] = range(700, 800)
    found = alike({name: np.array(values, dtype=np.uint32) for name, values in pieces.items()})
    assert {(p.one, p.other) for p in found} == {("a", "b"), ("b", "c"), ("d", "e")}, "a and c are too far apart"
    assert [group.students for group in groups("x", found)] == [("a", "b", "c"), ("d", "e")]
    (chain, _) = groups("x", found)
    assert chain.score == pytest.approx(85 / 115, abs=1e-3) and chain.shared == 85 and len(chain.pairs) == 2
    later = [Pair("p", "q", 1.0, 50), Pair("r", "s", 1.0, 50), Pair("q", "r", 1.0, 50)]
    assert [group.students for group in groups("x", later)] == [("p", "q", "r", "s")]


def test_the_score_is_the_jaccard_similarity_of_the_rare_pieces():
    rng = np.random.default_rng(0)
    common, one, other = (rng.choice(2**32, size=n, replace=False).astype(np.uint32) for n in (50, 60, 60))
    both = np.arange(200, dtype=np.uint32)
    written = {"ada": [common, both, one[:20]], "ben": [common, both, other[:30]]}
    written |= {f"s{n}": [common, rng.choice(2**32, size=80).astype(np.uint32)] for n in range(10)}
    (pair,) = alike({name: np.unique(np.concatenate(parts)) for name, parts in written.items()})
    assert pair == Pair("ada", "ben", round(200 / 250, 3), 200)
    assert not alike({name: np.unique(np.concatenate(parts)) for name, parts in written.items()}, given=both)


def test_signatures_agree_as_often_as_sets_do_and_are_the_same_everywhere():
    rng = np.random.default_rng(3)
    sets = [rng.choice(2**32, size=500, replace=False).astype(np.uint32) for _ in range(40)]
    share = np.mean([np.mean(_signature(pieces[:400]) == _signature(pieces[100:])) for pieces in sets])
    assert share == pytest.approx(300 / 500, abs=0.05)
    code = "import numpy as np; from autograder.judge.similarity import _signature as signature\n"
    code += "print(signature(np.arange(9, dtype='u4')).sum())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == int(_signature(np.arange(9, dtype=np.uint32)).sum())
    assert 1 - (1 - THRESHOLD**ROWS) ** BANDS > 0.999


def test_every_pair_above_the_threshold_is_a_candidate():
    rng = np.random.default_rng(1)
    written, expected = {}, set()
    for k in range(60):
        base = rng.choice(2**32, size=130, replace=False).astype(np.uint32)
        for name, start in (("a", 0), ("b", int(rng.integers(0, 60)))):
            written[f"{k:02}{name}"] = np.unique(base[start : start + 70])
        shared = len(np.intersect1d(written[f"{k:02}a"], written[f"{k:02}b"]))
        if shared >= 30 and shared / (140 - shared) >= THRESHOLD + 0.05:
            expected.add((f"{k:02}a", f"{k:02}b"))
    found = {(p.one, p.other) for p in alike(written)}
    assert len(expected) > 5 and expected <= found
    assert all(one[:2] == other[:2] for one, other in found)


def test_the_work_grows_with_the_class_not_with_its_pairs():
    """Exact comparisons are counted, not seconds."""
    rng = np.random.default_rng(2)

    def compared(students):
        written = {f"s{n}": np.unique(rng.choice(2**32, size=150).astype(np.uint32)) for n in range(students)}
        for n in range(0, students, 10):
            written[f"s{n + 1}"] = written[f"s{n}"]
        return len(_candidates(written))

    small, large = compared(200), compared(2000)
    assert small >= 20 and large <= 12 * small


HOSTILE = {
    "brackets": "x = " + "(" * 5000 + ")" * 5000,
    "lists": "[" * 90 + "]" * 90,
    "signs": "x = " + "-" * 29_000 + "1",
    "nots": "x = " + "not " * 7000 + "1",
    "lambdas": "x = " + "lambda:" * 4000 + "1",
    "attributes": "x = a" + ".a" * 14_000,
    "calls": "x = a" + "()" * 14_000,
    "sums": "x = " + "1+" * 14_000 + "1",
    "powers": "x = " + "2**" * 9_000 + "1",
    "conditions": "x = " + "1 if 1 else " * 2400 + "1",
    "blocks": "".join(f"{' ' * n}if 1:\n" for n in range(99)) + " " * 99 + "pass",
    "elif": "if 1:\n pass\n" + "elif 1:\n pass\n" * 2000,
    "f-string": "x = f'{" + "-" * 20_000 + "1}'",
    "f-strings": "x = " + "f'{" * 30 + "1" + "}'" * 30,
    "walrus": "x = " + "(y:=" * 60 + "1" + ")" * 60,
    "digits": "x = 0x" + "f" * 20_000,
    "decimal": "x = " + "9" * 20_000,
    "long": "x = 1\n" * 20_000,
    "zero": "x = 1\0\n",
    "surrogate": "x = '\ud800'",
    "open": "'''" + "x" * 1000,
    "tabs": "if 1:\n\tx\n        y\n",
    "nonsense": "def (:",
    "generics": "def f(x: " + "list[" * 50 + "int" + "]" * 50 + "): pass",
    "decorators": "@a\n" * 5000 + "def f(): pass",
    "match": "match x:\n case " + "[" * 50 + "]" * 50 + ": pass",
    "backslashes": "x = 1 + \\\n" * 2000 + "1",
    "names": "\n".join(f"ａ{n} = {n}" for n in range(2000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_bounded(name):
    pieces = pieces_of([HOSTILE[name], LOOP])
    assert len(pieces) <= MAX_PIECES and pieces.dtype == np.uint32


def test_hostile_text_does_not_end_the_process_with_a_small_stack():
    code = (
        "import resource, sys, threading; sys.path.insert(0, sys.argv[1]); threading.stack_size(2**19)\n"
        "from test_similarity import HOSTILE, pieces_of\n"
        "def work():\n    for text in HOSTILE.values(): pieces_of([text])\n    print('alive')\n"
        "t = threading.Thread(target=work); t.start(); t.join()"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]


def test_stored_pieces_come_back_and_anything_else_is_nothing():
    pieces = pieces_of([LOOP])
    assert len(pieces) > 100 and np.array_equal(from_text(as_text(pieces)), pieces)
    for text in ("", "1:", "1:???", "2:" + as_text(pieces)[2:], None, 7, ["1:"], "1:abc"):
        assert len(from_text(text)) == 0
    many = as_text(np.arange(10 * MAX_PIECES, dtype=np.uint32))
    assert len(from_text(many)) == MAX_PIECES


class Attend(Exercise):
    """Mix values."""

    functions = ("attend",)
    reference = REFERENCE

    @variant
    class Nested:
        def double(x):
            return [[x + item * 2 for item in range(x) if item % 3] for x in range(2, 9) if x // 2 != 3] or [x - 1]

    @mistake("halves")
    def halves(x):
        return [[x - item / 2 for item in range(x) if item % 3] for x in range(2, 9) if x // 2 != 3] or [x + 1]


def test_the_courses_own_code_is_nobodys():
    given = given_pieces(Attend())
    for add, times, end in (("+", "*", "-"), ("-", "/", "+")):
        inner = f"[n {add} k {times} 2 for k in range(n) if k % 3]"
        pieces = pieces_of([f"def mine(n):\n    return [{inner} for n in range(2, 9) if n // 2 != 3] or [n {end} 1]"])
        assert len(pieces) > 30 and np.isin(pieces, given).all()
    assert not np.isin(pieces_of([LOOP]), given).any()


class Student:
    def __init__(self, student, text, result=True):
        entry = {"pieces": as_text(pieces_of([text]))}
        self.student, self.result = student, {"exercises": {"attend": entry}} if result else None


def test_a_class_with_what_was_handed_out_and_with_old_results():
    chapter = Chapter("07_numbers", {"attend": Attend()})
    people = [Student("ada", LOOP), Student("ben", COPY), Student("cut", "", result=False), Student("none", "")]
    people[-1].result["exercises"]["attend"] = {}  # stored before solutions were compared
    people += [Student(f"s{n}", made_up(n)) for n in range(4)]
    (group,) = similar_submissions(chapter, people)
    assert (group.exercise, group.students, group.score) == ("attend", ("ada", "ben"), 1.0)
    released = f'{{"cells": [{{"cell_type": "code", "metadata": {{}}, "source": {json_text(LOOP)}}}], "nbformat": 4}}'
    assert similar_submissions(chapter, people, released.encode()) == []
    assert similar_submissions(chapter, people, b"no notebook") == [group]
    assert similar_submissions(chapter, []) == []


def json_text(text):
    return json.dumps(re.sub(r"\n+$", "\n", text))
