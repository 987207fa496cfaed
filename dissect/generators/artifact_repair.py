"""Ablates artifact units, and measures how far the images then are from real ones (thesis, Table 4.1, A.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import integer, refusal, speaks
from dissect.files.checked import Array, Each, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.artifact_features import ImageFeatures, Real, Seeing, gather, settings_of
from dissect.generators.intervals import known
from dissect.generators.observing import random_units, warn_of_shared
from dissect.generators.rendering import Latents, Renderer, UnitEdit
from dissect.network.layouts import LayoutOption
from dissect.network.units import Units
from dissect.stats import FrechetReference
from dissect.stats.bootstrap import FEWEST, drawn_again, ends, enough_draws
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANDOM = "random"
#: Which z are looked at: those whose images maximise the units, as published, and any.
SAMPLINGS = ("maximising", "uniform")
#: One of so many z maximises the units.
ONE_OF = 10
RESAMPLES = 200


class RepairRow(NamedTuple):
    """A set of units in a table (Table 4.1, A.1).

    Attributes:
        sampling: "maximising": the images that maximise the units; "uniform": of any z.
        ablated: the name of the set that is ablated, "-" for none; "random" is the mean of the draws.
        units: how many.
        distance: of the images from real ones.
        low: the lower end of its 95 % interval; None where it is not known.
        high: the upper end.
        change: what the ablation adds to the distance of the same z's own images; None without ablation.
        change_low: the lower end of the change's 95 % interval.
        change_high: the upper end.
    """

    sampling: str
    ablated: str
    units: int
    distance: float
    low: float | None
    high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None


@dataclass(eq=False)  # tensors have no one truth value
class ArtifactRepair(Result):
    """How far images are from real ones, before and after sets of units are ablated.

    Intervals draw the same K images again with replacement, for all edits alike, and are moved so that their mean is
    the distance: in samples drawn again images stand twice, which lifts each Frechet distance.

    Attributes:
        layer: the layer's name.
        num_units: U, of the layer.
        names: [E] of the sets; the last ones may be "random".
        sets: [E] units of each.
        chosen: [2, K] int64, numbers of the z of both samplings.
        distances: [2, 1 + E] float64, of the images as they are, and without each set.
        resampled: [2, 1 + E, B] float64, the same of images drawn again.
        num_images: N, from which the maximising ones are chosen.
        num_real: M.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds and options.

    Example: see `artifact_repair`.
    """

    kind = "artifact repair"
    suffix = ".repair"

    layer: str
    num_units: int
    names: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]
    chosen: Tensor
    distances: Tensor
    resampled: Tensor
    num_images: int
    num_real: int
    z_keys: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        before, after = self.distances[0, :2].tolist()
        return (
            f"<ArtifactRepair of {len(self.sets[0])} units of {self.layer!r} ({self.names[0]!r}): the "
            f"{self.chosen.shape[1]} images that maximise {self.settings['by']!r} are at {before:.4g} from "
            f"{self.num_real} real ones, and at {after:.4g} without the units>"
        )

    @property
    def table(self) -> Table[RepairRow]:
        """A `Table` of `RepairRow`: for both samplings the images as they are, without each set, and random units."""
        rows = []
        for at, sampling in enumerate(SAMPLINGS):
            for name in ("-", *dict.fromkeys(self.names)):
                own = [0] if name == "-" else [1 + k for k, each in enumerate(self.names) if each == name]
                distances, resampled = self.distances[at, own].mean(), self.resampled[at, own].mean(0)
                change = distances - self.distances[at, 0]
                ends = _interval(distances, resampled), _interval(change, resampled - self.resampled[at, 0])
                units = 0 if name == "-" else len(self.sets[own[0] - 1])
                told = (None, None, None) if name == "-" else (float(change), *ends[1])
                rows.append(RepairRow(sampling, name, units, float(distances), *ends[0], *told))
        return Table(rows)

    def plot(self) -> Figure:
        """Bars of the distances with their intervals, for both samplings, as a matplotlib figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        rows = self.table
        names = ["as generated", *(f"without {name} units" for name in dict.fromkeys(self.names))]
        found = {sampling: [row for row in rows if row.sampling == sampling] for sampling in SAMPLINGS}
        halves = [
            [0.0 if row.low is None or row.high is None else (row.high - row.low) / 2 for row in own]
            for own in found.values()
        ]
        with plots.drawing():
            figure = plots.new_figure(5.4, 1.3 + 0.42 * len(names))
            axes = figure.add_subplot()
            series = {f"{sampling} z": [row.distance for row in own] for sampling, own in found.items()}
            plots.bars(axes, names, series, intervals=halves, across=True, colors=(plots.ACCENT, plots.FAINT))
            plots.label(axes, f"Frechet distance of {self.chosen.shape[1]} images from {self.num_real} real ones")
            plots.legend_below(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {name: getattr(self, name) for name in _TENSORS}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> ArtifactRepair:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "by": Text()})
        fields(what, tensors, _TENSORS, {"N": meta["num_images"], "F": sizes["E"] + 1})
        require(what, sizes["E"] > 0 and all(map(len, meta["sets"])), "sets have units")
        require(what, all(max(units) < meta["num_units"] for units in meta["sets"]), "units are of the layer")
        require(what, bool((tensors["chosen"] < meta["num_images"]).all()), "chosen z are there")
        own = {name: meta[name] for name in ("layer", "num_units", "num_images", "num_real", "settings")}
        own |= {name: tensors[name] for name in _TENSORS}
        return cls(names=tuple(meta["names"]), sets=tuple(map(tuple, meta["sets"])), **own)


