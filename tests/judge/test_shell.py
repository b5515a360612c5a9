"""Cells that are plain Python skip IPython's machinery, and nobody can tell the difference."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, tempfile
from autograder.executor import describe_error
from autograder.judge.shell import make_shell

shell, found = make_shell(tempfile.mkdtemp()), []
how, cells = json.loads(sys.argv[1])
for cell in cells:
    if how == "quick":
        error = shell.run(cell)
    else:
        result = shell.run_cell(cell, store_history=False, silent=True)
        error = result.error_before_exec or result.error_in_exec
    found.append(error and {k: v for k, v in describe_error(error).items() if k != "unwritten"})
names = {k: repr(v) for k, v in shell.user_ns.items() if isinstance(v, (int, str)) and not k.startswith("_")}
print(json.dumps([found, names]), file=sys.__stdout__)
"""

CELLS = {
    "a definition": ["def f(x):\n    return x + 1", "y = f(1)"],
    "the future is remembered": ["from __future__ import annotations", "def f(x: unknown): return x", "y = f(2)"],
    "an error": ["a = 1", "b = 0\n\na / b"],
    "an error in a function": ["def f():\n    raise KeyError('k')", "f()"],
    "no Python": ["def f(:", "x = '''", "  indented = 1"],
    "magics and shell lines": ["%matplotlib inline", "!ls", "%%time\nq = 5", "files = !ls", "z = %pwd"],
    "await": ["import asyncio", "await asyncio.sleep(0)\nw = 1"],
    "the way out": ["raise SystemExit(3)", "exit", "s = 1"],
    "what a notebook has": ["get_ipython()\ndisplay(3)\nname = __name__", "class A: pass\nmodule = A.__module__"],
    "a figure": ["import matplotlib.pyplot as plt", "plt.figure()\nplt.plot([1])", "left = len(plt.get_fignums())"],
    "two statements on a line": ["a = 1; b = a + 1;", "b"],
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS.keys())
def test_as_ipython_would(cells):
    made = []
    for how in ("quick", "ipython"):
        command = [sys.executable, "-c", PROGRAM, json.dumps([how, cells])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        made.append(json.loads(done.stdout.splitlines()[-1]))
    assert made[0] == made[1]


def test_plain_python_does_not_go_through_ipython():
    program = PROGRAM.replace("how, cells =", "shell.run_cell = None\nhow, cells =")
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(["quick", CELLS["a definition"]])], capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[None, None], {"y": "2"}]
