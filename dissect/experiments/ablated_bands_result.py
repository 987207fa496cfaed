"""What classes lose when their units are ablated within bands of activation: the result of `ablated_bands`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.files.checked import Array, Each, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST, drawn_again, ends
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How often classes are drawn again for an interval.
RESAMPLES = 1000


class BandLossRow(NamedTuple):
    """A class without some units' activations in one band.

    Attributes:
        number: of the class.
        top: the share of a unit's cells that lie above the band; None for the whole units.
        share: the share that lies above the band's lower end; None down to 0, and for the whole units.
        images: of the class.
        recall: the share of them that the network names right.
        without: the same without the band.
        fall: by how much the class's logit falls on them, on average.
    """

    number: int
    top: float | None
    share: float | None
    images: int
    recall: float
    without: float
    fall: float


class AblatedBandRow(NamedTuple):
    """A band, over classes; each end of an interval is None for fewer than 10 classes.

    Attributes:
        band: in words.
        top: the share of a unit's cells that lie above the band; None for the whole units.
        share: the share that lies above the band's lower end; None down to 0, and for the whole units.
        classes: how many have images and units.
        lost: the recall that they lose with their units in the band, on average.
        lost_low: the lower end of its 95 % interval, over classes drawn again.
        lost_high: the upper end.
        fall: by how much the classes' logits fall, on average.
        fall_low: the lower end of its interval.
        fall_high: the upper end.
        control: the recall that they lose with as many other units, on average over all draws; None without controls.
        control_low: the lower end of its interval.
        control_high: the upper end.
        control_fall: by how much their logits fall with these.
        beyond_low: the lower end of the interval of `lost` less `control`: above 0 the classes' units matter more here.
        beyond_high: the upper end.
    """

    band: str
    top: float | None
    share: float | None
    classes: int
    lost: float
    lost_low: float | None
    lost_high: float | None
    fall: float
    fall_low: float | None
    fall_high: float | None
    control: float | None
    control_low: float | None
    control_high: float | None
    control_fall: float | None
    beyond_low: float | None
    beyond_high: float | None


@dataclass(eq=False)  # tensors have no one truth value
class AblatedBands(Result):
    """The result of `experiments.ablated_bands`, of N images, K classes and U units, P bands with the whole units last.

    Attributes:
        layer: whose units they are.
        shares: of the cells, rising: the lower ends of all bands but the last two, which are "to 0" and "whole".
        levels: [U, P - 2] float32, each unit's level at these.
        units: [S, K, m] int64: what is ablated of each class, and the units of each control; -1 where there are none.
        truth: [N] int64 class numbers.
        right: [N] bool: whether the network names the class.
        kept: [S, P, N] bool: whether it does without the band; False for images of classes without units.
        fall: [S, P, N] float32: by how much the logit of the class falls; 0 there.
        settings: the seed of the controls, and the number of images.

    Example: see `dissect.experiments.ablated_bands`.
    """

    kind = "ablated bands"
    suffix = ".bands"

    layer: str
    shares: list[float]
    levels: Tensor
    units: Tensor
    truth: Tensor
    right: Tensor
    kept: Tensor
    fall: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        rows = self.summary()
        first, whole = (f"{100 * row.lost:.1f}" for row in (rows[0], rows[-1]))
        return (
            f"<AblatedBands of {self.layer!r} over {rows[0].classes} classes: {first} points of recall lost with the "
            f"highest band, {whole} with the whole units>"
        )

    @property
    def places(self) -> list[tuple[float | None, float | None]]:
        """By band its `top` and its `share`, as rows have them."""
        tops = [0.0, *self.shares]
        return [*zip(tops, [*self.shares, None]), (None, None)]

    def classes(self) -> list[int]:
        """The numbers of those that have images and units."""
        tested = (self.units[0] >= 0).all(1)
        return [number for number in self.truth.unique().tolist() if tested[number]]

    def rows(self, control: int | None = None) -> Table[BandLossRow]:
        """A row per class and band (`BandLossRow`), of the classes' units, or of a control's, by its number from 0.

        Raises:
            IndexError: no such control.
        """
        at = 0 if control is None else 1 + control
        if not 0 <= at < len(self.units):
            raise refusal(IndexError(f"control must be below {len(self.units) - 1}, but is {control}."))
        found = []
        for number in self.classes():
            own = self.truth == number
            recall = float(self.right[own].double().mean())
            for place, (top, share) in enumerate(self.places):
                kept, fall = (float(part[at, place, own].double().mean()) for part in (self.kept, self.fall))
                found.append(BandLossRow(number, top, share, int(own.sum()), recall, kept, fall))
        return Table(found)

    def summary(self) -> Table[AblatedBandRow]:
        """A row per band (`AblatedBandRow`)."""
        classes = self.classes()
        member = torch.stack([(self.truth == number).double() for number in classes], 1)
        member /= member.sum(0)
        lost = (self.right.double() - self.kept.double()) @ member  # [S, P, K']
        fall = self.fall.double() @ member
        weights = drawn_again(len(classes), RESAMPLES, seed=0) / len(classes)
        found = []
        for place, (top, share) in enumerate(self.places):
            own, other = lost[0, place], lost[1:, place].mean(0) if len(lost) > 1 else None
            control: list[float | None] = [None] * 6
            if other is not None:
                control = [float(other.mean()), *_ends(weights, other), float(fall[1:, place].mean()),
                           *_ends(weights, own - other)]  # fmt: skip
            found.append(AblatedBandRow(
                band_name(top, share), top, share, len(classes), float(own.mean()), *_ends(weights, own),
                float(fall[0, place].mean()), *_ends(weights, fall[0, place]), *control,
            ))  # fmt: skip
        return Table(found, show=_PRINTED)

    def plot(self) -> Figure:
        """Recall lost by band, with its 95 % interval: of the classes' units, and of the controls'."""
        from dissect import plots

        rows, sets = self.summary(), ["lost", "control"] if len(self.units) > 1 else ["lost"]
        told = {"lost": ("the class's units", plots.ACCENT), "control": ("other units", plots.QUIET)}
        with plots.drawing():
            figure = plots.new_figure(1.6 + 0.62 * len(rows), 2.7)
            axes = figure.add_subplot()
            for shift, name in zip((-0.08, 0.08), sets):
                text, color = told[name]
                for at, row in enumerate(rows):
                    low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
                    if low is not None:
                        axes.plot([at + shift] * 2, [100 * low, 100 * high], color=color, linewidth=1.2)
                axes.plot([at + shift for at in range(len(rows))], [100 * (getattr(row, name) or 0.0) for row in rows],
                          "o", color=color, markersize=4, label=text)  # fmt: skip
            axes.set_xticks(range(len(rows)), [row.band.replace(" to ", " to\n") for row in rows])
            plots.plain(axes, "y")
            plots.label(axes, "band, by the unit's cells above it", "recall lost, points")
            if len(sets) > 1:
                plots.legend_above(figure, axes)
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        return tensors, {"layer": self.layer, "shares": self.shares, "settings": self.settings}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> AblatedBands:
        """See `Result`."""
        fields(what, meta, {"layer": Text(), "shares": Each(Number(0, 1), "B"), "settings": Of(dict)})
        fields(f"{what}: settings", meta["settings"], {"seed": Whole()})
        shares, bands = meta["shares"], len(meta["shares"])
        require(what, bands > 0 and all(0 < a < b for a, b in zip(shares, [*shares[1:], 1.0])), "shares rise in (0, 1)")
        sizes = fields(what, tensors, _TENSORS | {
            "levels": Array(torch.float32, f"U {bands}", -torch.inf, torch.inf),
            "kept": Array(torch.bool, f"S {bands + 2} N"), "fall": Array(torch.float32, f"S {bands + 2} N", -torch.inf,
                                                                        torch.inf),
        })  # fmt: skip
        units, truth = tensors["units"], tensors["truth"]
        require(what, sizes["S"] > 0 and sizes["m"] > 0, "it is of units")
        require(what, bool((truth < sizes["K"]).all()), "class numbers are below that of its classes")
        own = (units >= 0).all(2)
        require(
            what, bool((own == (units >= 0).any(2)).all() and (own == own[0]).all()), "classes have all units or none"
        )
        require(what, bool(own[0][truth].any()), "a class has images and units")
        require(what, bool((tensors["levels"].diff(dim=1) <= 0).all()), "levels fall")
        return cls(meta["layer"], shares, **{name: tensors[name] for name in _TENSORS}, settings=meta["settings"])


def band_name(top: float | None, share: float | None) -> str:
    """A band in words, by the cells above its ends."""
    if top is None:
        return "whole units"
    return f"{100 * top:g} % to {'above 0' if share is None else f'{100 * share:g} %'}"


def _ends(weights: Tensor, values: Tensor) -> tuple[float | None, float | None]:
    if len(values) < FEWEST:
        return None, None
    low, high = ends(weights @ values).tolist()
    return low, high


_TENSORS = {
    "levels": Array(torch.float32, "U B"), "units": Array(torch.int64, "S K m", -1, "U"),
    "truth": Array(torch.int64, "N", 0), "right": Array(torch.bool, "N"), "kept": Array(torch.bool, "S P N"),
    "fall": Array(torch.float32, "S P N"),
}  # fmt: skip
_PRINTED = (
    "band", "classes", "lost", "lost_low", "lost_high", "fall", "control", "control_low", "control_high",
    "beyond_low",
)  # fmt: skip
