"""What was found of tops trained anew on a layer's features as they are, and rotated; a result, with a plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.experiments.axis_alignment_result import RESAMPLES
from dissect.files.checked import Array, Each, Maybe, Number, Of, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST, drawn_again, interval_of
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RetrainedRow(NamedTuple):
    """A kind of features, over all repeats.

    Attributes:
        features: "as they are", "rotated", or "difference", rotated less as they are.
        repeats: how many tops were trained on them.
        accuracy: their mean on the test images, in class shares from 0 to 1.
        low: the lower end of the 95 % interval of that mean over repeats; None for fewer than 10.
        high: the upper end.
    """

    features: str
    repeats: int
    accuracy: float
    low: float | None
    high: float | None


class NetworkRow(NamedTuple):
    """The network as it is, beside tops trained anew.

    Attributes:
        accuracy: on the test images, from 0 to 1.
        error: how far outputs lie from those of the layer rotated there and back (`rotation_error`).
        same: the share of images whose answer stays.
    """

    accuracy: float
    error: float
    same: float


@dataclass(eq=False)  # tensors have no one truth value
class RetrainedTops(Result):
    """The result of `retrained_tops`, and of `retrain_top`, which knows the network too.

    Attributes:
        accuracy: [2, R] float64, of each repeat with features as they are, and rotated.
        network: of the network as it is; None where it is not known.
        settings: what the trainings were.

    Example: see `retrained_tops`.
    """

    kind = "retrained tops"
    suffix = ".tops"

    accuracy: Tensor
    network: NetworkRow | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        network = None if self.network is None else list(self.network)
        return {"accuracy": self.accuracy}, {"network": network, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> RetrainedTops:
        """See `Result`."""
        sizes = fields(what, tensors, {"accuracy": Array(torch.float64, "2 R", 0, 1)})
        require(what, sizes["R"] > 0, "there are repeats")
        fields(what, meta, {"network": Maybe(Each(Number(0), 3)), "settings": Maybe(Of(dict))})
        given = meta.get("network")
        if given is not None:
            require(what, given[0] <= 1 and given[2] <= 1, "the network's shares are at most 1")
        network = None if given is None else NetworkRow(*map(float, given))
        return cls(tensors["accuracy"], network, meta.get("settings") or {})

    def __repr__(self) -> str:
        """How many tops, and what the network as it is says."""
        told = ""
        if self.network is not None:
            told = (
                f"; the network as it is: {self.network.accuracy:.1%} right, rotated there and back "
                f"{self.network.same:.1%} of the answers are the same, outputs differ by {self.network.error:.1e}"
            )
        return f"<RetrainedTops: {self.accuracy.shape[1]} of each kind{told}>"

    def plot(self) -> Figure:
        """The accuracy of each top, rotated against as it is, with the means' intervals."""
        from dissect import plots

        rows = self.summary()[:2]
        with plots.drawing():
            figure = plots.new_figure(3.4, 2.8)
            axes = figure.add_subplot()
            for place, (row, values) in enumerate(zip(rows, self.accuracy.tolist())):
                axes.plot([place] * len(values), values, "_", color=plots.QUIET, label="a top" if not place else None)
                if row.low is not None and row.high is not None:
                    axes.plot([place, place], [row.low, row.high], color=plots.INK)
                axes.plot([place], [row.accuracy], "o", color=plots.ACCENT, label="mean" if not place else None)
            if self.network is not None:
                axes.axhline(self.network.accuracy, linestyle=":", color=plots.QUIET, label="the network as it is")
            axes.set_xticks([0, 1], [f"features\n{row.features}" for row in rows])
            axes.set_xlim(-0.5, 1.5)
            plots.label(axes, "", "accuracy")
            plots.legend_below(figure, axes)
        return figure

    def summary(self) -> Table[RetrainedRow]:
        """A row for each kind of features, and one for their difference within repeats (`RetrainedRow`)."""
        repeats = self.accuracy.shape[1]
        kinds = {
            "as they are": self.accuracy[0],
            "rotated": self.accuracy[1],
            "difference": self.accuracy.diff(dim=0)[0],
        }
        rows = []
        for name, values in kinds.items():
            low = high = None
            if repeats >= FEWEST:
                means = drawn_again(repeats, RESAMPLES, seed=0) @ values / repeats
                low, high = interval_of(means, repeats).tolist()
            rows.append(RetrainedRow(name, repeats, float(values.mean()), low, high))
        return Table(rows)
