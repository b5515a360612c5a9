"""A student in chapter 2: a first attention that forgets the scale, then the widgets that show what attention does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab_driver import NotebookPage, complaints
from student import card_follows_the_work, changed, is_readable_in_both_themes, run, run_edited

from autograder.exercise import load_chapter

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
    exercise = load_chapter(CHAPTER, with_hidden=False).exercises[EXERCISE]
    notebook = open_notebook(CHAPTER)
    said = complaints(notebook.page)
    run(notebook, "open_chapter(", "CHARACTERS = {")

    card_follows_the_work(notebook, exercise, UNSCALED, "does_not_scale", SCALED, picture, "attention")
    the_widgets_parts_are_made(notebook)
    heads_can_be_switched_off(notebook)
    picture(notebook, notebook.containing(SWITCHES), "attention_switches")
    the_playground_answers(notebook)
    picture(notebook, notebook.containing(PLAYGROUND), "attention_playground")

    is_readable_in_both_themes(
        notebook,
        picture,
        attention_dark_switches=notebook.containing(SWITCHES),
        attention_dark_card=notebook.index(f"check_{EXERCISE}"),
        attention_dark_playground=notebook.containing(PLAYGROUND),
    )
    assert not notebook.errors()
    assert not said, said


def the_widgets_parts_are_made(notebook: NotebookPage) -> None:
    """What a student would run above the widgets; exercises that are not written yet are stood in for."""
    for exercise in ("make_mask", "MultiHeadAttention", "apply_rope", "alibi_bias"):
        notebook.run(notebook.index(exercise))
    run(notebook, "attend = stand_in(")
    for source, fewer in SHORTER.items():
        run_edited(notebook, source, fewer)
    run(notebook, "repeat_heads = stand_in(", "rotate, frequencies_of = stand_in(")
    mine = notebook.containing("mask_of = causal_of = ")
    notebook.run(mine)
    notebook.expect(mine, "Using the course's make_mask here")
    notebook.expect_not(mine, f"Using the course's {EXERCISE}")  # that one is written
    assert not notebook.errors()


def redrawn(notebook: NotebookPage, index: int, act: Callable[[], object]) -> str:
    """Do something to a widget; wait until its picture is another one, and return the picture's description."""
    changed(notebook, index, "img", "src", act)
    return notebook.output(index).locator(".jupyter-widgets img").get_attribute("alt") or ""


def heads_can_be_switched_off(notebook: NotebookPage) -> None:
    index = notebook.containing(SWITCHES)
    notebook.run(index)
    notebook.expect(index, "nats with all heads")
    boxes = notebook.output(index).get_by_role("checkbox")
    assert boxes.count() == 8
    off = []
    for number in (0, 5):
        off.append(f"layer {number // 4 + 1}, head {number % 4 + 1}")
        said = redrawn(notebook, index, boxes.nth(number).uncheck)
        assert f"without {', '.join(off)}" in said
    for number in (0, 5):
        said = redrawn(notebook, index, boxes.nth(number).check)
    assert "without" not in said


def the_playground_answers(notebook: NotebookPage) -> None:
    index, keyboard = notebook.containing(PLAYGROUND), notebook.page.keyboard
    notebook.run(index)
    output = notebook.output(index)
    typed = output.get_by_role("textbox").first
    assert "Layer 1, head 1: 29 by 29" in (output.locator(".jupyter-widgets img").get_attribute("alt") or "")

    def choose(control: str, option: str) -> str:
        menu = output.locator(".widget-dropdown", has_text=control).locator("select")
        return redrawn(notebook, index, lambda: menu.select_option(option))

    def push(control: str, key: str) -> str:
        slider = output.locator(".widget-slider", has_text=control).get_by_role("slider")
        slider.focus()
        return redrawn(notebook, index, lambda: keyboard.press(key))

    typed.click()
    keyboard.press("End")
    assert "Layer 1, head 1: 28 by 28" in redrawn(notebook, index, lambda: keyboard.press("Backspace"))
    assert "Layer 2, head 1" in choose("Layer", "2")
    assert "Layer 2, head 3" in choose("Head", "3")
    choose("Mask", "sliding")
    push("Window", "ArrowRight")
    push("log2 temp.", "ArrowRight")
    choose("RoPE base", "100.0")
    push("ALiBi slope", "ArrowRight")
    notebook.expect_not(index, "Your function raised an error")
