"""A class from hand-in to gradebook: one small course is built once, and nbgrader's own steps run on it."""

import copy
import csv
import io
import json
import shutil
from html.parser import HTMLParser

import pytest
import small
from course import make_course
from filelock import FileLock
from held import Holder
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from rich.console import Console
from small import CHAPTER_ID, RIGHT, answers, code, notebook

from autograder.judge import grading
from autograder.judge.grade import grade_chapter
from autograder.judge.gradebook import Course
from autograder.judge.restore import readable_notebook, readable_release, restore

ESSAY = {
    "cell_type": "markdown",
    "source": "Because <script>alert(1)</script> tokens.",
    "metadata": {
        "nbgrader": {
            "grade_id": "essay",
            "grade": True,
            "solution": True,
            "points": 5,
            "locked": False,
            "schema_version": 3,
        }
    },
}
CLASS = {
    "ada": notebook([*answers(), ESSAY]),
    "bob": notebook(answers(double=None)),
    "cut": notebook(answers())[:700],
    "dup": notebook([cell for cell in answers() for _ in range(2)]),
    "eve": notebook(
        [
            code("import os\nos._exit(0)\n", exercise="double"),
            *answers()[3:],
            code("x", metadata={"nbgrader": {"grade_id": "check_total", "points": 1000, "schema_version": 1}}),
            code("y", metadata={"nbgrader": {"schema_version": 99}}),
        ]
    ),
    "nan": notebook([code(source) for source in RIGHT.values()]),
}


@pytest.fixture(scope="module")
def patched(holder: Holder):
    with pytest.MonkeyPatch.context() as patch:
        chapter = small.chapter()
        import autograder.exercise
        from autograder.judge import grade, preprocessor, release, restore

        patch.setattr(release, "_chapter_files", lambda chapter_id: [])  # an author may be editing the real ones
        for module in (release, grading):
            patch.setattr(module, "solved_cells", lambda chapter_id: small.SOLVED)

        for module in (autograder.exercise, grade, grading, preprocessor, restore):
            patch.setattr(module, "load_chapter", lambda chapter_id, with_hidden=True: chapter)
        for module in (autograder.exercise, restore):
            patch.setattr(module, "chapter_ids", lambda: [CHAPTER_ID])
        patch.setattr(grading, "zygote_of", lambda chapter_id: holder.get())
        yield


@pytest.fixture(scope="module")
def course(tmp_path_factory, patched):
    root = make_course(tmp_path_factory.mktemp("course"))
    for student, data in CLASS.items():
        path = root / "in" / student / CHAPTER_ID / f"{CHAPTER_ID}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    text = io.StringIO()
    graded = grade_chapter(CHAPTER_ID, root, submissions=root / "in", workers=1, console=Console(file=text, width=160))
    return root, {g.student: g for g in graded}, text.getvalue()


def gradebook(root) -> dict[str, dict[str, float]]:
    return {student: grade["cells"] for student, grade in Course(root).grades(CHAPTER_ID).items()}


def test_the_gradebook_says_what_the_judge_found(course):
    root, graded, _ = course
    full = {"check_double": 3, "check_total": 2, "check_apply": 1, "check_centre": 2, "check_Tally": 2, "essay": 0}
    assert gradebook(root) == {
        "ada": full,
        "bob": full | {"check_double": 0},
        "cut": dict.fromkeys(full, 0),
        "dup": full,
        "eve": full | {"check_double": 0},
        "nan": full,
    }
    assert {name: g.problems for name, g in graded.items()} == {name: [] for name in CLASS}
    assert Course(root).grades(CHAPTER_ID)["ada"]["to_mark"] == ["essay"]
    assert Course(root).grades(CHAPTER_ID)["ada"]["max_score"] == 15


def test_the_table_and_the_files_say_it_too(course):
    root, _, text = course
    assert "15" in text and "10/15" in text and "cut off" in text and "to mark: essay" in text
    rows = {row["student"]: row for row in csv.DictReader((root / "classroom" / "grades.csv").open())}
    assert rows["bob"]["score"] == "7" and "`double`" in rows["bob"]["notes"] and rows["ada"]["to_mark"] == "essay"
    rows = {row["student"]: row for row in csv.DictReader((root / "classroom" / f"grades_{CHAPTER_ID}.csv").open())}
    assert (rows["eve"]["double"], rows["eve"]["Tally"], rows["eve"]["score"]) == ("0", "2", "7")


