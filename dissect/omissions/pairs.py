"""Real images with most of a class, beside what the generator makes of them (thesis, section 5.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import image_of
from dissect.files.checked import Array, Each, Rule, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.counting import Concept, Counter
from dissect.network.modes import check_segmenter
from dissect.omissions.counting import numbered, source_of
from dissect.omissions.inverter import LayerInverter
from dissect.omissions.statistics import SegmentationStatistics, segmenter_of
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PairRow(NamedTuple):
    """A real image and a reconstruction of it.

    Attributes:
        image: its number in the data set.
        method: of the inversion, see `LayerInverter.invert`.
        real: the share of its pixels that show the class, in percent.
        made: the same of the reconstruction.
        kept: ``made / real``; None where the class is not seen in the real image.
        survives: the share of the class's own pixels that still show it in the reconstruction; None as above.
    """

    image: int
    method: str
    real: float
    made: float
    kept: float | None
    survives: float | None


@dataclass(frozen=True, eq=False)
class OmissionPairs(Result):
    """Real images, their reconstructions, and the segmentations of both.

    Attributes:
        concept: the class.
        concepts: names of all labels.
        label: of the class.
        numbers: [k] of the images in their data set.
        images: [k, 3, H, W] in [-1, 1].
        planes: [k, H, W], their labels.
        made: by method, the reconstructions [k, 3, H, W].
        made_planes: by method, the labels of these.

    Example: see `omission_pairs`.
    """

    kind = "omission pairs"
    suffix = ".pairs"

    concept: str
    concepts: Concepts
    label: int
    numbers: Tensor
    images: Tensor
    planes: Tensor
    made: dict[str, Tensor]
    made_planes: dict[str, Tensor]

    def __repr__(self) -> str:
        return f"<OmissionPairs of {self.concept}: {len(self.numbers)} images by ({'), ('.join(self.made)})>"

    @property
    def table(self) -> Table[PairRow]:
        """Every image and method as a `Table` of `PairRow`."""
        rows = []
        real = self.planes == self.label
        for at, number in enumerate(self.numbers.tolist()):
            for method, planes in self.made_planes.items():
                made = planes[at] == self.label
                own, both = int(real[at].sum()), int((real[at] & made).sum())
                share, other = own * 100 / real[at].numel(), int(made.sum()) * 100 / made.numel()
                rows.append(PairRow(
                    number, method, share, other, int(made.sum()) / own if own else None, both / own if own else None
                ))  # fmt: skip
        return Table(rows)

    def plot(self) -> Figure:
        """A column per image: itself, its reconstructions, and below each where the class is.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        rows, titles = [], []
        for name, images, planes in self._lines():
            pictures = images.add(1).div(2).clamp(0, 1)
            rows += [list(pictures), [plots.lit(*pair) for pair in zip(pictures, planes == self.label)]]
            titles += [name, f"{self.concept} in it"]
        with plots.drawing():
            figure = plots.new_figure(0.6 + 1.3 * len(self.numbers), 1.45 * len(rows))
            plots.tiles(figure, rows, titles)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {"numbers": self.numbers, "images": self.images, "planes": self.planes}
        for at, method in enumerate(self.made):
            tensors |= {f"made{at}": self.made[method], f"made_planes{at}": self.made_planes[method]}
        meta = {"names": self.concepts.names, "categories": self.concepts.categories, "label": self.label}
        return {name: part.detach() for name, part in tensors.items()}, {**meta, "methods": list(self.made)}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> OmissionPairs:
        """See `Result`."""
        names = {"names": Each(Text(), "C"), "categories": Each(Text(), "C"), "methods": Each(Text(), different=True)}
        last = fields(what, meta, names)["C"] - 1
        fields(what, meta, {"label": Whole(1, last)})
        rules: dict[str, Rule] = {"numbers": Array(torch.int64, "N", 0), "images": Array(torch.float32, "N C H W")}
        for at, _ in enumerate(meta["methods"]):
            rules[f"made{at}"] = Array(torch.float32, "N C H W")
        sizes = fields(what, tensors, rules)
        planes = ["planes", *(f"made_planes{at}" for at, _ in enumerate(meta["methods"]))]
        known = {"N": sizes["N"]}
        for name in planes:
            kind = tensors[name].dtype if name in tensors else torch.int64
            require(what, not kind.is_floating_point and kind != torch.bool, "planes are integers")
            known = fields(what, tensors, {name: Array(kind, "N h w", 0, last)}, known)
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        label, made = meta["label"], {name: tensors[f"made{at}"] for at, name in enumerate(meta["methods"])}
        return cls(
            f"{concepts.categories[label]}/{concepts.names[label]}", concepts, label, tensors["numbers"],
            tensors["images"], tensors["planes"], made,
            {name: tensors[f"made_planes{at}"] for at, name in enumerate(meta["methods"])},
        )  # fmt: skip

    def _lines(self) -> list[tuple[str, Tensor, Tensor]]:
        made = [(f"reconstruction ({name})", self.made[name], self.made_planes[name]) for name in self.made]
        return [("real image", self.images, self.planes), *made]


