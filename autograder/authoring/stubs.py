"""A preprocessor for nbgrader's generate_assignment: an unsolved chapter still runs from top to bottom."""

from __future__ import annotations

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader import utils
from nbgrader.preprocessors import NbGraderPreprocessor

FUNCTION_TO_DO = "# Write your code here. The check below tells you how far you are."
ANSWERS_TO_DO = "# The check below tells you how many of your answers are right."


class RunsToTheEnd(NbGraderPreprocessor):
    """Take the stub's `raise` out of solution cells where it stands outside any function.

    Inside a function it speaks up when the function is called, and `check` turns it into "not attempted". At the
    top level, where the answers of a quiz are, it would stop "Run All" at the first exercise; and there is no code to
    be written there, so the line before it speaks of answers.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        if cell.cell_type == "code" and utils.is_solution(cell):
            lines = cell.source.split("\n")
            kept = [line for line in lines if not line.startswith("raise NotImplementedError(")]
            if len(kept) < len(lines):
                kept = [ANSWERS_TO_DO if line == FUNCTION_TO_DO else line for line in kept]
            cell.source = "\n".join(kept)
        return cell, resources
