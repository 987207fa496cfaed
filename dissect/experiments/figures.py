"""Figures of the experiments on classifiers, as matplotlib draws them; `save` writes them as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dissect import plots
from dissect.dissection.result import Dissection
from dissect.extras import require
from dissect.grid import Grid
from dissect.plots import ACCENT, FAINT, FALL, INK, QUIET, RISE, drawing, save
from dissect.reference import upsample
from dissect.table import Table, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dissect.experiments.attack_result import GroupRow
    from dissect.experiments.relations import BucketRow, ClassesRow

__all__ = [
    "attack_chart",
    "attack_maps",
    "check_extras",
    "combination_picture",
    "drawing",
    "relations_chart",
    "save",
    "unit_names",
]


def check_extras() -> None:
    """Tells early that pictures cannot be drawn.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra `report`.
    """
    require("pictures", "report", "matplotlib")


def unit_names(dissection: Dissection | None, layer: str) -> dict[int, str]:
    """What each unit of a layer detects, by its number; those of which nothing is known are left out."""
    if dissection is None:
        return {}
    dissection.of_units(layer)  # refuses directions
    return {row.unit: row.concept for row in dissection.best(layer) if row.iou > 0}


def attack_chart(changes: Table[GroupRow], k: int) -> Figure:
    """How much peaks change in `AttackResult.changes`, with 99 % intervals (PNAS 2020, Fig. 5C)."""
    names = {
        "target": f"{k} most important\nto the target",
        "source": f"{k} most important\nto the source",
        "other": "all others",
    }
    with drawing():
        figure = plots.new_figure(8.4, 2.7, None)
        panels = plots.panels(figure, 2)
        for axes, value, interval, label in zip(
            panels, ("change", "scaled"), ("interval", "scaled_interval"), ("of peaks", "in standard deviations")
        ):
            parts = {cause: [row for row in changes if row.cause == cause] for cause in ("attack", "noise")}
            plots.bars(
                axes,
                [names[row.units] for row in parts["attack"]],
                {cause: [getattr(row, value) for row in rows] for cause, rows in parts.items()},
                intervals=[[getattr(row, interval) for row in rows] for rows in parts.values()],
                colors=(ACCENT, FAINT),
                across=True,
            )
            axes.set_xlabel(f"mean absolute change {label}")
        panels[1].set_yticklabels([])
        for at, (text, color) in enumerate((("attack", ACCENT), ("noise of the same L2 norm", QUIET))):
            figure.text(0.155 + 0.07 * at, 0.93, text, color=color, weight="bold")
        figure.subplots_adjust(0.155, 0.2, 0.99, 0.89, wspace=0.08)
    return figure


def attack_maps(
    image: Tensor,
    attacked: Tensor,
    before: Tensor,
    after: Tensor,
    groups: Sequence[tuple[str, Sequence[int]]],
    titles: tuple[str, str],
    names: dict[int, str],
) -> Figure:
    """An image, its attack, and where it made units rise and fall (PNAS 2020, Fig. 5A, B).

    Args:
        image: [3, H, W] in [0, 1].
        attacked: [3, H, W].
        before: [U, h, w], the layer's output for the image.
        after: [U, h, w], for the attacked one.
        groups: a title and the units of each row.
        titles: what the network says of the image and of the attacked one.
        names: what units detect.
    """
    grid = Grid.half_pixel((before.shape[1], before.shape[2]), (image.shape[1], image.shape[2]))
    change = upsample((after - before)[None], grid.rows, grid.columns)[0]
    shown = [unit for _, units in groups for unit in units]
    scale = float(change[shown].abs().max().clamp(min=1e-6))
    columns = max(4, *(len(units) for _, units in groups))  # three pictures and a key are above them
    with drawing():
        figure = plots.new_figure(2.0 * columns, 2.25 + 2.7 * len(groups), None)
        parts = plots.strips(figure, 1 + len(groups), [2.25] + [2.7] * len(groups))
        difference = attacked - image
        factor = 0.5 / float(difference.abs().max().clamp(min=1e-6))
        tiles = [
            (image, titles[0]),
            (0.5 + difference * factor, f"the difference, {factor:.0f} times"),
            (attacked, titles[1]),
        ]
        panels = plots.panels(parts[0], columns)
        for axes, (picture, title) in zip(panels, tiles):
            plots.tile(axes, picture, title)
        plots.empty(panels[len(tiles) :])
        _color_key(panels[len(tiles)], scale)
        for part, (title, units) in zip(parts[1:], groups):
            part.suptitle(title, x=0.012, y=0.94, ha="left", fontsize=10, weight="bold")
            panels = plots.panels(part, columns)
            for axes, unit in zip(panels, units):
                step = float(after[unit].max() - before[unit].max())
                name = names.get(unit, "")
                plots.tile(axes, plots.tinted(image, change[unit] / scale), f"{name or 'unit'} ({unit})")
                axes.set_xlabel(f"peak {_signed(step)}", color=RISE if step > 0 else FALL, labelpad=3)
            plots.empty(panels[len(units) :])
        # Inches above and below the pictures, as shares of a strip's height.
        parts[0].subplots_adjust(0.01, 0.05 / 2.25, 0.99, 1 - 0.28 / 2.25, wspace=0.05)
        for part in parts[1:]:
            part.subplots_adjust(0.01, 0.27 / 2.7, 0.99, 1 - 0.5 / 2.7, wspace=0.05)
    return figure


def relations_chart(
    by_classes: Sequence[tuple[int, Table[ClassesRow]]],
    buckets: Table[BucketRow],
    points: tuple[Tensor, Tensor, Tensor],
) -> Figure:
    """Importance beside IoU and correlation (PNAS 2020, Fig. 2E and S4c-h).

    Args:
        by_classes: k and `iou_by_classes` for it.
        buckets: `iou_by_importance`.
        points: importance, correlation and whether the unit is important to the class, of each pair; all [P].
    """
    with drawing():
        figure = plots.new_figure(10, 5.6, None)
        top, bottom = plots.strips(figure, 2)
        first = None
        for axes, (k, rows) in zip(plots.panels(top, len(by_classes), sharey=True), by_classes):
            first = first or axes
            named = [row.classes for row in rows]
            plots.bars(axes, named, {"IoU": numbers(row.iou for row in rows)}, notes=[f"{row.units}" for row in rows])
            axes.set_title(f"among the top {k}")
            axes.set_xlabel("of so many classes")
        if first is not None:
            first.set_ylabel("mean IoU of the units")
        left, right = plots.panels(bottom, 2)
        plots.bars(left, [""] * len(buckets), {"IoU": [row.iou for row in buckets]})
        left.set_xticks([0, *range(3, len(buckets), 4)], [str(at + 1) for at in (0, *range(3, len(buckets), 4))])
        left.set_title("by mean importance over all classes")
        left.set_xlabel(f"{len(buckets)} buckets of units, the least important first")
        left.set_ylabel("mean IoU")
        importance, correlations, important = points
        plots.scatter(right, importance * 100, correlations, marked=important)
        right.axhline(0, color=QUIET, linewidth=0.8)
        right.set_title("every pair of a unit and a class; important ones in blue")
        right.set_xlabel("points of balanced accuracy that the class loses without the unit")
        right.set_ylabel("correlation of peak and score")
        for part in (top, bottom):
            part.subplots_adjust(0.065, 0.2, 0.98, 0.88, wspace=0.12 if part is top else 0.17)
    return figure


def combination_picture(
    dissection: Dissection,
    layer: str,
    classes: Sequence[tuple[str, Tensor]],
    units: Sequence[int],
    drops: Tensor,
    important: Tensor,
    examples: int = 3,
) -> Figure:
    """Three classes told apart by units that they share two by two (PNAS 2020, Fig. S5).

    Args:
        dissection: has the layer; says what units detect and which images excite them most.
        layer: the layer's name.
        classes: each class's name and an image of it [3, H, W] in [0, 1].
        units: a row each.
        drops: [units, classes], balanced accuracy that a class loses without a unit.
        important: [units, classes] bool, whether a unit is among the most important of a class.
        examples: how many of a unit's top images to show, masked where it does not fire.
    """
    names, found = unit_names(dissection, layer), dissection[layer]
    examples = min(examples, found.peak_images.shape[1])
    with drawing():
        columns, rows = examples + len(classes), 1 + len(units)
        figure = plots.new_figure(1.25 * columns, 1.5 * rows, None)
        panels = figure.subplots(rows, columns, squeeze=False)
        plots.empty(list(panels[0, :examples]))
        note = (
            f"Left: the {examples} images that excite each unit most,\nwhere it fires.\n"
            "Right: what each class loses without the unit,\nin blue where it is important to the class."
        )
        panels[0, 0].text(0, 1, note, transform=panels[0, 0].transAxes, color=QUIET, va="top", linespacing=1.5)
        for axes, (name, image) in zip(panels[0, examples:], classes):
            plots.tile(axes, image, name)
            axes.title.set_weight("bold")
        for row, (line, unit) in enumerate(zip(panels[1:], units)):
            masks = found.masks(unit)
            for at, axes in enumerate(line[:examples]):
                image = dissection.image(int(found.peak_images[unit, at])).float() / 255
                plots.tile(axes, plots.lit(image, masks[at]), f"{names.get(unit, 'unit')} ({unit})" if at == 0 else "")
            for column, axes in enumerate(line[examples:]):
                _mark(axes, float(drops[row, column]), bool(important[row, column]))
        figure.subplots_adjust(0.01, 0.02, 0.99, 0.955, wspace=0.06, hspace=0.28)
    return figure


def _mark(axes: Axes, drop: float, important: bool) -> None:
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    axes.axis("off")
    axes.scatter([0], [0.12], s=420 if important else 60, color=ACCENT if important else FAINT, linewidths=0)
    text = _signed(-100 * drop) + (" points" if important else "")
    axes.text(0, -0.52, text, ha="center", va="center", color=INK if important else QUIET, fontsize=8.5)


def _signed(value: float) -> str:
    """With its sign and one digit; 0 has none."""
    return f"{value:+.1f}" if round(value, 1) else "0.0"


def _color_key(axes: Axes, scale: float) -> None:
    """What red and blue mean."""
    lines = (("activation rises", RISE), ("activation falls", FALL), (f"full color: by {scale:.3g}", QUIET))
    for number, (text, color) in enumerate(lines):
        weight = "bold" if number < 2 else "normal"
        axes.text(0.04, 0.92 - 0.13 * number, text, color=color, weight=weight, transform=axes.transAxes)
