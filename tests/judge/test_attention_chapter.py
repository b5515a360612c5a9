"""Chapter 2 graded as it is handed in: who got an exercise wrong loses that exercise and none that builds on it."""

from __future__ import annotations

import pytest
from handed_in import failed, handing_in

CHAPTER = "02_attention"

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
def chapter():
    with handing_in(CHAPTER) as chapter:
        yield chapter


@pytest.mark.slow
def test_the_courses_own_answers_get_all_points(chapter):
    result = chapter.grade()
    assert chapter.problems(result) == [] and chapter.lost(result) == set() and result["notes"] == []


@pytest.mark.slow
def test_a_mistake_costs_its_exercise_is_named_and_costs_nothing_that_builds_on_it(chapter):
    solved = chapter.solved
    wrong = {
        "scaled_dot_product_attention": NO_SCALE,
        "MultiHeadAttention": TILED_HEADS,
        "Block": UNBIASED,
    }
    result = chapter.grade(**{name: solved[name] + code for name, code in wrong.items()})
    assert chapter.lost(result) == set(wrong), chapter.problems(result)
    for name in wrong:
        assert chapter.named(result, name), failed(result, name)
    notes = {name: " ".join(entry["notes"]) for name, entry in result["exercises"].items()}
    assert "course's `scaled_dot_product_attention`" in notes["apply_rope"]
    assert "`MultiHeadAttention`" in notes["GPT"] and "`layer_norm`" in notes["GPT"]


@pytest.mark.slow
def test_what_is_left_out_costs_only_itself(chapter):
    left_out = ("scaled_dot_product_attention", "MultiHeadAttention", "relative_bias", "Block", "dispatch", "wkv")
    result = chapter.grade(**dict.fromkeys(left_out))
    assert chapter.lost(result) == set(left_out), chapter.problems(result)
    assert {result["exercises"][name]["outcome"] for name in left_out} == {"not attempted"}


@pytest.mark.slow
def test_broken_cells_cost_only_themselves(chapter):
    solved = chapter.solved
    result = chapter.grade(
        deleted="Block",
        MultiHeadAttention="def repeat_kv(x, n_rep)\n    return x\n",
        alibi_bias="while True:\n    pass\n" + solved["alibi_bias"].replace("def ", "def other_"),
        GPT=solved["GPT"] + DERIVED,
    )
    assert chapter.lost(result) == {"Block", "MultiHeadAttention", "alibi_bias"}, chapter.problems(result)
    assert "SyntaxError" in failed(result, "MultiHeadAttention")[0]["message"]
