"""Names beside points, where they cover as little as they can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from dissect.arguments import refusal, speaks
from dissect.plots.style import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Where a name may stand, in points from its own: offset, and which end of it is there; the first is preferred.
_PLACES = [
    ((side * (4 if not away else 9), up), {1: "left", -1: "right"}[side])
    for away, rises in ((False, (2, -6)), (True, (9, -13, 16, -20, 23, -27, 30)))
    for up in rises
    for side in (1, -1)
]


@speaks
def name_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], *, size: float = 6.5) -> None:
    """Writes a name beside each point, one after the other, where it covers the least of names and points so far.

    A name that stands away from its point is tied to it by a line. Call it when all else is drawn, since what is
    covered depends on the limits and the size of the axes.

    Args:
        axes: where the points are drawn.
        points: (x, y) each.
        names: of the points.
        size: of the letters, in points.

    Raises:
        ValueError: not as many names as points.

    Example:
        >>> from dissect import plots
        >>> with plots.drawing():
        ...     axes = plots.new_figure(3, 2).add_subplot()
        ...     _ = axes.scatter([1, 1], [2, 2.01])
        ...     plots.name_points(axes, [(1, 2), (1, 2.01)], ["one", "another"])
        >>> len(axes.texts)
        2
    """
    if len(points) != len(names):
        raise refusal(ValueError(f"names must be those of the {len(points)} points, but are {len(names)}."))
    figure = axes.get_figure(root=True)
    if figure is None:
        raise refusal(ValueError("axes must belong to a figure, but do not."))
    figure.draw_without_rendering()  # the layout finds where the axes are
    whole = axes.bbox.extents
    taken = [_around(axes, point) for point in points]
    for point, name in zip(points, names):
        found = []
        for number, place in enumerate(_PLACES):
            text = _written(axes, point, name, size, *place)
            box = _box(text)
            text.remove()
            outside = _common(box, box) - _common(box, whole)
            found.append((sum(_common(box, other) for other in taken) + 4 * outside, number))
        text = _written(axes, point, name, size, *_PLACES[min(found)[1]])
        taken.append(_box(text))


def _written(axes: Axes, point: tuple[float, float], name: str, size: float, offset: tuple[int, int], end: str) -> Any:
    line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    text = axes.annotate(
        name, point, offset, textcoords="offset points", ha=end, fontsize=size, color=QUIET,
        arrowprops=line if abs(offset[0]) > 4 else None,
    )  # fmt: skip
    text.set_in_layout(False)
    return text


#: x0, y0, x1, y1 in pixels.
_Box = tuple[float, float, float, float]


def _box(text: Any) -> _Box:
    """Of the letters, without the line."""
    text.get_window_extent()  # moves it to its place
    return cast(_Box, super(type(text), text).get_window_extent().extents)


def _around(axes: Axes, point: tuple[float, float]) -> _Box:
    x, y = (float(at) for at in axes.transData.transform(point))
    return x - 3, y - 3, x + 3, y + 3


def _common(one: _Box, other: _Box) -> float:
    """The area that two boxes share."""
    wide, high = (min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) for axis in (0, 1))
    return max(0.0, float(wide)) * max(0.0, float(high))
