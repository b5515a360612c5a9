"""The course's gradebook, through nbgrader's own converters and API: registration, autograde, feedback, grades."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbconvert.writers import FilesWriter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from autograder.judge.preprocessor import MARK
from autograder.judge.quick_gradebook import QuickGradebooks
from autograder.judge.release import released_notebook
from autograder.judge.submission import raw_cells

CONFIG = "nbgrader_config.py"


class Course:
    """A course directory as ``nbgrader_config.py`` describes it."""

    def __init__(self, root: Path):
        if not (root / CONFIG).is_file():
            raise ValueError(f"root: expected a course with {CONFIG} in it, got {root}")
        self.root = root
        # nbgrader starts the program alembic by name; it stands beside this Python.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self.config: Config = PyFileConfigLoader(CONFIG, path=str(root)).load_config()
        self.directory = CourseDirectory(config=self.config)
        self._converters: dict[type[BaseConverter], BaseConverter] = {}
        self._quick = QuickGradebooks(self.directory.db_url, self.directory.course_id)

    def folder(self, name: str) -> Path:
        """One of nbgrader's directories: submitted, autograded, feedback or release."""
        return self.root / getattr(self.directory, f"{name}_directory")

    def gradebook(self) -> Gradebook:
        """nbgrader's gradebook; ValueError when its database cannot be opened."""
        try:
            return Gradebook(self.directory.db_url, self.directory.course_id)
        except (SQLAlchemyError, ImportError) as error:
            where = make_url(self.directory.db_url).render_as_string(hide_password=True)
            said = str(error).splitlines()[0][:300]
            raise ValueError(f"gradebook: expected a database at {where}, got {type(error).__name__}: {said}") from None

    def register(self, chapter: str) -> None:
        """Enter the chapter in the gradebook unless it is there with the cells and points of the released notebook."""
        released = released_notebook(chapter, self.folder("release"))
        if released is None:
            raise ValueError(
                f"chapter: expected a built notebook of {chapter} in {self.folder('release')}: course build"
            )
        if self._registered(chapter) != _graded_cells(released):
            from autograder.build import register

            register(chapter, self.root)

    def _registered(self, chapter: str) -> dict[str, float]:
        with self.gradebook() as gradebook:
            try:
                notebook = gradebook.find_notebook(chapter, chapter)
            except MissingEntry:
                return {}
            return {cell.name: float(cell.max_score) for cell in notebook.grade_cells}

    def is_graded(self, student: str, chapter: str, digest: str, fingerprint: str) -> bool:
        """Whether notebook and feedback are there, whole, of exactly this submission by exactly these checks."""
        path = self.folder("autograded") / student / chapter / f"{chapter}.ipynb"
        page = self.folder("feedback") / student / chapter / f"{chapter}.html"
        try:
            mark = json.loads(path.read_text(encoding="utf-8"))["metadata"][MARK]
            if (mark["hash"], mark["fingerprint"]) != (digest, fingerprint):
                return False
            # The feedback is written after the notebook: a run may have been killed between the two, or in the middle.
            is_newer = page.stat().st_mtime_ns >= path.stat().st_mtime_ns
            return is_newer and page.read_bytes().rstrip().endswith(b"</html>")
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def autograde(self, student: str, chapter: str) -> str:
        """Run nbgrader's autograde step for one submission; what it complained about, if it failed."""
        return self._convert(Autograde, student, chapter)

    def feedback(self, student: str, chapter: str) -> str:
        """Run nbgrader's generate_feedback step for one submission; what it complained about, if it failed."""
        return self._convert(GenerateFeedback, student, chapter)

    def _convert(self, converter_class: type[BaseConverter], student: str, chapter: str) -> str:
        converter = self._converter(converter_class)
        converter.coursedir.assignment_id, converter.coursedir.student_id = chapter, glob.escape(student)
        with _quiet(converter.log) as said, contextlib.chdir(self.root), self._quick.used():
            try:
                converter.init_notebooks()
                converter.convert_notebooks()
            except (NbGraderException, SystemExit) as error:
                return next((line for line in said if "error" in line.lower()), str(error))
            except Exception as error:  # a database that is away, a disk that is full: this student waits, others go on
                return f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return ""

    def _converter(self, converter_class: type[BaseConverter]) -> BaseConverter:
        """One converter for all submissions: its templates take longer to compile than a submission to convert."""
        if converter_class not in self._converters:
            converter = converter_class(coursedir=CourseDirectory(config=self.config), config=self.config)
            converter.force = True
            # As in nbgrader's own start(), which would make all of this anew for every student.
            converter.writer = FilesWriter(parent=converter, config=converter.config)
            converter.exporter = converter.exporter_class(parent=converter, config=converter.config)
            for preprocessor in converter.preprocessors:
                converter.exporter.register_preprocessor(preprocessor)
            self._converters[converter_class] = converter
        return self._converters[converter_class]

    def grades(self, chapter: str) -> dict[str, dict[str, Any]]:
        """Per student what the gradebook says: points by cell, score, maximum, what waits for a person."""
        table: dict[str, dict[str, Any]] = {}
        with self.gradebook() as gradebook:
            try:
                gradebook.find_assignment(chapter)
            except MissingEntry:
                return {}
            for submission in gradebook.assignment_submissions(chapter):
                cells = {g.name: g for notebook in submission.notebooks for g in notebook.grades}
                penalties = [notebook.late_submission_penalty or 0.0 for notebook in submission.notebooks]
                table[submission.student.id] = {
                    "cells": {name: grade.score for name, grade in cells.items()},
                    "score": submission.score - sum(penalties),
                    "max_score": submission.max_score,
                    "late_penalty": sum(penalties),
                    "timestamp": submission.timestamp.isoformat() if submission.timestamp else "",
                    "to_mark": [name for name, grade in cells.items() if grade.needs_manual_grade],
                }
        return dict(sorted(table.items()))

    def chapters(self) -> list[str]:
        """The chapters in the gradebook."""
        with self.gradebook() as gradebook:
            return sorted(assignment.name for assignment in gradebook.assignments)


def _graded_cells(released: bytes) -> dict[str, float]:
    graded = [cell["metadata"].get("nbgrader", {}) for cell in raw_cells(released)]
    return {cell["grade_id"]: float(cell["points"]) for cell in graded if cell.get("grade")}


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[list[str]]:
    """Keep nbgrader's log off the screen; its errors are collected."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.extend(record.getMessage().strip().splitlines()[-1:])

    handler, others, propagate = Collect(logging.ERROR), logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's about how nbgrader uses it
            yield said
    finally:
        logger.handlers, logger.propagate = others, propagate
