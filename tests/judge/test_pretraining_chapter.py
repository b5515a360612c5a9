"""Chapter 3 graded as it is handed in: right, wrong, half done and broken."""

from __future__ import annotations

import pytest
from handed_in import failed, handing_in

CHAPTER = "03_pretraining"

NO_SHIFT = """
def causal_lm_loss(logits, ids, ignore_index=-100):
    counted = ids != ignore_index
    if not counted[:, 1:].any():
        raise ValueError("ids: nothing to predict")
    log_p = logits.float().log_softmax(-1).gather(-1, ids.clamp(min=0)[..., None])[..., 0]
    return -log_p[counted].mean()
"""
DECAY_IN_THE_GRADIENT = """
own_step = adamw_step


def adamw_step(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
    return own_step(p, g + wd * p, state, lr, betas, eps, 0.0)
"""
TWICE_ND = """
def train_flops(N, D):
    return 2 * N * D
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
def test_a_mistake_costs_its_exercise_and_is_named(chapter):
    wrong = {"causal_lm_loss": NO_SHIFT, "adamw_step": DECAY_IN_THE_GRADIENT, "train_flops": TWICE_ND}
    result = chapter.grade(**{name: chapter.solved[name] + code for name, code in wrong.items()})
    assert chapter.lost(result) == set(wrong), chapter.problems(result)
    for name in wrong:
        assert chapter.named(result, name), failed(result, name)


@pytest.mark.slow
def test_what_is_left_out_costs_only_itself(chapter):
    left_out = ("stupid_backoff", "causal_lm_loss", "span_corrupt", "adamw_step", "document_mask", "accumulate")
    result = chapter.grade(**dict.fromkeys(left_out))
    assert chapter.lost(result) == set(left_out), chapter.problems(result)
    assert {result["exercises"][name]["outcome"] for name in left_out} == {"not attempted"}


@pytest.mark.slow
def test_broken_cells_cost_only_themselves(chapter):
    result = chapter.grade(
        deleted="minhash",
        ppmi="def ppmi(C)\n    return C\n",
        mlm_mask="while True:\n    pass\n" + chapter.solved["mlm_mask"].replace("def ", "def other_"),
    )
    assert chapter.lost(result) == {"minhash", "ppmi", "mlm_mask"}, chapter.problems(result)
    assert "SyntaxError" in failed(result, "ppmi")[0]["message"]
