"""What an exercise may ask for by name in ``relax``; neither of the two opens the wall around a submission.

``threads``: torch computes a call with four threads instead of one. ``compile``: ``torch.compile`` captures graphs
and differentiates them ahead of time as it does in a notebook, but runs them as they are: its usual backend writes
C++ and starts a compiler, and no submission may start a program.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

THREADS = 4  # on every machine the same: a sum over threads rounds as it is split
NO_COMPILER = (
    "torch.compile needs a compiler, and none runs while this exercise is graded: hand in the function without it"
)

_now: set[str] = set()  # what the call that is running may do
_set_threads: list[Callable[[int], None]] = []  # torch's own, whatever a submission puts in its place


def tame(torch: Any) -> None:
    """Put ``torch.compile`` under the rule above, for this process and what is forked from it."""
    _set_threads[:] = [torch.set_num_threads]
    original = torch.compile

    @functools.wraps(original)
    def compile(model: Any = None, *, backend: Any = "inductor", **settings: Any) -> Any:
        if backend == "inductor":
            settings = {key: value for key, value in settings.items() if key not in ("mode", "options")}
            backend = _captured
        return original(model, backend=backend, **settings)

    torch.compile = compile


def _captured(graph: Any, inputs: list[Any]) -> Callable:
    if "compile" not in _now:
        raise RuntimeError(NO_COMPILER)
    lookup_backend = sys.modules["torch._dynamo"].lookup_backend
    return lookup_backend("aot_eager")(graph, inputs)


@contextmanager
def relaxed(names: tuple[str, ...]) -> Iterator[None]:
    """A context in which a submission's code may do what the exercise's relaxations name, and nothing more."""
    _now.update(names)
    for set_threads in _set_threads:
        set_threads(THREADS if "threads" in names else 1)
    try:
        yield
    finally:
        _now.difference_update(names)
