"""Where units can be put in, as a result: what insertions at every place of many images add, by what was there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.intervals import known
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ContextRow(NamedTuple):
    """What insertions do where a class was before.

    Attributes:
        context: the class, of the generator's own image, at the centre of the cells.
        category: its category.
        samples: how many insertions there were.
        images: in the images of how many z.
        added: how many more pixels of the inserted class an insertion makes, on average, over how many an image has on
            average without; negative where it makes fewer.
        low: the lower end of its 95 % interval over z; None where fewer than 10 z have the context.
        high: the upper end.
        random: what is added when as many random units are inserted, the mean of the draws; None without draws.
        second: what a second segmenter sees added, over its own baseline; None without one, or where it sees none of
            the class.
    """

    context: str
    category: str
    samples: int
    images: int
    added: float
    low: float | None
    high: float | None
    random: float | None
    second: float | None


class RestRow(NamedTuple):
    """A context with too few insertions to be shown.

    Attributes:
        context: the class.
        category: its category.
        samples: how many insertions there were.
    """

    context: str
    category: str
    samples: int


@dataclass(eq=False)  # tensors have no one truth value
class InsertionContext(Result):
    """What happens when a class's units are inserted at every place of many images (thesis, Fig. 4-11; PNAS, Fig. 4C).

    ::

        added at P = mean over samples of (s(x_i) - s(x)) / mean over z of s(x)

    with s the pixels of the class in the whole image, x the generator's own image and x_i that with the units at a
    level in a block of cells P. A sample is a z and a P; its contexts are the labels of x at the centre of P.

    Attributes:
        layer: the layer's name.
        units: that were inserted.
        num_units: U, of the layer.
        concepts: names and categories of the labels.
        label: the class.
        num_pixels: of one image's planes.
        block: rows and columns of P, in cells.
        places: (h', w') of the places where a block fits.
        before: [N] int64, pixels of the class in each x.
        changes: [N, h' * w'] int32, how many more are in each x_i.
        contexts: [N, K, h' * w'] int32, the labels of x at the centre of each P.
        least: samples that a context needs to be shown.
        z_keys: [N] int64, hashes of the z and their noise seeds.
        settings: seeds and options.
        random_units: [R, K] int64, as many random units of the layer, each inserted at its own level; or None.
        random_changes: [R, N, h' * w'] int32, what `changes` are with these; or None.
        second_before: [N] int64, what `before` is by a second segmenter; or None.
        second_changes: [N, h' * w'] int32, what `changes` are by that; the contexts are the first one's. Or None.

    Example: see `insertion_context`.
    """

    kind = "insertion context"
    suffix = ".context"

    layer: str
    units: tuple[int, ...]
    num_units: int
    concepts: Concepts
    label: int
    num_pixels: int
    block: int
    places: tuple[int, int]
    before: Tensor
    changes: Tensor
    contexts: Tensor
    least: int
    z_keys: Tensor
    settings: dict[str, Any]
    random_units: Tensor | None = None
    random_changes: Tensor | None = None
    second_before: Tensor | None = None
    second_changes: Tensor | None = None

    def __repr__(self) -> str:
        shown, (rows, columns) = len(self.table), self.places
        return (
            f"<InsertionContext of {self.concept!r}: {len(self.units)} units of {self.layer!r} in {self.block}x"
            f"{self.block} cells at {rows}x{columns} places of {len(self.before)} z; {shown} contexts of at least "
            f"{self.least} samples, {len(self.rest)} of fewer>"
        )

    @property
    def concept(self) -> str:
        """The name of the inserted class."""
        return self.concepts.names[self.label]

    @property
    def map(self) -> Tensor:
        """[h', w'] float64: `added` at each place, over all z: where it works."""
        mean = self.changes.double().mean(0) / self.before.double().mean()
        return mean.view(self.places)

    @property
    def table(self) -> Table[ContextRow]:
        """Contexts of at least `least` samples as a `Table` of `ContextRow`, the one where most is added first."""
        samples, images = self._samples.sum(0), (self._samples > 0).sum(0)
        rows: list[ContextRow] = []
        for label in self._found(samples >= self.least):
            own, random, second = self._shares(label)
            low, high = map(known, self._interval(label).tolist())
            name, category = self.concepts.names[label], self.concepts.categories[label]
            count, places = int(images[label]), int(samples[label])
            rows.append(ContextRow(name, category, places, count, own, low, high, random, second))
        rows.sort(key=lambda row: -row.added)
        return Table(rows)

    @property
    def rest(self) -> Table[RestRow]:
        """The contexts of fewer samples as a `Table` of `RestRow`, the one with most first."""
        samples = self._samples.sum(0)
        found = sorted(self._found((samples > 0) & (samples < self.least)), key=lambda label: -int(samples[label]))
        names, categories = self.concepts.names, self.concepts.categories
        return Table(RestRow(names[label], categories[label], int(samples[label])) for label in found)

    def plot(self, most: int = 12) -> Figure:
        """Bars of the contexts where most and least is added, and the map of where it works, as a matplotlib figure.

        Args:
            most: how many contexts.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dissect import plots

        rows = list(self.table)
        rows = rows if len(rows) <= most else [*rows[: most - most // 3], *rows[-(most // 3) :]]
        with plots.drawing():
            figure = plots.new_figure(7.2, 1.2 + 0.24 * max(6, len(rows)))
            left, right = plots.panels(figure, 2)
            names = [f"{row.context} ({row.category})" for row in rows]
            plots.bars(left, names, {"added": [row.added for row in rows]}, across=True)
            for place, row in enumerate(rows):
                if row.low is not None and row.high is not None:
                    left.hlines(place, row.low, row.high, color=plots.INK, linewidth=1)
            drawn = [(row.random, place) for place, row in enumerate(rows) if row.random is not None]
            if drawn:
                across, down = zip(*drawn)
                left.plot(across, down, "|", color=plots.QUIET, markersize=9, label="with as many random units")
                plots.legend_below(figure, left)
            block = f"{self.block}x{self.block} cells"
            plots.label(left, f"{self.concept} added, over the baseline", title=f"{block} inserted where there was")
            size = float(self.map.abs().max()) or 1.0
            right.imshow(self.map.numpy(), cmap="RdBu_r", vmin=-size, vmax=size)
            right.set_xticks([])
            right.set_yticks([])
            for (row, column), value in zip(torch.cartesian_prod(*map(torch.arange, self.places)), self.map.flatten()):
                color = "white" if abs(float(value)) > 0.6 * size else plots.INK
                right.text(
                    int(column), int(row), f"{float(value):.2f}", ha="center", va="center", fontsize=6, color=color
                )
            plots.label(right, title="the same, by place in the image")
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {name: getattr(self, name) for name in _META if name not in ("names", "categories")}
        meta |= {"names": self.concepts.names, "categories": self.concepts.categories}
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> InsertionContext:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, meta["settings"], {"seed": Whole(), "resamples": Whole()})
        require(what, meta["label"] < sizes["C"], "the label is one of the names'")
        require(what, 0 <= max(meta["units"], default=-1) < meta["num_units"], "the units are of the layer")
        places = int(meta["places"][0]) * int(meta["places"][1])
        fields(what, tensors, _TENSORS, {**sizes, "P": places})
        require(what, tensors["before"].sum() > 0, "some z shows the class")
        require(what, tensors["contexts"] < sizes["C"], "contexts are labels")
        for pair in (("random_units", "random_changes"), ("second_before", "second_changes")):
            require(what, len({name in tensors for name in pair}) == 1, f"{' and '.join(pair)} come together")
        own = {name: meta[name] for name in ("layer", "num_units", "label", "num_pixels", "block", "least", "settings")}
        own |= {name: tuple(meta[name]) for name in ("units", "places")}
        own |= {name: tensors.get(name) for name in _TENSORS}
        return cls(concepts=Concepts(tuple(meta["names"]), tuple(meta["categories"])), **own)

    def _found(self, which: Tensor) -> list[int]:
        return [label for label in which.nonzero().flatten().tolist() if label]

    @cached_property
    def _by_context(self) -> tuple[Tensor, Tensor]:
        """[N, C] int64: of each z how many samples have each context; [M, N, C] how many more pixels they have.

        M are the units, the draws of random ones, and the units by the second segmenter.
        """
        changes = self.changes[None]
        if self.random_changes is not None:
            changes = torch.cat([changes, self.random_changes])
        if self.second_changes is not None:
            changes = torch.cat([changes, self.second_changes[None]])
        samples = torch.zeros(len(self.before), len(self.concepts), dtype=torch.int64)
        added = torch.zeros(len(changes), *samples.shape, dtype=torch.int64)
        for label in self.contexts.unique().tolist():
            here = (self.contexts == label).any(1)  # once, whichever planes say so
            samples[:, label], added[:, :, label] = here.sum(1), (changes * here).sum(2)
        return samples, added

    @property
    def _samples(self) -> Tensor:
        return self._by_context[0]

    def _shares(self, label: int) -> tuple[float, float | None, float | None]:
        """What is added in a context: by the units, by random ones, and as the second segmenter sees it."""
        samples, added = self._samples[:, label].sum(), self._by_context[1][:, :, label].sum(1)
        base = self.before.double().mean()
        draws = 0 if self.random_changes is None else len(self.random_changes)
        random = float(added[1 : 1 + draws].double().mean() / samples / base) if draws else None
        second = None
        if self.second_before is not None and bool(self.second_before.any()):
            second = float(added[-1] / samples / self.second_before.double().mean())
        return float(added[0] / samples / base), random, second

    @cached_property
    def _weights(self) -> Tensor:
        return drawn_again(len(self.before), self.settings["resamples"], self.settings["seed"])

    def _interval(self, label: int) -> Tensor:
        counted, changed = self._by_context
        samples, added = (self._weights @ part[:, label].double() for part in (counted, changed[0]))
        base = self._weights @ self.before.double() / len(self.before)
        enough = min(int((self._samples[:, label] > 0).sum()), int((self.before > 0).sum()))
        return interval_of(added / samples / base, enough)


_META = {
    "layer": Text(),
    "units": Each(Whole(), "K", different=True),
    "num_units": Whole(1),
    "names": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "label": Whole(1),
    "num_pixels": Whole(1),
    "block": Whole(1),
    "places": Each(Whole(1, 1 << 20), 2),
    "least": Whole(1),
    "settings": Of(dict),
}
_TENSORS = {
    "before": Array(torch.int64, "N", 0),
    "changes": Array(torch.int32, "N P"),
    "contexts": Array(torch.int32, "N L P", 0),
    "z_keys": Array(torch.int64, "N"),
    "random_units": Maybe(Array(torch.int64, "R K", 0)),
    "random_changes": Maybe(Array(torch.int32, "R N P")),
    "second_before": Maybe(Array(torch.int64, "N", 0)),
    "second_changes": Maybe(Array(torch.int32, "N P")),
}
