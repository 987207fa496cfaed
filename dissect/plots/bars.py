"""Bars: values by name, ranked or not, with their intervals; and histograms beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dissect.arguments import refusal, speaks
from dissect.plots.style import ACCENT, COLORS, INK, QUIET, panels, plain
from dissect.plots.tiles import empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of the room that a name has, what its bars fill.
FILLED = 0.74


@speaks
def bars(
    axes: Axes,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    intervals: Sequence[Sequence[float]] | None = None,
    notes: Sequence[str] | None = None,
    colors: Sequence[str] = COLORS,
    across: bool = False,
) -> None:
    """A bar per name and series, those of a name side by side.

    Args:
        axes: where to draw.
        names: of the places along the axis, in their order.
        series: by its name, the value at each place; NaN has no bar.
        intervals: half the width of each value's interval, of each series.
        notes: a text above each place's first bar.
        colors: of the series.
        across: bars go to the right, the first place is the uppermost.

    Raises:
        ValueError: as many values, intervals or notes as names are not given.

    Example:
        >>> with dissect.plots.drawing():
        ...     axes = dissect.plots.new_figure(3, 2).add_subplot()
        ...     bars(axes, ["unit 3", "unit 17"], {"train": [0.3, 0.1], "val": [0.2, 0.2]})
        >>> [float(bar.get_height()) for bar in axes.patches]
        [0.3, 0.1, 0.2, 0.2]
    """
    for what, given in (*series.items(), *(("intervals", part) for part in intervals or ()), ("notes", notes)):
        if given is not None and len(given) != len(names):
            raise refusal(ValueError(f"{what} must have one value per name, {len(names)}, but has {len(given)}."))
    wide = FILLED / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        places = [place + wide * (number - (len(series) - 1) / 2) for place in range(len(names))]
        lengths = [0.0 if math.isnan(value) else float(value) for value in values]
        style: dict[str, Any] = {"color": colors[number % len(colors)], "label": name}
        if intervals is not None:
            error = {"xerr" if across else "yerr": list(intervals[number])}
            style |= {**error, "error_kw": {"ecolor": INK, "elinewidth": 1}}
        (axes.barh if across else axes.bar)(places, lengths, wide, **style)
        for place, length, note in zip(places, lengths, notes or () if number == 0 else ()):
            at, align = ((length, place), ("left", "center")) if across else ((place, length), ("center", "bottom"))
            axes.text(*at, note, ha=align[0], va=align[1], fontsize=8, color=QUIET)
    (axes.set_yticks if across else axes.set_xticks)(range(len(names)), names)
    plain(axes, "x" if across else "y")
    if across:
        axes.invert_yaxis()
        axes.tick_params(labelcolor=INK)


@speaks
def histograms(
    figure: Any,
    values: Mapping[str, Sequence[float]],
    *,
    bins: int = 40,
    marked: float | None = None,
    none: str = "",
) -> list[Axes]:
    """Histograms of several sets of numbers side by side, over the same bins, so that they can be compared.

    Args:
        figure: a figure or a strip of one.
        values: the numbers of each panel, by its title.
        bins: how many.
        marked: where a line stands.
        none: what a panel without numbers says; where all are, "" refuses them.

    Returns:
        The panels' axes.

    Raises:
        ValueError: no numbers where `none` is "", or one that is not finite.

    Example:
        >>> with dissect.plots.drawing():
        ...     left, right = histograms(dissect.plots.new_figure(6, 2), {"real": [0, 1, 1], "made": [1, 3]}, bins=3)
        >>> [int(bar.get_height()) for bar in left.patches], [int(bar.get_height()) for bar in right.patches]
        ([1, 2, 0], [0, 1, 1])
    """
    import numpy as np

    every = np.concatenate([np.asarray(part, dtype=np.float64) for part in values.values()] or [np.zeros(0)])
    if not (len(every) or (none and values)) or not np.isfinite(every).all():
        raise refusal(ValueError(f"values must be finite numbers, at least one, but are {len(every)} numbers."))
    edges = np.histogram_bin_edges(every, bins)
    found = panels(figure, len(values), sharey=True)
    for axes, (title, part) in zip(found, values.items()):
        if not len(part):
            empty([axes])
            axes.text(0.5, 0.5, none, transform=axes.transAxes, ha="center", va="center", color=QUIET)
        axes.bar(edges[:-1], np.histogram(part, edges)[0], np.diff(edges), align="edge", color=ACCENT)
        axes.set_title(title)
        if marked is not None:
            axes.axvline(marked, color=QUIET, linewidth=0.9, linestyle=(0, (3, 2)))
        plain(axes)
    return found
