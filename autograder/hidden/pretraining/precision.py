"""Hidden checks of exercise 11, and other ways to solve it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.pretraining import precision as public
from autograder.exercises.pretraining.accumulation_oracles import (
    IGNORED,
    compare_gradients,
    draw_batch,
    draw_model,
    expect_rounded,
    gradients,
)
from autograder.rng import Rng
from autograder.student import Student


class Accumulate(public.Accumulate):
    @check(hint="A micro-batch of padding alone adds nothing. Is its mean 0/0 in your code?")
    def a_micro_batch_may_be_all_padding(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(4, 6)
        model, state = draw_model(student, rng, vocab, 2)
        batches = [
            draw_batch(rng, vocab, 3, 4, (1, 0, 2)),
            draw_batch(rng, vocab, 2, 3, (3, 3)),
            draw_batch(rng, vocab, 1, 7),
        ]
        got = student.accumulate(model, batches)
        compare_gradients(got, gradients(state, batches), "with a batch of padding among three, the result")

    @check(hint="One batch is the same as many; and cutting the same rows differently changes nothing.")
    def any_cut_gives_the_same(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(5, 9)
        model, state = draw_model(student, rng, vocab, 4)
        inputs, targets = draw_batch(rng, vocab, 8, 5, (4, 0, 0, 3, 0, 2, 0, 1))
        want = gradients(state, [(inputs, targets)])
        for sizes in ([1, 7], [8], [1] * 8, [2, 3, 3]):
            parts = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
            compare_gradients(student.accumulate(model, parts), want, f"rows cut into {sizes}: the result")

    @check(hint="Do not move the parameters, and do not change the batches: only gradients are asked for.")
    def nothing_is_changed(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(4, 6)
        model, state = draw_model(student, rng, vocab, 2)
        batches = [draw_batch(rng, vocab, 2, 4, (2, 0)), draw_batch(rng, vocab, 1, 3)]
        got, (_, after) = student.accumulate.with_arguments(model, batches)
        compare_gradients(got, gradients(state, batches), "the result")
        for number, (before, now) in enumerate(zip(batches, after, strict=True)):
            close(now[1], before[1], rtol=0, atol=0, what=f"the targets of batch {number} after the call")
        for name, value in model.state_dict().items():
            close(value, state[name], rtol=0, atol=0, what=f"{name} after the call")

    @check(
        hint="The largest bfloat16 is about 3.39e38; half a step above it becomes inf. nan stays nan, inf stays inf."
    )
    def the_ends_of_the_range(self, student: Student, rng: Rng) -> None:
        largest = (2 - 2**-7) * 2.0**127
        ends = [largest, -largest, (2 - 2**-9) * 2.0**127, largest * (1 + 2**-10), 2.0**-126, 1.5 * 2.0**-120]
        expect_rounded(
            student, [*ends, math.inf, -math.inf, math.nan], "very large and very small numbers", column=True
        )

    @check(hint="A small step may round back to where it came from; then nothing moves, however many steps.")
    def small_updates_vanish_without_a_master_copy(self, student: Student, rng: Rng) -> None:
        step = rng.uniform(5e-4, 1.5e-3)  # below half of the distance 1/256 between the neighbours under 1
        weight, master = torch.ones(2, 2), torch.ones(2, 2)
        for _ in range(12):
            weight, master = student.bf16_round(weight - step), master - step
        close(weight, torch.ones(2, 2), rtol=0, atol=0, what="1, after 12 small steps rounded one by one,")
        expect_rounded(student, master.flatten().tolist(), "the same steps, rounded once at the end")

    @variant
    class Backward:
        """.backward() on each batch, with .grad cleared before and after; the bits by NumPy."""

        class BigramLM(nn.Module):
            def __init__(self, vocab, width):
                super().__init__()
                self.head = nn.Linear(width, vocab)
                self.embedding = nn.Embedding(vocab, width)

            def forward(self, ids):
                return self.embedding(ids) @ self.head.weight.T + self.head.bias

        def accumulate(model, batches):
            model.zero_grad()
            n = 0
            for x, t in batches:
                logp = model(x).log_softmax(-1)
                real = t != IGNORED
                picked = logp.gather(-1, t.where(real, torch.zeros_like(t))[..., None]).squeeze(-1)
                (-(picked * real).sum()).backward()
                n += real.sum().item()
            found = {name: p.grad / n for name, p in model.named_parameters()}
            model.zero_grad()
            return found

        def bf16_round(x):
            bits = x.numpy().view(np.uint32).astype(np.uint64)
            low, up = bits & 0xFFFF, bits >> 16
            up = up + ((low > 0x8000) | ((low == 0x8000) & (up & 1 == 1)))
            rounded = torch.from_numpy((up << 16).astype(np.uint32).view(np.float32))
            return torch.where(torch.isnan(x), x, rounded)

    @variant
    class WeightedMeans:
        """The batches' means, each weighted by its share of all targets; rounding by the fraction and its exponent."""

        def accumulate(model, batches):
            counts = [int((t != IGNORED).sum()) for _, t in batches]
            total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
            for (x, t), count in zip(batches, counts, strict=True):
                if not count:
                    continue
                loss = F.cross_entropy(model(x).transpose(1, 2), t) * (count / sum(counts))
                grads = torch.autograd.grad(loss, list(model.parameters()))
                for name, grad in zip(total, grads, strict=True):
                    total[name] = total[name] + grad
            return total

        def bf16_round(x):
            fraction, exponent = torch.frexp(x.double())
            rounded = torch.ldexp(torch.round(fraction * 256), exponent - 8)
            # float32 would make a number just above bfloat16's largest a finite one.
            rounded = torch.where(rounded.abs() >= 2.0**128, rounded.sign() * math.inf, rounded)
            return torch.where(x.isfinite(), rounded.float(), x)

    @variant
    class RowByRow:
        """Row by row, gradients on the way of `backward`; both neighbours, and the choice between them."""

        def accumulate(model, batches):
            model.zero_grad(set_to_none=True)
            count = torch.cat([t.flatten() for _, t in batches]).ne(IGNORED).sum()
            for rows, wanted in batches:
                for x, t in zip(rows, wanted, strict=True):
                    loss = F.cross_entropy(model(x[None])[0], t, ignore_index=IGNORED, reduction="sum") / count
                    loss.backward()
            found = {name: p.grad.clone() for name, p in model.named_parameters()}
            for p in model.parameters():
                p.grad = None
            return found

        def bf16_round(x):
            bits = x.view(torch.int32)
            rest = bits & 0xFFFF
            down = (bits & ~0xFFFF).view(torch.float32)
            up = ((bits & ~0xFFFF) + 0x10000).view(torch.float32)
            odd = ((bits >> 16) & 1).bool()
            rounded = torch.where((rest > 0x8000) | ((rest == 0x8000) & odd), up, down)
            return torch.where(x.isnan(), x, rounded)
