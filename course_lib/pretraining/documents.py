"""Where pretraining text comes from: Python itself, a file or folder of one's own, or a data set by name.

Everything is a stream: a corpus yields one document after the other, a long one in pieces, and never holds more.
"""

import hashlib
import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from course_lib import corpus
from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.dedup import content_hash

PIECE = 1 << 18  # characters; a longer document comes in pieces, cut at line breaks
SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl")
PARTS = ("reference", "docstrings", "source")


class Document(NamedTuple):
    """A text, where it is from, its licence, the group that must not be split, and whether the document ends here."""

    text: str
    source: str
    licence: str
    group: str
    ends: bool = True


@dataclass(frozen=True)
class Corpus:
    """A named stream of documents: iterate over it as often as you like, the order is always the same.

    `fingerprint` changes when the documents may have changed; `size` is about how many bytes there are, where known.
    """

    name: str
    fingerprint: str
    documents: Callable[[], Iterator[Document]]
    size: int | None = None

    def __iter__(self) -> Iterator[Document]:
        return self.documents()


def open_corpus(name: str | Path) -> Corpus:
    """Return Python's own text for "python", a file or folder for a path that exists, else a Hugging Face data set.

    >>> open_corpus("python").name
    'python: reference, docstrings, source'
    """
    if name == "python":
        return python_corpus()
    return text_corpus(name) if Path(name).exists() else huggingface_corpus(str(name))


def python_corpus(parts: Iterable[str] = PARTS) -> Corpus:
    """Return the texts that come with Python: topics of its language reference, docstrings, source files.

    Exact duplicates are left out. A file and its docstrings are one group: they hold the same sentences, and must not
    be on two sides of a split. ValueError for no part or an unknown one.

    >>> next(iter(python_corpus(["source"]))).licence
    'PSF-2.0'
    """
    parts = tuple(parts)
    if not parts or not set(parts) <= set(PARTS):
        raise ValueError(f"parts: expected one or more of {', '.join(PARTS)}, got {parts!r}")
    digest, size = hashlib.sha256(repr(("python", 1, parts)).encode()), 0
    for part in sorted({"source" if part == "docstrings" else part for part in parts}):  # docstrings: from source
        entry = hashlib.sha256(part.encode())
        for name, text in corpus.python_documents(part):
            encoded = text.encode("utf-8", errors="surrogatepass")
            entry.update(f"{name}\n{len(encoded)}\n".encode() + encoded)
            size += len(encoded) if part in parts else 0
        digest.update(entry.digest())

    def documents() -> Iterator[Document]:
        seen: set[bytes] = set()
        for part in parts:
            for name, text in corpus.python_documents(part):
                text = text.encode("utf-8", errors="replace").decode()  # a docstring may hold half a surrogate pair
                if (key := content_hash(text)) not in seen and text.strip():
                    seen.add(key)
                    group = name.removesuffix("/__init__.py")
                    for piece, ends in cut(io.StringIO(text)):
                        yield Document(piece, f"{part}: {name}", "PSF-2.0", group, ends)

    return Corpus("python: " + ", ".join(parts), digest.hexdigest(), documents, size)


