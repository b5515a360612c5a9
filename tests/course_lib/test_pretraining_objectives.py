"""Objectives against sums written out by hand; corruption against its definition, token by token."""

import math

import pytest
import torch

from course_lib.attention import GPT, GPTConfig, scaled_dot_product_attention
from course_lib.pretraining import (
    causal_lm_loss,
    cross_attention,
    masked_lm_loss,
    mlm_mask,
    perplexity,
    prefix_lm_loss,
    replace_spans,
    span_corrupt,
    span_mask,
)

torch.set_num_threads(1)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def by_hand(logits, ids, shift=1, ignored=-100):
    """Every prediction's loss, one at a time, in Python's floats."""
    losses = []
    for row, tokens in zip(logits.double().tolist(), ids.tolist(), strict=True):
        for t in range(len(tokens) - shift):
            if tokens[t + shift] != ignored:
                largest = max(row[t])
                norm = largest + math.log(math.fsum(math.exp(x - largest) for x in row[t]))
                losses.append(norm - row[t][tokens[t + shift]])
    return losses


LOGITS = torch.randn(3, 5, 7, generator=stream()) * 2
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 0, 1, -100, -100], [2, 3, -100, -100, -100]])


def test_causal_loss_is_the_mean_over_all_predictions_together():
    losses = by_hand(LOGITS, IDS)
    assert len(losses) == 4 + 2 + 1
    want = sum(losses) / 7
    assert causal_lm_loss(LOGITS, IDS).item() == pytest.approx(want, rel=1e-6)
    assert perplexity(LOGITS, IDS).item() == pytest.approx(math.exp(want), rel=1e-5)
    # What it must not be: without a shift, shifted twice, a mean of means, an exponential of the sum.
    unshifted = by_hand(LOGITS, IDS, shift=0)
    twice = by_hand(LOGITS, IDS, shift=2)
    means = [sum(part) / len(part) for part in (losses[:4], losses[4:6], losses[6:])]
    for wrong in (sum(unshifted) / len(unshifted), sum(twice) / len(twice), sum(means) / 3):
        assert abs(wrong - want) > 0.01
    assert math.exp(sum(losses)) > 100 * perplexity(LOGITS, IDS).item()


def test_causal_loss_in_extremes():
    padded = IDS.masked_fill(IDS == -100, 6)
    padded[1, 1] = 5
    assert causal_lm_loss(LOGITS, padded, ignore_index=6).isfinite()
    torch.testing.assert_close(causal_lm_loss(LOGITS + 1e4, IDS), causal_lm_loss(LOGITS, IDS), rtol=1e-3, atol=1e-3)
    half = LOGITS.bfloat16()
    loss = causal_lm_loss(half, IDS)
    assert loss.dtype == torch.float32 and loss == causal_lm_loss(half.float(), IDS)
    assert causal_lm_loss(torch.zeros(2, 9, 50), torch.zeros(2, 9).long()).item() == pytest.approx(math.log(50))


def test_the_gradient_of_ignored_predictions_is_zero():
    logits = LOGITS.clone().requires_grad_()
    causal_lm_loss(logits, IDS).backward()
    moved = logits.grad.abs().sum(-1) > 0
    assert moved.tolist() == [[True] * 4 + [False], [True, True] + [False] * 3, [True] + [False] * 4]


