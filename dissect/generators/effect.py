"""What a set of units does in a generator: the result of ablating or inserting it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dissect.arguments import speaks
from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.intervals import intervals, known
from dissect.stats.bootstrap import FEWEST, drawn_again
from dissect.table import Table, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is done with the units.
EffectMode = Literal["ablation", "insertion"]
MODES: tuple[EffectMode, ...] = get_args(EffectMode)
#: The share of all pixels that a class has whose change is told of beside the one that is edited.
LARGE = 0.01


class ClassChangeRow(NamedTuple):
    """What an edit does to one class.

    Attributes:
        concept: its name.
        category: its category.
        before: the share of all pixels that it has in the generator's own images.
        after: the same in the edited images.
        change: ``after / before - 1``; None where the generator's own images never show it.
        low: the lower end of the change's 95 % interval; None where fewer than 10 z show the class.
        high: the upper end.
        random: the change when as many random units are edited, the mean of the draws; None without draws.
    """

    concept: str
    category: str
    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None
    random: float | None


ChangeRow = ClassChangeRow  # its earlier name, which callers have


class EffectRow(NamedTuple):
    """A set of units in a table of effects (Fig. 4-9, 4-10).

    Attributes:
        concept: the class.
        units: how many.
        share: of the layer's units.
        before: the share of all pixels that show the class in the generator's own images.
        removed: the share of these that is gone.
        low: the lower end of its 95 % interval; None where fewer than 10 z show the class.
        high: the upper end.
        random: the share that is gone with as many random units, the mean of the draws; None without draws.
        second: the share that is gone by the second segmenter; None without one.
        average_effect: eq. 4.4, normalised; None where it was not measured.
        most_changed: of the other classes of the same category with at least a hundredth of the pixels, the one that
            changes most; "-" without any.
        its_change: ``after / before - 1`` of it.
    """

    concept: str
    units: int
    share: float
    before: float
    removed: float
    low: float | None
    high: float | None
    random: float | None
    second: float | None
    average_effect: float | None
    most_changed: str
    its_change: float | None


@dataclass(eq=False)  # tensors have no one truth value
class Effect(Result):
    """What is left of each class when a set of units is ablated, or inserted (thesis, section 4.3.2).

    With s(x) the pixels of image x that show class c, x the generator's own image of z, x_a that with the units at 0,
    x_i that with the units at k, and sums over z::

        removed         (sum s(x) - sum s(edited)) / sum s(x)                                  Fig. 4-9
        average_effect  (sum s(x_i) - sum s(x_a)) / sum s(x), both edits and s at cells P      eq. 4.4, normalised

    Attributes:
        layer: the layer's name.
        units: that were edited.
        num_units: U, of the layer.
        mode: "ablation" or "insertion": which the edited images are.
        concepts: names and categories of the labels.
        label: c.
        num_pixels: of one image's planes.
        before: [N, C] int64, pixels of each label in each x.
        after: [N, C] int64, the same in the edited images.
        at_cells: [3, N] int64, pixels of c at P in x, x_i and x_a; none, [3, 0], where k is not known.
        random_units: [R, K] int64, the units of each random draw.
        random_after: [R, N] int64, pixels of c when these are edited.
        random_totals: [R, C] int64, pixels of each label in all those images.
        z_keys: [N] int64, hashes of the z and their noise seeds, by which samples can be told apart.
        settings: seeds and options.
        second: the same by a second segmenter, or None.

    Example: see `dissect.generators.removed_share`.
    """

    kind = "effect"
    suffix = ".effect"

    layer: str
    units: tuple[int, ...]
    num_units: int
    mode: EffectMode
    concepts: Concepts
    label: int
    num_pixels: int
    before: Tensor
    after: Tensor
    at_cells: Tensor
    random_units: Tensor
    random_after: Tensor
    random_totals: Tensor
    z_keys: Tensor
    settings: dict[str, Any]
    second: Effect | None = None

    def __repr__(self) -> str:
        low, high = self.interval
        shown = int((self.before[:, self.label] > 0).sum())
        sure = f"{low:.1%} to {high:.1%}" if low == low else f"no interval: {FEWEST} z must show it, {shown} do"
        random = "" if self.random is None else f"; random units {self.random:.1%}"
        return (
            f"<Effect of the {self.mode} of {len(self.units)} of {self.num_units} units of {self.layer!r} in "
            f"{len(self.before)} z: removes {self.removed:.1%} of {self.concept!r} ({sure}){random}>"
        )

    @property
    def concept(self) -> str:
        """The name of class c."""
        return self.concepts.names[self.label]

    @property
    def removed(self) -> float:
        """The share of the class's pixels that is gone; negative where there are more of them."""
        before, after = (int(part[:, self.label].sum()) for part in (self.before, self.after))
        return (before - after) / before

    @property
    def added(self) -> float:
        """The pixels of the class that are new, over those that were there: ``-removed``."""
        return -self.removed

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Where `removed` lies in 95 % of samples of as many z (percentile bootstrap); NaN if fewer than 10 show c."""
        low, high = (-self._changes[self.label]).flip(0).tolist()
        return low, high

    @property
    def average_effect(self) -> float | None:
        """The average causal effect of eq. 4.4, normalised by E s(x); None where k is not known."""
        base, inserted, ablated = (int(part.sum()) for part in self.at_cells)
        return (inserted - ablated) / base if base else None

    @cached_property
    def average_effect_interval(self) -> tuple[float, float]:
        """Its 95 % interval, as `interval`."""
        if not self.at_cells.shape[1]:
            return math.nan, math.nan
        base, inserted, ablated = self.at_cells[:, :, None]
        low, high = intervals(self._weights, inserted - ablated, base)[0].tolist()
        return low, high

    @property
    def random_removed(self) -> tuple[float, ...]:
        """What `removed` is with each draw of random units."""
        before = int(self.before[:, self.label].sum())
        return tuple((before - int(after.sum())) / before for after in self.random_after)

    @property
    def random(self) -> float | None:
        """What `removed` is with as many random units, the mean of the draws; None without draws."""
        draws = self.random_removed
        return sum(draws) / len(draws) if draws else None

    @property
    def others(self) -> Table[ClassChangeRow]:
        """What happens to every other class that any of the images shows, as a `Table` of `ClassChangeRow`.

        The class that gains or loses most pixels comes first.
        """
        before, after = self.before.sum(0), self.after.sum(0)
        shown = [label for label in range(1, len(self.concepts)) if int(before[label] + after[label])]
        order = sorted(shown, key=lambda label: (-abs(int(after[label] - before[label])), label))
        return Table(self._change(label) for label in order if label != self.label)

    @property
    def row(self) -> EffectRow:
        """The effect as a row of a table."""
        low, high = self.interval
        category = self.concepts.categories[self.label]
        large = [row for row in self.others if row.category == category and row.before >= LARGE]
        most = max(large, key=lambda row: abs(row.change or 0.0), default=None)
        second = None if self.second is None else self.second.removed
        share = len(self.units) / self.num_units
        before = int(self.before[:, self.label].sum()) / (len(self.before) * self.num_pixels)
        return EffectRow(
            self.concept, len(self.units), share, before, self.removed, known(low), known(high), self.random, second,
            self.average_effect, "-" if most is None else most.concept, None if most is None else most.change,
        )  # fmt: skip

    def plot(self, most: int = 12) -> Figure:
        """Bars of the change of the class and of the others that gain or lose most pixels, as a matplotlib figure.

        Args:
            most: how many classes; of the others those with at least a hundredth of the pixels.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        large = [row for row in self.others if row.before >= LARGE]
        rows = [self._change(self.label), *large[: most - 1]]
        series = {f"{len(self.units)} units": numbers(row.change for row in rows)}
        if self.random is not None:
            series["as many random units"] = numbers(row.random for row in rows)
        with plots.drawing():
            figure = plots.new_figure(5.0, 1.2 + 0.3 * len(rows))
            axes = figure.add_subplot()
            names = [f"{row.concept} ({row.category})" for row in rows]
            plots.bars(axes, names, series, across=True, colors=(plots.ACCENT, plots.FAINT))
            plots.label(axes, f"change of pixels, {self.mode} in {self.layer}")
            plots.legend_below(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        meta = {name: getattr(self, name) for name in _META if name not in ("names", "categories", "second")}
        meta |= {"names": self.concepts.names, "categories": self.concepts.categories, "second": None}
        if self.second is not None:
            more, meta["second"] = self.second.contents()
            tensors |= {f"second.{name}": value for name, value in more.items()}
        return tensors, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Effect:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "resamples": Whole()})
        fields(what, tensors, _TENSORS, sizes)
        require(
            what, meta["label"] < sizes["C"] and max(meta["units"]) < meta["num_units"], "label and units are there"
        )
        require(
            what, tensors["at_cells"].shape[1] in (0, len(tensors["before"])), "pixels at cells are of all z or none"
        )
        require(what, tensors["before"][:, meta["label"]].sum() > 0, "some z shows the class")
        second = None
        if meta["second"] is not None:
            more = {name.removeprefix("second."): part for name, part in tensors.items() if name.startswith("second.")}
            second = cls.from_contents(f"{what}: second", more, meta["second"])
        own = {name: meta[name] for name in ("layer", "num_units", "mode", "label", "num_pixels", "settings")}
        own |= {name: tensors[name] for name in _TENSORS}
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        return cls(units=tuple(meta["units"]), concepts=concepts, second=second, **own)

    @cached_property
    def _weights(self) -> Tensor:
        return drawn_again(len(self.before), self.settings["resamples"], self.settings["seed"])

    @cached_property
    def _changes(self) -> Tensor:
        """[C, 2] the interval of each class's change."""
        return intervals(self._weights, self.after - self.before, self.before)

    def _change(self, label: int) -> ClassChangeRow:
        pixels = len(self.before) * self.num_pixels
        before, after = int(self.before[:, label].sum()), int(self.after[:, label].sum())
        low, high = self._changes[label].tolist()
        drawn = [int(total) for total in self.random_totals[:, label]]
        random = sum(drawn) / len(drawn) / before - 1 if drawn and before else None
        return ClassChangeRow(
            self.concepts.names[label], self.concepts.categories[label], before / pixels, after / pixels,
            after / before - 1 if before else None, known(low), known(high), random,
        )  # fmt: skip


_META = {
    "layer": Text(),
    "units": Each(Whole(), "K", different=True),
    "num_units": Whole(1),
    "mode": Text(MODES),
    "names": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "label": Whole(1),
    "num_pixels": Whole(1),
    "settings": Of(dict),
    "second": Maybe(Of(dict)),
}
_TENSORS = {
    "before": Array(torch.int64, "N C", 0),
    "after": Array(torch.int64, "N C", 0),
    "at_cells": Array(torch.int64, "3 P", 0),
    "random_units": Array(torch.int64, "R K", 0),
    "random_after": Array(torch.int64, "R N", 0),
    "random_totals": Array(torch.int64, "R C", 0),
    "z_keys": Array(torch.int64, "N"),
}


@speaks
def effects_table(effects: Iterable[Effect]) -> Table[EffectRow]:
    """Several effects as a `Table` of `EffectRow`: sets of units for several classes (Fig. 4-9), or of generators."""
    return Table(effect.row for effect in effects)
