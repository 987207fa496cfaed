"""The charts of docs/trust_biases.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from dissect import plots
from dissect.experiments.biases import ConceptSize, Rarefied

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def size_chart(sizes: Sequence[ConceptSize], fraction: float, cutoff: float) -> Figure:
    """Each concept by the share of pixels that carry it, and the IoU of the unit that fits it best."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 3.4)
        axes = figure.add_subplot()
        there = [each for each in sizes if each.share > 0]
        axes.plot(
            [each.share for each in there], [each.best for each in there], "o", ms=3.5, color=plots.ACCENT, alpha=0.8
        )
        shares = torch.logspace(-4, -0.3, 200)
        for q, style in ((fraction, "-"), (fraction / 5, "--")):
            bound = shares.clamp(max=q) / shares.clamp(min=q)
            axes.plot(shares, bound, style, color=plots.INK, linewidth=0.9, label=f"attainable, units fire on {q:.1%}")
        axes.axhline(cutoff, color=plots.COLORS[2], linewidth=0.9, linestyle=":", label=f"cut-off {cutoff}")
        axes.set_xscale("log")
        axes.set_xticks([0.0001, 0.001, 0.01, 0.1], ["0.01 %", "0.1 %", "1 %", "10 %"])
        plots.label(axes, "share of the pixels that carry the concept", "IoU of the best unit")
        axes.set_ylim(0, 0.5)
        axes.legend(loc="upper right")
        plots.plain(axes)
    return figure


def rarefaction_chart(curves: Mapping[str, Sequence[Rarefied]]) -> Figure:
    """Concepts with a detector over the number of units, the mean and where 95 % of the draws lie."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 3.4)
        axes = figure.add_subplot()
        series = {name: plots.Curve([row.units for row in rows], *zip(*(row.concepts for row in rows)))
                  for name, rows in curves.items()}  # fmt: skip
        plots.curves(axes, series)
        plots.label(axes, "units drawn from the layer", "concepts with a detector")
        axes.set_xlim(0)
        axes.set_ylim(0)
        axes.legend(loc="upper left")
    return figure
