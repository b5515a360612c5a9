"""What exercise 5 compares with: the two texts written token by token, and a reader that puts them together again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autograder.compare import SEVERAL_CALLS, fail
from autograder.rng import Rng
from autograder.student import Event, Student, type_name
from course_lib import pretraining

SENTINEL0 = 9999  # far above all tokens of the drawn texts


def replaced(ids: list[int], hidden: list[bool], sentinel0: int) -> tuple[list[int], list[int]]:
    """The oracle: a walk through the text that writes both lists."""
    inputs, targets, sentinel, inside = [], [], sentinel0, False
    for token, hide in zip(ids, hidden, strict=True):
        if hide and not inside:
            inputs.append(sentinel)
            targets.append(sentinel)
            sentinel -= 1
        (targets if hide else inputs).append(token)
        inside = hide
    return inputs, [*targets, sentinel]


def two_texts(got: Any, ids: Tensor, what: str) -> str:
    """What is wrong with the type of a result; empty if nothing is."""
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return f"{what} returned {type_name(got)}, expected a pair (inputs, targets)"
    for name, value in zip(("inputs", "targets"), got, strict=True):
        if not isinstance(value, Tensor):
            return f"{name} is {type_name(value)}, expected a tensor"
        if value.ndim != 1:
            return f"{name} has shape {tuple(value.shape)}, expected one dimension"
        if value.dtype != ids.dtype:
            return f"{name} has dtype {value.dtype}, expected {ids.dtype}, that of ids"
    return ""


def expect_texts(got: Any, ids: Tensor, hidden: list[bool], sentinel0: int) -> None:
    """Fail unless replace_spans returned the two right texts."""
    if problem := two_texts(got, ids, "replace_spans"):
        fail(problem, got)
    want = replaced(ids.tolist(), hidden, sentinel0)
    for name, value, right in zip(("inputs", "targets"), got, want, strict=True):
        if value.tolist() != right:
            fail(f"{name} are {shown(value.tolist())}, expected {shown(right)}", got)


def shown(tokens: list[int]) -> str:
    return str(tokens) if len(tokens) <= 24 else f"{str(tokens[:20])[:-1]}, … ({len(tokens)} tokens)"


def drawn_text(rng: Rng, T: int) -> Tensor:
    """A text in which no token occurs twice, so that each can be followed."""
    return torch.tensor(rng.sample(range(1000), T))


def find_hidden(ids: list[int], inputs: list[int], targets: list[int]) -> tuple[list[bool] | None, str]:
    """Which tokens were cut out, or what keeps the two texts from being put together."""
    spans: dict[int, list[int]] = {}
    if max((*inputs, *targets), default=0) > SENTINEL0:
        return None, "the sentinels count up; they go down from sentinel0"
    for token in targets:
        if token > 1000:
            if token in spans:
                return None, "a sentinel stands in the targets twice"
            spans[token] = []
        elif not spans:
            return None, "the targets do not begin with a sentinel"
        else:
            spans[list(spans)[-1]].append(token)
    if list(spans) != [SENTINEL0 - k for k in range(len(spans))]:
        return None, "the sentinels of the targets do not count down from sentinel0"
    if not spans or spans.popitem()[1]:
        return None, "the targets do not end with a sentinel of their own"
    text: list[tuple[int, bool]] = []
    for token in inputs:
        text += [(t, True) for t in spans.pop(token, [])] if token > 1000 else [(token, False)]
    if spans or [token for token, _ in text] != ids:
        return None, "inputs and targets do not give the text when they are put together"
    return [hide for _, hide in text], ""


def draw_masks(
    student: Student, rng: Rng, ids: Tensor, noise: float, mean_span: float, draws: int
) -> list[tuple[list[bool], Event]]:
    """Let the student corrupt a text several times; return what was hidden each time, and by which call."""
    masks = []
    for _ in range(draws):
        g = torch.Generator().manual_seed(rng.getrandbits(32))
        masks.append((one_mask(student, ids, noise, mean_span, g=g), student.trace[-1]))
    return masks


def one_mask(student: Student, ids: Tensor, noise: float, mean_span: float, **options: Any) -> list[bool]:
    with student.off_the_record():
        got = student.span_corrupt(ids, noise, mean_span, SENTINEL0, **options)
    problem, mask = two_texts(got, ids, "span_corrupt"), None
    if not problem:
        mask, problem = find_hidden(ids.tolist(), got[0].tolist(), got[1].tolist())
    if mask is None:
        student.conclude(problem)
        if "put together" in problem:
            problem += f": inputs {shown(got[0].tolist())}, targets {shown(got[1].tolist())}"
        fail(problem)
    return mask


def lengths(mask: list[bool]) -> list[int]:
    """The lengths of the runs of True."""
    runs = "".join("#" if hide else " " for hide in mask).split()
    return [len(run) for run in runs]


def amount(counts: list[int], want: int) -> str:
    """How counts differ from the right one, in words that do not depend on chance."""
    low, high = min(counts) < want, max(counts) > want
    return "varies" if low and high else "too few" if low else "too many" if high else "right"


def survey(
    student: Student, rng: Rng, T: int, noise: float, mean_span: float, draws: int = 14
) -> list[tuple[str, Event]]:
    """Draw and count: messages about what is wrong, each with a call; their kinds go on record."""
    drawn = draw_masks(student, rng, drawn_text(rng, T), noise, mean_span, draws)
    hidden = min(max(round(noise * T), 1), T - 1)
    spans = min(max(round(hidden / mean_span), 1), hidden, T - hidden + 1)
    counts, runs = [sum(mask) for mask, _ in drawn], [len(lengths(mask)) for mask, _ in drawn]
    always_one = ", always one" if spans > 1 == max(runs) else ""  # by chance it happens in a draw, but not in all
    student.conclude(f"tokens {amount(counts, hidden)}, spans {amount(runs, spans)}{always_one}")
    what = f"of {T} tokens, with noise {noise} and mean_span {mean_span},"
    messages = []
    for name, found, want in (("hidden tokens", counts, hidden), ("spans", runs, spans)):
        wrong = [(count, call) for count, (_, call) in zip(found, drawn, strict=True) if count != want]
        if wrong:
            count, call = wrong[0]
            said = f"{what} there were {count} {name} in {len(wrong)} of {draws} draws, expected {want}"
            messages.append((said, call))
    return messages


def places(student: Student, rng: Rng, draws: int = 40) -> list[tuple[str, Event]]:
    """Where the spans lie: of 6 tokens 3 are hidden in 2 spans, which can be done in 12 ways."""
    masks = [mask for mask, _ in draw_masks(student, rng, drawn_text(rng, 6), 0.5, 1.6, draws)]
    findings = []
    if any(len(lengths(mask)) != 2 for mask in masks):  # first of all: who makes one span only cannot vary its length
        findings.append("of 6 tokens, with noise 0.5 and mean_span 1.6, there are not always 2 spans")
    if not any(mask[0] for mask in masks):
        findings.append("the first token is never hidden")
    if not any(mask[-1] for mask in masks):
        findings.append("the last token is never hidden")
    if all(mask[0] for mask in masks):
        findings.append("the first token is always hidden")
    if len({tuple(lengths(mask)) for mask in masks}) < 2:
        findings.append("the spans always have the same lengths in the same order")
    student.conclude("; ".join(findings) or "anywhere")
    return [(f"in {draws} draws, {finding}", SEVERAL_CALLS) for finding in findings]


def fingerprint(student: Student, rng: Rng) -> list[tuple[str, Event]]:
    """Calls for the record: on some inputs two mistakes look alike, on these they do not. Returns what places says."""
    survey(student, rng, 100, 0.3, 3.0)
    survey(student, rng, 64, 0.5, 2.0)
    return places(student, rng)


def by_mask(draw, of_tokens=round, of_spans=round, replace=pretraining.replace_spans):
    """A wrong span_corrupt that is right but for the mask it draws: draw(T, hidden, spans, generator); or for how it
    rounds the numbers of tokens and spans, or how it replaces them."""

    def span_corrupt(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        T = len(ids)
        hidden = min(max(of_tokens(noise * T), 1), T - 1)
        spans = min(max(of_spans(hidden / mean_span), 1), hidden, T - hidden + 1)
        return replace(ids, draw(T, hidden, spans, g), sentinel0)

    return span_corrupt


def laid_out(T: int, lengths: list[int], g: torch.Generator | None) -> Tensor:
    """Spans of these lengths at different places between the kept tokens."""
    kept = T - sum(lengths)
    return laid_at(T, torch.randperm(kept + 1, generator=g)[: len(lengths)].tolist(), lengths)


def laid_at(T: int, places: list[int], lengths: list[int]) -> Tensor:
    """Spans of these lengths, each behind so many kept tokens; at equal places they touch."""
    mask = torch.zeros(T, dtype=torch.bool)
    done = 0
    for place, length in zip(sorted(places), lengths, strict=True):
        mask[place + done : place + done + length] = True
        done += length
    return mask


def right_mask(T: int, hidden: int, spans: int, g: torch.Generator | None) -> Tensor:
    return laid_out(T, cut(hidden, spans, g), g)


def counted_up(ids: Tensor, hidden: Tensor, sentinel0: int) -> tuple[Tensor, Tensor]:
    """Both texts, with sentinels that count up."""
    texts = replaced(ids.tolist(), hidden.tolist(), sentinel0)
    marks = set(range(sentinel0 - len(ids) - 1, sentinel0 + 1))
    rows = ([2 * sentinel0 - t if t in marks else t for t in text] for text in texts)
    return tuple(torch.tensor(row, dtype=ids.dtype) for row in rows)


def cut(total: int, parts: int, g: torch.Generator | None) -> list[int]:
    """A whole number as a sum of so many positive parts, every way equally likely."""
    joints = sorted((torch.randperm(total - 1, generator=g)[: parts - 1] + 1).tolist())
    return [b - a for a, b in zip([0, *joints], [*joints, total], strict=True)]
