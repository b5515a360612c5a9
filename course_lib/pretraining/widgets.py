"""The widget of chapter 3: what a model writes at any checkpoint, temperature and prompt, by the student's own sample.

An exception in the student's function is shown in the widget, which stays alive. ipywidgets is imported only when the
widget is made.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from course_lib.display import show_widget

if TYPE_CHECKING:
    from ipywidgets import Widget

Write = Callable[[int, str, float, int], str]

MAX_PROMPT = 200  # characters
STATIC_TEMPERATURES = (0.0, 0.7, 1.3)
PRE = "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"  # JupyterLab's own style cuts words


def checkpoint_writer(write: Write, checkpoints: Sequence[int], prompt: str) -> None:
    """Display a text that a model writes, with controls for checkpoint, prompt, temperature and seed.

    `write(step, prompt, temperature, seed)` returns the prompt and its continuation by the model of that step; it may
    be made of the student's own functions. On a page without a kernel a table shows several checkpoints and
    temperatures. ValueError for no checkpoints or an empty prompt.
    """
    widget, static = make_checkpoint_writer(write, checkpoints, prompt)
    show_widget(widget, static, f"What the model writes after {prompt[:60]!r}, at {len(checkpoints)} checkpoints")


def make_checkpoint_writer(write: Write, checkpoints: Sequence[int], prompt: str) -> tuple[Widget, str]:
    """Return the widget and the static HTML of `checkpoint_writer` without displaying them."""
    if not len(checkpoints):
        raise ValueError("checkpoints: expected at least one, got none")
    if not prompt:
        raise ValueError("prompt: expected at least one character, got none")
    import ipywidgets as ui

    steps = sorted(checkpoints)

    def wide(width: str) -> dict[str, Any]:
        return {"layout": {"width": width}, "style": {"description_width": "initial"}}  # else a long name is cut off

    controls: dict[str, Any] = {
        "step": ui.SelectionSlider(
            options=[(f"{step:,}", step) for step in steps], value=steps[-1], description="Step", **wide("17em")
        ),
        "prompt": ui.Text(value=prompt, description="Prompt", continuous_update=False, **wide("95%")),
        "temperature": ui.FloatSlider(
            value=0.7, min=0, max=2, step=0.1, description="Temperature", continuous_update=False, **wide("21em")
        ),
        "seed": ui.BoundedIntText(value=0, min=0, max=9999, description="Seed", **wide("9em")),
    }

    def update(_: Any) -> None:
        output.value = written(write, **{name: control.value for name, control in controls.items()})

    output = ui.HTML()
    update(None)
    for control in controls.values():
        control.observe(update, names="value")
    prompt_row, *others = (controls[name] for name in ("prompt", "step", "temperature", "seed"))
    row = ui.HBox(others, layout={"flex_flow": "row wrap"})  # below each other where a window is narrow
    return ui.VBox([prompt_row, row, output]), _table(write, steps, prompt)


def written(write: Write, step: int, prompt: str, temperature: float, seed: int) -> str:
    """Return the text as HTML, the prompt in bold, or the error that the student's function raised.

    >>> written(lambda step, prompt, temperature, seed: prompt + "<end>", 100, "def", 0.7, 0).partition(">")[2]
    '<strong>def</strong>&lt;end&gt;</pre>'
    """
    prompt = prompt[:MAX_PROMPT] or "\n"
    try:
        text = write(step, prompt, temperature, seed)
        if not isinstance(text, str):
            raise TypeError(f"expected a str, got a {type(text).__name__}")
    except Exception as error:
        message = html.escape(f"{type(error).__name__}: {error}")
        return f'<p role="alert"><strong>Your function raised an error.</strong></p><pre>{message}</pre>'
    # What comes back may show a character that the model does not know in another way.
    start, rest = text[: len(prompt)], text[len(prompt) :]
    return f'<pre style="{PRE}"><strong>{html.escape(start)}</strong>{html.escape(rest)}</pre>'


def _table(write: Write, steps: Sequence[int], prompt: str) -> str:
    shown = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    head = "".join(f"<th scope='col'>temperature {temperature:g}</th>" for temperature in STATIC_TEMPERATURES)
    rows = []
    for step in shown:
        cells = "".join(
            f"<td style='text-align: left; vertical-align: top'>{written(write, step, prompt, temperature, 0)}</td>"
            for temperature in STATIC_TEMPERATURES
        )
        rows.append(f"<tr><th scope='row'>step {step:,}</th>{cells}</tr>")
    note = "<p><em>Run this cell to type any prompt and to move the controls.</em></p>"
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"
