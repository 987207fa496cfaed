"""Curves over a number, such as how many units, with intervals and a baseline; marks by name; clouds of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dissect.arguments import refusal, speaks
from dissect.plots.style import ACCENT, COLORS, FAINT, INK, QUIET, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Curve(NamedTuple):
    """Values over numbers.

    Attributes:
        at: the numbers, rising.
        values: as many.
        low: where each value's interval begins, if it has one.
        high: where that ends.
    """

    at: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@speaks
def curves(
    axes: Axes,
    series: Mapping[str, Curve],
    *,
    baseline: tuple[str, float] | None = None,
    colors: Sequence[str] = COLORS,
) -> None:
    """A line with a point per value for each series, pale where its interval is.

    Args:
        axes: where to draw.
        series: by name.
        baseline: the name and the value of a dotted line.
        colors: of the series.

    Raises:
        ValueError: a series whose parts differ in length.

    Example:
        >>> with dissect.plots.drawing():
        ...     axes = dissect.plots.new_figure(3, 2).add_subplot()
        ...     curves(axes, {"door": Curve([1, 2, 4], [0.1, 0.3, 0.4])}, baseline=("before", 0.05))
        >>> [line.get_label() for line in axes.lines]
        ['before', 'door']
    """
    if baseline is not None:
        axes.axhline(baseline[1], color=QUIET, linewidth=0.9, linestyle=":", label=baseline[0])
    for number, (name, curve) in enumerate(series.items()):
        lengths = {len(part) for part in curve if part is not None}
        if len(lengths) != 1 or (curve.low is None) != (curve.high is None):
            raise refusal(ValueError(f"at, values, low and high of {name!r} must be equally long, but are {lengths}."))
        color = colors[number % len(colors)]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.at, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        axes.plot(curve.at, curve.values, color=color, marker=".", label=name)
    plain(axes)


def marks(
    axes: Axes,
    series: Mapping[str, Sequence[float]],
    *,
    shapes: Sequence[str],
    colors: Sequence[str] = COLORS,
    across: bool = False,
) -> None:
    """A mark per value, at its place in the order: series whose values belong together by place.

    Args:
        axes: where to draw.
        series: by name, all equally long.
        shapes: of the marks, as matplotlib writes them; one per series.
        colors: of the series.
        across: places go upwards and values to the right.
    """
    for number, (name, values) in enumerate(series.items()):
        places = range(len(values))
        size = {".": 6.0, "|": 7.0}.get(shapes[number], 4.0)
        style: dict[str, Any] = {"color": colors[number], "markersize": size, "label": name}
        axes.plot(*((values, places) if across else (places, values)), shapes[number], **style)
    plain(axes, "x" if across else "y")
    if across:
        axes.tick_params(labelcolor=INK)


def scatter(
    axes: Axes, x: Any, y: Any, *, marked: Any = None, size: float = 7, alpha: float = 0.9, correlation: bool = False
) -> None:
    """A cloud of points.

    Args:
        axes: where to draw.
        x: [P] numbers.
        y: [P] numbers.
        marked: [P] bool, the points that stand out; None: all do.
        size: of a point, as matplotlib's `s`.
        alpha: how opaque the marked ones are.
        correlation: write Pearson's r into the upper left corner; not known where a side never varies.

    Example:
        >>> with dissect.plots.drawing():
        ...     axes = dissect.plots.new_figure(3, 2).add_subplot()
        ...     scatter(axes, [0, 1, 2], [0, 2, 4], correlation=True)
        >>> axes.texts[0].get_text()
        'r = 1.00'
    """
    import numpy as np

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    marked = np.ones(len(x), dtype=bool) if marked is None else np.asarray(marked, dtype=bool)
    for chosen, color, opaque in ((~marked, FAINT, 0.5), (marked, ACCENT, alpha)):
        if chosen.any():
            axes.scatter(x[chosen], y[chosen], s=size, linewidths=0, color=color, alpha=opaque)
    if correlation:
        varies = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
        text = f"r = {np.corrcoef(x, y)[0, 1]:.2f}" if varies else "r is not known"
        axes.text(0.02, 0.98, text, transform=axes.transAxes, ha="left", va="top", color=QUIET)
    plain(axes)
