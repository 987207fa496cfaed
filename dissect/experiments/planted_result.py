"""How near ways of labelling come to a planted truth: the result of `score_labels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.files.checked import Array, Each, Text, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.stats.proportion import wilson_interval
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 1000


class PlantedRow(NamedTuple):
    """What a method said of a unit.

    Attributes:
        method: its name.
        unit: the unit's number.
        kind: of its formula.
        corruption: of its map.
        truth: the formula.
        said: what the method gave, "" for nothing.
        iou: of the pixels of both.
        exact: whether these are the same.
        hit: whether one of the labels is right.
    """

    method: str
    unit: int
    kind: str
    corruption: str
    truth: str
    said: str
    iou: float
    exact: bool
    hit: bool


class ScoreRow(NamedTuple):
    """How a method does on the units of a kind and a corruption.

    Attributes:
        method: its name.
        kind: of the formulas, "all" for all.
        corruption: of the maps, "all" for all.
        units: how many.
        iou: the mean.
        iou_low: lower end of its 95 % interval (formulas drawn again); None of fewer than ten.
        iou_high: upper end.
        exact: the share of units.
        exact_low: lower end of its 95 % interval (Wilson's; units of one formula are not independent of each other).
        exact_high: upper end.
        hit: the share of units.
    """

    method: str
    kind: str
    corruption: str
    units: int
    iou: float
    iou_low: float | None
    iou_high: float | None
    exact: float
    exact_low: float
    exact_high: float
    hit: float


@dataclass(eq=False)  # tensors have no one truth value
class PlantedScores(Result):
    """The result of `experiments.score_labels`, of M methods and U units.

    Attributes:
        methods: [M] names.
        kinds: [U] of the formulas.
        corruptions: [U] names.
        truth: [U] formulas, as text.
        said: answers, as text, by method and then by unit.
        iou: [M, U] float64.
        exact: [M, U] float64, 1 or 0.
        hits: [M, U] float64, 1 or 0.

    Example: see `dissect.experiments.score_labels`.
    """

    kind = "planted scores"
    suffix = ".planted"

    methods: list[str]
    kinds: list[str]
    corruptions: list[str]
    truth: list[str]
    said: list[list[str]]
    iou: Tensor
    exact: Tensor
    hits: Tensor

    def __repr__(self) -> str:
        told = ", ".join(f"{row.method} {row.iou:.3f}" for row in self.summary())
        return f"<PlantedScores of {len(self.truth)} units: mean IoU with the truth {told}>"

    def rows(self, method: str | None = None) -> Table[PlantedRow]:
        """A row per method and unit (`PlantedRow`)."""
        rows = []
        for at, name in enumerate(self.methods):
            if method in (None, name):
                told = zip(self.kinds, self.corruptions, self.truth, self.said[at])
                for unit, texts in enumerate(told):
                    exact, hit = bool(self.exact[at, unit]), bool(self.hits[at, unit])
                    rows.append(PlantedRow(name, unit, *texts, float(self.iou[at, unit]), exact, hit))
        return Table(rows)

    def summary(self, *, by_kind: bool = False, by_corruption: bool = False) -> Table[ScoreRow]:
        """A row per method (`ScoreRow`), and per kind and corruption where asked for."""
        kinds = list(dict.fromkeys(self.kinds)) if by_kind else ["all"]
        corruptions = list(dict.fromkeys(self.corruptions)) if by_corruption else ["all"]
        rows = [
            self._score(at, kind, corruption)
            for at in range(len(self.methods))
            for kind in kinds
            for corruption in corruptions
        ]
        return Table(rows)

    def _score(self, method: int, kind: str, corruption: str) -> ScoreRow:
        own = [unit for unit, told in enumerate(zip(self.kinds, self.corruptions))
               if kind in ("all", told[0]) and corruption in ("all", told[1])]  # fmt: skip
        ious, exact = self.iou[method, own], int(self.exact[method, own].sum())
        # Units of one formula go together, so that a formula is drawn with all of them.
        groups = torch.tensor([list(dict.fromkeys(self.truth)).index(self.truth[unit]) for unit in own])
        _, place = groups.unique(return_inverse=True)
        number = int(place.max()) + 1
        sums = torch.zeros(2, number, dtype=torch.float64)
        sums.index_add_(1, place, torch.stack([ious, torch.ones_like(ious)]))
        weights = drawn_again(number, RESAMPLES, 0)
        low, high = interval_of((weights @ sums[0]) / (weights @ sums[1]), number).tolist()
        least, most = wilson_interval(exact, len(own))
        return ScoreRow(
            self.methods[method], kind, corruption, len(own), float(ious.mean()), None if low != low else low,
            None if high != high else high, exact / len(own), least if exact else 0.0, most,
            float(self.hits[method, own].mean()),
        )  # fmt: skip

    def plot(self) -> Figure:
        """The mean IoU with the truth by corruption, a panel per kind, a line per method."""
        from dissect import plots

        kinds, conditions = list(dict.fromkeys(self.kinds)), list(dict.fromkeys(self.corruptions))
        rows = {(row.method, row.kind, row.corruption): row for row in
                self.summary(by_kind=True, by_corruption=True)}  # fmt: skip
        shades = (*plots.SHADES, *plots.OTHER_SHADES)
        with plots.drawing():
            figure = plots.new_figure(2.1 * max(2, len(kinds)), 2.9)
            panels = plots.panels(figure, len(kinds), sharey=True)
            for axes, kind in zip(panels, kinds):
                for at, method in enumerate(self.methods):
                    values = [rows[method, kind, condition].iou for condition in conditions]
                    color = shades[at % len(shades)]
                    axes.plot(values, marker="o", markersize=3, linewidth=1, color=color, label=method)
                axes.set_xticks(range(len(conditions)), conditions, rotation=60, ha="right")
                axes.set_ylim(0, 1.02)
                plots.plain(axes)
                plots.label(axes, "", "mean IoU with the truth" if axes is panels[0] else "", kind)
            plots.legend_above(figure, panels[0])
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {"iou": self.iou, "exact": self.exact, "hits": self.hits}
        return tensors, {name: getattr(self, name) for name in _TEXTS} | {"said": self.said}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> PlantedScores:
        """See `Result`."""
        texts = {"methods": Each(Text(), "M"), **{name: Each(Text(), "U") for name in _TEXTS[1:]}}
        sizes = fields(what, meta, {**texts, "said": Each(Each(Text(), "U"), "M")})
        score = Array(torch.float64, f"{sizes['M']} {sizes['U']}", 0, 1)
        fields(what, tensors, dict.fromkeys(("iou", "exact", "hits"), score))
        require(what, sizes["M"] > 0 and sizes["U"] > 0, "there are methods and units")
        methods, kinds, corruptions, truth = (meta[name] for name in _TEXTS)
        scores = tensors["iou"], tensors["exact"], tensors["hits"]
        return cls(methods, kinds, corruptions, truth, meta["said"], *scores)


_TEXTS = ("methods", "kinds", "corruptions", "truth")
