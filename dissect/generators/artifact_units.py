"""Units whose images look unreal: the Frechet distance of the images that maximise each (thesis, A.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.files.checked import Array, Maybe, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.network.units import Units, check_units
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dissect.dissection.result import Dissection


class ArtifactRow(NamedTuple):
    """A unit in a table.

    Attributes:
        rank: 1 is the worst.
        unit: its number.
        distance: of the images that maximise it from the real ones.
        over_random: by how much that exceeds the mean of as many random images of the generator.
    """

    rank: int
    unit: int
    distance: float
    over_random: float | None


class FlagAgreementRow(NamedTuple):
    """How well the worst units are those that a person flagged (Fig. A-1).

    Attributes:
        units: how many of the worst are taken.
        flagged: how many of these are flagged.
        precision: their share of these.
        recall: their share of all that are flagged.
        chance: the precision of random units.
    """

    units: int
    flagged: int
    precision: float
    recall: float
    chance: float


AgreementRow = FlagAgreementRow  # its earlier name, which callers have


class ChosenUnits(tuple[int, ...]):
    """Units, and the z on which they were chosen, which must not judge them.

    Attributes:
        z_keys: [N] int64, hashes of the z and their noise seeds.
    """

    z_keys: Tensor


@dataclass(eq=False)  # tensors have no one truth value
class ArtifactUnits(Result):
    """How far the images that maximise each unit are from real ones.

    Distances are of samples of the same size, and can be compared with one another alone.

    Attributes:
        layer: the layer's name.
        distances: [U] float64, Frechet distances.
        random: [R] float64, of as many random images of the generator.
        floor: of as many real images from the other real ones; None where there are too few.
        top: how many images maximise a unit.
        num_images: N, of which they are.
        num_real: M.
        num_features: D.
        top_images: [U, T] int64, numbers of the z whose images maximise each unit most.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds, options and networks.

    Example: see `artifact_units`.
    """

    kind = "artifact units"
    suffix = ".artifacts"

    layer: str
    distances: Tensor
    random: Tensor
    floor: float | None
    top: int
    num_images: int
    num_real: int
    num_features: int
    top_images: Tensor
    z_keys: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        low, high = (float(end) for end in self.distances.aminmax())
        random = f"; random images {float(self.random.mean()):.4g}" if len(self.random) else ""
        return (
            f"<ArtifactUnits of {len(self.distances)} units of {self.layer!r}: the {self.top} of {self.num_images} "
            f"images that maximise each are at {low:.4g} to {high:.4g} from {self.num_real} real ones{random}>"
        )

    @property
    def ranking(self) -> Tensor:
        """[U] int64: the units, the one of the highest distance first; ties to the lower number."""
        return self.distances.sort(descending=True, stable=True).indices

    @speaks
    def worst(self, count: int = 20) -> ChosenUnits:
        """The units of the highest distances; 20 of 512 are published.

        Raises:
            TypeError, ValueError: not so many are there.
        """
        if integer("count", count) > len(self.distances):
            raise refusal(ValueError(f"count must be at most {len(self.distances)}, but is {count}."))
        chosen = ChosenUnits(self.ranking[:count].tolist())
        chosen.z_keys = self.z_keys
        return chosen

    @property
    def table(self) -> Table[ArtifactRow]:
        """A `Table` of `ArtifactRow`, the worst unit first."""
        base = float(self.random.mean()) if len(self.random) else None
        worst = self.ranking.tolist()
        found = ((rank, unit, float(self.distances[unit])) for rank, unit in enumerate(worst, 1))
        return Table(ArtifactRow(*row, None if base is None else row[2] - base) for row in found)

    @speaks
    def agreement(self, flags: Units, counts: Sequence[int] | None = None) -> Table[FlagAgreementRow]:
        """Precision and recall of the worst units against those that a person flagged (`FlagAgreementRow`).

        Args:
            flags: units, or what `read_flags` gave.
            counts: how many of the worst are taken; by default as many as are flagged, and half and twice as many.

        Raises:
            TypeError, ValueError: no such units or counts; flags of another layer or network.
        """
        flagged = self._flagged(flags)
        units = len(self.distances)
        if counts is None:
            counts = sorted({min(units, max(1, len(flagged) * by // 2)) for by in (1, 2, 4)})
        hits = torch.isin(self.ranking, flagged).cumsum(0).tolist()
        rows = []
        for count in counts:
            if not 0 < integer("counts", count) <= units:
                raise refusal(ValueError(f"counts must be from 1 to {units}, but one is {count}."))
            hit = hits[count - 1]
            rows.append(FlagAgreementRow(count, hit, hit / count, hit / len(flagged), len(flagged) / units))
        return Table(rows)

    @speaks
    def average_precision(self, flags: Units) -> float:
        """The mean over the flagged units of the precision of all units that are at least as bad; see `agreement`."""
        hits = torch.isin(self.ranking, self._flagged(flags))
        precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
        return float(precision[hits].mean())

    def unrealistic(self, limit: float) -> tuple[int, ...]:
        """The units whose distance is at least `limit`, in the order of their numbers (A.3: 55 there)."""
        return tuple((self.distances >= limit).nonzero().flatten().tolist())

    @speaks
    def withhold(self, dissection: Dissection, limit: float) -> Dissection:
        """The dissection without concepts for units of this layer whose images are unrealistic (thesis, A.3, Fig. A-5).

        A segmenter cannot be trusted there. Their counts are 0, and so are their IoUs; the settings name them
        ("withheld").

        Raises:
            KeyError: it has no such layer.
            ValueError: it is of another network, or of other units.
        """
        layer = dissection.of_units(self.layer)
        weights = dissection.settings.get("provenance", {}).get("weights")
        if layer.num_units != len(self.distances) or weights not in (None, self.settings["weights"]):
            raise refusal(
                ValueError(
                    f"dissection must be of the network whose {len(self.distances)} units of {self.layer!r} these are."
                )
            )
        units = list(self.unrealistic(limit))
        parts = {name: getattr(layer, name).clone() for name in ("intersection", "union_area")}
        for values in parts.values():
            values[units] = 0
        evidence = layer.evidence
        if evidence is not None:
            # What chance gives stays that of all units, so that nothing looks surer than before.
            parts_of = {name: getattr(evidence, name).clone() for name in ("interval", "held_out")}
            parts_of["interval"][units], parts_of["held_out"][:, units] = torch.nan, torch.nan
            evidence = dataclasses.replace(evidence, **parts_of)
        told = {**dissection.settings.get("withheld", {}), self.layer: {"limit": limit, "units": units}}
        return dataclasses.replace(
            dissection,
            layers={**dissection.layers, self.layer: dataclasses.replace(layer, evidence=evidence, **parts)},
            settings={**dissection.settings, "withheld": told},
        )

    def plot(self, flags: Units | None = None) -> Figure:
        """The distances of all units, falling, and with `flags` precision over recall, as a matplotlib figure.

        Raises:
            ImportError: matplotlib is not installed.
            TypeError, ValueError: see `agreement`.
        """
        from dissect import plots

        flagged = torch.empty(0, dtype=torch.int64) if flags is None else self._flagged(flags)
        order = self.ranking
        with plots.drawing():
            figure = plots.new_figure(7.0 if len(flagged) else 4.2, 2.9)
            first, *others = plots.panels(figure, 2 if len(flagged) else 1)
            ranks, own = torch.arange(1, len(order) + 1), torch.isin(order, flagged)
            first.plot(ranks, self.distances[order], ".", color=plots.FAINT if len(flagged) else plots.ACCENT, ms=4)
            if len(flagged):
                first.plot(ranks[own], self.distances[order][own], "o", color=plots.OTHER, ms=4, label="flagged by eye")
            for value in self.random.tolist():
                first.axhline(value, color=plots.QUIET, linewidth=0.6)
            plots.plain(first)
            plots.label(first, f"units of {self.layer}, the worst first", "Frechet distance", f"{self.top} images each")
            for axes in others:
                rows = self.agreement(flagged, range(1, len(order) + 1))
                found = plots.Curve([row.recall for row in rows], [row.precision for row in rows])
                plots.curves(axes, {"worst units": found})
                axes.axhline(len(flagged) / len(order), color=plots.QUIET, linewidth=0.8, linestyle="--")
                axes.set_ylim(0, 1.02)
                plots.label(axes, "recall of flagged units", "precision", "as a predictor of the flags")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {name: getattr(self, name) for name in _TENSORS}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> ArtifactUnits:
        """See `Result`."""
        fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "weights": Text()})
        fields(what, tensors, _TENSORS, {"N": meta["num_images"]})
        require(what, bool((tensors["top_images"] < meta["num_images"]).all()), "top images are of the z")
        require(what, meta["top"] <= meta["num_images"] and len(tensors["distances"]) > 0, "there are so many images")
        found: dict[str, Any] = {name: meta.get(name) for name in _META} | {name: tensors[name] for name in _TENSORS}
        return cls(**found)

    def _flagged(self, flags: Units) -> Tensor:
        """[F] units that were flagged, of this layer and network."""
        for name, own in (("layer", self.layer), ("weights", self.settings["weights"])):
            other = getattr(flags, name, None)
            if other not in (None, own):
                raise refusal(ValueError(f"flags must be of the same {name} ({own}), but are of {other}."))
        numbers = check_units(self.layer, flags)
        if not len(numbers) or int(numbers.max()) >= len(self.distances):
            raise refusal(
                ValueError(f"flags must be at least one unit below {len(self.distances)}, but are {numbers.tolist()}.")
            )
        return numbers


_META = {
    "layer": Text(),
    "floor": Maybe(Number(0)),
    "top": Whole(2),
    "num_images": Whole(2),
    "num_real": Whole(2),
    "num_features": Whole(1),
    "settings": Of(dict),
}
_TENSORS = {
    "distances": Array(torch.float64, "U", 0, 1.7e308),
    "random": Array(torch.float64, "R", 0, 1.7e308),
    "top_images": Array(torch.int64, "U T", 0),
    "z_keys": Array(torch.int64, "N"),
}
