"""What an exercise may ask for by name: it works there, nowhere else, and opens no wall."""

from __future__ import annotations

import pytest
import torch
from arena import LIMITS, SECRET, needs
from attack import spy
from small import CHAPTER_ID, chapter, code, notebook

from autograder.compare import close, equal
from autograder.exercise import Exercise, check, namespace
from autograder.judge import grading
from autograder.judge.relax import THREADS

LEVELS = ["bubblewrap", "inner"]


class Compiled(Exercise):
    """Sine times x, compiled."""

    functions = ("wave",)
    reference = namespace(wave=lambda x: x.sin() * x)
    relax = ("compile",)

    @check(points=1, time_limit=60)
    def has_the_values(self, student, rng):
        x = rng.normal(3, 4)
        close(student.wave(x), x.sin() * x)

    @check(points=1, time_limit=60)
    def has_the_gradient(self, student, rng):
        x, upstream = rng.normal(4), rng.normal(4)
        _, (grad,) = student.wave.gradient(x, wrt=[0], upstream=upstream)
        close(grad, upstream * (x.sin() + x * x.cos()))


class NotCompiled(Compiled):
    """The same where nothing is compiled."""

    functions = ("plain",)
    reference = namespace(plain=lambda x: x.sin() * x)
    relax = ()

    @check(points=1, time_limit=60)
    def has_the_values(self, student, rng):
        x = rng.normal(3, 4)
        close(student.plain(x), x.sin() * x)


class Threaded(Exercise):
    """A sum, in parallel."""

    functions = ("threads",)
    reference = namespace(threads=lambda x: (x.sum(), THREADS))
    relax = ("threads",)

    @check(points=1, time_limit=20)
    def uses_threads(self, student, rng):
        x = torch.ones(1000, 1000)
        total, number = student.threads(x)
        close(total, x.sum())
        equal(number, THREADS)


class NotThreaded(Exercise):
    """A sum, alone."""

    functions = ("alone",)
    reference = namespace(alone=lambda x: (x.sum(), 1))

    @check(points=1, time_limit=20)
    def uses_one_thread(self, student, rng):
        total, number = student.alone(torch.ones(10))
        close(total, torch.tensor(10.0))
        equal(number, 1)


@pytest.fixture
def graded(zygotes, monkeypatch):
    def run(level: str, sources: dict[str, str], *exercises: type[Exercise]) -> dict:
        needs(level)
        monkeypatch.setattr(grading, "load_chapter", lambda chapter_id: chapter(*exercises))
        monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: zygotes.get(level))
        cells = [code("import torch"), *(code(source, exercise=name) for name, source in sources.items())]
        result = grading.grade_one(notebook(cells), CHAPTER_ID, secret=SECRET, released=b"", limits=LIMITS)
        return result["exercises"]

    return run


WAVE = "@torch.compile\ndef {name}(x):\n    return x.sin() * x\n"


@pytest.mark.parametrize("level", LEVELS)
def test_compile_works_where_it_is_asked_for_and_is_refused_elsewhere(level, graded):
    sources = {name: WAVE.format(name=name) for name in ("wave", "plain")}
    found = graded(level, sources, Compiled, NotCompiled)
    assert found["wave"]["earned"] == 2, found["wave"]
    assert found["plain"]["earned"] == 0
    for result in found["plain"]["results"]:
        assert "torch.compile needs a compiler" in result["message"] and "ended" not in result["message"]


def test_a_graph_is_really_captured(graded):
    source = (
        "def wave(x):\n    print('in Python')\n    return x.sin() * x\n"
        "wave = torch.compile(wave, fullgraph=True, mode='max-autotune')\n"
    )
    found = graded("inner", {"wave": source}, Compiled)["wave"]
    assert found["earned"] == 0 and "Unsupported" in found["results"][0]["message"]


@pytest.mark.parametrize("level", LEVELS)
def test_threads_are_there_where_they_are_asked_for_and_gone_elsewhere(level, graded):
    source = "torch.set_num_threads(3)\ndef {name}(x):\n    return x.sum(), torch.get_num_threads()\n"
    sources = {name: source.format(name=name) for name in ("threads", "alone")}
    found = graded(level, sources, Threaded, NotThreaded)
    assert {name: entry["earned"] for name, entry in found.items()} == {"threads": 1, "alone": 1}, found


RAIDS = {
    "a program": "loot = subprocess.check_output(['/bin/sh', '-c', 'echo here'])",
    "the compiler": "loot = subprocess.check_output(['c++', '--version'])",
    "a process": "loot = os.fork() or os._exit(0)",
    "a socket": "loot = socket.socket()",
    "a file outside": "loot = open('/etc/passwd').read()",
    "writing outside": "open('/tmp/course-attack', 'w').write('x')\nloot = 'written'",
    "the usual backend": (
        "from torch._inductor import compile\nimport torch\n"
        "loot = torch._dynamo.optimize('inductor')(lambda x: x.sin() + 1)(torch.ones(3)) is not None"
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("raid", RAIDS)
def test_a_relaxed_submission_can_break_out_no_more_than_another(raid, level, graded):
    relaxed = type("Both", (Compiled,), {"relax": ("threads", "compile"), "__doc__": "Both.", "functions": ("double",)})
    relaxed.has_the_values = check(points=1, time_limit=120)(lambda self, student, rng: equal(student.double(3), 6))
    source = spy(RAIDS[raid]).replace("LOOT = raid()\n", "").replace("if LOOT:", "LOOT = raid()\n    if LOOT:")
    found = graded(level, {"double": source}, relaxed)["double"]
    assert found["results"][0]["earned"] == 1, found["results"][0]


def test_the_relaxations_name_is_checked():
    with pytest.raises(ValueError, match=r"expected a tuple of names among threads, compile, got \('network',\)"):
        type("Open", (Compiled,), {"relax": ("network",)})()
    with pytest.raises(ValueError, match="got 'threads'"):
        type("Open", (Compiled,), {"relax": "threads"})()
