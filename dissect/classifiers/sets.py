"""Sets of units: what a class has left without its most, or its least, important units."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, num_bytes, refusal, speaks
from dissect.classifiers.importance import UnitImportance
from dissect.classifiers.probe import GIB, Probe, SetRun, image_steps, tell_missing
from dissect.data import Batches
from dissect.digests import crc
from dissect.files.checked import Array, Each, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats.classes import ClassTally, rank_area
from dissect.table import Table, numbers
from dissect.visits.run import finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDS = ("most", "least")
#: 4, 20, 256 and 492 of 512 units, as in Bau et al. 2020.
FRACTIONS = (0.008, 0.039, 0.5, 0.961)


class SetRow(NamedTuple):
    """What a class, or the average class, has left without some units.

    Attributes:
        removed: "none", or which units were removed: the "most" or the "least" important ones.
        units: how many.
        percent: of the layer's units.
        balanced_accuracy: of the class.
        change: of it, against the whole network's.
        recall: the share of the class's images that are predicted as it.
        precision: the share of the images predicted as it that are of it.
        true_negative_rate: the share of other images that are not predicted as it.
        accuracy: of telling the class from all others.
        auc: one-vs-rest, by the class's logit, which damage to rival classes does not move.
        all_class_accuracy: the share of all images that are predicted rightly.
    """

    removed: str
    units: int
    percent: float
    balanced_accuracy: float | None
    change: float | None
    recall: float | None
    precision: float | None
    true_negative_rate: float | None
    accuracy: float | None
    auc: float | None
    all_class_accuracy: float | None


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class UnitSets(Result):
    """What each class has left without its k most, or k least, important units (Bau et al. 2020, Fig. 2B-D, S4a-b).

    Units were ranked class by class on training images; these are measurements on validation images.

    Attributes:
        layer: the layer's name.
        classes: [C] names.
        measured: [M] numbers of the classes that were measured.
        counts: [K] rising, how many units were removed.
        num_units: U.
        tally: row 0 is the whole network; row 1 + (m * 2 + e) * K + i is without the counts[i] most (e = 0) or least
            (e = 1) important units of class measured[m].
        auc: [2 M K] float64: of each row after row 0, for its own class.
        baseline_auc: [M] float64: of the whole network.

    Example: see `dissect.unit_sets`.
    """

    kind = "unit sets"
    suffix = ".sets"

    layer: str
    classes: tuple[str, ...]
    measured: tuple[int, ...]
    counts: tuple[int, ...]
    num_units: int
    tally: ClassTally
    auc: Tensor
    baseline_auc: Tensor

    def baseline(self) -> Tensor:
        """[M] float64: balanced accuracy of each measured class with all units."""
        return self.tally.balanced_accuracy()[0, list(self.measured)]

    def curve(self, removed: str) -> Tensor:
        """[M, K] float64: balanced accuracy of each measured class without its counts[i] "most" or "least" units.

        Raises:
            ValueError: neither.
        """
        return self._own(self.tally.balanced_accuracy(), removed)

    def averaged(self) -> tuple[int, ...]:
        """Numbers of the measured classes that have images, over which `table` averages."""
        images = self.tally.images()
        return tuple(number for number in self.measured if int(images[number]))

    def title(self, name: str | int | None) -> str:
        """What a table or plot is of: a class's name, or the average of so many."""
        if name is None:
            return f"average of {len(self.averaged())} classes"
        return self.classes[self.measured[self._position(name)]]

    def table(self, name: str | int | None = None) -> Table[SetRow]:
        """Rows of one class, or (None) averaged over all that were measured on images, as a `Table` of `SetRow`.

        Raises:
            KeyError: a class that was not measured.
        """
        tally, own = self.tally, list(self.measured)
        chosen = [self._position(number) for number in (self.averaged() if name is None else [name])]
        readers = ("balanced_accuracy", "recall", "precision", "true_negative_rate", "accuracy")
        values = {reader: getattr(tally, reader)() for reader in readers}
        whole = {reader: value[0, own][chosen].mean() for reader, value in values.items()}
        base = float(whole["balanced_accuracy"])
        rows = [self._row("none", 0, whole, base, self.baseline_auc[chosen].mean(), tally.all_class_accuracy()[0])]
        everything = tally.all_class_accuracy()[:, None].expand(-1, tally.num_classes)
        for removed in ENDS:
            parts = {reader: self._own(value, removed)[chosen].mean(0) for reader, value in values.items()}
            auc = self._shape(self.auc, removed)[chosen].mean(0)
            overall = self._own(everything, removed)[chosen].mean(0)
            for at, count in enumerate(self.counts):
                part = {reader: value[at] for reader, value in parts.items()}
                rows.append(self._row(removed, count, part, base, auc[at], overall[at]))
        return Table(rows)

    def plot(self, name: str | int | None = None) -> Figure:
        """Curves over the number of removed units, of one class or of the average.

        Raises:
            ImportError: matplotlib is not installed.
            KeyError: a class that was not measured.
        """
        from dissect import plots

        rows = self.table(name)
        curves = {}
        for removed in ENDS:
            own = [row for row in rows if row.removed == removed]
            counts, values = [0, *(row.units for row in own)], numbers(row.balanced_accuracy for row in [rows[0], *own])
            curves[f"without the {removed} important"] = plots.Curve(counts, values)
        with plots.drawing():
            figure = plots.new_figure(5.0, 3.2)
            axes = figure.add_subplot()
            plots.curves(axes, curves, baseline=("all units", values[0]), colors=(plots.OTHER, plots.ACCENT))
            axes.axhline(0.5, color=plots.QUIET, linewidth=0.6)
            axes.set_ylim(0.45, 1.02)
            what = f"units of {self.layer} removed, of {self.num_units}"
            plots.label(axes, what, "single-class accuracy", self.title(name))
            plots.legend_below(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        state = self.tally.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        meta = {name: getattr(self, name) for name in ("layer", "classes", "measured", "counts", "num_units")}
        return tensors | {"auc": self.auc, "baseline_auc": self.baseline_auc}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> UnitSets:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta, {"measured": Each(Whole(0, sizes["C"] - 1)), "counts": Each(Whole(1, meta["num_units"]))})
        require(what, list(meta["counts"]) == sorted(meta["counts"]), "counts rise")
        fields(what, tensors, _AREAS, {"M": sizes["M"], "A": 2 * sizes["M"] * sizes["K"]})
        tally = ClassTally(len(tensors["auc"]) + 1, len(meta["classes"]))
        tally.load_state_dict({**tally.state_dict(), **tensors})
        classes, measured, counts = (tuple(meta[name]) for name in ("classes", "measured", "counts"))
        areas = tensors["auc"], tensors["baseline_auc"]
        return cls(meta["layer"], classes, measured, counts, meta["num_units"], tally, *areas)

    def _position(self, name: str | int) -> int:
        number = self.classes.index(name) if name in self.classes else name
        if number not in self.measured:
            raise refusal(KeyError(f"class {name!r} was not measured; {len(self.measured)} classes were."))
        return self.measured.index(number)

    def _shape(self, rows: Tensor, removed: str) -> Tensor:
        """[M, K, ...] of the rows [2 M K, ...] those of "most" or of "least"."""
        if removed not in ENDS:
            raise refusal(ValueError(f"removed must be one of {ENDS}, but got {removed!r}."))
        found: Tensor = rows.unflatten(0, (len(self.measured), 2, len(self.counts)))[:, ENDS.index(removed)]
        return found

    def _own(self, values: Tensor, removed: str) -> Tensor:
        """[M, K]: each row's value for its own class, of values [S, C]."""
        rows = self._shape(values[1:], removed)
        own = torch.tensor(self.measured)[:, None, None].expand(-1, len(self.counts), 1)
        return rows.gather(2, own)[..., 0]

    def _row(self, removed: str, count: int, part: dict[str, Tensor], base: float, auc: Tensor, overall: Tensor) -> Any:
        numbers = {reader: float(value) for reader, value in part.items()}
        change = numbers["balanced_accuracy"] - base
        percent = 100 * count / self.num_units
        return SetRow(
            removed, count, percent, change=change, auc=float(auc), all_class_accuracy=float(overall), **numbers
        )


