"""Figures of networks side by side, of the rows of a comparison's tables."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from dissect import plots
from dissect.concepts import CATEGORIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dissect.dissection.compared import CorrelationRow, LayerCategoryRow, LayerConceptRow, LayerRow
    from dissect.dissection.histories import HistoryRow

#: Points of a cloud that are named, by the number of detectors and by IoU; and clouds beside each other.
NAMED, COLUMNS = 3, 3
#: Units whose history is shown.
UNITS = 6
#: Letters of a name; the rest is cut at the front, since the ends of layers' names tell them apart.
LETTERS = 34


def places(rows: Sequence[LayerRow]) -> list[str]:
    """What tells the rows' layers apart: the network, the layer, or both."""
    networks, layers = ([getattr(row, name) for row in rows] for name in ("network", "layer"))
    if len({*networks}) == 1:
        return layers
    if len({*layers}) == 1:
        return networks
    shared = commonprefix([layer.rpartition(".")[0] for layer in layers])
    start = len(shared) + 1 if shared and all(layer.startswith(f"{shared}.") for layer in layers) else 0
    return [f"{network} · {layer[start:]}" for network, layer in zip(networks, layers)]


def concepts_figure(rows: Sequence[LayerRow], categories: Sequence[LayerCategoryRow]) -> Figure:
    """Unique detectors by category, and their ratio to all units (Zhou et al. 2018, Fig. 9, 12-14, 24)."""
    names = list(dict.fromkeys(row.category for row in categories))
    counts = {name: [row.concepts for row in categories if row.category == name] for name in names}
    ratios = {name: [row.ratio for row in categories if row.category == name] for name in names}
    with plots.drawing():
        figure = plots.new_figure(8.6, 1.25 + 0.27 * len(rows))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        colors = [category_colors(names)[name] for name in names]
        bars = [_cut(name) for name in places(rows)]
        plots.stacks(left, bars, counts, notes=[str(row.concepts) for row in rows], colors=colors)
        plots.stacks(right, bars, ratios, notes=[f"{row.ratio:.0%}" for row in rows], colors=colors)
        left.xaxis.get_major_locator().set_params(integer=True)
        right.xaxis.get_major_locator().set_params(nbins=5)
        right.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        plots.label(left, "unique detectors")
        plots.label(right, "of all units")
        plots.legend_above(figure, left)
    return figure


def iou_figure(
    rows: Sequence[LayerRow],
    concepts: Sequence[LayerConceptRow],
    correlations: Sequence[CorrelationRow],
    categories: Sequence[str],
    *,
    name: str | None = None,
    legend: bool = True,
) -> Figure:
    """A point per concept: the mean IoU of its detectors over their number (Zhou et al. 2018, Fig. 10).

    Args:
        rows: of the layers that are shown.
        concepts: of these and of others, which have the same scale.
        correlations: of each layer's points.
        categories: of the vocabulary.
        name: of the layer, if one is shown; None: what tells the layers apart.
        legend: tell the categories' colors.
    """
    columns = 2 if len(rows) == 4 else min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    highest = 1.12 * max([0.04, *(point.mean_iou for point in concepts)])
    colors, told = category_colors(categories), {(row.network, row.layer): row for row in correlations}
    with plots.drawing():
        figure = plots.new_figure(max(3.2 * columns, 4), 0.5 + 2.7 * lines)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for axes, row, place in zip(grid.flat, rows, places(rows) if name is None else [name]):
            own = [point for point in concepts if (point.network, point.layer) == (row.network, row.layer)]
            for category in categories:
                points = [point for point in own if point.category == category]
                x, y = [point.detectors for point in points], [point.mean_iou for point in points]
                axes.scatter(x, y, s=18, color=colors[category], alpha=0.75, linewidths=0, label=category)
            most = max([1, *(point.detectors for point in own)])
            axes.set_xlim(0, 1.2 * most)
            axes.xaxis.get_major_locator().set_params(integer=True)
            _name_points(axes, own, 1.2 * most, highest)
            plots.plain(axes, "both")
            plots.label(
                axes, "detectors of the concept", title=f"{_cut(place)}\n{_told(told.get((row.network, row.layer)))}"
            )
        plots.empty(list(grid.flat)[len(rows) :])
        for axes in grid[:, 0]:
            axes.set_ylabel("mean IoU")
        grid[0, 0].set_ylim(0, highest)
        grid[0, 0].yaxis.get_major_locator().set_params(nbins=5)
        if categories and legend:
            plots.legend_above(figure, grid[0, 0])
    return figure


