"""The pictures of docs/tiny.md: sheets of scenes, label planes as colours, and charts of the classifier."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dissect import plots
from dissect.tiny import TinyScenes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, PAPER, EMPTY = "#1f2328", "#656d76", "#ffffff", (233, 233, 233)
MARGIN, GAP, CAPTION = 16, 4, 22
PLANE_SIDE, PLANE_COLUMNS, LEGEND_COLUMNS = 212, 4, 6

#: What the colour names look like in a legend.
SWATCHES = {
    "black": (30, 30, 30), "blue": (60, 110, 215), "brown": (130, 82, 45), "green": (70, 150, 65),
    "grey": (140, 140, 140), "orange": (240, 140, 45), "pink": (245, 150, 185), "purple": (130, 70, 175),
    "red": (210, 45, 45), "white": (255, 255, 255), "yellow": (245, 220, 70),
}  # fmt: skip


@lru_cache
def font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    """The sans serif that comes with matplotlib."""
    found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
    return ImageFont.truetype(found, size)


def picture(image: np.ndarray) -> Image.Image:
    """A uint8 [3, H, W] array as a picture."""
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def enlarged(image: np.ndarray, times: int) -> np.ndarray:
    """[C, H, W] with each pixel shown larger."""
    return image.repeat(times, 1).repeat(times, 2)


def class_sheet(scenes: TinyScenes, names: Sequence[str], each: int = 4, across: int = 2) -> Image.Image:
    """The first scenes of each class, in blocks under the class' name."""
    block = (each * (scenes.size + GAP) - GAP, CAPTION + scenes.size)
    rows = -(-len(names) // across)
    width = 2 * MARGIN + across * block[0] + (across - 1) * 2 * MARGIN
    sheet = Image.new("RGB", (width, 2 * MARGIN + rows * (block[1] + MARGIN) - MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, name in enumerate(names):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (block[0] + 2 * MARGIN), MARGIN + row * (block[1] + MARGIN)
        draw.text((x, y + CAPTION - 6), name, INK, font(14, "bold"), anchor="ls")
        first = scenes.classes.index(name)
        for index in range(each):
            tile = picture(scenes.raw(first + index * len(scenes.classes))[0])
            sheet.paste(tile, (x + index * (scenes.size + GAP), y + CAPTION))
    return sheet


def tile_sheet(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str]) -> Image.Image:
    """Rows of pictures, each row under its caption; all of one size, as many in each row."""
    side = rows[0][0].shape[-1]
    width = 2 * MARGIN + len(rows[0]) * (side + GAP) - GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + len(rows) * (CAPTION + side + GAP) - GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (row, caption) in enumerate(zip(rows, captions)):
        y = MARGIN + number * (CAPTION + side + GAP)
        draw.text((MARGIN, y + CAPTION - 6), caption, INK, font(13), anchor="ls")
        for column, image in enumerate(row):
            sheet.paste(picture(image), (MARGIN + column * (side + GAP), y + CAPTION))
    return sheet


def swatches(scenes: TinyScenes, category: str) -> dict[int, tuple[int, int, int]]:
    """A colour for each label of a category: far apart in hue from one to the next, in three lightnesses."""
    concepts = scenes.concepts
    labels = [label for label in range(1, len(concepts)) if concepts.categories[label] == category]
    if category == "color":
        return {label: SWATCHES[concepts.names[label]] for label in labels}
    colors = {}
    for place, label in enumerate(labels):
        value, saturation = ((0.92, 0.55), (0.72, 0.75), (0.98, 0.32), (0.52, 0.65))[place % 4]
        red, green, blue = colorsys.hsv_to_rgb(place * 0.381966 % 1, saturation, value)
        colors[label] = (round(255 * red), round(255 * green), round(255 * blue))
    return colors


def plane_sheet(scenes: TinyScenes, category: str, indices: Sequence[int]) -> Image.Image:
    """Scenes above each of their planes of a category, its regions named, and a legend of all its concepts."""
    colors = swatches(scenes, category)
    items = [scenes.raw(index) for index in indices]
    planes = [number for number, name in enumerate(scenes.planes) if name == category]
    entries = [(color, scenes.concepts.names[label]) for label, color in colors.items()]
    if any((labels[planes] == 0).any() for _, labels in items):
        entries.append((EMPTY, "no label"))
    rows = -(-len(entries) // LEGEND_COLUMNS)
    width = 2 * MARGIN + len(items) * (scenes.size + GAP) - GAP
    legend_top = MARGIN + (1 + len(planes)) * (scenes.size + GAP) + MARGIN
    sheet = Image.new("RGB", (width, legend_top + rows * 20 + MARGIN), PAPER)
    for column, (image, labels) in enumerate(items):
        x = MARGIN + column * (scenes.size + GAP)
        sheet.paste(picture(image), (x, MARGIN))
        for row, plane in enumerate(planes, start=1):
            sheet.paste(plane_picture(labels[plane], colors, scenes), (x, MARGIN + row * (scenes.size + GAP)))
    _legend(ImageDraw.Draw(sheet), entries, rows, (MARGIN, legend_top, width - 2 * MARGIN))
    return sheet


def plane_picture(labels: np.ndarray, colors: dict[int, tuple[int, int, int]], scenes: TinyScenes) -> Image.Image:
    """One plane in its concepts' colours, with names on the regions that have room."""
    pixels = np.empty((*labels.shape, 3), dtype=np.uint8)
    pixels[:] = EMPTY
    regions = []
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        pixels[mask] = colors[label]
        depth = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        regions.append((int(depth.max()), int(x), int(y), scenes.concepts.names[label]))
    tile = Image.fromarray(pixels)
    _name_regions(ImageDraw.Draw(tile), [region for region in regions if region[0] >= 6], len(labels))
    return tile


def _name_regions(draw: ImageDraw.ImageDraw, regions: list[tuple[int, int, int, str]], side: int) -> None:
    """Names where the regions are deepest, the deepest first, none over another."""
    taken: list[tuple[float, float, float, float]] = []
    for _, x, y, name in sorted(regions, reverse=True):
        half = draw.textlength(name, font(11)) / 2 + 3
        x = int(min(max(x, half), side - half))
        y = min(max(y, 8), side - 8)
        box = (x - half, y - 7, x + half, y + 7)
        if all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken):
            taken.append(box)
            draw.text((x, y), name, "white", font(11), anchor="mm", stroke_width=2, stroke_fill="#202020")


def _legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[tuple[int, int, int], str]], rows: int,
            box: tuple[int, int, int]) -> None:  # fmt: skip
    """Swatches and names, down the columns; the box is its left, its top and its width."""
    left, top, width = box
    for place, (color, name) in enumerate(entries):
        column, row = divmod(place, rows)
        x, y = left + column * width // LEGEND_COLUMNS, top + row * 20
        draw.rectangle((x, y + 2, x + 15, y + 15), color, "#8c959f")
        draw.text((x + 22, y + 9), name, INK, font(12), anchor="lm")


