"""Where the course is: the checkout that a command works on."""

from __future__ import annotations

from pathlib import Path


def project_root() -> Path:
    """The nearest folder upwards that has ``chapters`` and ``pyproject.toml``, else the one this file is part of.

    Raises FileNotFoundError when there is neither.
    """
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parent.parent):
        if (folder / "pyproject.toml").exists() and (folder / "chapters").is_dir():
            return folder
    raise FileNotFoundError("run this inside a checkout of the course")
