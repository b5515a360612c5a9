"""What a notebook says about how it came about: checks run, hints opened, time, from the cards it still shows.

A student's own claim, which anybody can edit: numbers are read as numbers, kept within bounds and shown as "recorded
in the notebook". No grade depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autograder.progress_store import RECORD

MOST = {"attempts": 9_999, "hints": 99, "seconds": 30 * 24 * 3600}


def recorded(cells: Iterable[Mapping[str, Any]], exercises: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Per exercise that has a record the largest counts found in the outputs of a notebook's cells.

    >>> output = {"metadata": {"course_record": {"exercise": "merge", "attempts": 3, "hints": "many", "seconds": -1}}}
    >>> recorded([{"outputs": [output]}], {"merge": None})
    {'merge': {'attempts': 3, 'hints': 0, 'seconds': 0}}
    """
    found: dict[str, dict[str, int]] = {}
    for cell in cells:
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            claim = _record(output)
            exercise = claim.get("exercise")
            if isinstance(exercise, str) and exercise in exercises:
                entry = found.setdefault(exercise, dict.fromkeys(MOST, 0))
                for key, most in MOST.items():
                    entry[key] = max(entry[key], _count(claim.get(key), most))
    return {exercise: counts for exercise, counts in found.items() if any(counts.values())}


def _record(output: Any) -> dict[str, Any]:
    metadata = output.get("metadata") if isinstance(output, dict) else None
    claim = metadata.get(RECORD) if isinstance(metadata, dict) else None
    return claim if isinstance(claim, dict) else {}


def _count(value: Any, most: int) -> int:
    return min(max(value, 0), most) if type(value) is int else 0