def test_feedback_names_mistakes_and_keeps_hidden_checks_hidden(course, patched):
    root, *_ = course
    page = (root / "classroom" / "feedback" / "bob" / CHAPTER_ID / f"{CHAPTER_ID}.html").read_text()
    assert "not attempted" in page and "place of yours" in page
    for student in CLASS:
        page = (root / "classroom" / "feedback" / student / CHAPTER_ID / f"{CHAPTER_ID}.html").read_text()
        assert "doubles negative numbers" not in page and "doubles_negative" not in page
        assert "<script>alert" not in page
    broken = (root / "classroom" / "feedback" / "cut" / CHAPTER_ID / f"{CHAPTER_ID}.html").read_text()
    assert "This file could not be read" in broken


def test_nothing_is_graded_twice(course, monkeypatch):
    root, before, _ = course
    monkeypatch.setattr(grading, "zygote_of", lambda chapter_id: pytest.fail("graded again"))
    stamps = {path: path.stat().st_mtime_ns for path in (root / "classroom" / "autograded").rglob("*.ipynb")}
    again = grade_chapter(CHAPTER_ID, root, workers=1, console=Console(file=io.StringIO()))
    assert not any(g.is_new for g in again) and all(g.is_new for g in before.values())
    assert stamps == {path: path.stat().st_mtime_ns for path in (root / "classroom" / "autograded").rglob("*.ipynb")}
    assert {g.student: g.result["earned"] for g in again} == {n: g.result["earned"] for n, g in before.items()}


def test_plain_nbgrader_comes_to_the_same_grades(course, tmp_path):
    root, *_ = course
    other = tmp_path / "course"
    shutil.copytree(root, other)
    shutil.rmtree(other / "classroom" / "autograded")
    shutil.rmtree(other / "classroom" / "results")
    elsewhere = Course(other)
    with elsewhere.gradebook() as book:
        for grade in (g for s in book.assignment_submissions(CHAPTER_ID) for n in s.notebooks for g in n.grades):
            grade.auto_score = None
        book.db.commit()
    assert sum(grade["check_double"] for grade in gradebook(other).values()) == 0
    directory = CourseDirectory(config=elsewhere.config)
    directory.assignment_id = CHAPTER_ID
    Autograde(coursedir=directory, config=elsewhere.config).start()  # all students, as the command does
    assert gradebook(other) == gradebook(root)


def test_a_new_submission_is_graded_and_a_marked_essay_is_kept(course):
    root, *_ = course
    with Course(root).gradebook() as book:
        book.find_grade("essay", CHAPTER_ID, CHAPTER_ID, "ada").manual_score = 4
        book.db.commit()
    (root / "in2").mkdir()
    (root / "in2" / "bob.ipynb").write_bytes(notebook([*answers(), code("# second try")]))
    graded = grade_chapter(CHAPTER_ID, root, submissions=root / "in2", workers=1, console=Console(file=io.StringIO()))
    assert [g.student for g in graded if g.is_new] == ["bob"]
    assert gradebook(root)["bob"]["check_double"] == 3 and gradebook(root)["ada"]["essay"] == 4
    graded = grade_chapter(CHAPTER_ID, root, regrade=True, workers=1, console=Console(file=io.StringIO()))
    assert all(g.is_new for g in graded) and gradebook(root)["ada"]["essay"] == 4


def test_a_broken_file_says_why_in_the_autograded_notebook(course):
    root, *_ = course
    path = root / "classroom" / "autograded" / "cut" / CHAPTER_ID / f"{CHAPTER_ID}.ipynb"
    made = json.loads(path.read_text())
    assert "cut off" in "".join(made["cells"][0]["source"]) or any("cut off" in str(c) for c in made["cells"])
    assert "cut off" in made["metadata"]["course"]["problem"] and made["metadata"]["course"]["sandbox"]


