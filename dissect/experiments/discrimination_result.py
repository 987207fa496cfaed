"""What networks' features are good for, beside what their units detect: the result of `discrimination`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.files.checked import Array, Each, Maybe, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.stats.correlation import pearson
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How often test images are drawn again for an interval.
RESAMPLES = 1000


class DiscriminationRow(NamedTuple):
    """A network.

    Attributes:
        network: its name.
        layer: whose features they are.
        units: how many it has.
        concepts: how many concepts of the category these detect (the paper's unique detectors).
        accuracy: of the linear classifier on the test images, averaged over classes.
        low: the lower end of its 95 % interval, over test images drawn again; None for fewer than 10. Where classes
            have few images it leans upwards, since a class that a draw lacks says nothing.
        high: the upper end.
        trained: whether the network was trained for this very task.
    """

    network: str
    layer: str
    units: int
    concepts: int
    accuracy: float
    low: float | None
    high: float | None
    trained: bool


class DiscriminationCorrelationRow(NamedTuple):
    """Whether networks that detect more concepts have better features.

    Attributes:
        of: "all" networks, or the "others", which were not trained for this task.
        networks: how many.
        r: Pearson's, between unique detectors and accuracy; None of fewer than three, or where one never varies.
        low: the lower end of its 95 % interval (Fisher's z); None of fewer than four.
        high: the upper end.
    """

    of: str
    networks: int
    r: float | None
    low: float | None
    high: float | None


@dataclass(eq=False)  # tensors have no one truth value
class Discrimination(Result):
    """The result of `experiments.discrimination`, of M networks and T test images.

    Attributes:
        networks: their names.
        layers: whose features they are, of each.
        trained_for: the names of those that were trained for this task.
        units: of each layer.
        concepts: unique detectors of each.
        predictions: [M, T] int64 class numbers.
        truth: [T] int64.
        settings: the category of the concepts, the rules, how many training images.

    Example:
        >>> def net(seed):
        ...     torch.manual_seed(seed)
        ...     return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
        >>> images, planes = torch.rand(12, 3, 4, 4), torch.randint(0, 3, (12, 1, 4, 4))
        >>> networks, seen = {"a": net(0), "b": net(1)}, [(images, planes)]
        >>> options = {"concepts": [("sky", "object"), ("red", "color")], "fraction": 0.2, "progress": False}
        >>> dissected = {name: dissect.dissect(model, "0", seen, **options) for name, model in networks.items()}
        >>> task = [(images, torch.arange(12) % 2)]
        >>> found = dissect.experiments.discrimination(networks, dissected, task, task, progress=False)
        >>> [(row.network, row.units) for row in found.rows()]
        [('a', 4), ('b', 4)]
    """

    kind = "discrimination"
    suffix = ".discrimination"

    networks: list[str]
    layers: list[str]
    trained_for: list[str]
    units: list[int]
    concepts: list[int]
    predictions: Tensor
    truth: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        r = self.correlations()[0].r
        told = "unknown" if r is None else f"{r:.2f}"
        return f"<Discrimination of {len(self.networks)} networks by {len(self.truth)} images: r = {told}>"

    def rows(self) -> Table[DiscriminationRow]:
        """A row per network (`DiscriminationRow`)."""
        classes, group = self.truth.unique(return_inverse=True)
        member = torch.nn.functional.one_hot(group, len(classes)).double()  # [T, K]
        right = (self.predictions == self.truth).double()  # [M, T]
        drawn = drawn_again(len(self.truth), RESAMPLES, seed=0)
        seen = drawn @ member  # [B, K]
        found = []
        for at, (name, layer) in enumerate(zip(self.networks, self.layers)):
            own = right[at, :, None] * member
            accuracy = float((own.sum(0) / member.sum(0)).mean())
            again = ((drawn @ own) / seen).nanmean(1)  # classes that a sample lacks say nothing
            low, high = interval_of(again, len(self.truth)).tolist()
            told = None if math.isnan(low) else low, None if math.isnan(high) else high
            place = name, layer, self.units[at], self.concepts[at]
            found.append(DiscriminationRow(*place, accuracy, *told, name in self.trained_for))
        return Table(found)

    def correlations(self) -> Table[DiscriminationCorrelationRow]:
        """Of all networks, and of those that were not trained for the task (`DiscriminationCorrelationRow`)."""
        rows = self.rows()
        groups = {"all": list(rows), "others": [row for row in rows if not row.trained]}
        return Table(
            DiscriminationCorrelationRow(of, *pearson([row.concepts for row in own], [row.accuracy for row in own]))
            for of, own in groups.items()
        )

    def plot(self) -> Figure:
        """Accuracy over unique detectors, a point per network (Zhou et al. 2018, Fig. 26)."""
        from dissect import plots

        rows, every = self.rows(), self.correlations()[0]
        told = "r is not known" if every.r is None else f"r = {every.r:.2f}"
        told += "" if every.low is None else f"  ({every.low:.2f} to {every.high:.2f})"
        with plots.drawing():
            figure = plots.new_figure(6, 4.2)
            axes = figure.add_subplot()
            for trained, color, name in ((False, plots.ACCENT, "others"), (True, plots.OTHER, "trained for the task")):
                own = [row for row in rows if row.trained == trained]
                if own:
                    axes.scatter([row.concepts for row in own], [row.accuracy for row in own], s=22, color=color,
                                 linewidths=0, label=name)  # fmt: skip
            axes.margins(x=0.2, y=0.1)
            plots.plain(axes, "both")
            plots.label(axes, f"unique {self.settings['category']} detectors", "class-averaged accuracy", title=told)
            if {row.trained for row in rows} == {True, False}:
                plots.legend_above(figure, axes)
            points = [(row.concepts, row.accuracy) for row in rows]
            plots.name_points(axes, points, [row.network[:24] for row in rows])
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        names = ("networks", "layers", "trained_for", "units", "concepts", "settings")
        return {"predictions": self.predictions, "truth": self.truth}, {name: getattr(self, name) for name in names}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Discrimination:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(f"{what}: settings", meta["settings"], _SETTINGS)
        fields(what, tensors, _TENSORS, sizes)
        require(what, {*meta["trained_for"]} <= {*meta["networks"]}, "networks trained for the task are among them")
        require(what, sizes["M"] > 1 and len(tensors["truth"]) > 0, "there are two networks, and images")
        counts = zip(meta["concepts"], meta["units"])
        require(what, all(concepts <= units for concepts, units in counts), "no network has more detectors than units")
        lists: dict[str, Any] = {name: meta[name] for name in _META}
        return cls(**lists, predictions=tensors["predictions"], truth=tensors["truth"])


_META = {
    "networks": Each(Text(), "M", different=True),
    "layers": Each(Text(), "M"),
    "trained_for": Each(Text(), different=True),
    "units": Each(Whole(1), "M"),
    "concepts": Each(Whole(), "M"),
    "settings": Of(dict),
}
_SETTINGS = {
    "category": Text(), "penalty": Number(0), "cells": Maybe(Whole(1)), "num_train": Whole(1),
    "detector_iou": Number(0),
}  # fmt: skip
_TENSORS = {"predictions": Array(torch.int64, "M T"), "truth": Array(torch.int64, "T")}
