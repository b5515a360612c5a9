"""Adapting a pretrained model: one input format for all tasks, and a classifier on top, frozen below or not."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import GPT, GPTConfig  # noqa: F401 (GPTConfig in the examples)
from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.clipping import clip_grad_norm_

Checkpoint = dict[str, Any]


def format_task(task: int, x: Sequence[int], length: int, end: int, pad: int) -> list[int]:
    """Return ids of exactly `length`: the task's token, as much of `x` as fits, the end token, then padding.

    ValueError if `length` leaves no room for the two tokens. Source: Radford et al. 2018, section 3.3 (start and
    extract tokens around every input); Raffel et al. 2020, section 2.4 (the task is named in the input).

    >>> format_task(90, [5, 6, 7], length=6, end=99, pad=0), format_task(90, [5, 6, 7], length=4, end=99, pad=0)
    ([90, 5, 6, 7, 99, 0], [90, 5, 6, 99])
    """
    require_int("length", length, 2)
    ids = [task, *list(x)[: length - 2], end]
    return ids + [pad] * (length - len(ids))


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean [B, C] of the vectors [B, T, C] at the places where `mask` [B, T] is True; 0 where there is none.

    ValueError for a mask of another shape.

    >>> masked_mean(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    if mask.shape != hidden.shape[:2]:
        raise ValueError(f"mask: expected the shape {tuple(hidden.shape[:2])}, got {tuple(mask.shape)}")
    weight = mask.to(hidden.dtype)[..., None]  # [B, T, 1]
    # Not a product: what stands at a hidden place may be infinite.
    return hidden.masked_fill(~mask[..., None], 0.0).sum(1) / weight.sum(1).clamp_min(1.0)


class Classifier(nn.Module):
    """A GPT's last hidden states, averaged over what is not padding, and one linear layer: ids [B, T] to [B, K].

    `backbone` is a checkpoint: {"cfg": sizes of a `GPT`, "weights": its state_dict}, which is copied. The hidden states
    are those after the final norm, with which the head for tokens would be multiplied.

    >>> cfg = GPTConfig(vocab_size=9, context_length=8, n_layers=1, n_heads=2, d_model=16)
    >>> model = Classifier({"cfg": cfg, "weights": GPT(cfg).state_dict()}, n_classes=3, pad=0)
    >>> model(torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])).shape
    torch.Size([2, 3])
    """

    def __init__(self, backbone: Checkpoint, n_classes: int, pad: int):
        super().__init__()
        self.backbone = GPT(backbone["cfg"])
        self.backbone.load_state_dict(backbone["weights"])
        self.head = nn.Linear(self.backbone.token_embedding.embedding_dim, require_int("n_classes", n_classes, 2))
        self.pad = pad

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(masked_mean(self.hidden(ids), ids != self.pad))

    def hidden(self, ids: Tensor) -> Tensor:
        """Return what the final norm gives, [B, T, C]."""
        kept: list[Tensor] = []
        hook = self.backbone.final_norm.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            self.backbone(ids)
        finally:
            hook.remove()
        return kept[0]


def finetune_classifier(
    backbone: Checkpoint,
    data: dict[str, Any],
    freeze: bool,
    steps: int,
    lr: float,
    g: torch.Generator,
    batch_size: int = 16,
) -> tuple[nn.Module, list[float]]:
    """Train a `Classifier` on labelled ids and return it, in evaluation mode, with the loss of every step.

    `data` has "ids" [N, T], "labels" [N], "n_classes" and "pad". With ``freeze=True`` only the head learns: the
    backbone's weights stay as they are, and it is in evaluation mode, so that its features are always the same. With
    ``freeze=False`` everything learns, with dropout. A step takes `batch_size` examples, drawn with `g` without
    repetition, or all where there are fewer; AdamW at rate `lr` without decay, gradients cut to norm 1. Everything
    random follows from `g`. Losses are mean cross-entropies in nats. ValueError for sizes that do not fit.
    Source: Radford et al. 2018, section 3.2, with the mean of the states instead of the last; frozen features as in
    Devlin et al. 2019, section 5.3.

    >>> cfg = GPTConfig(vocab_size=9, context_length=8, n_layers=1, n_heads=2, d_model=16)
    >>> data = {"ids": torch.tensor([[1, 2, 0], [5, 6, 6]]), "labels": torch.tensor([0, 1]), "n_classes": 2, "pad": 0}
    >>> backbone = {"cfg": cfg, "weights": GPT(cfg).state_dict()}
    >>> model, losses = finetune_classifier(backbone, data, False, 40, 0.01, torch.Generator().manual_seed(0))
    >>> model(data["ids"]).argmax(-1)
    tensor([0, 1])
    """
    ids, labels = data["ids"], data["labels"]
    require_int("steps", steps, 1)
    require_int("batch_size", batch_size, 1)
    if ids.ndim != 2 or labels.shape != ids.shape[:1] or not len(ids):
        raise ValueError(f"data: expected ids [N, T] and labels [N], got {tuple(ids.shape)} and {tuple(labels.shape)}")
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=g)))
        model = Classifier(backbone, data["n_classes"], data["pad"]).to(ids.device)
        model.train()
        model.backbone.requires_grad_(not freeze)
        if freeze:
            model.backbone.eval()
            with torch.no_grad():
                features = torch.cat([masked_mean(model.hidden(x), x != model.pad) for x in ids.split(256)])
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=lr, weight_decay=0.0)
        losses = []
        for _ in range(steps):
            chosen = torch.randperm(len(ids), generator=g)[:batch_size].to(ids.device)
            # Frozen features never change: computed once, they make the training of the head nearly free.
            logits = model.head(features[chosen]) if freeze else model(ids[chosen])
            loss = F.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(learning, 1.0)
            optimizer.step()
            losses.append(loss.item())
    return model.eval(), losses