@speaks
def omission_pairs(
    inverter: LayerInverter, images: Dataset[Any], statistics: SegmentationStatistics,
    segmenter: Callable[[Tensor], Tensor], concept: Concept, *, count: int = 4, methods: Sequence[str] = ("d", "f"),
    **options: Any,
) -> OmissionPairs:  # fmt: skip
    """The real images with the most pixels of a class, inverted: what of the class the generator can make.

    Args:
        inverter: of the generator, see `LayerInverter`.
        images: the data set, of images in [0, 1] or of (image, anything), as large as the generator's.
        statistics: of these images, by the segmenter or their own labels; they tell which show most of the class.
        segmenter: the one of the statistics, for images in [-1, 1].
        concept: the class: a label number, a name or "category/name".
        count: how many images.
        methods: how they are inverted.
        options: of `LayerInverter.invert`.

    Returns:
        The images, their reconstructions, both segmentations, and the table.

    Raises:
        KeyError: no such class.
        TypeError: images without a length and numbers.
        ValueError: statistics of other images, by another segmenter or of several planes; fewer images than `count`
            show the class; images in another range or of another size.

    Example:
        >>> from dissect import tiny
        >>> from dissect.omissions import segmentation_statistics
        >>> street, scenes = tiny.generator(), tiny.TinyScenes("val", size=64, family="street")
        >>> real = segmentation_statistics(scenes, tiny.segmenter(), count=16, progress=False)
        >>> inverter = LayerInverter.untrained(street, ["layer4"], width=1)
        >>> pairs = omission_pairs(inverter, scenes, real, tiny.segmenter(signed=True), "road", count=2, methods=["d"])
        >>> [row.method for row in pairs.table], pairs.table[0].real > pairs.table[1].real
        (['d', 'd'], True)
        >>> pairs
        <OmissionPairs of object/road: 2 images by (d)>
    """
    for name, value, kind in (
        ("inverter", inverter, LayerInverter),
        ("statistics", statistics, SegmentationStatistics),
    ):
        if not isinstance(value, kind):
            raise refusal(TypeError(f"{name} must be a {kind.__name__}, but got {type(value).__name__}."))
    if not methods or len({*methods}) < len(methods):
        got = f"are {list(methods)}" if methods else "are none"
        raise refusal(ValueError(f"methods must name one at least, and each once, but {got}."))
    check_segmenter(segmenter, generated=True)
    counter = Counter(segmenter, concept)
    if len(statistics.planes) != 1 or counter.concepts != statistics.concepts:
        raise refusal(ValueError("statistics must be of one plane and the segmenter's vocabulary, but are not."))
    _check_same(images, statistics, segmenter)
    shown = statistics.counts[:, counter.label].sort(descending=True, stable=True)
    if integer("count", count) > int((shown.values > 0).sum()):
        raise refusal(
            ValueError(
                f"count must be at most the number of images that show {concept!r}, {int((shown.values > 0).sum())}, "
                f"but is {count}."
            )
        )
    numbers = statistics.numbers[shown.indices[:count]]
    real = torch.stack([image_of(images[number]) for number in numbers.tolist()])
    low, high = (float(end) for end in real.aminmax())
    if not (low >= 0 and high <= 1):
        raise refusal(ValueError(f"images must be in [0, 1], but are in [{low:g}, {high:g}]."))
    real = real * 2 - 1
    plane = statistics.planes[0]
    made = {method: inverter.invert(real, method, **options).images for method in methods}
    return OmissionPairs(
        counter.name, counter.concepts, counter.label, numbers, real, counter.planes(0, real)[:, plane],
        made, {method: counter.planes(0, found)[:, plane] for method, found in made.items()},
    )  # fmt: skip


def _check_same(images: Any, statistics: SegmentationStatistics, segmenter: Callable[[Tensor], Tensor]) -> None:
    """Whether statistics are of these images, as this segmenter or their labels have them."""
    if not numbered(images):
        raise refusal(TypeError(f"images must be a data set or a tensor, but got {type(images).__name__}."))
    source, sees = source_of(images), segmenter_of(segmenter)
    if source != statistics.source:
        raise refusal(
            ValueError(
                f"statistics must be of the images that are given ({source}), but are of others ({statistics.source}); "
                "count these with segmentation_statistics(images, ...)."
            )
        )
    if statistics.segmenter not in (sees, "labels"):
        raise refusal(
            ValueError(
                f"segmenter must be the one of the statistics ({statistics.segmenter}), but is another ({sees})."
            )
        )
