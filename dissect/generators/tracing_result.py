"""How far an edit at one place of a layer goes in the layers that follow: the result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Each, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.intervals import known
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TraceRow(NamedTuple):
    """How much a layer changes.

    Attributes:
        layer: its name.
        channels: how many it has.
        silent: how many of them are left out, since they are 0 in all images without an edit.
        change: the mean over all edits.
        low: the lower end of its 95 % interval over z; None of fewer than 10 z.
        high: the upper end.
        visible: the mean over edits whose effect is visible; None where there are none, or no segmenter was given.
        visible_low: the lower end of its interval; None where fewer than 10 z have such edits.
        visible_high: the upper end.
        visible_edits: how many these are.
        unseen: the mean over the other edits.
        unseen_low: the lower end of its interval.
        unseen_high: the upper end.
        unseen_edits: how many these are.
    """

    layer: str
    channels: int
    silent: int
    change: float
    low: float | None
    high: float | None
    visible: float | None
    visible_low: float | None
    visible_high: float | None
    visible_edits: int | None
    unseen: float | None
    unseen_low: float | None
    unseen_high: float | None
    unseen_edits: int | None


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class EffectTrace(Result):
    """How much later layers change when units are set at one place of a layer (thesis, A.5).

    ::

        change = mean over channels c and positions of |changed_c - base_c| / mean over z and positions of |base_c|

    An edit is a z and a place. Its effect is visible where more than `cut` of the image's pixels gain or lose the
    class, as the segmenter sees it, or without a class change any label; the published code has a person judge that.

    Attributes:
        layer: the edited layer's name.
        units: that were set.
        num_units: U, of the layer.
        layers: names of the L layers that were looked at.
        channels: [L] int64, of each.
        silent: [L] int64, channels of each that are 0 in all images without an edit, and so are left out.
        block: rows and columns of a place, in cells.
        places: (h', w') of the places where a block fits.
        cells: [P, 2] int64, the first cell of each place that was tried.
        changes: [L, N, P] float64.
        concept: the class as "category/name"; "" where all labels were looked at, or without a segmenter.
        num_pixels: of one image's planes; 0 without a segmenter.
        pixels: [N, P] int64, how many change; [0, P] without a segmenter.
        cut: the share of an image's pixels that a visible effect exceeds; another may be set at any time.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds and options.

    Example: see `trace_effect`.
    """

    kind = "effect trace"
    suffix = ".trace"

    layer: str
    units: tuple[int, ...]
    num_units: int
    layers: tuple[str, ...]
    channels: Tensor
    silent: Tensor
    block: int
    places: tuple[int, int]
    cells: Tensor
    changes: Tensor
    concept: str
    num_pixels: int
    pixels: Tensor
    cut: float
    z_keys: Tensor
    settings: dict[str, Any]

    def __repr__(self) -> str:
        visible = self.visible
        looked_at = repr(self.concept) if self.concept else "some label"
        shown = "" if visible is None else f"; {int(visible.sum())} of {visible.numel()} visible in {looked_at}"
        return (
            f"<EffectTrace of {len(self.units)} units of {self.layer!r} in {self.block}x{self.block} cells, at "
            f"{len(self.cells)} places of {self.changes.shape[1]} z, through {len(self.layers)} layers{shown}>"
        )

    @property
    def visible(self) -> Tensor | None:
        """[N, P] bool: which edits have a visible effect; None without a segmenter."""
        return self.pixels > self.cut * self.num_pixels if self.num_pixels else None

    @property
    def table(self) -> Table[TraceRow]:
        """The layers in their order, as a `Table` of `TraceRow`."""
        return Table(self._row(at) for at in range(len(self.layers)))

    def maps(self, image: int | None = None) -> Tensor:
        """[L, h', w'] float64: the change by place, NaN where none was tried; of one z by its number, or of all.

        Raises:
            IndexError: there is no such z.
        """
        if image is not None and not 0 <= image < self.changes.shape[1]:
            raise refusal(IndexError(f"image must be from 0 to {self.changes.shape[1] - 1}, but is {image}."))
        return self._by_place(self.changes.mean(1) if image is None else self.changes[:, image])

    def visible_map(self) -> Tensor | None:
        """[h', w'] float64: the share of z in which the effect is visible, by place, as `maps`; None as `visible`."""
        return None if self.visible is None else self._by_place(self.visible.double().mean(0)[None])[0]

    def plot(self, layer: str | None = None) -> Figure:
        """The change from layer to layer, and by place in one of them, as a matplotlib figure (Fig. A-6).

        Args:
            layer: which one; the last by default.

        Raises:
            ImportError: matplotlib is not installed.
            KeyError: the layer was not looked at.
        """
        from dissect import plots

        if layer is not None and layer not in self.layers:
            raise refusal(KeyError(f"layer must be one of {self.layers}, but got {layer!r}."))
        shown = len(self.layers) - 1 if layer is None else self.layers.index(layer)
        rows, number = list(self.table), range(len(self.layers))
        names = ("change",) if self.visible is None else ("visible", "unseen")
        series = {
            name if self.visible is None else f"{name} ({getattr(rows[0], f'{name}_edits')} edits)": name
            for name in names
            if getattr(rows[0], name) is not None
        }
        with plots.drawing():
            figure = plots.new_figure(8, 3.2)
            left, right = plots.panels(figure, 2)
            plots.curves(left, {label: _curve(rows, name) for label, name in series.items()})
            left.set_xticks(number, self.layers, rotation=45, ha="right")
            left.set_ylim(0)
            left.legend()
            plots.label(left, "", "change over mean L1", f"{self.block}x{self.block} cells of {self.layer} set")
            heat = right.imshow(self.maps()[shown].numpy(), cmap="magma")
            right.set_xticks([])
            right.set_yticks([])
            figure.colorbar(heat, ax=right, shrink=0.8)
            plots.label(right, title=f"change of {self.layers[shown]} by place")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {name: getattr(self, name) for name in _TENSORS}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> EffectTrace:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "resamples": Whole()})
        fields(what, tensors, _TENSORS, sizes)
        cells, pixels = tensors["cells"], tensors["pixels"]
        require(what, len(cells) > 0 and tensors["changes"].shape[1] > 0, "there is some edit")
        require(what, 0 <= max(meta["units"], default=-1) < meta["num_units"], "the units are of the layer")
        require(what, bool((cells < torch.tensor(meta["places"])).all()), "cells are places")
        require(what, bool((tensors["silent"] < tensors["channels"]).all()), "some channel is not silent")
        rows = tensors["changes"].shape[1] if meta["num_pixels"] else 0
        require(what, len(pixels) == rows, "pixels are of all z, or of none without a segmenter")
        require(what, meta["num_pixels"] > 0 or not meta["concept"], "a class was seen by a segmenter")
        require(what, bool((pixels <= meta["num_pixels"]).all()), "no more pixels change than there are")
        own: dict[str, Any] = {name: meta[name] for name in _META} | {name: tensors[name] for name in _TENSORS}
        return cls(**own | {name: tuple(meta[name]) for name in ("units", "layers", "places")})

    @cached_property
    def _weights(self) -> Tensor:
        return drawn_again(self.changes.shape[1], self.settings["resamples"], self.settings["seed"])

    def _by_place(self, values: Tensor) -> Tensor:
        maps = torch.full((len(values), *self.places), torch.nan, dtype=torch.float64)
        maps[:, self.cells[:, 0], self.cells[:, 1]] = values
        return maps

    def _mean(self, layer: int, which: Tensor) -> tuple[float | None, float | None, float | None, int]:
        """The mean change over some edits [N, P], its interval, and how many they are."""
        count = int(which.sum())
        if not count:
            return None, None, None, 0
        own, total = which.double().sum(1), (self.changes[layer] * which).sum(1)
        ends = interval_of((self._weights @ total) / (self._weights @ own), int((own > 0).sum()))
        return float(total.sum() / count), *map(known, ends.tolist()), count  # type: ignore[return-value]

    def _row(self, at: int) -> TraceRow:
        visible = self.visible
        every = self._mean(at, torch.ones_like(self.changes[at], dtype=torch.bool))[:3]
        parts: list[Any] = [None] * 8 if visible is None else [*self._mean(at, visible), *self._mean(at, ~visible)]
        return TraceRow(self.layers[at], int(self.channels[at]), int(self.silent[at]), *every, *parts)  # type: ignore[arg-type]


def _curve(rows: list[TraceRow], name: str) -> Any:
    """One of the means over the layers, with its interval where every layer has one."""
    from dissect import plots

    low, high = ("low", "high") if name == "change" else (f"{name}_low", f"{name}_high")
    ends = [[getattr(row, end) for row in rows] for end in (low, high)]
    sure = None not in ends[0] and None not in ends[1]
    return plots.Curve(range(len(rows)), [getattr(row, name) for row in rows], *(ends if sure else ()))


_META = {
    "layer": Text(),
    "units": Each(Whole(), "K", different=True),
    "num_units": Whole(1),
    "layers": Each(Text(), "L", different=True),
    "block": Whole(1),
    "places": Each(Whole(1, 1 << 20), 2),
    "concept": Text(),
    "num_pixels": Whole(),
    "cut": Number(0, 1),
    "settings": Of(dict),
}
_TENSORS = {
    "channels": Array(torch.int64, "L", 1),
    "silent": Array(torch.int64, "L", 0),
    "cells": Array(torch.int64, "P 2", 0),
    "changes": Array(torch.float64, "L N P", 0),
    "pixels": Array(torch.int64, "M P", 0),
    "z_keys": Array(torch.int64, "N"),
}
