"""What a notebook claims about itself: read as bounded numbers, from whatever stands there."""

import json

import pytest
from small import answers, code, notebook

from autograder.judge.recorded import MOST, recorded
from autograder.judge.submission import raw_cells
from autograder.progress_store import travelling

EXERCISES = {"double": None, "total": None}


def shown(*metadata):
    return code("check(double)", outputs=[{"output_type": "display_data", "data": {}, "metadata": m} for m in metadata])


def test_the_largest_of_each_count_is_taken_wherever_it_stands():
    counts = {"attempts": 2, "hints": 1, "seconds": 300}
    cells = [
        shown(travelling("double", counts), travelling("double", {"attempts": 5})),
        shown(travelling("total", {"attempts": 1}), travelling("unknown", counts), travelling("double", counts)),
    ]
    read = recorded(raw_cells(notebook(cells)), EXERCISES)
    assert read == {"double": counts | {"attempts": 5}, "total": {"attempts": 1, "hints": 0, "seconds": 0}}


def test_a_card_of_an_exercise_that_nobody_tried_is_no_record():
    assert recorded([shown(travelling("double", {}))], EXERCISES) == {}


@pytest.mark.parametrize("value", ["=1+1", "<script>", True, 1.5, float("nan"), None, [3], {"a": 1}, -4, "9" * 5000])
def test_what_is_no_count_counts_nothing(value):
    forged = {"course_record": {"exercise": "double", "attempts": value, "hints": value, "seconds": 7}}
    assert recorded([shown(forged)], EXERCISES) == {"double": {"attempts": 0, "hints": 0, "seconds": 7}}


def test_large_numbers_are_cut():
    forged = {"course_record": {"exercise": "double"} | dict.fromkeys(MOST, 10**300)}
    assert recorded(json.loads(json.dumps([shown(forged)])), EXERCISES) == {"double": MOST}


@pytest.mark.parametrize("outputs", [None, "x", {}, [None], [[]], ["x"], [{"metadata": []}], [{"metadata": {}}], 7])
def test_outputs_of_any_shape_are_survived(outputs):
    assert recorded([{"outputs": outputs}], EXERCISES) == {}
    for record in (outputs, {"exercise": outputs}, {"exercise": ["double"]}):
        assert recorded([shown({"course_record": record})], EXERCISES) == {}


def test_no_point_depends_on_it(grade):
    honest = grade()
    forged = travelling("double", dict.fromkeys(MOST, 10**9))
    for cell in (cells := answers()):
        cell["outputs"] = [{"output_type": "display_data", "data": {}, "metadata": forged}]
    claimed = grade(cells)
    assert claimed["recorded"] == {"double": MOST} and honest["recorded"] == {}
    assert claimed["earned"] == honest["earned"] == honest["points"]
    assert [entry["pieces"] for entry in claimed["exercises"].values()] == [
        entry["pieces"] for entry in honest["exercises"].values()
    ]
