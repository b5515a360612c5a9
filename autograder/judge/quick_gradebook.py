"""nbgrader's gradebook for many submissions in a row: the same tables, rows and results, with far fewer statements.

nbgrader opens its gradebook nine times per submission and each time makes an engine, looks for its tables and enters
the course; it asks for every cell in a query of its own and commits after each. Here the engine is kept (and with it
all compiled SQL), tables and course are seen to once, a notebook's cells come in one query, and what one step
changes is one transaction: after a step that failed nothing of it remains.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from nbgrader.api import BaseCell, Comment, Grade, Gradebook, SourceCell
from nbgrader.converters import autograde
from nbgrader.preprocessors import getgrades, latesubmissions, overwritecells, overwritekernelspec, saveautogrades
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker, undefer

# Where nbgrader's steps of grading look the class up.
_STEPS = (autograde, overwritekernelspec, overwritecells, saveautogrades, latesubmissions, getgrades)


class QuickGradebook(Gradebook):
    """A gradebook over an engine that outlives it; its tables and the course are there already."""

    def __init__(self, engine: Engine, course_id: str):
        self.engine, self.course_id, self.authenticator = engine, course_id, None
        self.db = scoped_session(sessionmaker(class_=_OneTransaction, bind=engine))
        self._found: dict[tuple[str, ...], dict[str, Any]] = {}

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        try:
            if exc_type is None:
                self.db().really_commit()
        finally:
            self.close()

    def find_grade(self, grade_cell: str, notebook: str, assignment: str, student: str) -> Grade:
        """As nbgrader's; the first question is answered for all cells of the notebook."""

        def rows() -> Iterator[tuple[str, Grade]]:
            whole = self.find_submission_notebook(notebook, assignment, student)
            query = self.db.query(BaseCell.name, Grade).join(Grade, Grade.cell_id == BaseCell.id)
            yield from query.options(undefer(Grade.max_score)).filter(Grade.notebook_id == whole.id)

        found = self._once(("grades", notebook, assignment, student), rows)
        return found.get(grade_cell) or super().find_grade(grade_cell, notebook, assignment, student)

    def find_comment(self, solution_cell: str, notebook: str, assignment: str, student: str) -> Comment:
        """As nbgrader's; the first question is answered for all cells of the notebook."""

        def rows() -> Iterator[tuple[str, Comment]]:
            whole = self.find_submission_notebook(notebook, assignment, student)
            query = self.db.query(BaseCell.name, Comment).join(Comment, Comment.cell_id == BaseCell.id)
            yield from query.filter(Comment.notebook_id == whole.id)

        found = self._once(("comments", notebook, assignment, student), rows)
        return found.get(solution_cell) or super().find_comment(solution_cell, notebook, assignment, student)

    def find_source_cell(self, name: str, notebook: str, assignment: str) -> SourceCell:
        """As nbgrader's; the first question is answered for all cells of the notebook."""

        def rows() -> Iterator[tuple[str, SourceCell]]:
            yield from ((cell.name, cell) for cell in self.find_notebook(notebook, assignment).source_cells)

        found = self._once(("sources", notebook, assignment), rows)
        return found.get(name) or super().find_source_cell(name, notebook, assignment)

    def find_graded_cell(self, name: str, notebook: str, assignment: str) -> Any:
        """As nbgrader's; the first question is answered for all cells of the notebook."""

        def rows() -> Iterator[tuple[str, Any]]:
            whole = self.find_notebook(notebook, assignment)
            yield from ((cell.name, cell) for cell in (*whole.grade_cells, *whole.task_cells))

        found = self._once(("graded", notebook, assignment), rows)
        return found.get(name) or super().find_graded_cell(name, notebook, assignment)

    def _once(self, key: tuple[str, ...], rows: Callable[[], Iterator[tuple[str, Any]]]) -> dict[str, Any]:
        if key not in self._found:
            self._found[key] = dict(iter(rows()))
        return self._found[key]


class _OneTransaction(Session):
    """nbgrader commits after every cell: here all is sent when a query needs it, or when the gradebook is left."""

    def commit(self) -> None:
        pass

    def really_commit(self) -> None:
        super().commit()


class QuickGradebooks:
    """Hands nbgrader's steps quick gradebooks for one database, in a ``with`` block."""

    def __init__(self, db_url: str, course_id: str):
        self._address = (db_url, course_id)
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within the block every gradebook that nbgrader opens while it grades is a quick one."""
        before = [step.Gradebook for step in _STEPS]
        try:
            for step in _STEPS:
                step.Gradebook = self._open
            yield
        finally:
            for step, kind in zip(_STEPS, before, strict=True):
                step.Gradebook = kind

    def _open(self, db_url: str, course_id: str = "default_course") -> Gradebook:
        # Most of nbgrader's steps do not say which course; `course_id` only matters for what is entered with it.
        if db_url != self._address[0]:
            return Gradebook(db_url, course_id)
        if self._engine is None:
            with Gradebook(*self._address):
                pass  # makes the tables and the course
            self._engine = create_engine(db_url)
        return QuickGradebook(self._engine, course_id)
