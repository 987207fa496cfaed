"""What the page of a comparison says: plain rows for the template, from a `Comparison`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.dissection import comparison_plots
from dissect.dissection.compared import ALL, BestUnitRow, LayerCategoryRow, LayerConceptRow, LayerRow
from dissect.report.charts import svg_of
from dissect.report.content import Picture, category_shades
from dissect.report.pictures import encode_masks, encode_pictures
from dissect.stats.places import spread

if TYPE_CHECKING:
    from dissect.dissection.comparison import Comparison

#: Concepts whose best units are shown, units of each network, their pictures, and the side of a picture's mask.
MAX_CONCEPTS, MAX_UNITS, MAX_PICTURES, SIDE = 24, 2, 3, 64
#: Concepts of a category that a layer's line lists.
MAX_TOP = 3


@dataclass(frozen=True)
class Line:
    """A layer of a network in the page's tables.

    Attributes:
        row: its counts.
        name: what tells it apart.
        pieces: its unique detectors, category by category.
        top: the first concepts of each category, by its name.
    """

    row: LayerRow
    name: str
    pieces: list[LayerCategoryRow]
    top: dict[str, list[LayerConceptRow]]


@dataclass(frozen=True)
class ShownUnit:
    """A unit that is shown with pictures.

    Attributes:
        row: what it is.
        pictures: its first top images, whose numbers are places in the page's list of pictures.
        shape: rows and columns of the masks.
        aspect: of the pictures, as CSS has it.
    """

    row: BestUnitRow
    pictures: list[Picture]
    shape: tuple[int, int]
    aspect: str


@dataclass(frozen=True)
class ShownConcept:
    """A concept, and its best units.

    Attributes:
        name: the concept.
        category: its category.
        networks: how many of them have a detector of it.
        units: by network, the best first; none for a network that has no detector.
    """

    name: str
    category: str
    networks: int
    units: dict[str, list[ShownUnit]]


class PagePictures:
    """The pictures of a page, each once, whichever networks they come from."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._images: list[Tensor] = []

    def place(self, image: Tensor) -> int:
        """The number of a picture [3, H, W] uint8 in the page."""
        key = repr(tuple(image.shape)).encode() + image.numpy().tobytes()
        if key not in self._places:
            self._places[key] = len(self._images)
            self._images.append(image)
        return self._places[key]

    def encoded(self) -> dict[str, Any]:
        """Their media type, and the text of each by its number."""
        kind, data = "", dict[int, str]()
        for shape in dict.fromkeys(image.shape for image in self._images):
            at = [number for number, image in enumerate(self._images) if image.shape == shape]
            kind, texts = encode_pictures(torch.stack([self._images[number] for number in at]))
            data |= dict(zip(at, texts))
        return {"type": kind, "data": data}


def lines(comparison: Comparison) -> list[Line]:
    """The layers of all networks, in their order."""
    rows, pieces, concepts = comparison.summary(), comparison.by_category(), comparison.top_concepts(MAX_TOP)
    found = []
    for row, name in zip(rows, comparison_plots.places(rows)):
        place = (row.network, row.layer)
        own = [piece for piece in pieces if (piece.network, piece.layer) == place]
        top: dict[str, list[LayerConceptRow]] = {piece.category: [] for piece in own}
        for concept in concepts:
            if (concept.network, concept.layer) == place:
                top[concept.category].append(concept)
        found.append(Line(row, name, own, top))
    return found


def shown_concepts(comparison: Comparison, pictures: PagePictures) -> tuple[list[ShownConcept], int]:
    """The first concepts with their best units in each network, and how many concepts are left out."""
    found: dict[tuple[str, str], ShownConcept] = {}
    left_out = set()
    for row in comparison.best_units(MAX_UNITS):
        key = (row.category, row.concept)
        if key not in found and len(found) == MAX_CONCEPTS:
            left_out.add(key)
        if key in left_out:
            continue
        if key not in found:
            units: dict[str, list[ShownUnit]] = {network: [] for network in comparison.dissections}
            found[key] = ShownConcept(row.concept, row.category, row.networks, units)
        found[key].units[row.network].append(_shown(comparison, row, pictures))
    return list(found.values()), len(left_out)


def charts(comparison: Comparison) -> dict[str, Any]:
    """The charts as SVG: a cloud for each layer that has detectors, and the lines of a series."""
    rows, concepts = comparison.summary(), comparison.concepts()
    points = [row for row in comparison.correlation() if row.category == ALL]
    there = {(row.network, row.layer) for row in concepts}
    names = comparison_plots.places(rows)
    clouds = []
    for at, (row, name) in enumerate(zip(rows, names)):
        if (row.network, row.layer) in there:
            figure = comparison_plots.iou_figure(
                [row], concepts, points, comparison.categories, name=name, legend=False
            )
            text = f"The mean IoU of each concept's detectors over their number, in {name}; {row.concepts} concepts."
            clouds.append(svg_of(figure, f"cloud{at}", text))
    series = None
    if comparison.steps is not None:
        text = "Detectors, unique detectors and the mean IoU over the steps; the table has the same numbers."
        series = svg_of(comparison_plots.series_figure(rows), "series", text)
    return {"clouds": clouds, "series": series}


def shades(comparison: Comparison) -> dict[str, int]:
    """Each category's color number."""
    return category_shades(next(iter(comparison.dissections.values())).concepts)


def _shown(comparison: Comparison, row: BestUnitRow, pictures: PagePictures) -> ShownUnit:
    one = comparison.dissections[row.network]
    layer = one[row.layer]
    whole = layer.masks(row.unit)[:MAX_PICTURES]
    shares = whole.double().mean((1, 2)).tolist()
    masks = whole[:, spread(whole.shape[1], SIDE)][..., spread(whole.shape[2], SIDE)]
    held = []
    for number, mask, share in zip(layer.peak_images[row.unit].tolist(), encode_masks(masks), shares):
        text = f"Image {number}, of which unit {row.unit} of {row.layer} in {row.network} fires on {share:.1%}"
        held.append(Picture(pictures.place(one.image(number)), mask if share > 0 else "", text))
    height, width = one.images.shape[-2:]
    return ShownUnit(row, held, (masks.shape[1], masks.shape[2]), f"{width} / {height}")
