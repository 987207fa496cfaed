"""How much of a class is gone, over how many of its units are ablated (thesis, Fig. 4-4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.counting import Concept, Segmenting
from dissect.generators.effect import LARGE
from dissect.generators.intervals import RESAMPLES, intervals, known
from dissect.generators.observing import ObservationRun, counters_of, observe, random_units, warn_of_shared
from dissect.generators.regions import Region
from dissect.generators.rendering import Latents, Renderer, UnitEdit
from dissect.network.identity import fingerprint
from dissect.network.layouts import LayoutOption
from dissect.network.units import Units
from dissect.stats.bootstrap import drawn_again, enough_draws
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many units are ablated by default, as far as a ranking has so many.
COUNTS = (1, 2, 3, 4, 5, 8, 12, 20, 30)
RANDOM = "random"


class CurveRow(NamedTuple):
    """A point of a curve.

    Attributes:
        ranking: whose first units are ablated; "random" is the mean of the draws.
        units: how many.
        share: of the layer's units.
        removed: the share of the class's pixels that is gone.
        low: the lower end of its 95 % interval over z; None where fewer than 10 z show the class, and of "random".
        high: the upper end.
        most_changed: of the other classes of the same category with at least a hundredth of the pixels, the one that
            changes most; "-" without any.
        its_change: ``after / before - 1`` of it.
    """

    ranking: str
    units: int
    share: float
    removed: float
    low: float | None
    high: float | None
    most_changed: str
    its_change: float | None


@dataclass(eq=False)  # tensors have no one truth value
class RemovalCurves(Result):
    """What is left of a class when more and more of its units are ablated.

    Attributes:
        layer: the layer's name.
        num_units: U, of the layer.
        concepts: names and categories of the labels.
        label: the class.
        num_pixels: of one image's planes.
        names: [E] of the rankings; the last ones may be "random".
        counts: [K] rising, how many units are ablated.
        rankings: [E, M] int64, the first M units of each, M the largest count.
        before: [N, C] int64, pixels of each label in each of the generator's own images.
        pixels: [E, K, N] int64, pixels of the class in the images without the first counts[k] units.
        totals: [E, K, C] int64, pixels of each label in all those images.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds and options.

    Example: see `removal_curves`.
    """

    kind = "removal curves"
    suffix = ".curves"

    layer: str
    num_units: int
    concepts: Concepts
    label: int
    num_pixels: int
    names: tuple[str, ...]
    counts: tuple[int, ...]
    rankings: Tensor
    before: Tensor
    pixels: Tensor
    totals: Tensor
    z_keys: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        named = [name for name in dict.fromkeys(self.names)]
        return (
            f"<RemovalCurves of {self.concept!r} over {', '.join(map(str, self.counts))} of {self.num_units} units of "
            f"{self.layer!r} in {len(self.before)} z: by {', '.join(named)}>"
        )

    @property
    def concept(self) -> str:
        """The name of the class."""
        return self.concepts.names[self.label]

    @speaks
    def removed(self, name: str) -> Tensor:
        """[K] float64: the share of the class's pixels that is gone; of "random" the mean of the draws.

        Raises:
            KeyError: no ranking has this name.
        """
        before = self.before[:, self.label].sum()
        return (before - self.pixels[self._own(name)].sum(2).double().mean(0)) / before

    @speaks
    def interval(self, name: str) -> Tensor:
        """[K, 2] float64: where `removed` lies in 95 % of samples of as many z; NaN if fewer than 10 show the class.

        Raises:
            KeyError: no ranking has this name.
        """
        base = self.before[:, self.label]
        change = base - self.pixels[self._own(name)].double().mean(0)
        return intervals(self._weights, change.T, base[:, None].expand(-1, len(self.counts)))

    @property
    def table(self) -> Table[CurveRow]:
        """A `Table` of `CurveRow`."""
        rows = []
        for name in dict.fromkeys(self.names):
            removed, ends = self.removed(name).tolist(), self.interval(name).tolist()
            for at, count in enumerate(self.counts):
                low, high = (known(end) for end in ends[at])
                most = self._most_changed(name, at)
                rows.append(CurveRow(name, count, count / self.num_units, removed[at], low, high, *most))
        return Table(rows)

    def plot(self) -> Figure:
        """Curves over the number, and the share, of units, as a matplotlib figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        series = {}
        for name in dict.fromkeys(self.names):
            ends = self.interval(name)
            sure = not bool(ends.isnan().any())
            low, high = ([0.0, *ends[:, side].tolist()] if sure else None for side in (0, 1))
            series[name] = plots.Curve([0, *self.counts], [0.0, *self.removed(name).tolist()], low, high)
        with plots.drawing():
            figure = plots.new_figure(5.0, 3.2)
            axes = figure.add_subplot()
            plots.curves(axes, series)
            axes.axhline(0, color=plots.QUIET, linewidth=0.6)
            axes.set_xlim(0, self.counts[-1])
            percent = 100 / self.num_units
            ways: Any = (lambda count: count * percent, lambda share: share / percent)
            axes.secondary_xaxis("top", functions=ways).set_xlabel("% of the layer's units")
            plots.label(axes, f"units of {self.layer} ablated", f"share of {self.concept} pixels removed")
            plots.legend_below(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {name: getattr(self, name) for name in _META if name not in ("labels", "categories", "names")}
        meta |= {"labels": self.concepts.names, "categories": self.concepts.categories, "names": self.names}
        return {name: getattr(self, name) for name in _TENSORS}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> RemovalCurves:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "resamples": Whole()})
        counts = list(meta["counts"])
        require(what, bool(counts) and counts == sorted(counts) and counts[-1] <= meta["num_units"], "counts rise")
        require(what, meta["label"] < sizes["C"], "the label is one of the names'")
        fields(what, tensors, _TENSORS, {**sizes, "M": counts[-1]})
        require(what, tensors["before"][:, meta["label"]].sum() > 0, "some z shows the class")
        own = {name: meta[name] for name in ("layer", "num_units", "label", "num_pixels", "settings")}
        own |= {name: tuple(meta[name]) for name in ("names", "counts")}
        own |= {name: tensors[name] for name in _TENSORS}
        return cls(concepts=Concepts(tuple(meta["labels"]), tuple(meta["categories"])), **own)

    @cached_property
    def _weights(self) -> Tensor:
        return drawn_again(len(self.before), self.settings["resamples"], self.settings["seed"])

    def _own(self, name: str) -> list[int]:
        found = [at for at, each in enumerate(self.names) if each == name]
        if not found:
            raise refusal(KeyError(f"there is no ranking {name!r}, but {', '.join(dict.fromkeys(self.names))}."))
        return found

    def _most_changed(self, name: str, at: int) -> tuple[str, float | None]:
        before, after = self.before.sum(0).double(), self.totals[self._own(name), at].double().mean(0)
        least, category = len(self.before) * self.num_pixels * LARGE, self.concepts.categories[self.label]
        changes = {
            label: float(after[label] / before[label] - 1)
            for label in range(1, len(self.concepts))
            if label != self.label and self.concepts.categories[label] == category and before[label] >= least
        }
        most = max(changes, key=lambda label: abs(changes[label]), default=None)
        return ("-", None) if most is None else (self.concepts.names[most], changes[most])


