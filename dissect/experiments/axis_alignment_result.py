"""What rotations of a layer detect, beside its units: the result of `axis_alignment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST, drawn_again, interval_of
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How often repeats are drawn again for an interval.
RESAMPLES = 1000


class AlignmentRow(NamedTuple):
    """A rotation.

    Attributes:
        alpha: how far it goes; 0 are the units.
        repeat: which rotation.
        detectors: how many of its directions detect a concept.
        concepts: how many different concepts these are (the paper's unique detectors).
    """

    alpha: float
    repeat: int
    detectors: int
    concepts: int


class AlignmentMeanRow(NamedTuple):
    """All rotations that go equally far.

    Attributes:
        alpha: how far.
        rotations: how many.
        detectors: on average.
        concepts: different ones on average.
        low: the lower end of the 95 % interval of that mean over rotations; None for fewer than 10.
        high: the upper end.
        share: concepts over those of the units; None where these have none.
    """

    alpha: float
    rotations: int
    detectors: float
    concepts: float
    low: float | None
    high: float | None
    share: float | None


class AlignmentConceptRow(NamedTuple):
    """A concept that units or fully rotated directions detect, as in Fig. 7.

    Attributes:
        concept: its name.
        category: its category.
        unit: the unit with the highest IoU.
        unit_iou: that.
        repeat: the full rotation that has the direction with the highest IoU.
        direction: its number there.
        direction_iou: that IoU.
        mean_iou: the mean over full rotations of the highest IoU in each.
    """

    concept: str
    category: str
    unit: int
    unit_iou: float
    repeat: int
    direction: int
    direction_iou: float
    mean_iou: float


@dataclass(eq=False)  # tensors have no one truth value
class AxisAlignment(Result):
    """The result of `experiments.axis_alignment`: R rotations, of which the first are the units themselves.

    Attributes:
        layer: its name.
        concepts: of the labels.
        rotations: (alpha, repeat) of each.
        best_label: [R, U] int64.
        best_iou: [R, U] float64.
        label_iou: [R, C] float64, the highest of any direction with each label.
        label_direction: [R, C] int64, which direction that is.
        settings: the rules, the seed, the number of images.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
        >>> images, planes = torch.rand(6, 3, 4, 4), torch.randint(0, 3, (6, 1, 4, 4))
        >>> options = {"concepts": ["sky", "tree"], "fraction": 0.2, "progress": False}
        >>> options |= {"alphas": [0.5, 1], "repeats": 2}
        >>> found = dissect.experiments.axis_alignment(net, "0", [(images, planes)], **options)
        >>> [(row.alpha, row.rotations) for row in found.summary()]
        [(0.0, 1), (0.5, 1), (1.0, 2)]
    """

    kind = "axis alignment"
    suffix = ".alignment"

    layer: str
    concepts: Concepts
    rotations: list[tuple[float, int]]
    best_label: Tensor
    best_iou: Tensor
    label_iou: Tensor
    label_direction: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        first, *_, last = self.summary()
        return (
            f"<AxisAlignment of {self.layer!r}: {self.best_label.shape[1]} units detect {first.concepts:g} concepts, "
            f"as many directions at alpha {last.alpha:g} {last.concepts:g} (mean of {last.rotations})>"
        )

    def rows(self, category: str | None = None) -> Table[AlignmentRow]:
        """A row per rotation (`AlignmentRow`); of one category's concepts alone, or of all."""
        found = []
        for (alpha, repeat), labels, ious in zip(self.rotations, self.best_label, self.best_iou):
            named = labels[ious > self.settings["detector_iou"]].tolist()
            named = [label for label in named if category in (None, self.concepts.categories[label])]
            found.append(AlignmentRow(alpha, repeat, len(named), len({*named})))
        return Table(found)

    def summary(self, category: str | None = None) -> Table[AlignmentMeanRow]:
        """A row per alpha, rising (`AlignmentMeanRow`)."""
        rows = self.rows(category)
        found = []
        for alpha in sorted({row.alpha for row in rows}):
            own = [row for row in rows if row.alpha == alpha]
            counts = torch.tensor([row.concepts for row in own], dtype=torch.float64)
            low = high = None
            if len(own) >= FEWEST:
                means = drawn_again(len(own), RESAMPLES, seed=0) @ counts / len(own)
                low, high = interval_of(means, len(own)).tolist()
            mean, detectors = float(counts.mean()), sum(row.detectors for row in own) / len(own)
            share = mean / rows[0].concepts if rows[0].concepts else None
            found.append(AlignmentMeanRow(alpha, len(own), detectors, mean, low, high, share))
        return Table(found)

    def best(self) -> Table[AlignmentConceptRow]:
        """A row per concept that a unit or a fully rotated direction detects; printed with the best units first."""
        full = [at for at, (alpha, _) in enumerate(self.rotations) if alpha == 1]
        found = []
        for label in range(1, len(self.concepts)):
            ious = self.label_iou[full, label]
            top = full[int(ious.argmax())] if full else 0
            unit_iou, iou = float(self.label_iou[0, label]), float(self.label_iou[top, label]) if full else 0.0
            if max(unit_iou, iou) > self.settings["detector_iou"]:
                name, category = self.concepts.names[label], self.concepts.categories[label]
                unit, direction = int(self.label_direction[0, label]), int(self.label_direction[top, label])
                mean = float(ious.mean()) if full else 0.0
                repeat = self.rotations[top][1]
                found.append(AlignmentConceptRow(name, category, unit, unit_iou, repeat, direction, iou, mean))
        return Table(found, by="unit_iou")

    def plot(self) -> Figure:
        """How many different concepts are detected against alpha, as in Fig. 6; repeats are points, as in Fig. 8."""
        from dissect import plots

        rows, first = self.rows(), [row for row in self.rows() if row.repeat == 0]
        with plots.drawing():
            figure = plots.new_figure(4.2, 2.6)
            axes = figure.add_subplot()
            curve = plots.Curve([row.alpha for row in first], [row.concepts for row in first])
            plots.curves(axes, {"one rotation": curve}, baseline=("the units", rows[0].concepts))
            others = [row for row in rows if row.repeat]
            if others:
                axes.plot([row.alpha for row in others], [row.concepts for row in others], "_", label="other rotations")
            plots.label(axes, "alpha", "concepts detected")
            axes.set_ylim(0, 1.08 * max(1, *(row.concepts for row in rows)))
            plots.legend_below(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name) for name in ("best_label", "best_iou", "label_iou", "label_direction")}
        meta = {
            "layer": self.layer, "names": self.concepts.names, "categories": self.concepts.categories,
            "rotations": [list(one) for one in self.rotations], "settings": self.settings,
        }  # fmt: skip
        return tensors, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> AxisAlignment:
        """See `Result`."""
        rules = {"layer": Text(), "names": Each(Text(), "C"), "categories": Each(Text(), "C"),
                 "rotations": Each(Each(Number(0), 2), "R"), "settings": Of(dict)}  # fmt: skip
        sizes = fields(what, meta, rules)
        fields(f"{what}: settings", meta["settings"], {"detector_iou": Number(0), "num_images": Whole(0)})
        fields(
            what,
            tensors,
            {
                "best_label": Array(torch.int64, "R U", 0, sizes["C"] - 1),
                "best_iou": Array(torch.float64, "R U", 0, 1),
                "label_iou": Array(torch.float64, "R C", 0, 1),
            },
            sizes,
        )
        last = tensors["best_label"].shape[1] - 1
        fields(what, tensors, {"label_direction": Array(torch.int64, "R C", 0, last)}, sizes)
        rotations = [(float(alpha), int(repeat)) for alpha, repeat in meta["rotations"]]
        require(what, rotations[:1] == [(0.0, 0)], "the first rotation are the units")
        require(what, all(0 < alpha <= 1 for alpha, _ in rotations[1:]), "the others go further, up to 1")
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        return cls(meta["layer"], concepts, rotations, **tensors, settings=meta["settings"])
