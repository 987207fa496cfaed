"""Jitter plots: every value as a point, and the density of all, group above group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dissect.plots.style import ACCENT, INK, OTHER, QUIET, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of a group's strip, the part of its points; its density is drawn above them.
POINTS = 0.4
#: Values at which densities are drawn.
STEPS = 200


def jitter(
    axes: Axes,
    groups: Mapping[str, Sequence[float]],
    *,
    line: tuple[str, float] | None = None,
    colors: Sequence[str] = (ACCENT, OTHER),
) -> None:
    """Every value of each group as a point at a random height in the group's strip, below its density.

    The densities have one scale, so that equal areas are equal shares.

    Args:
        axes: where to draw.
        groups: values by name, the first one on top.
        line: the name and the value of a dashed line across all.
        colors: of the groups.

    Example:
        >>> with dissect.plots.drawing():
        ...     axes = dissect.plots.new_figure(3, 2).add_subplot()
        ...     jitter(axes, {"with": [1.0, 2.0, 3.0], "without": [0.0, 1.0]}, line=("threshold", 1.5))
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['with (3)', 'without (2)']
    """
    import numpy as np

    values = {name: np.asarray(group, dtype=np.float64) for name, group in groups.items()}
    ends = [end for group in values.values() if len(group) for end in (group.min(), group.max())]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    at = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), STEPS)
    curves = {name: density(group, at) for name, group in values.items()}
    top = max((curve.max() for curve in curves.values()), default=0.0) or 1.0
    chance = np.random.default_rng(0)
    for number, (name, group) in enumerate(values.items()):
        base, color = len(values) - 1 - number, colors[number % len(colors)]
        heights = base + POINTS * chance.random(len(group))
        axes.scatter(group, heights, s=5, linewidths=0, color=color, alpha=0.45)
        floor = base + POINTS + 0.04
        curve = floor + (0.92 - POINTS) * curves[name] / top
        axes.fill_between(at, floor, curve, color=color, alpha=0.2, linewidth=0)
        axes.plot(at, curve, color=color, linewidth=1.1)
    if line is not None:
        axes.axvline(line[1], color=INK, linewidth=0.9, linestyle="--")
        axes.annotate(
            line[0],
            (line[1], len(values)),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=QUIET,
        )
    plain(axes, "x")
    axes.set_ylim(-0.05, len(values) + 0.02)
    names = [f"{name} ({len(group):,})" for name, group in values.items()]
    axes.set_yticks([len(names) - 1 - number + 0.5 for number in range(len(names))], names)
    axes.tick_params(labelcolor=INK)


def density(values: Any, at: Any) -> Any:
    """The kernel density estimate of some values: normal kernels of Silverman's width ("Density Estimation", eq. 3.31).

    ::

        width = 0.9 min(standard deviation, interquartile range / 1.34) n^(-1/5)

    Args:
        values: [n] numbers.
        at: [m] where it is wanted.

    Returns:
        [m] float64; 0 where values are fewer than two, or all the same.

    Example:
        >>> import numpy
        >>> at = numpy.linspace(-5, 5, 101)
        >>> float(density(numpy.random.default_rng(0).normal(size=1000), at).sum() * 0.1) > 0.99
        True
    """
    import numpy as np

    values, at = np.asarray(values, dtype=np.float64), np.asarray(at, dtype=np.float64)
    if len(values) < 2 or not np.ptp(values) > 0:
        return np.zeros(len(at))
    deviation, quartiles = values.std(ddof=1), np.subtract(*np.percentile(values, [75, 25])) / 1.34
    width = 0.9 * (min(deviation, quartiles) if quartiles > 0 else deviation) * len(values) ** -0.2
    kernels = np.exp(-0.5 * ((at[:, None] - values) / width) ** 2)
    return kernels.sum(1) / (len(values) * width * np.sqrt(2 * np.pi))
