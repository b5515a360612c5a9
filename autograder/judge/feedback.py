"""What a student gets to see of a result: the card of an exercise, as the outputs of its check cell.

Hidden checks appear by number, category, named mistake and hint; never their inputs, messages or sources.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from nbformat import NotebookNode, from_dict

from autograder.cards import Card, note_card, report_card
from autograder.run import Outcome, Report, Result

_FIELDS = {field.name for field in fields(Result)}


def report_of(exercise: str, entry: dict[str, Any]) -> Report:
    """A stored result as the report that it was made of."""
    report = Report(exercise)
    for stored in entry["results"]:
        known = {key: value for key, value in stored.items() if key in _FIELDS}
        report.results.append(Result(**known | {"outcome": Outcome(stored["outcome"])}))
    return report


def card_of(exercise: str, title: str, entry: dict[str, Any], problem: str = "") -> Card:
    """The card of a graded exercise; ``problem`` says why a notebook could not be read."""
    footer = [f"{entry['earned']} of {entry['points']} points.", *(_sentence(note) for note in entry["notes"])]
    if problem:
        return note_card(f"{title}: {problem}. {footer[0]}", "✗")
    return report_card(report_of(exercise, entry), title, footer)


def outputs_of(exercise: str, title: str, entry: dict[str, Any], max_points: float, problem: str = "") -> list:
    """Outputs that show the card and from which nbgrader reads exactly these points."""
    card = card_of(exercise, title, entry, problem)
    data = {"text/html": card.html, "text/plain": card.text}
    shown = from_dict({"output_type": "display_data", "data": data, "metadata": {}})
    return [shown, _points(entry["earned"], entry["points"], max_points)]


def _points(earned: float, points: float, max_points: float) -> NotebookNode:
    # The gradebook may hold another maximum than the checks have by now; nbgrader refuses more than that.
    score = max_points * earned / points if points else max_points
    if score <= 0:
        text = f"0 of {max_points:g} points"
        return from_dict({"output_type": "error", "ename": "NotPassed", "evalue": text, "traceback": [text]})
    result = {"output_type": "execute_result", "data": {"text/plain": repr(float(score))}, "metadata": {}}
    return from_dict(result | {"execution_count": None})


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
