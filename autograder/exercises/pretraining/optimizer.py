"""Exercise 7: AdamW, a learning-rate schedule, clipping, and a guard against spikes."""

import math

import torch

from autograder.compare import true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining.optimizer_parts import (
    Training,
    adamw_with,
    expect_clipped,
    expect_path,
    expect_rates,
    expect_run,
    expect_step,
    guarded,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class AdamwStep(Exercise):
    """Write what happens between a gradient and the next step: the update, its size, its limit, and a way back."""

    title = "AdamW, schedule, clipping, spikes"
    difficulty = 2
    minutes = 50
    id = "adamw_step"
    functions = ("adamw_step", "lr_at", "clip_grad_norm", "train_with_spike_guard")
    reference = pretraining
    forbid = (
        "torch.optim",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.utils.clip_grads_with_norm_",
        "torch.nn.utils.get_total_norm",
        "transformers",
    )
    hints = (
        "Take p = 1, g = 5 and do the first step on paper. Why is its length lr, whatever g is? And for the guard: "
        "write down which batches the model knows after each step, and cross out what a return undoes.",
        "adamw_step: m and v are running means of g and g squared; divide each by 1 - beta ** step; subtract lr * wd * "
        "p and lr * m_hat / (v_hat.sqrt() + eps). lr_at: stairs up to the peak at step warmup, half a cosine to the "
        "floor at step total - 1, then the floor. clip_grad_norm: one norm over all tensors, one factor, at most 1. "
        "The guard: keep the good state, a pending one that no loss has proved, and the batches since the good one.",
        "lr_at: done = (step - warmup) / max(1, total - 1 - warmup); floor + (peak - floor) * (1 + math.cos(math.pi * "
        "done)) / 2. Guard: if guard.observe(loss): restore(good); skipped += since + [number]; since = []; del "
        "losses[good_step:]; pending = good. Else: append loss and number; if a pending state waits: good = pending, "
        "since = [number], because this loss was computed with it.",
    )

    @check(hint="At step 1, m_hat is g and v_hat is g * g: the step is lr times the sign of g, plus the decay.")
    def takes_the_first_steps_as_by_hand(self, student: Student, rng: Rng) -> None:
        p, g = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([5.0, -0.25, 0.04])
        betas = (0.5, 0.875)
        # Weight decay comes in the second round: without it, whatever a mistake does with wd stays unseen.
        plain = {"lr": 0.25, "betas": betas, "eps": 0.01, "wd": 0.0}
        expect_path(student, p, [g, torch.tensor([-1.0, 0.5, 0.02])], plain, "without decay")
        expect_path(student, p, [g, torch.tensor([-1.0, 0.5, 0.02])], plain | {"wd": 0.5}, "with wd = 0.5")

    @check(hint="Hand the state on from step to step. Decay p itself, not its gradient; eps stands outside the root.")
    def follows_its_oracle_over_many_steps(self, student: Student, rng: Rng) -> None:
        scales = torch.tensor([1e-3, 1.0, 30.0])
        gs = [scales * (rng.normal(2, 3) + 0.5) for _ in range(6)]
        settings = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "wd": 0.4}
        expect_path(student, rng.normal(2, 3) + 2, gs, settings, "for gradients of three sizes")

    @check(hint="Make new tensors: p - ..., not p -= ... . Whoever goes back to an old state needs it as it was.")
    def leaves_its_inputs_as_they_are(self, student: Student, rng: Rng) -> None:
        p, first, second = rng.normal(3) + 2, rng.normal(3), rng.normal(3)
        settings = {"lr": 0.2, "betas": (0.8, 0.9), "eps": 1e-3, "wd": 0.3}
        expect_path(student, p, [first], settings, "the first step")
        _, state = expect_step(student.adamw_step(p, first, None, **settings), p, "the result")
        for old, g in ((None, first), (state, second)):
            _, after = student.adamw_step.with_arguments(p, g, old, **settings)
            same = len(after) == 3 and torch.equal(after[0], p) and torch.equal(after[1], g)
            true(same, "the parameter or the gradient that was handed in has changed")
            kept = old is None or same_state(after[2], old)
            true(kept, "the old state has changed; a guard could not go back to it")

    @check(hint="Step 0: peak / (warmup + 1). Step warmup: the peak. Step total - 1: the floor, and so ever after.")
    def climbs_and_comes_down_to_the_floor(self, student: Student, rng: Rng) -> None:
        expect_rates(student, 3, 11, 0.8, 0.1, more=8)
        expect_rates(student, rng.randint(4, 6), rng.randint(15, 20), rng.uniform(0.5, 2), 0.2, more=12)
        expect_rates(student, 3, 4, 0.8, 0.1, more=2)  # no room to fall: the peak is the last step

    @check(hint="One norm over all tensors together. If it is too large, one factor for all; else nothing changes.")
    def shortens_all_gradients_together(self, student: Student, rng: Rng) -> None:
        pair = [torch.tensor([3.0]), torch.tensor([[4.0, 12.0]])]  # a norm of 13
        drawn = [rng.normal(2, 3), 5 * rng.normal(4), 0.1 * rng.normal(1)]
        for gs, limit in ((pair, 6.5), (pair, 20.0), (drawn, 1.0)):
            shapes = ", ".join(str(list(g.shape)) for g in gs)
            got, after = student.clip_grad_norm.with_arguments(gs, limit)
            expect_clipped(got, gs, limit, f"for shapes {shapes} and a limit of {limit:g}")
            same = all(torch.equal(old, g) for old, g in zip(after[0], gs, strict=True))
            true(same, "the gradients that were handed in have changed; make new ones")

    @check(points=2, hint="Follow batch by batch: which state was the last to give a good loss? What came after it?")
    def goes_back_before_a_spike_and_skips(self, student: Student, rng: Rng) -> None:
        expect_run(student, Training(), 8, 3)
        # Batch 9 spoils the weights; the loss of batch 10 shows it, with a state saved in between.
        expect_run(student, Training(bad=[9]), 20, 5)
        expect_run(student, Training(bad=[12]), 20, 5)
        expect_run(student, Training(loud=[rng.choice([8, 9])]), 15, 5)
        # After the first return batches and kept losses are counted differently.
        expect_run(student, Training(loud=[3, 12]), 15, 5)

    @mistake("puts the decay into the gradient; Adam then divides it by the root of v, and it hardly acts")
    def decay_in_the_gradient(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, decay="in the gradient")

    @mistake("decays by wd alone; the decay is multiplied by the learning rate, too")
    def decay_without_the_rate(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, decay="without lr")

    @mistake("decays the parameter after the step; both parts start from the old one")
    def decay_afterwards(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, decay="afterwards")

    @mistake("forgets the weight decay")
    def no_decay(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, decay="none")

    @mistake("adds eps inside the root; it stands outside, or tiny gradients take far too small steps")
    def eps_inside_the_root(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, eps_at="inside")

    @mistake("adds eps before v is corrected; it belongs to the root of the corrected v")
    def eps_before_the_correction(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, eps_at="before")

    @mistake("leaves out the bias correction; means that start at zero are too small at first")
    def no_bias_correction(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, corrected=False)

    @mistake("counts the first step as 0, and so divides by 1 - beta ** 0, which is zero; it is step 1")
    def step_from_zero(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, first_step=0)

    @mistake("divides by v; the step is divided by its root")
    def without_the_root(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, root=False)

    @mistake("takes beta 2 for the mean and beta 1 for the squares; it is the other way round")
    def betas_swapped(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        return adamw_with(p, g, state, lr, betas, eps, wd, order=-1)

    @mistake("changes the parameter in place; make a new one")
    def in_place(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        new, state = adamw_with(p, g, state, lr, betas, eps, wd)
        return p.copy_(new), state

    @mistake("changes the old state; whoever goes back to it would find it spoilt")
    def state_in_place(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        p, new = adamw_with(p, g, state, lr, betas, eps, wd)
        if state is None:
            return p, new
        state.update(new)
        return p, state

    @mistake('is one step ahead: state["step"] says how many steps there were, which is 1 after the first')
    def step_ahead(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
        before = state and state | {"step": state["step"] - 1}
        p, new = adamw_with(p, g, before, lr, betas, eps, wd)
        return p, new | {"step": new["step"] + 1}

    @mistake("begins the warm-up at zero; then the first step does nothing", of="lr_at")
    def warmup_from_zero(step, warmup, total, peak, floor=0.0):
        return peak * step / warmup if step < warmup else pretraining.lr_at(step, warmup, total, peak, floor)

    @mistake("is at the peak one step early; the stairs are peak / (warmup + 1) high", of="lr_at")
    def peak_too_early(step, warmup, total, peak, floor=0.0):
        return peak * (step + 1) / warmup if step < warmup else pretraining.lr_at(step, warmup, total, peak, floor)

    @mistake("lets the cosine fall from step 0; it begins where the warm-up ends", of="lr_at")
    def decays_from_step_0(step, warmup, total, peak, floor=0.0):
        return (
            pretraining.lr_at(step, warmup, total, peak, floor)
            if step < warmup
            else _cosine(min(1.0, step / (total - 1)), peak, floor)
        )

    @mistake("never reaches the floor: the last step, total - 1, must have it", of="lr_at")
    def never_at_the_floor(step, warmup, total, peak, floor=0.0):
        done = min(1.0, (step - warmup) / (total - warmup))
        return pretraining.lr_at(step, warmup, total, peak, floor) if step < warmup else _cosine(done, peak, floor)

    @mistake("restarts: behind the last step the cosine comes up again; stay at the floor", of="lr_at")
    def restarts(step, warmup, total, peak, floor=0.0):
        done = (step - warmup) / (total - 1 - warmup)
        return pretraining.lr_at(step, warmup, total, peak, floor) if step < warmup else _cosine(done, peak, floor)

    @mistake("divides by zero where the peak is the last step; then there is nothing to fall", of="lr_at")
    def no_room_to_fall(step, warmup, total, peak, floor=0.0):
        if step < warmup or step >= total:
            return pretraining.lr_at(step, warmup, total, peak, floor)
        return _cosine((step - warmup) / (total - 1 - warmup), peak, floor)

    @mistake("falls to zero instead of to the floor, or is cut off at it", of="lr_at")
    def floor_only_cuts(step, warmup, total, peak, floor=0.0):
        return (
            max(floor, pretraining.lr_at(step, warmup, total, peak, 0.0))
            if step >= warmup
            else (pretraining.lr_at(step, warmup, total, peak, floor))
        )

    @mistake("falls in a straight line; here it is half a cosine", of="lr_at")
    def straight_line(step, warmup, total, peak, floor=0.0):
        done = min(1.0, (step - warmup) / (total - 1 - warmup))
        return pretraining.lr_at(step, warmup, total, peak, floor) if step < warmup else peak + (floor - peak) * done

    @mistake("always rescales; gradients that are short enough stay as they are", of="clip_grad_norm")
    def always_rescales(gs, max_norm):
        norm = pretraining.clip_grad_norm(gs, 1.0)[1]
        return [g * max_norm / norm for g in gs], norm

    @mistake("clips each tensor alone; that turns the direction of the whole gradient", of="clip_grad_norm")
    def each_tensor_alone(gs, max_norm):
        norm = pretraining.clip_grad_norm(gs, 1.0)[1]
        return [pretraining.clip_grad_norm([g], max_norm)[0][0] for g in gs], norm

    @mistake("cuts every number at the limit; asked is the norm, and one factor for all", of="clip_grad_norm")
    def by_value(gs, max_norm):
        return [g.clamp(-max_norm, max_norm) for g in gs], pretraining.clip_grad_norm(gs, 1.0)[1]

    @mistake("shortens the gradients in place; make new ones", of="clip_grad_norm")
    def clipped_in_place(gs, max_norm):
        clipped, norm = pretraining.clip_grad_norm(gs, max_norm)
        return [g.copy_(new) for g, new in zip(gs, clipped, strict=True)], norm

    @mistake("returns the norm after clipping; the one before is what a log needs", of="clip_grad_norm")
    def norm_after(gs, max_norm):
        clipped, norm = pretraining.clip_grad_norm(gs, max_norm)
        return clipped, norm.clamp(max=max_norm)

    @mistake("adds up the norms of the tensors; add up the squares, then take the root", of="clip_grad_norm")
    def sum_of_norms(gs, max_norm):
        norm = sum(g.norm() for g in gs)
        return [g * min(1.0, max_norm / norm.item()) for g in gs], norm

    @mistake("goes on with the spoilt weights; a spike means: restore", of="train_with_spike_guard")
    def goes_on(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "goes on")

    @mistake(
        "trusts a state before a loss computed with it has come out well; the damage is saved, too",
        of="train_with_spike_guard",
    )
    def trusts_too_early(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "trusts")

    @mistake(
        "tries the batches before the spike once more; any of them may be the bad one", of="train_with_spike_guard"
    )
    def replays(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "replays")

    @mistake(
        "reports only the spike's own batch; the others since the good state are lost, too", of="train_with_spike_guard"
    )
    def hides_the_lost(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "hides")

    @mistake("keeps the losses of steps that were undone", of="train_with_spike_guard")
    def keeps_undone_losses(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "keeps losses")

    @mistake("counts the batches to know when to save; what counts are the losses that were kept",
             of="train_with_spike_guard")  # fmt: skip
    def counts_batches(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "counts batches")

    @mistake("asks the guard twice about a loss; it remembers each loss that it is asked about",
             of="train_with_spike_guard")  # fmt: skip
    def asks_twice(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "asks twice")

    @mistake("always goes back to the very first state; take the last good one", of="train_with_spike_guard")
    def back_to_the_start(step, save, restore, batches, guard, every=10):
        return guarded(step, save, restore, batches, guard, every, "never renews")


def same_state(a, b) -> bool:
    """Whether two states hold the same numbers under the same names."""
    if not isinstance(a, dict) or a.keys() != b.keys():
        return False
    return all(torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])) for name in b)


def _cosine(done, peak, floor):
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2
