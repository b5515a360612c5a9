"""nbgrader's configuration: its commands read this file when they are run in this directory."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821  (nbgrader puts it here)

ROOT = Path(__file__).resolve().parent

# nbgrader starts the program `alembic` by name when it makes a gradebook. It stands beside this Python, which is not
# on the PATH when `.venv/bin/nbgrader` is called without an activated environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# The preprocessors named below are the course's own; --course-dir may point here from anywhere.
if importlib.util.find_spec("autograder") is None:
    sys.path.insert(0, str(ROOT))

c.CourseDirectory.course_id = "tokens_to_thought"
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.source_directory = os.path.join("build", "source")
c.CourseDirectory.release_directory = "chapters"
c.CourseDirectory.submitted_directory = os.path.join("classroom", "submitted")
c.CourseDirectory.autograded_directory = os.path.join("classroom", "autograded")
c.CourseDirectory.feedback_directory = os.path.join("classroom", "feedback")
c.CourseDirectory.solution_directory = os.path.join("build", "solution")
c.CourseDirectory.source_with_tests_directory = os.path.join("build", "source_with_tests")
# Another address, such as postgresql+psycopg://user@host/name, holds for every nbgrader command and for `course grade`.
c.CourseDirectory.db_url = os.environ.get("COURSE_GRADEBOOK") or f"sqlite:///{ROOT / 'classroom' / 'gradebook.db'}"
with contextlib.suppress(OSError):  # a read-only checkout can still be built elsewhere
    (ROOT / "classroom").mkdir(exist_ok=True)  # SQLite makes the file, not its directory

c.ClearSolutions.begin_solution_delimeter = "### BEGIN SOLUTION"
c.ClearSolutions.end_solution_delimeter = "### END SOLUTION"
c.ClearSolutions.code_stub = {
    "python": "# Write your code here. The check below tells you how far you are.\n"
    'raise NotImplementedError("your turn: replace this line")'
}
c.ClearSolutions.text_stub = "*Write your answer here: double-click this text and replace it.*"

# The list is nbgrader's own, with two changes: no InstantiateTests, which would start a kernel at the word AUTOTEST
# anywhere in a chapter, and RunsToTheEnd after the solutions are cleared.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.IncludeHeaderFooter",
    "nbgrader.preprocessors.LockCells",
    "nbgrader.preprocessors.ClearSolutions",
    "autograder.authoring.stubs.RunsToTheEnd",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.ClearMarkScheme",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# A submission is read whatever state it is in, and gets the release's cells and metadata back, before nbgrader's own
# steps look at it; its outputs are kept, without what could run in a browser.
c.Autograde.exporter_class = "autograder.judge.restore.ForgivingExporter"
c.Autograde.sanitize_preprocessors = [
    "autograder.judge.restore.Restore",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "autograder.judge.restore.CheckMetadata",
]

# Also nbgrader's own list, but no student's code runs in nbgrader's kernel: the judge stands where Execute stood.
c.Autograde.autograde_preprocessors = [
    "autograder.judge.preprocessor.Judge",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "autograder.judge.restore.CheckMetadata",
]

# nbconvert's pages, without rendering anew for every student what is the same for all.
c.GenerateFeedback.exporter_class = "autograder.judge.page.FeedbackExporter"