def test_restored_notebooks_have_every_graded_cell_once(course):
    root, *_ = course
    released = readable_release((root / "chapters" / CHAPTER_ID / f"{CHAPTER_ID}.ipynb").read_bytes())
    wanted = [c.metadata["nbgrader"]["grade_id"] for c in released if "nbgrader" in c.metadata]
    plain = [*answers(), ESSAY]
    cases = {
        "as it was": plain,
        "reversed": plain[::-1],
        "nothing left": [code("x")],
        "doubled": [c for c in plain for _ in range(2)],
        "only the last": plain[-1:],
        "check turned into text": [c | {"cell_type": "markdown"} for c in plain],
    }
    for name, cells in cases.items():
        nb = readable_notebook(notebook(copy.deepcopy(cells)))
        restore(nb, released, CHAPTER_ID)
        found = [c.metadata["nbgrader"]["grade_id"] for c in nb.cells if "nbgrader" in c.metadata]
        assert sorted(found) == sorted(wanted), name
        for cell in nb.cells:
            graded = cell.metadata.get("nbgrader")
            if graded:
                original = next(
                    c for c in released if c.metadata.get("nbgrader", {}).get("grade_id") == graded["grade_id"]
                )
                assert graded == original.metadata["nbgrader"] and cell.cell_type == original.cell_type, name
                if graded["locked"]:
                    assert cell.source == original.source
        assert len({c.id for c in nb.cells}) == len(nb.cells), name
        if name in ("as it was", "reversed", "doubled"):
            sources = {c.metadata["nbgrader"]["grade_id"]: c.source for c in nb.cells if "nbgrader" in c.metadata}
            assert sources["double"] == RIGHT["double"] and "tokens" in sources["essay"]


class Page(HTMLParser):
    """What a browser would run of a page: scripts, handlers, addresses with code, embedded pages."""

    def __init__(self):
        super().__init__()
        self.dangers: list[str] = []
        self.in_script = False

    def handle_starttag(self, tag, attrs):
        self.in_script = tag == "script"
        values = [f"{name}={value}" for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]
        if values or tag in ("iframe", "object", "embed", "svg"):
            self.dangers.append(f"{tag} {values}")

    def handle_data(self, data):
        if self.in_script and "pwned" in data:
            self.dangers.append(data)

    def handle_endtag(self, tag):
        self.in_script = False


def test_nothing_that_a_student_wrote_runs_in_the_feedback(course):
    root, *_ = course
    hostile = [
        "<script>pwned()</script>", "<img src=x onerror='pwned()'>", "<svg/onload=pwned()>", "<iframe srcdoc='x'>",
        "[x](javascript:pwned())", "<details open ontoggle='pwned()'>x</details>", "<<script>pwned()</script>",
        "<b\nonmouseover='pwned()'>b</b>", "</pre><script>pwned()</script>", "`<script>pwned()</script>`",
    ]  # fmt: skip
    cells = answers(
        double=f"def double(x):\n    raise ValueError({hostile[0]!r})\n",
        total=f"def total(xs):\n    return {hostile[1]!r}\n",
    )
    for text in hostile:
        shown = dict.fromkeys(("text/html", "text/plain", "text/markdown", "text/latex", "image/svg+xml"), text)
        outputs = [
            {"output_type": "display_data", "metadata": {}, "data": shown},
            {"output_type": "stream", "name": "stdout", "text": text},
        ]
        cells += [
            {"cell_type": "markdown", "metadata": {}, "source": text},
            {"cell_type": "raw", "metadata": {"format": "text/html"}, "source": text},
            code(f"# {text}", outputs=outputs),
        ]  # fmt: skip
    cells.append(ESSAY | {"source": "\n\n".join(hostile)})
    path = root / "in3" / "zed.ipynb"
    path.parent.mkdir()
    path.write_bytes(notebook(cells))
    grade_chapter(CHAPTER_ID, root, submissions=path.parent, workers=1, console=Console(file=io.StringIO()))
    text = (root / "classroom" / "feedback" / "zed" / CHAPTER_ID / f"{CHAPTER_ID}.html").read_text()
    page = Page()
    page.feed(text)
    assert "pwned" in text and page.dangers == []
    page = Page()
    page.feed((root / "classroom" / "report.html").read_text())
    assert set(page.dangers) <= {"svg []"}  # its own picture


def test_two_runs_do_not_write_one_gradebook(course):
    root, *_ = course
    with FileLock(root / "classroom" / ".grading.lock"), pytest.raises(ValueError, match="another run"):
        grade_chapter(CHAPTER_ID, root, workers=1, console=Console(file=io.StringIO()))
