"""Sheets of one unit: what it responds to at all levels, and where it and its concept part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.files.checked import Array, Maybe, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Columns of `UnitSheet.counts`.
NOWHERE, SOMEWHERE, SHOWN = range(3)


@dataclass(eq=False)  # tensors have no one truth value
class UnitSheet(Result):
    """Images of one unit, as `dissect.unit_sheet` picks them.

    Its groups of images are numbered: from 0 on the levels, of which the last reaches to the highest peak; then, where
    there is a concept, the images that show it without the unit, and those where the unit fires without it.

    Attributes:
        layer: the layer's name.
        unit: its number.
        threshold: above which it fires.
        concept: a name, or None.
        category: of the concept.
        least: the share of an image's pixels from which on it shows the concept.
        edges: [L + 1] float64, between which the peaks of each level lie; the last one is open above.
        level_images: [L] int64, how many images are at each level.
        counts: [2, 3] int64, images in which the unit does not fire and fires, by whether the concept is nowhere,
            somewhere, or on `least` of the pixels; all in the first column without a concept.
        pictures: [T, 3, H, W] uint8, group by group; one image may be in several.
        masks: [T, H', W'] bool: where the unit fires; of images without it, where the concept is.
        groups: [T] int64.
        numbers: [T] int64, of the images in the data set.
        peaks: [T] float32, the unit's highest activation in each.
        shares: [T] float64, the share of the pixels that carries the concept.
        settings: options, and how the dissection was made.

    Example: see `dissect.unit_sheet`.
    """

    kind = "unit sheet"
    suffix = ".sheet"

    layer: str
    unit: int
    threshold: float
    concept: str | None
    category: str | None
    least: float
    edges: Tensor
    level_images: Tensor
    counts: Tensor
    pictures: Tensor
    masks: Tensor
    groups: Tensor
    numbers: Tensor
    peaks: Tensor
    shares: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        silent, both = self.counts[:, SHOWN].tolist()
        told = "" if self.concept is None else f": {self.concept!r} with it in {both} images, without it in {silent}"
        return f"<UnitSheet of unit {self.unit} of {self.layer!r} in {int(self.counts.sum())} images{told}>"

    @property
    def levels(self) -> list[Tensor]:
        """Per level, the lowest first, places in `pictures`."""
        return [self._places(at) for at in range(len(self.level_images))]

    @property
    def without_unit(self) -> Tensor:
        """Places in `pictures` of images that show the concept although the unit does not fire; most of it first."""
        return self._places(len(self.level_images))

    @property
    def without_concept(self) -> Tensor:
        """Places in `pictures` of images where the unit fires without a pixel of the concept; highest peak first."""
        return self._places(len(self.level_images) + 1)

    def plot(self, columns: int = 8) -> Figure:
        """Strips of pictures: the levels, the highest first, and the counterexamples, as a matplotlib figure.

        Pictures are pale where the unit does not fire, or, of images without it, where the concept is not.

        Args:
            columns: pictures in a strip, at most.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        strips, blank = self._strips(), torch.ones(self.pictures.shape[1:])
        width = max(min(columns, len(places)) for _, places in strips)
        heights = [1.55 if len(places) else 0.3 for _, places in strips]
        with plots.drawing():
            figure = plots.new_figure(1.15 * width + 0.1, sum(heights))
            for part, (title, places) in zip(plots.strips(figure, len(strips), heights), strips):
                shown = [plots.lit(self.pictures[at] / 255, self.masks[at]) for at in places[:columns].tolist()]
                if shown:
                    plots.tiles(part, [[*shown, *[blank] * (width - len(shown))]])
                part.suptitle(title, x=0.01, ha="left", fontsize=8.5)
        return figure

    def _strips(self) -> list[tuple[str, Tensor]]:
        """Titles, and places in `pictures`."""
        found: list[tuple[str, Tensor]] = []
        for at, (number, places) in enumerate(zip(self.level_images.tolist(), self.levels)):
            low, high = self.edges[at : at + 2].tolist()
            upper = "" if at == len(self.level_images) - 1 else f", to {high:.3g}"
            found.insert(0, (f"peak above {low:.3g}{upper}: {number} images", places))
        if self.concept is None:
            return found
        silent, alone = int(self.counts[0, SHOWN]), int(self.counts[1, NOWHERE])
        return [
            *found,
            (f"{self.concept} on at least {self.least:.0%}, the unit silent: {silent} images", self.without_unit),
            (f"the unit fires, no {self.concept}: {alone} images", self.without_concept),
        ]

    def _places(self, group: int) -> Tensor:
        return (self.groups == group).nonzero().flatten()

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {name: getattr(self, name) for name in _TENSORS}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> UnitSheet:
        """See `Result`."""
        fields(what, meta, _META)
        sizes = fields(what, tensors, _TENSORS)
        require(what, sizes["E"] == sizes["L"] + 1, "a level lies between two edges")
        require(what, bool((tensors["groups"] < sizes["L"] + 2).all()), "groups are levels and two others")
        require(what, (meta.get("concept") is None) == (meta.get("category") is None), "a concept has a category")
        found: dict[str, Any] = {name: meta.get(name) for name in _META} | {name: tensors[name] for name in _TENSORS}
        return cls(**found)


_META = {
    "layer": Text(),
    "unit": Whole(),
    "threshold": Number(-(2.0**126)),
    "concept": Maybe(Text()),
    "category": Maybe(Text()),
    "least": Number(0),
    "settings": Of(dict),
}
_TENSORS = {
    "edges": Array(torch.float64, "E", -(2.0**126), 2.0**126),
    "level_images": Array(torch.int64, "L", 0),
    "counts": Array(torch.int64, "2 3", 0),
    "pictures": Array(torch.uint8, "T 3 H W"),
    "masks": Array(torch.bool, "T h w"),
    "groups": Array(torch.int64, "T", 0),
    "numbers": Array(torch.int64, "T", 0),
    "peaks": Array(torch.float32, "T", -(2.0**126), 2.0**126),
    "shares": Array(torch.float64, "T", 0, 1),
}
