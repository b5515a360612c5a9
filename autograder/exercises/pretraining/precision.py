"""Exercise 11: one gradient from many small batches, and what rounding to bfloat16 does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from autograder.compare import close, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining.accumulation_oracles import (
    IGNORED,
    compare_gradients,
    draw_batch,
    draw_model,
    expect_rounded,
    gradients,
    logits_of,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


def summed(model, batch):
    """The summed loss of a batch over its real targets."""
    inputs, targets = batch
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def averaged(model, batch):
    return summed(model, batch) / (batch[1] != IGNORED).sum().clamp_min(1)


def gradient_of(model, loss):
    names = [name for name, _ in model.named_parameters()]
    return dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))


def binary_digits(x, digits):
    """Rounded to so many significant binary digits, halves to even."""
    fraction, exponent = torch.frexp(x)
    return torch.ldexp(torch.round(fraction * 2**digits), exponent - digits)


def upper_half(x, add):
    """The upper 16 bits after `add` has been added to all 32."""
    return ((x.view(torch.int32) + add) & ~0xFFFF).view(torch.float32)


class Accumulate(Exercise):
    """Add up gradients over micro-batches so that each token counts once, and round to bfloat16 by its bits."""

    title = "Accumulation and precision"
    difficulty = 2
    minutes = 35
    id = "accumulate"
    functions = ("BigramLM", "accumulate", "bf16_round")
    reference = pretraining
    forbid = (
        "torch.bfloat16",
        "torch.Tensor.bfloat16",
        "torch.Tensor.type",
        "torch.BFloat16Tensor",
        "torch.autocast",
        "torch.amp",
        "ml_dtypes",
    )
    hints = (
        "Write the mean loss of the large batch as one sum divided by one number. Which part can you compute from a "
        "single micro-batch, and which only from all of them? For bf16_round: which bits of a float32 remain?",
        "First count the targets that are not -100, over all batches. Then, for each batch, the summed loss divided by "
        "that count; ask for its gradient and add it to what you have. bf16_round: view the bits as an integer, add "
        "half of the last bit that stays (a little less, so that ties can go either way), and clear the lower 16.",
        "n = sum((t != -100).sum() for _, t in batches); loss = F.cross_entropy(model(x).flatten(0, 1), t.flatten(), "
        'reduction="sum") / n; grads = torch.autograd.grad(loss, list(model.parameters())). And bits = '
        "x.view(torch.int32); bits = bits + 0x7FFF + ((bits >> 16) & 1); return (bits & ~0xFFFF).view(torch.float32), "
        "with nan kept by torch.where.",
    )

    @check(hint="An embedding and a linear layer with bias: self.embedding and self.head, and head(embedding(ids)).")
    def the_small_model_computes_its_logits(self, student: Student, rng: Rng) -> None:
        vocab, width = rng.randint(4, 6), rng.randint(2, 3)
        model, state = draw_model(student, rng, vocab, width)
        ids = draw_batch(rng, vocab, 2, 4)[0]
        close(model(ids), torch.tensor(logits_of(state, ids)), rtol=1e-4, atol=1e-5, what="the logits")

    @check(hint="Cut into equal parts, a batch must give the same gradient as in one piece, and neither sum nor half.")
    def equal_micro_batches_give_the_gradient_of_the_large_batch(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(4, 6)
        model, state = draw_model(student, rng, vocab, 3)
        inputs, targets = draw_batch(rng, vocab, 9, 4)
        parts = list(zip(inputs.split(3), targets.split(3), strict=True))
        want = gradients(state, [(inputs, targets)])
        got, largest = student.accumulate.with_largest_tensor(model, parts)
        compare_gradients(got, want, "for three batches of three rows, the result")
        together = largest >= inputs.numel() * vocab  # as many as the logits of all three batches
        student.conclude("all at once" if together else "one after the other")
        message = f"a tensor of {largest} numbers was made, as large as the logits of all three batches together"
        true(not together, f"{message}: take one batch after the other, so that only one has to fit into memory")

    @check(points=2, hint="A micro-batch with 2 real targets counts 2, one with 20 counts 20; padding (-100) counts 0.")
    def every_token_counts_the_same(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(4, 6)
        model, state = draw_model(student, rng, vocab, 3)
        batches = [
            draw_batch(rng, vocab, 1, 2),
            draw_batch(rng, vocab, 4, 5, (0, 3, 1, 4)),
            draw_batch(rng, vocab, 2, 3),
        ]
        got = student.accumulate(model, batches)
        compare_gradients(got, gradients(state, batches), "for batches of 2, 12 and 6 targets, the result")
        batches.append(draw_batch(rng, vocab, 2, 3, (3, 3)))
        got = student.accumulate(model, batches)
        compare_gradients(got, gradients(state, batches), "with a batch of padding alone besides, the result")

    @check(hint="What an earlier call has left behind in the model's .grad must not be added to this one.")
    def a_second_call_starts_afresh(self, student: Student, rng: Rng) -> None:
        vocab = rng.randint(4, 6)
        model, state = draw_model(student, rng, vocab, 2)
        calls = [[draw_batch(rng, vocab, 2, 3), draw_batch(rng, vocab, 2, 3)] for _ in range(2)]
        answers = [student.accumulate(model, batches) for batches in calls]
        for got, batches, word in zip(answers, calls, ("first", "second"), strict=True):
            compare_gradients(got, gradients(state, batches), f"the {word} call: the result")

    @check(hint="8 significant binary digits: between 1 and 2 the steps are 1/128, between 2 and 4 they are 1/64.")
    def rounds_to_the_nearest_bfloat16(self, student: Student, rng: Rng) -> None:
        drawn = [rng.choice((-1, 1)) * 10 ** rng.uniform(-6, 6) for _ in range(24)]
        fixed = [1.0, -1.0, 0.0, 1.003, 1.005, 1.997, -1.003, 3.99, 65535.0, 1e30, -3e-20, 0.1]
        expect_rounded(student, fixed + drawn, "numbers of many sizes")

    @check(hint="Halfway between two neighbours, take the one whose last bit is 0: 1 + 1/256 becomes 1, not 1 + 1/128.")
    def ties_go_to_the_even_neighbour(self, student: Student, rng: Rng) -> None:
        halves = [1 + (2 * k + 1) / 256 for k in (0, 1, 2, 3, rng.randint(10, 126), 127)]
        scaled = [2.0**k * half for k, half in zip((0, 0, 0, 0, rng.randint(-9, 9), 3), halves, strict=True)]
        expect_rounded(student, scaled + [-value for value in scaled], "numbers halfway between two neighbours")

    @mistake("leaves out the bias of the linear layer: it is head(embedding(ids)), all of it", of="BigramLM")
    class no_bias(nn.Module):
        def __init__(self, vocab, width):
            super().__init__()
            self.embedding, self.head = nn.Embedding(vocab, width), nn.Linear(width, vocab)

        def forward(self, ids):
            return F.linear(self.embedding(ids), self.head.weight)

    @mistake("takes the mean of the batches' mean losses; a batch with few tokens then counts as much as a large one")
    def mean_of_means(model, batches):
        return gradient_of(model, sum(averaged(model, batch) for batch in batches) / len(batches))

    @mistake("adds up the batches' mean losses; with n batches the gradient is about n times too long")
    def sum_of_means(model, batches):
        return gradient_of(model, sum(averaged(model, batch) for batch in batches))

    @mistake("adds up summed losses and divides by nothing; the mean needs the number of targets, once")
    def never_divided(model, batches):
        return gradient_of(model, sum(summed(model, batch) for batch in batches))

    @mistake("divides the summed losses by the number of micro-batches; what has to be counted is targets")
    def divided_by_the_batches(model, batches):
        return gradient_of(model, sum(summed(model, batch) for batch in batches) / len(batches))

    @mistake("divides by the number of rows; what has to be counted is targets")
    def divided_by_the_rows(model, batches):
        return gradient_of(model, sum(summed(model, batch) for batch in batches) / sum(len(x) for x, _ in batches))

    @mistake("divides by all places, padding too; targets of -100 do not count")
    def padding_in_the_count(model, batches):
        return gradient_of(model, sum(summed(model, batch) for batch in batches) / sum(t.numel() for _, t in batches))

    @mistake("weights the batches' means by their rows; rows have different numbers of real targets")
    def weighted_by_rows(model, batches):
        rows = sum(len(inputs) for inputs, _ in batches)
        return gradient_of(model, sum(averaged(model, batch) * len(batch[0]) for batch in batches) / rows)

    @mistake("computes a loss on padding, as if -100 were token 0; those places have no target")
    def loss_on_padding(model, batches):
        filled = [(inputs, targets.clamp_min(0)) for inputs, targets in batches]
        return gradient_of(model, sum(summed(model, b) for b in filled) / sum(t.numel() for _, t in filled))

    @mistake("keeps the gradient of the last micro-batch only; they are added up, and cleared before the first")
    def only_the_last(model, batches):
        count = sum(int((targets != IGNORED).sum()) for _, targets in batches)
        return gradient_of(model, summed(model, batches[-1]) / count)

    @mistake("joins all batches into a large one; it would not fit into memory, so take one after the other")
    def all_at_once(model, batches):
        longest = max(targets.shape[1] for _, targets in batches)
        fill = lambda ids, value: F.pad(ids, (0, longest - ids.shape[1]), value=value)  # noqa: E731
        together = [torch.cat([fill(batch[k], value) for batch in batches]) for k, value in ((0, 0), (1, IGNORED))]
        return gradient_of(model, averaged(model, together))

    @mistake("divides by a batch's own number of targets; where that is 0, the gradients become nan")
    def nan_without_targets(model, batches):
        total, count = 0, sum((targets != IGNORED).sum() for _, targets in batches)
        for inputs, targets in batches:
            real = targets != IGNORED
            logp = model(inputs).log_softmax(-1).gather(-1, targets.clamp_min(0)[..., None])[..., 0]
            total = total - (logp * real).sum() / real.sum() * (real.sum() / count)
        return gradient_of(model, total)

    @mistake("adds to the gradients that an earlier call has left in .grad; clear them at the start")
    def never_cleared(model, batches):
        count = sum(int((targets != IGNORED).sum()) for _, targets in batches)
        for batch in batches:
            (summed(model, batch) / count).backward()
        return {name: p.grad for name, p in model.named_parameters()}

    @mistake(
        "cuts the lower bits off, which rounds toward zero; the nearest neighbour may be the next one", of="bf16_round"
    )
    def truncates(x):
        return upper_half(x, 0)

    @mistake("rounds the numbers of x in place; x itself stays as it is, return a new tensor", of="bf16_round")
    def in_place(x):
        bits = x.view(torch.int32)
        bits += 0x7FFF + ((bits >> 16) & 1)
        bits &= ~0xFFFF
        return x

    @mistake("rounds halves away from zero; ties go to the neighbour whose last bit is 0", of="bf16_round")
    def halves_away(x):
        return upper_half(x, 0x8000)

    @mistake("always adds 0x7FFF, so that halves go toward zero; ties go to the even neighbour", of="bf16_round")
    def halves_toward_zero(x):
        return upper_half(x, 0x7FFF)

    @mistake("keeps 7 significant digits: 7 bits are stored, and the leading 1 comes for free", of="bf16_round")
    def seven_digits(x):
        return binary_digits(x, 7)

    @mistake("keeps 9 significant digits: sign and exponent take 9 of the 16 bits, 7 are left", of="bf16_round")
    def nine_digits(x):
        return binary_digits(x, 9)

    @mistake("rounds to float16, which has more digits and far less range", of="bf16_round")
    def as_float16(x):
        return x.half().float()

    @mistake("rounds to multiples of 1/128 everywhere; the step doubles at each power of two", of="bf16_round")
    def fixed_step(x):
        return torch.round(x * 128) / 128

    @mistake("rounds in the decimal system; a bfloat16 has 8 significant binary digits", of="bf16_round")
    def decimal_digits(x):
        return torch.round(x, decimals=2)
