"""Units that are the same in two networks: the result of `rosetta`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.files.checked import Array, Each, Of, Text, fields, require
from dissect.files.results import Result
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RosettaRow(NamedTuple):
    """A unit of the first network, and the one of the second that goes with it best.

    Attributes:
        unit: its number.
        other: the unit of the second network with the highest correlation; None where the unit is constant.
        correlation: of both; None where the unit is constant.
        mutual: whether the unit is the other's best, too: they are best buddies.
        by_chance: the highest correlation of the unit with any other on permuted images.
        p: how probable so high a best correlation is on permuted images, by those of all units.
    """

    unit: int
    other: int | None
    correlation: float | None
    mutual: bool
    by_chance: float
    p: float | None


class RosettaSummaryRow(NamedTuple):
    """What two layers share, on the same images and on permuted ones.

    Attributes:
        images: "same" or "permuted".
        units: of the first network that are not constant.
        median: of their best correlations.
        buddies: pairs that are each other's best.
        beyond: how many of these correlate more than any pair does on permuted images.
    """

    images: str
    units: int
    median: float
    buddies: int
    beyond: int


@dataclass(eq=False)  # tensors have no one truth value
class Rosetta(Result):
    """The result of `experiments.rosetta`.

    Attributes:
        layers: the names of both layers.
        correlation: [U, V] float64; 0 where a unit is constant.
        null: [U, V] float64, when the second network sees other images, each another one.
        settings: the number of images and the seed.

    Example: see `dissect.experiments.rosetta`.
    """

    kind = "rosetta"
    suffix = ".rosetta"

    layers: list[str]
    correlation: Tensor
    null: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        same = self.summary()[0]
        first, second = self.layers
        return (
            f"<Rosetta of {first!r} and {second!r} over {self.settings['num_images']} images: {same.buddies} best "
            f"buddies, {same.beyond} beyond chance>"
        )

    def rows(self) -> Table[RosettaRow]:
        """A row per unit of the first network (`RosettaRow`); printed with the highest correlation first."""
        best, mutual = _buddies(self.correlation)
        chance = self.null.amax(1)
        ordered = chance[_moves(self.null)].sort().values
        rows = []
        for unit, other in enumerate(best.tolist()):
            value, by_chance = float(self.correlation[unit, other]), float(chance[unit])
            if not bool(self.correlation[unit].any()):
                rows.append(RosettaRow(unit, None, None, False, by_chance, None))
                continue
            reached = len(ordered) - int(torch.searchsorted(ordered, value))
            p = (1 + reached) / (1 + len(ordered))
            rows.append(RosettaRow(unit, other, value, bool(mutual[unit]), by_chance, p))
        return Table(rows, by="correlation")

    def buddies(self) -> Table[RosettaRow]:
        """The rows of mutual best pairs, the highest correlation first."""
        mutual = [row for row in self.rows() if row.mutual and row.correlation is not None]
        return Table(sorted(mutual, key=lambda row: -(row.correlation or 0.0)))

    def summary(self) -> Table[RosettaSummaryRow]:
        """A row on the same images, and one on permuted ones (`RosettaSummaryRow`)."""
        most = float(self.null.max())
        rows = []
        for name, matrix in (("same", self.correlation), ("permuted", self.null)):
            best, mutual = _buddies(matrix)
            moves = _moves(matrix)
            values = matrix.gather(1, best[:, None])[:, 0]
            median = float(values[moves].median()) if bool(moves.any()) else 0.0
            beyond = int((mutual & (values > most)).sum())
            rows.append(RosettaSummaryRow(name, int(moves.sum()), median, int(mutual.sum()), beyond))
        return Table(rows)

    def plot(self) -> Figure:
        """How the units' best correlations are spread, on the same images and on permuted ones."""
        from dissect import plots

        with plots.drawing():
            figure = plots.new_figure(4.4, 2.2)
            values = {name: matrix.amax(1)[_moves(matrix)].tolist() for name, matrix in
                      (("same images", self.correlation), ("permuted images", self.null))}  # fmt: skip
            for axes in plots.histograms(figure, values, bins=20):
                axes.set_xlabel("best correlation")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {"correlation": self.correlation, "null": self.null}
        return tensors, {"layers": self.layers, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Rosetta:
        """See `Result`."""
        fields(what, meta, {"layers": Each(Text(), 2), "settings": Of(dict)})
        sizes = fields(what, tensors, dict.fromkeys(("correlation", "null"), Array(torch.float64, "U V", -1, 1)))
        require(what, sizes["U"] > 0 and sizes["V"] > 0, "there are units")
        require(what, isinstance(meta["settings"].get("num_images"), int), "it says how many images there were")
        return cls(meta["layers"], tensors["correlation"], tensors["null"], meta["settings"])


def _moves(matrix: Tensor) -> Tensor:
    """[U] bool: units that are not constant."""
    return (matrix != 0).any(1)


def _buddies(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[U] int64, each unit's best other, the first of several; [U] bool, whether it is the other's best too."""
    # numpy's argmax documents that it returns the first maximum; torch's does not.
    best, back = (torch.from_numpy(matrix.numpy().argmax(axis)) for axis in (1, 0))
    return best, (back[best] == torch.arange(len(matrix))) & _moves(matrix)