_META = {
    "layer": Text(),
    "classes": Each(Text(), "C"),
    "measured": Each(Whole(), "M", different=True),
    "counts": Each(Whole(1), "K", different=True),
    "num_units": Whole(1),
}
_AREAS = {"auc": Array(torch.float64, "A", 0, 1, nan=True), "baseline_auc": Array(torch.float64, "M", 0, 1, nan=True)}


@speaks
def unit_sets(
    model: nn.Module,
    importance: UnitImportance,
    images: Dataset[Any] | Iterable[Any],
    *,
    counts: Sequence[int] | None = None,
    classes: Sequence[str | int] | None = None,
    batch_size: int = 32,
    memory_budget: int = GIB,
    resume: str | Path | None = None,
    progress: bool = True,
) -> UnitSets:
    """Removes each class's k most, and k least, important units together, and measures the class (PNAS 2020, Fig. 2).

    Removing the U - k least important units keeps the k most important only.

    Args:
        model: the network of the importance.
        importance: ranks the units, on its training images.
        images: validation images: a Dataset or batches of (image, class number).
        counts: how many units to remove; by default 0.8, 3.9, 50 and 96.1 % of them, as published.
        classes: names or numbers of the classes to measure; by default all that the importance had images of. Of those
            without any among `images` a warning tells.
        batch_size: of a Dataset.
        memory_budget: bytes for what follows the layer.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        A `UnitSets`.

    Raises:
        KeyError, RuntimeError, ValueError: see `unit_importance`; a count outside [1, U] or repeated, another network;
            a class that is named twice.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 1), torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
        >>> batches = [(torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 0, 1, 0, 1]))]
        >>> importance = dissect.unit_importance(model, "0", batches, batches, progress=False)
        >>> sets = unit_sets(model, importance, batches, counts=[1, 3], progress=False)
        >>> [(row.removed, row.units) for row in sets.table()]
        [('none', 0), ('most', 1), ('most', 3), ('least', 1), ('least', 3)]
    """
    batch_size = integer("batch_size", batch_size)
    memory_budget = num_bytes("memory_budget", memory_budget)
    units = importance.num_units
    chosen = default_counts(units) if counts is None else _different_counts(counts, units)
    wanted = importance.measured_classes() if classes is None else [importance.class_number(name) for name in classes]
    if len({*wanted}) < len(wanted):
        raise refusal(ValueError(f"classes must be named once each, but are {list(classes or ())}."))
    visits = {"val": Batches(images, batch_size)}
    probe = Probe(model, importance.layer, visits["val"])
    names = probe.class_names(importance.classes)
    if probe.flow.num_units != units:
        raise refusal(
            ValueError(f"the layer must have the importance's {units} units, but has {probe.flow.num_units}.")
        )
    importance.check_model(model)
    alpha = torch.cat([torch.zeros(1, units), set_alphas(importance, wanted, chosen)])
    own = torch.tensor([number for number in wanted for _ in range(2 * len(chosen))])
    tallies = {"val": ClassTally(len(alpha), len(names))}
    run = SetRun(probe, alpha, memory_budget, tallies, importance.fill, own=own)
    about = {"layer": importance.layer, "classes": list(names), "counts": list(chosen), "measured": wanted,
             "importance": [crc(part) for part in (alpha, importance.fill)],
             "batch_size": batch_size, "memory": memory_budget}  # fmt: skip
    about |= probe.about(visits, resume is not None)
    finish(run, image_steps(visits), resume=resume, about=about, progress=progress)
    tell_missing("val", run.tallies["val"], names, wanted)
    auc, baseline = _areas(run, own, wanted)
    return UnitSets(importance.layer, names, tuple(wanted), chosen, units, run.tallies["val"], auc, baseline)


