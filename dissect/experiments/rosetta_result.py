"""Units that are the same in two networks: the result of `rosetta`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Each, Of, Text, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST, LEVEL, ends
from dissect.stats.ranks import adjusted
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
        low: where 95 % of the correlations with this other unit begin when images are drawn again; None where there
            are too few images, or no draws.
        high: where they end.
        stays: of a pair of best buddies the share of the draws in which they are that; else None.
    """

    unit: int
    other: int | None
    correlation: float | None
    mutual: bool
    by_chance: float
    p: float | None
    low: float | None = None
    high: float | None = None
    stays: float | None = None


class RosettaIntervalRow(NamedTuple):
    """A number of both layers, and how sure it is, by images that are drawn again.

    Attributes:
        statistic: "median best r" or "highest r", of units with the partners that they have over all images; or "best
            buddies".
        value: over all images.
        low: where 95 % of its values begin; None where there are too few images. Of best buddies, how many are that in
            at least 95 % of the draws.
        high: where they end; None of best buddies.
    """

    statistic: str
    value: float
    low: float | None
    high: float | None


class RosettaSummaryRow(NamedTuple):
    """What two layers share, on the same images and on permuted ones.

    Attributes:
        images: "same" or "permuted".
        units: of the first network that are not constant.
        median: of their best correlations; None where all units are constant.
        buddies: pairs that are each other's best.
        beyond: how many of these correlate more than any pair does on permuted images.
    """

    images: str
    units: int
    median: float | None
    buddies: int
    beyond: int


class RosettaSignificanceRow(NamedTuple):
    """A unit of the first network against what permuted images give it.

    Attributes:
        unit: its number.
        other: the unit of the second network with the highest correlation.
        correlation: of both.
        mutual: whether they are best buddies.
        by_chance: the mean over permutations of the unit's best correlation.
        p: how probable so high a best correlation of this unit is on permuted images, (1 + those that reach it) /
            (1 + permutations).
        q: the false discovery rate of all units up to this p (Benjamini & Hochberg 1995).
    """

    unit: int
    other: int
    correlation: float
    mutual: bool
    by_chance: float
    p: float
    q: float


