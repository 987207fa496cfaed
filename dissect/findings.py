"""What a dissection has found so far, visit by visit: thresholds, peaks and their pictures, counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dissect.checked import Array, fields
from dissect.concepts import Concepts
from dissect.contents import check_parts, check_under_way
from dissect.dissection import Dissection, LayerDissection
from dissect.geometry import Geometry
from dissect.grid import Grid
from dissect.ops.encode_labels import Encoding
from dissect.presets import Preset
from dissect.source import Visit
from dissect.stats import IouTally, Peaks, TailThreshold
from dissect.store import Step
from dissect.transfer import Late, to_device

#: Tables have a row of each label, so that a stray number would fill the memory.
MOST_LABELS = 1 << 20

#: After so many batches of the counts, what they hold by image is added up.
FOLD = 16


class Findings:
    """A dissection under way: what it has learned, and which visit and batch come next.

    The visits are "survey" (the thresholds' first brackets, the peaks, and the pictures of the peaks), "thresholds" as
    often as some bracket is still open, and "counts" (intersections and areas, and the maps of the top images).
    """

    def __init__(
        self,
        layers: list[str],
        rules: Preset,
        top_images: int,
        geometry: Geometry,
        to_pictures: Callable[[Tensor], Tensor],
    ) -> None:
        self.layers, self.rules, self.top_images, self._geometry = layers, rules, top_images, geometry
        self._to_pictures = to_pictures
        self.phase, self.visit, self.batch = "survey", 1, 0
        self.num_images, self.num_labels, self.num_pixels = 0, 1, 0
        self.grids: dict[str, Grid] = {}
        self.thresholds: dict[str, TailThreshold] = {}
        self.peaks: dict[str, Peaks] = {}
        self.pictures: dict[int, Tensor] = {}
        self._wanted: set[int] = set()  # numbers of the pictures to keep, of those that may still come
        self.tallies: dict[str, IouTally] = {}
        self.maps: dict[str, Tensor] = {}
        self.tops: dict[str, Tensor] = {}  # of the counts: the peaks' images, on the CPU
        self.checksums: list[list[int]] = []
        self.first_maps: list[int] = []
        self.before_saving: Callable[[], None] = lambda: None
        self._late = Late()

    @property
    def needs(self) -> Visit:
        """What the visit under way must see."""
        layers = self._open() if self.phase == "thresholds" else self.layers
        return Visit(f"visit {self.visit}: {self.phase}", layers, self.phase != "thresholds", self.phase == "counts")

    def add(self, step: Step, concepts: Concepts | None) -> None:
        """One batch of the visit under way. What a GPU finds out is looked at when it has the next batch to work on."""
        earlier = self._late.take()
        if self.phase == "survey":
            self._survey(step, concepts)
        elif self.phase == "thresholds":
            for name in self._open():
                self.thresholds[name].add(step.activations[name])
        else:
            self._count(step)
            if (self.batch + 1) % FOLD == 0:
                self._fold(concepts)
        for finish in earlier:
            finish()
        self.batch += 1

    def end_visit(self, concepts: Concepts | None) -> None:
        """Chooses what the next visit does."""
        self._late.settle()
        for name in self._open():
            try:
                self.thresholds[name].advance()
            except ValueError as error:
                raise ValueError(f"dissect: layer {name!r}: {error}") from None
        if self.visit == 1:
            self._tell_too_few()
        self.visit, self.batch = self.visit + 1, 0
        if self._open():
            self.phase = "thresholds"
        elif self.phase == "counts":
            self.phase = "done"
        else:
            self.phase = "counts"
            self._begin_counts(Concepts.numbered(self.num_labels) if concepts is None else concepts)

    def _open(self) -> list[str]:
        return [name for name, state in self.thresholds.items() if not state.done]

    def _tell_too_few(self) -> None:
        fewest = min(self.thresholds.values(), key=lambda state: state.samples)
        if int(fewest.fraction * fewest.samples) == 0:
            warnings.warn(
                f"dissect: a fraction of {self.rules.fraction} of {fewest.samples} samples is less than one, so that "
                "no unit can fire; look at more images, or choose a larger fraction.",
                stacklevel=5,
            )

    def _survey(self, step: Step, concepts: Concepts | None) -> None:
        if step.images is None or step.planes is None:
            raise RuntimeError("dissect: the survey must see steps that were just computed, but got a kept one.")
        size = (step.planes.shape[2], step.planes.shape[3])
        for name, maps in step.activations.items():
            if name not in self.thresholds:
                self._begin_layer(name, maps, size, step.images)
            where = f"dissect: layer {name!r}, batch of image {step.numbers[0]}"
            self.grids[name].check(where, maps.shape[2:], size)
            try:
                self.thresholds[name].add(maps)
                self.peaks[name].add(maps, step.numbers)
            except (TypeError, ValueError) as error:
                raise type(error)(f"dissect: layer {name!r}: {error}") from None
        self.num_images += len(step.numbers)
        self._late.call(partial(self._see_labels, where, concepts), torch.stack(step.planes.aminmax()))
        tops = torch.cat([peaks.candidates().flatten() for peaks in self.peaks.values()])
        self._late.call(partial(self._keep_pictures, step.numbers, step.images), tops)

    def _see_labels(self, where: str, concepts: Concepts | None, ends: Tensor) -> None:
        least, largest = ends.tolist()
        if concepts is None and largest >= MOST_LABELS:
            raise ValueError(
                f"{where}: planes must hold labels below {MOST_LABELS} where no concepts are given, but hold {largest}."
            )
        if least < 0:
            raise ValueError(f"{where}: planes must hold labels from 0 on, but hold {least}.")
        self.num_labels = max(self.num_labels, largest + 1)
        if concepts is not None and largest >= len(concepts):
            raise ValueError(
                f"{where}: planes must hold labels below {len(concepts)} (the concepts, and 0 for none), but hold "
                f"{largest}; what is to be ignored (often 255) must be 0."
            )

    def _begin_layer(self, name: str, maps: Tensor, size: tuple[int, int], images: Tensor) -> None:
        source = (maps.shape[2], maps.shape[3])
        if not maps.shape[1]:
            raise ValueError(f"dissect: layer {name!r} must have at least one unit, but has none.")
        grid = self._geometry.grid(name, source, size, images)
        self.grids[name] = grid
        self.thresholds[name] = TailThreshold(self.rules.fraction, positions=self.rules.positions, grid=grid)
        self.peaks[name] = Peaks(self.top_images)

    def _keep_pictures(self, numbers: Tensor, images: Tensor, tops: Tensor) -> None:
        """Keeps the pictures that are in some unit's top k so far, and drops those that no longer are."""
        wanted = tops.unique()
        self._wanted = set(wanted.tolist())
        for number in self.pictures.keys() - self._wanted:
            del self.pictures[number]
        new = torch.isin(numbers, wanted).nonzero().flatten()
        if not len(new):
            return
        found = self._to_pictures(images[to_device(new, images.device)])
        fits = isinstance(found, Tensor) and found.dtype == torch.uint8 and found.ndim == 4
        if not fits or found.shape[:2] != (len(new), 3):
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"dissect: pictures must give uint8 [{len(new)}, 3, H, W] of so many images, but gave {got}."
            )
        self._late.call(partial(self._take_pictures, numbers[new]), found)

    def _take_pictures(self, numbers: Tensor, found: Tensor) -> None:
        # Copied, else each would keep its whole batch in memory.
        taken = zip(numbers.tolist(), found)
        self.pictures |= {number: picture.clone() for number, picture in taken if number in self._wanted}

    def _begin_counts(self, concepts: Concepts) -> None:
        for name, state in self.thresholds.items():
            self.tallies[name] = IouTally(state.threshold(), len(concepts), grid=self.grids[name])
            self.tops[name] = self.peaks[name].images().cpu()
            shape = (*self.tops[name].shape, *self.grids[name].source_shape)
            self.maps[name] = torch.from_numpy(np.zeros(shape, dtype=np.float32))  # memory that is not touched yet

    def _count(self, step: Step) -> None:
        if step.planes is None:
            raise RuntimeError("dissect: the counts need the label planes, but got a step without them.")
        self.num_pixels += step.planes[:, 0].numel()
        encoding = Encoding(step.planes, self.tallies[self.layers[0]].num_labels)
        self._late.call(partial(self._count_encoded, step, encoding), encoding.size)

    def _count_encoded(self, step: Step, encoding: Encoding, size: Tensor) -> None:
        labels = encoding.labels(size)
        for name, activations in step.activations.items():
            self.tallies[name].add(activations, labels, step.numbers)
            units, ranks = torch.isin(self.tops[name], step.numbers).nonzero(as_tuple=True)
            images = self.tops[name][units, ranks] - step.numbers[0]
            found = activations[to_device(images, activations.device), to_device(units, activations.device)].float()
            self._late.call(partial(self._keep_maps, name, units, ranks), found)

    def _keep_maps(self, name: str, units: Tensor, ranks: Tensor, found: Tensor) -> None:
        self.maps[name][units, ranks] = found

    def _fold(self, concepts: Concepts | None) -> None:
        """Memory must not grow with the number of images: what the union does not ask for by image is added up."""
        categories = concepts.categories if concepts is not None and self.rules.scope == "category" else None
        for tally in self.tallies.values():
            tally.fold(categories or ("",) * tally.num_labels)

    def result(self, concepts: Concepts | None, settings: dict[str, Any]) -> Dissection:
        """What was found, when all visits have ended."""
        vocabulary = Concepts.numbered(self.num_labels) if concepts is None else concepts
        numbers = torch.tensor(sorted(self.pictures), dtype=torch.int64)
        pictures = torch.stack([self.pictures[number] for number in numbers.tolist()])
        found = {name: self._layer(name, vocabulary) for name in self.layers}
        settings = {**settings, **self._geometry.settings(self.grids), "num_images": self.num_images}
        return Dissection(found, vocabulary, settings, pictures, numbers)

    def _layer(self, name: str, concepts: Concepts) -> LayerDissection:
        tally, peaks = self.tallies[name], self.peaks[name]
        return LayerDissection(
            name,
            tally.thresholds.cpu(),
            tally.intersection().cpu(),
            tally.unit_area().sum(0).cpu(),
            tally.scoped_unit_area(self.rules.scope, concepts.categories).cpu(),
            tally.label_area().sum(0).cpu(),
            self.num_pixels,
            peaks.values().cpu(),
            peaks.images().cpu(),
            self.maps[name],
            self.grids[name],
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        self.before_saving()
        self._late.settle()
        layers = {}
        for index, name in enumerate(self.thresholds):
            grid = self.grids[name]
            layers[str(index)] = {
                "rows": grid.rows,
                "columns": grid.columns,
                "source": list(grid.source_shape),
                "threshold": self.thresholds[name].state_dict(),
                "peaks": self.peaks[name].state_dict(),
            }
            if name in self.tallies:
                layers[str(index)] |= {"tally": self.tallies[name].state_dict(), "maps": self.maps[name]}
        numbers = sorted(self.pictures)
        pictures = [self.pictures[number] for number in numbers]
        scalars = {name: getattr(self, name) for name in _SCALARS}
        return {
            **scalars,
            "layers": layers,
            "numbers": numbers,
            "pictures": torch.stack(pictures) if pictures else torch.empty(0, dtype=torch.uint8),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same layers and rules.

        Raises:
            ValueError: it holds what cannot be.
        """
        check_under_way(state, len(self.layers))
        for name in _SCALARS:
            setattr(self, name, [] if state.get(name) is None else state[name])  # files of before have no `first_maps`
        for name, layer in zip(self.layers, state["layers"].values()):
            self.grids[name] = Grid(layer["rows"], layer["columns"], tuple(layer["source"]))
            self._geometry.check_same(name, self.grids[name])
            self.thresholds[name] = TailThreshold(
                self.rules.fraction, positions=self.rules.positions, grid=self.grids[name]
            )
            self.thresholds[name].load_state_dict(layer["threshold"])
            self.peaks[name] = Peaks(self.top_images)
            self.peaks[name].load_state_dict(layer["peaks"])
            units, tops = len(layer["threshold"]["low"]), self.peaks[name].images()
            check_parts(name, tops, layer.get("maps"), units, state["numbers"])
            if "tally" in layer:
                tally = layer["tally"]
                fields(
                    "the run",
                    tally,
                    {"thresholds": Array(torch.float32, "U"), "intersection": Array(torch.int64, "U C")},
                )
                self.tallies[name] = IouTally(
                    tally["thresholds"], tally["intersection"].shape[1], grid=self.grids[name]
                )
                self.tallies[name].load_state_dict(tally)
                self.maps[name], self.tops[name] = layer["maps"], self.peaks[name].images()
        self.pictures = dict(zip(state["numbers"], state["pictures"]))


_SCALARS = ("phase", "visit", "batch", "num_images", "num_labels", "num_pixels", "checksums", "first_maps")
