"""What a dissection has found so far, visit by visit: thresholds, peaks and their pictures, counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal
from dissect.concepts import Concepts
from dissect.devices import DeferredReads, to_device
from dissect.dissection.condensing import HighestFloors, RisingFloors, condensed
from dissect.dissection.contents import check_parts, check_under_way
from dissect.dissection.geometry import Geometry, check_fits, plane_size
from dissect.dissection.given import GivenThreshold, at_labels, check_labels
from dissect.dissection.kept import Pictures
from dissect.dissection.presets import Preset
from dissect.dissection.result import Dissection, LayerDissection
from dissect.dissection.seen import SeenLabels, check_range
from dissect.dissection.significance import Gathering
from dissect.dissection.too_few import tell_too_few
from dissect.files.checked import Array, fields
from dissect.files.progress import go_on, of_version, versioned
from dissect.grid import Grid
from dissect.ops.encode_labels import EncodedLabels, Encoding, encode_labels
from dissect.stats import IouTally, PairTally, Peaks, TailThreshold
from dissect.stats.advancing import advance_all
from dissect.stats.sample import LEVELS, PeakSample, PeakSampling
from dissect.visits.disk import Maps
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: After so many batches of the counts, what they hold by image is added up.
FOLD = 16


class DissectionRun(Run):
    """A dissection under way: what it has learned, and which visit comes next.

    The visits are "survey" (the thresholds' first brackets, the peaks, and the pictures of the peaks), "thresholds" as
    often as some bracket is still open, and "counts" (intersections and areas, the decoys', and the maps of the images
    to be shown). Where steps have no planes, the counts are of label 0 alone.
    """

    def __init__(
        self,
        layers: list[str],
        rules: Preset,
        top_images: int,
        geometry: Geometry,
        to_pictures: Callable[[Tensor], Tensor],
        concepts: Concepts | None,
        gathering: Gathering,
        given: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.layers, self.rules, self.top_images, self._geometry = layers, rules, top_images, geometry
        self._concepts = concepts
        self.phase, self.visit = "survey", 1
        self.num_images = self._counted = 0
        self.seen = SeenLabels()
        self.images_only: bool | None = None  # known after the first batch
        self.date = datetime.now(timezone.utc).date().isoformat()  # of the run's begin
        self.grids: dict[str, Grid] = {}
        self.thresholds: dict[str, TailThreshold | GivenThreshold] = {}
        self._given = given or {}
        self._rising = RisingFloors(self.thresholds)
        self._highest = HighestFloors()
        self.peaks: dict[str, Peaks] = {}
        self.tallies: dict[str, IouTally | PairTally] = {}
        self.maps: dict[str, Tensor] = {}
        self.tops: dict[str, Tensor] = {}  # images to be shown [U, k + Q], on the CPU
        self._late = DeferredReads()
        self.pictures = Pictures(to_pictures, self._late)
        self.sampling = PeakSampling()
        self.gathering = gathering
        self._blank: dict[tuple[int, int, int], EncodedLabels] = {}  # without labels, of so many images and their size

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self.phase == "done":
            return None
        layers = self._open() if self.phase == "thresholds" else self.layers
        survey, counts = self.phase == "survey", self.phase == "counts"
        whole = {name for name, state in self.thresholds.items() if state.whole}
        whole |= self._highest.above(self.thresholds) if counts else set()
        visit = Visit(
            f"visit {self.visit}: {self.phase}", layers, survey or counts, counts, survey, whole=frozenset(whole)
        )
        return visit if counts else replace(visit, condense=self._condense)

    @property
    def concepts(self) -> Concepts:
        """The vocabulary; where none was given, the numbers of the labels seen so far."""
        return self.seen.concepts() if self._concepts is None else self._concepts

    def add(self, step: Step) -> None:
        """One batch of the visit under way. What a GPU finds out is looked at when it has the next batch to work on."""
        earlier = self._late.take()
        if self.phase == "survey":
            self._survey(step)
        elif self.phase == "thresholds":
            for name in self._open():
                self.thresholds[name].add(step.activations[name])
        else:
            self._count(step)
            self._counted += 1
            if self._counted % FOLD == 0:
                self._fold()
        for finish in earlier:
            finish()

    def end_visit(self) -> None:
        """Chooses what the next visit does."""
        self._late.flush()
        found = [(name, state) for name, state in self.thresholds.items() if isinstance(state, TailThreshold)]
        advance_all([(f"layer {name!r}", state) for name, state in found if not state.done])
        for name, state in self.thresholds.items():
            if state.whole:
                self._highest.forget(name)
        if self.visit == 1:
            tell_too_few(self.thresholds, self.grids, self.num_images)
        self.visit += 1
        if self._open():
            self.phase = "thresholds"
        elif self.phase == "counts":
            self.phase = "done"
        else:
            self.phase = "counts"
            self._begin_counts()

    def _condense(self, name: str, maps: Maps, numbers: Tensor, share: float | None) -> Maps:
        if not ops.takes_hot_cells(maps.device):
            return maps
        if self.phase != "survey":
            floors, shown = self.thresholds[name].floors(), self._shown(name)
        else:
            shown = torch.empty(maps.shape[1], 0, dtype=torch.int64) if share is None else self._may_be_shown(name)
            floors = self._rising.at(name, share)
        if share is not None:
            self._highest.note(name, floors)
        return condensed(floors, self.grids[name], shown, maps, numbers)

    def _open(self) -> list[str]:
        return [name for name, state in self.thresholds.items() if not state.done]

    def _survey(self, step: Step) -> None:
        images = step.shown
        if self.images_only is None:
            self.images_only = step.planes is None and step.labels is None
            if self.images_only:
                check_labels(self._given, None)
        size = plane_size(step, self.rules.step)
        for name, maps in step.activations.items():
            if name not in self.thresholds:
                self._begin_layer(name, maps, size, images)
            where = f"layer {name!r}, batch of image {step.numbers[0]}"
            check_fits(where, self.grids[name], maps.shape[2:], size)
            try:
                self.thresholds[name].add(maps)
                self.peaks[name].add(maps, step.numbers)
            except (TypeError, ValueError) as error:
                refusal(error, f"layer {name!r}")
                raise
        self.sampling.add({name: self.peaks[name].latest for name in step.activations}, step.numbers)
        self.num_images += len(step.numbers)
        if step.planes is not None:
            see = partial(self._see_labels, where, step)
            self._late.call(see, torch.stack(step.planes.aminmax()))
        elif step.labels is not None:
            self._see_encoded(where, step.labels, step.numbers)
        tops = torch.cat([peaks.candidates().flatten() for peaks in self.peaks.values()])
        tops = torch.cat([tops, to_device(self.sampling.shown(), tops.device)])
        self._late.call(partial(self.pictures.keep, step.numbers, images), tops)

    def _see_labels(self, where: str, step: Step, ends: Tensor) -> None:
        concepts = self._concepts
        least, largest = ends.tolist()
        check_range(where, least, largest, concepts)
        if step.planes is not None:
            if concepts is None:
                self.seen.see(step.planes, largest)
            self.gathering.survey(step.planes, step.numbers, largest + 1, self._late)

    def _see_encoded(self, where: str, labels: EncodedLabels, numbers: Tensor) -> None:
        if labels.num_labels != (count := len(self._concepts or ("",))):
            rule = f"concepts must be those of the {labels.num_labels - 1} labels, but are {count - 1}."
            raise refusal(ValueError(rule), where)
        self.gathering.survey(labels, numbers, labels.num_labels, self._late)

    def _begin_layer(self, name: str, maps: Tensor, size: tuple[int, int], images: Tensor) -> None:
        source = (maps.shape[2], maps.shape[3])
        if not maps.shape[1]:
            raise refusal(ValueError(f"layer {name!r} must have at least one unit, but has none."))
        placeless = bool(self.images_only) and source == (1, 1)  # as a fully connected layer
        grid = Grid.half_pixel(source, size) if placeless else self._geometry.grid(name, source, size, images)
        self.grids[name] = grid
        self.thresholds[name] = self._threshold(name)
        self.peaks[name] = Peaks(self.top_images)

    def _threshold(self, name: str) -> TailThreshold | GivenThreshold:
        if name in self._given:
            return GivenThreshold(name, self._given[name])
        return TailThreshold(self.rules.fraction, positions=self.rules.positions, grid=self.grids[name])

    def _begin_counts(self) -> None:
        concepts = self._concepts = self.concepts
        if not self.images_only:
            check_labels(self._given, concepts)
        for name, state in self.thresholds.items():
            self.tallies[name] = self._tally(name, state.threshold(), len(concepts))
            shape = (*self._shown(name).shape, *self.grids[name].source_shape)
            self.maps[name] = torch.from_numpy(np.zeros(shape, dtype=np.float32))  # memory that is not touched yet
        self.pictures.drop_all_but(set(torch.cat([tops.flatten() for tops in self.tops.values()]).tolist()))
        if not self.images_only:
            self.gathering.begin_counts(self.tallies, concepts, self.num_images, self.seen.dense)

    def _tally(self, name: str, levels: Tensor, labels: int) -> IouTally | PairTally:
        groups = 0 if self.images_only else self.gathering.groups(levels.shape, labels)
        if levels.ndim == 1:
            return IouTally(levels, labels, grid=self.grids[name], groups=groups)
        levels = torch.where(levels.isnan(), torch.inf, levels)  # what is not asked for fires nowhere
        categories = self.concepts.categories if self.rules.scope == "category" else None
        return PairTally(levels, categories=categories, grid=self.grids[name], groups=groups)

    def _may_be_shown(self, name: str) -> Tensor:
        """[U, S] numbers of the images that `_shown` may have, of those that the survey has seen so far."""
        tops = self.peaks[name].candidates().cpu()
        return torch.cat([tops, self.sampling.shown().expand(len(tops), -1)], 1)

    def _shown(self, name: str) -> Tensor:
        """[U, k + Q] numbers of the images that a layer's units are shown with, known when the survey has ended."""
        if name not in self.tops:
            self.tops[name] = torch.cat([self.peaks[name].images().cpu(), self.sampling.at_levels(name)[0]], 1)
        return self.tops[name]

    def _count(self, step: Step) -> None:
        if self.images_only or step.labels is not None:
            self._count_encoded(step, step.labels)
            return
        planes = self.seen.dense(step.label_planes)
        step = Step(step.numbers, planes, step.activations)
        encoding = Encoding(planes, self.tallies[self.layers[0]].num_labels)
        self._late.call(lambda size: self._count_encoded(step, encoding.labels(size)), encoding.size)

    def _count_encoded(self, step: Step, labels: EncodedLabels | None) -> None:
        for name, activations in step.activations.items():
            self.tallies[name].add(activations, labels or self._without_labels(name, activations), step.numbers)
            units, ranks = torch.isin(self.tops[name], step.numbers).nonzero(as_tuple=True)
            images = self.tops[name][units, ranks] - step.numbers[0]
            at = to_device(images, activations.device), to_device(units, activations.device)
            found = activations.whole(*at) if isinstance(activations, ops.HotCells) else activations[at].float()
            self._late.call(partial(self._keep_maps, name, units, ranks), found)
        if labels is not None:
            self.gathering.count(step, labels, torch.tensor(list(self.pictures.found)))

    def _without_labels(self, name: str, activations: Tensor) -> EncodedLabels:
        """Of a batch without planes: label 0 everywhere."""
        shape = (len(activations), *self.grids[name].target_shape)
        if shape not in self._blank:
            planes = torch.zeros(len(activations), 1, *shape[1:], dtype=torch.uint8, device=activations.device)
            self._blank = {shape: encode_labels(planes, 1)}
        return self._blank[shape]

    def _keep_maps(self, name: str, units: Tensor, ranks: Tensor, found: Tensor) -> None:
        self.maps[name][units, ranks] = found

    def _fold(self) -> None:
        """Memory must not grow with the number of images: what the union does not ask for by image is added up."""
        for tally in self.tallies.values():
            if isinstance(tally, PairTally):  # which keeps nothing by image
                continue
            categories = self.concepts.categories if self.rules.scope == "category" else ("",) * tally.num_labels
            tally.fold(categories)

    def result(self, settings: dict[str, Any]) -> Dissection:
        """What was found, when all visits have ended."""
        vocabulary = self.concepts
        numbers, pictures = self.pictures.stacked()
        found = {name: self._layer(name, vocabulary) for name in self.layers}
        settings = {**settings, **self._geometry.settings(self.grids), "num_images": self.num_images}
        settings["images_only"] = bool(self.images_only)
        labels = self.gathering.image_labels()
        return Dissection(found, vocabulary, settings, pictures, torch.tensor(numbers, dtype=torch.int64), labels)

    def _layer(self, name: str, concepts: Concepts) -> LayerDissection:
        tally, peaks, grid = self.tallies[name], self.peaks[name], self.grids[name]
        top = peaks.images().shape[1]
        images, values = self.sampling.at_levels(name)
        maps = self.maps[name]
        nothing = torch.zeros(tally.num_units)
        layer = LayerDissection(
            name,
            tally.thresholds.cpu() if isinstance(tally, IouTally) else nothing,
            tally.intersection().cpu(),
            tally.unit_area().sum(0).cpu() if isinstance(tally, IouTally) else nothing.long(),
            tally.scoped_unit_area(self.rules.scope, concepts.categories).cpu(),
            tally.label_area().sum(0).cpu(),
            self.num_images * grid.target_shape[0] * grid.target_shape[1],
            peaks.values().cpu(),
            peaks.images().cpu(),
            maps[:, :top],
            grid,
            PeakSample(self.sampling.spread(name), LEVELS, images, values, maps[:, top:]),
            given=name in self._given,
        )
        if isinstance(tally, PairTally):  # now the best label is known, and so each unit's own threshold
            layer.label_thresholds, layer.union_pixels = self._given[name], tally.scoped_pixels(self.rules.scope).cpu()
            layer.thresholds = at_labels(layer.label_thresholds, layer.best_label)
            layer.unit_area = tally.area_at(layer.best_label).cpu()
        if not self.images_only:
            layer.evidence = self.gathering.evidence(name, tally, concepts, layer.best_label)
        return layer

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        self._late.flush()
        layers = {}
        for index, name in enumerate(self.thresholds):
            grid = self.grids[name]
            layers[str(index)] = {
                "rows": grid.rows,
                "columns": grid.columns,
                "source": list(grid.source_shape),
                "threshold": versioned(self.thresholds[name]),
                "peaks": versioned(self.peaks[name]),
            }
            if name in self.tallies:
                layers[str(index)] |= {"tally": versioned(self.tallies[name]), "maps": self.maps[name]}
        numbers, pictures = self.pictures.stacked()
        return {
            **{name: getattr(self, name) for name in _SCALARS},
            "layers": layers,
            "numbers": numbers,
            "pictures": pictures,
            "labels": versioned(self.seen),
            "sample": versioned(self.sampling),
            "gathering": versioned(self.gathering),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same layers and rules.

        Raises:
            ValueError: it holds what cannot be.
        """
        check_under_way(state, len(self.layers))
        for name in _SCALARS:
            setattr(self, name, state[name])
        go_on(self.seen, state["labels"])
        self.sampling.load_state_dict(of_version(self.sampling, state["sample"]), self.layers)
        for name, layer in zip(self.layers, state["layers"].values()):
            self._load_layer(name, layer, state["numbers"])
        self.pictures.found = dict(zip(state["numbers"], state["pictures"]))
        tallies = {} if self.images_only else self.tallies
        gathered = of_version(self.gathering, state["gathering"])
        self.gathering.load_state_dict(gathered, tallies, self.concepts, self.num_images, self.seen.dense)

    def _load_layer(self, name: str, layer: dict[str, Any], pictures: list[int]) -> None:
        self.grids[name] = Grid(layer["rows"], layer["columns"], tuple(layer["source"]))
        self._geometry.check_same(name, self.grids[name])
        self.thresholds[name] = self._threshold(name)
        go_on(self.thresholds[name], layer["threshold"])
        self.peaks[name] = Peaks(self.top_images)
        go_on(self.peaks[name], layer["peaks"])
        units, tops = len(layer["threshold"]["levels" if name in self._given else "low"]), self.peaks[name].images()
        self.sampling.check(name, units)
        counted = "tally" in layer
        shown = self._shown(name) if counted else tops
        check_parts(name, tops, shown, layer.get("maps"), units, pictures)
        if counted:
            tally, levels = layer["tally"], self._given.get(name)
            if levels is None or levels.ndim == 1:
                rules = {"thresholds": Array(torch.float32, "U"), "intersection": Array(torch.int64, "U C")}
                fields("the run", tally, rules)
                levels, labels = tally["thresholds"], tally["intersection"].shape[1]
            else:
                check_labels({name: levels}, None if self.images_only else self.concepts)
                labels = levels.shape[1]
            self.tallies[name] = self._tally(name, levels, labels)
            go_on(self.tallies[name], tally)
            self.maps[name], self.tops[name] = layer["maps"], shown


_SCALARS = ("phase", "visit", "num_images", "images_only", "date")
