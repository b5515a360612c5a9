"""Hidden checks of exercise 7, and other ways to solve it."""

from __future__ import annotations

import math

import numpy as np
import torch

from autograder.compare import close, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import optimizer as public
from autograder.exercises.pretraining.optimizer_parts import (
    Training,
    expect_clipped,
    expect_rates,
    expect_run,
    expect_step,
)
from autograder.rng import Rng
from autograder.student import Student


class AdamwStep(public.AdamwStep):
    @check(hint="Fifty steps side by side with torch.optim.AdamW, with its usual settings and with decay.")
    def equals_torch_over_fifty_steps(self, student: Student, rng: Rng) -> None:
        p = rng.normal(3, 4) + 1
        for lr, betas, eps, wd in ((0.02, (0.9, 0.95), 1e-8, 0.3), (0.01, (0.9, 0.999), 1e-6, 0.0)):
            theirs = torch.nn.Parameter(p.clone())
            optimizer = torch.optim.AdamW([theirs], lr=lr, betas=betas, eps=eps, weight_decay=wd, foreach=False)
            ours, state = p, None
            for number in range(50):
                g = rng.normal(3, 4)
                theirs.grad = g.clone()
                optimizer.step()
                got = student.adamw_step(ours, g, state, lr, betas, eps, wd)
                ours, state = expect_step(got, p, "the result")
                if number in (0, 1, 49):
                    what = f"with wd = {wd:g}, the parameter after step {number + 1}"
                    close(ours, theirs.detach(), rtol=2e-4, atol=2e-5, what=what)

    @check(hint="A parameter whose gradient is zero moves by its decay alone; no division by zero either.")
    def decays_what_has_no_gradient(self, student: Student, rng: Rng) -> None:
        p = rng.normal(5) + 3
        zero = torch.zeros(5)
        first = student.adamw_step(p, zero, None, lr=0.1, wd=0.2)
        new, state = expect_step(first, p, "the result")
        close(new, 0.98 * p, what="a parameter without a gradient after one step")
        new, _ = expect_step(student.adamw_step(new, zero, state, lr=0.1, wd=0.2), p, "the result")
        close(new, 0.98**2 * p, what="a parameter without a gradient after two steps")
        wide = rng.normal(2, 2).double()
        new, _ = expect_step(student.adamw_step(wide, torch.ones_like(wide), None, lr=0.1), wide, "the result")
        close(new, wide - 0.1, rtol=1e-6, what="a float64 parameter after one step")

    @check(hint="Try no warm-up, a warm-up of all steps but one, a single step, and a floor that is the peak.")
    def schedules_of_every_shape(self, student: Student, rng: Rng) -> None:
        for warmup, total, peak, floor in ((0, 7, 1.0, 0.0), (5, 6, 0.6, 0.0), (0, 1, 0.3, 0.3), (2, 9, 0.5, 0.5)):
            expect_rates(student, warmup, total, peak, floor, more=3)
        expect_rates(student, rng.randint(1, 9), rng.randint(20, 40), rng.uniform(0.3, 3), 0.1, more=10)

    @check(hint="Try gradients that are all zero, a norm exactly at the limit, and a single long one among short ones.")
    def clips_in_every_situation(self, student: Student, rng: Rng) -> None:
        zeros, exact = [torch.zeros(3), torch.zeros(2, 2)], [torch.tensor([3.0]), torch.tensor([4.0])]
        drawn = [0.01 * rng.normal(6), 100 * rng.normal(3, 2), rng.normal(1).double()]
        for gs, limit in ((zeros, 1.0), (exact, 5.0), (drawn, 0.5), (drawn, 1e4)):
            got = student.clip_grad_norm(gs, limit)
            expect_clipped(got, gs, limit, f"for {len(gs)} gradients and a limit of {limit:g}")
        clipped = student.clip_grad_norm(drawn, 0.5)[0]
        ratio = torch.cat([(new / old).double().flatten() for new, old in zip(clipped, drawn, strict=True)])
        true(bool((ratio - ratio[0]).abs().max() <= 1e-4 * ratio[0].abs()), "the gradient's direction has changed")

    @check(hint="Several spikes: twice from the same state, at once at the start, and with a save before every step.")
    def survives_several_spikes(self, student: Student, rng: Rng) -> None:
        expect_run(student, Training(bad=[7, 8]), 16, 4)
        expect_run(student, Training(loud=[6, 7, 13]), 20, 6)
        expect_run(student, Training(bad=[rng.choice([3, 5])], loud=[11]), 18, 1)
        expect_run(student, Training(loud=[0, 4]), 9, 3)
        expect_run(student, Training(bad=[0]), 7, 2)

    @variant
    class TorchInPlace:
        """Copies, then torch's in-place arithmetic; the guard as a while loop over a list."""

        def adamw_step(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
            if state is None:
                state = {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
            t = state["step"] + 1
            m = torch.lerp(state["m"], g, 1 - betas[0])
            v = state["v"].clone().mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
            new = p.clone().mul_(1 - lr * wd)
            new.addcdiv_(m / (1 - betas[0] ** t), (v / (1 - betas[1] ** t)).sqrt().add_(eps), value=-lr)
            return new, {"step": t, "m": m, "v": v}

        def lr_at(step, warmup, total, peak, floor=0.0):
            if step < warmup:
                return (step + 1) * peak / (warmup + 1)
            last = total - 1
            if step >= last:
                return floor if last > warmup or step > warmup else peak
            return floor + 0.5 * (peak - floor) * (math.cos((step - warmup) / (last - warmup) * math.pi) + 1)

        def clip_grad_norm(gs, max_norm):
            norm = torch.cat([g.flatten().float() for g in gs]).norm()
            if norm <= max_norm:
                return list(gs), norm
            return [g * (max_norm / norm.item()) for g in gs], norm

        def train_with_spike_guard(step, save, restore, batches, guard, every=10):
            batches = list(batches)
            kept, losses, skipped = [], [], []
            states, proved, i = {0: save()}, 0, 0
            while i < len(batches):
                if len(kept) % every == 0:
                    states[len(kept)] = save()
                loss = step(batches[i])
                if guard.observe(loss):
                    restore(states[proved])
                    skipped.extend(kept[proved:])
                    skipped.append(i)
                    kept, losses = kept[:proved], losses[:proved]
                else:
                    if len(kept) in states and len(kept) % every == 0:
                        proved = len(kept)
                    kept.append(i)
                    losses.append(loss)
                i += 1
            return losses, skipped

    @variant
    class Sums:
        """Numpy sums for the norm and the schedule as a table; biased means corrected in the rate."""

        def adamw_step(p, g, state, lr, betas=(0.9, 0.95), eps=1e-8, wd=0.0):
            old = state or {"step": 0, "m": 0 * p, "v": 0 * p}
            t, (b1, b2) = old["step"] + 1, betas
            m, v = old["m"] * b1 + g * (1 - b1), old["v"] * b2 + g.square() * (1 - b2)
            first, second = 1 - b1**t, 1 - b2**t
            update = (m / first) / (torch.sqrt(v) / math.sqrt(second) + eps)
            return (1 - lr * wd) * p - lr * update, {"step": t, "m": m, "v": v}

        def lr_at(step, warmup, total, peak, floor=0.0):
            up = np.arange(1, warmup + 1) / (warmup + 1) * peak
            angles = np.linspace(0, np.pi, total - warmup)
            table = np.concatenate([up, floor + (peak - floor) * (np.cos(angles) + 1) / 2])
            return float(table[step]) if step < total else floor

        def clip_grad_norm(gs, max_norm):
            norm = sum(g.double().pow(2).sum() for g in gs) ** 0.5
            factor = min(1.0, max_norm / max(float(norm), 1e-12))
            return [factor * g for g in gs], norm

        def train_with_spike_guard(step, save, restore, batches, guard, every=10):
            losses, skipped, fresh = [], [], []
            good, candidate, at = save(), None, 0
            for number, batch in enumerate(batches):
                if len(losses) % every == 0:
                    candidate = (len(losses), save())
                loss = step(batch)
                if not guard.observe(loss):
                    if candidate is not None:
                        at, good = candidate
                        fresh, candidate = [], None
                    losses.append(loss)
                    fresh.append(number)
                else:
                    restore(good)
                    losses = losses[:at]
                    skipped = skipped + fresh + [number]
                    fresh, candidate = [], None
            return losses, skipped
