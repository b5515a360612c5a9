"""The widgets of chapter 2: they show what the student's functions return, survive their errors, and stand alone."""

import re

import pytest
import torch

from course_lib import attention
from course_lib.attention.widgets import make_attention_playground, make_head_switches, playground_weights

HEADS = [(layer, head) for layer in range(2) for head in range(3)]


def project(text, layer, head):
    """Tokens are characters; their vectors depend on layer and head."""
    angle = torch.tensor([[ord(c) * (1.0 + layer), head + 1.0] for c in text]).reshape(len(text), 2)
    return list(text), angle.sin(), angle.cos()


def rotate(x, base):
    return attention.apply_rope(x, torch.arange(len(x)), attention.rope_freqs(x.shape[-1], base))


def bias(T, slope):
    return attention.alibi_bias(T, torch.tensor([slope]))[0]


PARTS = (project, attention.scaled_dot_product_attention, attention.make_mask, rotate, bias)


def weights(text="abcab", layer=0, head=0, **settings):
    return playground_weights(*PARTS, text, layer, head, **settings)[1]


def direct(text, layer, head, factor=1.0):
    _, q, k = project(text, layer, head)
    scores = (factor * q @ k.T / 2**0.5).masked_fill(torch.ones(len(text), len(text)).triu(1) > 0, -torch.inf)
    return scores.softmax(-1)


@pytest.mark.parametrize(("layer", "head"), HEADS[:4])
def test_the_map_holds_the_weights_of_that_layer_and_head(layer, head):
    torch.testing.assert_close(weights(layer=layer, head=head), direct("abcab", layer, head))


def test_temperature_divides_the_scores():
    torch.testing.assert_close(weights(log_temperature=-2.0), direct("abcab", 0, 0, factor=4.0))


def test_a_mask_of_any_kind_reaches_the_weights():
    assert (weights(kind="none") > 0).all()
    assert torch.equal(weights(kind="sliding", size=2) > 0, attention.make_mask(5, "sliding", window=2))
    assert torch.equal(weights(kind="prefix", size=3) > 0, attention.make_mask(5, "prefix", prefix_len=3))
    with_global = attention.make_mask(5, "longformer", window=2, n_global=1)
    assert torch.equal(weights(kind="longformer", size=2) > 0, with_global)


def test_alibi_is_a_bias_of_the_scores_and_rope_turns_queries_and_keys():
    _, q, k = project("abcab", 0, 0)
    distance = torch.arange(5.0)[:, None] - torch.arange(5.0)
    scores = q @ k.T / 2**0.5 - 0.5 * distance
    want = scores.masked_fill(distance < 0, -torch.inf).softmax(-1)
    torch.testing.assert_close(weights(slope=0.5), want)
    turned = weights(base="10.0")
    assert not torch.allclose(turned, weights())
    torch.testing.assert_close(turned.sum(-1), torch.ones(5))


def test_the_playground_follows_its_controls_and_says_what_it_shows():
    widget, static = make_attention_playground(*PARTS, "abcab", 2, 3)
    assert re.search(r'alt="Layer 1, head 1: 5 by 5 attention weights', static)
    assert "Run this cell" in static
    output = widget.children[-1]
    before = output.value
    widget.children[1].children[1].value = 2  # head 3
    assert output.value != before and "Layer 1, head 3" in output.value
    widget.children[0].value = ""
    assert "expected at least one token" in output.value
    widget.children[0].value = "ab"
    assert "2 by 2 attention weights" in output.value


def test_an_error_of_the_student_is_shown_and_the_widget_lives_on():
    def broken(*args):
        raise RuntimeError("<b>not yet</b>")

    widget, static = make_attention_playground(project, broken, *PARTS[2:], "ab", 1, 1)
    assert "RuntimeError: &lt;b&gt;not yet&lt;/b&gt;" in static
    widget, static = make_head_switches(broken, 1, 2, 1)
    assert "not yet" in static and "not yet" in widget.children[-1].value


def loss_by_place(off):
    return [1.0, 1.0] + [0.5 + len(off)] * 4


def test_switches_show_the_loss_without_the_chosen_heads():
    widget, static = make_head_switches(loss_by_place, 2, 3, new=2)
    rows = re.findall(r"<th scope='row'[^>]*>([^<]*)</th><td>([\d.]+)</td><td>([\d.]+)</td>", static)
    assert [row[0] for row in rows][:2] == ["no head", "layer 1, head 1"] and len(rows) == 1 + 6 + 2
    assert rows[0][1:] == ("1.00", "0.50") and rows[-1] == ("all heads of layer 2", "1.00", "3.50")
    output = widget.children[-1]
    widget.children[2].children[1].value = False
    assert "is 1.50 nats without layer 2, head 2, and 0.50 nats with all heads" in output.value
    widget.children[2].children[1].value = True
    assert "is 0.50 nats with all heads" in output.value and "without" not in output.value
