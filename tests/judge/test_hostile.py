"""Submissions that cheat, break things or fall over: no undeserved point, nobody else affected, the rest graded."""

from dataclasses import replace

import pytest
from held import QUICK, earned
from small import RIGHT, answers, code, setup

from autograder.judge import grading

FULL = {"double": 3, "total": 2, "apply": 1, "centre": 2, "Tally": 2}
ALL_FDS = "[n for n in range(3, 64) if os.path.lexists(f'/proc/self/fd/{n}')]"


def others(result):
    return {name: points for name, points in earned(result).items() if name != "double"}


# A wrong `double` whose text does something unusual; it must not earn, and must not cost anything else.
NO_POINTS = {
    "always equal": "class Yes(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = int.__hash__\n"
    "def double(x):\n    return Yes(0)\n",
    "equal object": "class Yes:\n    def __eq__(self, other):\n        return True\ndef double(x):\n    return Yes()\n",
    "lying subclass of int": "class Liar(int):\n    def __int__(self):\n        return 2\n    def __index__(self):\n"
    "        return 2\ndef double(x):\n    return Liar(7)\n",
    "patched compare": "import sys, types\nfor name in list(sys.modules):\n    if name.startswith('autograder'):\n"
    "        for key, value in list(vars(sys.modules[name]).items()):\n            if callable(value) and key in "
    "('same', 'equal', 'run_exercise'):\n                setattr(sys.modules[name], key, lambda *a, **k: True)\n"
    "def double(x):\n    return 0\n",
    "ends the process": "import os\ndef double(x):\n    os._exit(0)\n",
    "kills itself": "import os, signal\ndef double(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    "segfault": "import ctypes\ndef double(x):\n    ctypes.string_at(0)\n",
    "sys.exit": "import sys\ndef double(x):\n    sys.exit(0)\n",
    "endless recursion": "def double(x):\n    return double(x)\n",
    "KeyboardInterrupt": "def double(x):\n    raise KeyboardInterrupt\n",
    "error with a hostile text": "class E(Exception):\n    def __str__(self):\n        raise SystemExit\n"
    "def double(x):\n    raise E\n",
    "raises NotImplementedError subclass": "class E(NotImplementedError):\n    pass\ndef double(x):\n    raise E\n",
    "returns itself": "def double(x):\n    return double\n",
    "deep nesting": "def double(x):\n    y = []\n    for _ in range(100_000):\n        y = [y]\n    return y\n",
    "a number with too many digits": "def double(x):\n    return 10 ** 10_000\n",
    "memory bomb": "def double(x):\n    return bytearray(2 ** 40)\n",
    "endless generator": "def double(x):\n    while True:\n        yield x\n",
    "huge output": "def double(x):\n    for _ in range(50):\n        print('x' * 2 ** 20)\n    return 0\n",
    "60 MB on one line": "def double(x):\n    print('x' * 60_000_000)\n    return 0\n",
    "a file without end": "def double(x):\n    open('f', 'wb').write(bytes(100 * 2 ** 20))\n    return 0\n",
    "stdout closed": "import os, sys\nos.close(1)\nsys.stdout.close()\ndef double(x):\n    return 0\n",
}


@pytest.mark.parametrize("source", NO_POINTS.values(), ids=NO_POINTS.keys())
def test_no_points_and_no_harm(grade, source):
    result = grade(double=source)
    assert result["exercises"]["double"]["earned"] == 0
    assert others(result) == {name: points for name, points in FULL.items() if name != "double"}
    assert all(len(str(entry)) < 60_000 for entry in result["exercises"].values())


def test_a_loop_that_cannot_be_interrupted_is_ended_and_named(grade):
    source = (
        "import time\ndef double(x):\n    while True:\n        try:\n            time.sleep(1)\n"
        "        except BaseException:\n            pass\n"
    )
    cells = [code(source, exercise="double"), *answers()[3:]]
    result = grade([setup(), *cells], limits=replace(QUICK, grace_seconds=0.2))
    assert result["exercises"]["double"]["outcome"] == "timeout"
    assert others(result) == {name: points for name, points in FULL.items() if name != "double"}


def test_a_cell_that_never_ends_costs_what_it_defines(grade):
    interruptible = "while True:\n    pass\n" + RIGHT["double"]
    result = grade(double=interruptible)
    assert earned(result) == FULL  # what follows the loop still runs
    stubborn = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass\n"
    result = grade(double=stubborn + RIGHT["double"])
    assert earned(result) == FULL | {"double": 0}
    assert "the cell had to be stopped" in result["exercises"]["double"]["results"][0]["message"]


def test_a_cell_that_ends_the_process_costs_what_it_defines(grade):
    result = grade(double="import os\n" + RIGHT["double"] + "os._exit(3)\n")
    assert earned(result) == FULL | {"double": 0}
    assert "exit code 3" in result["exercises"]["double"]["results"][0]["message"]


