"""All units of a layer on pages to print, as the papers' supplements have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dissect import plots
from dissect.arguments import integer, refusal, speaks
from dissect.dissection.result import Dissection, LayerDissection
from dissect.dissection.rows import UnitRow, is_detector
from dissect.report.content import one_layer, tells_apart
from dissect.report.html import important_classes
from dissect.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dissect.classifiers import UnitImportance

FILE_NAME = "units.pdf"
#: Inches: of an A4 page, around what is on it, for its title, between columns and pictures, of a line of text.
PAGE, MARGIN, HEAD, GUTTER, GAP, LINE = (8.27, 11.69), 0.4, 0.42, 0.2, 0.02, 0.13
#: The largest picture, in inches; pictures in a row of the page, and columns of units, at most.
LARGEST, ACROSS, COLUMNS = 1.0, 15, 3
SIZE, DPI = 6.5, 150


class _PageLayout(NamedTuple):
    """How a page is divided, in inches."""

    columns: int
    rows: int
    width: float
    height: float
    tile: tuple[float, float]


@speaks
def write_unit_pages(
    dissection: Dissection,
    path: str | Path,
    *,
    layer: str | None = None,
    images: int = 5,
    importance: UnitImportance | Iterable[UnitImportance] = (),
) -> list[Path]:
    """Writes every unit of a layer on pages of A4, with its concept, its IoU and its top images (PNAS 2020, S6 to S18).

    Units with the highest IoU come first; those that are detectors are in bold. Pictures are pale where the unit does
    not fire, and only those are shown in which it does; without concepts, all of a unit that tells images apart, in
    the order of the units. Pages are drawn one after another, and the same dissection gives the same bytes.

    Args:
        dissection: with its top images (``dissect.dissect(..., top_images=5)``).
        path: a folder, in which "units.pdf" is written; a file that ends in ".pdf"; or one that ends in ".png", of
            which there will be one for each page, "units-001.png" for "units.png".
        layer: one of its layers; its only one by default.
        images: of each unit, at most. Published are five.
        importance: what `dissect.unit_importance` found about the layer; a line then names the classes to which a unit
            is important, as published for the classifier.

    Returns:
        The files' paths.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissection, one without top images, no layer where there are several, or importance of
            another number of units.

    Example:
        >>> dissect.report.write_unit_pages(dissect.load("out/result"), "out/units.pdf")  # doctest: +SKIP
        [PosixPath('out/units.pdf')]
    """
    images = integer("images", images)
    name, found = one_layer(dissection, layer)
    images = min(images, found.peaks.shape[1])
    if not images or not len(dissection.images):
        raise refusal(ValueError("dissection must have top images, dissect.dissect(..., top_images=5), but has none."))
    classes = important_classes(dissection, importance).get(name)
    path = Path(path)
    if path.suffix.lower() not in (".pdf", ".png"):
        path = path / FILE_NAME
    return plots.save_pages(_pages(dissection, name, images, classes), path, DPI)


def _pages(dissection: Dissection, name: str, images: int, classes: list[list[str]] | None) -> Iterator[Figure]:
    rows = sorted(dissection.best(name), key=lambda row: (-row.iou, row.unit))
    layout = _layout(images, dissection.images.shape[2] / dissection.images.shape[3], 1 if classes is None else 2)
    each = layout.columns * layout.rows
    for first in range(0, len(rows), each):
        shown, word = rows[first : first + each], dissection.word(name)
        with plots.drawing():
            figure = plots.new_figure(*PAGE, None)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.axis("off")
            title = f"{word}s {first + 1:,} to {first + len(shown):,} of {len(rows):,}"
            order = "in their order" if dissection.images_only else "by IoU, the highest first"
            axes.text(MARGIN, MARGIN, f"{printable(name)[:80]}: {title}, {order}", fontsize=9, weight="bold", va="top")
            told = f"The images that excite each {word} most, pale where it does not fire"
            told += "." if dissection.images_only else "; in bold: detectors."
            axes.text(MARGIN, MARGIN + 0.19, told, fontsize=SIZE, color=plots.QUIET, va="top")
            for at, row in enumerate(shown):
                column, line = divmod(at, layout.rows)
                corner = MARGIN + column * (layout.width + GUTTER), MARGIN + HEAD + line * layout.height
                lines = _texts(dissection, row, None if classes is None else classes[row.unit])
                _unit(axes, corner, layout, lines, is_detector(row, dissection.settings))
                strip = _strip(dissection, dissection[name], row, images, layout.tile)
                _pictures(axes, corner[0], corner[1] + len(lines) * LINE, strip, layout.tile[1])
            axes.set_xlim(0, PAGE[0])  # last, since pictures set them too
            axes.set_ylim(PAGE[1], 0)
            axes.set_aspect("auto")
        yield figure


def _layout(images: int, ratio: float, lines: int) -> _PageLayout:
    """For pictures of a ratio of height to width, below so many lines."""
    columns = min(COLUMNS, max(1, ACROSS // images))
    width = (PAGE[0] - 2 * MARGIN - (columns - 1) * GUTTER) / columns
    side = int(min(LARGEST, LARGEST / ratio, width / images - GAP) * DPI) / DPI  # whole pixels, which stay as they are
    height = lines * LINE + side * ratio + 0.09
    rows = max(1, int((PAGE[1] - 2 * MARGIN - HEAD) / height))
    return _PageLayout(columns, rows, width, height, (side, side * ratio))


def _texts(dissection: Dissection, row: UnitRow, classes: list[str] | None) -> list[str]:
    if dissection.images_only:
        found = f"threshold {row.threshold:.3g}"
    else:
        found = f"{printable(row.concept)}  {row.iou:.3f}" if row.iou > 0 else "no concept"
    state = "" if row.state == "ok" else f"  ({row.state})"
    return [f"{row.unit}  {found}{state}", *([] if classes is None else [printable(", ".join(classes))])]


def _unit(axes: Axes, corner: tuple[float, float], layout: _PageLayout, lines: list[str], detector: bool) -> None:
    for number, text in enumerate(lines):
        weight, color = ("bold" if detector else "normal", plots.INK) if number == 0 else ("normal", plots.QUIET)
        text = plots.fitting(text, layout.width * 72, SIZE, weight)
        axes.text(corner[0], corner[1] + number * LINE, text, fontsize=SIZE, weight=weight, color=color, va="top")


def _strip(
    dissection: Dissection, layer: LayerDissection, row: UnitRow, images: int, tile: tuple[float, float]
) -> list[Tensor]:
    """Pictures [3, H, W] of a unit, no larger than they are printed."""
    anyway = dissection.images_only and tells_apart(layer, row.unit)
    size = [max(1, round(DPI * side)) for side in reversed(tile)]
    pictures = []
    for number, mask in zip(layer.peak_images[row.unit, :images].tolist(), layer.masks(row.unit)):
        if anyway or (row.state != "dead" and bool(mask.any())):
            picture = plots.lit(dissection.image(number).float() / 255, mask)
            if picture.shape[1] > size[0]:
                picture = torch.nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
            pictures.append(picture)
    return pictures


def _pictures(axes: Axes, left: float, top: float, pictures: list[Tensor], height: float) -> None:
    for at, picture in enumerate(pictures):
        width = height * picture.shape[2] / picture.shape[1]
        start = left + at * (width + GAP)
        shown = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        axes.imshow(shown, extent=(start, start + width, top + height, top), interpolation="none")