def series_figure(rows: Sequence[LayerRow]) -> Figure:
    """Detectors, unique detectors and the mean IoU of all units along a series (Bau 2021, Fig. A-7)."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    readings = (("detectors", "detectors"), ("concepts", "unique detectors"), ("mean_iou", "mean IoU of all units"))
    with plots.drawing():
        figure = plots.new_figure(8.6, 2.7)
        panels = plots.panels(figure, len(readings))
        for axes, (name, title) in zip(panels, readings):
            own = {layer: [row for row in rows if row.layer == layer] for layer in layers}
            lines = {
                _cut(layer): plots.Curve([row.step or 0 for row in part], [getattr(row, name) for row in part])
                for layer, part in own.items()
            }
            plots.curves(axes, lines)
            plots.label(axes, "step", title=title)
            axes.set_ylim(0)
        if len(layers) > 1:
            plots.legend_below(figure, panels[0])
    return figure


def categories_figure(rows: Sequence[LayerCategoryRow]) -> Figure:
    """Unique detectors by category, step by step, at equal distances (Zhou et al. 2018, Fig. 18 and 20)."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    names = list(dict.fromkeys(row.category for row in rows))
    columns = min(COLUMNS, len(layers))
    with plots.drawing():
        figure = plots.new_figure(max(3.6 * columns, 5), 0.6 + 2.6 * -(-len(layers) // columns))
        grid = list(figure.subplots(-(-len(layers) // columns), columns, squeeze=False).flat)
        for axes, layer in zip(grid, layers):
            own = {name: [row for row in rows if (row.layer, row.category) == (layer, name)] for name in names}
            lines = {name: plots.Curve(range(len(part)), [row.concepts for row in part]) for name, part in own.items()}
            plots.curves(axes, lines, colors=list(category_colors(names).values()))
            steps = [f"{row.step:g}" for row in own[names[0]]]
            axes.set_xticks(range(len(steps)), steps, rotation=45 if len(steps) > 5 else 0)
            plots.label(axes, "step", "unique detectors", title=_cut(layer) if len(layers) > 1 else "")
            axes.set_ylim(0)
            axes.yaxis.get_major_locator().set_params(integer=True)
        plots.empty(grid[len(layers) :])
        plots.legend_above(figure, grid[0])
    return figure


def histories_figure(rows: Sequence[HistoryRow]) -> Figure:
    """Six units of the last layer: their concepts step by step, the darker the higher the IoU; bold: detectors."""
    layer = rows[-1].layer
    units: dict[int, list[HistoryRow]] = {}
    for row in rows:
        if row.layer == layer:
            units.setdefault(row.unit, []).append(row)
    shown = sorted(units.values(), key=lambda steps: -steps[-1].iou)[:UNITS]
    highest = max(0.04, *(row.iou for steps in shown for row in steps))
    count = len(shown[0])
    with plots.drawing():
        figure = plots.new_figure(min(1.1 + 0.98 * count, 14), 0.8 + 0.3 * len(shown))
        axes = figure.add_subplot()
        for at, steps in enumerate(shown):
            for place, row in enumerate(steps):
                axes.axvspan(place - 0.5, place + 0.5, 1 - (at + 1) / len(shown), 1 - at / len(shown),
                             color=plots.ACCENT, alpha=0.75 * row.iou / highest, linewidth=0)  # fmt: skip
                weight = "bold" if row.detector else "normal"
                axes.text(place, at, row.concept[:14], ha="center", va="center", fontsize=6.5, fontweight=weight)
        axes.set_xticks(range(count), [f"{row.step:g}" for row in shown[0]])
        axes.set_yticks(range(len(shown)), [f"unit {steps[0].unit}" for steps in shown])
        axes.set(xlim=(-0.5, count - 0.5), ylim=(len(shown) - 0.5, -0.5))
        axes.tick_params(length=0)
        plots.label(axes, "step", title=_cut(layer))
    return figure


def _name_points(axes: Axes, points: Sequence[LayerConceptRow], width: float, height: float) -> None:
    """Names the concepts with the most detectors and those with the best ones, where there is room."""
    most = sorted(points, key=lambda point: -point.detectors)[:NAMED]
    best = sorted(points, key=lambda point: -point.mean_iou)[:NAMED]
    taken: list[tuple[float, float]] = []
    for point in (name for pair in zip(best, most) for name in pair):
        x, y = point.detectors / width, point.mean_iou / height
        if all(abs(x - across) > 0.3 or abs(y - up) > 0.07 for across, up in taken):
            taken.append((x, y))
            right = x < 0.75
            side: dict[str, Any] = {"ha": "left", "xytext": (4, 3)} if right else {"ha": "right", "xytext": (-4, 3)}
            at = (point.detectors, point.mean_iou)
            axes.annotate(_cut(point.concept), at, **side, textcoords="offset points", fontsize=7, color=plots.QUIET)


def _told(row: CorrelationRow | None) -> str:
    if row is None:
        return "no detectors"
    if row.r is None:
        return "r is not known"
    return f"r = {row.r:.2f}" + ("" if row.low is None else f"  ({row.low:.2f} to {row.high:.2f})")


def category_colors(categories: Sequence[str]) -> dict[str, str]:
    """The papers' categories have their own colors, others those that are left; these take turns if there are more."""
    others = [name for name in categories if name not in CATEGORIES]
    free = [*plots.OTHER_SHADES, *(color for name, color in zip(CATEGORIES, plots.SHADES) if name not in categories)]
    return dict(zip(CATEGORIES, plots.SHADES)) | {name: free[at % len(free)] for at, name in enumerate(others)}


def _cut(name: str) -> str:
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return name if len(name) <= LETTERS else "…" + name[1 - LETTERS :]