def text_corpus(path: str | Path, separator: str | None = "<|endoftext|>", licence: str = "unknown") -> Corpus:
    """Return the documents in a UTF-8 text file, or in all text files of a folder in sorted order.

    Documents are separated by lines that hold nothing but `separator`; separator="" separates at blank lines, None
    takes each file as one document. A ``.jsonl`` file has one document a line, in the field "text", and its own
    "licence" where it names one. ValueError where there is nothing to read or a file is not what its name says.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = path.write_text("first\\n\\nsecond\\nstill second\\n")
    >>> [document.text for document in text_corpus(path, separator="")]
    ['first', 'second\\nstill second']
    """
    path = Path(path)
    if path.is_file():
        files = [(path.name, path)]
    else:
        files = sorted(
            (file.relative_to(path).as_posix(), file)
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES and file.is_file()
        )
    if not files:
        raise ValueError(f"path: expected a text file or a folder with {', '.join(SUFFIXES)} files, got {path}")
    digest = hashlib.sha256(repr(("text", 1, separator, licence)).encode())
    for name, file in files:
        with file.open("rb") as opened:
            digest.update(f"{name}\n{hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())

    def documents() -> Iterator[Document]:
        for name, file in files:
            try:
                with file.open(encoding="utf-8-sig") as opened:  # -sig: without the mark that some editors put first
                    if file.suffix.lower() == ".jsonl":
                        yield from _json_lines(opened, name, licence)
                    else:
                        yield from _grouped(cut(opened, separator), name, licence)
            except UnicodeDecodeError as error:
                raise ValueError(f"path: expected UTF-8 text, got {file}: {error}") from None

    return Corpus(str(path), digest.hexdigest(), documents, sum(file.stat().st_size for _, file in files))


def huggingface_corpus(
    name: str,
    split: str = "train",
    column: str = "text",
    config: str | None = None,
    revision: str | None = None,
    max_documents: int | None = None,
) -> Corpus:
    """Return a data set of the Hugging Face hub as a stream: nothing is stored that is not asked for.

    Needs the package ``datasets`` and a network; ValueError that says which of them is missing. The fingerprint knows
    the name and the settings, not the content: name a `revision` (a commit) where others may change the data set.
    """
    if max_documents is not None:
        require_int("max_documents", max_documents, 1)
    try:
        load_dataset = importlib.import_module("datasets").load_dataset  # optional: not pinned
    except ImportError:
        raise ValueError(
            f"name: expected the package datasets, to stream {name!r} (pip install datasets), got none; "
            'python_corpus() and text_corpus("file.txt") work without'
        ) from None
    try:
        dataset = load_dataset(name, config, split=split, revision=revision, streaming=True)
    except OSError as error:  # no network, offline mode and no such data set are all kinds of it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"name: expected a data set that can be reached, got {name!r}: {reason}") from None
    settings = ("huggingface", 1, name, split, column, config, revision, max_documents)
    licence = getattr(getattr(dataset, "info", None), "license", None) or "unknown"

    def documents() -> Iterator[Document]:
        for index, row in enumerate(islice(dataset, max_documents)):
            if not isinstance(row.get(column), str):
                raise ValueError(f"column: expected a text column, got {column!r}; there are {sorted(row)}")
            yield from _grouped(cut(io.StringIO(row[column])), name, licence, index)

    return Corpus(name, hashlib.sha256(repr(settings).encode()).hexdigest(), documents)


def cut(lines: TextIO, separator: str | None = None, size: int = PIECE) -> Iterator[tuple[str, bool]]:
    """Yield (text, whether a document ends here), reading at most about `size` characters ahead.

    Pieces are cut at line breaks, and within a line only where it is longer than `size`. Joined, the pieces of a
    document are the document, without the line breaks around it. Blank documents are left out.

    >>> list(cut(io.StringIO("one\\nand\\ntwo\\n---\\nthree"), separator="---", size=8))
    [('one\\nand', False), ('\\ntwo', True), ('three', True)]
    """
    held: list[str] = []
    length, begun, fresh = 0, False, True  # begun: a piece of this document is out; fresh: at the start of a line

    while line := lines.readline(size):
        if fresh and separator is not None and line.strip() == separator:
            text = "".join(held).rstrip("\n")
            if begun or text.strip():
                yield text, True
            held, length, begun = [], 0, False
            continue
        if length and length + len(line) > size:
            text = "".join(held)
            body = text.rstrip("\n") or text  # what may turn out to be the end of the document waits
            yield body, False
            held, length, begun = [text[len(body) :]], len(text) - len(body), True
        fresh = line.endswith("\n")
        if not (line == "\n" and not held and not begun):  # no line breaks before the first line
            held.append(line)
            length += len(line)
    text = "".join(held).rstrip("\n")
    if begun or text.strip():
        yield text, True


def _grouped(pieces: Iterable[tuple[str, bool]], name: str, licence: str, first: int = 0) -> Iterator[Document]:
    """Number the documents, and give equal ones the same group: what is there twice stays on one side of a split."""
    number, group = first, ""
    for text, ends in pieces:
        group = group or content_hash(text).hex()
        yield Document(text, f"{name}#{number}", licence, group, ends)
        if ends:
            number, group = number + 1, ""


def _json_lines(lines: TextIO, name: str, licence: str) -> Iterator[Document]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
            text = row["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ValueError(f'path: expected JSON with a field "text", got line {number} of {name}: {line[:60]!r}')
        yield from _grouped(cut(io.StringIO(text)), name, str(row.get("licence", licence)), number)
