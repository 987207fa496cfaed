"""Where maps and planes stay between visits: in memory, on disk, or nowhere, and then they are computed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal
from dissect.visits.disk import Disk, Maps

#: While images are seen for the first time what is kept is condensed when memory is full, and so many times as many
#: were seen as when it was last.
PRUNE_FROM = 1.15


@dataclass
class Step:
    """A batch as the visits see it: image numbers [N], planes [N, K, H, W], and each layer's maps [N, U, h, w].

    Of maps that a visit let be condensed the hot cells.

    Planes and maps are on the model's device, if the ops serve there; numbers and images where the data set has them.
    """

    numbers: Tensor
    planes: Tensor | None  # None where the visit does not need them
    activations: dict[str, Any]  # Tensor or HotCells
    images: Tensor | None = None  # of a step that was just computed
    labels: ops.EncodedLabels | None = (
        None  # in the place of planes, where these came encoded and the visitor takes them
    )

    @property
    def shown(self) -> Tensor:
        """The images, of a step that was just computed.

        Raises:
            RuntimeError: it was not, so that there are none.
        """
        return _had(self.images, "images")

    @property
    def label_planes(self) -> Tensor:
        """The planes, of a visit that needs them.

        Raises:
            RuntimeError: it does not, so that there are none.
        """
        return _had(self.planes, "label planes")


def _had(part: Tensor | None, what: str) -> Tensor:
    if part is None:
        raise refusal(RuntimeError(f"steps must have {what}, but one has none."))
    return part


def step_of(
    numbers: Tensor,
    planes: Tensor | ops.EncodedLabels | None,
    activations: dict[str, Any],
    images: Tensor | None = None,
) -> Step:
    """A step with planes or labels, whichever they are."""
    if isinstance(planes, ops.EncodedLabels):
        return Step(numbers, None, activations, images, planes)
    return Step(numbers, planes, activations, images)


@dataclass
class Cost:
    """What it took to compute a step: seconds from asking for its images until each layer had run, and until the end.

    On a GPU, where the host runs ahead, the layers' moments are those of their launch; their order is right.
    """

    layers: dict[str, float]
    whole: float


@dataclass
class _Kept:
    """What there is of a batch: planes and maps in memory, and the layers whose maps are in a file."""

    numbers: Tensor
    planes: Tensor | ops.EncodedLabels | None = None
    maps: dict[str, Maps] = field(default_factory=dict)
    file: Path | None = None
    on_disk: tuple[str, ...] = ()


_NOTHING = _Kept(torch.empty(0, dtype=torch.int64))


class Condensed(Protocol):
    """What may stand for a layer's maps: `Visit.condensed`."""

    def __call__(self, name: str, maps: Maps, numbers: Tensor, share: float | None = 1.0) -> Maps:
        """Of a layer's maps and the images' numbers; `share` of all images were seen, or None: see `Visit`."""


@dataclass
class _Offered:
    """Layers of a step that may be kept, in the order in which they run, and what it took to compute them."""

    parts: dict[str, Any]  # Tensor or HotCells
    ends: list[float]
    whole: float
    numbers: Tensor

    def cuts(self) -> list[tuple[int, int]]:
        """See `cuts`."""
        return cuts([part.nbytes for part in self.parts.values()], self.ends, self.whole)

    def size(self, first: int) -> int:
        """Bytes of the layers from this one on."""
        return sum(part.nbytes for part in list(self.parts.values())[first:])

    def condensed(self, condensed: Condensed, share: float | None) -> _Offered:
        """What stands for them."""
        parts = {
            name: condensed(name, maps, self.numbers, share) if isinstance(maps, Tensor) else maps
            for name, maps in self.parts.items()
        }
        return replace(self, parts=parts)