def _interval(value: Tensor, resampled: Tensor) -> tuple[float | None, float | None]:
    """The ends of a 95 % interval around a value, of its resampled values; None without any."""
    if len(resampled) < FEWEST:
        return None, None
    low, high = (value + ends(resampled - resampled.mean())).tolist()
    return known(low), known(high)


_META = {
    "layer": Text(),
    "num_units": Whole(1),
    "names": Each(Text(), "E"),
    "sets": Each(Each(Whole(), different=True), "E"),
    "num_images": Whole(2),
    "num_real": Whole(2),
    "settings": Of(dict),
}
_TENSORS = {
    "chosen": Array(torch.int64, "2 K", 0),
    "distances": Array(torch.float64, "2 F", 0, 1.7e308),
    "resampled": Array(torch.float64, "2 F B", 0, 1.7e308),
    "z_keys": Array(torch.int64, "N"),
}


@speaks
def artifact_repair(
    generator: nn.Module,
    layer: str,
    sets: Mapping[str, Units],
    z: Latents,
    real: Real,
    *,
    features: ImageFeatures | None = None,
    by: str | None = None,
    count: int | None = None,
    draws: int = 3,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> ArtifactRepair:
    """Ablates sets of artifact units and as many random ones, and compares the images with real ones (Table 4.1, A.1).

    Two samples of z are looked at, each before and after: those whose images maximise the units, as published (10,000
    images "with high activations on these units"), and the first of all z, which are a uniform sample. Which images
    maximise several units is not published: here an image's place is the best that it has in any unit's order by
    highest activation, so that each unit has as many of the images.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        sets: by name, units: those of `ArtifactUnits.worst`, a person's list (`read_flags`), both together.
        z: see `effect`; others than those that chose the units.
        real: see `artifact_units`.
        features: see `artifact_units`.
        by: the name of the set whose units the images maximise; the first by default.
        count: K, how many images each sample has; by default a tenth of all.
        draws: how many sets of random units, as many as the first set has.
        seed: of these, and of intervals.
        resamples: how often images are drawn again for intervals, twice at least; 0 for none.
        batch_size: see `effect`.
        layout: see `effect`.
        resume: see `effect`; has a folder for each of two runs.
        progress: show a bar.

    Returns:
        An `ArtifactRepair`.

    Raises:
        KeyError: a layer that is not there, or `by` that is no set.
        ImportError, TypeError, ValueError: see `artifact_units`; no sets, or one called "random" or "-".

    Warns:
        UserWarning: units that were chosen on some of these z.

    Example:
        >>> from dissect import generators, tiny
        >>> from dissect.tiny import judge
        >>> street, real = tiny.generator(), tiny.TinyScenes("val", 64, 6, family="street")
        >>> found = generators.artifact_repair(
        ...     street, "layer4", {"by eye": [3, 7]}, dissect.latents(street, 6, seed=6), real,
        ...     features=judge.features, count=3, draws=1, resamples=0, progress=False,
        ... )
        >>> [(row.sampling, row.ablated, row.units) for row in found.table][:3]
        [('maximising', '-', 0), ('maximising', 'by eye', 2), ('maximising', 'random', 2)]
    """
    for name, number in {"draws": draws, "seed": seed}.items():
        integer(name, number, 0)
    enough_draws(resamples)
    by = _maximised(sets, by)
    renderer = Renderer(generator, layer, z, None, integer("batch_size", batch_size), layout)
    units = {name: renderer.units(own) for name, own in sets.items()}
    for own in sets.values():
        warn_of_shared(own, renderer)
    number = len(renderer)
    count = number // ONE_OF if count is None else integer("count", count)
    if not 2 <= count <= number:
        raise refusal(ValueError(f"count must be from 2 to the {number} z (by default a tenth), but is {count}."))
    seeing = Seeing(features, renderer)
    random = random_units(renderer.num_units, len(next(iter(units.values()))), draws, seed)
    edited = [*units.values(), *random]
    about = {"function": "artifact_repair", "sets": [own.tolist() for own in edited], "by": by, "count": count}
    places = [None, None] if resume is None else [Path(resume) / name for name in ("choice", "images")]
    real_features, most = _most(renderer, seeing, real, units[by], count, about, places[0], progress)
    chosen = torch.stack([most, torch.arange(count)])
    seen = _edited(renderer, seeing, chosen, edited, about, places[1], progress)
    reference = FrechetReference(real_features)
    distances = torch.tensor([[reference.distance(each) for each in own] for own in seen], dtype=torch.float64)
    weights = drawn_again(count, resamples, seed)
    again = [[[reference.distance(each, drawn) for drawn in weights] for each in own] for own in seen]
    resampled = torch.tensor(again, dtype=torch.float64).view(2, 1 + len(edited), resamples)
    settings = {"seed": seed, "draws": draws, "resamples": resamples, "by": by, **settings_of(renderer, seeing)}
    return ArtifactRepair(
        layer, renderer.num_units, (*units, *[RANDOM] * draws), tuple(tuple(own.tolist()) for own in edited), chosen,
        distances, resampled, number, len(real_features), renderer.keys(), settings,
    )  # fmt: skip


def _maximised(sets: Any, by: str | None) -> str:
    """The name of the set whose units the images maximise.

    Raises:
        KeyError: `by` is no set.
        ValueError: no sets, or one of a name that tables use.
    """
    if not isinstance(sets, Mapping) or not sets or {RANDOM, "-"} & set(sets):
        raise refusal(ValueError(f'sets must be units by name, of which none is "random" or "-", but got {sets}.'))
    by = next(iter(sets)) if by is None else by
    if by not in sets:
        raise refusal(KeyError(f"by must be one of the sets {list(sets)}, but is {by!r}."))
    return by


def maximising(peaks: Tensor, count: int) -> Tensor:
    """[K] int64: the images that maximise some units, rising; ties to the unit that comes first, then to the image.

    Args:
        peaks: [N, U] the highest activations of each unit in each image.
        count: K.

    Example:
        >>> maximising(torch.tensor([[9.0, 0.0], [8.0, 1.0], [0.0, 7.0], [1.0, 0.5]]), 2)
        tensor([0, 2])
    """
    order = peaks.sort(dim=0, descending=True, stable=True).indices.flatten()  # each unit's first, its second...
    return torch.tensor(list(dict.fromkeys(order.tolist()))[:count]).sort().values


def _most(
    renderer: Renderer, seeing: Seeing, real: Real, units: Tensor, count: int, about: dict[str, Any],
    resume: Path | None, progress: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The features [M, D] of the real images, and the numbers [K] of the z whose images maximise the units."""

    def peaks(rows: slice) -> dict[str, Tensor]:
        return {"peaks": ops.image_peaks(renderer.maps(rows)[:, units]).cpu()}

    real_features, found = gather(renderer, seeing, real, peaks, about, resume, progress)
    return real_features, maximising(found["peaks"], count)


def _edited(
    renderer: Renderer, seeing: Seeing, chosen: Tensor, sets: list[Tensor], about: dict[str, Any], resume: Path | None,
    progress: bool,
) -> Tensor:  # fmt: skip
    """[2, 1 + E, K, D] features of the images of the chosen z, as they are and without each set of units."""
    rows = chosen.flatten()
    z: Latents = renderer.z[rows] if renderer.seeds is None else (renderer.z[rows], renderer.seeds[rows])
    few = Renderer(renderer.generator, renderer.layer, z, None, renderer.batch_size, renderer.layout)

    def own(part: slice) -> dict[str, Tensor]:
        found = {"0": seeing.generated(few.plain(part)[1])}

        def see(number: int, images: Tensor) -> None:
            found[str(1 + number)] = seeing.generated(images)

        few.edited(part, [UnitEdit(units) for units in sets], see)
        return found

    _, found = gather(few, seeing, None, own, about, resume, progress)
    features: Tensor = torch.stack([found[str(at)] for at in range(1 + len(sets))]).unflatten(1, (2, -1))
    return features.transpose(0, 1)
