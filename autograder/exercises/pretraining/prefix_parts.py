"""What exercise 6 compares with: a small model that looks where its mask lets it, and loops over single numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import close, fail
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import pretraining


@dataclass
class Reader:
    """Two layers of averages over what the mask shows, in double precision; it keeps what it was given.

    A check hands over its method `read`: a function crosses to the student's side, where calling it sends ids and mask
    back here. So the check sees for itself what the model got.
    """

    tables: Tensor  # [places, V, C]
    out: Tensor  # [C, V]
    dtype: torch.dtype = torch.float32
    seen: list[tuple[Any, Any]] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: Rng, V: int, places: int = 24, dtype: torch.dtype = torch.float32) -> Reader:
        return cls(rng.normal(places, V, 6).double(), 2 * rng.normal(6, V).double(), dtype)

    def read(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        self.seen.append((ids, mask))
        V = self.tables.shape[1]
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            raise ValueError(f"ids: the model expects a tensor [B, T], got {type_name(ids)}")
        if ids.min() < 0 or ids.max() >= V:
            raise ValueError(f"ids: the model knows tokens from 0 to {V - 1}, got {int(ids.min())} to {int(ids.max())}")
        return self.logits(ids.long(), mask).to(self.dtype)

    def logits(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        T = ids.shape[1]
        if mask is None:  # as in chapter 2: without a mask, a decoder is causal
            mask = torch.ones(T, T).tril()
        weights = mask.double() / mask.double().sum(-1, keepdim=True).clamp_min(1)
        x = self.tables[torch.arange(T), ids]  # [B, T, C]
        return (x / 2 + 2 * weights @ torch.tanh(x + 2 * weights @ x)) @ self.out


def prefix_mask(P: int, S: int) -> list[list[bool]]:
    """Who may see whom, in words: the prefix everybody, the target those after it and itself."""
    return [[key < P or key <= query for key in range(P + S)] for query in range(P + S)]


def expected_loss(reader: Reader, prefix: Tensor, target: Tensor, ignore_index: int = -100) -> float:
    """The oracle: for each target token that counts, -log p given what stands before it, one by one."""
    P, S = prefix.shape[1], target.shape[1]
    losses = []
    ids = torch.cat([prefix, target.masked_fill(target == ignore_index, 0)], dim=1)
    scores = reader.logits(ids, torch.tensor(prefix_mask(P, S))).to(reader.dtype).double().tolist()
    for row, tokens in enumerate(target.tolist()):
        for place, token in enumerate(tokens):
            if token != ignore_index:
                said = scores[row][P + place - 1]
                top = max(said)
                losses.append(top + math.log(math.fsum(math.exp(s - top) for s in said)) - said[token])
    return math.fsum(losses) / len(losses)


def draw_texts(rng: Rng, V: int, P: int, lengths: list[int], ignore_index: int = -100) -> tuple[Tensor, Tensor]:
    """A prefix for each row, and targets of these lengths, padded at the end."""
    prefix = torch.tensor([rng.ids(P, 0, V - 1) for _ in lengths])
    target = torch.full((len(lengths), max(lengths)), ignore_index)
    for row, length in enumerate(lengths):
        target[row, :length] = torch.tensor(rng.ids(length, 0, V - 1))
    return prefix, target


def expect_loss(got: Any, reader: Reader, prefix: Tensor, target: Tensor, what: str, **options: Any) -> None:
    want = torch.tensor(expected_loss(reader, prefix, target, **options))
    close(got, want, rtol=2e-5, atol=1e-6, what=what)


def look_at_what_the_model_got(reader: Reader, prefix: Tensor, target: Tensor) -> None:
    """Fail unless the model was asked once about prefix and target, with the mask of a prefix-LM."""
    if not reader.seen:
        fail("it never called the model")
    if len(reader.seen) > 1:
        fail(f"it called the model {len(reader.seen)} times; once is enough, on the prefix followed by the target")
    ids, mask = reader.seen[0]
    P, S = prefix.shape[1], target.shape[1]
    both = torch.cat([prefix, target], dim=1)
    T = ids.shape[1]
    # The last token of the target predicts nothing: whoever leaves it away gets the same loss.
    if T not in (P + S, P + S - 1) or not torch.equal(ids, both[:, :T]):
        fail(f"the model got ids of shape {tuple(ids.shape)} that are not the prefix followed by the target")
    if not isinstance(mask, Tensor):
        fail("the model got no mask; without one it is causal everywhere, in the prefix, too")
    if mask.dtype != torch.bool or tuple(mask.shape) != (T, T):
        fail(f"the mask has shape {tuple(mask.shape)} and dtype {mask.dtype}, expected {(T, T)} and torch.bool")
    for query, row in enumerate(prefix_mask(P, S)[:T]):
        for key, may in enumerate(row[:T]):
            if bool(mask[query, key]) != may:
                parts = ["prefix" if place < P else "target" for place in (query, key)]
                verb = "may see" if may else "may not see"
                fail(f"mask[{query}, {key}] is {not may}, but place {query} ({parts[0]}) {verb} {key} ({parts[1]})")


def attended(q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None) -> Tensor:
    """The oracle for cross-attention on [T, D] and [S, D]: one query after the other, in double precision."""
    rows = []
    for t, query in enumerate(q.double()):
        scores = [float(query @ key) / math.sqrt(q.shape[-1]) for key in k.double()]
        may = [True] * len(scores) if real is None else (real if real.ndim == 1 else real[t]).tolist()
        top = max(s for s, m in zip(scores, may, strict=True) if m)
        shares = [math.exp(s - top) if m else 0.0 for s, m in zip(scores, may, strict=True)]
        rows.append(sum(share * value for share, value in zip(shares, v.double(), strict=True)) / sum(shares))
    return torch.stack(rows).to(q.dtype)


def expect_attended(got: Any, want: Tensor, what: str) -> None:
    close(got, want, rtol=1e-4, atol=1e-5, what=what)


def record(student: Student, rng: Rng) -> None:
    """Two calls for the record: on some inputs two mistakes look alike, on these they do not."""
    reader = Reader.draw(rng, 7)
    prefix, target = draw_texts(rng, 7, 3, [4, 2])
    expect_loss(
        student.prefix_lm_loss(reader.read, prefix, target), reader, prefix, target, "the loss of two texts, one padded"
    )
    q, k, v = rng.normal(3, 4), rng.normal(5, 4), rng.normal(5, 4)
    real = torch.tensor([True, True, False, True, False])
    expect_attended(
        student.cross_attention(q, (k, v), real), attended(q, k, v, real), "cross_attention of 3 queries and 5 keys"
    )


def loss_with(
    mask: Callable[[Tensor, Tensor, int], Tensor | None] = lambda i, j, P: (j <= i) | (j < P),
    logits: Callable[[Tensor, int], Tensor] = lambda logits, P: logits[:, P - 1 : -1],
    mean: Callable[[Tensor, Tensor], Tensor] = lambda losses, counted: losses[counted].mean(),
    readable: bool = True,
    widen: Callable[[Tensor], Tensor] = Tensor.float,
) -> Callable:
    """A wrong prefix_lm_loss, right but for what is given: its mask, the logits it compares, its mean or precision."""

    def prefix_lm_loss(model, prefix, target, ignore_index=-100):
        P, counted = prefix.shape[1], target != ignore_index
        safe = target.masked_fill(~counted, 0)
        ids = torch.cat([prefix, safe if readable else target], dim=1)
        place = torch.arange(ids.shape[1])
        said = widen(logits(model(ids, mask=mask(place[:, None], place[None, :], P)), P))
        losses = F.cross_entropy(said.transpose(1, 2), safe, reduction="none")
        return mean(losses, counted)

    return prefix_lm_loss


def attention_with(
    scale: Callable[[Tensor, Tensor], float] = lambda q, k: q.shape[-1] ** -0.5,
    hide: Callable[[Tensor, Tensor | None], Tensor] = lambda scores, real: (
        scores if real is None else scores.masked_fill(~real, -torch.inf)
    ),
    dim: int = -1,
    values: Callable[[Tensor, Tensor], Tensor] = lambda k, v: v,
) -> Callable:
    """A wrong cross_attention, right but for what is given."""

    def cross_attention(q_dec, kv_enc, enc_mask=None):
        k, v = kv_enc
        scores = q_dec @ k.transpose(-1, -2) * scale(q_dec, k)
        return hide(scores, enc_mask).softmax(dim).nan_to_num(0.0) @ values(k, v)

    return cross_attention


def on_everything(model, prefix, target, ignore_index=-100):
    """The loss over prefix and target."""
    P = prefix.shape[1]
    ids = torch.cat([prefix, target.masked_fill(target == ignore_index, 0)], dim=1)
    place = torch.arange(ids.shape[1])
    logits = model(ids, mask=(place <= place[:, None]) | (place < P))
    labels = torch.cat([prefix, target], dim=1)
    return pretraining.causal_lm_loss(logits, labels, ignore_index)
