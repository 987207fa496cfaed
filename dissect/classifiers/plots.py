"""Figures of what classes lose without units, in the form of the papers'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissect import plots
from dissect.arguments import refusal, speaks
from dissect.plots import ACCENT, OTHER, QUIET, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dissect.classifiers.importance import UnitImportance
    from dissect.classifiers.sets import UnitSets

#: More classes than these have no room for their names.
MOST_NAMES = 60
#: The whole network, without the most important units, without the least.
_COLORS, _SHAPES = (QUIET, OTHER, ACCENT), ("v", "^")


def plot_importance(importance: UnitImportance, name: str | int, k: int = 20) -> Figure:
    """See `UnitImportance.plot`."""
    return importance.plot(name, k)


def plot_sets(sets: UnitSets, name: str | int | None = None) -> Figure:
    """See `UnitSets.plot`."""
    return sets.plot(name)


@speaks
def plot_all_classes(sets: UnitSets, few: int, many: int) -> Figure:
    """A point per class: with all units, without the `few` most important, without the `many` least (Fig. 2D).

    Raises:
        ValueError: counts that were not measured.
    """
    for count in (few, many):
        if count not in sets.counts:
            raise refusal(ValueError(f"counts must be among {sets.counts}, but one is {count}."))
    order = sets.baseline().argsort(stable=True)
    series = {
        "all units": sets.baseline()[order],
        f"without the top {few}": sets.curve("most")[order, sets.counts.index(few)],
        f"only the top {sets.num_units - many}": sets.curve("least")[order, sets.counts.index(many)],
    }
    with drawing():
        figure = new_figure(5.0, 3.2)
        axes = figure.add_subplot()
        values = {label: part.tolist() for label, part in series.items()}
        plots.marks(axes, values, shapes=(".", *_SHAPES), colors=_COLORS)
        axes.axhline(0.5, color=QUIET, linewidth=0.6)
        axes.set_ylim(0.45, 1.02)
        plots.label(axes, "class, by accuracy with all units", "single-class accuracy")
        plots.legend_below(figure, axes)
    return figure


@speaks
def plot_by_class(sets: UnitSets, count: int) -> Figure:
    """Every class without its `count` most, and without its `count` least important units (SI Fig. S4a-b).

    On the left accuracies, on the right how much they differ from that with all units, by which the classes are sorted.

    Raises:
        ValueError: a count that was not measured.
    """
    if count not in sets.counts:
        raise refusal(ValueError(f"count must be among {sets.counts}, but is {count}."))
    base, at = sets.baseline(), sets.counts.index(count)
    order, few = base.argsort(stable=True), len(base) <= MOST_NAMES
    without = {f"without the {count} {end} important": sets.curve(end)[:, at] for end in ("most", "least")}
    accuracies = {"all units": base[order]} | {label: part[order] for label, part in without.items()}
    changes = {label: 100 * (part - base)[order] for label, part in without.items()}
    with drawing():
        figure = new_figure(8.6, 0.9 + 0.155 * len(base) if few else 6.5)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, series, shapes, colors in (
            (left, accuracies, ("|", *_SHAPES), _COLORS),
            (right, changes, _SHAPES, _COLORS[1:]),
        ):
            values = {label: part.tolist() for label, part in series.items()}
            plots.marks(axes, values, shapes=shapes, colors=colors, across=True)
            plots.plain(axes, "both" if few else "x")
        left.axvline(0.5, color=QUIET, linewidth=0.6)
        right.axvline(0, color=QUIET, linewidth=0.6)
        left.set_xlabel("single-class accuracy")
        right.set_xlabel("change, in points")
        names = [sets.classes[sets.measured[number]] for number in order.tolist()] if few else []
        left.set_yticks(range(len(names)), names)
        left.set_ylim(-0.8, len(order) - 0.2)
        plots.legend_above(figure, left)
    return figure