class RosettaChanceRow(NamedTuple):
    """A number of two layers against the same number on permuted images.

    Attributes:
        statistic: "median best r", "highest r" or "best buddies".
        value: on the same images.
        by_chance: its mean over permutations.
        low: the lower end of where 95 % of the permutations lie; None for fewer than 10.
        high: the upper end.
        p: (1 + permutations that reach the value) / (1 + permutations).
    """

    statistic: str
    value: float
    by_chance: float
    low: float | None
    high: float | None
    p: float


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class Rosetta(Result):
    """The result of `experiments.rosetta`.

    Attributes:
        layers: the names of both layers.
        correlation: [U, V] float64; 0 where a unit is constant.
        null: [U, V] float64, when the second network sees other images, each another one.
        settings: the number of images and the seed.
        permuted_best: [P, U] float64, each unit's best correlation in each of P permutations of the images; None where
            `rosetta` made but one, that of `null`.
        permuted_highest: [P] float64, the highest correlation of all.
        permuted_buddies: [P] int64, how many pairs are best buddies.
        resampled: [B, U] float64, each unit's correlation with its partner in each of B draws of the images; None where
            there are too few images, or no draws, and in files of before.
        resampled_mutual: [U] int64, in how many draws both are each other's best.

    Example: see `dissect.experiments.rosetta` and `rosetta_permuted`.
    """

    kind = "rosetta"
    version = 2
    suffix = ".rosetta"

    layers: list[str]
    correlation: Tensor
    null: Tensor
    settings: dict[str, Any]
    permuted_best: Tensor | None = None
    permuted_highest: Tensor | None = None
    permuted_buddies: Tensor | None = None
    resampled: Tensor | None = None
    resampled_mutual: Tensor | None = None

    def __repr__(self) -> str:
        same = self.summary()[0]
        first, second = self.layers
        return (
            f"<Rosetta of {first!r} and {second!r} over {self.settings['num_images']} images: {same.buddies} best "
            f"buddies, {same.beyond} beyond chance>"
        )

    def rows(self) -> Table[RosettaRow]:
        """A row per unit of the first network (`RosettaRow`); printed with the highest correlation first."""
        best, mutual = best_buddies(self.correlation)
        chance = self.null.amax(1)
        ordered = chance[_moves(self.null)].sort().values
        known = None if self.resampled is None else ends(self.resampled).tolist()
        rows = []
        for unit, other in enumerate(best.tolist()):
            value, by_chance = float(self.correlation[unit, other]), float(chance[unit])
            if not bool(self.correlation[unit].any()):
                rows.append(RosettaRow(unit, None, None, False, by_chance, None))
                continue
            reached = len(ordered) - int(torch.searchsorted(ordered, value))
            p = (1 + reached) / (1 + len(ordered))
            low, high = (None, None) if known is None else known[unit]
            stays = None
            if self.resampled_mutual is not None and self.resampled is not None and bool(mutual[unit]):
                stays = int(self.resampled_mutual[unit]) / len(self.resampled)
            rows.append(RosettaRow(unit, other, value, bool(mutual[unit]), by_chance, p, low, high, stays))
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
            best, mutual = best_buddies(matrix)
            moves = _moves(matrix)
            values = matrix.gather(1, best[:, None])[:, 0]
            median = float(values[moves].median()) if bool(moves.any()) else None
            beyond = int((mutual & (values > most)).sum())
            rows.append(RosettaSummaryRow(name, int(moves.sum()), median, int(mutual.sum()), beyond))
        return Table(rows)

    def intervals(self) -> Table[RosettaIntervalRow]:
        """A row per number of both layers, with its interval over images (`RosettaIntervalRow`).

        No rows where all units are constant.

        Raises:
            ValueError: images were not drawn again.
        """
        if self.resampled is None or self.resampled_mutual is None:
            raise refusal(
                ValueError(
                    f"images must have been drawn again, but were not: of {self.settings['num_images']} images, which "
                    f"must be in {FEWEST} groups, with resamples={self.settings.get('resamples', 0)}."
                )
            )
        same, best, moves = self.summary()[0], self.correlation.amax(1), _moves(self.correlation)
        if same.median is None:
            return Table([])
        drawn = self.resampled[:, moves]
        rows = [
            RosettaIntervalRow(name, value, *ends(again).tolist())
            for name, value, again in (
                ("median best r", same.median, drawn.median(1).values),
                ("highest r", float(best.max()), self.resampled[:, int(best.argmax())]),
            )
        ]
        stay = int(((self.resampled_mutual >= LEVEL * len(drawn)) & best_buddies(self.correlation)[1]).sum())
        return Table([*rows, RosettaIntervalRow("best buddies", float(same.buddies), float(stay), None)])

    def significance(self) -> Table[RosettaSignificanceRow]:
        """A row per unit of the first network that is not constant (`RosettaSignificanceRow`), lowest p first.

        Raises:
            ValueError: there was but one permutation.
        """
        null = self._permutations()[0]
        best, mutual = best_buddies(self.correlation)
        units = _moves(self.correlation).nonzero()[:, 0]
        values = self.correlation[units, best[units]]
        p = (1 + (null[:, units] >= values).sum(0)).double() / (1 + len(null))
        parts = units, best[units], values, mutual[units], null[:, units].mean(0), p, adjusted(p)
        rows = [RosettaSignificanceRow(*row) for row in zip(*(part.tolist() for part in parts))]
        return Table(sorted(rows, key=lambda row: (row.p, -row.correlation)))

    def chance(self) -> Table[RosettaChanceRow]:
        """A row per number of both layers, against all permutations (`RosettaChanceRow`).

        No rows where all units are constant.

        Raises:
            ValueError: there was but one permutation.
        """
        null, highest, buddies = self._permutations()
        moves, same = _moves(self.correlation), self.summary()[0]
        if same.median is None:
            return Table([])
        median = null[:, moves].median(1).values
        rows = []
        for name, value, values in (("median best r", same.median, median),
                                    ("highest r", float(self.correlation.max()), highest),
                                    ("best buddies", float(same.buddies), buddies.double())):  # fmt: skip
            low, high = ends(values).tolist() if len(values) >= FEWEST else (None, None)
            p = (1 + int((values >= value).sum())) / (1 + len(values))
            rows.append(RosettaChanceRow(name, value, float(values.mean()), low, high, p))
        return Table(rows)

    def _permutations(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.permuted_best is None or self.permuted_highest is None or self.permuted_buddies is None:
            raise refusal(ValueError("there must be many permutations, but there was one; see `rosetta_permuted`."))
        return self.permuted_best, self.permuted_highest, self.permuted_buddies

    def plot(self) -> Figure:
        """How the units' best correlations are spread, on the same images and on permuted ones."""
        from dissect import plots

        with plots.drawing():
            figure = plots.new_figure(4.4, 2.2)
            values = {name: matrix.amax(1)[_moves(matrix)].tolist() for name, matrix in
                      (("same images", self.correlation), ("permuted images", self.null))}  # fmt: skip
            if self.permuted_best is not None:
                values["permuted images"] = self.permuted_best[:, _moves(self.correlation)].flatten().tolist()
            for axes in plots.histograms(figure, values, bins=20, none="all units are constant"):
                axes.set_xlabel("best correlation")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {"correlation": self.correlation, "null": self.null}
        if self.permuted_best is not None:
            tensors |= dict(zip(_PERMUTED, self._permutations()))
        if self.resampled is not None and self.resampled_mutual is not None:
            tensors |= {"resampled": self.resampled, "resampled_mutual": self.resampled_mutual}
        return tensors, {"layers": self.layers, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Rosetta:
        """See `Result`."""
        fields(what, meta, {"layers": Each(Text(), 2), "settings": Of(dict)})
        sizes = fields(what, tensors, dict.fromkeys(("correlation", "null"), Array(torch.float64, "U V", -1, 1)))
        permuted = {name: tensors[name] for name in _PERMUTED if name in tensors}
        if permuted:
            most = min(sizes["U"], sizes["V"])
            rules = {"permuted_best": Array(torch.float64, "P U", -1, 1),
                     "permuted_highest": Array(torch.float64, "P", -1, 1),
                     "permuted_buddies": Array(torch.int64, "P", 0, most)}  # fmt: skip
            sizes = fields(what, permuted, rules, sizes)
            require(what, sizes["P"] > 0, "there are permutations")
        drawn: dict[str, Any] = {name: tensors[name] for name in ("resampled", "resampled_mutual") if name in tensors}
        if drawn:
            rules = {
                "resampled": Array(torch.float64, "B U", -1, 1),
                "resampled_mutual": Array(torch.int64, "U", 0, "B"),
            }
            sizes = fields(what, dict(drawn), rules, sizes)
            require(what, sizes["B"] > 0, "there are draws")
        require(what, sizes["U"] > 0 and sizes["V"] > 0, "there are units")
        require(what, isinstance(meta["settings"].get("num_images"), int), "it says how many images there were")
        return cls(meta["layers"], tensors["correlation"], tensors["null"], meta["settings"], **permuted, **drawn)


_PERMUTED = ("permuted_best", "permuted_highest", "permuted_buddies")


def _moves(matrix: Tensor) -> Tensor:
    """[U] bool: units that are not constant."""
    return (matrix != 0).any(1)


def best_buddies(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[U] int64, each unit's best other, the first of several; [U] bool, whether it is the other's best too."""
    # numpy's argmax documents that it returns the first maximum; torch's does not.
    best, back = (torch.from_numpy(matrix.numpy().argmax(axis)) for axis in (1, 0))
    return best, (back[best] == torch.arange(len(matrix))) & _moves(matrix)
