"""The corpus that every machine with Python already holds: its language reference, docstrings and source.

Nothing is downloaded and nothing is stored here. The texts differ a little between Python versions, so
experiments compare relations, and `corpus_report` prints sizes and hashes to say which text was used.
"""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

# Tests and demos are not library code, lib2to3 is gone from newer Pythons, and what is in site-packages is not
# Python's own. pydoc_data holds the language reference: it would leak one corpus into the other.
SKIPPED = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages", "pydoc_data", "__pycache__"}
)


class CorpusSize(NamedTuple):
    """How long a text is, and the SHA-256 of its UTF-8 bytes."""

    characters: int
    bytes: int
    sha256: str


@lru_cache(maxsize=1)
def python_reference() -> str:
    """Return Python's language reference, as `help()` shows it: all topics in alphabetical order of their keys.

    Where Python was installed without `pydoc_data`, the standard library's docstrings take its place.

    >>> "python" in python_reference().lower()
    True
    """
    return "\n\n".join(text for _, text in python_documents("reference")) + "\n"


@lru_cache(maxsize=1)
def python_docstrings() -> str:
    """Return the docstrings of the standard library's modules, classes and functions, read without importing.

    Files in sorted order of their paths, docstrings in the order of the file.

    >>> "Return" in python_docstrings()
    True
    """
    return "\n\n".join(text for _, text in python_documents("docstrings")) + "\n"


def python_source(max_chars: int | None = None) -> str:
    """Return the source of the standard library, or its first `max_chars` characters.

    Files in sorted order of their paths, without tests, demos and installed packages.

    >>> len(python_source(1000))
    1000
    """
    if max_chars is not None and max_chars < 0:
        raise ValueError(f"max_chars: expected None or an integer >= 0, got {max_chars!r}")
    return _joined_source()[:max_chars]


def python_documents(part: str) -> Iterator[tuple[str, str]]:
    """Yield the documents of one of the texts as (where it is from, text): "reference", "docstrings" or "source".

    A document is a topic of the reference, a docstring, or a file; docstrings bear the path of their file. In the
    order of the text. ValueError for another part.

    >>> name, text = next(python_documents("source"))
    >>> name.endswith(".py")
    True
    """
    if part not in ("reference", "docstrings", "source"):
        raise ValueError(f"part: expected reference, docstrings or source, got {part!r}")
    if part == "source":
        return iter(_standard_library())
    return _topics() if part == "reference" else _docstrings()


def corpus_report() -> dict[str, CorpusSize]:
    """Print the size and SHA-256 of each text and return them by name.

    >>> report = corpus_report()  # doctest: +ELLIPSIS
    reference: ...
    """
    texts = {"reference": python_reference(), "docstrings": python_docstrings(), "source": python_source()}
    report = {}
    for name, text in texts.items():
        encoded = text.encode("utf-8")
        report[name] = size = CorpusSize(len(text), len(encoded), hashlib.sha256(encoded).hexdigest())
        print(f"{name}: {size.characters:,} characters, {size.bytes:,} bytes, SHA-256 {size.sha256}")
    return report


def _topics() -> Iterator[tuple[str, str]]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        yield from _docstrings()
        return
    for key in sorted(topics):
        yield key, topics[key].strip("\n")


def _docstrings() -> Iterator[tuple[str, str]]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for name, source in _standard_library():
        if '"""' not in source and "'''" not in source:  # parsing is slow, and such files have next to none
            continue
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
        nodes.sort(key=lambda node: getattr(node, "lineno", 0))
        yield from ((name, text) for text in map(ast.get_docstring, nodes) if text)


@lru_cache(maxsize=1)
def _joined_source() -> str:
    return "\n".join(source for _, source in _standard_library())


@lru_cache(maxsize=1)
def _standard_library() -> tuple[tuple[str, str], ...]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in root.rglob("*.py") if SKIPPED.isdisjoint(path.relative_to(root).parts[:-1])]
    sources = []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        try:
            sources.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:  # a handful of files declare an older encoding
            continue
    if not sources:
        raise OSError(f"no Python source in {root}: this Python was installed without its standard library's source")
    return tuple(sources)
