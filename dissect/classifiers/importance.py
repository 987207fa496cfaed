"""Which units a class depends on: the result of ablating each unit of a layer alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Each, Maybe, Text, fields
from dissect.files.results import Result
from dissect.network.identity import check_identity, fingerprint
from dissect.network.layers import suggestion
from dissect.stats.classes import ClassTally, mean_ranks
from dissect.table import Table, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = ("train", "val")


class ImportanceRow(NamedTuple):
    """A unit in a class's table of important units.

    Attributes:
        unit: number within the layer.
        train_drop: balanced accuracy that the class loses on training images without the unit; the ranking.
        val_drop: the same on validation images.
        train_logit_drop: what the class's mean logit over its own training images loses.
        val_logit_drop: the same on validation images.
    """

    unit: int
    train_drop: float | None
    val_drop: float | None
    train_logit_drop: float | None
    val_logit_drop: float | None


UnitRow = ImportanceRow  # its earlier name, which callers have


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class UnitImportance(Result):
    """What each class loses when each unit of a layer is ablated alone (Bau et al. 2020, Fig. 2A).

    Units are ranked on training images and measured on validation images. Everything here is read from two tallies
    whose row 0 is the whole network and whose row 1 + u is the network without unit u.

    Attributes:
        layer: the layer's name.
        classes: [C] names.
        fill: [U] float32, what the ablated units were set to: 0, or each unit's mean.
        train: `ClassTally` of U + 1 rows over the training images.
        val: the same over the validation images.
        fingerprint: of the network that was measured, its modules and weights (`check_model` compares it); None is
            unknown, as in files of before there were any.

    Example: see `dissect.unit_importance`.
    """

    kind = "importance"
    suffix = ".importance"

    layer: str
    classes: tuple[str, ...]
    fill: Tensor
    train: ClassTally
    val: ClassTally
    fingerprint: str | None = None

    def __repr__(self) -> str:
        images = ", ".join(f"{int(self.tally(split).images().sum())} {split} images" for split in SPLITS)
        return f"<UnitImportance of {self.num_units} units of {self.layer!r} for {len(self.classes)} classes: {images}>"

    @property
    def num_units(self) -> int:
        """U."""
        return self.train.num_sets - 1

    def tally(self, split: str) -> ClassTally:
        """The counts of "train" or "val".

        Raises:
            ValueError: another split.
        """
        if split not in SPLITS:
            raise refusal(ValueError(f"split must be one of {SPLITS}, but got {split!r}."))
        return self.train if split == "train" else self.val

    def baseline(self, split: str = "val") -> Tensor:
        """[C] float64: balanced accuracy of the whole network."""
        return self.tally(split).balanced_accuracy()[0]

    def balanced_accuracy(self, split: str = "val") -> Tensor:
        """[U, C] float64: of class c without unit u."""
        return self.tally(split).balanced_accuracy()[1:]

    def drop(self, split: str = "train") -> Tensor:
        """[U, C] float64: the balanced accuracy that class c loses without unit u; below 0 where it gains."""
        return self.baseline(split) - self.balanced_accuracy(split)

    def baseline_logit(self, split: str = "val") -> Tensor:
        """[C] float64: the whole network's mean logit of class c over the images of class c."""
        return self.tally(split).mean_logit()[0]

    def mean_logit(self, split: str = "val") -> Tensor:
        """[U, C] float64: the mean logit of class c over the images of class c, without unit u."""
        return self.tally(split).mean_logit()[1:]

    def logit_drop(self, split: str = "train") -> Tensor:
        """[U, C] float64: what the mean logit of class c over its own images loses without unit u."""
        return self.baseline_logit(split) - self.mean_logit(split)

    def class_number(self, name: str | int) -> int:
        """A class by name or number.

        Raises:
            KeyError: no class has this name or number.
            ValueError: the class has no images, so nothing is known about it.
        """
        number = self.classes.index(name) if name in self.classes else name
        if not isinstance(number, int) or not 0 <= number < len(self.classes):
            raise refusal(KeyError(f"there is no class {name!r}; {suggestion(str(name), list(self.classes))}."))
        for split in SPLITS:
            if not int(self.tally(split).images()[number]):
                raise refusal(ValueError(f"class {self.classes[number]!r} has no {split} images."))
        return number

    def ranking(self, name: str | int) -> Tensor:
        """[U] int64: units by importance to a class, the most important first.

        By the drop of balanced accuracy on training images; ties by the drop of the mean logit, then by number.

        Raises:
            KeyError, ValueError: see `class_number`.
        """
        number = self.class_number(name)
        order = self.logit_drop("train")[:, number].sort(descending=True, stable=True).indices
        return order[self.drop("train")[order, number].sort(descending=True, stable=True).indices]

    def top(self, name: str | int, k: int = 4) -> Table[ImportanceRow]:
        """The k most important units of a class, as a `Table` of `ImportanceRow`.

        Raises:
            KeyError, ValueError: see `class_number`.
        """
        number = self.class_number(name)
        columns = [drop(split)[:, number] for drop in (self.drop, self.logit_drop) for split in SPLITS]
        units = self.ranking(number)[:k].tolist()
        return Table(ImportanceRow(unit, *(float(column[unit]) for column in columns)) for unit in units)

    def top_units(self, k: int = 4) -> Tensor:
        """[C, k] int64: the k most important units of every class; -1 for a class without images."""
        top = torch.full((len(self.classes), min(k, self.num_units)), -1)
        for number in self.measured_classes():
            top[number] = self.ranking(number)[:k]
        return top

    def classes_by_unit(self, k: int = 4) -> list[list[str]]:
        """Per unit the names of the classes in whose top k it is, in the classes' order (as in SI Fig. S6)."""
        classes: list[list[str]] = [[] for _ in range(self.num_units)]
        for number in self.measured_classes():
            for unit in self.ranking(number)[:k].tolist():
                classes[unit].append(self.classes[number])
        return classes

    def measured_classes(self) -> list[int]:
        """Numbers of the classes that have images in both splits."""
        return ((self.train.images() > 0) & (self.val.images() > 0)).nonzero().flatten().tolist()

    def split_half(self, split: str = "train") -> Tensor:
        """[C] float64: how far a class's ranking of units can be trusted: Spearman's correlation between two halves.

        The drops of balanced accuracy are measured on each half of the images (see `ClassTally`) and ranked, equal
        drops sharing their mean rank; the correlation of the ranks is over units. NaN where a half has no images, or
        all units have one drop.
        """
        tally = self.tally(split)
        halves = []
        for half in (0, 1):
            accuracy = tally.balanced_accuracy(half)
            drops = accuracy[0] - accuracy[1:]
            ranks = torch.stack([mean_ranks(column) for column in drops.T])
            halves.append(ranks.masked_fill(drops.isnan().any(0)[:, None], torch.nan))
        first, second = (ranks - ranks.mean(1, keepdim=True) for ranks in halves)
        return (first * second).sum(1) / (first.square().sum(1) * second.square().sum(1)).sqrt()

    def plot(self, name: str | int, k: int = 20) -> Figure:
        """Bars of the k most important units of a class: balanced accuracy lost without each (Fig. 2A).

        Raises:
            ImportError: matplotlib is not installed.
            KeyError, ValueError: see `class_number`.
        """
        from dissect import plots

        rows = self.top(name, k)
        with plots.drawing():
            figure = plots.new_figure(max(4.0, 1 + 0.32 * len(rows)), 3.0)
            axes = figure.add_subplot()
            drops = {kind: numbers(getattr(row, f"{kind}_drop") for row in rows) for kind in ("train", "val")}
            plots.bars(axes, [str(row.unit) for row in rows], drops, colors=(plots.OTHER, plots.ACCENT))
            axes.axhline(0, color=plots.QUIET, linewidth=0.7)
            axes.set_xlim(-0.6, len(rows) - 0.4)
            title = self.classes[self.class_number(name)]
            plots.label(axes, f"unit of {self.layer}", "balanced accuracy lost", title)
            axes.legend()
        return figure

    def check_model(self, model: nn.Module) -> None:
        """Refuses another network than the one that was measured, as far as that is known.

        Raises:
            ValueError: its modules, hooks or weights are others.
        """
        if self.fingerprint is not None:
            check_identity(
                "model", self.fingerprint, fingerprint(model),
                "the network whose units were measured, "
                f"but this {type(model).__name__} has other modules, hooks or weights",
                "measure it with unit_importance, or set importance.fingerprint to None where another network is meant",
            )  # fmt: skip

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {"fill": self.fill}
        for split in SPLITS:
            state = self.tally(split).state_dict()
            tensors |= {f"{split}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        return tensors, {"layer": self.layer, "classes": self.classes, "fingerprint": self.fingerprint}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> UnitImportance:
        """See `Result`."""
        fields(what, meta, {"layer": Text(), "classes": Each(Text()), "fingerprint": Maybe(Text())})
        fields(what, tensors, {"fill": Array(torch.float32, "U", -math.inf, math.inf)})
        shape = {"num_sets": len(tensors["fill"]) + 1, "num_classes": len(meta["classes"])}
        tallies = []
        for split in SPLITS:
            tally = ClassTally(**shape)
            prefix = f"{split}."
            state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            tally.load_state_dict({**shape, **state})
            tallies.append(tally)
        train, val = tallies
        return cls(meta["layer"], tuple(meta["classes"]), tensors["fill"], train, val, meta.get("fingerprint"))
