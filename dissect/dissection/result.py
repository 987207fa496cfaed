"""What a dissection found: per layer and unit the threshold, the counts, the best concept, the top images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts, ordered_categories
from dissect.dissection.contents import LAYER, META, SETTINGS, check_directions, check_layer, check_pictures
from dissect.dissection.exemplars import Exemplar, exemplars
from dissect.dissection.rows import (
    PRINTED,
    PRINTED_ALONE,
    CategoryRow,
    DiscoveryRow,
    UnitRow,
    discovery_rows,
    is_detector,
    unit_rows,
)
from dissect.files.checked import fields, require
from dissect.files.results import Result
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.stats import Agreement, best_labels, iou
from dissect.stats.sample import PeakSample
from dissect.stats.significance import RATE, Evidence
from dissect.subnormals import keeps_subnormals
from dissect.table import Table


@dataclass(eq=False)  # tensors have no one truth value; a result is equal to itself alone
class LayerDissection:
    """The counts of one layer, and what follows from them.

    What follows is computed when it is first read: `iou` [U, C], whose column 0 is "no label" and always 0, since
    columns are label numbers; `best_label` [U]; `states`, and `masks` of a unit's top images.

    Attributes:
        name: the layer's name.
        thresholds: [U] float32.
        intersection: [U, C] int64 pixels.
        unit_area: [U] int64 pixels where each unit fires, over all images.
        union_area: [U] or, for scope "category", [U, C] int64: the unit's area that enters the union.
        label_area: [C] int64 pixels.
        num_pixels: pixels of all images' planes.
        peaks: [U, k] float32, the highest activations, falling.
        peak_images: [U, k] int64, the numbers of their images.
        peak_maps: [U, k, h, w] float32, the unit's feature map in each of them.
        grid: how maps are sampled at the planes' pixels.
        sample: how the units respond to a sample of all images; None in files of before.
        evidence: what tells whether the labels can be trusted; None without planes, and in files of before.
        given: whether the caller gave the thresholds, so that one of 0 is no ReLU's zero.
        label_thresholds: [U, C] float32, where each label has its own: NaN where it was not asked for. Every count is
            at these then, and `thresholds` and `unit_area` are those of the best label; infinity, and 0, without one.
        union_pixels: [C] int64, all pixels of the images that count for each label; None where that is not known.
    """

    name: str
    thresholds: Tensor
    intersection: Tensor
    unit_area: Tensor
    union_area: Tensor
    label_area: Tensor
    num_pixels: int
    peaks: Tensor
    peak_images: Tensor
    peak_maps: Tensor
    grid: Grid
    sample: PeakSample | None = None
    evidence: Evidence | None = None
    given: bool = False
    label_thresholds: Tensor | None = None
    union_pixels: Tensor | None = None

    def __repr__(self) -> str:
        (h, w), (rows, columns) = self.grid.source_shape, (len(self.grid.rows), len(self.grid.columns))
        return (
            f"<LayerDissection of {self.name!r}: {self.num_units} units, {len(self.label_area) - 1} concepts, "
            f"maps of {h}x{w} on planes of {rows}x{columns}>"
        )

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.thresholds)

    @cached_property
    def iou(self) -> Tensor:
        """[U, C] float64; column 0 ("no label") is 0."""
        return iou(self.intersection, self.union_area, self.label_area)

    @cached_property
    def best_label(self) -> Tensor:
        """[U] int64: each unit's label with the highest IoU, ties to the smaller; 0 where every IoU is 0."""
        if self.iou.shape[1] < 2:
            return torch.zeros(self.num_units, dtype=torch.int64)
        best = best_labels(self.iou)
        return torch.where(self.iou.gather(1, best[:, None])[:, 0] > 0, best, 0)

    @cached_property
    def best_iou(self) -> Tensor:
        """[U] float64: each unit's highest IoU; 0 where there are no labels."""
        return self.iou.gather(1, self.best_label[:, None])[:, 0]

    @cached_property
    def agreement(self) -> Agreement | None:
        """Of every unit with every label [U, C], by all measures; None where all pixels that count are not known."""
        area = self.union_area if self.union_area.ndim == 2 else self.union_area[:, None]
        if self.union_pixels is None and self.union_area.ndim == 2:
            return None
        pixels = torch.tensor(self.num_pixels) if self.union_pixels is None else self.union_pixels
        return Agreement(self.intersection, area, self.label_area, pixels)

    def false_discovery_rate(self, cutoff: float) -> float:
        """The share of this layer's units above a cut-off of the IoU that would be there by chance.

        See `Evidence.false_discovery_rate`; NaN without decoys.
        """
        return float("nan") if self.evidence is None else self.evidence.false_discovery_rate(self.best_iou, cutoff)

    def cutoff_at(self, rate: float = RATE) -> float | None:
        """The lowest cut-off of the IoU that keeps the false discovery rate at `rate`; None where none does."""
        return None if self.evidence is None else self.evidence.cutoff_at(self.best_iou, rate)

    @keeps_subnormals
    def states(self) -> list[str]:
        """Per unit "ok", "sparse", "dead" or "unmatched"; see `UnitRow`."""
        if self.label_thresholds is not None:
            return ["ok" if label else "unmatched" for label in self.best_label.tolist()]
        dead, zero = (self.unit_area == 0).tolist(), (self.thresholds == 0).tolist()
        return ["dead" if dead[u] else "sparse" if zero[u] and not self.given else "ok" for u in range(self.num_units)]

    @keeps_subnormals
    def masks(self, unit: int) -> Tensor:
        """[k, H, W] bool: where the unit fires in its top images, at the planes' size."""
        return upsample(self.peak_maps[unit], self.grid.rows, self.grid.columns) > self.thresholds[unit]


