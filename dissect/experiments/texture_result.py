"""How far units fire at the same places in restyled images: the result of `texture_sensitivity`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.files.checked import Array, Each, Of, Text, fields, require
from dissect.files.results import Result
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The paper calls units below this IoU texture-sensitive.
CUT = 0.1


class TextureRow(NamedTuple):
    """A unit.

    Attributes:
        layer: the layer's name.
        unit: its number.
        iou: IoU(s, u), of the unit in images and in their restyled twins; None where it fires in neither.
        same_class: the same with the twin of another image of the class, by chance, without classes of any other image;
            None where it fires in neither.
        other_class: the same with that of an image of another class; None without classes, too.
        firing: cells on which it fires in the images.
        firing_restyled: in the twins.
    """

    layer: str
    unit: int
    iou: float | None
    same_class: float | None
    other_class: float | None
    firing: int
    firing_restyled: int


class TextureLayerRow(NamedTuple):
    """A layer.

    Attributes:
        layer: its name.
        units: how many.
        silent: how many of them fire in no image and in no twin; what follows leaves them out, and is None if all are.
        low: the first quartile of the units' IoU.
        median: the median.
        high: the third quartile.
        same_class: the median by chance, with the twin of another image of the class; without classes of any other.
        other_class: of an image of another class; None without classes, too.
        shape_sensitive: the share of units with an IoU above 0.1 (the paper's cut).
    """

    layer: str
    units: int
    silent: int
    low: float | None
    median: float | None
    high: float | None
    same_class: float | None
    other_class: float | None
    shape_sensitive: float | None


class UnclassedLayerRow(NamedTuple):
    """A layer of images that have no classes: as in `TextureLayerRow`, but for chance.

    Attributes:
        layer: its name.
        units: how many.
        silent: how many of them fire in no image and in no twin.
        low: the first quartile of the units' IoU.
        median: the median.
        high: the third quartile.
        other_image: the median by chance, with the twin of any other image.
        shape_sensitive: the share of units with an IoU above 0.1 (the paper's cut).
    """

    layer: str
    units: int
    silent: int
    low: float | None
    median: float | None
    high: float | None
    other_image: float | None
    shape_sensitive: float | None


class LayerTexture(NamedTuple):
    """The counts of a layer's U units, by pairing (twin, same class, other class).

    Attributes:
        thresholds: [2, U] float32, of the images and of the restyled.
        shared: [P, U] int64, cells on which the unit fires in both.
        own: [P, U] int64, in the images.
        others: [P, U] int64, in the twins they are held against.
    """

    thresholds: Tensor
    shared: Tensor
    own: Tensor
    others: Tensor

    def iou(self) -> Tensor:
        """[P, U] float64; NaN where the unit fires nowhere."""
        return self.shared.double() / (self.own + self.others - self.shared)


@dataclass(eq=False)  # tensors have no one truth value
class TextureSensitivity(Result):
    """The result of `experiments.texture_sensitivity`.

    Attributes:
        layers: `LayerTexture` by the layers' names.
        settings: the rule, the fraction, the seed, the number of images and of their classes (None without).

    Example: see `dissect.experiments.texture_sensitivity`.
    """

    kind = "texture sensitivity"
    suffix = ".texture"

    layers: dict[str, LayerTexture]
    settings: dict[str, Any]

    def __repr__(self) -> str:
        told = ", ".join(
            f"{row.layer!r} median {'unknown' if row.median is None else f'{row.median:.3f}'}" for row in self.summary()
        )
        return f"<TextureSensitivity of {self.settings['num_images']} images: IoU(s, u) of {told}>"

    def summary(self) -> Table[TextureLayerRow]:
        """A row per layer (`TextureLayerRow`)."""
        rows = []
        for name, layer in self.layers.items():
            scores, units = layer.iou(), layer.own.shape[1]
            firing = scores[:, ~scores[0].isnan()]
            if not firing.numel():
                rows.append(TextureLayerRow(name, units, units, None, None, None, None, None, None))
                continue
            low, median, high = firing[0].quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
            chance = [float(part.nanquantile(0.5)) for part in firing[1:]]
            above = float((firing[0] > CUT).double().mean())
            silent, other = units - firing.shape[1], chance[1] if len(chance) > 1 else None
            rows.append(TextureLayerRow(name, units, silent, low, median, high, chance[0], other, above))
        return Table(rows)

    def unclassed(self) -> Table[UnclassedLayerRow]:
        """The same of images without classes, whose chance is that of any other image (`UnclassedLayerRow`)."""
        rows = [row._asdict() for row in self.summary()]
        return Table(
            UnclassedLayerRow(other_image=row.pop("same_class"), **{k: v for k, v in row.items() if k != "other_class"})
            for row in rows
        )

    def units(self, layer: str | None = None) -> Table[TextureRow]:
        """A row per unit (`TextureRow`); printed with the most shape-sensitive first."""
        names = list(self.layers) if layer is None else [layer]
        return Table((row for name in names for row in self._rows(name)), by="iou")

    def _rows(self, name: str) -> Iterable[TextureRow]:
        layer = self.layers[name]
        scores = [[None if score != score else score for score in part] for part in layer.iou().tolist()]  # NaN
        for unit in range(layer.own.shape[1]):
            other = scores[2][unit] if len(scores) > 2 else None
            firing = int(layer.own[0, unit]), int(layer.others[0, unit])
            yield TextureRow(name, unit, scores[0][unit], scores[1][unit], other, *firing)

    def plot(self) -> Figure:
        """How IoU(s, u) is spread over units, a panel per layer, as in Fig. S3a; the line is the paper's cut."""
        from dissect import plots

        with plots.drawing():
            figure = plots.new_figure(1.9 * max(2, len(self.layers)), 2.2)
            scores = {name: layer.iou()[0] for name, layer in self.layers.items()}
            values = {name: part[~part.isnan()].tolist() for name, part in scores.items()}
            for axes in plots.histograms(figure, values, bins=20, marked=CUT, none="no unit fires"):
                axes.set_xlabel("IoU(s, u)")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {
            f"{index}.{name}": value.contiguous()
            for index, layer in enumerate(self.layers.values())
            for name, value in layer._asdict().items()
        }
        return tensors, {"layers": list(self.layers), "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> TextureSensitivity:
        """See `Result`."""
        fields(what, meta, {"layers": Each(Text()), "settings": Of(dict)})
        counts = Array(torch.int64, "P U", 0, (1 << 53) - 1)
        rules = {"thresholds": Array(torch.float32, "2 U"), "shared": counts, "own": counts, "others": counts}
        layers = {}
        for index, name in enumerate(meta["layers"]):
            own = {key: tensors.get(f"{index}.{key}") for key in rules}
            sizes = fields(f"{what}: layer {name!r}", {k: v for k, v in own.items() if v is not None}, rules)
            require(what, sizes["P"] in (2, 3), "there are two pairings, or three")
            layer = LayerTexture(**own)  # type: ignore[arg-type]
            require(what, layer.shared <= torch.minimum(layer.own, layer.others), "cells are shared by both")
            layers[name] = layer
        require(what, len(layers) == len(meta["layers"]), "layers have different names")
        require(what, len(tensors) == len(rules) * len(layers), "it holds the layers' tensors alone")
        require(what, isinstance(meta["settings"].get("num_images"), int), "it says how many images there were")
        return cls(layers, meta["settings"])