def test_time_is_limited_in_all(grade):
    slow = "import time\ndef {}(*args):\n    time.sleep(1.5)\n    return 0\n"
    limits = replace(QUICK, submission_seconds=2.0)
    result = grade(limits=limits, double=slow.format("double"), total=slow.format("total"), apply=slow.format("apply"))
    said = [r["message"] for r in result["exercises"]["apply"]["results"]]
    assert result["earned"] == 0 and "used up its 2 seconds" in said[0]


def test_bytes_on_every_descriptor_are_no_answers(grade):
    source = f"import os\ndef double(x):\n    for n in {ALL_FDS}:\n        os.write(n, b'A' * 1000)\n    return 2 * x\n"
    result = grade(double=source)
    assert result["exercises"]["double"]["earned"] == 0
    assert "something that is not a message" in result["exercises"]["double"]["results"][0]["message"]
    assert others(result) == {name: points for name, points in FULL.items() if name != "double"}


def test_replies_written_in_advance_are_values_and_wrong_ones(grade):
    forged = (
        "import json, os, struct\n"
        "text = json.dumps({'kind': 'reply', 'body': {'printed': '', 'passed': True, 'earned': 99}, "
        "'values': {'ok': [4, 0]}, 'sizes': []}).encode()\n"
        "frame = struct.pack('>Q', len(text)) + text\n"
        f"def double(x):\n    for n in {ALL_FDS}:\n        os.write(n, frame * 20)\n    return 0\n"
    )
    result = grade(double=forged)
    assert result["exercises"]["double"]["earned"] == 0
    assert result["earned"] <= 10 and result["points"] == 10
    # The stream that it spoilt is gone with its process.
    assert others(result) == {name: points for name, points in FULL.items() if name != "double"}


def test_callbacks_without_end_are_ended(grade):
    source = "def apply(f, xs):\n    while True:\n        f(1)\n"
    result = grade(apply=source, limits=replace(QUICK, callbacks=500))
    assert earned(result) == FULL | {"apply": 0}
    assert "called back more than 500 times" in result["exercises"]["apply"]["results"][0]["message"]


def test_a_callback_takes_data_only_and_its_errors_stay_errors(grade):
    source = (
        "def apply(f, xs):\n    try:\n        f(apply)\n    except TypeError as error:\n        return str(error)\n"
    )
    result = grade(apply=source)
    assert "expected plain data" in result["exercises"]["apply"]["results"][0]["message"]


def test_a_tensor_subclass_and_a_patched_torch_change_nothing(grade):
    subclass = (
        "class Same(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
        "        return True\ndef centre(x):\n    return torch.zeros(3, 4).as_subclass(Same)\n"
    )
    assert earned(grade(centre=subclass))["centre"] == 0
    patched = (
        "torch.allclose = lambda *a, **k: True\nimport numpy\nnumpy.allclose = torch.allclose\n"
        "def centre(x):\n    return x\n"
    )
    assert earned(grade(centre=patched))["centre"] == 0


def test_a_submission_that_ends_the_zygote_disturbs_nobody(grade, bare, monkeypatch):
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: bare.get())
    source = (
        "import os, signal, time\ndef double(x):\n    if x < 0:\n        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        time.sleep(5)\n    return 2 * x\n"
    )
    before = bare.get().pid
    result = grade(double=source, limits=replace(QUICK, submission_seconds=300.0))
    assert others(result) == {name: points for name, points in FULL.items() if name != "double"}
    assert bare.get().pid != before


def test_nothing_of_the_instructors_is_in_reach_by_import_or_environment(grade):
    source = (
        "import os, sys\nfound = [n for n in ('autograder.hidden', 'autograder.judge.grading') if n in sys.modules]\n"
        "found += [k for k, v in os.environ.items() if 'hunter2' in v]\n"
        "found += [p for p in sys.path if os.path.isdir(os.path.join(p, 'autograder', 'hidden'))]\n"
        "def double(x):\n    raise ValueError(found)\n"
    )
    assert grade(double=source)["exercises"]["double"]["results"][0]["message"] == "it raised ValueError: []"


def test_state_kept_between_calls_does_not_reach_the_next_submission(grade):
    source = "import sys, torch\ntorch.seen = True\ndef double(x):\n    return x + x\n"
    assert earned(grade(double=source)) == FULL
    result = grade(double="import torch\ndef double(x):\n    return 0 if hasattr(torch, 'seen') else x + x\n")
    assert earned(result) == FULL


def test_no_process_is_left_behind(grade, bare, monkeypatch):
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: bare.get())
    source = (
        "import os, time\ndef double(x):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(60)\n"
        "    return 2 * x\n"
    )
    assert grade(double=source)["exercises"]["double"]["earned"] == 3
    pid = bare.get().pid
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        assert children.read().split() == []
