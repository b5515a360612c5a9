"""From script to students' notebook: metadata, determinism, and nothing half-done."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nbformat
import pytest
from toy_course import PROJECT, TOY

from autograder import build as builder
from autograder.authoring.notebook import cell_ids, serialise, to_notebook
from autograder.authoring.script import Cell, parse


def cells(path) -> dict[str, dict]:
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    return {cell.id: cell for cell in nb.cells}


def test_students_get_the_stubs_and_nbgraders_metadata(course):
    assert course.build() == [course.chapter]
    released = cells(course.chapter)
    assert len(released) == 9
    twice, check, essay = released["twice"], released["check_twice"], released["essay"]
    assert twice.source.split("\n") == [
        "def twice(x: int) -> int:",
        '    """Two times x."""',
        "    # Write your code here. The check below tells you how far you are.",
        '    raise NotImplementedError("your turn: replace this line")',
    ]
    quiz = released["quiz"].source
    assert "Write your code" not in quiz and "NotImplementedError" not in quiz and "your answers are right" in quiz
    kinds = {
        cell_id: tuple(cell.metadata.nbgrader[key] for key in ("grade", "solution", "locked", "task"))
        for cell_id, cell in released.items()
        if "nbgrader" in cell.metadata
    }
    assert kinds == {
        "twice": (False, True, False, False),
        "check_twice": (True, False, True, False),
        "quiz": (False, True, False, False),
        "check_quiz": (True, False, True, False),
        "essay": (True, True, False, False),
    }
    assert {cell.metadata.nbgrader.schema_version for cell in (twice, check, essay)} == {3}
    assert (check.metadata.nbgrader.points, essay.metadata.nbgrader.points) == (3, 5)
    assert "points" not in twice.metadata.nbgrader
    assert (check.metadata.deletable, check.metadata.editable) == (False, False)
    assert twice.metadata.deletable is False and "editable" not in twice.metadata
    assert essay.cell_type == "markdown" and "counting" not in essay.source
    tags = {tag: cell for cell in released.values() for tag in cell.metadata.get("tags", ())}
    assert set(tags) == {"setup", "experiment"}
    assert tags["setup"].metadata.deletable is False
    assert "%matplotlib inline\n# copy the numbers" in tags["setup"].source


def test_an_unsolved_chapter_runs_to_its_end(course):
    course.build()
    quiz = cells(course.chapter)["quiz"].source
    scope: dict = {}
    exec(quiz, scope)
    assert scope["quiz_answers"] == {"colour": None}
    exec(cells(course.chapter)["twice"].source, scope)
    with pytest.raises(NotImplementedError, match="your turn"):
        scope["twice"](1)


def test_the_solved_notebook_holds_the_solutions_and_says_nothing_of_this_python(course):
    course.build()
    assert "doubled = x + x" in cells(course.source)["twice"].source
    assert cells(course.source)["essay"].source == "Because addition is repeated counting."
    assert cells(course.source)["essay"].metadata.nbgrader.points == 5
    for path in (course.source, course.chapter):
        text = path.read_text(encoding="utf-8")
        nb = json.loads(text)
        assert text == json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        assert (nb["nbformat"], nb["nbformat_minor"]) == (4, 5)
        assert "version" not in json.dumps(nb["metadata"])
        assert [cell["id"] for cell in nb["cells"]] == list(cells(course.source))
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in nb["cells"])


def test_what_jupyter_adds_is_taken_out():
    nb = to_notebook([Cell("code", "x"), Cell("markdown", "y")], {})
    clean = serialise(nb)
    nb.metadata.language_info.version = "3.99.0"
    nb.metadata.widgets = {"state": {}}
    nb.cells[0].update(execution_count=3, outputs=[nbformat.v4.new_output("stream", text="x")])
    assert serialise(nb) == clean


def test_two_builds_in_other_processes_agree_to_the_byte(course):
    course.build()
    before = course.source.read_bytes(), course.chapter.read_bytes()
    program = (
        "import sys; from pathlib import Path; from autograder.build import build\n"
        "build(None, Path(sys.argv[1]), points=lambda chapter: {'twice': 3, 'quiz': 2})"
    )
    for seed in ("1", "2"):
        course.source.unlink()
        course.chapter.unlink()
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)}
        subprocess.run([sys.executable, "-c", program, course.root], env=environment, check=True, cwd="/")
        assert (course.source.read_bytes(), course.chapter.read_bytes()) == before


def test_an_edit_elsewhere_moves_no_id():
    before = parse(TOY, "s.py").cells
    grown = '# %% [markdown]\n"""\nA new first cell.\n"""\n\n' + TOY.replace("range(3)", "range(9)")
    after = parse(grown, "s.py").cells
    old, new = cell_ids(before), cell_ids(after)
    assert len(set(new)) == len(new)
    assert [a == b for a, b in zip(old, new[1:], strict=True)] == [cell.source != before[4].source for cell in before]


def test_equal_cells_get_different_ids():
    ids = cell_ids(parse("# %%\nx = 1\n\n# %%\nx = 1\n\n# %%\nx = 1\n", "s.py").cells)
    assert len(set(ids)) == 3
    assert ids[:2] == cell_ids(parse("# %%\nx = 1\n\n# %%\nx = 1\n", "s.py").cells)


def test_building_leaves_the_gradebook_alone_and_an_unchanged_file_untouched(course):
    course.build()
    assert not list(course.root.rglob("*.db"))
    stamp = course.chapter.stat().st_mtime_ns
    course.build()
    assert course.chapter.stat().st_mtime_ns == stamp
    assert sorted(p.name for p in course.chapter.parent.iterdir()) == ["01_toy.ipynb"]


def test_a_failing_build_leaves_everything_as_it_was(course):
    course.build()
    (course.root / "solutions" / "00_first.py").write_text("# %%\nx = 1\n", encoding="utf-8")
    before = course.chapter.read_bytes()
    line = course.edit("    ### END SOLUTION\n\n\n# %% check", "\n\n# %% check")
    with pytest.raises(builder.BuildError) as error:
        course.build()
    message = "'### BEGIN SOLUTION' without '### END SOLUTION' in this cell"
    assert str(error.value) == f"solutions/01_toy.py:{line - 3}: {message}"
    assert course.chapter.read_bytes() == before
    assert not (course.root / "chapters" / "00_first").exists()


def test_named_chapters_only_and_unknown_ones_by_name(course):
    (course.root / "solutions" / "00_first.py").write_text("# %%\nx = 1\n", encoding="utf-8")
    first = course.root / "chapters" / "00_first" / "00_first.ipynb"
    assert course.build(["00_first"]) == [first]
    assert not course.chapter.exists()
    assert course.build() == [first, course.chapter]
    with pytest.raises(builder.BuildError, match=r"^solutions/07_x\.py:1: no such chapter: expected 00_first, 01_toy$"):
        course.build(["07_x"])


def test_plain_nbgrader_makes_the_same_file(course):
    course.build()
    ours = course.chapter.read_bytes()
    course.chapter.unlink()
    program = [sys.executable, "-m", "nbgrader", "generate_assignment", "01_toy", "--force", "--no-db"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(program, cwd=course.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert course.chapter.read_bytes() == ours


def test_what_nbgrader_refuses_is_one_line(course, monkeypatch):
    config = course.root / "nbgrader_config.py"
    text = config.read_text(encoding="utf-8")
    config.write_text(text + 'c.ClearSolutions.code_stub = {"R": "stop()"}\n', encoding="utf-8")
    with pytest.raises(builder.BuildError) as error:
        course.build()
    assert str(error.value).startswith("solutions/01_toy.py:1: nbgrader generate_assignment: ValueError: language")
    assert "\n" not in str(error.value)
    config.unlink()
    with pytest.raises(builder.BuildError, match=r"^nbgrader_config\.py:1: "):
        course.build()


def test_points_come_from_the_exercise_classes():
    from autograder.exercise import chapter_ids, load_chapter

    for chapter in chapter_ids():
        exercises = load_chapter(chapter).exercises
        assert dict(builder.points_of(chapter)) == {name: exercises[name].points for name in exercises}
    assert builder.points_of("99_unknown") == {}
