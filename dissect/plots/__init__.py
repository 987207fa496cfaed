"""Figures of numbers and pictures, in one style: functions of rows and arrays, which know of no result.

They draw into axes, within `drawing`, which sets the style; so a figure may have several of them::

    with plots.drawing():
        figure = plots.new_figure(5, 3)
        plots.bars(figure.add_subplot(), ["a", "b"], {"train": [0.3, 0.2]}, intervals=[[0.1, 0.1]])
    plots.save(figure, "bars.png")
"""

from dissect.plots.bars import bars, histograms
from dissect.plots.curves import Curve, curves, marks, scatter
from dissect.plots.jitter import density, jitter
from dissect.plots.naming import name_points
from dissect.plots.stacks import stacks
from dissect.plots.style import (
    ACCENT,
    COLORS,
    FAINT,
    FALL,
    INK,
    LINE,
    OTHER,
    OTHER_SHADES,
    QUIET,
    RISE,
    SHADES,
    drawing,
    fitting,
    label,
    legend_above,
    legend_below,
    new_figure,
    panels,
    plain,
    save,
    save_pages,
    strips,
)
from dissect.plots.tiles import empty, lit, tile, tiles, tinted

__all__ = [
    "ACCENT",
    "COLORS",
    "FAINT",
    "FALL",
    "INK",
    "LINE",
    "OTHER",
    "OTHER_SHADES",
    "QUIET",
    "RISE",
    "SHADES",
    "Curve",
    "bars",
    "curves",
    "density",
    "drawing",
    "empty",
    "fitting",
    "histograms",
    "jitter",
    "label",
    "legend_above",
    "legend_below",
    "lit",
    "marks",
    "name_points",
    "new_figure",
    "panels",
    "plain",
    "save",
    "save_pages",
    "scatter",
    "stacks",
    "strips",
    "tile",
    "tiles",
    "tinted",
]
