"""Figures of the experiments on classifiers, as matplotlib draws them; `save` writes them as PNG."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.dissection.result import Dissection
from dissect.files.tensors import replacing
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, FAINT = "#1f2328", "#656d76", "#d0d7de", "#c4cad1"
ACCENT, FALL, RISE = "#0a66c2", "#1f5fbf", "#d1242f"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": QUIET,
    "savefig.dpi": 105,
    "savefig.facecolor": "white",
}


def check_extras() -> None:
    """Tells early that pictures cannot be drawn.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra `report`.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib, which cannot be imported ({error}); pip install 'dissect-units[report]'."
        ) from error


@contextmanager
def drawing() -> Iterator[None]:
    """The style of all figures, within a ``with`` block.

    Raises:
        ImportError: see `check_extras`.
    """
    check_extras()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def save(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as PNG, whole or not at all."""
    with drawing(), replacing(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
    return Path(path)


def unit_names(dissection: Dissection | None, layer: str) -> dict[int, str]:
    """What each unit of a layer detects, by its number; those of which nothing is known are left out."""
    return {} if dissection is None else {row.unit: row.concept for row in dissection.best(layer) if row.iou > 0}


def attack_chart(changes: Table, k: int) -> Figure:
    """How much peaks change in `AttackResult.changes`, with 99 % intervals (PNAS 2020, Fig. 5C)."""
    from matplotlib.figure import Figure

    names = {
        "target": f"{k} most important\nto the target",
        "source": f"{k} most important\nto the source",
        "other": "all others",
    }
    with drawing():
        figure = Figure(figsize=(8.4, 2.7))
        panels = _panels(figure, 2)
        for axes, value, interval, label in zip(
            panels, ("change", "scaled"), ("interval", "scaled_interval"), ("of peaks", "in standard deviations")
        ):
            for at, (cause, color) in enumerate((("attack", ACCENT), ("noise", FAINT))):
                rows = [row for row in changes if row.cause == cause]
                places = [place + 0.19 * (2 * at - 1) for place in range(len(rows))]
                widths, errors = ([getattr(row, name) for row in rows] for name in (value, interval))
                axes.barh(places, widths, 0.36, xerr=errors, color=color, error_kw={"ecolor": INK, "elinewidth": 1})
            axes.set_yticks(range(len(rows)), [names[row.units] for row in rows])
            axes.invert_yaxis()
            axes.grid(True, axis="x")
            axes.tick_params(length=0, labelcolor=INK)
            axes.spines["left"].set_visible(False)
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
    from matplotlib.figure import Figure

    grid = Grid.half_pixel((before.shape[1], before.shape[2]), (image.shape[1], image.shape[2]))
    change = upsample((after - before)[None], grid.rows, grid.columns)[0]
    shown = [unit for _, units in groups for unit in units]
    scale = float(change[shown].abs().max().clamp(min=1e-6))
    columns = max(4, *(len(units) for _, units in groups))  # three pictures and a key are above them
    with drawing():
        figure = Figure(figsize=(2.0 * columns, 2.25 + 2.7 * len(groups)))
        parts = _strips(figure, 1 + len(groups), [2.25] + [2.7] * len(groups))
        difference = attacked - image
        factor = 0.5 / float(difference.abs().max().clamp(min=1e-6))
        tiles = [
            (image, titles[0]),
            (0.5 + difference * factor, f"the difference, {factor:.0f} times"),
            (attacked, titles[1]),
        ]
        panels = _panels(parts[0], columns)
        for axes, (picture, title) in zip(panels, tiles):
            _tile(axes, picture, title)
        _empty(panels[len(tiles) :])
        _color_key(panels[len(tiles)], scale)
        for part, (title, units) in zip(parts[1:], groups):
            part.suptitle(title, x=0.012, y=0.94, ha="left", fontsize=10, weight="bold")
            panels = _panels(part, columns)
            for axes, unit in zip(panels, units):
                step = float(after[unit].max() - before[unit].max())
                name = names.get(unit, "")
                _tile(axes, _tinted(image, change[unit] / scale), f"{name or 'unit'} ({unit})")
                axes.set_xlabel(f"peak {_signed(step)}", color=RISE if step > 0 else FALL, labelpad=3)
            _empty(panels[len(units) :])
        # Inches above and below the pictures, as shares of a strip's height.
        parts[0].subplots_adjust(0.01, 0.05 / 2.25, 0.99, 1 - 0.28 / 2.25, wspace=0.05)
        for part in parts[1:]:
            part.subplots_adjust(0.01, 0.27 / 2.7, 0.99, 1 - 0.5 / 2.7, wspace=0.05)
    return figure


def relations_chart(
    by_classes: Sequence[tuple[int, Table]], buckets: Table, points: tuple[Tensor, Tensor, Tensor]
) -> Figure:
    """Importance beside IoU and correlation (PNAS 2020, Fig. 2E and S4c-h).

    Args:
        by_classes: k and `iou_by_classes` for it.
        buckets: `iou_by_importance`.
        points: importance, correlation and whether the unit is important to the class, of each pair; all [P].
    """
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(10, 5.6))
        top, bottom = _strips(figure, 2)
        first = None
        for axes, (k, rows) in zip(_panels(top, len(by_classes), sharey=True), by_classes):
            first = first or axes
            bars = axes.bar([row.classes for row in rows], [row.iou for row in rows], 0.74, color=ACCENT)
            for bar, row in zip(bars, rows):
                height = 0.0 if row.iou != row.iou else row.iou
                axes.text(bar.get_x() + 0.37, height, f"{row.units}", ha="center", va="bottom", fontsize=8, color=QUIET)
            axes.set_title(f"among the top {k}")
            axes.set_xlabel("of so many classes")
            _bars(axes)
        if first is not None:
            first.set_ylabel("mean IoU of the units")
        left, right = _panels(bottom, 2)
        left.bar(range(1, len(buckets) + 1), [row.iou for row in buckets], 0.74, color=ACCENT)
        left.set_xticks([1, *range(4, len(buckets) + 1, 4)])
        left.set_title("by mean importance over all classes")
        left.set_xlabel(f"{len(buckets)} buckets of units, the least important first")
        left.set_ylabel("mean IoU")
        _bars(left)
        importance, correlations, important = (part.numpy() for part in points)
        style: dict[str, Any] = {"s": 7, "linewidths": 0}
        right.scatter(importance[~important] * 100, correlations[~important], color=FAINT, **style, alpha=0.5)
        right.scatter(importance[important] * 100, correlations[important], color=ACCENT, **style, alpha=0.9)
        right.axhline(0, color=QUIET, linewidth=0.8)
        right.set_title("every pair of a unit and a class; important ones in blue")
        right.set_xlabel("points of balanced accuracy that the class loses without the unit")
        right.set_ylabel("correlation of peak and score")
        right.grid(True, axis="y")
        right.tick_params(length=0)
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
    from matplotlib.figure import Figure

    names, found = unit_names(dissection, layer), dissection[layer]
    examples = min(examples, found.peak_images.shape[1])
    with drawing():
        columns, rows = examples + len(classes), 1 + len(units)
        figure = Figure(figsize=(1.25 * columns, 1.5 * rows))
        panels = figure.subplots(rows, columns, squeeze=False)
        _empty(list(panels[0, :examples]))
        note = (
            f"Left: the {examples} images that excite each unit most,\nwhere it fires.\n"
            "Right: what each class loses without the unit,\nin blue where it is important to the class."
        )
        panels[0, 0].text(0, 1, note, transform=panels[0, 0].transAxes, color=QUIET, va="top", linespacing=1.5)
        for axes, (name, image) in zip(panels[0, examples:], classes):
            _tile(axes, image, name)
            axes.title.set_weight("bold")
        for row, (line, unit) in enumerate(zip(panels[1:], units)):
            masks = found.masks(unit)
            for at, axes in enumerate(line[:examples]):
                image = dissection.image(int(found.peak_images[unit, at])).float() / 255
                _tile(axes, _lit(image, masks[at]), f"{names.get(unit, 'unit')} ({unit})" if at == 0 else "")
            for column, axes in enumerate(line[examples:]):
                _mark(axes, float(drops[row, column]), bool(important[row, column]))
        figure.subplots_adjust(0.01, 0.02, 0.99, 0.955, wspace=0.06, hspace=0.28)
    return figure


def _lit(image: Tensor, mask: Tensor) -> Tensor:
    """The image, pale where the mask [H', W'] is False."""
    index = [torch.arange(size) * small // size for size, small in zip(image.shape[1:], mask.shape)]
    return torch.where(mask[index[0]][:, index[1]], image, 0.62 + 0.38 * image.mean(0, keepdim=True))


def _mark(axes: Axes, drop: float, important: bool) -> None:
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    axes.axis("off")
    axes.scatter([0], [0.12], s=420 if important else 60, color=ACCENT if important else FAINT, linewidths=0)
    text = _signed(-100 * drop) + (" points" if important else "")
    axes.text(0, -0.52, text, ha="center", va="center", color=INK if important else QUIET, fontsize=8.5)


def _panels(figure: Any, columns: int, **shared: bool) -> list[Axes]:
    """Axes side by side."""
    return list(figure.subplots(1, columns, squeeze=False, **shared).flat)


def _strips(figure: Any, rows: int, heights: Sequence[float] | None = None) -> list[Any]:
    """Parts of a figure, one above the other."""
    return list(figure.subfigures(rows, 1, squeeze=False, height_ratios=heights).flat)


def _bars(axes: Axes) -> None:
    axes.grid(True, axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _tile(axes: Axes, picture: Tensor, title: str = "") -> None:
    axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, pad=4)


def _tinted(image: Tensor, change: Tensor) -> Tensor:
    """The image, faint and grey, with red where `change` [H, W] in [-1, 1] is above 0 and blue where below."""
    grey = (0.5 + 0.5 * image.mean(0)).expand(3, -1, -1)
    rise, fall = (torch.tensor([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]) for color in (RISE, FALL))
    color = torch.where(change > 0, rise[:, None, None], fall[:, None, None])
    weight = change.abs() * 0.92
    return grey * (1 - weight) + color * weight


def _signed(value: float) -> str:
    """With its sign and one digit; 0 has none."""
    return f"{value:+.1f}" if round(value, 1) else "0.0"


def _empty(panels: Sequence[Axes]) -> None:
    for axes in panels:
        axes.axis("off")


def _color_key(axes: Axes, scale: float) -> None:
    """What red and blue mean."""
    lines = (("activation rises", RISE), ("activation falls", FALL), (f"full color: by {scale:.3g}", QUIET))
    for number, (text, color) in enumerate(lines):
        weight = "bold" if number < 2 else "normal"
        axes.text(0.04, 0.92 - 0.13 * number, text, color=color, weight=weight, transform=axes.transAxes)
