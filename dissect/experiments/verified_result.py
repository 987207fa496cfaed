"""Whether units respond to what they are said to detect: the result of `verified_labels`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Of, Text, fields, require
from dissect.files.results import Result
from dissect.stats.proportion import wilson_interval
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class VerifiedRow(NamedTuple):
    """A unit, and what it is said to detect; None where its concept has too few pairs of images.

    Attributes:
        layer: the layer's name.
        unit: its number.
        concept: what it is said to detect, "" for nothing.
        category: of the concept.
        iou: of the two, where the dissection told it.
        pairs: images with the concept, as many without it.
        auc: how well responses tell one from the other.
        auc_low: lower end of its 95 % interval.
        auc_high: upper end.
        difference: mean of the responses' differences.
        difference_low: lower end of its 95 % interval.
        difference_high: upper end.
        verified: whether both intervals lie above chance.
        rank: of the concept among all that have pairs, by AUC; 1 is the first.
        others: the share of the other concepts that pass the same test.
    """

    layer: str
    unit: int
    concept: str
    category: str
    iou: float | None
    pairs: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    verified: bool | None
    rank: int | None
    others: float | None


class VerifiedLayerRow(NamedTuple):
    """The units of a layer, or those of one category.

    Attributes:
        layer: its name.
        category: of the concepts, "all" for all of them.
        units: that have a label.
        tested: whose concept has enough pairs.
        verified: of these.
        share: verified of tested; None where none was tested.
        low: lower end of its 95 % interval (Wilson's).
        high: upper end.
        auc: the mean over tested units.
        others: the mean share of other concepts that pass the same test.
        first: the share of tested units that no other concept's pairs are told better by.
    """

    layer: str
    category: str
    units: int
    tested: int
    verified: int
    share: float | None
    low: float | None
    high: float | None
    auc: float | None
    others: float | None
    first: float | None


class LayerVerified(NamedTuple):
    """A layer's U units against C labels.

    Attributes:
        labels: [U] int64, what units are said to detect.
        iou: [U] float64 with these; NaN where not known.
        pairs: [C] int64, of images, by label.
        auc: [C, U] float64; NaN without pairs.
        auc_interval: [C, U, 2]; NaN where pairs are too few.
        difference: [C, U] float64, as `auc`.
        difference_interval: [C, U, 2].
    """

    labels: Tensor
    iou: Tensor
    pairs: Tensor
    auc: Tensor
    auc_interval: Tensor
    difference: Tensor
    difference_interval: Tensor

    def passed(self) -> Tensor:
        """[C, U] bool: both intervals lie above chance; never where there are too few pairs."""
        return (self.auc_interval[..., 0] > 0.5) & (self.difference_interval[..., 0] > 0)

    def tested(self) -> Tensor:
        """[C] bool: labels with enough pairs for intervals."""
        return ~self.auc_interval[:, :, 0].isnan().any(1)


@dataclass(eq=False)  # tensors have no one truth value
class VerifiedLabels(Result):
    """The result of `experiments.verified_labels`.

    Attributes:
        layers: `LayerVerified` by the layers' names.
        concepts: names of the labels.
        settings: what a response is, the draws, the number of pairs.

    Example: see `dissect.experiments.verified_labels`.
    """

    kind = "verified labels"
    suffix = ".verified"

    layers: dict[str, LayerVerified]
    concepts: Concepts
    settings: dict[str, Any]

    def __repr__(self) -> str:
        told = ", ".join(f"{row.verified} of {row.tested} in {row.layer!r}" for row in self.summary())
        return f"<VerifiedLabels by {self.settings['num_pairs']} pairs of images: {told}>"

    def units(self, layer: str | None = None) -> Table[VerifiedRow]:
        """A row per unit (`VerifiedRow`); printed with the highest AUC first."""
        names = list(self.layers) if layer is None else [layer]
        return Table((row for name in names for row in self._rows(name)), by="auc", show=_PRINTED)

    def _rows(self, name: str) -> Iterable[VerifiedRow]:
        layer = self.layers[name]
        passed, tested = layer.passed(), layer.tested()
        for unit, (label, score) in enumerate(zip(layer.labels.tolist(), layer.iou.tolist())):
            concept = self.concepts.names[label] if label else ""
            category = self.concepts.categories[label] if label else ""
            head = name, unit, concept, category, None if score != score else score, int(layer.pairs[label])
            if not label or not tested[label]:
                yield VerifiedRow(*head, None, None, None, None, None, None, None, None, None)
                continue
            low, high = layer.auc_interval[label, unit].tolist()
            least, most = layer.difference_interval[label, unit].tolist()
            measured = float(layer.auc[label, unit]), low, high, float(layer.difference[label, unit]), least, most
            rank = 1 + int((layer.auc[tested, unit] > layer.auc[label, unit]).sum())
            rest = int(tested.sum()) - 1
            others = (int(passed[:, unit].sum()) - int(passed[label, unit])) / rest if rest else None
            yield VerifiedRow(*head, *measured, bool(passed[label, unit]), rank, others)

    def summary(self, *, by_category: bool = False, least_iou: float | None = None) -> Table[VerifiedLayerRow]:
        """A row per layer (`VerifiedLayerRow`), or per layer and category.

        Args:
            by_category: whether categories stand apart.
            least_iou: only units whose IoU exceeds it, detectors for example at 0.04.
        """
        rows = []
        for name in self.layers:
            units = [row for row in self._rows(name) if row.concept]
            if least_iou is not None:
                units = [row for row in units if row.iou is not None and row.iou > least_iou]
            groups = sorted({row.category for row in units}) if by_category else ["all"]
            for group in groups:
                rows.append(_summed(name, group, [row for row in units if group in ("all", row.category)]))
        return Table(rows)

    def plot(self) -> Figure:
        """Each tested unit's AUC against its IoU, a panel per layer; the line is chance."""
        from dissect import plots

        with plots.drawing():
            figure = plots.new_figure(2.4 * max(1, len(self.layers)), 2.5)
            panels = plots.panels(figure, len(self.layers), sharey=True)
            for axes, name in zip(panels, self.layers):
                tested = [row for row in self._rows(name) if row.verified is not None]
                for verified, color, told in ((True, plots.ACCENT, "verified"), (False, plots.INK, "not verified")):
                    rows = [row for row in tested if row.verified is verified]
                    x, y = ([getattr(row, part) or 0.0 for row in rows] for part in ("iou", "auc"))
                    axes.scatter(x, y, s=9, color=color, linewidths=0, label=told)
                axes.axhline(0.5, color=plots.FAINT, linewidth=1, zorder=0)
                plots.plain(axes, "both")
                title = f"{name}: {sum(row.verified is True for row in tested)} of {len(tested)}"
                plots.label(axes, "IoU with its label", "AUC" if axes is panels[0] else "", title)
            plots.legend_above(figure, panels[0])
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {f"{index}.{name}": value.contiguous() for index, layer in enumerate(self.layers.values())
                   for name, value in layer._asdict().items()}  # fmt: skip
        meta = {"layers": list(self.layers), "names": self.concepts.names, "categories": self.concepts.categories}
        return tensors, {**meta, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> VerifiedLabels:
        """See `Result`."""
        texts = {"layers": Each(Text()), "names": Each(Text(), "C"), "categories": Each(Text(), "C")}
        count = fields(what, meta, {**texts, "settings": Of(dict)})["C"]
        layers = {}
        for index, name in enumerate(meta["layers"]):
            start = f"{index}."
            own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            fields(f"{what}: layer {name!r}", own, {
                "labels": Array(torch.int64, "U", 0, count - 1), "iou": Array(torch.float64, "U", 0, 1, nan=True),
                "pairs": Array(torch.int64, str(count), 0), "auc": Array(torch.float64, f"{count} U", 0, 1, nan=True),
                "auc_interval": Array(torch.float64, f"{count} U 2", 0, 1, nan=True),
                "difference": Array(torch.float64, f"{count} U", nan=True),
                "difference_interval": Array(torch.float64, f"{count} U 2", nan=True),
            })  # fmt: skip
            layers[name] = LayerVerified(**own)
        require(what, len(layers) == len(meta["layers"]), "layers have different names")
        require(what, len(tensors) == len(layers) * len(LayerVerified._fields), "it holds the layers' tensors alone")
        require(what, isinstance(meta["settings"].get("num_pairs"), int), "it says how many pairs there were")
        return cls(layers, Concepts(tuple(meta["names"]), tuple(meta["categories"])), meta["settings"])


_PRINTED = ("layer", "unit", "concept", "iou", "pairs", "auc", "auc_low", "difference", "verified", "rank", "others")


def _summed(name: str, category: str, rows: list[VerifiedRow]) -> VerifiedLayerRow:
    tested = [row for row in rows if row.verified is not None]
    verified = sum(row.verified is True for row in tested)
    if not tested:
        return VerifiedLayerRow(name, category, len(rows), 0, 0, *[None] * 6)
    others = [row.others for row in tested if row.others is not None]
    return VerifiedLayerRow(
        name, category, len(rows), len(tested), verified, verified / len(tested),
        *wilson_interval(verified, len(tested)), sum(row.auc or 0.0 for row in tested) / len(tested),
        sum(others) / len(others) if others else None, sum(row.rank == 1 for row in tested) / len(tested),
    )  # fmt: skip
