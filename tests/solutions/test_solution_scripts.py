"""What must hold in a chapter's script beyond what the build checks: headings, examples, pictures that can be read."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from autograder.authoring.script import Cell, parse
from autograder.exercise import load_chapter

SOLUTIONS = Path(__file__).resolve().parents[2] / "solutions"
CHAPTERS = sorted(path.stem for path in SOLUTIONS.glob("*.py"))
HEADING = re.compile(r"^## Exercise (\d+) · (.+?)  (★{1,3}) · (\d+) min$", re.MULTILINE)


def cells_of(chapter: str) -> list[Cell]:
    path = SOLUTIONS / f"{chapter}.py"
    return parse(path.read_text(encoding="utf-8"), path.name).cells


def prose(chapter: str) -> str:
    return "\n\n".join(cell.source for cell in cells_of(chapter) if cell.kind == "markdown")


def solved(chapter: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names after the set-up and solution cells, with the course's own functions silent."""
    monkeypatch.setenv("COURSE_JUDGE", "1")
    names: dict[str, Any] = {"__name__": "chapter"}
    monkeypatch.setattr("autograder.notebook._user_namespace", lambda: names)  # where stand_in looks for a function
    for cell in cells_of(chapter):
        if cell.header.get("tags") == ["setup"] or "exercise" in cell.header:
            exec(compile(cell.source, f"{chapter}:{cell.line}", "exec"), names)
    return names


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_headings_say_what_the_exercises_say(chapter: str) -> None:
    exercises = [e for e in load_chapter(chapter).exercises.values() if e.kind == "code"]
    wanted = [(str(n), e.title, "★" * e.difficulty, str(e.minutes)) for n, e in enumerate(exercises, 1)]
    assert HEADING.findall(prose(chapter)) == wanted


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solution_cells_stand_in_the_order_of_the_exercises(chapter: str) -> None:
    written = [cell.header["exercise"] for cell in cells_of(chapter) if "exercise" in cell.header]
    assert written == list(load_chapter(chapter).exercises)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_checks_name_all_functions_of_their_exercise(chapter: str) -> None:
    for cell in cells_of(chapter):
        if "check" in cell.header:
            call = ast.parse(cell.source).body[0].value
            given = tuple(getattr(argument, "id", None) or argument.value for argument in call.args)
            assert given == load_chapter(chapter).exercises[cell.header["check"]].functions


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_examples_in_the_docstrings_are_true(chapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = solved(chapter, monkeypatch)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    functions = [f for e in load_chapter(chapter).exercises.values() if e.kind == "code" for f in e.functions]
    for name in functions:
        example = doctest.DocTestParser().get_doctest(names[name].__doc__, dict(names), name, chapter, 0)
        assert example.examples, f"{name} shows no example"
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_is_shown_with_a_description(chapter: str) -> None:
    for cell in cells_of(chapter):
        if cell.kind != "code":
            continue
        assert "plt.show" not in cell.source, f"line {cell.line}: show figures with display.show(fig, alt=...)"
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "display.show":
                alt = next((k.value for k in node.keywords if k.arg == "alt"), ast.Constant(""))
                said = ast.unparse(alt)
                # A name stands for words that a function of the library made, and its own tests look at.
                assert isinstance(alt, ast.Name) or len(said) > 60, (
                    f"line {cell.line}: a description says what is to be seen, got {said!r}"
                )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_can_be_unfolded_is_closed_again(chapter: str) -> None:
    for cell in cells_of(chapter):
        if cell.kind == "markdown":
            for tag in ("details", "summary"):
                opened, closed = (cell.source.count(f"<{slash}{tag}>") for slash in ("", "/"))
                assert opened == closed, f"line {cell.line}: {opened} times <{tag}>, {closed} times </{tag}>"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_quiz_answers_are_the_right_ones(chapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quiz = load_chapter(chapter).exercises.get("quiz")
    if quiz is None:
        pytest.skip("this chapter has no quiz")
    names = solved(chapter, monkeypatch)
    assert names["quiz_answers"] == quiz.solution()["quiz_answers"]


def test_patterns_cut_as_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    tiktoken = pytest.importorskip("tiktoken_ext.openai_public")
    regex = pytest.importorskip("regex")
    names = solved("01_tokenization", monkeypatch)
    monkeypatch.setattr(tiktoken, "load_tiktoken_bpe", lambda *_args, **_kwargs: {})
    monkeypatch.setattr(tiktoken, "data_gym_to_mergeable_bpe_ranks", lambda **_kwargs: {})
    texts = [
        "We've  12 cats, they'LL eat\n\n  3.50 €  of\tfish\r\n \n", "don't DON'T 'S 1234567 x=[1,2];\n    y", "   ", "",
        "naïve 北京 ٣٤٥ ½ ²\u00a0\u3000 a\u0301 🙂🙂  \n\n\n end ", "'re 're're ''s s's\n'd",
    ]  # fmt: skip
    for name, pattern in (("gpt2", "GPT2_PATTERN"), ("cl100k_base", "CL100K_PATTERN")):
        published = getattr(tiktoken, name)()["pat_str"]
        for text in texts:
            assert names["pretokenize"](text, names[pattern]) == regex.findall(published, text)
