"""Two widgets of chapter 2, driven by the student's own functions: an attention playground, and switches for heads.

An exception in the student's function is shown in the widget, which stays alive. ipywidgets and matplotlib are
imported only when a widget is made.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib import plots
from course_lib.display import figure_html, show_widget

if TYPE_CHECKING:
    from ipywidgets import Widget

Project = Callable[[str, int, int], tuple[Sequence[str], Tensor, Tensor]]
Head = tuple[int, int]

MASKS = ("none", "causal", "prefix", "sliding", "longformer")
ROPE_BASES = ("off", 10.0, 100.0, 10_000.0, 500_000.0)
MAX_TOKENS = 48  # more cells than this cannot be read in one picture


def attention_playground(
    project: Project,
    attend: Callable[..., tuple[Tensor, Tensor]],
    make_mask: Callable[..., Tensor],
    rotate: Callable[[Tensor, float], Tensor],
    bias: Callable[[int, float], Tensor],
    text: str,
    layers: int,
    heads: int,
) -> None:
    """Display an attention map of typed text, with controls for layer, head, temperature, mask, RoPE and ALiBi.

    `project(text, layer, head)` gives the tokens and that head's queries and keys [T,D]; `attend(q, k, v, mask)` gives
    (output, weights); `make_mask(T, kind, ...)` a boolean mask [T,T]; `rotate(x, base)` turns x [T,D] as RoPE does;
    `bias(T, slope)` is ALiBi's bias [T,T] of one head. All of them may be the student's. On a page without a kernel
    the map of `text` is shown.
    """
    widget, static = make_attention_playground(project, attend, make_mask, rotate, bias, text, layers, heads)
    show_widget(widget, static, f"Attention playground: who looks at whom in {text[:60]!r}")


def head_switches(
    loss_by_place: Callable[[frozenset[Head]], Sequence[float]], layers: int, heads: int, new: int
) -> None:
    """Display a switch for each head and, below, the loss at every place of a text with the chosen heads off.

    `loss_by_place(off)` gives the loss in nats at each place while the heads `off`, pairs (layer, head) counted from 0,
    contribute nothing. The first `new` places cannot be predicted, the others repeat them. On a page without a kernel
    a table shows what each single head is worth.
    """
    widget, static = make_head_switches(loss_by_place, layers, heads, new)
    show_widget(widget, static, f"Switches for {layers} x {heads} heads, and the loss without them")


def make_attention_playground(
    project: Project,
    attend: Callable[..., tuple[Tensor, Tensor]],
    make_mask: Callable[..., Tensor],
    rotate: Callable[[Tensor, float], Tensor],
    bias: Callable[[int, float], Tensor],
    text: str,
    layers: int,
    heads: int,
) -> tuple[Widget, str]:
    """Return the widget and the static HTML of `attention_playground` without displaying them."""
    import ipywidgets as ui

    wide = ui.Layout(width="95%")
    controls: dict[str, Any] = {
        "text": ui.Text(value=text, description="Text", layout=wide, continuous_update=True),
        "layer": ui.Dropdown(options=[(f"{k + 1}", k) for k in range(layers)], description="Layer"),
        "head": ui.Dropdown(options=[(f"{k + 1}", k) for k in range(heads)], description="Head"),
        "kind": ui.Dropdown(options=MASKS, value="causal", description="Mask"),
        "size": ui.IntSlider(value=4, min=1, max=16, description="Window"),
        "log_temperature": ui.FloatSlider(value=0.0, min=-3, max=3, step=0.25, description="log2 temp."),
        "base": ui.Dropdown(options=[str(base) for base in ROPE_BASES], description="RoPE base"),
        "slope": ui.FloatSlider(value=0.0, min=0, max=2, step=0.05, description="ALiBi slope"),
    }

    def render(state: dict[str, Any]) -> str:
        tokens, weights = playground_weights(project, attend, make_mask, rotate, bias, **state)
        return _heat_map(tokens, weights, f"Layer {state['layer'] + 1}, head {state['head'] + 1}")

    def state() -> dict[str, Any]:
        return {name: control.value for name, control in controls.items()}

    output = ui.HTML(value=_guarded(render, state()))

    def update(_: Any) -> None:
        output.value = _guarded(render, state())

    for control in controls.values():
        control.observe(update, names="value")
    rows = [
        controls["text"],
        ui.HBox([controls["layer"], controls["head"], controls["log_temperature"]]),
        ui.HBox([controls["kind"], controls["size"]]),
        ui.HBox([controls["base"], controls["slope"]]),
    ]
    note = "<p><em>Run this cell to type any text and to move the controls.</em></p>"
    return ui.VBox([*rows, output]), output.value + note


def playground_weights(
    project: Project,
    attend: Callable[..., tuple[Tensor, Tensor]],
    make_mask: Callable[..., Tensor],
    rotate: Callable[[Tensor, float], Tensor],
    bias: Callable[[int, float], Tensor],
    text: str,
    layer: int,
    head: int,
    kind: str = "causal",
    size: int = 4,
    log_temperature: float = 0.0,
    base: str = "off",
    slope: float = 0.0,
) -> tuple[list[str], Tensor]:
    """Return the tokens and the weights [T,T] that the playground draws.

    The temperature 2**log_temperature divides the scores. `size` is the window of a sliding mask (with one global
    place for "longformer") or the length of a prefix.
    """
    tokens, q, k = project(text, layer, head)
    tokens, q, k = list(tokens)[:MAX_TOKENS], q[:MAX_TOKENS], k[:MAX_TOKENS]
    if not tokens:
        raise ValueError("text: expected at least one token, got none")
    if base != "off":
        q, k = rotate(q, float(base)), rotate(k, float(base))
    q = q / 2.0**log_temperature
    T = len(tokens)
    mask = None
    if kind != "none":
        mask = make_mask(T, kind, prefix_len=min(size, T), window=size, n_global=1)
    # [T,D] -> [1,1,T,D]: the student's function is written for batches of heads.
    _, weights = attend(q[None, None], k[None, None], k[None, None], mask)
    weights = weights[0, 0].detach()
    if slope:
        # Adding a bias to the scores multiplies the weights by its exponential, up to the sum of the row.
        weights = weights * torch.exp(bias(T, slope).clamp(max=0.0))
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    return tokens, weights


def make_head_switches(
    loss_by_place: Callable[[frozenset[Head]], Sequence[float]], layers: int, heads: int, new: int
) -> tuple[Widget, str]:
    """Return the widget and the static HTML of `head_switches` without displaying them."""
    import ipywidgets as ui

    names = {(layer, head): f"layer {layer + 1}, head {head + 1}" for layer in range(layers) for head in range(heads)}
    narrow = ui.Layout(width="max-content", margin="2px 20px 2px 2px")  # a box stands nearer to its own name
    boxes = {at: ui.Checkbox(value=True, description=name, indent=False, layout=narrow) for at, name in names.items()}
    everything: list[float] = []
    problem = _guarded(lambda _: everything.extend(loss_by_place(frozenset())) or "", None)

    def render(off: frozenset[Head]) -> str:
        return _loss_curve(everything, loss_by_place(off), [names[at] for at in sorted(off)], new)

    def update(_: Any) -> None:
        output.value = problem or _guarded(render, frozenset(at for at, box in boxes.items() if not box.value))

    output = ui.HTML()
    update(None)
    for box in boxes.values():
        box.observe(update, names="value")
    rows = [ui.HBox([boxes[layer, head] for head in range(heads)]) for layer in range(layers)]
    widget = ui.VBox([ui.HTML("Heads that take part:"), *rows, output])
    return widget, problem or _guarded(lambda _: _head_table(everything, loss_by_place, names, layers, new), None)


def _heat_map(tokens: list[str], weights: Tensor, title: str) -> str:
    import matplotlib.pyplot as plt

    T = len(tokens)
    side = 1.4 + 0.2 * max(T, 8)
    fig, ax = plt.subplots(figsize=(side + 0.8, side))
    image = ax.imshow(weights.float().numpy(), cmap="Blues", vmin=0, vmax=1)
    shown = [token.replace(" ", "·").replace("\n", "↵") for token in tokens]
    ax.set_xticks(range(T), shown, rotation=90 if max(map(len, shown)) > 1 else 0, fontsize=8)
    ax.set_yticks(range(T), shown, fontsize=8)
    ax.grid(visible=False)
    ax.set(title=title, xlabel="key: looked at", ylabel="query: who looks")
    fig.colorbar(image, ax=ax, shrink=0.7, label="weight")
    rows, columns = weights.float().max(-1)
    places = ", ".join(
        f"{shown[i]} ({i + 1}) at {shown[j]} ({int(j) + 1})" for i, j in enumerate(columns.tolist()) if i in (0, T - 1)
    )
    alt = (
        f"{title}: {T} by {T} attention weights; mean of the largest weight in a row {float(rows.mean()):.2f}. "
        f"Strongest look of the first and the last token: {places}."
    )
    return figure_html(fig, alt, dpi=80)


def _loss_curve(everything: Sequence[float], losses: Sequence[float], off: list[str], new: int) -> str:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 3.0))
    places = range(1, len(losses) + 1)
    ax.plot(places, everything, label="all heads", **(plots.line(0) | {"marker": ""}))
    ax.plot(places, losses, label=f"without {', '.join(off)}" if off else "your choice", **plots.line(1))
    room = 1.35 * max(*everything, *losses, 1e-6)  # above the curves, for the words
    ax.set(xlabel="place in the sequence", ylabel="loss, nats", ylim=(0, room))
    ax.legend(loc="upper right", fontsize=8.5)
    ax.axvline(new + 0.5, color="#888888", linewidth=1)
    ax.text(new + 1, ax.get_ylim()[1], "from here on repeated", va="top", fontsize=8.5, color="#555555")
    all_heads = f"{_mean(everything[new:]):.2f} nats with all heads"
    without = f"{_mean(losses[new:]):.2f} nats without {', '.join(off)}, and " if off else ""
    words = f"On the repeated part the mean loss is {without}{all_heads}."
    return f"<p>{html.escape(words)}</p>" + figure_html(fig, f"Loss at each place. {words}", dpi=80)


def _head_table(
    everything: Sequence[float],
    loss_by_place: Callable[[frozenset[Head]], Sequence[float]],
    names: dict[Head, str],
    layers: int,
    new: int,
) -> str:
    """What is lost without one head, and without all heads of one layer."""
    choices: list[tuple[str, frozenset[Head]]] = [("no head", frozenset())]
    choices += [(name, frozenset([at])) for at, name in names.items()]
    choices += [
        (f"all heads of layer {layer + 1}", frozenset(at for at in names if at[0] == layer)) for layer in range(layers)
    ]
    rows = []
    for name, off in choices:
        losses = loss_by_place(off)
        cells = f"<td>{_mean(losses[:new]):.2f}</td><td>{_mean(losses[new:]):.2f}</td>"
        rows.append(f"<tr><th scope='row' style='text-align:left'>{name}</th>{cells}</tr>")
    head = "".join(f"<th scope='col'>{h}</th>" for h in ("switched off", "loss, new part", "loss, repeated part"))
    note = "<p><em>Run this cell to switch heads yourself.</em></p>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(len(values), 1)


def _guarded(render: Callable[[Any], str], value: Any) -> str:
    """Return what `render` makes of `value`, or the exception it raises, as HTML."""
    try:
        return render(value)
    except Exception as error:
        message = html.escape(f"{type(error).__name__}: {error}")
        return f'<p role="alert"><strong>Your function raised an error.</strong></p><pre>{message}</pre>'
