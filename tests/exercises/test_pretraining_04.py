"""What the audit does not show about exercises 4 to 6: wrong types, oracles, and the judge's border."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import expect_no_accident, failures, run, shown
from torch import Tensor

from autograder.exercise import Exercise
from autograder.exercises.pretraining import masking_parts, prefix_parts, spans_parts
from autograder.hidden.pretraining.masking import MlmMask
from autograder.hidden.pretraining.prefix import PrefixLmLoss
from autograder.hidden.pretraining.spans import SpanCorrupt
from autograder.rng import Rng
from autograder.run import Result
from course_lib import pretraining
from course_lib.attention import GPT, GPTConfig

EXERCISES = [MlmMask(), SpanCorrupt(), PrefixLmLoss()]
IDS = [exercise.id for exercise in EXERCISES]


def test_names() -> None:
    assert IDS == ["mlm_mask", "span_corrupt", "prefix_lm_loss"]
    assert all(set(e.functions) <= set(dir(pretraining)) for e in EXERCISES)


def first_failure(exercise: Exercise, code: dict[str, Any], seed: int) -> Result | None:
    """What a student sees opened: the first public check that fails; the others are not run."""
    reports = (failures(run(exercise, code, seed, [check])) for check in exercise.public_checks)
    return next((failed[0] for failed in reports if failed), None)


WRONG = [None, "text", 3, math.nan, [], (), {}, (torch.ones(3), None), (1, 2), torch.ones(2) > 0, 1j * torch.ones(2)]


@pytest.mark.parametrize("exercise", EXERCISES, ids=IDS)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_wrong_types_are_failures_with_a_message_and_not_accidents(exercise: Exercise, value: Any) -> None:
    expect_no_accident(exercise, value)


# Exercise 4


def mask_by_numpy(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
    """Right, but for where its random numbers come from."""
    import numpy as np

    rng = np.random.default_rng(g.initial_seed() if g is not None else None)
    u = torch.from_numpy(rng.random(ids.shape))
    open_places = ~torch.isin(ids, torch.tensor([*special_ids, -1]))
    if special_mask is not None:
        open_places &= ~special_mask
    allowed = torch.tensor([t for t in range(vocab_size) if t != mask_id and t not in special_ids])
    picks = allowed[torch.from_numpy(rng.integers(len(allowed), size=ids.shape))]
    inputs = torch.where(open_places & (u < 0.8 * p), mask_id, ids)
    inputs = torch.where(open_places & (u >= 0.8 * p) & (u < 0.9 * p), picks, inputs)
    return inputs, torch.where(open_places & (u < p), ids, -100)


def test_random_numbers_of_another_library_are_as_good() -> None:
    assert not failures(run(EXERCISES[0], {"mlm_mask": mask_by_numpy}, 3))


def test_the_findings_of_a_mask_by_hand() -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    may, nowhere = torch.tensor([[True, True, True, False]]), torch.zeros(1, 4, dtype=torch.bool)

    def findings(inputs: list[int], labels: list[int]) -> list[str]:
        args = ids, torch.tensor([inputs]), torch.tensor([labels]), 1, may, nowhere, torch.ones(9).bool(), 0.5, 1.0
        return [words for _, words, _ in masking_parts.facts(*args) if "chosen" not in words]

    assert findings([1, 6, 7, 8], [5, 6, -100, -100]) == []
    assert findings([1, 6, 7, 8], [-100] * 4) == ["changes without a label"]
    assert findings([1, 6, 7, 8], [1, -100, -100, -100]) == ["other labels"]
    assert findings([5, 6, 7, 1], [-100, -100, -100, 8]) == ["special places"]
    assert findings([1, 6, 7, 8], [5, 6, 7, 8]) == ["a label everywhere", "special places"]


def masks_what_is_special(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
    """`chosen &= special_mask`, in a student's own words."""
    return pretraining.mlm_mask(ids, mask_id, vocab_size, None if special_mask is None else ~special_mask, g, p,
                                special_ids)  # fmt: skip


