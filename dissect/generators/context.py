"""Where units can be put in: a class's units inserted everywhere in many images, by what was there before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import integer, speaks
from dissect.concepts import Concepts
from dissect.devices import checksum
from dissect.files.checked import Array, Each, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.counting import Concept, Segmenting
from dissect.generators.intervals import RESAMPLES, drawn_again, interval_of, known
from dissect.generators.observing import Observation, counters_of, given_value, observe, warn_of_shared
from dissect.generators.regions import Region, block_masks, checked_block
from dissect.generators.rendering import Edit, Latents, Renderer
from dissect.network.identity import fingerprint
from dissect.network.layouts import LayoutOption
from dissect.network.units import Units
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Insertions below this are too few for a row.
LEAST = 1000


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
    """

    context: str
    category: str
    samples: int
    images: int
    added: float
    low: float | None
    high: float | None


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
            added = float(self._added.sum(0)[label] / samples[label] / self.before.double().mean())
            ends = self._interval(label).tolist()
            name, category = self.concepts.names[label], self.concepts.categories[label]
            rows.append(ContextRow(name, category, int(samples[label]), int(images[label]), added, *map(known, ends)))
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
        return {name: getattr(self, name) for name in _TENSORS}, meta

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
        own = {name: meta[name] for name in ("layer", "num_units", "label", "num_pixels", "block", "least", "settings")}
        own |= {name: tuple(meta[name]) for name in ("units", "places")}
        own |= {name: tensors[name] for name in _TENSORS}
        return cls(concepts=Concepts(tuple(meta["names"]), tuple(meta["categories"])), **own)

    def _found(self, which: Tensor) -> list[int]:
        return [label for label in which.nonzero().flatten().tolist() if label]

    @cached_property
    def _by_context(self) -> tuple[Tensor, Tensor]:
        samples = torch.zeros(len(self.before), len(self.concepts), dtype=torch.int64)
        added = torch.zeros_like(samples)
        for label in self.contexts.unique().tolist():
            here = (self.contexts == label).any(1)  # once, whichever planes say so
            samples[:, label], added[:, label] = here.sum(1), (self.changes * here).sum(1)
        return samples, added

    @property
    def _samples(self) -> Tensor:
        """[N, C] int64: of each z how many samples have each context."""
        return self._by_context[0]

    @property
    def _added(self) -> Tensor:
        """[N, C] int64: how many more pixels of the class all these have."""
        return self._by_context[1]

    @cached_property
    def _weights(self) -> Tensor:
        return drawn_again(len(self.before), self.settings["resamples"], self.settings["seed"])

    def _interval(self, label: int) -> Tensor:
        samples, added = (self._weights @ part[:, label].double() for part in self._by_context)
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
}


@speaks
def insertion_context(
    generator: nn.Module,
    layer: str,
    units: Units,
    z: Latents,
    segmenter: Segmenting,
    concept: Concept,
    *,
    value: Tensor | float | None = None,
    block: int = 1,
    least: int = LEAST,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> InsertionContext:
    """Inserts a class's units at every place of many images, and counts what is new by what was there before.

    The units are set to a level in one block of cells of the layer's map, at each place where such a block fits, of
    each z in turn. One cell is what the papers insert; in small generators it may do next to nothing, where a block of
    3x3 does.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        units: see `effect`.
        z: see `effect`; there are as many images for each as there are places.
        segmenter: see `effect`.
        concept: the class that the units belong to.
        value: the level: a number or [U], all units of the layer; the thresholds of a dissection are PNAS' level. By
            default the mean of each unit where the class is (thesis, A.4), see `effect`.
        block: rows and columns of a block.
        least: samples that a context needs to be shown; the others are named.
        seed: of intervals.
        resamples: see `effect`.
        batch_size: see `effect`.
        layout: see `effect`.
        resume: see `effect`.
        progress: show a bar.

    Returns:
        An `InsertionContext`.

    Raises:
        KeyError, TypeError, ValueError: see `effect`.

    Warns:
        UserWarning: units that `causal_units` chose on some of these z.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 2, seed=3)
        >>> found = insertion_context(
        ...     street, "layer2", [4, 20], z, tiny.segmenter(signed=True), "object/sky", value=2.0, block=3, least=4,
        ...     progress=False,
        ... )
        >>> found.map.shape, found.changes.shape
        (torch.Size([2, 2]), torch.Size([2, 4]))
    """
    who = "insertion_context"
    for name, number in {"seed": seed, "resamples": resamples}.items():
        integer(name, number, 0)
    least = integer("least", least)
    counters = counters_of(who, segmenter, None, concept)
    renderer = Renderer(who, generator, layer, z, segmenter, integer("batch_size", batch_size), layout)
    chosen, (h, w) = renderer.units(units), renderer.map_size
    block = checked_block(who, block, (h, w))
    levels = given_value(who, value, renderer.num_units)
    warn_of_shared(who, units, renderer)
    places = (h - block + 1, w - block + 1)
    firsts = torch.cartesian_prod(*map(torch.arange, places))

    def at_centres(planes: Tensor) -> Tensor:
        height, width = planes.shape[2:]
        rows, columns = ((firsts[:, axis] * 2 + block) * size // (2 * length)
                         for axis, size, length in ((0, height, h), (1, width, w)))  # fmt: skip
        return planes[:, :, rows.to(planes.device), columns.to(planes.device)].int()

    def choose(seen: Observation) -> list[Edit]:
        level = seen.inserted(levels)
        return [Edit(chosen, level, mask) for mask in block_masks(firsts, block, (h, w))]

    seen = Observation(
        renderer, counters, Region("everywhere", None), choose, at_centres, Array(torch.int32, "N L P", 0)
    )
    about = {
        "units": chosen.tolist(), "value": None if levels is None else checksum(levels).tolist(), "block": block
    }  # fmt: skip
    observe(seen, renderer, counters, about, resume, progress)
    before = seen.counts[0][:, counters[0].label]
    settings = {
        "seed": seed, "resamples": resamples, "batch_size": renderer.batch_size,
        "value": "given" if value is not None else "means where the class is, of every second z for the others",
        "generator": type(generator).__name__, "fingerprint": fingerprint(generator),
    }  # fmt: skip
    return InsertionContext(
        layer, tuple(chosen.tolist()), renderer.num_units, counters[0].concepts, counters[0].label,
        seen.sizes[0][0] * seen.sizes[0][1], block, places, before, (seen.own[0] - before).T.int().contiguous(),
        seen.extra, least, renderer.keys(), settings,
    )  # fmt: skip
