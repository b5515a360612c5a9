"""A student in chapter 3: a loss that forgets to shift, then the widgets that show what training does."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from lab_driver import NotebookPage, complaints
from student import card_follows_the_work, changed, is_readable_in_both_themes, run, run_edited, widget_fits

from autograder.exercise import load_chapter
from autograder.judge.release import solved_cells
from course_lib.pretraining.ablations import ABLATIONS

CHAPTER = "03_pretraining"
EXERCISE = "causal_lm_loss"
SHIFTED = """def causal_lm_loss(logits, ids, ignore_index=-100):
    said, targets = logits[:, :-1].float(), ids[:, 1:]
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError("nothing to predict")
    log_p = said.log_softmax(-1).gather(-1, targets.masked_fill(~counted, 0)[..., None])[..., 0]
    return -log_p[counted].mean()


def perplexity(logits, ids, ignore_index=-100):
    return causal_lm_loss(logits, ids, ignore_index).exp()
"""
UNSHIFTED = SHIFTED.replace("logits[:, :-1].float(), ids[:, 1:]", "logits.float(), ids")

# What is written behind the course's answers, so that the widgets show whose functions they use.
REFUSAL = "too hot for a single text"
OWN = {
    "pretrain": f"""
sample_at_any_heat = sample


def sample(model, ids, n, context_length, temperature=1.0, g=None):
    if len(ids) == 1 and temperature > 1.95:
        raise ValueError("{REFUSAL}")
    return sample_at_any_heat(model, ids, n, context_length, temperature, g)
""",
    "adamw_step": """
step_uncounted, taken = adamw_step, []


def adamw_step(*args, **kwargs):
    taken.append(1)
    return step_uncounted(*args, **kwargs)
""",
}
WRITER, ORDER = "checkpoint_writer(write", "predict_order(ablation_runs)"

# The widgets need models, but not good ones: a few steps, and little text to look at.
CHECKPOINTS, STEPS = 6, 3
SHORTER_RUN = {
    '"quick": 900': f'"quick": {CHECKPOINTS}',
    "warmup=50": "warmup=2",
    r"held_out_ids = numbered\(.*\)": r"\g<0>[:2000]",
}
SHORTER_ABLATIONS = {
    "larger = ": "taken.clear()\nlarger = ",
    "else 200": f"else {STEPS}",
    "steps // 10": "steps // 3",
    r"predict_order\(ablation_runs\)": r'print(len(taken), "steps of my own")\n\g<0>',
}


@pytest.mark.browser
@pytest.mark.slow
def test_a_student_writes_the_loss_and_plays_with_what_was_trained(open_notebook, picture):
    exercise = load_chapter(CHAPTER, with_hidden=False).exercises[EXERCISE]
    notebook = open_notebook(CHAPTER)
    said = complaints(notebook.page)
    run(notebook, "open_chapter(")
    card_follows_the_work(notebook, exercise, UNSHIFTED, "no_shift", SHIFTED, picture, "pretraining")

    models_are_trained_by_own_functions(notebook)
    the_model_writes(notebook)
    picture(notebook, notebook.containing(WRITER), "pretraining_writer")
    orders_are_scored(notebook)
    picture(notebook, notebook.containing(ORDER), "pretraining_order")

    for widget in (WRITER, ORDER):
        widget_fits(notebook, notebook.containing(widget))
    is_readable_in_both_themes(
        notebook,
        picture,
        pretraining_dark_card=notebook.index(f"check_{EXERCISE}"),
        pretraining_dark_writer=notebook.containing(WRITER),
        pretraining_dark_order=notebook.containing(ORDER),
    )
    assert not notebook.errors()
    assert not said, said


def models_are_trained_by_own_functions(notebook: NotebookPage) -> None:
    """Two more exercises are solved, and the runs above the widgets take those functions."""
    answers = solved_cells(CHAPTER)
    for exercise, addition in OWN.items():
        index = notebook.index(exercise)
        notebook.write(index, answers[exercise] + addition)
        notebook.run(index)
    run_edited(notebook, "cfg.eval_every = ", SHORTER_RUN)
    run(notebook, WRITER)
    run_edited(notebook, ORDER, SHORTER_ABLATIONS)
    for source in ("cfg.eval_every = ", WRITER, ORDER):
        notebook.expect_not(notebook.containing(source), "Using the course's")
    notebook.expect(notebook.containing(ORDER), f"{5 * STEPS} steps of my own")  # that many for all seeds of 5 networks
    assert not notebook.errors()


def the_model_writes(notebook: NotebookPage) -> None:
    index, keyboard = notebook.containing(WRITER), notebook.page.keyboard
    output = notebook.output(index)
    texts = [output.locator(".jupyter-widgets pre").inner_text()]

    def after(act: Callable[[], object]) -> str:
        texts.append(changed(notebook, index, "pre", "innerText", act))
        return texts[-1]

    def press(control: str, key: str) -> str:
        output.locator(".widget-slider", has_text=control).get_by_role("slider").focus()
        return after(lambda: keyboard.press(key))

    assert texts[0].startswith("Return the ")
    output.get_by_role("textbox", name="Prompt").click()
    keyboard.press("Control+a")
    keyboard.type("import <os> ")
    assert after(lambda: keyboard.press("Enter")).startswith("import <os> ")
    assert output.locator(".jupyter-widgets pre strong").inner_text() == "import <os> "

    press("Step", "Home")
    notebook.expect(index, re.compile(r"Step\s*1\D"))
    press("Step", "ArrowRight")
    notebook.expect(index, re.compile(r"Step\s*2\D"))
    press("Temperature", "ArrowLeft")
    output.get_by_role("spinbutton").focus()
    after(lambda: keyboard.press("ArrowUp"))
    assert len(set(texts)) == len(texts)

    assert REFUSAL in press("Temperature", "End")
    notebook.expect(index, "Your function raised an error")
    assert press("Temperature", "ArrowLeft").startswith("import <os> ")
    notebook.expect_not(index, "Your function raised an error")


def orders_are_scored(notebook: NotebookPage) -> None:
    index = notebook.containing(ORDER)
    output = notebook.output(index)

    def answer(order: list[str]) -> None:
        for menu, name in zip(output.get_by_role("combobox").all(), order, strict=True):
            menu.select_option(label=name)
        output.get_by_role("button", name="Show the curves").focus()
        notebook.page.keyboard.press("Enter")

    answer(["choose"] * 4)
    notebook.expect(index, "Choose each of the four once")
    answer([*ABLATIONS])
    notebook.expect(index, re.compile(r"[0-6] of 6 pairs are right"))
    measured = output.get_by_role("status").inner_text().split("from the lowest loss: ")[1]
    names = re.findall(r"([^\s,][^,]*) \d+\.\d\d", measured)  # "post-norm 3.21, no norm 3.30, ..."
    assert sorted(names) == sorted(ABLATIONS)
    for order, score in ((names, "6 of 6 pairs are right (Kendall's tau +1.00)"), (names[::-1], "0 of 6 pairs")):
        answer(order)
        notebook.expect(index, score)
        notebook.expect_described(index, f"Held-out loss over the steps for {len(ABLATIONS) + 1} networks")
    answer(names[:1] * 4)
    notebook.expect(index, "Choose each of the four once")
    answer(names)
    notebook.expect(index, "6 of 6")
