"""What a student does in every chapter: runs cells, tries an exercise twice, moves the controls of a widget."""

from __future__ import annotations

import re
from collections.abc import Callable

from contrast import everything_can_be_read
from lab_driver import NotebookPage

from autograder.exercise import Exercise

Picture = Callable[..., None]
TYPICAL_TEXTS = 20  # at least so many stand in the outputs of the few cells that these tests run


def run(notebook: NotebookPage, *sources: str) -> None:
    """Run the first cell that contains each of these texts."""
    for source in sources:
        notebook.run(notebook.containing(source))


def run_edited(notebook: NotebookPage, source: str, edits: dict[str, str]) -> None:
    """Run the first cell that contains a text, after each pattern in it was replaced, which stands there once."""
    index = notebook.containing(source)
    edited = notebook.cells[index].source
    for pattern, replacement in edits.items():
        edited, found = re.subn(pattern, replacement, edited)
        assert found == 1, (source, pattern)
    notebook.write(index, edited)
    notebook.run(index)


def card_follows_the_work(
    notebook: NotebookPage, exercise: Exercise, wrong: str, mistake: str, right: str, picture: Picture, name: str
) -> None:
    """Not attempted, then a mistake that is named, then passed: what the card says at each step."""
    count, at, card = len(exercise.checks), notebook.index(exercise.id), notebook.index(f"check_{exercise.id}")
    named = next(m.text for m in exercise.mistakes if m.name == mistake)
    for code, expected, state in (
        (None, f"{exercise.title}: not attempted yet", "not_attempted"),
        (wrong, f"Recognised: your code {named}", "mistake"),
        (right, f"{exercise.title}: {count} of {count} checks passed", "passed"),
    ):
        if code:
            notebook.write(at, code)
        notebook.run(at)
        notebook.run(card)
        notebook.expect(card, expected)
        picture(notebook, card, f"{name}_{state}")
    notebook.expect_not(card, "Recognised")


def changed(notebook: NotebookPage, index: int, part: str, value: str, act: Callable[[], object]) -> str:
    """Do something to a widget and wait until a property of a part of it is another one; return the new value."""
    read = f"output => output.querySelector('.jupyter-widgets {part}')?.{value}"
    output = notebook.output(index).element_handle()
    before = output.evaluate(read)
    act()
    notebook.page.wait_for_function(
        f"([output, before]) => ![before ?? '', undefined, ''].includes(({read})(output))",
        arg=[output, before],
        timeout=20_000,
    )
    return output.evaluate(read)


def widget_fits(notebook: NotebookPage, index: int, widths: tuple[int, ...] = (1150, 800)) -> None:
    """In windows of these widths no name of a control is cut off, and no control stands beyond the edge."""
    page, before = notebook.page, notebook.page.viewport_size
    for width in widths:
        page.set_viewport_size(before | {"width": width})
        problems = notebook.output(index).evaluate(_CUT_OFF)
        assert not problems, (width, problems)
    page.set_viewport_size(before)


_CUT_OFF = """output => {
    const edge = output.getBoundingClientRect().right;
    const named = [...output.querySelectorAll('.jupyter-widgets .widget-label')];
    const controls = [...output.querySelectorAll('.jupyter-widgets :is(input, select, button, .slider-container)')];
    if (!controls.length) return ['no control'];
    return named.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText + ' is cut off').concat(
        controls.filter(e => e.getBoundingClientRect().right > edge + 1).map(e => e.className + ' is beyond the edge'));
}"""


def is_readable_in_both_themes(notebook: NotebookPage, picture: Picture, **pictured: int) -> None:
    """Every text that is shown has contrast; these cells are pictured in the dark theme, under their names."""
    everything_can_be_read(notebook.page, at_least=TYPICAL_TEXTS)
    notebook.choose_theme("JupyterLab Dark")
    everything_can_be_read(notebook.page, at_least=TYPICAL_TEXTS)
    for name, index in pictured.items():
        picture(notebook, index, name)
