"""Hidden part of exercise 14."""

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import close, equal, fail, true
from autograder.exercise import check, variant
from autograder.exercises.attention.positions import a_tensor
from autograder.exercises.pretraining import adapt as public
from autograder.exercises.pretraining.adapt_parts import (
    PAD,
    adapted,
    answers,
    draw_backbone,
    draw_examples,
    expected_answers,
    weights_of,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class FinetuneClassifier(public.FinetuneClassifier):
    @check(hint="Try an empty text, and a text that fills its places exactly. Is x still the same afterwards?")
    def formats_of_every_length(self, student: Student, rng: Rng) -> None:
        for size, length in ((0, 2), (0, 5), (5, 2), (6, 8), (7, 8), (30, 9)):
            x = rng.ids(size, 1, 50)
            got, after = student.format_task.with_arguments(60, x, length, 70, 80)
            kept = min(size, length - 2)
            want = [60] + [x[i] for i in range(kept)] + [70] + [80 for _ in range(length - 2 - kept)]
            equal(got, want, what=f"{size} ids in {length} places")
            equal(after[1], x, what="the text after the call")

    @check(hint="What if nothing is padded, if everything is, or if a padded place holds something huge?")
    def means_of_odd_rows(self, student: Student, rng: Rng) -> None:
        hidden = rng.normal(4, 3, 2)
        mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]).bool()
        want = torch.stack([hidden[0].sum(0) / 3, hidden[1, 0], hidden[2, 1], torch.zeros(2)])
        got = a_tensor(student.masked_mean(hidden, mask), "masked_mean")
        close(got, want, rtol=1e-4, atol=1e-6, what="with rows [1, 1, 1], [1, 0, 0], [0, 1, 0] and [0, 0, 0] it")

    @check(points=2, hint="Compute one row by hand: hidden states of the real tokens, their mean, the head.")
    def answers_follow_from_the_weights(self, student: Student, rng: Rng) -> None:
        backbone = draw_backbone(rng)
        cfg, K = backbone["cfg"], 4
        data = draw_examples(rng, cfg, 12, K)
        for freeze in (True, False):
            model, _ = adapted(student, backbone, data, freeze, 1, 0.01, public.generator(rng))
            weights = weights_of(student, model)
            with student.off_the_record():
                head, bias = model.head.weight, model.head.bias
            fits = all(isinstance(x, Tensor) for x in (head, bias)) and head.shape == (K, cfg.d_model)
            if not fits or bias.shape != (K,):
                fail("model.head is no linear layer from the width of the backbone to the classes")
            got = answers(student, model, data["ids"], K)
            want = expected_answers(weights, head, bias, cfg, data["ids"])
            right = torch.allclose(got, want, rtol=2e-2, atol=5e-3)
            student.conclude("follow" if right else "do not follow")
            close(got, want, rtol=2e-2, atol=5e-3, what=f"with freeze={freeze} the model", dtype=False)
            short = data["ids"][:1, : int((data["ids"][0] != PAD).sum())]
            less = answers(student, model, short, K)
            close(less, got[:1], rtol=1e-3, atol=1e-4, what="the same text without padding:", dtype=False)

    @check(hint="Eight labels or five hundred, fewer examples than batch_size, two classes: nothing may break.")
    def few_and_many_labels(self, student: Student, rng: Rng) -> None:
        for count, K, freeze in ((2, 2, False), (8, 2, True), (512, 4, True)):
            backbone = draw_backbone(rng)
            data = draw_examples(rng, backbone["cfg"], count, K)
            model, losses = adapted(student, backbone, data, freeze, 6, 0.05, public.generator(rng))
            sure = answers(student, model, data["ids"][:40], K).softmax(-1)
            falls = sum(losses[-3:]) < sum(losses[:3])
            student.conclude(f"{count} labels: {'falls' if falls else 'does not fall'}")
            true(falls, f"with {count} labels and freeze={freeze} the loss does not fall in 6 steps: {losses}")
            true(bool(sure.isfinite().all()), f"with {count} labels the model's logits are not finite")

    @variant
    class Plainly:
        """Loops where the reference has masks; the backbone runs at every step, under no_grad where it is frozen."""

        def format_task(task, x, length, end, pad):
            ids = [pad] * length
            kept = list(x[: length - 2])
            ids[0] = task
            ids[1 : 1 + len(kept)] = kept
            ids[1 + len(kept)] = end
            return ids

        def masked_mean(hidden, mask):
            rows = [h[m].mean(0) if m.any() else h.new_zeros(h.shape[-1]) for h, m in zip(hidden, mask, strict=True)]
            return torch.stack(rows)

        def finetune_classifier(backbone, data, freeze, steps, lr, g, batch_size=16):
            torch.manual_seed(g.initial_seed())
            model = pretraining.Classifier(backbone, data["n_classes"], data["pad"])
            model.train(not freeze)
            optimizer = torch.optim.Adam(model.head.parameters() if freeze else model.parameters(), lr)
            losses = []
            for _ in range(steps):
                size = min(batch_size, len(data["ids"]))
                rows = torch.multinomial(torch.ones(len(data["ids"])), size, generator=g)
                loss = F.cross_entropy(model(data["ids"][rows]), data["labels"][rows])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(float(loss))
            model.eval()
            return model, losses

    @variant
    class ByWeights:
        """A weighted sum as a matrix product; parameters are frozen one by one, examples drawn by sorting."""

        def format_task(task, x, length, end, pad):
            filled = [task, *list(x)[: max(0, length - 2)], end, *[pad] * length]
            return filled[:length]

        def masked_mean(hidden, mask):
            weight = mask / mask.sum(-1, keepdim=True).clamp(min=1)
            return torch.einsum("bt,btc->bc", weight.to(hidden.dtype), hidden)

        def finetune_classifier(backbone, data, freeze, steps, lr, g, batch_size=16):
            torch.manual_seed(int(torch.randint(10**6, (1,), generator=g)))
            model = pretraining.Classifier(backbone, data["n_classes"], data["pad"])
            for p in model.backbone.parameters():
                p.requires_grad = not freeze
            optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=lr, weight_decay=0)
            losses = []
            for _ in range(steps):
                model.train()
                if freeze:
                    model.eval()
                N = len(data["ids"])
                rows = torch.rand(N, generator=g).topk(min(batch_size, N)).indices
                logp = model(data["ids"][rows]).log_softmax(-1)
                loss = -logp[torch.arange(len(rows)), data["labels"][rows]].mean()
                model.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
                optimizer.step()
                losses.append(loss.item())
            return model.eval(), losses
