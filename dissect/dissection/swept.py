"""What a sweep over thresholds found: how each unit agrees with each label at every level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts, label_of, ordered_categories
from dissect.dissection.band_evidence import BandEvidence
from dissect.dissection.bands import BandRow, band_rows
from dissect.dissection.swept_rows import (
    MARKED,
    PRINTED_CURVE,
    PRINTED_UNIT,
    SweptCurveRow,
    SweptLabelRow,
    SweptUnitRow,
)
from dissect.files.checked import Array, Each, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.stats import Agreement, ThresholdSweep, average_precision, curve_sanity_tests
from dissect.stats.sanity import SanityRow
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bytes of counts of which measures are taken at a time.
BLOCK = 1 << 25


@dataclass(eq=False)
class SweptLayer:
    """A layer's counts at B levels per unit.

    Attributes:
        name: the layer's name.
        counts: of every unit and label at every level, over all images.
        exact: [U, E] float32, the levels that units exceed on exactly the shares that were asked for, or less.
        bands: what tells whether the bands' labels can be trusted; None where that was not asked for.
    """

    name: str
    counts: ThresholdSweep
    exact: Tensor
    bands: BandEvidence | None = None

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.counts.edges)

    @cached_property
    def firing(self) -> Tensor:
        """[U, B] float64: the share of all pixels where each unit exceeds each level."""
        return torch.cat([both.unit_area[:, 0] / both.pixels[0] for both in self._blocks()])

    @cached_property
    def constant(self) -> Tensor:
        """[U] bool: whether a unit exceeds each level everywhere or nowhere, so that nothing is known of it."""
        return ((self.firing == 0) | (self.firing == 1)).all(1)

    @cached_property
    def best_label(self) -> Tensor:
        """[U, B] int64: at each level the label with the highest IoU, ties to the smaller; 0 where every IoU is 0.

        Of constant units 0: whatever is largest would be theirs.
        """
        best = torch.cat([_first_argmax(both.iou(), 1) for both in self._blocks()])
        return torch.where(self.constant[:, None], 0, best)

    @cached_property
    def best_iou(self) -> Tensor:
        """[U, B] float64: that IoU."""
        best = torch.cat([both.iou().amax(1) for both in self._blocks()])
        return torch.where(self.constant[:, None], 0.0, best)

    def level(self, share: int | None) -> Tensor:
        """[U] int64: which level is that of an exact share, by its number; None: level 0.

        Raises:
            ValueError: no such share.
        """
        if share is not None and not 0 <= integer("share", share, 0) < self.exact.shape[1]:
            raise refusal(ValueError(
                f"share must be the number of an exact share, from 0 to {self.exact.shape[1] - 1}, but is {share}."
            ))  # fmt: skip
        wanted = torch.zeros(self.num_units) if share is None else self.exact[:, share]
        return _first_argmax((self.counts.edges == wanted[:, None]).double(), 1)

    def of_labels(self, labels: Tensor) -> Agreement:
        """Counts [U, B] of each unit with one label, [U] int64, at every level."""
        parts, unit = [], 0
        for both in self._blocks():
            shape = both.intersection.shape
            place = torch.arange(shape[0]), labels[unit : unit + shape[0]]
            parts.append([part.expand(shape)[place] for part in vars(both).values()])
            unit += shape[0]
        return Agreement(*(torch.cat(part) for part in zip(*parts)))

    def _blocks(self) -> Iterator[Agreement]:
        """Agreements [u, C, B] of some units at a time."""
        step = max(1, BLOCK // (8 * self.counts.num_labels * self.counts.edges.shape[1]))
        return (self.counts.agreement(slice(at, at + step)) for at in range(0, self.num_units, step))


@speaks
@dataclass(eq=False)
class Sweep(Result):
    """The result of `dissect.sweep`.

    Attributes:
        layers: by name, in the order asked for.
        concepts: the names and categories of the labels.
        settings: the rules, num_images, and under "shares" the exact shares of the pixels.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1)).eval()
        >>> images, planes = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
        >>> found = dissect.sweep(net, "0", [(images, planes)], concepts=["sky", "tree"], shares=[0.1], progress=False)
        >>> len(found.units()), [row.share for row in found.labels()]
        (2, [0.1, None])
    """

    kind = "sweep"
    suffix = ".sweep"

    layers: dict[str, SweptLayer]
    concepts: Concepts
    settings: dict[str, Any]

    def __repr__(self) -> str:
        layers = ", ".join(f"{name!r} ({layer.num_units} units)" for name, layer in self.layers.items())
        return f"<Sweep of {layers} over {self.settings['num_images']} images>"

    def __getitem__(self, layer: str) -> SweptLayer:
        """A layer by name.

        Raises:
            KeyError: it was not swept.
        """
        if layer not in self.layers:
            raise refusal(KeyError(f"layer {layer!r} was not swept; these were: {list(self.layers)}."))
        return self.layers[layer]

    def units(self, layer: str | None = None) -> Table[SweptUnitRow]:
        """Per unit the label that it agrees with best, by each of several measures (`SweptUnitRow`).

        Printed, measures that pass the sanity tests come first (`sanity`); none is known of information quality there.
        """
        names = [name for name in self.layers if layer in (None, name)]
        rows = (row for name in names for row in self._unit_rows(self[name]))
        return Table(rows, by="iou", show=PRINTED_UNIT, titles=MARKED)

    def _unit_rows(self, layer: SweptLayer) -> Iterator[SweptUnitRow]:
        unit, names = 0, self.concepts.names
        for both in layer._blocks():
            known = ~layer.constant[unit : unit + len(both.intersection), None]
            iou = both.iou() * known[..., None]
            measures = [average_precision(both) * known] + [
                measure.amax(-1) * known for measure in (both.information_quality(), both.correlation(), both.cosine())
            ]
            for own, *others in zip(iou, *measures):
                label, at = divmod(int(_first_argmax(own.flatten(), 0)), own.shape[1])
                best = float(own[label, at])
                first = [int(_first_argmax(part, 0)) for part in others]
                named = [names[place] for place in first]
                values = [float(part[place]) for part, place in zip(others, first)]
                yield SweptUnitRow(
                    layer.name, unit, names[label if best > 0 else 0],
                    self.concepts.categories[label if best > 0 else 0], best, 2 * best / (1 + best),
                    float(layer.counts.edges[unit, at]), float(layer.firing[unit, at]),
                    named[0], values[0], named[1], values[1], named[2], values[2], named[3], values[3],
                )  # fmt: skip
                unit += 1

    def labels(self, layer: str | None = None) -> Table[SweptLabelRow]:
        """Which labels appear at each exact share of the pixels, and without a threshold (`SweptLabelRow`)."""
        names = [name for name in self.layers if layer in (None, name)]
        shares = [*enumerate(self.settings["shares"]), (None, None)]
        return Table(row for name in names for at, share in shares for row in self._label_rows(name, at, share))

    def _label_rows(self, name: str, at: int | None, share: float | None) -> list[SweptLabelRow]:
        found = Counter(label for label in self.best(name, at).tolist() if label > 0)
        kinds = ordered_categories(self.concepts)
        own = {kind: [found[label] for label in found if self.concepts.categories[label] == kind] for kind in kinds}
        return [SweptLabelRow(name, share, kind, len(units), sum(units)) for kind, units in own.items()]

    def bands(self, layer: str | None = None) -> Table[BandRow]:
        """Per unit the best label of each band of its activations, between the exact shares, and from the last to 0."""
        names = [name for name in self.layers if layer in (None, name)]
        return Table(row for name in names for row in band_rows(self[name], self.concepts, self.settings["shares"]))

    def best(self, layer: str, share: int | None) -> Tensor:
        """[U] int64: each unit's label at an exact share, by its number, or above 0; 0 below the cut-off of the IoU.

        Raises:
            KeyError, ValueError: no such layer or share.
        """
        own, level = self[layer], self[layer].level(share)[:, None]
        passes = own.best_iou.gather(1, level) > self.settings["detector_iou"]
        return torch.where(passes, own.best_label.gather(1, level), 0)[:, 0]

    def sanity(self, layer: str | None = None, *, share: int = 0) -> Table[SanityRow]:
        """Which measures fall when labels get worse, of each unit and its label: `stats.curve_sanity_tests`.

        Args:
            layer: one of `layers`; its only one by default.
            share: at which of the exact shares units have labels and fire, by its number; see `best`.

        Raises:
            ValueError: several layers and none named, no such share, or no unit has a label there.
        """
        own = self[self._only(layer)]
        labels = self.best(own.name, share)
        if not bool((labels > 0).any()):
            raise refusal(ValueError(f"share must be one at which units have labels, but at number {share} none has."))
        kept = Agreement(*(part[labels > 0] for part in vars(own.of_labels(labels)).values()))
        return curve_sanity_tests(kept, own.level(share)[labels > 0])

    def curve(self, unit: int, layer: str | None = None, *, concepts: list[str] | None = None) -> Table[SweptCurveRow]:
        """How a unit agrees with labels at every level (`SweptCurveRow`): with all that have the highest IoU at some.

        Printed, measures that pass the sanity tests come first (`sanity`), and those that fail one are marked.

        Args:
            unit: its number.
            layer: one of `layers`; its only one by default.
            concepts: names of labels, in the place of those.

        Raises:
            KeyError: no such layer or label.
            ValueError: several layers and none named, or no such unit.
        """
        own = self[self._only(layer)]
        if not 0 <= integer("unit", unit, least=0) < own.num_units:
            raise refusal(ValueError(f"unit must be below {own.num_units}, but is {unit}."))
        both = own.counts.agreement(slice(unit, unit + 1))
        labels = [label_of(self.concepts, name) for name in concepts] if concepts is not None else [
            label for label in own.best_label[unit].unique().tolist() if label > 0
        ]  # fmt: skip
        measures = [both.iou(), both.f1(), both.precision(), both.recall(), both.information_quality(),
                    both.correlation(), both.cosine()]  # fmt: skip
        rows = (
            SweptCurveRow(
                self.concepts.names[label], self.concepts.categories[label], float(own.counts.edges[unit, at]),
                float(own.firing[unit, at]), *(float(measure[0, label, at]) for measure in measures),
            )
            for label in labels for at in range(own.counts.edges.shape[1])
        )  # fmt: skip
        return Table(rows, show=PRINTED_CURVE, titles=MARKED)

    def plot(self, kind: Literal["labels", "unit"] = "labels", *, layer: str | None = None, unit: int = 0) -> Figure:
        """A figure: how many units have labels of each category at each share (Fig. 28), or a unit's curves (Fig. 29).

        Args:
            kind: which.
            layer: one of `layers`; its only one by default.
            unit: of kind "unit".

        Raises:
            ValueError: another kind, or several layers and none named.
        """
        from dissect import plots

        name = self._only(layer)
        if kind not in ("labels", "unit"):
            raise refusal(ValueError(f'kind must be "labels" or "unit", but is {kind!r}.'))
        with plots.drawing():
            figure = plots.new_figure(6.0, 3.0)
            axes = figure.add_subplot()
            if kind == "labels":
                self._draw_labels(axes, name)
                plots.legend_above(figure, axes)
            else:
                if self._draw_unit(axes, name, unit):
                    figure.legend(loc="outside right upper")  # of any number of labels
        return figure

    def _draw_labels(self, axes: Any, layer: str) -> None:
        from dissect import plots
        from dissect.dissection.comparison_plots import category_colors

        rows = self.labels(layer)
        shares = list(dict.fromkeys(row.share for row in rows))
        parts = {
            kind: [row.units for row in rows if row.category == kind] for kind in ordered_categories(self.concepts)
        }
        notes = [f"{sum(row.concepts for row in rows if row.share == share)} labels" for share in shares]
        names = ["above 0" if share is None else f"top {100 * share:g}%" for share in shares]
        colors, drawn = category_colors(list(parts)), {kind: units for kind, units in parts.items() if any(units)}
        plots.stacks(axes, names, drawn, notes=notes, colors=[colors[kind] for kind in drawn] or plots.COLORS)
        axes.set_xlabel(f"units whose best label has an IoU above {self.settings['detector_iou']:g}")

    def _draw_unit(self, axes: Any, layer: str, unit: int) -> int:
        """The unit's curves, and how many there are."""
        from dissect import plots

        series, rows = {}, self.curve(unit, layer)
        for name in dict.fromkeys((row.concept, row.category) for row in rows):
            own = sorted(
                (row.firing, row.iou) for row in rows if (row.concept, row.category) == name and row.firing > 0
            )
            series["{} ({})".format(*name)] = plots.Curve([at for at, _ in own], [iou for _, iou in own])
        if not series:
            plots.empty([axes])
            axes.text(0.5, 0.5, f"no label has an IoU above 0 with unit {unit}", ha="center", color=plots.QUIET)
            return 0
        plots.curves(axes, series, colors=[*plots.COLORS, *plots.SHADES])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")  # the style takes no mathematics
        axes.set_xlabel(f"share of the pixels on which unit {unit} fires")
        axes.set_ylabel("IoU")
        return len(series)

    def _only(self, layer: str | None) -> str:
        if layer is None and len(self.layers) > 1:
            raise refusal(ValueError(f"layer must be one of {list(self.layers)}."))
        return next(iter(self.layers)) if layer is None else layer

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers.values()):
            bands = {} if layer.bands is None else {f"bands.{key}": part for key, part in layer.bands._asdict().items()}
            state = {"exact": layer.exact, **bands, **layer.counts.state_dict()}
            tensors |= {f"{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        names, categories = self.concepts.names, self.concepts.categories
        return tensors, {
            "layers": list(self.layers), "names": names, "categories": categories, "settings": self.settings
        }  # fmt: skip

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Sweep:
        """See `Result`."""
        fields(what, meta, _META)
        shares = fields(f"{what}: settings", meta["settings"], _SETTINGS).get("E", 0)
        layers = {}
        for index, name in enumerate(meta["layers"]):
            own = {
                key.removeprefix(f"{index}."): value for key, value in tensors.items() if key.startswith(f"{index}.")
            }
            sizes = fields(f"{what}: layer {name!r}", own, _LAYER)
            require(what, sizes["E"] == shares, "each share has its levels")
            require(what, own["edges"][:, 1:] >= own["edges"][:, :-1], "levels never fall")
            require(what, (own["edges"] == 0).any(1), "0 is a level")
            there = (own["edges"][:, None] == own["exact"][..., None]).any(2)
            require(what, there, "the level of each share is among the others")
            counts = ThresholdSweep(own["edges"], len(meta["names"]))
            parts = {key: value for key, value in own.items() if key != "exact" and not key.startswith("bands.")}
            counts.load_state_dict({**parts, "grid": None})
            layers[name] = SweptLayer(name, counts, own["exact"], _band_evidence(what, own))
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        return Sweep(layers, concepts, meta["settings"])


def _band_evidence(what: str, own: dict[str, Tensor]) -> BandEvidence | None:
    """What a layer's tensors say of its bands, if they do."""
    if not any(key.startswith("bands.") for key in own):
        return None
    sizes = fields(what, own, _BANDS)
    require(what, sizes["B"] == own["exact"].shape[1] + 1, "a band ends at each share, and at 0")
    null, interval = own["bands.null"], own["bands.interval"]
    require(what, not (interval[..., 0] > interval[..., 1]).any(), "low is at most high")
    return BandEvidence(null, interval)


def _first_argmax(values: Tensor, dim: int) -> Tensor:
    """Where the largest value is, the first of several."""
    # numpy's argmax documents that it returns the first maximum; torch's does not.
    return torch.as_tensor(values.cpu().numpy().argmax(dim))


_META = {
    "layers": Each(Text(), different=True),
    "names": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "settings": Of(dict),
}
_SETTINGS = {"detector_iou": Number(0), "num_images": Whole(0), "shares": Each(Number(0), "E")}
_LAYER = {
    "edges": Array(torch.float32, "U B"),
    "exact": Array(torch.float32, "U E"),
    "bins": Array(torch.int64, "U C B", 0),
}
_BANDS = {
    "exact": Array(torch.float32, "U E"),
    "bands.null": Array(torch.float64, "K U B", 0, 1),
    "bands.interval": Array(torch.float64, "U B 2", 0, 1, nan=True),
}
