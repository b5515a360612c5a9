"""A student in chapter 2: a first attention that forgets the scale, then the widgets that show what attention does."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from contrast import everything_can_be_read
from lab_driver import NotebookPage, complaints

from autograder.exercise import Chapter, load_chapter

CHAPTER = "02_attention"
EXERCISE = "scaled_dot_product_attention"
UNSCALED = """def scaled_dot_product_attention(q, k, v, mask=None):
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = torch.nan_to_num(torch.softmax(scores, dim=-1)).to(q.dtype)
    return weights @ v, weights
"""
SCALED = UNSCALED.replace("transpose(-2, -1)", "transpose(-2, -1) / math.sqrt(q.shape[-1])")

# The widgets need a copying model, but not one that copies: a few steps instead of some hundred.
SHORTER = {
    "KV_HEADS = {": {r'"quick": \(\d+, \d+\)': '"quick": (1, 2)', r"warmup=\d+": "warmup=1"},
    'curves = {}\nsteps = {"quick"': {r'"quick": \d+': '"quick": 3', r"warmup=\d+": "warmup=1"},
}
SWITCHES = "head_switches(loss_without"
PLAYGROUND = "attention_playground(\n"


@pytest.mark.browser
@pytest.mark.slow
def test_a_student_writes_attention_and_plays_with_it(open_notebook, picture):
    chapter = load_chapter(CHAPTER, with_hidden=False)
    notebook = open_notebook(CHAPTER)
    said = complaints(notebook.page)
    run(notebook, "open_chapter(", "CHARACTERS = {")

    the_card_follows_the_work(notebook, chapter, picture)
    the_widgets_parts_are_made(notebook)
    heads_can_be_switched_off(notebook)
    picture(notebook, notebook.containing(SWITCHES), "attention_switches")
    the_playground_answers(notebook)
    picture(notebook, notebook.containing(PLAYGROUND), "attention_playground")

    everything_can_be_read(notebook.page, at_least=20)
    notebook.choose_theme("JupyterLab Dark")
    everything_can_be_read(notebook.page, at_least=20)
    for name, index in (("switches", notebook.containing(SWITCHES)), ("card", notebook.index(f"check_{EXERCISE}"))):
        picture(notebook, index, f"attention_dark_{name}")
    picture(notebook, notebook.containing(PLAYGROUND), "attention_dark_playground")
    assert not notebook.errors()
    assert not said, said


def run(notebook: NotebookPage, *sources: str) -> None:
    for source in sources:
        notebook.run(notebook.containing(source))


def the_card_follows_the_work(notebook: NotebookPage, chapter: Chapter, picture: Callable[..., None]) -> None:
    """Not attempted, then a mistake that is named, then passed: what the card says at each step."""
    exercise = chapter.exercises[EXERCISE]
    count, at, card = len(exercise.checks), notebook.index(EXERCISE), notebook.index(f"check_{EXERCISE}")
    named = next(m.text for m in exercise.mistakes if m.name == "does_not_scale")
    for code, expected, name in (
        (None, f"{exercise.title}: not attempted yet", "not_attempted"),
        (UNSCALED, f"Recognised: your code {named}", "mistake"),
        (SCALED, f"{exercise.title}: {count} of {count} checks passed", "passed"),
    ):
        if code:
            notebook.write(at, code)
        notebook.run(at)
        notebook.run(card)
        notebook.expect(card, expected)
        picture(notebook, card, f"attention_{name}")
    notebook.expect_not(card, "Recognised")


def the_widgets_parts_are_made(notebook: NotebookPage) -> None:
    """What a student would run above the widgets; exercises that are not written yet are stood in for."""
    for exercise in ("make_mask", "MultiHeadAttention", "apply_rope", "alibi_bias"):
        notebook.run(notebook.index(exercise))
    run(notebook, "attend = stand_in(")
    for source, fewer in SHORTER.items():
        index = notebook.containing(source)
        shorter = notebook.cells[index].source
        for pattern, replacement in fewer.items():
            shorter, found = re.subn(pattern, replacement, shorter)
            assert found == 1, (source, pattern)
        notebook.write(index, shorter)
        notebook.run(index)
    run(notebook, "repeat_heads = stand_in(", "rotate, frequencies_of = stand_in(")
    mine = notebook.containing("mask_of = causal_of = ")
    notebook.run(mine)
    notebook.expect(mine, "Using the course's make_mask here")
    notebook.expect_not(mine, f"Using the course's {EXERCISE}")  # that one is written
    assert not notebook.errors()


def changed(notebook: NotebookPage, index: int, act: Callable[[], object]) -> str:
    """Do something to a widget; wait until its picture is another one, and return the picture's description."""
    shown = notebook.output(index).locator(".jupyter-widgets img")
    before = shown.get_attribute("src")
    act()
    notebook.page.wait_for_function(
        "([output, before]) => ![before, undefined].includes(output.querySelector('.jupyter-widgets img')?.src)",
        arg=[notebook.output(index).element_handle(), before],
        timeout=20_000,
    )
    return shown.get_attribute("alt") or ""


def heads_can_be_switched_off(notebook: NotebookPage) -> None:
    index = notebook.containing(SWITCHES)
    notebook.run(index)
    notebook.expect(index, "nats with all heads")
    boxes = notebook.output(index).get_by_role("checkbox")
    assert boxes.count() == 8
    off = []
    for number in (0, 5):
        off.append(f"layer {number // 4 + 1}, head {number % 4 + 1}")
        said = changed(notebook, index, boxes.nth(number).uncheck)
        assert f"without {', '.join(off)}" in said
    for number in (0, 5):
        said = changed(notebook, index, boxes.nth(number).check)
    assert "without" not in said


def the_playground_answers(notebook: NotebookPage) -> None:
    index, keyboard = notebook.containing(PLAYGROUND), notebook.page.keyboard
    notebook.run(index)
    output = notebook.output(index)
    typed = output.get_by_role("textbox").first
    assert "Layer 1, head 1: 29 by 29" in (output.locator(".jupyter-widgets img").get_attribute("alt") or "")

    def choose(control: str, option: str) -> str:
        menu = output.locator(".widget-dropdown", has_text=control).locator("select")
        return changed(notebook, index, lambda: menu.select_option(option))

    def push(control: str, key: str) -> str:
        slider = output.locator(".widget-slider", has_text=control).get_by_role("slider")
        slider.focus()
        return changed(notebook, index, lambda: keyboard.press(key))

    typed.click()
    keyboard.press("End")
    assert "Layer 1, head 1: 28 by 28" in changed(notebook, index, lambda: keyboard.press("Backspace"))
    assert "Layer 2, head 1" in choose("Layer", "2")
    assert "Layer 2, head 3" in choose("Head", "3")
    choose("Mask", "sliding")
    push("Window", "ArrowRight")
    push("log2 temp.", "ArrowRight")
    choose("RoPE base", "100.0")
    push("ALiBi slope", "ArrowRight")
    notebook.expect_not(index, "Your function raised an error")
