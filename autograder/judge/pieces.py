"""What of a solution can be compared: its code without names, comments and layout, cut into short overlapping pieces.

Names that the code itself binds become one sign, so renaming changes nothing; docstrings, annotations, imports and
messages are left out; what remains is read in the order of the syntax tree. Each run of ``WIDTH`` signs is a piece,
kept as a 32-bit hash. The text is a stranger's: it is measured before Python's parser, which is written in C and
recursive, gets to see it.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

WIDTH = 8  # signs to a piece: about a line and a half
MAX_CHARACTERS = 30_000
MAX_DEPTH = 40  # of brackets, of indentation
MAX_LINE = 1_500  # tokens in one statement: its syntax tree cannot be deeper
MAX_TEXT_TOKEN = 1_000  # characters of an f-string, which is parsed, too
MAX_PIECES = 2_000
VERSION = "1:"  # of this reduction; pieces of different versions cannot be compared

_BINDERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SILENT = {ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal}
_WITHOUT_SIGN = {ast.Expr, ast.arguments, ast.FormattedValue, ast.Module}
# Left out of the reading: what says how a name is used, or of which type, not what happens.
_SKIPPED = {"ctx", "annotation", "returns", "type_comment", "type_params", "kind", "name", "asname", "id", "attr"}


def pieces_of(sources: Iterable[str]) -> np.ndarray:
    """The pieces of an exercise's code, sorted uint32, each once; empty when there is nothing to compare.

    >>> one = pieces_of(["def double(x):\\n    return [x + x, x * 2]"])
    >>> two = pieces_of(["def double(value: int) -> list:  # twice\\n    return [value + value, value * 2]"])
    >>> len(one), bool((one == two).all())
    (5, True)
    """
    left, found = MAX_CHARACTERS, set()
    for source in sources:
        left -= len(source)
        if left >= 0:
            found |= _hashes(source)
    # The smallest hashes are a fair sample, and the same one in two copies.
    return np.array(sorted(found)[:MAX_PIECES], dtype=np.uint32)


def as_text(pieces: np.ndarray) -> str:
    """Pieces as they are stored with a result."""
    return VERSION + base64.b64encode(pieces.astype("<u4").tobytes()).decode() if len(pieces) else ""


def from_text(text: object) -> np.ndarray:
    """The inverse of :func:`as_text`; nothing when it is not such a text, or one of another version."""
    if not isinstance(text, str) or not text.startswith(VERSION):
        return np.array([], dtype=np.uint32)
    try:
        data = base64.b64decode(text[len(VERSION) :], validate=True)
    except ValueError:
        return np.array([], dtype=np.uint32)
    return np.unique(np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4"))[:MAX_PIECES]


def _hashes(source: str) -> set[int]:
    tree = parsed(source)
    if tree is None:
        return set()
    names = _Names(tree)
    found = set()
    for statement in tree.body:  # no piece spans two of them: their order says nothing
        signs = list(_signs(statement, names))
        for start in range(len(signs) - WIDTH + 1):
            text = "\0".join(signs[start : start + WIDTH]).encode("utf-8", "replace")
            found.add(int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little"))
    return found


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of a text that is Python and not too large or too deeply nested to be parsed safely."""
    try:
        if not _is_harmless(source):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a student's strings
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _is_harmless(source: str) -> bool:
    if len(source) > MAX_CHARACTERS or "\0" in source:
        return False
    brackets = indents = length = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        length = 0 if token.type == tokenize.NEWLINE else length + 1
        if token.type == tokenize.OP:
            brackets += (token.string in "([{") - (token.string in ")]}")
        indents += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if length > MAX_LINE or brackets > MAX_DEPTH or indents > MAX_DEPTH:
            return False
        if token.type == tokenize.STRING and len(token.string) > MAX_TEXT_TOKEN:
            quote = min(i for i in map(token.string.find, "'\"") if i >= 0)
            if "f" in token.string[:quote].lower():
                return False
    return True


class _Names:
    """Which names of a text are its author's to choose, and what its imports stand for."""

    def __init__(self, tree: ast.Module):
        self.own: set[str] = set()
        self.own_attributes: set[str] = set()
        self.imported: dict[str, str] = {}
        waiting: list[ast.AST] = [tree]
        while waiting:
            node = waiting.pop()
            kind = type(node)
            if kind is ast.Name:
                if type(node.ctx) is not ast.Load:
                    self.own.add(node.id)
                continue  # nothing below it
            if kind is ast.Attribute:
                if type(node.ctx) is not ast.Load:
                    self.own_attributes.add(node.attr)
            elif kind is ast.arg:
                self.own.add(node.arg)
            elif kind in _BINDERS:
                self.own.add(node.name)
                if kind is ast.ClassDef:
                    self.own_attributes |= {item.name for item in node.body if type(item) in _BINDERS}
            elif kind in (ast.ExceptHandler, ast.MatchAs, ast.MatchStar):
                self.own |= {node.name} if node.name else set()
            elif kind in (ast.Import, ast.ImportFrom):
                package = f"{node.module}." if kind is ast.ImportFrom else ""
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = package + alias.name
            waiting += _below(node, node._fields)

    def name(self, name: str) -> str:
        return "own" if name in self.own else self.imported.get(name, name)

    def attribute(self, name: str) -> str:
        return ".own" if name in self.own_attributes else f".{name}"


def _signs(statement: ast.stmt, names: _Names) -> Iterator[str]:
    """The signs of a statement, from the root of its tree, with a stack of its own instead of recursion."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        kind = type(node)
        if kind in _SILENT or (kind is ast.AnnAssign and node.value is None):
            continue
        if kind is ast.Expr and type(node.value) is ast.Constant:  # a docstring
            continue
        if kind is ast.Name:
            yield names.name(node.id)
            continue  # nothing below it
        if kind is ast.Constant:
            yield _constant(node.value)
            continue
        if kind not in _WITHOUT_SIGN:
            yield _sign(node, names)
        if kind is ast.JoinedStr:  # a message: what it is about, not how it is worded
            waiting += [part for part in reversed(node.values) if isinstance(part, ast.FormattedValue)]
            continue
        waiting += reversed(_below(node, _read_fields(kind)))


@cache
def _read_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(field for field in kind._fields if field not in _SKIPPED)


def _below(node: ast.AST, fields: tuple[str, ...]) -> list[ast.AST]:
    """What stands in these fields of a node, from left to right."""
    found: list[ast.AST] = []
    for field in fields:
        value = getattr(node, field, None)
        if type(value) is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def _sign(node: ast.AST, names: _Names) -> str:
    if isinstance(node, ast.arg):
        return "own"
    if isinstance(node, ast.Attribute):
        return names.attribute(node.attr)
    if isinstance(node, ast.AnnAssign):
        return "Assign"
    return type(node).__name__


def _constant(value: object) -> str:
    if isinstance(value, (str, bytes)):  # a key or a sign is code, a sentence is not
        return repr(value) if len(value) <= 12 and len(value.split()) <= 1 else "text"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print numbers of thousands of digits
        return "large"
    return repr(value)