def test_masked_loss_does_not_shift():
    labels = torch.full_like(IDS, -100)
    labels[0, 0], labels[2, 4] = 3, 6
    losses = by_hand(LOGITS, labels, shift=0)
    assert len(losses) == 2 and masked_lm_loss(LOGITS, labels).item() == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_prefix_loss_is_on_the_target_and_sees_the_prefix_from_both_sides():
    torch.manual_seed(0)
    model = GPT(GPTConfig(17, 12, 2, 2, 16)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    prefix = torch.randint(17, (2, 4), generator=stream(1))
    target = torch.randint(17, (2, 3), generator=stream(2))
    seen = []

    def watched(ids, mask):
        seen.append(mask)
        return model(ids, mask=mask)

    loss = prefix_lm_loss(watched, prefix, target)
    rows = [[j < 4 or j <= i for j in range(7)] for i in range(7)]
    assert seen[0].tolist() == rows
    logits = model(torch.cat([prefix, target], 1), mask=torch.tensor(rows))
    want = by_hand(logits[:, 3:], torch.cat([prefix[:, -1:], target], 1))
    assert len(want) == 6 and loss.item() == pytest.approx(sum(want) / 6, rel=1e-5)
    causal = model(torch.cat([prefix, target], 1))  # a causal prefix is another model
    wrong = by_hand(causal[:, 3:], torch.cat([prefix[:, -1:], target], 1))
    assert abs(sum(wrong) / 6 - loss.item()) > 1e-3
    # Padding of the target: as if it were not there.
    padded = torch.cat([target, torch.full((2, 2), -100)], 1)
    torch.testing.assert_close(prefix_lm_loss(model, prefix, padded), loss)


def test_cross_attention_hides_nothing_but_padding():
    q, k, v = (torch.randn(2, 3, n, 8, generator=stream(n)) for n in (2, 5, 6))
    k = torch.cat([k, k[:, :, :1]], 2)
    torch.testing.assert_close(cross_attention(q, (k, v)), scaled_dot_product_attention(q, k, v)[0])
    real = torch.tensor([True] * 4 + [False] * 2)
    short = cross_attention(q, (k[:, :, :4], v[:, :, :4]))
    torch.testing.assert_close(cross_attention(q, (k, v), real), short)
    with pytest.raises(ValueError, match="kv_enc: expected a pair"):
        cross_attention(q, k)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: causal_lm_loss(LOGITS[0], IDS), "logits"),
        (lambda: causal_lm_loss(LOGITS, IDS[:, 1:]), "ids"),
        (lambda: causal_lm_loss(LOGITS, torch.full_like(IDS, -100)), "ids"),
        (lambda: causal_lm_loss(LOGITS[:, :1], IDS[:, :1]), "ids"),
        (lambda: masked_lm_loss(LOGITS, IDS[:2]), "labels"),
        (lambda: prefix_lm_loss(None, IDS[:, :0], IDS), "prefix"),
        (lambda: prefix_lm_loss(None, IDS[:2], IDS), "target"),
        (lambda: prefix_lm_loss(None, IDS, torch.full_like(IDS, -100)), "target"),
        (lambda: mlm_mask(IDS, 7, 7), "mask_id"),
        (lambda: mlm_mask(IDS, 6, 7, p=1.5), "p"),
        (lambda: mlm_mask(IDS, 6, 7, special_mask=torch.zeros(2, 2)), "special_mask"),
        (lambda: mlm_mask(IDS, 6, 7, special_ids=[7]), "special_ids"),
        (lambda: mlm_mask(IDS, 1, 2, special_ids=[0]), "special_ids"),
        (lambda: span_corrupt(IDS), "ids"),
        (lambda: span_corrupt(IDS[0], noise=1.0), "noise"),
        (lambda: span_corrupt(IDS[0], mean_span=0.5), "mean_span"),
        (lambda: span_mask(1), "T"),
        (lambda: replace_spans(IDS[0], IDS[0] > 2, 0), "sentinel0"),
        (lambda: replace_spans(IDS[0], IDS[0], 99), "hidden"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()


def within(count, n, share):
    """Whether a count of n independent draws is within five sigma of its share."""
    return abs(count - n * share) < 5 * math.sqrt(n * share * (1 - share))


def fates(inputs, labels, ids, mask_id):
    """How many tokens were chosen, and what became of them: masked, changed, kept."""
    chosen = labels != -100
    masked = chosen & (inputs == mask_id)
    kept = chosen & (inputs == ids)
    return [int(x.sum()) for x in (chosen, masked, chosen & ~masked & ~kept, kept)]


def test_masking_chooses_15_percent_and_treats_them_80_10_10():
    ids = torch.randint(5, 1000, (100, 1000), generator=stream(3))
    inputs, labels = mlm_mask(ids, mask_id=4, vocab_size=1000, g=stream(4), special_ids=range(4))
    assert torch.equal(inputs[labels == -100], ids[labels == -100])
    assert torch.equal(labels[labels != -100], ids[labels != -100])
    chosen, masked, changed, kept = fates(inputs, labels, ids, 4)
    assert within(chosen, ids.numel(), 0.15)
    same = 0.1 / 995  # a random token is the old one so often
    assert within(masked, chosen, 0.8) and within(changed, chosen, 0.1 - same) and within(kept, chosen, 0.1 + same)
    drawn = inputs[(labels != -100) & (inputs != 4) & (inputs != ids)]
    assert drawn.min() >= 5 and drawn.max() > 950
    # The common mistake, everything becomes [MASK], is far outside.
    assert not within(chosen, chosen, 0.8)


def test_a_random_token_may_be_the_old_one():
    ids = torch.zeros(50_000, dtype=torch.long)
    inputs, labels = mlm_mask(ids, mask_id=2, vocab_size=3, g=stream(5))
    chosen, _, changed, kept = fates(inputs, labels, ids, 2)
    assert within(changed, chosen, 0.05) and within(kept, chosen, 0.15)


def test_special_tokens_are_never_chosen_and_each_call_chooses_anew():
    ids = torch.arange(4000) % 50
    special = ids % 7 == 0
    inputs, labels = mlm_mask(ids, 49, 50, special, stream(6), p=1.0)
    assert torch.equal(labels != -100, ~special) and torch.equal(inputs[special], ids[special])
    _, labels = mlm_mask(ids, 49, 50, g=stream(6), p=1.0, special_ids=[3])
    assert torch.equal(labels != -100, ids != 3)
    g = stream(7)
    first, second = (mlm_mask(ids, 49, 50, g=g)[1] != -100 for _ in range(2))
    both = int((first & second).sum())
    assert within(both, 4000, 0.15**2)


def test_the_example_of_the_t5_paper():
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    hidden = torch.tensor([word in ("for", "inviting", "last") for word in words])
    inputs, targets = replace_spans(torch.arange(11), hidden, 99)
    names = {99: "<X>", 98: "<Y>", 97: "<Z>"} | dict(enumerate(words))
    assert " ".join(names[i] for i in inputs.tolist()) == "Thank you <X> me to your party <Y> week ."
    assert " ".join(names[i] for i in targets.tolist()) == "<X> for inviting <Y> last <Z>"


def put_together(inputs, targets, sentinel0):
    """The text again: each sentinel in the inputs gives way to what follows it in the targets."""
    spans, marks = {}, []
    for token in targets:
        if token > sentinel0 - 50:
            marks.append(token)
            spans[token] = []
        else:
            spans[marks[-1]].append(token)
    assert marks == [sentinel0 - k for k in range(len(marks))]
    assert spans.pop(marks[-1]) == [] and all(spans.values())
    text = [t for token in inputs for t in spans.pop(token, [token])]
    assert not spans
    return text


@pytest.mark.parametrize("T, noise, mean_span", [(2, 0.5, 3), (11, 0.15, 3), (64, 0.15, 3), (65, 0.5, 1), (90, 0.8, 6)])
def test_spans_can_be_put_back_and_are_as_many_as_asked(T, noise, mean_span):
    text = torch.arange(T, dtype=torch.int32) % 9
    for seed in range(20):
        inputs, targets = span_corrupt(text, noise, mean_span, 1000, stream(seed))
        assert inputs.dtype == targets.dtype == torch.int32
        assert put_together(inputs.tolist(), targets.tolist(), 1000) == text.tolist()
        gaps = inputs > 500
        assert not (gaps[1:] & gaps[:-1]).any()  # two gaps side by side would be one
        hidden = min(max(round(noise * T), 1), T - 1)
        assert len(targets) == hidden + int(gaps.sum()) + 1 and len(inputs) == T - hidden + int(gaps.sum())
        assert int(gaps.sum()) == min(max(round(hidden / mean_span), 1), hidden, T - hidden + 1)


def test_wrong_ways_to_mark_spans_are_found_out():
    text, hidden = torch.arange(8), torch.tensor([0, 1, 1, 0, 0, 1, 0, 0]).bool()
    inputs, targets = (x.tolist() for x in replace_spans(text, hidden, 1000))
    assert put_together(inputs, targets, 1000) == text.tolist()
    with pytest.raises(AssertionError):  # no last sentinel
        put_together(inputs, targets[:-1], 1000)
    with pytest.raises(AssertionError):  # a sentinel for every token leaves one without a place in the inputs
        put_together(inputs, [1000, 1, 999, 2, 998, 5, 997], 1000)


def test_every_arrangement_of_spans_is_equally_likely():
    # 6 tokens, 3 hidden in 2 spans: 2 ways to cut 3 into 2, and 2 of 4 places.
    n = 2400
    g = stream(8)
    drawn = [tuple(span_mask(6, 0.5, 1.6, g).tolist()) for _ in range(n)]
    assert len(set(drawn)) == 12
    assert all(within(drawn.count(mask), n, 1 / 12) for mask in set(drawn))
