"""A student works in chapter 1: runs it, makes a mistake, reads what the card says, corrects it, plays, looks up."""

import json
import re

import pytest
from contrast import everything_can_be_read
from lab_driver import NotebookPage

from autograder.exercise import Chapter, load_chapter
from course_lib.display import WIDGET_VIEW

CHAPTER = "01_tokenization"

COUNTS = """def get_pair_counts(ids, weight=1):
    counts = Counter()
    for pair in zip(ids, ids[1:]):
        counts[pair] += weight
    return counts


"""
FROM_THE_RIGHT = (
    COUNTS
    + """def merge(ids, pair, new_id):
    merged, i = [], len(ids) - 1
    while i >= 0:
        if i > 0 and (ids[i - 1], ids[i]) == pair:
            merged.insert(0, new_id)
            i -= 2
        else:
            merged.insert(0, ids[i])
            i -= 1
    return merged
"""
)
FROM_THE_LEFT = (
    COUNTS
    + """def merge(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged
"""
)


TYPED = "The value of the expression is a generator. Grüß Gott, λόγος: 3.14159"


@pytest.mark.browser
@pytest.mark.slow
def test_a_student_makes_a_mistake_understands_it_and_passes(open_notebook, picture):
    chapter = load_chapter(CHAPTER, with_hidden=False)
    notebook = open_notebook(CHAPTER)
    notebook.run_all()
    picture(notebook, notebook.containing("open_chapter("), "setup")

    nothing_is_attempted_and_nothing_fails(notebook, chapter)
    picture(notebook, notebook.index("check_merge"), "not_attempted")

    the_mistake_is_named(notebook, chapter)
    picture(notebook, notebook.index("check_merge"), "failed_check")
    details_open_and_close_by_keyboard(notebook)

    the_correction_passes(notebook, chapter)
    picture(notebook, notebook.index("check_merge"), "passed")

    the_progress_page_counts_it(notebook, chapter)
    picture(notebook, notebook.containing("progress()"), "progress")

    widgets_answer(notebook)
    widgets = {"tokens": "token_explorer(my", "merges": "merge_explorer(merges", "quiz": "quiz()"}
    for name, source in widgets.items():
        picture(notebook, notebook.containing(source), f"widget_{name}")

    picture(notebook, notebook.containing("token_explorer(my"), "token_widget", part=".jupyter-widgets")

    everything_can_be_read(notebook.page)
    notebook.choose_theme("JupyterLab Dark")
    everything_can_be_read(notebook.page)
    for name, source in {"progress": "progress()", "setup": "open_chapter("}.items() | widgets.items():
        picture(notebook, notebook.containing(source), f"dark_{name}")
    notebook.write(notebook.index("merge"), FROM_THE_RIGHT)
    for index in (notebook.index("merge"), notebook.index("check_merge")):
        notebook.run(index)
    everything_can_be_read(notebook.page)
    picture(notebook, notebook.index("check_merge"), "dark_failed_check")

    what_is_saved_can_be_read_without_a_kernel(notebook)


def nothing_is_attempted_and_nothing_fails(notebook: NotebookPage, chapter: Chapter) -> None:
    assert not notebook.errors()
    assert all(re.search(r"\d", number) for number in notebook.numbers()), "a cell was not run"
    for exercise in chapter.exercises.values():
        notebook.expect(notebook.index(f"check_{exercise.id}"), f"{exercise.title}: not attempted yet")
    notebook.expect_described(notebook.containing("progress()"), f"{CHAPTER}: 0 of {len(chapter.exercises)} solved")


def the_mistake_is_named(notebook: NotebookPage, chapter: Chapter) -> None:
    exercise = chapter.exercises["merge"]
    declared = next(m.text for m in exercise.mistakes if m.name == "merges_from_the_right")
    notebook.write(notebook.index("merge"), FROM_THE_RIGHT)
    notebook.run(notebook.index("merge"))
    notebook.run(notebook.index("check_merge"))
    count = len(exercise.checks)
    notebook.expect(notebook.index("check_merge"), f"{exercise.title}: {count - 1} of {count} checks passed")
    notebook.expect(notebook.index("check_merge"), f"Recognised: your code {declared}")


def details_open_and_close_by_keyboard(notebook: NotebookPage) -> None:
    row = notebook.output(notebook.index("check_merge")).locator("details").first
    row.locator("summary").focus()
    assert row.evaluate("row => row.open")
    for key, opened in (("Enter", False), ("Space", True)):
        notebook.page.keyboard.press(key)
        assert row.evaluate("row => row.open") is opened, key


def the_correction_passes(notebook: NotebookPage, chapter: Chapter) -> None:
    exercise = chapter.exercises["merge"]
    notebook.write(notebook.index("merge"), FROM_THE_LEFT)
    notebook.run(notebook.index("merge"))
    notebook.run(notebook.index("check_merge"))
    count = len(exercise.checks)
    notebook.expect(notebook.index("check_merge"), f"{exercise.title}: {count} of {count} checks passed")
    notebook.expect_not(notebook.index("check_merge"), "Recognised")


def the_progress_page_counts_it(notebook: NotebookPage, chapter: Chapter) -> None:
    page = notebook.containing("progress()")
    notebook.run(page)
    notebook.expect_described(page, f"{CHAPTER}: 1 of {len(chapter.exercises)} solved")
    notebook.expect(page, re.compile(rf"{chapter.exercises['merge'].title}\s*✓ solved"))


def widgets_answer(notebook: NotebookPage) -> None:
    keyboard = notebook.page.keyboard
    tokens = notebook.containing("token_explorer(my")
    said = f"{len(TYPED)} characters, {len(TYPED.encode())} bytes"
    notebook.expect_not(tokens, said)
    notebook.output(tokens).locator("textarea").click()
    keyboard.press("Control+a")
    keyboard.type(TYPED)
    notebook.expect(tokens, said)

    merges = notebook.containing("merge_explorer(merges")
    notebook.expect(merges, "No merge yet")
    notebook.output(merges).get_by_role("slider").focus()
    keyboard.press("ArrowRight")
    notebook.expect(merges, "Merge 1 of")
    notebook.output(merges).get_by_role("button").click()
    notebook.expect(merges, re.compile(r"Merge ([2-9]|\d\d+) of"))

    quiz = notebook.containing("quiz()")
    notebook.output(quiz).get_by_role("radio").first.check()
    notebook.expect(quiz, "quiz_answers = {1: 'a', 2: ''")
    notebook.expect(quiz, re.compile("✓ right|✗ not quite"))


def what_is_saved_can_be_read_without_a_kernel(notebook: NotebookPage) -> None:
    notebook.save()
    saved = json.loads(notebook.file.read_text(encoding="utf-8"))
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", ())]
    kinds = [set(output.get("data", ())) for output in outputs]
    assert any("text/html" in kind for kind in kinds)
    assert not any(WIDGET_VIEW in kind for kind in kinds)