def test_the_call_with_special_places_is_shown_where_they_are_the_trouble() -> None:
    result = first_failure(EXERCISES[0], EXERCISES[0].solution(mlm_mask=masks_what_is_special), 1)
    assert result.check == "never_chooses_what_is_special" and result.mistake == "only_special_places"
    assert "special_mask=" in result.called and "special_ids=" not in result.called


def test_the_call_that_put_one_token_everywhere_is_shown() -> None:
    check = next(check for check in EXERCISES[0].checks if check.name == "random_tokens_are_ordinary_ones")
    code = EXERCISES[0].solution(mlm_mask=MlmMask.one_token_for_all)
    result = failures(run(EXERCISES[0], code, 1, [check]))[0]
    assert "all of the replaced tokens became" in result.message and ", 4, 1000, " in result.called


def test_no_call_is_shown_for_what_two_calls_have_in_common() -> None:
    failed = failures(run(EXERCISES[0], EXERCISES[0].solution(mlm_mask=MlmMask.ignores_g), 1))
    result = next(result for result in failed if result.check == "every_call_draws_anew_and_from_g")
    assert "two generators" in result.message and not result.called


# Exercise 5


def test_the_span_oracle_does_the_example_of_the_paper() -> None:
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    hidden = [word in ("for", "inviting", "last") for word in words]
    inputs, targets = spans_parts.replaced(list(range(11)), hidden, 99)
    names = dict(enumerate(words)) | {99: "<X>", 98: "<Y>", 97: "<Z>"}
    assert " ".join(names[i] for i in inputs) == "Thank you <X> me to your party <Y> week ."
    assert " ".join(names[i] for i in targets) == "<X> for inviting <Y> last <Z>"


def test_the_reader_finds_what_was_hidden_and_what_is_wrong() -> None:
    rng, first = Rng(1), spans_parts.SENTINEL0
    for _ in range(50):
        ids = rng.sample(range(1000), 12)
        hidden = [rng.random() < 0.4 for _ in ids]
        inputs, targets = spans_parts.replaced(ids, hidden, first)
        assert spans_parts.find_hidden(ids, inputs, targets) == (hidden, "")
    for wrong in ([first, 1, 2], [1, 2, first], [first, 1, first, 2, first - 1], [first - 1, 1, 2, first - 2]):
        mask, problem = spans_parts.find_hidden([1, 2, 3], [first, 3], wrong)
        assert mask is None and problem


def spans_of(joints: Any = None, replace: Any = pretraining.replace_spans) -> Any:
    """A student's span_corrupt, with joints drawn in a way of its own."""

    def span_corrupt(ids, noise=0.15, mean_span=3.0, sentinel0=32099, g=None):
        T = len(ids)
        h = min(max(round(noise * T), 1), T - 1)
        s = min(max(round(h / mean_span), 1), h, T - h + 1)
        cuts = sorted(joints(h, s, g)) if joints and h > 1 else sorted((torch.randperm(h - 1)[: s - 1] + 1).tolist())
        lengths = [b - a for a, b in zip([0, *cuts], [*cuts, h], strict=True)]
        return replace(ids, spans_parts.laid_out(T, lengths, g), sentinel0)

    return span_corrupt


def counting_up(ids, hidden, sentinel0):
    """Right but for the end: the last sentinel is one higher than that of the last span."""
    inputs, targets = pretraining.replace_spans(ids, hidden, sentinel0)
    return inputs, torch.cat([targets[:-1], targets[-1:] * 0 + sentinel0 + 1])


def test_an_empty_span_is_not_called_two_that_touch() -> None:
    repeated = spans_of(lambda h, s, g: torch.randint(1, h, (s - 1,), generator=g).tolist())
    result = first_failure(EXERCISES[1], EXERCISES[1].solution(span_corrupt=repeated), 1)
    assert result.check == "hides_as_much_as_asked" and result.mistake_text.startswith("makes fewer spans than asked")
    assert "one is empty" in result.mistake_text
    # The call that is shown is one of those that the message is about.
    said = result.message.split(" tokens")[0].removeprefix("of ")
    assert result.called.startswith(f"span_corrupt(tensor of shape ({said},)")


