"""The feedback page: nbconvert's HTML of a graded notebook, made once for every cell that many students share.

nbconvert colours and renders every cell of every notebook anew and then parses the finished page once more; most
cells are those of the release, and the page needs that last step for two things only, which are done here instead.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TextIO

import nbformat.v4
from bs4 import BeautifulSoup
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from nbformat import NotebookNode

from autograder.judge.exporting import OwnNotebook

# An image without a description; what is looked at ends with the tag, however long the picture in it is.
_NO_ALT = re.compile(r"<img\b(?![^>]*\balt=)")
NO_DESCRIPTION = "No description has been provided for this image"
MEMO = 512  # cells; those of the release are used again with every notebook, and so never the oldest


class FeedbackExporter(HTMLExporter, OwnNotebook):
    """As nbconvert's HTMLExporter, several times as fast for the second notebook of a chapter."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Of the instance: what a cell becomes depends on the settings of this exporter.
        self._coloured, self._rendered = lru_cache(MEMO)(self._colour), lru_cache(MEMO)(self._render)

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Rendered Markdown in which every element that is opened is closed: one cell must not swallow the next."""
        if context.get("cell", {}).get("attachments"):
            return _closed(super().markdown2html(context, source))
        return self._rendered(source)

    def from_file(self, file_stream: TextIO, resources: Any = None, **kw: Any) -> tuple[str, dict[str, Any]]:
        """The page of a file that nbgrader has written."""
        return self.from_notebook_node(nbformat.v4.reads(file_stream.read()), resources=resources, **kw)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page of a notebook; every image has a description, if only one that says that there is none."""
        resources = self._init_resources(resources)
        self._nb_metadata.clear()  # of the notebook before: it would grow with the class
        # Only now, and not HTMLExporter's: that one would go on to read the whole page back in.
        shown = WidgetsDataTypeFilter(notebook_metadata=self._nb_metadata, parent=self, resources=resources)
        self.register_filter("filter_data_type", shown)
        self.register_filter("highlight_code", self._highlight(nb))
        page, resources = super(HTMLExporter, self).from_notebook_node(nb, resources, **kw)
        return _NO_ALT.sub(f'<img alt="{NO_DESCRIPTION}"', page), resources

    def _highlight(self, nb: NotebookNode) -> Any:
        about = nb.metadata.get("language_info", {})
        language = about.get("pygments_lexer", about.get("name"))

        def highlight(source: str, language: str | None = language, metadata: Any = None) -> str:
            return self._coloured(source, language, (metadata or {}).get("magics_language"))

        return highlight

    def _colour(self, source: str, language: str | None, magics_language: str | None) -> str:
        metadata = {"magics_language": magics_language} if magics_language else None
        return Highlight2HTML(pygments_lexer=language, parent=self)(source, metadata=metadata)

    def _render(self, source: str) -> str:
        return _closed(super().markdown2html({}, source))


def _closed(html: str) -> str:
    """
    >>> _closed("<b>loud<p>and")
    '<b>loud<p>and</p></b>'
    """
    return str(BeautifulSoup(html, features="html.parser"))