def confusion_chart(shares: np.ndarray, names: Sequence[str]) -> Figure:
    """Rows are classes, columns answers; shares in % of the row, written where at least 1."""
    with plots.drawing():
        figure = plots.new_figure(9, 8.8)
        axes = figure.add_subplot()
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(names))
        axes.set_xticks(ticks, names, rotation=90, fontsize=7)
        axes.set_yticks(ticks, names, fontsize=7, color=plots.INK)
        plots.label(axes, "the network's answer", "the scene's class")
        for set_ticks in (axes.set_xticks, axes.set_yticks):
            set_ticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(which="minor", axis="both", linewidth=0.4)
        axes.tick_params(which="both", length=0)
        for row, column in np.argwhere(shares >= 0.01):
            share = shares[row, column]
            color = "white" if share > 0.4 else plots.INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, fontsize=6)
    return figure


def training_chart(log: Sequence[dict[str, float]]) -> Figure:
    """Accuracy of the twelve snapshots, and accuracy and loss by epoch."""
    snapshots = [line for line in log if "snapshot" in line]
    epochs = [line for line in log if "snapshot" not in line]
    with plots.drawing():
        figure = plots.new_figure(8.6, 2.8)
        panels = plots.panels(figure, 3)
        for axes, lines, at, value, title, color in (
            (panels[0], snapshots, "snapshot", "val_accuracy", "validation accuracy", plots.ACCENT),
            (panels[1], epochs, "epoch", "val_accuracy", "validation accuracy", plots.ACCENT),
            (panels[2], epochs, "epoch", "loss", "training loss", plots.OTHER),
        ):
            curve = plots.Curve([line[at] for line in lines], [line[value] for line in lines])
            plots.curves(axes, {title: curve}, colors=(color,))
            plots.label(axes, at, title=title)
            if value == "val_accuracy":
                axes.set_ylim(0, 1)
        panels[0].set_xticks(range(len(snapshots)))
        panels[0].set_xlabel("snapshot (each twice as far as the one before)")
    return figure
