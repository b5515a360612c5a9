"""What exercise 4 measures on hidden tokens, in words that are the same for all code that makes the same mistake."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autograder.compare import fail
from autograder.rng import Rng
from autograder.student import Event, Student, type_name

# What a check is about, the finding for the record (no numbers in it), and the message for the student.
Fact = tuple[str, str, str]


def draw_ids(rng: Rng, *shape: int, low: int, high: int) -> Tensor:
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    return torch.randint(low, high + 1, shape, generator=generator)


def stream(rng: Rng) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(32))


def hide(student: Student, ids: Tensor, mask_id: int, vocab_size: int, **options: Any) -> tuple[Tensor, Tensor, bool]:
    """What the student's function returns for a copy of ids, and whether it left ids as they were."""
    with student.off_the_record():
        got, after = student.mlm_mask.with_arguments(ids, mask_id, vocab_size, **options)
    problem = ""
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        problem = f"it returned {type_name(got)}, expected a pair (inputs, labels)"
    else:
        for name, value in zip(("inputs", "labels"), got, strict=True):
            if not isinstance(value, Tensor):
                problem = problem or f"{name} is {type_name(value)}, expected a tensor"
            elif value.shape != ids.shape:
                problem = problem or f"{name} has shape {tuple(value.shape)}, expected {tuple(ids.shape)}, that of ids"
            elif value.dtype != ids.dtype:
                problem = problem or f"{name} has dtype {value.dtype}, expected {ids.dtype}, that of ids"
    if problem:
        student.conclude(problem)
        fail(problem)
    return got[0], got[1], torch.equal(after[0], ids)


def examine(
    student: Student,
    rng: Rng,
    ids: Tensor,
    mask_id: int,
    vocab_size: int,
    *,
    special_mask: Tensor | None = None,
    special_ids: tuple[int, ...] = (),
    p: float | None = None,
    tolerance: float = 0.05,
    draws: bool = True,
) -> list[tuple[str, str, str, Event]]:
    """Everything that is wrong with one call, and the call; all of it goes on record, whatever the check is about."""
    options: dict[str, Any] = {"g": stream(rng)} if draws else {}
    options |= {"special_mask": special_mask} if special_mask is not None else {}
    options |= {"special_ids": special_ids} if special_ids else {}
    options |= {"p": p} if p is not None else {}
    inputs, labels, untouched = hide(student, ids, mask_id, vocab_size, **options)
    call = student.trace[-1]
    ordinary = torch.ones(vocab_size, dtype=torch.bool)
    ordinary[[mask_id, *special_ids]] = False
    may = torch.ones_like(ids, dtype=torch.bool) if special_mask is None else ~special_mask
    is_special = torch.isin(ids, torch.tensor(special_ids, dtype=ids.dtype))
    found = facts(
        ids, inputs, labels, mask_id, may, is_special, ordinary, 0.15 if p is None else p, tolerance, untouched
    )
    student.conclude("; ".join(words for _, words, _ in found) or "nothing wrong")
    return [(*fact, call) for fact in found]


def fingerprint(student: Student, rng: Rng) -> None:
    """Three calls for the record alone: on some inputs two mistakes look alike, on these they do not."""
    examine(student, rng, draw_ids(rng, 30, 200, low=5, high=999), 4, 1000, p=0.5)
    examine(student, rng, draw_ids(rng, 100, 300, low=0, high=1), 2, 3, p=0.9, tolerance=0.025)
    # So few tokens that only large differences count: by chance there are none.
    ids, places = draw_ids(rng, 20, 90, low=5, high=999), (torch.arange(90) >= 45).expand(20, 90)
    examine(student, rng, ids, 4, 1000, special_mask=places, p=0.5, tolerance=0.1)


def facts(
    ids: Tensor,
    inputs: Tensor,
    labels: Tensor,
    mask_id: int,
    may: Tensor,
    is_special: Tensor,
    ordinary: Tensor,
    p: float,
    tolerance: float,
    untouched: bool = True,
) -> list[Fact]:
    found: list[Fact] = []
    chosen = labels != -100
    if chosen.all() and p < 1:
        found.append(("labels", "a label everywhere", "every place has a label; only chosen ones may, the others -100"))
    if (wrong := chosen & (labels != ids)).any():
        at = first(wrong)
        found.append(
            ("labels", "other labels", f"at {list(at)} the label is {labels[at]}, but token {ids[at]} stood there")
        )
    if (silent := ~chosen & (inputs != ids)).any():
        at = first(silent)
        found.append(
            (
                "labels",
                "changes without a label",
                f"at {list(at)} token {ids[at]} became {inputs[at]}, but the label there is -100",
            )
        )
    if not untouched:
        found.append(("labels", "ids changed", "it wrote into ids; make a copy: the next epoch needs the text again"))
    if (chosen & ~may).any():
        at = first(chosen & ~may)
        found.append(("special", "special places", f"{list(at)} was chosen, though special_mask is True there"))
    if (chosen & may & is_special).any():
        at = first(chosen & may & is_special)
        found.append(
            ("special", "special ids", f"at {list(at)} token {ids[at]} was chosen, though it is in special_ids")
        )
    share = float((chosen & may & ~is_special).sum() / max(1, int((may & ~is_special).sum())))
    if abs(share - p) > min(tolerance, p / 5, (1 - p) / 5) + 1e-9 and (may & ~is_special).any():
        amount = "too few" if share < p else "too many"
        found.append(("share", f"{amount} chosen", f"{share:.1%} of the ordinary tokens were chosen, expected {p:.0%}"))
    rows = chosen.reshape(-1, ids.shape[-1])
    if len(rows) > 1 and 0 < p < 1 and not rows.all() and (rows == rows[0]).all():
        found.append(("share", "the same places", "all texts of the batch have their holes at the same places"))
    if int(chosen.sum()) >= 1000:
        found += fate_facts(ids, inputs, chosen, mask_id, ordinary, tolerance)
    return found