_META = {
    "layer": Text(),
    "num_units": Whole(1),
    "labels": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "label": Whole(1),
    "num_pixels": Whole(1),
    "names": Each(Text(), "E"),
    "counts": Each(Whole(1), "K", different=True),
    "settings": Of(dict),
}
_TENSORS = {
    "rankings": Array(torch.int64, "E M", 0),
    "before": Array(torch.int64, "N C", 0),
    "pixels": Array(torch.int64, "E K N", 0),
    "totals": Array(torch.int64, "E K C", 0),
    "z_keys": Array(torch.int64, "N"),
}


@speaks
def removal_curves(
    generator: nn.Module,
    layer: str,
    rankings: Mapping[str, Units],
    z: Latents,
    segmenter: Segmenting,
    concept: Concept,
    *,
    counts: Sequence[int] | None = None,
    draws: int = 3,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> RemovalCurves:
    """Ablates the first 1, 2, ... units of several rankings everywhere and measures a class (thesis, Fig. 4-4).

    Args:
        generator: see `effect`.
        layer: see `effect`.
        rankings: by name, units of the layer, the most important first: `units_by_iou`, `causal_units`.
        z: see `effect`.
        segmenter: see `effect`.
        concept: see `effect`.
        counts: how many units to ablate; by default 1, 2, 3, 4, 5, 8, 12, 20, 30, as far as the rankings go.
        draws: how many random orders of all units are beside them.
        seed: of random orders and intervals.
        resamples: see `effect`.
        batch_size: see `effect`.
        layout: see `effect`.
        resume: see `effect`.
        progress: show a bar.

    Returns:
        A `RemovalCurves`.

    Raises:
        KeyError, TypeError, ValueError: see `effect`; no rankings, one called "random", or a count that is not in all.

    Warns:
        UserWarning: units that `causal_units` chose on some of these z.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 4, seed=3)
        >>> curves = removal_curves(
        ...     street, "layer4", {"by hand": [76, 54, 84]}, z, tiny.segmenter(signed=True), "object/tree",
        ...     draws=0, progress=False,
        ... )
        >>> [(row.ranking, row.units) for row in curves.table]
        [('by hand', 1), ('by hand', 2), ('by hand', 3)]
    """
    for name, number in {"draws": draws, "seed": seed}.items():
        integer(name, number, 0)
    enough_draws(resamples)
    counters = counters_of(segmenter, None, concept)
    renderer = Renderer(generator, layer, z, segmenter, integer("batch_size", batch_size), layout)
    if not isinstance(rankings, Mapping) or not rankings or RANDOM in rankings:
        raise refusal(
            ValueError(f'rankings must be units by name, of which none is called "random", but got {rankings}.')
        )
    orders = {name: renderer.units(units) for name, units in rankings.items()}
    for units in rankings.values():
        warn_of_shared(units, renderer)
    chosen = _checked_counts(counts, min(map(len, orders.values())))
    most = chosen[-1]
    rows = torch.stack([*(order[:most] for order in orders.values())])
    rows = torch.cat([rows, random_units(renderer.num_units, most, draws, seed)])
    region = Region("everywhere", None)
    edits = [UnitEdit(row[:count]) for row in rows for count in chosen]
    seen = ObservationRun(renderer, counters, region, lambda _: edits)
    about = {"function": "removal_curves", "rankings": rows.tolist(), "counts": list(chosen)}
    observe(seen, renderer, counters, about, resume, progress)
    settings = {
        "seed": seed, "resamples": resamples, "draws": draws, "batch_size": renderer.batch_size,
        "generator": type(generator).__name__, "fingerprint": fingerprint(generator),
    }  # fmt: skip
    pixels, totals = (part[0].unflatten(0, (len(rows), len(chosen))) for part in (seen.own, seen.totals))
    return RemovalCurves(
        layer, renderer.num_units, counters[0].concepts, counters[0].label, seen.sizes[0][0] * seen.sizes[0][1],
        (*orders, *[RANDOM] * draws), chosen, rows, seen.counts[0], pixels, totals, renderer.keys(), settings,
    )  # fmt: skip


def _checked_counts(counts: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """Rising numbers of units, that all rankings have."""
    if counts is None:
        return tuple(count for count in COUNTS if count <= most)
    chosen = [integer("counts", count) for count in counts]
    if not chosen or len({*chosen}) < len(chosen) or max(chosen) > most:
        raise refusal(
            ValueError(
                f"counts must be different numbers from 1 to {most}, the length of the shortest ranking, but are "
                f"{chosen}."
            )
        )
    return tuple(sorted(chosen))
