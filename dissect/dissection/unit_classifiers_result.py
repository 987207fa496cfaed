"""Units as classifiers: the result of `dissect.unit_classifiers`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.chosen import half_of
from dissect.concepts import Concepts, label_of
from dissect.files.checked import Array, Each, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST
from dissect.stats.iou import SCOPES, Scope, category_groups
from dissect.stats.ranks import (
    NEITHER,
    WITH,
    WITHOUT,
    NoClassifierError,
    Separation,
    ThresholdClassifier,
    adjusted,
    balanced_sample,
    separation,
    threshold_classifier,
)
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Activations are finite and below 2^126 in magnitude.
FINITE = (-(2.0**126), 2.0**126)


class ConceptRow(NamedTuple):
    """The unit that tells a concept best: one half of the images chooses it and its threshold, the other measures them.

    Attributes:
        concept: its name.
        category: its category.
        present: how many images are with it.
        absent: how many are without it.
        unit: the unit with the highest AUROC in the half that chooses; None, as all that follows, where a half has
            fewer than 10 images of either kind.
        auroc: in the other half.
        p: that such an AUROC, or one as far from 0.5, comes by chance, in the other half.
        q: the false discovery rate at which the concept counts as found among all rows.
        accuracy: balanced, in the other half's part of a balanced sample; None where that has fewer than 10 of either
            kind in a half, or the unit is constant.
        low: the lower end of its 95 % interval, see `stats.ranks.ThresholdClassifier`; None as there.
        high: the upper end.
        threshold: that a peak must exceed.
    """

    concept: str
    category: str
    present: int
    absent: int
    unit: int | None
    auroc: float | None
    p: float | None
    q: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    threshold: float | None


class SeparationRow(NamedTuple):
    """How well a unit separates the images with a concept from those without, over all images.

    Attributes:
        unit: its number.
        auroc: P(peak with > peak without) + P(equal) / 2.
        p: two-sided, Mann and Whitney's.
        q: the false discovery rate at which the pair counts as found, among all units and concepts.
    """

    unit: int
    auroc: float
    p: float
    q: float


@dataclass(eq=False)  # tensors have no one truth value
class UnitClassifiers(Result):
    """How well each unit's peak tells images with each concept from those without (Bau et al. 2020, Fig. 1F, 3F).

    Attributes:
        layer: the layer's name.
        concepts: names and categories of the labels; class number c of whole images is label c + 1.
        peaks: [N, U] float32, each unit's highest activation in each image.
        areas: [N, C] int32, pixels of each label in each image.
        num_pixels: of an image; 1 where labels are of whole images.
        scope: see `unit_classifiers`.
        least_area: the share of an image's pixels that a concept exceeds where the image is with it.
        settings: options, and what the network was.

    Example: see `dissect.unit_classifiers`.
    """

    kind = "unit classifiers"
    suffix = ".classifiers"

    layer: str
    concepts: Concepts
    peaks: Tensor
    areas: Tensor
    num_pixels: int
    scope: Scope
    least_area: float
    settings: dict[str, Any]

    def __repr__(self) -> str:
        (number, units), shown = self.peaks.shape, int((self.roles == WITH).any(0).sum())
        return (
            f"<UnitClassifiers of {units} units of {self.layer!r} for {len(self.concepts) - 1} concepts, {shown} of "
            f"which some of {number} images show>"
        )

    @cached_property
    def roles(self) -> Tensor:
        """[N, C] int8: 1 where an image is with a concept, 0 without, -1 neither; label 0 is none."""
        roles = torch.full(self.areas.shape, NEITHER, dtype=torch.int8)
        roles[self.areas == 0] = WITHOUT
        roles[self.areas > self.least_area * self.num_pixels] = WITH
        if self.scope == "category":
            for members in category_groups(self.concepts.categories):
                unlabelled = ~(self.areas[:, members] > 0).any(1)
                roles[unlabelled[:, None] & members] = NEITHER
        roles[:, 0] = NEITHER
        return roles

    @cached_property
    def separation(self) -> Separation:
        """AUROC, p and q of all units [U] and labels [C] over all images; NaN where fewer than 10 are of a kind."""
        return separation(self.peaks, self.roles)

    @speaks
    def label(self, concept: str | int) -> int:
        """The label of a concept: itself, a name, or "category/name".

        Raises:
            KeyError: there is none, or a name alone stands for several.
            ValueError: no image is with it, or none without.
        """
        label = label_of(self.concepts, concept)
        present, absent = (int((self.roles[:, label] == kind).sum()) for kind in (WITH, WITHOUT))
        if not present or not absent:
            raise refusal(ValueError(
                f"concept must be one that some images show and others do not, but {present} of {len(self.peaks)} are "
                f"with {self.concepts.names[label]!r} and {absent} without."
            ))  # fmt: skip
        return label

    @speaks
    def auroc(self, concept: str | int) -> Tensor:
        """[U] float64: of each unit for a concept, over all images; NaN where fewer than 10 are of a kind.

        Raises:
            KeyError, ValueError: see `label`.
        """
        return self.separation.auroc[:, self.label(concept)]

    @speaks
    def top(self, concept: str | int, count: int = 5) -> Table[SeparationRow]:
        """The units with the highest AUROC for a concept as a `Table` of `SeparationRow`; none where it is not known.

        Raises:
            KeyError, ValueError: see `label`.
        """
        label, count = self.label(concept), integer("count", count)
        columns = [part[:, label] for part in (self.separation.auroc, self.separation.p, self.separation.q)]
        order = columns[0].sort(descending=True, stable=True).indices[:count].tolist()
        known = [unit for unit in order if not columns[0][unit].isnan()]
        return Table(SeparationRow(unit, *(float(column[unit]) for column in columns)) for unit in known)

    @cached_property
    def _rows(self) -> list[ConceptRow]:
        chosen, measured = (
            separation(self.peaks[self._half == half], self.roles[self._half == half]) for half in (0, 1)
        )
        known = ~(chosen.auroc.isnan() | measured.auroc.isnan()).any(0)
        units = chosen.auroc.nan_to_num(-1).max(0).indices
        auroc, p = (part.gather(0, units[None])[0] for part in (measured.auroc, measured.p))
        q = adjusted(torch.where(known, p, torch.nan))
        rows = []
        for label in range(1, len(self.concepts)):
            place = self.concepts.names[label], self.concepts.categories[label]
            present, absent = (int((self.roles[:, label] == kind).sum()) for kind in (WITH, WITHOUT))
            values: list[Any] = [None] * 8
            if known[label]:
                values[:4] = int(units[label]), float(auroc[label]), float(p[label]), float(q[label])
                found = self._classifier(label, int(units[label]))
                if found is not None:
                    values[4:] = found.accuracy, found.low, found.high, found.threshold
            rows.append(ConceptRow(*place, present, absent, *values))
        return rows

    def table(self) -> Table[ConceptRow]:
        """A `ConceptRow` for each concept, the best told first; what cannot be told comes last, and says why."""
        rows = sorted(self._rows, key=lambda row: math.inf if row.auroc is None else -row.auroc)
        return Table(rows)

    @speaks
    def classifier(self, concept: str | int, unit: int | None = None) -> ThresholdClassifier:
        """A unit's best threshold on one half of a balanced sample, and its balanced accuracy on the other.

        Args:
            concept: see `label`.
            unit: its number; None: that of the concept's row.

        Raises:
            KeyError: see `label`.
            ValueError: see `label`; no such unit; too few images, or a unit that is constant.
        """
        label = self.label(concept)
        return threshold_classifier(self.peaks[:, self._unit(label, unit)], self.roles[:, label], self._numbers)

    @speaks
    def plot(self, concept: str | int | None = None, unit: int | None = None) -> Figure:
        """The peaks of a balanced sample with and without a concept, and their densities (Fig. 1F), as a figure.

        Args:
            concept: see `label`; None: the one that is told best.
            unit: its number; None: that of the concept's row.

        Raises:
            ImportError: matplotlib is not installed.
            KeyError, ValueError: see `classifier`.
        """
        from dissect import plots

        if concept is None:
            concept = self._best_told()
        label = self.label(concept)
        unit = self._unit(label, unit)
        found = self.classifier(label, unit)
        kept = balanced_sample(self.roles[:, label], self._numbers)
        peaks, own = self.peaks[kept, unit], self.roles[kept, label] == WITH
        name = self.concepts.names[label]
        groups = {f"with {name}": peaks[own].tolist(), f"without {name}": peaks[~own].tolist()}
        sure = "" if found.low is None else f" ({found.low:.1%} to {found.high:.1%})"
        with plots.drawing():
            figure = plots.new_figure(5.4, 2.8)
            axes = figure.add_subplot()
            plots.jitter(axes, groups, line=("threshold", found.threshold))
            title = f"unit {unit} of {self.layer}\npeak > {found.threshold:.3g} is right in {found.accuracy:.1%}{sure}"
            plots.label(axes, "peak activation", title=title)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {name: getattr(self, name) for name in _META if name not in ("names", "categories")}
        meta |= {"names": self.concepts.names, "categories": self.concepts.categories}
        return {"peaks": self.peaks, "areas": self.areas}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> UnitClassifiers:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, tensors, _TENSORS, sizes)
        require(what, tensors["areas"] <= meta["num_pixels"], "no label has more pixels than there are")
        require(what, meta["least_area"] < 1, "the least area is a share")
        own: dict[str, Any] = {name: meta[name] for name in ("layer", "num_pixels", "scope", "settings")}
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        own |= {name: tensors[name] for name in _TENSORS}
        return cls(concepts=concepts, least_area=float(meta["least_area"]), **own)

    @cached_property
    def _numbers(self) -> Tensor:
        return torch.arange(len(self.peaks))

    @cached_property
    def _half(self) -> Tensor:
        return half_of(self._numbers)

    def _classifier(self, label: int, unit: int) -> ThresholdClassifier | None:
        try:
            return threshold_classifier(self.peaks[:, unit], self.roles[:, label], self._numbers)
        except NoClassifierError:
            return None

    def _unit(self, label: int, unit: int | None) -> int:
        units = self.peaks.shape[1]
        if unit is not None:
            if integer("unit", unit, 0) >= units:
                raise refusal(ValueError(f"unit must be below {units}, the units of {self.layer!r}, but got {unit}."))
            return int(unit)
        found = self._rows[label - 1].unit
        if found is None:
            row = self._rows[label - 1]
            raise refusal(ValueError(
                f"unit must be given where images are too few to choose one: each half needs {FEWEST} with "
                f"{row.concept!r} and {FEWEST} without, and in all {row.present} are with it and {row.absent} without."
            ))  # fmt: skip
        return found

    def _best_told(self) -> int:
        told = [at for at, row in enumerate(self._rows) if row.accuracy is not None]
        if not told:
            raise refusal(ValueError("concept must be given where images are too few to tell any."))
        return 1 + max(told, key=lambda at: self._rows[at].accuracy or 0)


_META = {
    "layer": Text(),
    "names": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "num_pixels": Whole(1),
    "scope": Text(SCOPES),
    "least_area": Number(0),
    "settings": Of(dict),
}
_TENSORS = {"peaks": Array(torch.float32, "N U", *FINITE), "areas": Array(torch.int32, "N C", 0)}
