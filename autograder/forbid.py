"""Finds calls that an exercise asks students to write themselves: by reading the syntax tree, with the line.

The tree sees ``torch.softmax``, ``from torch import softmax as s`` and ``x.softmax(-1)``, and the same in a text that
is evaluated or in a name that is looked up. It does not see every trick; :func:`forbidden` notices torch functions
and imports at run time as well, so that the message is right however they were reached.
"""

from __future__ import annotations

import ast
import importlib.abc
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

_MAGIC = re.compile(r"^(\s*)%{1,2}\w+[ \t]*")
_SHELL = re.compile(r"^(\s*)!.*")


def find_forbidden(source: str, names: tuple[str, ...]) -> list[tuple[int, str]]:
    """Lines and names of forbidden uses; a name covers everything below it, ``torch.Tensor.f`` any ``x.f(...)``.

    >>> find_forbidden("import torch as t\\ny = t.softmax(x, -1)", ("torch.softmax",))
    [(2, 'torch.softmax')]
    """
    return list(_find(source, names))


@lru_cache(maxsize=64)  # every check of an exercise asks about the same cell
def _find(source: str, names: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    tree = _parse(source) if names else None
    if tree is None:
        return ()
    aliases = _aliases(tree)
    methods = {name.rsplit(".", 1)[1]: name for name in names if name.startswith("torch.Tensor.")}
    found = []
    for node in ast.walk(tree):
        for full in (*_full_names(node, aliases), *_spelled_out(node, aliases)):
            hit = next((name for name in names if full == name or full.startswith(name + ".")), None)
            if hit:
                found.append((node.lineno, hit))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            found.append((node.lineno, methods[node.func.attr]))
        if isinstance(node, ast.Call) and _called(node) in ("eval", "exec") and (text := _text(node.args[:1])):
            found += [(node.lineno, name) for _, name in _find(text, names)]
    return tuple(sorted(set(found)))


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    # Magics and shell lines are not Python; what stands behind a magic is.
    lines = (_MAGIC.sub(r"\1", line) if "%" in line else _SHELL.sub(r"\1pass", line) for line in source.split("\n"))
    try:
        return ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _aliases(tree: ast.Module) -> dict[str, str]:
    aliases: dict[str, str] = {"F": "torch.nn.functional", "np": "numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                aliases[item.asname or item.name.split(".")[0]] = item.name if item.asname else item.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return aliases


def _full_names(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (item.name for item in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{item.name}" for item in node.names)
    elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(getattr(node, "ctx", None), ast.Load):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            yield ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def _spelled_out(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Names that a call looks up by a text: ``getattr(torch, "softmax")``, ``import_module("scipy")``."""
    if not isinstance(node, ast.Call):
        return
    if _called(node) == "getattr" and len(node.args) > 1 and (text := _text(node.args[1:2])):
        yield from (f"{full}.{text}" for full in _full_names(node.args[0], aliases))
    if _called(node) in ("import_module", "__import__") and (text := _text(node.args[:1])):
        yield text


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _text(nodes: list[ast.expr]) -> str:
    """A text that stands there literally, in one piece or several; empty when it does not."""
    if nodes and isinstance(nodes[0], ast.BinOp) and isinstance(nodes[0].op, ast.Add):
        left, right = _text([nodes[0].left]), _text([nodes[0].right])
        return left + right if left and right else ""
    is_text = bool(nodes) and isinstance(nodes[0], ast.Constant) and isinstance(nodes[0].value, str)
    return nodes[0].value if is_text else ""  # type: ignore[attr-defined]


class ForbiddenCall(RuntimeError):
    """A student's function reached a torch function that the exercise asks them to write."""


def forbid_mode(names: tuple[str, ...]) -> AbstractContextManager:
    """A context in which calling one of the named torch functions raises :class:`ForbiddenCall`.

    It gives the right message; code that means to get around it can.
    """
    wanted = {name for name in names if name.startswith("torch.")}
    if not wanted:
        return nullcontext()
    from torch.overrides import TorchFunctionMode, resolve_name

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            name = resolve_name(func) or ""
            if name in wanted:
                raise ForbiddenCall(f"this uses {name}; here you write that yourself")
            return func(*args, **(kwargs or {}))

    return Watch()


class _Refuse(importlib.abc.MetaPathFinder):
    """Refuses the import of modules by name."""

    def __init__(self, roots: set[str]):
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] in self.roots:
            raise ForbiddenCall(f"this uses {fullname}; here you write that yourself")


@contextmanager
def forbidden(names: tuple[str, ...]) -> Iterator[None]:
    """A context in which the named torch functions and modules raise :class:`ForbiddenCall`, however they are reached.

    >>> with forbidden(("decimal",)):
    ...     __import__("deci" + "mal")
    Traceback (most recent call last):
    autograder.forbid.ForbiddenCall: this uses decimal; here you write that yourself
    """
    if not names:
        yield
        return
    roots = {name for name in names if "." not in name}
    held = {name: sys.modules.pop(name) for name in roots if name in sys.modules}
    refuse = _Refuse(roots)
    sys.meta_path.insert(0, refuse)
    try:
        with forbid_mode(names):
            yield
    finally:
        if refuse in sys.meta_path:
            sys.meta_path.remove(refuse)
        sys.modules.update(held)
