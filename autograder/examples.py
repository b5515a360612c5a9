"""The examples in the docstrings of a student's functions: a small case to look at when a check has failed."""

from __future__ import annotations

import contextlib
import doctest
import io
from collections.abc import Callable, Iterable
from typing import Any

from autograder.executor import TookTooLong, time_limit

SECONDS = 2.0  # for all examples of one function
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def first_broken(functions: Iterable[Callable | None], namespace: dict[str, Any]) -> str:
    """One sentence on the first docstring example that does not come out as it says; empty when all do.

    An example that needs a function which is not written yet says nothing about this one, and is passed over.

    >>> def double(x):
    ...     '''
    ...     >>> double(3)
    ...     6
    ...     '''
    ...     return x + x + x
    >>> first_broken([double], {"double": double})
    'The example in the docstring of double: double(3) gives 9, expected 6.'
    """
    for function in functions:
        name, text = getattr(function, "__name__", ""), getattr(function, "__doc__", None) or ""
        try:
            examples = doctest.DocTestParser().get_doctest(text, dict(namespace), name, None, None)
        except ValueError:  # a student's own docstring need not be well formed
            continue
        runner = _First(optionflags=OPTIONS)
        quiet = contextlib.redirect_stderr(io.StringIO()), _unchanged_chance(), contextlib.suppress(TookTooLong)
        with quiet[0], quiet[1], quiet[2], time_limit(SECONDS):
            runner.run(examples, out=lambda _: None)
        if runner.found:
            return f"The example in the docstring of {name}: {runner.found}."
    return ""


class _First(doctest.DocTestRunner):
    """Keeps what is to be said about the first example that fails."""

    found = ""

    def report_start(self, out: Any, test: Any, example: doctest.Example) -> None:
        pass

    def report_success(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        pass

    def report_failure(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        self._say(example, f"gives {_one_line(got) or 'nothing'}")

    def report_unexpected_exception(self, out: Any, test: Any, example: doctest.Example, exc_info: tuple) -> None:
        kind, error, _ = exc_info
        if issubclass(kind, TookTooLong):
            raise error
        if not issubclass(kind, NotImplementedError):
            self._say(example, f"raises {_one_line(f'{kind.__name__}: {error}')}")

    def _say(self, example: doctest.Example, what: str) -> None:
        expected = f", expected {_one_line(example.want)}" if example.want else ""
        self.found = self.found or f"{_one_line(example.source)} {what}{expected}"


def _one_line(text: str, limit: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]} …"


def _unchanged_chance() -> contextlib.AbstractContextManager:
    """Examples may draw random numbers; what is drawn after them stays the same."""
    import torch

    return torch.random.fork_rng(devices=[])
