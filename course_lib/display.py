"""Show figures and widgets in a notebook so that they can also be read without a picture or a kernel."""

import base64
import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import Widget
    from matplotlib.figure import Figure

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(fig: "Figure", alt: str, dpi: int = 110) -> None:
    """Display a matplotlib figure with an alternative text, then close it.

    The output holds an HTML image with `alt` and, for readers of plain text, "Figure: ...". `dpi` sets the size of
    the picture in pixels. ValueError for an empty `alt`.

    >>> from matplotlib.figure import Figure
    >>> show(Figure(), alt=" ")
    Traceback (most recent call last):
    ...
    ValueError: alt: expected a sentence that says what the figure shows, got ' '
    """
    text = figure_html(fig, alt, dpi)
    from IPython.display import display

    display({"text/html": text, "text/plain": f"Figure: {alt}"}, raw=True)


def figure_html(fig: "Figure", alt: str, dpi: int = 110) -> str:
    """Return a matplotlib figure as an HTML image with an alternative text, and close it; a widget can show it.

    >>> from matplotlib.figure import Figure
    >>> figure_html(Figure(), alt="nothing yet")[:31]
    '<figure style="margin: 0.5em 0"'
    """
    _require_description("alt", alt)
    import matplotlib.pyplot as plt

    image = io.BytesIO()
    # Twice the pixels in the same space: sharp on fine screens. White stays readable in a dark theme.
    fig.savefig(image, format="png", dpi=2 * dpi, bbox_inches="tight", facecolor="white")
    plt.close(fig)  # otherwise the inline backend shows it a second time, without the text
    png = image.getvalue()
    width = int.from_bytes(png[16:20], "big") // 2  # the width field of the PNG header
    source = base64.b64encode(png).decode("ascii")
    return (
        f'<figure style="margin: 0.5em 0"><img src="data:image/png;base64,{source}" alt="{html.escape(alt)}" '
        f'width="{width}" style="max-width: 100%; height: auto"></figure>'
    )


def show_widget(widget: "Widget", static_html: str, alt_text: str = "Interactive widget") -> None:
    """Display a widget in one output that also holds its static rendering.

    A live notebook shows the widget; GitHub, print and a page without a kernel show `static_html`; a terminal
    shows `alt_text`. ValueError for an empty `static_html` or `alt_text`.

    >>> show_widget(None, static_html="")
    Traceback (most recent call last):
    ...
    ValueError: static_html: expected a static rendering of the widget, got ''
    """
    if not static_html.strip():
        raise ValueError(f"static_html: expected a static rendering of the widget, got {static_html!r}")
    _require_description("alt_text", alt_text)
    from IPython.display import display

    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({WIDGET_VIEW: view, "text/html": static_html, "text/plain": alt_text}, raw=True)


def _require_description(name: str, value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected a sentence that says what the figure shows, got {value!r}")
