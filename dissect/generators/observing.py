"""What segmenters see in a generator's images, its own and edited ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dissect.generators.counting import Concept, Counter, Segmenting, check_found
from dissect.generators.regions import Region
from dissect.generators.rendering import Edit, Renderer


@dataclass
class Baseline:
    """A generator's own images, as segmenters see them.

    Args:
        renderer: makes the images.
        counters: count; the first tells where the class is.
        region: the cells P.
        progress: show a bar.
        see: is called with the rows of z of each batch, and the first segmenter's planes of their images.

    Raises:
        ValueError: a class that no image shows.
    """

    renderer: Renderer
    counters: list[Counter]
    region: Region
    progress: bool
    see: Callable[[slice, Tensor], None] | None = None
    #: Per counter [N, C] int64, [N] pixels of the class at P, and the size of its planes.
    counts: list[Tensor] = field(init=False)
    at_cells: list[Tensor] = field(init=False)
    sizes: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        renderer, halves = self.renderer, 2
        self._sums = torch.zeros(halves, renderer.num_units, dtype=torch.float64)
        self._weight = torch.zeros(halves, dtype=torch.float64)
        counts: list[list[Tensor]] = [[] for _ in self.counters]
        cells: list[list[Tensor]] = [[] for _ in self.counters]
        self.sizes = [(0, 0)] * len(self.counters)
        for rows in renderer.batches("generated images", self.progress):
            features, images = renderer.plain(rows)
            for at, counter in enumerate(self.counters):
                planes = counter.planes(rows.start // renderer.batch_size, images)
                counts[at].append(counter.counts(planes))
                cells[at].append(self.region.pixels(counter.carries(planes), rows))
                self.sizes[at] = (planes.shape[2], planes.shape[3])
                if at == 0:
                    self._add(features, counter.presence(planes, renderer.map_size), rows)
                    if self.see is not None:
                        self.see(rows, planes)
        self.counts, self.at_cells = ([torch.cat(part) for part in parts] for parts in (counts, cells))
        for counter, found in zip(self.counters, self.counts):
            check_found(renderer.who, counter, found)

    def _add(self, features: Tensor, presence: Tensor, rows: slice) -> None:
        numbers = torch.arange(rows.start, rows.stop)
        for half in (0, 1):
            own = (numbers % 2 == half).to(features.device)
            self._sums[half] += torch.einsum("nuhw,nhw->u", features[own].double(), presence[own].double()).cpu()
            self._weight[half] += float(presence[own].double().sum())

    def cross_value(self) -> Tensor | None:
        """[N, U] float32: for every z the mean of each unit where the class is in z of the other half; None without."""
        if not bool((self._weight > 0).all()):
            return None
        means = (self._sums / self._weight[:, None]).float()
        return means[1 - torch.arange(len(self.renderer)) % 2]

    def value(self) -> Tensor:
        """[U] float32: the mean of each unit where the class is, in all z."""
        return (self._sums.sum(0) / self._weight.sum()).float()

    def inserted(self, value: Tensor | float | None) -> Tensor:
        """[U] or [N, U] float32: the level that inserted units have, given or the `cross_value`.

        Raises:
            TypeError, ValueError: one that cannot be, or none where it cannot be told.
        """
        who = self.renderer.who
        level = given_value(who, value, self.renderer.num_units)
        level = self.cross_value() if level is None else level
        if level is None:
            shown = int((self.counts[0][:, self.counters[0].label] > 0).sum())
            raise ValueError(
                f"{who}: value must be given where fewer than 2 z show the class, one of even and one of odd number, "
                f"but {shown} of {len(self.renderer)} show {self.counters[0].name!r}."
            )
        return level


class Observed:
    """What segmenters see in edited images.

    Args:
        renderer: makes the images.
        counters: count.
        edits: the edits.
        region: the cells P.

    Attributes:
        first: per counter [N, C] int64, pixels of each label in each image of the first edit.
        own: per counter [E, N] int64, pixels of its class in each image of each edit.
        at_cells: the same, at P.
        totals: per counter [E, C] int64, pixels of each label in all images of each edit.
    """

    def __init__(self, renderer: Renderer, counters: list[Counter], edits: list[Edit], region: Region) -> None:
        self._renderer, self._counters, self._edits, self._region = renderer, counters, edits, region
        shapes = [(len(edits), len(renderer), len(counter.concepts)) for counter in counters]
        self.first = [torch.zeros(n, labels, dtype=torch.int64) for _, n, labels in shapes]
        self.own = [torch.zeros(e, n, dtype=torch.int64) for e, n, _ in shapes]
        self.at_cells = [torch.zeros(e, n, dtype=torch.int64) for e, n, _ in shapes]
        self.totals = [torch.zeros(e, labels, dtype=torch.int64) for e, _, labels in shapes]

    def run(self, progress: bool) -> None:
        """Makes all edited images."""
        for rows in self._renderer.batches("edited images", progress):
            self._renderer.edited(rows, self._edits, partial(self._see, rows))

    def _see(self, rows: slice, edit: int, images: Tensor) -> None:
        for at, counter in enumerate(self._counters):
            planes = counter.planes(rows.start // self._renderer.batch_size, images)
            counts = counter.counts(planes)
            if edit == 0:
                self.first[at][rows] = counts
            self.own[at][edit, rows] = counts[:, counter.label]
            self.totals[at][edit] += counts.sum(0)
            self.at_cells[at][edit, rows] = self._region.pixels(counter.carries(planes), rows)


def counters_of(who: str, segmenter: Segmenting, second: Segmenting | None, concept: Concept) -> list[Counter]:
    """Of one segmenter, or of two that are asked for the same class."""
    first = Counter(who, segmenter, concept)
    if second is None:
        return [first]
    return [first, Counter(who, second, concept if isinstance(concept, str) else first.name)]


def random_units(num_units: int, count: int, draws: int, seed: int) -> Tensor:
    """[R, K] int64: so many different units of a layer, drawn again and again."""
    chance = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(num_units, generator=chance)[:count] for _ in range(draws)]
    return torch.stack(drawn) if drawn else torch.empty(0, count, dtype=torch.int64)


def given_value(who: str, value: Tensor | float | None, num_units: int) -> Tensor | None:
    """[U] float32: the level of each unit; None where none was given.

    Raises:
        TypeError, ValueError: neither a number nor one per unit of the layer, or not finite.
    """
    if value is None:
        return None
    try:
        levels = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{who}: value must be a number or one per unit of the layer, but got {value!r}.") from error
    if levels.shape not in ((), (num_units,)):
        raise ValueError(
            f"{who}: value must be a number or have shape [U] with U={num_units}, all units of the layer, but got "
            f"{list(levels.shape)}."
        )
    if not bool(levels.isfinite().all()):
        raise ValueError(f"{who}: value must be finite, but is not.")
    return levels.expand(num_units).clone()


def warn_of_shared(who: str, units: Any, renderer: Renderer) -> None:
    """Tells of z on which the units were chosen."""
    keys: Tensor | None = getattr(units, "z_keys", None)
    shared = 0 if keys is None else int(torch.isin(renderer.keys(), keys).sum())
    if shared:
        warnings.warn(
            f"{who}: z should be others than those on which the units were chosen, but {shared} of {len(renderer)} are "
            "the same, so the effect is too large; use another seed of dissect.latents.",
            stacklevel=3,
        )