class Store:
    """Keeps steps between visits, each layer where visiting it again costs the least.

    Of the memory, each batch may have an equal share. Where a share holds the whole step, nothing is computed twice.
    Where it does not, the last layers of the network stay, since a forward pass must then go only as far as the last
    one that is missing; how many of them, is where the most seconds are saved per byte (`cuts`, by the times measured
    on this batch). The rest goes to disk, while its budget lasts and as long as writing it once and reading it
    `disk.VISITS` times takes less than computing it as often, by what was measured so far; else it is computed again.
    Where a visit lets hot cells stand for maps, they do so in both. Planes stay if there is memory left.

    What is kept never changes a result, since the same batches give the same bits.

    Args:
        memory_budget: bytes.
        disk_budget: bytes, in a folder of the system's for temporary files. If that is full, a warning says so, and
            the rest is computed again.
    """

    def __init__(self, memory_budget: int, disk_budget: int) -> None:
        self._memory, self._disk = memory_budget, Disk(disk_budget)
        self._kept: dict[int, _Kept] = {}  # by batch
        # While images are seen for the first time: what a step would take if it were the last one, the memory that is
        # left if all that is kept comes to that, and of which share of all images it was when all was condensed.
        self._ended: _Offered | None = None
        self._unpromised, self._pruned = memory_budget, 0.0
        self.short = False  # whether memory was too short for some maps so far

    def close(self) -> None:
        """Forgets everything, on disk too."""
        self._kept.clear()
        self._disk.close()

    def missing(self, index: int, layers: list[str]) -> list[str]:
        """Those of the layers that batch `index` must be computed for."""
        kept = self._kept.get(index, _NOTHING)
        return [name for name in layers if name not in kept.maps and name not in kept.on_disk]

    def holds(self, index: int, layers: list[str], planes: bool) -> bool:
        """Whether a visit to these layers, and planes if it needs them, can do without the batch itself."""
        return index in self._kept and not self.missing(index, layers) and not (planes and self.planes(index) is None)

    def planes(self, index: int) -> Tensor | ops.EncodedLabels | None:
        """The planes of a batch, or its labels, if they are kept."""
        return self._kept.get(index, _NOTHING).planes

    def maps(self, index: int, layers: list[str]) -> dict[str, Any]:
        """Of those of the layers that are kept; those in a file that is gone or has changed are so no longer."""
        kept = self._kept.get(index, _NOTHING)
        maps = {name: kept.maps[name] for name in layers if name in kept.maps}
        wanted = [name for name in layers if name in kept.on_disk]
        if not wanted or kept.file is None:
            return maps
        found = self._disk.recover(kept.file, wanted)
        if found is None:
            kept.on_disk = ()  # the file stays known, so that none is written again where files do not last
            return maps
        return maps | found

    def recall(self, index: int, layers: list[str]) -> Step | None:
        """A step that it holds; None if a file of it is gone or has changed."""
        maps = self.maps(index, layers)
        return step_of(self._kept[index].numbers, self.planes(index), maps) if len(maps) == len(layers) else None

    def keep(
        self,
        index: int,
        step: Step,
        cost: Cost,
        batches_left: int,
        planes_first: bool,
        condensed: Condensed | None = None,
        share: float = 1.0,
    ) -> None:
        """Keeps what is worth its room of a step that was just computed, beside what is kept of it already.

        Args:
            index: of the batch.
            step: what was computed.
            cost: what that took.
            batches_left: among how many batches, with this one, the memory is shared; 1 if unknown.
            planes_first: planes are dearer than maps, for a segmenter makes them; else they come last.
            condensed: what `Visit.condensed` leaves of maps, for those that do not fit.
            share: of all images how many were seen so far.
        """
        kept = self._kept.setdefault(index, _Kept(step.numbers))
        new = self.missing(index, list(cost.layers))
        spoken_for = 0
        if planes_first:
            self._keep_planes(kept, step, 0, 1)
            spoken_for = 0 if kept.planes is None else kept.planes.nbytes * (batches_left - 1)
        parts, ends = {name: step.activations[name] for name in new}, [cost.layers[name] for name in new]
        offered = _Offered(parts, ends, cost.whole, step.numbers)
        first, _ = _choose(offered.cuts(), self._memory - spoken_for, batches_left)
        if first and condensed is not None:
            first, parts = self._hot(offered, spoken_for, batches_left, condensed, share)
        taken = sum(parts[name].nbytes for name in new[first:])
        kept.maps |= {name: parts[name] for name in new[first:]}
        self._memory -= taken
        rest = {name: parts[name] for name in new[:first]}
        self.short |= bool(first)
        if rest and kept.file is None and self._disk.left:
            self._write(index, replace(offered, parts=rest), batches_left, condensed, share)
        if not rest or kept.on_disk:  # else the batch is needed again anyhow, and its planes come with it
            self._keep_planes(kept, step, taken, batches_left)

    def _write(
        self, index: int, offered: _Offered, batches_left: int, condensed: Condensed | None, share: float
    ) -> None:
        """Layers of a step that memory has no room for, to disk.

        Where the disk has no room for all such maps, a file is written once there are floors, at a later visit if need
        be: else the first batches would take the room of many others' hot cells.

        Args:
            index: see `keep`.
            offered: the layers, the first ones of a step.
            batches_left: see `keep`.
            condensed: see `keep`.
            share: see `keep`.
        """
        kept = self._kept[index]
        if condensed is not None:
            offered = offered.condensed(condensed, share)
            whole = any(isinstance(part, Tensor) for part in offered.parts.values())
            if share < 1 and whole and offered.size(0) * batches_left > self._disk.left:
                return
        kept.file = self._disk.write(index, offered.parts, offered.ends[len(offered.parts) - 1])
        kept.on_disk = () if kept.file is None else tuple(offered.parts)

    def _hot(
        self, offered: _Offered, spoken_for: int, batches_left: int, condensed: Condensed, share: float
    ) -> tuple[int, dict[str, Any]]:
        """From where on to keep the layers of a step, and as what, where the memory is too short for all maps.

        What a batch will take in the end is known by what the first such one would take if it were the last one: all
        batches share the memory by that. Until the memory is full maps stay whole; then they are condensed, the older
        ones too.

        Args:
            offered: the layers.
            spoken_for: bytes that the planes of later batches will take.
            batches_left: see `keep`.
            condensed: see `keep`.
            share: see `keep`.
        """
        self.short, memory = True, self._memory - spoken_for
        if share == 1:
            now = offered.condensed(condensed, share)
            return _choose(now.cuts(), memory, batches_left)[0], now.parts
        if self._ended is None:
            self._ended = offered.condensed(condensed, None)
        ended = replace(self._ended, ends=offered.ends, whole=offered.whole)
        first, promised = _choose(ended.cuts(), self._unpromised - spoken_for, batches_left)
        self._unpromised -= promised
        if offered.size(first) <= memory:
            return first, offered.parts
        now = offered.condensed(condensed, share)
        if now.size(first) > memory and share > PRUNE_FROM * self._pruned:
            before = self._memory
            self.condense(partial(condensed, share=share))
            memory, self._pruned, self._ended = memory + self._memory - before, share, None
        while first < len(now.parts) and now.size(first) > memory:
            first += 1
        return first, now.parts

    def condense(self, condensed: Condensed) -> None:
        """Replaces the maps in memory by what `Visit.condensed` leaves of them."""
        for kept in self._kept.values():
            for name, maps in kept.maps.items():
                kept.maps[name] = found = condensed(name, maps, kept.numbers)
                self._memory += maps.nbytes - found.nbytes

    def forget_hot(self, layers: Iterable[str]) -> None:
        """Forgets hot cells of these layers, which must be whole again."""
        forgotten = set(layers)
        for kept in self._kept.values():
            for name in forgotten:
                if isinstance(hot := kept.maps.get(name), ops.HotCells):
                    self._memory += hot.nbytes
                    del kept.maps[name]
            if kept.file is not None:
                hot_there = forgotten & self._disk.hot(kept.file)
                kept.on_disk = tuple(name for name in kept.on_disk if name not in hot_there)

    def _keep_planes(self, kept: _Kept, step: Step, taken: int, batches_left: int) -> None:
        """Keeps them if all later batches can then have as much of the memory as this one."""
        planes = step.labels if step.planes is None else narrow(step.planes)
        if planes is None or kept.planes is not None:
            return
        if planes.nbytes + (planes.nbytes + taken) * (batches_left - 1) <= self._memory:
            kept.planes = planes
            self._memory -= planes.nbytes
            self._unpromised -= planes.nbytes


