"""Figures of what classes lose without units, in the form of the papers'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dissect.classifiers.importance import UnitImportance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dissect.classifiers.sets import UnitSets

MOST, LEAST, WHOLE, LINE = "#c2571a", "#1f6fb4", "#555555", "#d0d7de"
#: More classes than these have no room for their names.
MOST_NAMES = 60


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"plots need matplotlib, which cannot be imported ({error}); install it with: "
            "pip install 'dissect-units[report]'"
        ) from error
    return Figure((width, height), layout="constrained")


def plot_importance(importance: UnitImportance, name: str | int, k: int = 20) -> Figure:
    """Bars of the k most important units of a class: accuracy lost on training and on validation images (Fig. 2A)."""
    rows = importance.top(name, k)
    figure = new_figure(max(4.0, 1 + 0.32 * len(rows)), 3.0)
    axes = figure.add_subplot()
    places = range(len(rows))
    axes.bar([place - 0.2 for place in places], [row.train_drop for row in rows], 0.4, color=MOST, label="train")
    axes.bar([place + 0.2 for place in places], [row.val_drop for row in rows], 0.4, color=LEAST, label="val")
    axes.axhline(0, color=WHOLE, linewidth=0.7)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_xticks(places, [str(row.unit) for row in rows])
    axes.set_xlabel(f"unit of {importance.layer}")
    axes.set_ylabel("balanced accuracy lost")
    axes.set_title(importance.classes[importance.class_number(name)], fontsize=10, loc="left")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def plot_sets(sets: UnitSets, name: str | int | None = None) -> Figure:
    """Accuracy over the number of removed units, of one class (Fig. 2C) or of the average class."""
    figure = new_figure(5.0, 3.2)
    axes = figure.add_subplot()
    rows = sets.table(name)
    base = rows[0].balanced_accuracy
    axes.axhline(base, color=WHOLE, linewidth=0.8, linestyle=":", label="all units")
    for removed, color in (("most", MOST), ("least", LEAST)):
        chosen = [row for row in rows if row.removed == removed]
        counts, values = [0, *(row.units for row in chosen)], [base, *(row.balanced_accuracy for row in chosen)]
        axes.plot(counts, values, color=color, marker=".", label=f"without the {removed} important")
    _finish(figure, axes, f"units of {sets.layer} removed, of {sets.num_units}", sets.title(name))
    return figure


def plot_all_classes(sets: UnitSets, few: int, many: int) -> Figure:
    """A point per class: with all units, without the `few` most important, without the `many` least (Fig. 2D).

    Raises:
        ValueError: counts that were not measured.
    """
    figure = new_figure(5.0, 3.2)
    axes = figure.add_subplot()
    for count in (few, many):
        if count not in sets.counts:
            raise ValueError(f"plot_all_classes: counts must be among {sets.counts}, but one is {count}.")
    order = sets.baseline().sort().indices
    places = range(len(order))
    axes.plot(places, sets.baseline()[order], ".", color=WHOLE, label="all units")
    without = sets.curve("most")[order, sets.counts.index(few)]
    only = sets.curve("least")[order, sets.counts.index(many)]
    axes.plot(places, without, "v", markersize=4, color=MOST, label=f"without the top {few}")
    axes.plot(places, only, "^", markersize=4, color=LEAST, label=f"only the top {sets.num_units - many}")
    _finish(figure, axes, "class, by accuracy with all units", "")
    return figure


def plot_by_class(sets: UnitSets, count: int) -> Figure:
    """Every class without its `count` most, and without its `count` least important units (SI Fig. S4a-b).

    On the left accuracies, on the right how much they differ from that with all units, by which the classes are sorted.

    Raises:
        ValueError: a count that was not measured.
    """
    if count not in sets.counts:
        raise ValueError(f"plot_by_class: count must be among {sets.counts}, but is {count}.")
    base, at = sets.baseline(), sets.counts.index(count)
    order, few = base.argsort(stable=True), len(base) <= MOST_NAMES
    figure = new_figure(8.6, 0.9 + 0.155 * len(base) if few else 6.5)
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(order))
    left.plot(base[order], places, "|", markersize=7, color=WHOLE, label="all units")
    for removed, color, marker in (("most", MOST, "v"), ("least", LEAST, "^")):
        values, label = sets.curve(removed)[:, at], f"without the {count} {removed} important"
        left.plot(values[order], places, marker, markersize=4, color=color, label=label)
        right.plot(100 * (values - base)[order], places, marker, markersize=4, color=color)
    left.axvline(0.5, color=WHOLE, linewidth=0.6)
    right.axvline(0, color=WHOLE, linewidth=0.6)
    left.set_xlabel("single-class accuracy")
    right.set_xlabel("change, in points")
    left.set_yticks(
        places if few else [], [sets.classes[sets.measured[int(number)]] for number in order] if few else []
    )
    left.set_ylim(-0.8, len(order) - 0.2)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=3, handlelength=1.2)
    for axes in (left, right):
        _plain(axes, "both" if few else "x")
    return figure


def _finish(figure: Figure, axes: Axes, xlabel: str, title: str) -> None:
    axes.axhline(0.5, color=WHOLE, linewidth=0.6)
    axes.set_ylim(0.45, 1.02)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("single-class accuracy")
    axes.set_title(title, fontsize=10, loc="left")
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3, handlelength=1.2, columnspacing=1.2)
    _plain(axes)


def _plain(axes: Axes, lines: Literal["x", "y", "both"] = "y") -> None:
    """Faint lines to read values by, and no box."""
    axes.grid(True, axis=lines, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, labelsize=8.5)