def test_sentinels_that_count_up_are_not_called_doubled() -> None:
    failed = failures(run(EXERCISES[1], EXERCISES[1].solution(span_corrupt=spans_of(replace=counting_up)), 1))
    assert failed and all("count up" in result.message for result in failed if not result.hidden)
    assert all(result.mistake == "counts_up_here" for result in failed if not result.hidden)


def test_spans_rounded_down_are_not_called_equally_long() -> None:
    code = EXERCISES[1].solution(span_corrupt=spans_parts.by_mask(spans_parts.right_mask, of_spans=int))
    results = {result.check: result for result in failures(run(EXERCISES[1], code, 1))}
    assert {"hides_as_much_as_asked", "spans_lie_anywhere"} <= results.keys()
    assert all("same length" not in result.message + result.mistake_text for result in results.values())
    assert not results["spans_lie_anywhere"].called  # it speaks of all 40 draws


# Exercise 6


def test_the_loss_oracle_agrees_with_a_real_model() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=7, context_length=12, n_layers=2, n_heads=2, d_model=8)).double()
    prefix, target = prefix_parts.draw_texts(Rng(2), 7, 4, [5, 3])

    class Same(prefix_parts.Reader):
        def logits(self, ids, mask):
            return model(ids, mask=mask).detach()

    reader = Same(torch.zeros(1), torch.zeros(1), torch.float64)
    want = pretraining.prefix_lm_loss(lambda ids, mask: model(ids, mask=mask), prefix, target).item()
    assert prefix_parts.expected_loss(reader, prefix, target) == pytest.approx(want, rel=1e-6)


def test_the_attention_oracle_agrees_with_torch() -> None:
    q, k, v = Rng(1).normal(3, 4), Rng(2).normal(5, 4), Rng(3).normal(5, 4)
    real = torch.tensor([True, False, True, True, False])
    want = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], real.expand(1, 3, 5))[0]
    torch.testing.assert_close(prefix_parts.attended(q, k, v, real), want, rtol=1e-5, atol=1e-6)


def test_the_reader_depends_on_every_cell_of_the_mask_that_may_matter() -> None:
    reader = prefix_parts.Reader.draw(Rng(4), 7)
    prefix, target = prefix_parts.draw_texts(Rng(5), 7, 3, [3])
    ids, mask = torch.cat([prefix, target], 1), torch.tensor(prefix_parts.prefix_mask(3, 3))
    before = reader.logits(ids, mask)[:, 2:-1]
    for query in range(5):
        for key in range(6):
            flipped = mask.clone()
            flipped[query, key] ^= True
            after = reader.logits(ids, flipped)[:, 2:-1]
            reached = query >= 2 or any(mask[row, query] for row in range(2, 5))
            assert torch.allclose(after, before) is not reached, (query, key)


def right_but(mask: Callable[[Tensor], Tensor] = lambda m: m, twice: bool = False) -> Callable:
    """A loss that is right, from a model that is not called as it should be."""

    def prefix_lm_loss(model, prefix, target, ignore_index=-100):
        P = prefix.shape[1]
        ids = torch.cat([prefix, target.masked_fill(target == ignore_index, 0)], 1)
        seen = torch.tensor(prefix_parts.prefix_mask(P, target.shape[1]))
        if twice:
            model(prefix, mask=seen[:P, :P])
        logits = model(ids, mask=mask(seen))[:, P - 1 : -1].float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignore_index)

    return prefix_lm_loss


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (right_but(mask=Tensor.int), "dtype torch.int32"),
        (right_but(mask=Tensor.float), "dtype torch.float32"),
        (right_but(mask=lambda m: m[None]), "the mask has shape (1, "),
        (right_but(twice=True), "called the model 2 times"),
    ],
)
def test_a_right_loss_with_an_odd_mask_is_not_taken_for_a_mistake_of_the_mean(loss: Callable, said: str) -> None:
    result = first_failure(EXERCISES[2], EXERCISES[2].solution(prefix_lm_loss=loss), 1)
    assert result.check == "the_model_gets_the_mask_of_a_prefix"
    assert said in result.message and result.mistake == ""
