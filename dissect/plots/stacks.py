"""Bars of several parts, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dissect.arguments import refusal, speaks
from dissect.plots.style import COLORS, INK, QUIET, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@speaks
def stacks(
    axes: Axes,
    names: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    notes: Sequence[str] = (),
    colors: Sequence[str] = COLORS,
) -> None:
    """A bar to the right per name, of one piece per part; the first name is the uppermost.

    Args:
        axes: where to draw.
        names: of the bars.
        parts: by name, how long its piece of each bar is, 0 or more.
        notes: a text at the end of each bar; none are written where there are none.
        colors: of the parts.

    Raises:
        ValueError: as many values or notes as names are not given.

    Example:
        >>> with dissect.plots.drawing():
        ...     axes = dissect.plots.new_figure(3, 2).add_subplot()
        ...     stacks(axes, ["conv4", "conv5"], {"object": [3, 5], "part": [1, 0]}, notes=["4", "5"])
        >>> [(float(bar.get_x()), float(bar.get_width())) for bar in axes.patches]
        [(0.0, 3.0), (0.0, 5.0), (3.0, 1.0), (5.0, 0.0)]
    """
    for what, given in (*parts.items(), *([("notes", notes)] if notes else [])):
        if len(given) != len(names):
            raise refusal(ValueError(f"{what} must have one value per name, {len(names)}, but has {len(given)}."))
    ends = [0.0] * len(names)
    for number, (part, lengths) in enumerate(parts.items()):
        axes.barh(range(len(names)), lengths, 0.74, left=ends, color=colors[number % len(colors)], label=part)
        ends = [end + length for end, length in zip(ends, lengths)]
    for place, (end, note) in enumerate(zip(ends, notes)):
        axes.annotate(note, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=QUIET)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max([*ends, 0.0]) or 1.0)
    plain(axes, "x")
    axes.tick_params(axis="y", labelcolor=INK)
