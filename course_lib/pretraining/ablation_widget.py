"""A widget of chapter 3: order four ablations before their curves are shown, then see how many pairs were right.

ipywidgets and matplotlib are imported only when a widget is made.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from course_lib import plots
from course_lib.display import figure_html, show_widget
from course_lib.pretraining.ablations import pairs_right

if TYPE_CHECKING:
    from ipywidgets import Widget

Runs = dict[str, tuple[Sequence[int], Tensor]]  # steps of measurement, and losses [measurements, seeds]


def predict_order(runs: Runs, baseline: str = "everything") -> None:
    """Display dropdowns for an order of all runs but the baseline, and a button that scores it and shows the curves.

    runs: name to (steps, held-out losses [measurements, seeds] in nats). On a page without a kernel the curves and the
    order that came out are shown. ValueError if the baseline is not among the runs.
    """
    widget, static = make_predict_order(runs, baseline)
    show_widget(widget, static, "Order the ablations by their final loss, then see the curves")


def make_predict_order(runs: Runs, baseline: str = "everything") -> tuple[Widget, str]:
    """Return the widget and the static HTML of `predict_order` without displaying them."""
    import ipywidgets as ui

    if baseline not in runs:
        raise ValueError(f"baseline: expected one of {', '.join(runs)}, got {baseline!r}")
    names = [name for name in runs if name != baseline]
    ranks = ["1, lowest loss", *map(str, range(2, len(names))), f"{len(names)}, highest loss"]
    places = [
        ui.Dropdown(
            options=[("choose", ""), *((name, name) for name in names)], description=rank, layout={"width": "22em"}
        )
        for rank in ranks
    ]
    for place in places:
        place.style.description_width = "8em"
    button, output = ui.Button(description="Show the curves"), ui.HTML()

    def show(_: Any) -> None:
        chosen = [place.value for place in places]
        if sorted(chosen) != sorted(names):
            output.value = '<p role="alert">Choose each of the four once.</p>'
            return
        output.value = f"<p role='status'>{html.escape(verdict(chosen, runs))}</p>" + curves_html(runs, baseline)

    button.on_click(show)
    note = "<p><em>Run this cell to give an order of your own first.</em></p>"
    asked = ui.HTML("Your order of the final losses:")
    return ui.VBox([asked, *places, button, output]), curves_html(runs, baseline) + note


def verdict(predicted: Sequence[str], runs: Runs) -> str:
    """Return a sentence on a predicted order: pairs that are right, Kendall's tau, and what came out.

    >>> import torch
    >>> runs = {"a": ([1], torch.tensor([[1.0, 1.2]])), "b": ([1], torch.tensor([[2.0, 2.1]]))}
    >>> verdict(["b", "a"], runs)
    "0 of 1 pairs are right (Kendall's tau -1.00). Measured, from the lowest loss: a 1.10, b 2.05."
    """
    final = {name: float(runs[name][1][-1].mean()) for name in predicted}
    right, pairs = pairs_right(predicted, final)
    order = ", ".join(f"{name} {final[name]:.2f}" for name in sorted(final, key=final.__getitem__))
    tau = 2 * right / pairs - 1
    return f"{right} of {pairs} pairs are right (Kendall's tau {tau:+.2f}). Measured, from the lowest loss: {order}."


def curves_html(runs: Runs, baseline: str) -> str:
    """Return the curves, a band from the lowest to the highest seed around each mean, as an HTML figure."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9.8, 3.7), width_ratios=[1.5, 1], layout="constrained")
    order = sorted(runs, key=lambda name: float(runs[name][1][-1].mean()))
    for k, (name, (steps, losses)) in enumerate(runs.items()):
        low, high, mean = losses.min(1).values, losses.max(1).values, losses.mean(1)
        left.plot(steps, mean.numpy(), label=name, **plots.line(k))
        left.fill_between(steps, low.numpy(), high.numpy(), color=plots.COLOURS[k], alpha=0.18, linewidth=0)
        y, final = order.index(name), losses[-1]
        right.plot(final.numpy(), [y] * len(final), color=plots.COLOURS[k], marker=plots.MARKERS[k], linestyle="-")
        right.text(float(final.max()) + 0.01, y, f"{float(final.mean()):.2f}", va="center", fontsize=9)
    left.set(xlabel="step", ylabel="held-out loss, nats", title="Mean of the seeds, and their band")
    left.legend(fontsize=9)
    right.set_yticks(range(len(order)), order)
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    right.set(xlabel="final loss, nats", title="Each seed at the end")
    right.margins(x=0.2)
    words = "; ".join(
        f"{name} {float(runs[name][1][-1].mean()):.2f} "
        f"(seeds {float(runs[name][1][-1].min()):.2f} to {float(runs[name][1][-1].max()):.2f})"
        for name in order
    )
    alt = f"Held-out loss over the steps for {len(runs)} networks; {baseline} is the one without an ablation. "
    return figure_html(fig, f"{alt}Final losses, lowest first: {words}.", dpi=80)
