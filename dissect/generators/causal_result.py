"""The units that a class depends on most, as a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, overload

import torch
from torch import Tensor

from dissect.files.checked import Array, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of the optimisation: that of the published code, or of the thesis.
CausalForm = Literal["published", "thesis"]
FORMS: tuple[CausalForm, ...] = get_args(CausalForm)


class CausalRow(NamedTuple):
    """A unit that a class depends on.

    Attributes:
        unit: number within the layer.
        alpha: how much of it takes part, after the optimisation.
        start: the same before.
        iou: its IoU with the class.
        iou_rank: its place by that, from 1.
    """

    unit: int
    alpha: float
    start: float
    iou: float
    iou_rank: int


@dataclass(eq=False)  # tensors have no one truth value
class CausalUnits(Result, Sequence[int]):
    """Units ranked by how much they take part in a class's average causal effect (thesis, eq. 4.5, 4.6).

    It is a sequence of the numbers of the first `number` units, so it can be given wherever units are asked for.

    Attributes:
        layer: the layer's name.
        concept: the class, as "category/name".
        number: how many units it gives.
        alpha: [U] float32, after the optimisation.
        start: [U] float32, before it: IoU / max IoU.
        iou: [U] float64.
        value: [U] float32, k.
        losses: [T] float64, the objective before each step.
        removals: [n, 3] int64, places from which the class was to go: z, row and column of the first cell.
        insertions: [n, 3] int64, the same where it was to appear.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds and options.

    Example: see `causal_units`.
    """

    kind = "causal units"
    suffix = ".causal"

    layer: str
    concept: str
    number: int
    alpha: Tensor
    start: Tensor
    iou: Tensor
    value: Tensor
    losses: Tensor
    removals: Tensor
    insertions: Tensor
    z_keys: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"<CausalUnits of {self.concept!r} in {self.layer!r}: {list(self)} of {len(self.alpha)} units, after "
            f"{len(self.losses)} steps over {len(self.removals)} places of each kind in {len(self.z_keys)} z>"
        )

    @property
    def ranking(self) -> Tensor:
        """[U] int64: all units, the one with the largest alpha first; ties by IoU, then by number."""
        order = self.iou.sort(descending=True, stable=True).indices
        return order[self.alpha[order].sort(descending=True, stable=True).indices]

    @property
    def table(self) -> Table[CausalRow]:
        """The first `number` units as a `Table` of `CausalRow`."""
        order = self.iou.sort(descending=True, stable=True).indices.tolist()
        return Table(
            CausalRow(unit, float(self.alpha[unit]), float(self.start[unit]), float(self.iou[unit]), place)
            for unit, place in ((unit, order.index(unit) + 1) for unit in self)
        )

    def plot(self) -> Figure:
        """Bars of the first `number` units' alpha before and after the optimisation, as a matplotlib figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        units = list(self)
        with plots.drawing():
            figure = plots.new_figure(max(4.0, 1 + 0.32 * len(units)), 3.0)
            axes = figure.add_subplot()
            series = {"after": self.alpha[units].tolist(), "IoU / max IoU, before": self.start[units].tolist()}
            plots.bars(axes, [str(unit) for unit in units], series, colors=(plots.ACCENT, plots.FAINT))
            plots.label(axes, f"unit of {self.layer}", "alpha", self.concept)
            plots.legend_below(figure, axes)
        return figure

    def __len__(self) -> int:
        """How many units it gives."""
        return self.number

    def __iter__(self) -> Iterator[int]:
        return iter(self.ranking[: self.number].tolist())

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        """A unit by its place, or several."""
        return list(self)[at]

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {name: getattr(self, name) for name in _TENSORS}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> CausalUnits:
        """See `Result`."""
        fields(what, meta, _META)
        sizes = fields(what, tensors, _TENSORS)
        require(what, meta["number"] <= sizes["U"], "the layer has so many units")
        own: dict[str, Any] = {name: meta[name] for name in _META}
        return cls(**own | {name: tensors[name] for name in _TENSORS})


_META = {"layer": Text(), "concept": Text(), "number": Whole(1), "settings": Of(dict)}
_TENSORS = {
    "alpha": Array(torch.float32, "U", 0, 1),
    "start": Array(torch.float32, "U", 0, 1),
    "iou": Array(torch.float64, "U", 0, 1),
    "value": Array(torch.float32, "U", -(2.0**126), 2.0**126),
    "losses": Array(torch.float64, "T"),
    "removals": Array(torch.int64, "P 3", 0),
    "insertions": Array(torch.int64, "P 3", 0),
    "z_keys": Array(torch.int64, "N"),
}
