"""What exercise 14 adapts, how it looks at the result, and the wrong fine-tunings of its mistakes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import fail, true
from autograder.exercises.attention.gpt_parts import draw_config, draw_state, logits_of
from autograder.exercises.attention.positions import a_tensor
from autograder.rng import Rng
from autograder.student import Remote, Student, type_name
from course_lib import attention, pretraining

PAD = 0


def draw_backbone(rng: Rng, dropout: float = 0.0) -> dict[str, Any]:
    """A checkpoint as pretraining leaves it behind: sizes and weights."""
    cfg: SimpleNamespace = draw_config(rng, dropout)
    cfg.n_layers, cfg.context_length = 1, rng.randint(7, 9)
    weights = draw_state(rng, cfg)
    for name, value in weights.items():
        if name.startswith(("blocks", "position")):
            value *= 0.3  # so that the states are mostly about the token
    return {"cfg": cfg, "weights": weights}


def draw_examples(rng: Rng, cfg: Any, count: int, K: int) -> dict[str, Any]:
    """Texts of several lengths, padded; the class says which few letters of the alphabet the text is written in."""
    T, V, rows, labels = cfg.context_length, cfg.vocab_size, [], []
    share = min(3, (V - 1) // K)
    for number in range(count):
        label = number % K
        text = rng.ids(rng.randint(3, T), 1 + label * share, (label + 1) * share)
        rows.append(text + [PAD] * (T - len(text)))
        labels.append(label)
    return {"ids": torch.tensor(rows), "labels": torch.tensor(labels), "n_classes": K, "pad": PAD}


def adapted(
    student: Student,
    backbone: dict,
    data: dict,
    freeze: bool,
    steps: int,
    lr: float,
    g: torch.Generator,
    batch_size: int | None = None,
) -> tuple[Remote, list[float]]:
    """The student's classifier and losses, off the record; fails where they are not what they should be."""
    more = {} if batch_size is None else {"batch_size": batch_size}
    with student.off_the_record():
        got = student.finetune_classifier(backbone, data, freeze, steps, lr, g, **more)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        fail(f"finetune_classifier returned {type_name(got)}, expected the model and the list of losses")
    model, losses = got
    if not isinstance(model, Remote):
        fail(f"the model that finetune_classifier returned is {type_name(model)}, expected a Classifier")
    is_list = isinstance(losses, list) and all(isinstance(loss, float) for loss in losses)
    true(is_list, "the losses are no list of floats; a tensor's number is loss.item()")
    true(len(losses) == steps, f"there are {len(losses)} losses, expected one for each of {steps} steps")
    return model, losses


def weights_of(student: Student, model: Remote) -> dict[str, Tensor]:
    """The weights of the model's backbone, as data."""
    with student.off_the_record():
        weights = model.backbone.state_dict()
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        fail("model.backbone has no state_dict() as a GPT has")
    return weights


def answers(student: Student, model: Remote, ids: Tensor, K: int) -> Tensor:
    """The model's logits [N, K], off the record."""
    with student.off_the_record():
        logits = a_tensor(model(ids), "the model")
    true(logits.shape == (len(ids), K), f"the model returned shape {tuple(logits.shape)}, expected {(len(ids), K)}")
    return logits


def expected_answers(weights: dict[str, Tensor], head: Tensor, bias: Tensor, cfg: Any, ids: Tensor) -> Tensor:
    """The oracle for the classifier: hidden states recovered from the logits, and a loop of means."""
    table = weights["token_embedding.weight"]
    rows = []
    for row in ids:
        row = row[: int((row != PAD).sum())]  # no padding at all, one text at a time
        logits = logits_of(row[None], weights, cfg)[0].double()  # [T, V], products of states with the table
        states = torch.linalg.lstsq(table.double(), logits.T).solution.T  # V > C: the states follow from them
        rows.append(states.mean(0) @ head.double().T + bias.double())
    return torch.stack(rows).float()


def finetune_with(
    frozen: str = "right",
    mode: str = "right",
    start: str = "checkpoint",
    head_learns: bool = True,
    seeded: bool = True,
    returned: str = "eval",
    pool: Callable | None = None,
    batch: str = "right",
    step: str = "right",
) -> Callable:
    """A finetune_classifier that is right but for what the arguments say."""

    def finetune_classifier(backbone, data, freeze, steps, lr, g, batch_size=16):
        if seeded:
            torch.manual_seed(int(torch.randint(2**40, (), generator=g)))
        model = pretraining.Classifier(backbone, data["n_classes"], data["pad"])
        if start == "fresh":
            model.backbone = attention.GPT(backbone["cfg"])
        if pool:
            model.forward = lambda ids: model.head(pool(model.hidden(ids), ids != model.pad))
        freezes = {"right": freeze, "never": False, "always": True, "reversed": not freeze}[frozen]
        model.train()
        if mode == "eval" or (mode == "right" and freezes):
            model.backbone.eval()
        parameters = list(model.head.parameters()) if head_learns else []
        parameters += [] if freezes else list(model.backbone.parameters())
        optimizer = torch.optim.AdamW(parameters or [torch.zeros(1)], lr=lr, weight_decay=0.0)
        ids, labels = data["ids"], data["labels"]
        losses = []
        for _ in range(steps):
            chosen = torch.randperm(len(ids), generator=g if seeded else None)[:batch_size]
            if batch == "first":
                chosen = torch.arange(len(ids))[:batch_size]
            if batch == "replacement":
                chosen = torch.randint(len(ids), (batch_size,), generator=g)
            loss = F.cross_entropy(model(ids[chosen]), labels[chosen])
            if step != "piles up":
                optimizer.zero_grad()
            loss.backward()
            if step != "not clipped":
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if step == "after":
                loss = F.cross_entropy(model(ids[chosen]), labels[chosen])
            losses.append(loss.item())
        return (model if returned == "train" else model.eval()), losses

    return finetune_classifier
