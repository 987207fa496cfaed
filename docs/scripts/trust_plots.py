"""The charts of docs/trust_biases.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from trust_units import Rarefied
from trust_vocabulary import Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
_LINE, _INK, _POINT, _REST = "#e4e7eb", "#555555", "#1f6fb4", "#c2571a"
_COLORS = ("#1f6fb4", "#2e8b57", "#c2571a", "#8c959f", "#b8c0c8")


def size_chart(sizes: list[Size], fraction: float, cutoff: float) -> Figure:
    """Each concept by the share of pixels that carry it, and the IoU of the unit that fits it best."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure((6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        there = [each for each in sizes if each.share > 0]
        axes.plot([each.share for each in there], [each.best for each in there], "o", ms=3.5, color=_POINT, alpha=0.8)
        shares = np.logspace(-4, -0.3, 200)
        for q, style in ((fraction, "-"), (fraction / 5, "--")):
            bound = np.minimum(shares, q) / np.maximum(shares, q)
            axes.plot(shares, bound, style, color=_INK, linewidth=0.9, label=f"attainable, units fire on {q:.1%}")
        axes.axhline(cutoff, color=_REST, linewidth=0.9, linestyle=":", label=f"cut-off {cutoff}")
        axes.set_xscale("log")
        axes.set_xlabel("share of the pixels that carry the concept")
        axes.set_ylabel("IoU of the best unit")
        axes.set_ylim(0, 0.5)
        axes.legend(frameon=False, loc="upper right")
        _grid(axes)
    return figure


def rarefaction_chart(curves: dict[str, list[Rarefied]]) -> Figure:
    """Concepts with a detector over the number of units, the mean and where 95 % of the draws lie."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure((6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for color, (name, rows) in zip(_COLORS, curves.items()):
            units = [row.units for row in rows]
            mean, low, high = zip(*(row.concepts for row in rows))
            axes.fill_between(units, low, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(units, mean, "o-", ms=3, color=color, label=name)
        axes.set_xlabel("units drawn from the layer")
        axes.set_ylabel("concepts with a detector")
        axes.set_xlim(0)
        axes.set_ylim(0)
        axes.legend(frameon=False, loc="upper left")
        _grid(axes)
    return figure


def _grid(axes: Axes) -> None:
    axes.grid(axis="y", color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
