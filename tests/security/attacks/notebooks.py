"""Files that are no notebooks, and notebooks whose cells were deleted, doubled, retyped, reordered or re-labelled."""

import gzip
import io
import json
import zipfile

from attack import FULL, RIGHT, Attack
from small import RELEASED, answers, code, notebook, setup

A = Attack
NOTHING = dict.fromkeys(FULL, 0)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_tokenization.ipynb", b" " * 20_000_000)
    return stream.getvalue()


def whole(**fields: object) -> bytes:
    """A right submission with other fields at the top of the file."""
    return json.dumps({"cells": answers(), "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | fields).encode()


def with_metadata(**graded: object) -> list:
    """A right submission in which every cell claims something else about its grade."""
    cells = answers(double=None)
    for cell in cells:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] |= graded
    return cells


OLD = {
    "worksheets": [
        {"cells": [{"cell_type": "code", "input": c["source"], "metadata": c["metadata"]} for c in answers()]}
    ],
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {},
}
SPLIT = [
    setup(),
    code("def once(x):\n    return x\n"),
    code("def double(x):\n    return once(x) + once(x)\n", exercise="double"),
    *answers()[3:-2],
    code("class Tally:\n    def __init__(self):\n        self.counts = {}\n", exercise="Tally"),
    code("def add(self, key):\n    self.counts[key] = self.counts.get(key, 0) + 1\n    return self\nTally.add = add\n"),
    code("Tally.most = lambda self: max(self.counts, key=self.counts.get)\n"),
]
FORGED_OUTPUT = [{"output_type": "execute_result", "data": {"text/plain": "3.0"}, "metadata": {}, "execution_count": 1}]
ATTACKS = [
    A("empty file", "nothing", b"", earns=NOTHING, problem="empty"),
    A("spaces", "nothing, at greater length", b" " * 1000, earns=NOTHING, problem="empty"),
    A("cut off", "the upload was interrupted", notebook(answers())[:900], earns=NOTHING, problem="cut off"),
    A("a zip archive", "another format, and a bomb", zipped(), earns=NOTHING, problem="not a notebook"),
    A("gzip", "compressed", gzip.compress(notebook(answers())), earns=NOTHING, problem="not a notebook"),
    A("a script", "Python instead of a notebook", RIGHT["double"].encode(), earns=NOTHING, problem="not a notebook"),
    A(
        "a web page",
        "the page of an error, saved as a notebook",
        b"<html><script>alert(1)</script></html>",
        earns=NOTHING,
        problem="not a notebook",
    ),
    A(
        "UTF-16",
        "another encoding",
        notebook(answers()).decode().encode("utf-16"),
        earns=NOTHING,
        problem="not a notebook",
    ),
    A("a list", "JSON, but no notebook", b"[1, 2]", earns=NOTHING, problem="holds something else"),
    A("cells that are no list", "JSON of the wrong shape", whole(cells={"a": 1}), earns=NOTHING, problem="no cells"),
    A(
        "a number with a million digits",
        "a number that takes for ever to read",
        b'{"cells": [], "x": ' + b"9" * 10**6 + b"}",
        earns=NOTHING,
        problem="malformed",
    ),
    A(
        "brackets 500,000 deep",
        "a stack overflow in the reader",
        b"[" * 500_000,
        earns=NOTHING,
        problem="not a notebook",
    ),
    A(
        "sixty million brackets",
        "a small file that becomes gigabytes of objects",
        b'{"cells": [' + b"[]," * 21_000_000 + b"[]]}",
        earns=NOTHING,
        problem="too many|clear the outputs",
    ),
    A(
        "70 MB of output",
        "pictures of a whole term",
        whole(x="y" * 70 * 2**20),
        earns=NOTHING,
        problem="clear the outputs",
    ),
    A("10,000 cells", "more than anybody writes", [code("x = 1")] * 10_000, earns=NOTHING, problem="at most"),
    A(
        "a knot of definitions",
        "statements that depend on each other so that deciding what to run takes hours",
        [
            setup(),
            code("def double(x):\n    return x0\n", exercise="double"),
            *(
                code("\n".join(f"x{n} = x{n + 1}" for n in range(start, start + 200)))
                for start in reversed(range(0, 12_000, 200))
            ),
        ],
        earns=NOTHING,
        problem="too long|too complicated",
    ),
    A(
        "an expression of 100,000 terms",
        "a syntax tree that is too deep to walk",
        [setup(), code("x = " + "+".join(["1"] * 100_000), exercise=""), *answers()[1:]],
        earns={},
    ),
    A(
        "90,000 opening brackets",
        "a parser that runs out of stack",
        {"double": "(" * 90_000 + "\n"},
        says="SyntaxError|MemoryError|too many",
    ),
    A(
        "NaN and infinity",
        "numbers that JSON does not have",
        whole(metadata={"x": float("nan"), "y": float("inf")}),
        earns={},
    ),
    A("the format of 2013", "worksheets and input", json.dumps(OLD).encode(), earns={}),
    A("a format from the future", "nbformat 9", whole(nbformat=9, nbformat_minor=99), earns={}),
    A("no format at all", "fields missing", json.dumps({"cells": answers()}).encode(), earns={}),
    A("a byte order mark", "written on Windows", b"\xef\xbb\xbf" + notebook(answers()), earns={}),
    A(
        "wrong bytes in a text",
        "not quite UTF-8",
        notebook([*answers(), code("x = 'CAFE'")]).replace(b"CAFE", b"caf\xe9"),
        earns={},
    ),
    A(
        "another kernel",
        "R, Julia, nothing",
        whole(metadata={"kernelspec": {"name": "../../bin/sh", "language": "R"}}),
        earns={},
    ),
    A("every cell twice", "doubled grade ids", [c for c in answers() for _ in range(2)], earns={}),
    A("cells deleted", "the checks are gone", [c for c in answers() if not c["source"].startswith("check")], earns={}),
    A("metadata lost", "ids and tags are gone", [code(c["source"]) for c in answers()], earns={}),
    A("cells retyped", "code turned into text", [c | {"cell_type": "markdown"} for c in answers()], earns={}),
    A("reordered", "upside down", answers()[::-1], earns={}),
    A(
        "renamed",
        "every cell has another grade id than it was handed out with",
        [
            c | {"metadata": json.loads(json.dumps(c["metadata"]).replace('grade_id": "', 'grade_id": "my_'))}
            for c in answers()
        ],
        earns={},
    ),
    A("split", "a solution in three cells, of which one has kept the grade id", SPLIT, earns={}),
    A("merged", "all in one cell", [code("\n".join(RIGHT.values()))], earns={}),
    A(
        "cells that are no cells",
        "numbers, lists and nothing among the cells",
        notebook(
            [*answers(), None, 1, [], {"cell_type": 5, "source": {"a": 1}, "metadata": []}, {"source": [1, None, "x"]}]
        ),
        earns={},
    ),
    A("points edited", "an exercise of 1000 points", with_metadata(points=1000)),
    A(
        "flags edited",
        "locked, grade and solution turned round",
        with_metadata(locked=False, grade=False, solution=True),
    ),
    A(
        "metadata of every wrong type",
        "grade ids that are lists and numbers",
        [c | {"metadata": {"nbgrader": [1], "tags": {"a": 1}}, "id": ["x"]} for c in answers()],
        earns={},
    ),
    A(
        "grade ids of others",
        "a solution under every other exercise's id",
        [
            setup(),
            *(
                code(RIGHT[name], exercise=other)
                for name, other in zip(RIGHT, [*list(RIGHT)[1:], "double"], strict=True)
            ),
        ],
        earns={},
    ),
    A(
        "grade ids that climb",
        "path traversal in an id",
        [*answers(double=None), code("x = 1", exercise="../../../../etc/passwd"), code("y", check="../../double")],
    ),
    A(
        "a forged check cell",
        "a check cell that holds its own points as an output",
        [*answers(double=None), code("check(double)", check="double", outputs=FORGED_OUTPUT)],
    ),
    A(
        "a check cell that does something else",
        "code in a locked cell",
        [*answers(double=None), code("def double(x):\n    return x + x\n", check="double")],
    ),
    A(
        "the set-up replaced",
        "a set-up cell that defines the judge",
        [
            code(
                "import autograder\nautograder.check = lambda *a: print('10/10')\ndef open_chapter(*a): pass\n",
                tags=("setup",),
            ),
            *answers(double=None)[1:],
        ],
    ),
    A("the release handed in", "nothing was done", RELEASED, earns=NOTHING),
]