def default_counts(units: int) -> tuple[int, ...]:
    """`FRACTIONS` of the units, rounded, at least one."""
    return tuple(sorted({max(1, math.floor(fraction * units + 0.5)) for fraction in FRACTIONS}))


def _different_counts(counts: Sequence[int], units: int) -> tuple[int, ...]:
    """Rising, as Python's own integers."""
    try:
        chosen = tuple(sorted(operator.index(k) for k in counts))
    except TypeError:
        chosen = ()
    if not chosen or not all(1 <= k <= units for k in chosen) or len({*chosen}) < len(chosen):
        raise refusal(ValueError(f"counts must be different integers in [1, {units}], but are {counts!r}."))
    return chosen


def set_alphas(importance: UnitImportance, classes: Sequence[int], counts: Sequence[int]) -> Tensor:
    """[M * 2 * K, U]: 1 for each unit that is removed; per class the k most important ones, then the k least."""
    sets = torch.zeros(len(classes), 2, len(counts), importance.num_units)
    for at, number in enumerate(classes):
        order = importance.ranking(number)
        for place, count in enumerate(counts):
            sets[at, 0, place, order[:count]] = 1
            sets[at, 1, place, order[importance.num_units - count :]] = 1
    return sets.flatten(0, 2)


def _areas(run: SetRun, own: Tensor, measured: Sequence[int]) -> tuple[Tensor, Tensor]:
    """AUC of each set for its own class, and of the whole network for each measured class."""
    scores, labels = run.kept_scores()
    whole = [rank_area(scores[number], labels == number) for number in measured]
    sets = [rank_area(column, labels == number) for column, number in zip(scores[-len(own) :], own.tolist())]
    return torch.tensor(sets, dtype=torch.float64), torch.tensor(whole, dtype=torch.float64)