def cuts(sizes: list[int], ends: list[float], whole: float) -> list[tuple[int, int]]:
    """Which layers to keep of a step, given some memory: from where on, and the bytes it takes, in rising order.

    Keeping the layers from k on saves the seconds between the end of layer k - 1 and that of the last one; with k = 0
    the whole step. From one choice to the next the most seconds are saved per byte: they are the corners of the concave
    hull of (bytes, seconds), and no other choices serve better.

    Args:
        sizes: bytes of each layer's maps, in the order in which they run.
        ends: seconds until each layer has run.
        whole: seconds of the whole step.

    Example:
        >>> cuts([100, 10, 10], [1.0, 5.0, 6.0], 6.0)  # the last two layers take little and save most of the seconds
        [(3, 0), (1, 20), (0, 120)]
    """
    number = len(sizes)
    saved = [whole if k == 0 else ends[-1] - ends[k - 1] for k in range(number)] + [0.0]
    taken = [sum(sizes[k:]) for k in range(number + 1)]
    choices = [number]
    while choices[-1] > 0:
        at = choices[-1]
        choices.append(max(range(at), key=lambda k: (saved[k] - saved[at]) / max(1, taken[k] - taken[at])))
    return [(k, taken[k]) for k in choices]


def _choose(choices: list[tuple[int, int]], memory: int, batches_left: int) -> tuple[int, int]:
    """The largest choice that all batches can have, or the next one if all later batches can still have that."""
    common = max((size for _, size in choices if size * batches_left <= memory), default=0)
    fitting = [choice for choice in choices if choice[1] + common * (batches_left - 1) <= memory]
    larger = [choice for choice in fitting if choice[1] > common]
    return larger[0] if larger else fitting[-1] if fitting else choices[0]


def narrow(planes: Tensor) -> Tensor:
    """The same labels in the narrowest type that all ops take; planes that come as int64 take eight times as much.

    Those of 16 bits on a GPU stay so, since to look at them would be to wait for it.
    """
    if planes.device.type == "cuda" and planes.element_size() <= 2:
        return planes
    least, largest = (int(end) for end in planes.aminmax()) if planes.numel() else (0, 0)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= least and largest <= torch.iinfo(dtype).max:
            return planes.to(dtype) if dtype.itemsize < planes.dtype.itemsize else planes
    return planes