def fate_facts(
    ids: Tensor, inputs: Tensor, chosen: Tensor, mask_id: int, ordinary: Tensor, tolerance: float
) -> list[Fact]:
    """What became of the chosen tokens."""
    found: list[Fact] = []
    replaced = chosen & (inputs != mask_id) & (inputs != ids)
    tokens = inputs[replaced]
    outside = tokens[(tokens < 0) | (tokens >= len(ordinary))]
    if len(outside):
        found.append(("random", "not in the vocabulary", f"it put in token {outside[0]}; V is {len(ordinary)}"))
    else:
        special = tokens[~ordinary[tokens]]
        if len(special):
            found.append(("random", "special replacements", f"it put in token {special[0]}, which is in special_ids"))
    if len(tokens) > 100 and ordinary.sum() > 10 and len(tokens.unique()) == 1:
        found.append(("random", "one replacement", f"all of the replaced tokens became {tokens[0]}"))
    lucky = 0.1 / int(ordinary.sum())  # so often the random token is the old one
    want = {"[MASK]": 0.8, "another token": 0.1 - lucky, "what they were": 0.1 + lucky}
    for (name, expected), got in zip(want.items(), fates(ids, inputs, chosen, mask_id), strict=True):
        if abs(got - expected) > tolerance:
            amount = "none" if not got else "all" if got == 1 else "too few" if got < expected else "too many"
            verb = "stayed" if name == "what they were" else "became"
            message = f"of the chosen tokens {got:.1%} {verb} {name}, expected {expected:.1%}"
            found.append(("fate", f"{name}: {amount}", message))
    return found


def fates(ids: Tensor, inputs: Tensor, chosen: Tensor, mask_id: int) -> tuple[float, float, float]:
    """Which shares of the chosen tokens were masked, replaced and kept."""
    count = max(1, int(chosen.sum()))
    masked = int((chosen & (inputs == mask_id)).sum())
    kept = int((chosen & (inputs == ids)).sum())
    return masked / count, (int(chosen.sum()) - masked - kept) / count, kept / count


def five_sigma(share: float, count: int) -> float:
    """How far a share of so many independent draws may be from its expectation: once in two million is further."""
    return 5 * math.sqrt(share * (1 - share) / count)


def judge(found: list[Fact] | list[tuple[str, str, str, Event]], *about: str) -> None:
    """Fail with the first finding that belongs to the check, and show its call."""
    for concern, _, message, *call in found:
        if concern in about:
            fail(message, *call)


def first(where: Tensor) -> tuple[int, ...]:
    return tuple(where.nonzero()[0].tolist())


def flawed(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=(), **flaws):
    """Masked tokens, right but for what is named: what most mistakes have in common."""
    g = flaws.get("generator", lambda g: g)(g)
    shape = (1, *ids.shape[1:]) if flaws.get("one_row") and ids.ndim > 1 else ids.shape
    chosen = (torch.rand(shape, generator=g) < p).expand(ids.shape).clone()
    if special_mask is not None and not flaws.get("forget_places"):
        chosen &= special_mask if flaws.get("only_special_places") else ~special_mask
    if not flaws.get("forget_ids"):
        chosen &= ~torch.isin(ids, torch.tensor(special_ids, dtype=ids.dtype))
    fate = torch.rand(ids.shape, generator=g)
    low, high = flaws.get("cuts", (0.8, 0.9))
    never = flaws.get("never", {mask_id, *special_ids})
    candidates = torch.tensor([token for token in range(vocab_size) if token not in never])
    token_generator = None if flaws.get("tokens_without_g") else g
    picks = candidates[torch.randint(len(candidates), ids.shape, generator=token_generator)]
    if flaws.get("one_token"):
        picks = picks.flatten()[0].expand(ids.shape)
    if flaws.get("must_differ"):
        picks = torch.where(
            picks == ids, candidates[(torch.searchsorted(candidates, ids) + 1) % len(candidates)], picks
        )
    inputs = torch.where(chosen & (fate < low), mask_id, ids)
    replaced = (fate >= low) & (fate < high)
    if flaws.get("second_draw"):
        replaced = torch.rand(ids.shape, generator=g) < high - low
    inputs = torch.where(chosen & replaced, picks, inputs)
    labels = torch.where(flaws.get("label", lambda chosen, inputs: chosen)(chosen, inputs), ids, -100)
    return inputs, labels
