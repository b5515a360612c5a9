"""nbconvert's exporters for notebooks that are read for one conversion and then forgotten.

nbconvert copies a notebook three times before its first step and writes it with an encoder in Python. For a class that
is a fifth of all that entering a grade takes.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbconvert.exporters.exporter import Exporter
from nbformat import NotebookNode
from nbformat.v4.rwbase import strip_transient
from traitlets import default


class OwnNotebook(Exporter):
    """Works on the notebook itself instead of a copy of a copy, and validates it once, after the last step."""

    @default("optimistic_validation")
    def _validate_once(self) -> bool:
        return True

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook after all preprocessors."""
        nb, resources = self._preprocess(nb, self._init_resources(resources))
        about = resources.get("metadata", {})
        self._nb_metadata[str(PurePath(about.get("path", ""), about.get("name", "")))] = nb.metadata
        return nb, resources

    def _preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        step = None
        for step in self._preprocessors:
            nb, resources = step(nb, resources)
        if self._is_result():
            self._validate_preprocessor(nb, step)
        return nb, resources

    def _is_result(self) -> bool:
        """Whether what it makes is kept, and so validated."""
        return True


class OwnNotebookExporter(NotebookExporter, OwnNotebook):
    """As nbconvert's NotebookExporter, writing one cell to a line."""

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The text of the notebook after all preprocessors."""
        nb, resources = OwnNotebook.from_notebook_node(self, nb, resources, **kw)
        return written(nb), resources | {"output_suffix": ".nbconvert"}


def written(nb: NotebookNode) -> str:
    """A notebook as JSON text with one cell to a line.

    >>> cells = [NotebookNode(source=text, metadata=NotebookNode()) for text in ("1\\n2", "")]
    >>> print(written(NotebookNode(cells=cells, metadata=NotebookNode(), nbformat=4)))
    {"cells": [
    {"metadata": {}, "source": "1\\n2"},
    {"metadata": {}, "source": ""}
    ], "metadata": {}, "nbformat": 4}
    <BLANKLINE>
    """
    rest = dict(strip_transient(nb))
    cells = ",\n".join(map(_to_json, rest.pop("cells")))
    return f'{{"cells": [\n{cells}\n], {_to_json(rest)[1:]}\n'


_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
