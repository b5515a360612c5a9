"""Chapter 3, exercises 7 to 9: what the audit does not show."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seeded import expect_no_accident, failures, run, shown

from autograder.exercise import Exercise
from autograder.exercises.pretraining import data_parts, packing
from autograder.exercises.pretraining import optimizer_parts as parts
from autograder.hidden.pretraining.data_pipeline import Minhash
from autograder.hidden.pretraining.optimizer import AdamwStep
from autograder.hidden.pretraining.packing import DocumentMask
from autograder.rng import Rng
from autograder.run import run_exercise
from autograder.student import LocalBackend, Student
from course_lib import attention, pretraining

EXERCISES = [AdamwStep(), Minhash(), DocumentMask()]
IDS = [exercise.id for exercise in EXERCISES]
ONES = torch.ones(3, 2)
WRONG = [None, "text", 3, -2.5, math.nan, [], [None], {}, (), (ONES, None), ([1], "a"), ([ONES], "a"), ONES > 0]
WRONG += [ONES.long(), 1j * ONES, {(0, "a")}, np.ones(3), np.ones(8, dtype=np.uint32), [SimpleNamespace(text=1)]]


def test_names_and_order() -> None:
    assert IDS == ["adamw_step", "minhash", "document_mask"]
    assert all(set(e.functions) <= set(dir(pretraining)) for e in EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


@pytest.mark.parametrize(
    ("number", "line"),
    [(0, "torch.optim.AdamW([p])"), (0, "torch.nn.utils.clip_grad_norm_([p], 1.0)"), (1, "datasketch.MinHash()")],
)
def test_what_does_it_all_is_not_allowed(number: int, line: str) -> None:
    source = f"import datasketch\nimport torch\n\ndef f(p): return {line}\n" if number else f"import torch\n{line}\n"
    assert run_exercise(EXERCISES[number], LocalBackend(EXERCISES[number].solution()), source=source).earned == 0


# The oracles against independent sources


@pytest.mark.parametrize("wd", [0.0, 0.3])
def test_the_oracle_of_adamw_agrees_with_torch(wd: float) -> None:
    p, gs = Rng(0).normal(2, 3).double(), [Rng(n).normal(2, 3).double() for n in range(1, 9)]
    theirs = torch.nn.Parameter(p.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.05, betas=(0.8, 0.9), eps=1e-3, weight_decay=wd)
    for g in gs:
        theirs.grad = g.clone()
        optimizer.step()
    want = parts.all_moved(p, gs, lr=0.05, betas=(0.8, 0.9), eps=1e-3, wd=wd)
    torch.testing.assert_close(theirs.detach(), want, rtol=1e-9, atol=1e-12)


def test_the_oracle_of_the_schedule_agrees_with_torch() -> None:
    warmup, total, peak, floor = 4, 15, 0.7, 0.1
    got = parts.rates(warmup, total, peak, floor, total + 3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(ONES.clone())], lr=peak)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - 1 - warmup, floor)
    for rate in got[warmup:total]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        falling.step()
    assert got[:warmup] == pytest.approx([0.14, 0.28, 0.42, 0.56]) and got[total:] == [floor] * 3


def test_the_flawed_helpers_without_a_flaw_are_right() -> None:
    p, g, state = Rng(0).normal(4), Rng(1).normal(4), None
    theirs = None
    for _ in range(3):
        ours, state = parts.adamw_with(p, g, state, 0.1, wd=0.2)
        want, theirs = pretraining.adamw_step(p, g, theirs, 0.1, wd=0.2)
        torch.testing.assert_close(ours, want)
    for bad, loud in (([9], []), ([12], []), ([], [8, 9])):
        training = parts.Training(bad, loud)
        guard = SimpleNamespace(observe=lambda loss: loss > 5)
        got = parts.guarded(training.step, training.save, training.restore, range(20), guard, 5, "none")
        assert got == training.expected(20, 5)


def test_the_oracle_of_the_guard_by_hand() -> None:
    # Saves before the kept steps 0, 2, 4. Batch 3 spoils the weights; the loss of batch 4 shows it, and with it the
    # state before step 4 is no good: back to 2, without batches 2, 3 and 4.
    assert parts.Training(bad=[3]).expected(7, 2)[1] == [2, 3, 4]
    assert parts.Training(loud=[0]).expected(3, 2) == ([2.0, 1.99], [0])


def test_the_oracle_of_the_mask_agrees_with_single_documents() -> None:
    """A packed row behind the mask gives each document the logits that it gets alone."""
    torch.manual_seed(0)
    model = attention.GPT(attention.GPTConfig(9, 16, n_layers=2, n_heads=2, d_model=8)).eval()
    docs = [[3, 4, 5, 6], [7, 8], [5, 3, 4]]
    row = packing.rows_of(docs, 12, 1)
    mask, positions = packing.mask_of(row[0].tolist(), 1), packing.positions_of(row[0].tolist(), 1)
    together = model(row, mask=mask[None, None], positions=positions[None])[0]
    start = 0
    for doc in docs:
        alone = model(torch.tensor([[*doc, 1]]))[0]
        torch.testing.assert_close(together[start : start + len(alone)], alone, rtol=1e-4, atol=1e-5)
        start += len(alone)


def test_the_oracles_of_the_pipeline_agree_with_the_library() -> None:
    rng = Rng(0)
    for _ in range(5):
        text = " ".join(rng.words(rng.randint(0, 12), shortest=2)).title().replace(" ", " - ")
        assert data_parts.runs(text, 3) == pretraining.shingles(text, 3)
        want = pretraining.minhash(text, 3, 16, 4)
        assert np.array_equal(data_parts.signature(data_parts.runs(text, 3), 16, 4), want)
        table = data_parts.drawn_table(rng, 8, 9)
        assert data_parts.agreeing(table, 4) == pretraining.lsh_candidates(table, 4)
        scores = rng.ids(7, 0, 5)
        assert data_parts.quantile(scores, 0.4) == np.quantile(scores, 0.4, method="inverted_cdf")


def test_wrong_signatures_differ_from_the_right_one_and_each_other() -> None:
    text = " ".join(Rng(3).words(20, shortest=3))
    found = [data_parts.signature(data_parts.runs(text, 3), 8, 5), *data_parts.wrong_signatures(text, 3, 8, 5).values()]
    assert len({tuple(one.tolist()) for one in found}) == len(found)


# Mistakes in the forms that students give them


def torch_like_but_coupled(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
    state = state or {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    g = g.add(p, alpha=wd)
    t, m, v = state["step"] + 1, state["m"].lerp(g, 1 - betas[0]), betas[1] * state["v"] + (1 - betas[1]) * g.pow(2)
    step = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
    return p - lr * step, {"step": t, "m": m, "v": v}


def periodic(step, warmup, total, peak, floor=0.0):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - 1 - warmup)))


def by_builtin_hash(doc: str, k: int = 5, num_perm: int = 128, seed: int = 0) -> np.ndarray:
    items = [hash(s) % 2**32 for s in pretraining.shingles(doc, k)]
    pairs = data_parts.functions(num_perm, seed)
    row = [min((((a * x + b) % 2**64) >> 32 for x in items), default=2**32 - 1) for a, b in pairs]
    return np.array(row, dtype=np.uint32)


def whole_numbers_in_a_row(text: str) -> str:
    return data_parts.redacted(text, ip=r"(\d+\.){3}\d{1,3}")


def changes_the_state(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
    if state is None:
        state = {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    new, state["m"], state["v"] = parts.adamw_with(p, g, state, lr, betas, eps, wd)[0], *moments(g, state, betas)
    state["step"] += 1
    return new, state


def moments(g, state, betas):
    return betas[0] * state["m"] + (1 - betas[0]) * g, betas[1] * state["v"] + (1 - betas[1]) * g * g


def counts_the_coming_step(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
    state = state or {"step": 1, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    step, (m, v) = state["step"], moments(g, state, betas)
    moved = lr * (m / (1 - betas[0] ** step)) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return p - lr * wd * p - moved, {"step": step + 1, "m": m, "v": v}


def multiplied_in_place(gs, max_norm):
    norm = torch.cat([g.flatten() for g in gs]).norm()
    return [g.mul_(max_norm / norm) if norm > max_norm else g for g in gs], norm


@pytest.mark.parametrize(
    ("number", "function", "code", "mistake"),
    [
        (0, "adamw_step", changes_the_state, "state_in_place"),
        (0, "adamw_step", counts_the_coming_step, "step_ahead"),
        (0, "clip_grad_norm", multiplied_in_place, "clipped_in_place"),
        (0, "adamw_step", torch_like_but_coupled, "decay_in_the_gradient"),
        (0, "lr_at", periodic, "restarts"),
        (1, "minhash", by_builtin_hash, "salted_hash"),
        (1, "duplicate_clusters", lambda d, pairs, t=0.8, k=5: pretraining.duplicate_clusters(
            ["x"] * len(d), pairs, t, k), "not_verified"),
        (1, "minhash", lambda d, k=5, n=128, seed=0: pretraining.minhash(d, num_perm=n, seed=seed), "always_five"),
        (1, "quality_filter", lambda d, score, q, r=None: [
            x for x in d if score(x.text) >= np.quantile([score(y.text) for y in r or d], q)], "between_scores"),
        (1, "redact_pii", lambda text: data_parts.redacted(
            text, phone=r"(?<!\w)\+\d(?:[ -]?\d){7,14}(?![\d.])"), "none_before_a_full_stop"),
        (2, "document_mask", lambda ids, eos: torch.ones(len(ids), len(ids)).tril().bool(), "only_causal"),
        (2, "document_positions", lambda ids, eos: torch.arange(len(ids)), "never_reset"),
    ],
)  # fmt: skip
def test_another_form_of_a_mistake_has_its_name(number: int, function: str, code: Callable, mistake: str) -> None:
    exercise = EXERCISES[number]
    report = run(exercise, exercise.solution(**{function: code}), 1)
    assert report.first_problem is not None
    assert report.first_problem.mistake == mistake


def test_addresses_inside_longer_numbers_are_caught() -> None:
    failed = failures(run(EXERCISES[1], EXERCISES[1].solution(redact_pii=whole_numbers_in_a_row), 1))
    assert {result.check for result in failed if not result.hidden} == {"redacts_persons_and_not_programs"}


def test_a_salted_hash_is_named_whatever_the_salt() -> None:
    """What goes on record does not depend on the numbers, which another process would not draw again."""
    for salt in (1, 2):

        def salted(doc, k=5, num_perm=128, seed=0, salt=salt):
            number = lambda item: data_parts.number_of(f"{salt} {item}")  # noqa: E731
            return data_parts.signature(pretraining.shingles(doc, k), num_perm, seed, number=number)

        report = run(EXERCISES[1], EXERCISES[1].solution(minhash=salted), 1)
        assert report.first_problem.mistake == "salted_hash"


def test_shingles_are_blamed_for_what_follows_from_them() -> None:
    """With a run too few, signatures and clusters are wrong as well: no other mistake may be named for them."""

    def shingles(text, k=5):
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k))} if words else set()

    def minhash(text, k=5, num_perm=128, seed=0):
        return data_parts.signature(shingles(text, k), num_perm, seed)

    def duplicate_clusters(texts, pairs, threshold=0.8, k=5):
        sets = [shingles(text, k) for text in texts]
        good = {(i, j) for i, j in pairs if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])}
        return pretraining.duplicate_clusters(["same"] * len(texts), good, threshold, k)

    own = {"shingles": shingles, "minhash": minhash, "duplicate_clusters": duplicate_clusters}
    failed = failures(run(EXERCISES[1], EXERCISES[1].solution(**own), 1, EXERCISES[1].public_checks))
    assert [result.mistake for result in failed] == ["last_run_missing", "", ""]
    assert all("mend them first" in result.message for result in failed[1:])


def test_a_scorer_is_not_asked_about_documents() -> None:
    def filtered(docs, scorer, q, reference=None):
        scores = [scorer(doc) for doc in (docs if reference is None else reference)]
        return [doc for doc in docs if scorer(doc) >= np.quantile(scores, q, method="inverted_cdf")]

    problem = run(EXERCISES[1], EXERCISES[1].solution(quality_filter=filtered), 1).first_problem
    assert problem.mistake == "scores_documents" and "the scorer takes a text" in problem.message


def test_a_guard_crosses_as_functions() -> None:
    training = parts.Training(bad=[3])
    student = Student(LocalBackend({"train_with_spike_guard": pretraining.train_with_spike_guard}))
    losses, skipped = training.run(student, 7, 2)
    assert skipped == [2, 3, 4] and len(losses) == 4 and training.seen == [0, 1, 5, 6]
