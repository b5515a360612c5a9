"""Chapter 2 graded as it is handed in: who got an exercise wrong loses that exercise and none that builds on it."""

from __future__ import annotations

import json

import pytest
from held import SECRET, earned

from autograder.exercise import load_chapter
from autograder.judge import grading
from autograder.judge.launcher import Limits
from autograder.judge.release import released_notebook, solved_cells

CHAPTER = "02_attention"
LIMITS = Limits(cell_seconds=3.0, extra_cell_seconds=3.0, submission_seconds=300.0, grace_seconds=2.0)

NO_SCALE = """
def scaled_dot_product_attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = torch.nan_to_num(scores.softmax(-1))
    return weights @ v, weights
"""
TILED_HEADS = """
def repeat_kv(x, n_rep):
    return x.repeat(1, n_rep, 1, 1)
"""
UNBIASED = """
def layer_norm(x, g, b, eps=1e-5):
    return g * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps) + b
"""
# A class body that needs the earlier class at once, where the given code would ask for it in a call.
DERIVED = """
class CausalAttention(MultiHeadAttention):
    def forward(self, x):
        return super().forward(x, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril())


def causal_attention(d_model, n_heads):
    return CausalAttention(d_model, n_heads, bias=True)
"""


@pytest.fixture(scope="module")
def hand_in():
    """Grade the released notebook with the course's own answers in it, some of them replaced (None: left as it was)."""
    released, solved = json.loads(released_notebook(CHAPTER)), solved_cells(CHAPTER)

    def grade(deleted: str = "", **replaced: str | None) -> dict:
        book = json.loads(json.dumps(released))
        book["cells"] = [cell for cell in book["cells"] if not deleted or grade_id(cell) != deleted]
        for cell in book["cells"]:
            answer = replaced.get(grade_id(cell), solved.get(grade_id(cell)))
            if grade_id(cell) and answer is not None:
                cell["source"] = answer
        return grading.grade_one(json.dumps(book).encode(), CHAPTER, secret=SECRET, limits=LIMITS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_UNSAFE_NO_SANDBOX", "1")  # where no wall can be built, all else is tested still
        yield grade
        grading.zygote_of(CHAPTER).close()


def grade_id(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def full() -> dict[str, int]:
    return {exercise.id: exercise.points for exercise in load_chapter(CHAPTER).exercises.values()}


def lost(result: dict) -> set[str]:
    return {name for name, points in full().items() if earned(result)[name] < points}


def problems(result: dict) -> list[str]:
    return [f"{name}: {r['title']}: {r['message']}" for name in lost(result) for r in failed(result, name)]


def failed(result: dict, exercise: str) -> list[dict]:
    return [r for r in result["exercises"][exercise]["results"] if r["outcome"] != "passed"]


@pytest.mark.slow
def test_the_courses_own_answers_get_all_points(hand_in):
    result = hand_in()
    assert problems(result) == [] and earned(result) == full() and result["notes"] == []


@pytest.mark.slow
def test_a_mistake_costs_its_exercise_is_named_and_costs_nothing_that_builds_on_it(hand_in):
    solved = solved_cells(CHAPTER)
    wrong = {
        "scaled_dot_product_attention": NO_SCALE,
        "MultiHeadAttention": TILED_HEADS,
        "Block": UNBIASED,
    }
    result = hand_in(**{name: solved[name] + code for name, code in wrong.items()})
    assert lost(result) == set(wrong), problems(result)
    declared = load_chapter(CHAPTER).exercises
    for name in wrong:
        texts = {m.text for m in declared[name].mistakes}
        named = {r["mistake_text"] for r in failed(result, name)} & texts
        assert named, failed(result, name)
    notes = {name: " ".join(entry["notes"]) for name, entry in result["exercises"].items()}
    assert "course's `scaled_dot_product_attention`" in notes["apply_rope"]
    assert "`MultiHeadAttention`" in notes["GPT"] and "`layer_norm`" in notes["GPT"]


@pytest.mark.slow
def test_what_is_left_out_costs_only_itself(hand_in):
    left_out = ("scaled_dot_product_attention", "MultiHeadAttention", "relative_bias", "Block", "dispatch", "wkv")
    result = hand_in(**dict.fromkeys(left_out))
    assert lost(result) == set(left_out), problems(result)
    assert {result["exercises"][name]["outcome"] for name in left_out} == {"not attempted"}


@pytest.mark.slow
def test_broken_cells_cost_only_themselves(hand_in):
    solved = solved_cells(CHAPTER)
    result = hand_in(
        deleted="Block",
        MultiHeadAttention="def repeat_kv(x, n_rep)\n    return x\n",
        alibi_bias="while True:\n    pass\n" + solved["alibi_bias"].replace("def ", "def other_"),
        GPT=solved["GPT"] + DERIVED,
    )
    assert lost(result) == {"Block", "MultiHeadAttention", "alibi_bias"}, problems(result)
    assert "SyntaxError" in failed(result, "MultiHeadAttention")[0]["message"]
