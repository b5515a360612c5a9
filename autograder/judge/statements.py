"""A cell's top-level statements: which names each one binds, which global names it uses, which are unwritten stubs.

Only text is looked at; nothing of a submission is run or compiled here.
"""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

ANY_NAME = "*"  # what ``from x import *`` binds
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_PLAIN_MAGICS = ("%%time", "%%capture", "%%prun")  # cell magics that run the cell as it is


@dataclass(frozen=True)
class Statement:
    """Lines ``first`` to ``last`` (from 1, inclusive) of a cell."""

    first: int
    last: int
    binds: frozenset[str]
    uses: frozenset[str]
    at_once: frozenset[str]  # those that are looked up when the statement runs, not when a function in it is called
    is_stub: bool
    is_definition: bool  # of a function or a class
    is_import: bool
    is_expression: bool


@dataclass(frozen=True)
class Source:
    """A cell's lines as Python, magics translated, and its statements."""

    lines: tuple[str, ...]
    statements: tuple[Statement, ...]

    def only(self, statements: list[Statement]) -> str:
        """The cell with every other statement blanked out, so that line numbers stay what they are."""
        kept = {line for s in statements for line in range(s.first, s.last + 1)}
        last = max(kept, default=0)
        return "\n".join(text if n in kept else "" for n, text in enumerate(self.lines[:last], start=1))

    def parts(self, statements: list[Statement]) -> tuple[str, ...]:
        """Sources to run one after the other: definitions that follow each other stay together."""
        groups: list[list[Statement]] = []
        for statement in statements:
            joins = groups and statement.is_definition and groups[-1][-1].is_definition
            shares_line = groups and statement.first <= groups[-1][-1].last
            if joins or shares_line:
                groups[-1].append(statement)
            else:
                groups.append([statement])
        return tuple(self.only(group) for group in groups)


@lru_cache(maxsize=512)  # the cells of the release, and of the notebook at hand
def parse(text: str) -> Source | None:
    """The statements of a cell, None when it is not Python even for IPython.

    >>> [sorted(s.binds) for s in parse("import numpy as np\\nx, y = 1, 2\\nt[0] = x").statements]
    [['np'], ['x', 'y'], ['t']]
    """
    for candidate in _candidates(text):
        try:
            with warnings.catch_warnings():  # an unknown escape in a student's string is no news for the instructor
                warnings.simplefilter("ignore")
                tree = ast.parse(candidate)
            lines = tuple(candidate.split("\n"))
            return Source(lines, tuple(_statement(node, lines) for node in tree.body))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _candidates(text: str) -> Iterator[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")
    yield text
    first, _, rest = text.lstrip("\n").partition("\n")
    if first.split(" ")[0] in _PLAIN_MAGICS:
        text = "\n" * (len(text) - len(text.lstrip("\n")) + 1) + rest
        yield text
    try:
        from IPython.core.inputtransformer2 import TransformerManager

        yield TransformerManager().transform_cell(text)
    except Exception:
        return


def _statement(node: ast.stmt, lines: tuple[str, ...]) -> Statement:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)])
    last = node.end_lineno or node.lineno
    fetched = frozenset(_fetched(node))
    uses, at_once = _global_names("\n".join(lines[first - 1 : last]))
    return Statement(
        first=first,
        last=last,
        binds=frozenset(_bound(node)),
        uses=uses | fetched,
        at_once=at_once | fetched,
        is_stub=_is_stub(node),
        is_definition=isinstance(node, _SCOPES),
        is_import=isinstance(node, (ast.Import, ast.ImportFrom)),
        is_expression=isinstance(node, ast.Expr),
    )


def _fetched(node: ast.stmt) -> Iterator[str]:
    """Names that the statement asks for as text: ``rate_at = stand_in("lr_at")`` uses lr_at."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "stand_in":
            yield from (a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that running the statement binds at the top level, or whose objects it changes by item or attribute."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
        root: ast.AST = node
        while isinstance(root, (ast.Subscript, ast.Attribute)):
            root = root.value
        if isinstance(root, ast.Name):
            yield root.id
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _global_names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names that the statement, or a function in it when it is called, looks up globally; and those of the first kind.

    >>> [sorted(names) for names in _global_names("x = f(lambda: y)")]
    [['f', 'y'], ['f']]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(_globals_of(symtable.symtable(text, "cell", "exec"), at_once=True))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(), frozenset()
    return frozenset(name for name, _ in found), frozenset(name for name, at_once in found if at_once)


def _globals_of(table: symtable.SymbolTable, at_once: bool) -> Iterator[tuple[str, bool]]:
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (at_top or symbol.is_global()):
            yield symbol.get_name(), at_once
    for child in table.get_children():
        yield from _globals_of(child, at_once and child.get_type() != "function")


def _is_stub(node: ast.stmt) -> bool:
    """Whether this is still what the release says: nothing is written, only announced."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return all(_says_nothing(item) for item in node.body)
    if isinstance(node, ast.ClassDef):
        methods = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
        if methods:
            return any(_is_stub(item) for item in methods) and all(
                _is_stub(item) or item.name in ("__repr__", "__str__") for item in methods
            )
        return all(_says_nothing(item) for item in node.body)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):  # a quiz without an answer
        values = node.value.values
        return bool(values) and all(isinstance(v, ast.Constant) and v.value in ("", None) for v in values)
    return False


def _says_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
