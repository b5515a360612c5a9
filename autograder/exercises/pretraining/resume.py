"""Exercise 13: a run that is stopped and goes on, and everything that has to be kept for it."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from autograder.alike import same
from autograder.compare import SEVERAL_CALLS, close, equal, fail, true
from autograder.exercise import Exercise, check
from autograder.exercises.pretraining.resume_wrong import wrong_run
from autograder.rng import Rng
from autograder.student import Remote, Student, short, type_name
from course_lib import pretraining

Losses = list[float]
RIGHT = "as in one piece"


def draw_data(rng: Rng, V: int, length: int) -> Tensor:
    """Ids of which every other has its usual successor: no two batches have the same loss."""
    after = rng.sample(range(V), V)
    ids = [0]
    while len(ids) < length:
        ids.append(after[ids[-1]] if rng.random() < 1 / 2 else rng.randrange(V))
    return torch.tensor(ids)


def settings(rng: Rng, V: int, steps: int = 10**9) -> SimpleNamespace:
    """A run with large steps; with so many of them in all that the rate stays what it is, unless `steps` is given."""
    return SimpleNamespace(vocab_size=V, batch_size=12, lr=0.3, steps=steps, seed=rng.randint(1, 10**6))


def pieces(
    student: Student, data: Tensor, cfg: SimpleNamespace, stops: list[int], checkpoint: Any = None
) -> tuple[list[Losses], Any]:
    """The losses of a run with these stops, piece by piece, and its last checkpoint."""
    found = []
    for until in stops:
        with student.off_the_record():
            got = student.continue_run(checkpoint, data, until, cfg)
        true(isinstance(got, (tuple, list)) and len(got) == 2, f"it returned {type_name(got)}, expected two values")
        losses, checkpoint = got
        numbers = isinstance(losses, list) and all(isinstance(x, (int, float)) for x in losses)
        true(numbers, f"the losses are {short(losses)}, expected a list of numbers")
        true(isinstance(checkpoint, dict), f"the checkpoint is {type_name(checkpoint)}, expected a dictionary")
        found.append(losses)
    return found, checkpoint


def object_in(value: Any) -> Remote | None:
    """An object somewhere in a checkpoint that is no data and would not survive the end of the process."""
    if isinstance(value, Remote):
        return value
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return next(filter(None, map(object_in, parts)), None) if isinstance(parts, (list, tuple)) else None


def losses_by_hand(V: int, cfg: SimpleNamespace, n: int, stop: int = 0, wrong: str = "") -> Losses:
    """The losses on a text of one id only: every place says the same, so none has to be drawn.

    Behind `stop` something may go wrong: the moments or the rate begin anew, or the table stands still.
    """
    z, m, v, losses, since = [0.0] * V, [0.0] * V, [0.0] * V, [], 0
    for s in range(n):
        if s == stop and wrong == "moments":
            m, v, since = [0.0] * V, [0.0] * V, s
        total = sum(map(math.exp, z))
        losses.append(math.log(total) - z[0])
        if s >= stop and wrong == "still":
            continue
        rate = cfg.lr * (1 - (s - stop if s >= stop and wrong == "rate" else s) / cfg.steps)
        for i in range(V):
            gradient = math.exp(z[i]) / total - (i == 0)
            m[i], v[i] = 0.9 * m[i] + 0.1 * gradient, 0.999 * v[i] + 0.001 * gradient**2
            mean, square = m[i] / (1 - 0.9 ** (s + 1 - since)), v[i] / (1 - 0.999 ** (s + 1 - since))
            z[i] -= rate * mean / (math.sqrt(square) + 1e-8)
    return losses


def how_it_went_on(whole: Losses, first: Losses, second: Losses, V: int, stop: int) -> str:
    """What the losses behind a stop say about what was forgotten."""
    want = whole[stop:]
    if len(first) != stop:
        return f"before the stop {len(first) - stop:+} steps"
    if len(second) == len(whole) and second[:stop] == first:
        return "with the old losses"
    if len(second) != len(want):
        return f"{len(second) - len(want):+} steps"
    agree = [math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in zip(second, want, strict=True)]
    if all(agree):
        return RIGHT
    if agree[0]:
        return "right at first"
    return "from the beginning" if math.isclose(second[0], math.log(V), rel_tol=1e-5) else "elsewhere"


def what_moves_it(student: Student, cfg: SimpleNamespace, stop: int) -> str:
    """On a text of one id the losses behind a stop tell what has changed: moments, rate, or that nothing moves."""
    (_, second), _ = pieces(student, torch.zeros(30, dtype=torch.int64), cfg, [stop, stop + 3])
    for wrong in ("still", "moments", "rate"):
        want = losses_by_hand(cfg.vocab_size, cfg, stop + 3, stop, wrong)[stop:]
        if len(second) == 3 and all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(second, want, strict=True)):
            return f"right at first, {wrong}"
    return "right at first"


def where_it_reads(student: Student, data: Tensor, cfg: SimpleNamespace, stop: int) -> str:
    """With a table that stands still the losses tell the places."""
    still = SimpleNamespace(**vars(cfg) | {"lr": 0.0})
    _, checkpoint = pieces(student, data, cfg, [stop])
    (one, two), _ = pieces(student, data, still, [stop + 4, stop + 8], checkpoint)
    if len(set(one)) == 1:
        return "at one batch all the time"
    return "at the first places" if one == two else "elsewhere"


SAYS = {
    "right at first": "the first loss is right, so weights and places are; after it something else moves the weights",
    "right at first, moments": "the first loss is right, so weights and places are; the optimiser has forgotten all",
    "right at first, rate": "the first loss is right, so weights and places are; the learning rate begins anew",
    "right at first, still": "the first loss is right, but the weights stand still: what does the optimiser hold?",
    "from the beginning": "the first loss is ln V, that of a table of zeros",
    "at the first places": "the places of the data are the first ones again",
    "at one batch all the time": "each step has to draw new places of the data",
    "elsewhere": "already the first loss is another one: is it the same table, at the same places of the data?",
}


def expect_one_run(student: Student, data: Tensor, cfg: SimpleNamespace, stop: int, n: int, about: str) -> None:
    """A run of n steps that is stopped and goes on must be the run in one piece; another run lies in between."""
    (first,), checkpoint = pieces(student, data, cfg, [stop])
    (whole,), _ = pieces(student, data, cfg, [n])
    (second,), _ = pieces(student, data, cfg, [n], checkpoint)
    kind = how_it_went_on(whole, first, second, cfg.vocab_size, stop)
    kind = what_moves_it(student, cfg, stop) if kind == "right at first" else kind
    kind = where_it_reads(student, data, cfg, stop) if kind == "elsewhere" else kind
    student.conclude(f"{about}: {kind}")
    if kind == RIGHT:
        return
    what = f"{about}, the run from step {stop} to step {n}"
    if kind == "with the old losses":
        fail(f"{what} returned {len(second)} losses, expected those of its own {n - stop} steps only", SEVERAL_CALLS)
    if kind.startswith("before"):
        fail(f"{about}, the run up to step {stop} has {len(first)} losses, expected {stop}", SEVERAL_CALLS)
    if kind not in SAYS:
        why = "the step" if len(second) > n - stop else "all that is needed"
        said = f"has {len(second)} losses, expected {n - stop}: does the checkpoint hold {why}?"
        fail(f"{what}, after another run, {said}", SEVERAL_CALLS)
    shown = [" ".join(f"{x:.4f}" for x in losses[:3]) for losses in (second, whole[stop:])]
    fail(f"{what} has the losses {shown[0]} ..., in one piece {shown[1]} ...: {SAYS[kind]}", SEVERAL_CALLS)


# What follows is certain but for 3; only the last place says that 1 may follow it, and only the first knows 4.
TELLING = (4, 0, 1, 2, 3, 0, 1, 2, 3, 1)
# The loss to which a table comes that reads these pairs: 2/9 ln 2 if all goes right.
FLOORS = {
    "every pair": 2 / 9 * math.log(2),
    "backwards": 2 / 9 * math.log(2) + 3 / 9 * (math.log(3) - 2 / 3 * math.log(2)),
    "without the last pair": 0.0,
    "around the end": 2 / 10 * math.log(2) + 3 / 10 * (math.log(3) - 2 / 3 * math.log(2)),
}


class ContinueRun(Exercise):
    """Stop a training run anywhere, keep what the rest depends on, and go on as if nothing had happened."""

    title = "Stop and go on"
    difficulty = 1
    minutes = 20
    functions = ("continue_run",)
    reference = pretraining
    forbid = ("course_lib.pretraining.train_loop",)
    hints = (
        "Put a finger on each line of the loop and ask what it reads that an earlier step has written. Each answer "
        "belongs into the checkpoint.",
        "Four things: the table, the optimiser's state_dict (its moments, and how many steps they are made of), the "
        "number of the step (the rate follows from it), and the state of the generator: that one says which places of "
        "the data come next. Restore them before the loop begins.",
        "optimizer.load_state_dict(copy.deepcopy(checkpoint['optimizer'])), g.set_state(checkpoint['generator']), and "
        "for s in range(checkpoint['step'], until). At the end: 'generator': g.get_state(), and copies of the table "
        "and of optimizer.state_dict().",
    )

    @check(hint="What is the loss of a table of zeros? Which rate has step 0, which the last one, and who takes it?")
    def it_learns_as_the_rule_says(self, student: Student, rng: Rng) -> None:
        V, n = rng.randint(5, 7), rng.randint(6, 8)
        cfg = settings(rng, V, n + 1)
        (losses,), _ = pieces(student, torch.zeros(30, dtype=torch.int64), cfg, [n])
        student.conclude(" ".join(f"{loss:.3f}" for loss in losses))
        equal(len(losses), n, what=f"from step 0 up to step {n} the number of losses:")
        what = f"on a text of one id only, {V} ids in all and cfg.steps = {n + 1}, the losses:"
        close(losses, losses_by_hand(V, cfg, n), rtol=2e-3, atol=1e-4, what=what)
        data, cfg = draw_data(rng, V, 90), settings(rng, V)
        (losses,), _ = pieces(student, data, cfg, [24])
        falls = all(later < earlier for earlier, later in pairwise(losses))  # as only the loss of one batch does
        kinds = "the same places" if falls else "new places"
        student.conclude(kinds)
        true(kinds == "new places", "each step has to draw new places of the data: its losses are those of one batch")
        other = SimpleNamespace(**vars(cfg) | {"seed": cfg.seed + 1})
        (others,), _ = pieces(student, data, other, [24])
        student.conclude("the same with another seed" if others == losses else "others with another seed")
        true(others != losses, "two runs with different cfg.seed had exactly the same losses")

    @check(hint="Which ids have a successor in the text? Is the last of them drawn, too? Who is to be predicted?")
    def it_reads_every_pair(self, student: Student, rng: Rng) -> None:
        cfg = SimpleNamespace(vocab_size=5, batch_size=300, lr=0.3, steps=80, seed=rng.randint(1, 10**6))
        (losses,), _ = pieces(student, torch.tensor(TELLING), cfg, [80])
        true(len(losses) == 80, f"from step 0 up to step 80 there are {len(losses)} losses, expected 80")
        reached = sum(losses[-20:]) / 20
        kind = min(FLOORS, key=lambda name: abs(reached - FLOORS[name]))
        kind = kind if abs(reached - FLOORS[kind]) < 0.03 else "other pairs"
        student.conclude(f"reads {kind}, begins at {losses[0]:.3f}")
        said = f"on the ids {' '.join(map(str, TELLING))}, again and again, the loss comes to {reached:.3f}"
        true(kind == "every pair", f"{said}, expected 0.154: it reads {kind}")

    @check(hint="Stop in the middle. Which of the things that the next step reads are not in your checkpoint?")
    def a_run_in_two_pieces_is_the_run_in_one(self, student: Student, rng: Rng) -> None:
        V = rng.randint(5, 7)
        data, stop = draw_data(rng, V, 90), rng.randint(3, 5)
        n = stop + rng.randint(4, 6)
        expect_one_run(student, data, settings(rng, V), stop, n, "at a steady rate")
        expect_one_run(student, data, settings(rng, V, n + 2), stop, n, "at a falling rate")

    @check(
        hint="A file holds numbers, texts, tensors, lists, dictionaries, and may be read once more. Whose tensors move?"
    )
    def a_checkpoint_is_data_and_stays_as_it_is(self, student: Student, rng: Rng) -> None:
        V = rng.randint(5, 7)
        data, cfg = draw_data(rng, V, 60), settings(rng, V)
        _, checkpoint = pieces(student, data, cfg, [3])
        found = object_in(checkpoint)
        student.conclude(f"holds {'data' if found is None else found._type_name}")
        if found is not None:
            fail(f"the checkpoint holds {type_name(found)}: keep its state instead, as data (get_state, state_dict)")
        with student.off_the_record():
            _, after = student.continue_run.with_arguments(checkpoint, data, 7, cfg)
        changed = [key for key, value in checkpoint.items() if not same(value, after[0].get(key), 0.0, 0.0)]
        taken = not checkpoint.keys() <= after[0].keys()
        student.conclude("takes something out" if taken else "changes it" if changed else "leaves it")
        names = ", ".join(map(str, changed))
        true(not changed, f"going on from a checkpoint has changed it ({names}): it may be needed once more")

    forgets_the_cursor = wrong_run(
        "forgets where it was in the data: the generator begins anew, and the first places are drawn once more",
        cursor="new",
    )
    live_generator = wrong_run("keeps the generator itself; a checkpoint needs its state, g.get_state()", cursor="live")
    forgets_the_moments = wrong_run(
        "forgets the optimiser: its moments begin at zero again, so the first steps are too large", moments="new"
    )
    forgets_the_step = wrong_run(
        "forgets the step: it makes `until` steps more, instead of going on up to it", step="new"
    )
    restarts_the_rate = wrong_run(
        "begins the schedule again; the rate follows from the step of the whole run", rate="new"
    )
    forgets_the_table = wrong_run("forgets the weights: the table begins at zero again", table="new")
    old_table = wrong_run(
        "moves another table than the one whose loss it takes: make the optimiser from the restored one",
        moves="the old",
    )
    outside = wrong_run("keeps the run outside of the checkpoint, where another run writes over it", keeps="outside")
    all_losses = wrong_run("returns the old losses as well; those of the new steps are asked", keeps="losses")
    backwards = wrong_run("predicts the id at place from the one behind it; what follows is asked", reads="backwards")
    stops_short = wrong_run(
        "never draws the last place: torch.randint leaves out its upper end, which is N - 1 here", reads="short"
    )
    wraps = wrong_run("lets the first id follow the last one; the last id has no successor", reads="around")
    one_ahead = wrong_run("takes the rate of the step after this one; the first step has number 0", rate="ahead")
    decays = wrong_run("decays the weights: AdamW does so unless weight_decay=0.0 is said", decay=0.01)
    after_update = wrong_run("takes the loss after the update; that before it is asked", reports="after")
    sums = wrong_run("adds up the losses of a batch; their mean is asked", reduction="sum")
    own_seed = wrong_run("seeds the generator with a number of its own instead of cfg.seed", seed="constant")
    one_batch = wrong_run("draws its places once and keeps them; each step draws new ones", cursor="constant")
    never_falls = wrong_run(
        "keeps the rate at cfg.lr: set that of the step in the optimiser's param_groups", rate="steady"
    )
    shares = wrong_run(
        "lets the optimiser work on the checkpoint's own tensors, which changes them: give it a copy", shares=True
    )
