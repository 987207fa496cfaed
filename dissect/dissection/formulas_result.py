"""Which formulas of concepts units overlap most: the result of `formulas`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.ops import BestFormulas
from dissect.stats.formulas import JOINS, Formula
from dissect.stats.ranks import adjusted
from dissect.stats.significance import p_values
from dissect.table import Table


class FormulaRow(NamedTuple):
    """A unit and its formula.

    Attributes:
        layer: the layer's name.
        unit: its number.
        formula: in the concepts' names; "-" where the unit meets no concept.
        length: how many labels it has.
        iou: of the formula, over all images.
        concept: the best single label.
        concept_iou: its IoU, over all images.
        held_out: the mean IoU on each half of the images of the formula that the other half gives; None if a half
            gives none.
        held_out_concept: the same of the single label that it gives.
        also: the label with the highest IoU when the pixels of `concept` are taken away, from the unit and from all
            labels; "" where there is none.
        also_iou: its IoU on the other pixels.
        also_firing: the share of the unit's pixels that are left then; None where it does not fire.
        also_p: how probable so high an IoU of a second label is with other images' planes, of any unit of the layer;
            None where there is no second label, or were no decoys.
        also_q: the false discovery rate if every unit of the layer with as low a p-value is said to have a second
            meaning (Benjamini-Hochberg, over the units that have pixels left).
        p: how probable so high an IoU of a formula is with other images' planes, of any unit of the layer, searched in
            the same way; None where there is no formula, or were no decoys.
        q: the false discovery rate if every unit of the layer with as low a p-value is said to have a formula
            (Benjamini-Hochberg, over the units that fire).
    """

    layer: str
    unit: int
    formula: str
    length: int
    iou: float
    concept: str
    concept_iou: float
    held_out: float | None
    held_out_concept: float | None
    also: str = ""
    also_iou: float | None = None
    also_firing: float | None = None
    also_p: float | None = None
    also_q: float | None = None
    p: float | None = None
    q: float | None = None


class LayerFormulas(NamedTuple):
    """Of each of a layer's U units the best formula of at most L labels, and the best label.

    Attributes:
        labels: [U, L] int64, 0 where the formula is shorter.
        joins: [U, L] int64: how each label is joined to what stands before: 1 OR, 2 AND, 3 AND NOT; 0 the first, none.
        intersection: [U] int64 pixels.
        area: [U] int64 pixels of the formula.
        label: [U] int64, the best label, 0 where there is none.
        label_intersection: [U] int64.
        label_area: [U] int64.
        unit_area: [U] int64.
        held_out: [2, U] float64, the IoU on each half of the images of the formula found on the other; NaN if none.
        held_out_label: [2, U] float64, the same of a label.
        also: [U] int64, the best label where `label` is not, 0 where there is none; None in files of earlier versions.
        also_counts: [3, U] int64, there: pixels shared with it, of the label, and of the unit.
        also_null: [K, U] float64, there: the best IoU with a label of other images' planes (`dissect.stats.AlsoNull`),
            in each of K permutations; None without decoys, and in files of earlier versions.
        null: [K, U] float64, the IoU of the best formula with other images' planes in each of K permutations; None
            without decoys, and in files of earlier versions.
    """

    labels: Tensor
    joins: Tensor
    intersection: Tensor
    area: Tensor
    label: Tensor
    label_intersection: Tensor
    label_area: Tensor
    unit_area: Tensor
    held_out: Tensor
    held_out_label: Tensor
    also: Tensor | None = None
    also_counts: Tensor | None = None
    also_null: Tensor | None = None
    null: Tensor | None = None

    @classmethod
    def of(
        cls, best: BestFormulas, single: BestFormulas, unit_area: Tensor, held_out: Tensor, second: BestFormulas,
        firing: Tensor,
    ) -> LayerFormulas:  # fmt: skip
        """From what a search found of every unit; `held_out` is [2, 2, U], of formulas and of labels."""
        left = torch.stack([second.intersection, second.area, firing])
        return cls(
            *best, single.labels[:, 0].clone(), single.intersection, single.area, unit_area, held_out[0].clone(),
            held_out[1].clone(), second.labels[:, 0].clone(), left,
        )  # fmt: skip

    def formula(self, unit: int) -> Formula:
        """A unit's formula, without labels where it meets none."""
        return Formula.of(self.labels[unit], self.joins[unit])

    def iou(self) -> Tensor:
        """[U] float64, of the formulas."""
        return _ratio(self.intersection, self.unit_area, self.area)

    def label_iou(self) -> Tensor:
        """[U] float64, of the best labels."""
        return _ratio(self.label_intersection, self.unit_area, self.label_area)

    def also_iou(self) -> Tensor:
        """[U] float64, of the second labels where the first are not; 0 where there is none."""
        if self.also_counts is None:
            return torch.zeros(len(self.label), dtype=torch.float64)
        shared, area, left = self.also_counts
        return _ratio(shared, left, area)

    def p_values(self) -> tuple[Tensor, Tensor]:
        """[U] float64 p-values of `iou`, and false discovery rates; NaN of units that never fire, or without decoys.

        Units share the null of the layer, of those that fire (`dissect.stats.significance.p_values`).
        """
        return self._chances(self.null, self.iou(), self.unit_area > 0)

    def also_p_values(self) -> tuple[Tensor, Tensor]:
        """[U] float64 p-values of `also_iou`, and false discovery rates; NaN without pixels that are left, or decoys.

        Units share the null of the layer, of those that have pixels left (`dissect.stats.significance.p_values`).
        """
        none = torch.zeros(len(self.label), dtype=torch.bool)
        return self._chances(
            self.also_null, self.also_iou(), none if self.also_counts is None else self.also_counts[2] > 0
        )

    def _chances(self, null: Tensor | None, scores: Tensor, tested: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.full((len(self.label),), torch.nan, dtype=torch.float64)
        if null is not None:
            p[tested] = p_values(null[:, tested], scores[tested])
        return p, adjusted(p)


@dataclass(eq=False)  # tensors have no one truth value
class UnitFormulas(Result):
    """The result of `dissect.formulas`.

    Attributes:
        layers: `LayerFormulas` by the layers' names.
        concepts: names of the labels.
        settings: length, beam, the number of images, and of decoys with their seed.

    Example: see `dissect.formulas`.
    """

    kind = "formulas"
    version = 4
    suffix = ".formulas"

    layers: dict[str, LayerFormulas]
    concepts: Concepts
    settings: dict[str, Any]

    def __repr__(self) -> str:
        longer = sum(int((layer.labels[:, 1:] > 0).any(1).sum()) for layer in self.layers.values())
        units = sum(len(layer.labels) for layer in self.layers.values())
        names = ", ".join(map(repr, self.layers))
        return f"<UnitFormulas of {names}: {units} units, {longer} better explained by more than one concept>"

    def rows(self, layer: str | None = None) -> Table[FormulaRow]:
        """Every unit's formula (`FormulaRow`); printed best first."""
        names = self.layers if layer is None else [layer]
        return Table((row for name in names for row in self._rows(name)), by="iou", show=_PRINTED)

    def _rows(self, name: str) -> Iterable[FormulaRow]:
        layer, names = self.layers[name], self.concepts.names
        scores, singles = layer.iou().tolist(), layer.label_iou().tolist()
        shares = [part.mean(0).tolist() for part in (layer.held_out, layer.held_out_label)]
        seconds, chances = layer.also_iou().tolist(), torch.stack(layer.also_p_values(), 1).tolist()
        own = torch.stack(layer.p_values(), 1).tolist()
        for unit in range(len(scores)):
            formula = layer.formula(unit)
            text, label = formula.named(names) or "-", names[int(layer.label[unit])]
            also = _second(layer, unit, names, seconds[unit])
            yield FormulaRow(
                name, unit, text, len(formula.labels), scores[unit], label, singles[unit], shares[0][unit],
                shares[1][unit], *also, *(chances[unit] if also[0] else (None, None)),
                *(own[unit] if formula.labels else (None, None)),
            )  # fmt: skip

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {f"{index}.{name}": value for index, layer in enumerate(self.layers.values())
                   for name, value in layer._asdict().items() if value is not None}  # fmt: skip
        meta = {"layers": list(self.layers), "names": self.concepts.names, "categories": self.concepts.categories}
        return tensors, {**meta, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> UnitFormulas:
        """See `Result`."""
        texts = {"layers": Each(Text()), "names": Each(Text(), "C"), "categories": Each(Text(), "C")}
        sizes = fields(what, meta, {**texts, "settings": Of(dict)})
        fields(f"{what}: settings", meta["settings"], {name: Whole(1) for name in ("length", "beam", "num_images")}
               | {name: Maybe(Whole()) for name in ("decoys", "seed")})  # fmt: skip
        layers = {}
        for index, name in enumerate(meta["layers"]):
            start = f"{index}."
            own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            _check(f"{what}: layer {name!r}", own, sizes["C"], meta["settings"]["length"])
            layers[name] = LayerFormulas(**own)
        require(what, len(layers) == len(meta["layers"]), "layers have different names")
        held = sum(part is not None for layer in layers.values() for part in layer)
        require(what, len(tensors) == held, "it holds the layers' tensors alone")
        return cls(layers, Concepts(tuple(meta["names"]), tuple(meta["categories"])), meta["settings"])


_PRINTED = (
    "layer", "unit", "formula", "iou", "q", "concept", "concept_iou", "held_out", "held_out_concept", "also",
    "also_iou", "also_q",
)  # fmt: skip


def _second(
    layer: LayerFormulas, unit: int, names: tuple[str, ...], iou: float
) -> tuple[str, float | None, float | None]:
    """What a unit also fires on, its IoU, and the share of the unit's pixels that are left for it."""
    if layer.also is None or layer.also_counts is None:
        return "", None, None
    label, left, whole = int(layer.also[unit]), int(layer.also_counts[2, unit]), int(layer.unit_area[unit])
    firing = left / whole if whole else None
    return (names[label], iou, firing) if label else ("", None, firing)


def _check(what: str, own: dict[str, Tensor], num_labels: int, length: int) -> None:
    label, pixels = Array(torch.int64, f"U {length}", 0, num_labels - 1), Array(torch.int64, "U", 0)
    share = Array(torch.float64, "2 U", 0, 1, nan=True)
    rules: dict[str, Any] = dict.fromkeys(LayerFormulas._fields, pixels)
    rules |= {"labels": label, "joins": Array(torch.int64, f"U {length}", 0, len(JOINS))}
    label_of_unit = Array(torch.int64, "U", 0, num_labels - 1)
    rules |= {"label": label_of_unit, "held_out": share, "held_out_label": share}
    rules |= {
        "also": Maybe(Array(torch.int64, "U", 0, num_labels - 1)),
        "also_counts": Maybe(Array(torch.int64, "3 U", 0)),
        "also_null": Maybe(Array(torch.float64, "K U", 0, 1)),
        "null": Maybe(Array(torch.float64, "K U", 0, 1)),
    }
    fields(what, own, rules)
    used = own["labels"] > 0
    require(what, used[:, 1:] <= used[:, :-1], "a formula's labels come before its empty places")
    require(what, (own["joins"][:, 1:] > 0) == used[:, 1:], "every label but the first is joined")
    require(what, own["joins"][:, 0] == 0, "the first label is not joined")
    for part, area in (("intersection", "area"), ("label_intersection", "label_area")):
        require(what, own[part] <= torch.minimum(own[area], own["unit_area"]), "intersections lie in both areas")
        require(what, own[area] < 1 << 53, "areas are below 2^53")
    require(what, ("also" in own) == ("also_counts" in own), "second labels have counts")
    require(what, "also_counts" in own or "also_null" not in own, "decoys are of second labels")
    if "also" in own:
        shared, area, left = own["also_counts"]
        require(what, (shared > 0) == (own["also"] > 0), "a unit meets its second label")
        require(what, shared <= torch.minimum(area, left), "second labels' intersections lie in both areas")
        require(what, left <= own["unit_area"], "what is left of a unit is part of it")
        require(what, area < 1 << 53, "areas are below 2^53")


def _ratio(intersection: Tensor, unit_area: Tensor, area: Tensor) -> Tensor:
    union = (unit_area + area - intersection).clamp(min=1)
    return intersection.double() / union