@speaks
@dataclass(eq=False)
class Dissection(Result):
    """The result of `dissect.dissect`.

    Attributes:
        layers: by name, in the order asked for.
        concepts: the names and categories of the labels.
        settings: the rules and options, num_images, how layers were read, and under "provenance" the network, a
            fingerprint of its weights, the data, versions and day.
        images: [T, 3, H, W] uint8, every image that is in some unit's top k.
        image_numbers: [T] int64, their numbers in the data set, rising.
        image_labels: [E, 2] int64, rising: numbers of these images, and the labels that each of them carries.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1)).eval()
        >>> images, planes = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
        >>> d = dissect.dissect(net, "0", [(images, planes)], concepts=["sky", "tree"], fraction=0.1, progress=False)
        >>> len(d.best()), d["0"].iou.shape
        (2, torch.Size([2, 3]))
    """

    kind = "dissection"
    suffix = ".dissection"

    layers: dict[str, LayerDissection]
    concepts: Concepts
    settings: dict[str, Any]
    images: Tensor
    image_numbers: Tensor
    image_labels: Tensor = field(default_factory=lambda: torch.empty(0, 2, dtype=torch.int64))
    _position: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._position = {int(number): at for at, number in enumerate(self.image_numbers)}

    def __repr__(self) -> str:
        found = {name: "" if self.images_only else f", {len(self.detectors(name))} detectors" for name in self.layers}
        layers = ", ".join(
            f"{name!r} ({layer.num_units} {self.word(name)}s{found[name]})" for name, layer in self.layers.items()
        )
        alone = " without labels" if self.images_only else ""
        return f"<Dissection of {layers} over {self.settings['num_images']} images{alone}>"

    def __iter__(self) -> Iterator[str]:
        """The layers' names, as of a dict."""
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __getitem__(self, layer: str) -> LayerDissection:
        """A layer by name.

        Raises:
            KeyError: it was not dissected.
        """
        if layer not in self.layers:
            raise refusal(KeyError(f"layer {layer!r} was not dissected; these were: {list(self.layers)}."))
        return self.layers[layer]

    @property
    def images_only(self) -> bool:
        """Whether there were no planes, so that units have no concepts."""
        return bool(self.settings.get("images_only", False))

    def best(self, layer: str | None = None) -> Table[UnitRow]:
        """Per unit its best concept, as a `Table` of `UnitRow`; of one layer or of all.

        Rows are in the order of the units; printed, the highest IoU comes first, and some columns are left out.
        """
        rows = (row for name in self._names(layer) for row in unit_rows(self, self[name]))
        return Table(rows, by="iou", show=PRINTED_ALONE if self.images_only else PRINTED, titles=self._titles(layer))

    def detectors(self, layer: str | None = None) -> Table[UnitRow]:
        """The rows of `best` whose IoU exceeds the detector cut-off (0.04 unless asked otherwise), and that match."""
        rows = (row for row in self.best(layer) if is_detector(row, self.settings))
        return Table(rows, by="iou", show=PRINTED, titles=self._titles(layer))

    def word(self, layer: str) -> str:
        """What the rows of a layer are: "unit", or "direction" where it was read along directions."""
        return "direction" if layer in self.settings.get("directions", {}) else "unit"

    def of_units(self, layer: str) -> LayerDissection:
        """A layer whose units these are, as everything needs that finds them again in the network by their numbers.

        Raises:
            KeyError: it was not dissected.
            ValueError: it was read along directions.
        """
        found = self[layer]
        if self.word(layer) != "unit":
            raise refusal(
                ValueError(
                    f"dissection must be of the units of layer {layer!r}, but that was read along directions, whose "
                    "numbers are none of units."
                )
            )
        return found

    def _titles(self, layer: str | None) -> dict[str, str]:
        words = {self.word(name) for name in self._names(layer)}
        return {"unit": "direction"} if words == {"direction"} else {}

    def false_discoveries(self, layer: str | None = None) -> Table[DiscoveryRow]:
        """How many units exceed each cut-off, and how many would by chance (`DiscoveryRow`); empty without decoys."""
        return Table(row for name in self._names(layer) for row in discovery_rows(self[name]))

    def unique_detectors(self, layer: str | None = None) -> Table[CategoryRow]:
        """Per category, how many concepts have a detector and how many units these are (`CategoryRow`)."""
        rows = self.detectors(layer)
        units = Counter(row.category for row in rows)
        concepts = Counter(category for category, _ in {(row.category, row.concept) for row in rows})
        return Table(CategoryRow(name, concepts[name], units[name]) for name in ordered_categories(self.concepts))

    def image(self, number: int) -> Tensor:
        """[3, H, W] uint8: a top image by its number in the data set.

        Raises:
            KeyError: it is in no unit's top k.
        """
        if number not in self._position:
            raise refusal(KeyError(f"image {number} is no unit's top image, so it was not kept."))
        return self.images[self._position[number]]

    def exemplars(self, unit: int, layer: str | None = None) -> list[Exemplar]:
        """A unit's top images with where it fires in them, and these places cut out (`Exemplar`), for other tools.

        Args:
            unit: its number within the layer.
            layer: its name; it may be left out where there is only one.

        Raises:
            KeyError: a layer that was not dissected.
            IndexError: a unit that the layer does not have.
            ValueError: no layer is named, and there are several.
        """
        if layer is None and len(self.layers) > 1:
            raise refusal(ValueError(f"layer must be one of {list(self.layers)}, but is left out."))
        return exemplars(self, next(iter(self.layers)) if layer is None else layer, unit)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name) for name in ("images", "image_numbers", "image_labels")}
        layers = []
        for index, layer in enumerate(self.layers.values()):
            layers.append({"name": layer.name, "num_pixels": layer.num_pixels, "source": layer.grid.source_shape})
            tensors |= {f"{index}.{name}": getattr(layer, name) for name in _LAYER_TENSORS}
            own = {name: getattr(layer, name) for name in _MAYBE}
            tensors |= {f"{index}.{name}": value for name, value in own.items() if value is not None}
            tensors |= {f"{index}.rows": layer.grid.rows, f"{index}.columns": layer.grid.columns}
            for part, names in _PARTS.items():
                held = getattr(layer, part)
                tensors |= {f"{index}.{part}.{name}": getattr(held, name) for name in names if held is not None}
            if layer.sample is not None:
                layers[-1]["levels"] = list(layer.sample.levels)
        meta = {
            "layers": layers,
            "names": self.concepts.names,
            "categories": self.concepts.categories,
            "settings": self.settings,
        }
        return tensors, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Dissection:
        """See `Result`."""
        sizes = fields(what, meta, META)
        fields(f"{what}: settings", meta["settings"], SETTINGS)
        check_directions(
            what, meta["settings"].get("directions") or {}, [layer.get("name") for layer in meta["layers"]]
        )
        check_pictures(what, tensors, sizes["C"])
        layers = {}
        for index, layer in enumerate(meta["layers"]):
            fields(what, layer, LAYER)
            start = f"{index}."
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            check_layer(f"{what}: layer {layer['name']!r}", own, layer, sizes["C"], tensors["image_numbers"])
            grid = Grid(own["rows"], own["columns"], tuple(layer["source"]))
            values: dict[str, Any] = {name: own[name] for name in _LAYER_TENSORS}
            values |= {name: own.get(name) for name in _MAYBE}
            sample, evidence = (_part(own, part) for part in ("sample", "evidence"))
            values["sample"] = None if sample is None else PeakSample(levels=tuple(layer["levels"]), **sample)
            values["evidence"] = None if evidence is None else Evidence(**evidence)
            values["given"] = layer["name"] in meta["settings"].get("thresholds", {})
            layers[layer["name"]] = LayerDissection(layer["name"], num_pixels=layer["num_pixels"], grid=grid, **values)
        require(what, len(layers) == len(meta["layers"]), "layers have different names")
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        pictures = tensors["images"], tensors["image_numbers"]
        labels = tensors.get("image_labels", torch.empty(0, 2, dtype=torch.int64))
        return Dissection(layers, concepts, meta["settings"], *pictures, labels)

    def _names(self, layer: str | None) -> list[str]:
        return list(self.layers) if layer is None else [layer]


_LAYER_TENSORS = (
    "thresholds",
    "intersection",
    "unit_area",
    "union_area",
    "label_area",
    "peaks",
    "peak_images",
    "peak_maps",
)
#: Those that it may have.
_MAYBE = ("label_thresholds", "union_pixels")


#: What a layer may have beside them, and its tensors.
_PARTS = {
    "sample": ("peaks", "images", "values", "maps"),
    "evidence": ("null", "interval", "half_labels", "held_out", "place_iou"),
}


def _part(own: dict[str, Tensor], part: str) -> dict[str, Tensor] | None:
    """A layer's tensors of a part; None where it has none of them."""
    if not any(name.startswith(f"{part}.") for name in own):
        return None
    return {name: own[f"{part}.{name}"] for name in _PARTS[part]}


load = Dissection.load
