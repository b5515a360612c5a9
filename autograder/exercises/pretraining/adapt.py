"""Exercise 14: one pretrained model for a new task: the input's format, the pooling, and what learns."""

from __future__ import annotations

import math

import torch

from autograder.compare import close, equal, fail, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.positions import a_tensor
from autograder.exercises.pretraining.adapt_parts import (
    adapted,
    answers,
    draw_backbone,
    draw_examples,
    finetune_with,
    weights_of,
)
from autograder.exercises.pretraining.adapt_steps import WRONG_STEPS, alike_examples, kind_of_steps
from autograder.rng import Rng
from autograder.student import Event, Remote, Student
from course_lib import pretraining


class FinetuneClassifier(Exercise):
    """Put a task's input into one format, average hidden states without padding, and train a head or everything."""

    title = "Pretrain, then adapt"
    difficulty = 2
    minutes = 40
    functions = ("format_task", "masked_mean", "finetune_classifier")
    reference = pretraining
    forbid = ("transformers", "peft", "course_lib.attention.training")
    hints = (
        "Which of the three functions needs to know about padding, and which about dropout? What does a backbone that "
        "is frozen do in a step: anything but compute? And which parameters does the optimiser have to know then?",
        "format_task: cut the text so that both tokens still fit, then fill up. masked_mean: set the padded places to "
        "0, add up, and divide by how many places were not padded. finetune_classifier: seed torch with a number drawn "
        "from g, make the Classifier, decide with freeze which parameters learn and in which mode the backbone is; "
        "then the usual loop. The head always learns.",
        "ids = [task, *x[: length - 2], end]; ids + [pad] * (length - len(ids)). masked_mean: hidden.masked_fill("
        "~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1). finetune_classifier: model.train(); "
        "for a frozen backbone model.backbone.requires_grad_(False) and model.backbone.eval(); chosen = "
        "torch.randperm(len(ids), generator=g)[:batch_size]; optimise [p for p in model.parameters() if "
        "p.requires_grad]; return model.eval(), losses.",
    )

    @check(hint="Task, text, end, padding, in this order. What is cut when the text is too long?")
    def an_input_has_its_format(self, student: Student, rng: Rng) -> None:
        task, end, pad = rng.sample(range(90, 99), 3)
        for size, length in ((3, 8), (rng.randint(9, 12), 7), (4, 6)):
            x = rng.ids(size, 1, 80)
            text = x[:]
            while len(text) + 2 > length:
                text.pop()
            want = [task, *text, end]
            while len(want) < length:
                want.append(pad)
            equal(student.format_task(task, x, length, end, pad), want, what=f"{size} ids in {length} places")

    @check(hint="Padding has vectors, too. How many places are summed up, and by how many do you divide?")
    def the_mean_leaves_out_padding(self, student: Student, rng: Rng) -> None:
        hidden = rng.normal(4, 5, 4)
        lengths = [*rng.sample(range(1, 6), 3), 0]
        mask = torch.arange(5) < torch.tensor(lengths)[:, None]
        want = torch.stack([rows[:n].sum(0) / max(n, 1) for rows, n in zip(hidden, lengths, strict=True)])
        close(a_tensor(student.masked_mean(hidden, mask), "masked_mean"), want, rtol=1e-4, atol=1e-6)

    @check(hint="freeze=True: which weights may a step change? And whose dropout must be off?", time_limit=30.0)
    def a_frozen_backbone_is_left_untouched(self, student: Student, rng: Rng) -> None:
        backbone = draw_backbone(rng, dropout=0.5)
        data = draw_examples(rng, backbone["cfg"], 9, 3)
        model, losses = adapted(student, backbone, alike_examples(data), True, 3, 1e-9, generator(rng), batch_size=9)
        slow, steady = student.trace[-1], max(losses) - min(losses) < 1e-4
        started = [name for name, value in weights_of(student, model).items() if _moved(value, backbone, name, 1e-5)]
        other, _ = adapted(student, backbone, data, False, 1, 0.05, generator(rng))
        learns = any(_moved(value, backbone, name) for name, value in weights_of(student, other).items())
        moving, _ = adapted(student, backbone, data, True, 2, 0.05, generator(rng))
        fast = student.trace[-1]
        changed = [name for name, value in weights_of(student, moving).items() if _moved(value, backbone, name)]
        words = ("changed" if changed else "untouched", "learns else" if learns else "never learns")
        student.conclude(f"{words}, {'elsewhere' if started else 'checkpoint'}, {'steady' if steady else 'unsteady'}")
        if changed:
            fail(f"{changed[0]} is no longer as in the checkpoint, although freeze=True", fast)
        if not steady:
            spread = f"with lr = 1e-9, the losses of nine equal examples go from {min(losses):.3f} to {max(losses):.3f}"
            fail(f"{spread}: a frozen backbone drops nothing", slow)

    @check(hint="freeze=False: the optimiser needs all parameters, and dropout acts in the backbone as in pretraining.")
    def without_freezing_everything_learns(self, student: Student, rng: Rng) -> None:
        backbone = draw_backbone(rng, dropout=0.5)
        data = draw_examples(rng, backbone["cfg"], 9, 3)
        model, losses = adapted(student, backbone, alike_examples(data), False, 3, 1e-9, generator(rng), batch_size=9)
        slow, drops = student.trace[-1], max(losses) - min(losses) > 1e-4
        close_by = not any(_moved(value, backbone, name, 1e-5) for name, value in weights_of(student, model).items())
        frozen, _ = adapted(student, backbone, data, True, 1, 0.02, generator(rng))
        other = any(_moved(value, backbone, name) for name, value in weights_of(student, frozen).items())
        model, _ = adapted(student, backbone, data, False, 2, 0.02, generator(rng))
        fast = student.trace[-1]
        still = [name for name, value in weights_of(student, model).items() if not _moved(value, backbone, name)]
        still = [name for name in still if not name.endswith("k_proj.bias")]  # moves all scores alike: no gradient
        begins = f"{'learns' if other else 'stands'} with freeze=True, {'begins' if close_by else 'does not begin'}"
        student.conclude(f"{begins} at the checkpoint, dropout {drops}, {'some stand still' if still else 'all move'}")
        if not close_by:
            fail("with lr = 1e-9 the backbone is not where the checkpoint was: it has to begin there", slow)
        if still:
            fail(f"{still[0]} did not move, although freeze=False", fast)
        if not drops:
            fail("with lr = 1e-9 and cfg.dropout = 0.5 all losses are the same: in training, dropout acts", slow)

    @check(hint="No example twice in a step, others in the next one. Loss, clear, backward, clip, step: in this order.")
    def a_step_takes_different_examples_and_one_clipped_gradient(self, student: Student, rng: Rng) -> None:
        backbone = draw_backbone(rng)
        backbone["weights"]["final_norm.weight"] *= 6  # long vectors have long gradients, which are clipped
        data, seed = draw_examples(rng, backbone["cfg"], 9, 3), rng.getrandbits(40)

        def run(steps: int, lr: float, batch_size: int) -> tuple[Remote, list[float], Event]:
            g = torch.Generator().manual_seed(seed)
            return *adapted(student, backbone, data, True, steps, lr, g, batch_size), student.trace[-1]

        model, all_nine, first = run(2, 1e-9, 9)
        with student.off_the_record():
            head, bias = model.head.weight, model.head.bias
        _, four, second = run(3, 1e-9, 4)
        _, losses, third = run(6, 0.1, 9)
        once, anew = max(all_nine) - min(all_nine) < 1e-4, max(four) - min(four) > 1e-4
        kind = kind_of_steps(losses, backbone, data, head, bias, 0.1)
        student.conclude(f"{'each once' if once else 'some twice'}, {'anew' if anew else 'the same'}, steps {kind}")
        if not once:
            spread = f"{min(all_nine):.3f} to {max(all_nine):.3f}"
            fail(
                f"with lr = 1e-9 and a batch of all nine examples, losses go from {spread}: some were drawn twice",
                first,
            )
        if not anew:
            fail(
                "with lr = 1e-9 and batches of four out of nine, all losses are the same: always the same four", second
            )
        if kind in WRONG_STEPS:
            fail(f"on the same nine examples the losses are, to the digit, those of a loop {kind}", third)

    @check(hint="Both ways must end with few errors here. Do head and labels belong together, and does the head learn?")
    def it_learns_to_tell_classes_apart(self, student: Student, rng: Rng) -> None:
        K = 3
        for freeze in (True, False):
            backbone = draw_backbone(rng)
            train, test = (draw_examples(rng, backbone["cfg"], count, K) for count in (36, 30))
            steps, lr = (40, 0.06) if freeze else (8, 0.03)
            model, _ = adapted(student, backbone, train, freeze, steps, lr, generator(rng))
            right = answers(student, model, test["ids"], K).argmax(-1) == test["labels"]
            share = right.double().mean().item()
            student.conclude(f"freeze={freeze}: {'learned' if share > 0.6 else 'not learned'}")
            message = f"with freeze={freeze}, {share:.0%} of new examples are right after {steps} steps, expected > 60%"
            true(share > 0.6, message)

    @check(hint="The first weights of the head, the choice of examples, dropout: all from g. And what is returned?")
    def the_same_g_gives_the_same_model_ready_for_use(self, student: Student, rng: Rng) -> None:
        backbone = draw_backbone(rng, dropout=0.3)
        data, seed = draw_examples(rng, backbone["cfg"], 24, 3), rng.getrandbits(40)
        found = []
        for number in (seed, seed, seed + 1):
            g = torch.Generator().manual_seed(number)
            model, losses = adapted(student, backbone, data, False, 2, 0.01, g, batch_size=5)
            found.append(losses)
        twice = [answers(student, model, data["ids"][:4], 3) for _ in range(2)]
        again, other, ready = found[0] == found[1], found[0] != found[2], torch.equal(*twice)
        student.conclude(f"again {again}, other {other}, ready {ready}")
        true(again, f"two runs from the same g had the losses {found[0]} and {found[1]}")
        true(other, "two runs from different generators had exactly the same losses")
        true(ready, "the returned model gives other logits at each call: it still drops out")

    @mistake("cuts nothing: a long text makes more than `length` ids", of="format_task")
    def never_cuts(task, x, length, end, pad):
        ids = [task, *x, end]
        return ids + [pad] * (length - len(ids))

    @mistake("cuts at the very end, and with the text the end token", of="format_task")
    def cuts_the_end(task, x, length, end, pad):
        ids = [task, *x, end][:length]
        return ids + [pad] * (length - len(ids))

    @mistake("keeps the last part of a long text; its beginning is asked", of="format_task")
    def keeps_the_tail(task, x, length, end, pad):
        ids = [task, *x[max(0, len(x) - length + 2) :], end]
        return ids + [pad] * (length - len(ids))

    @mistake("pads on the left; the padding comes last", of="format_task")
    def pads_left(task, x, length, end, pad):
        ids = [task, *x[: length - 2], end]
        return [pad] * (length - len(ids)) + ids

    @mistake("puts the end token behind the padding; it follows the text", of="format_task")
    def end_behind_padding(task, x, length, end, pad):
        ids = [task, *x[: length - 2]]
        return ids + [pad] * (length - 1 - len(ids)) + [end]

    @mistake("leaves out the task's token", of="format_task")
    def no_task(task, x, length, end, pad):
        ids = [*x[: length - 1], end]
        return ids + [pad] * (length - len(ids))

    @mistake("averages over padding as well", of="masked_mean")
    def with_padding(hidden, mask):
        return hidden.mean(1)

    @mistake("sums up without padding but divides by all places", of="masked_mean")
    def divides_by_all(hidden, mask):
        return (hidden * mask[..., None]).mean(1)

    @mistake("divides by 0 where all places are padding, which gives nan; zeros are asked there", of="masked_mean")
    def nan_when_empty(hidden, mask):
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    @mistake("adds up and does not divide", of="masked_mean")
    def only_sum(hidden, mask):
        return (hidden * mask[..., None]).sum(1)

    @mistake("takes the mask the wrong way round, and averages the padding", of="masked_mean")
    def the_padding(hidden, mask):
        return pretraining.masked_mean(hidden, ~mask)

    @mistake("divides by the number of places of the whole batch; each text has its own", of="masked_mean")
    def batch_count(hidden, mask):
        return (hidden * mask[..., None]).sum(1) / mask.sum()

    @mistake("takes the last place, padding or not; the mean is asked", of="masked_mean")
    def last_place(hidden, mask):
        return hidden[:, -1]

    never_frozen = mistake("trains the backbone although freeze=True")(finetune_with(frozen="never"))
    always_frozen = mistake("trains the head only although freeze=False")(finetune_with(frozen="always"))
    reversed_meaning = mistake("takes freeze the wrong way round")(finetune_with(frozen="reversed"))
    frozen_drops = mistake("leaves dropout on in a frozen backbone: its features differ at every step")(
        finetune_with(mode="train")
    )
    trains_in_eval = mistake("trains in evaluation mode; when everything learns, dropout acts")(
        finetune_with(mode="eval")
    )
    from_scratch = mistake("begins with fresh weights instead of those of the checkpoint")(finetune_with(start="fresh"))
    draws_twice = mistake("draws with replacement: a step has to take different examples")(
        finetune_with(batch="replacement")
    )
    the_first_ones = mistake("takes the same examples in every step; draw them anew with g")(
        finetune_with(batch="first")
    )
    piles_up = mistake("does not clear the gradients: those of all earlier steps are added (optimizer.zero_grad())")(
        finetune_with(step="piles up")
    )
    not_clipped = mistake("does not clip the gradients to norm 1")(finetune_with(step="not clipped"))
    after_the_update = mistake("measures a step's loss after its update; it is that before")(
        finetune_with(step="after")
    )
    head_stands = mistake("does not give the head to the optimiser")(finetune_with(head_learns=False))
    own_stream = mistake("takes its random numbers from torch's own stream instead of g")(finetune_with(seeded=False))
    not_ready = mistake("returns the model in training mode; it would answer with dropout")(
        finetune_with(returned="train")
    )


def generator(rng: Rng) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(40))


def _moved(value: torch.Tensor, backbone: dict, name: str, by: float = 0.0) -> bool:
    before = backbone["weights"].get(name)
    if before is None or before.shape != value.shape:
        return False  # a mask, perhaps: no weight of the checkpoint
    return bool((value - before).abs().max() > by) if not math.isnan(float(value.sum())) else True
