"""dissect(): images -> model -> activations -> thresholds -> counts -> concepts, in as few visits as it takes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect import ops
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.data.pictures import to_pictures
from dissect.dissection import Dissection, LayerDissection
from dissect.grid import Grid
from dissect.presets import Preset, preset_with
from dissect.resume import Progress, fingerprint
from dissect.source import Reading, Source, Visit
from dissect.stats import IouTally, Peaks, TailThreshold
from dissect.store import Step
from dissect.trace import find_layers, layer_chain
from dissect.transfer import Late, to_device

GIB = 2**30

#: After so many batches of the counts, what they hold by image is added up.
FOLD = 16


def dissect(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    preset: str = "default",
    fraction: float | None = None,
    positions: str | None = None,
    border: str | None = None,
    scope: str | None = None,
    detector_iou: float | None = None,
    tokens: tuple[int, int] | None = None,
    top_images: int = 5,
    batch_size: int = 32,
    memory_budget: int = 4 * GIB,
    disk_budget: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Dissection:
    """Finds the concept that each unit of some layers detects (Bau et al. 2020, "Emergence of Object Detectors").

    For unit u with upsampled activation a_u, threshold t_u and concept c with segmentation s_c, over all pixels p of
    all images x (equation 1)::

        IoU = |s_c(x, p) and a_u(x, p) > t_u| / |s_c(x, p) or a_u(x, p) > t_u|

    and a unit is labelled with the concept of the highest IoU. Counts are integers and thresholds exact, so the same
    activations give the same result in any batches.

    Args:
        model: any nn.Module that takes a batch of images; put it in evaluation mode.
        layers: one name or several, as in ``model.named_modules()``; all are probed in one forward pass, each on its
            own output [N, U, h, w] (the first one, of several), before any in-place operation that follows it.
        images: a Dataset, a tensor or an iterable of batches, of images or of (images, planes), where planes are
            integer label planes [K, H, W] with 0 for "no label". Every visit must give the same; this is checked.
            Each batch needs memory of its own: a GPU may still read the one before.
        segmenter: makes planes [N, K, H, W] of a batch of images; its attribute `concepts` names the labels.
        concepts: names, (name, category) pairs or `Concepts` of the labels 1, 2, ...; by default those of the
            segmenter or of `images` (attribute `concepts`), and the numbers themselves where there are none.
        preset: the rules, all of which the five arguments that follow can change: "default", or those of a paper,
            "pnas2020" or "tpami2018" (`dissect.presets.PRESETS` lists what they say).
        fraction: the share of samples on which a unit fires.
        positions: thresholds over "pixel" (upsampled maps) or "feature" (raw maps) samples.
        border: "edge", or "zeros" as the PNAS 2020 code.
        scope: of the union: "all" images, or "category": those that carry a label of the concept's category.
        detector_iou: a unit is a detector if its best IoU exceeds this.
        tokens: (h, w) of the grid of tokens, for layers that give tokens [N, T, U] as a vision transformer's do; the
            last h * w tokens are taken, row by row, so that class and register tokens before them are left out.
        top_images: how many images to keep per unit.
        batch_size: of a Dataset or a tensor.
        memory_budget: bytes of activations and planes to keep between visits. Where they do not suffice, those layers
            stay that save the most seconds per byte (`dissect.store.Store`); the others go through the model again.
        disk_budget: bytes to keep in temporary files beyond the memory's, unless computing again proves faster.
        resume: a folder for what an interrupted run needs to go on: every 30 seconds, and when a visit ends, all that
            is known goes into one file there. Called again with the same arguments the run goes on where it was, and a
            finished one returns at once; the result has the same bits. Delete the folder to begin anew.
        progress: show a bar.

    Returns:
        A `Dissection`.

    Raises:
        KeyError: a layer that the model does not have, or that does not run.
        RuntimeError: a layer that runs twice.
        TypeError, ValueError: images, planes or outputs that do not fit; each message names what and which batch. An
            unknown preset, or options that break its rules (told before anything is computed); a folder to resume from
            that holds a run of another model, data or options (says which).
        OSError: a folder to resume from that cannot be made or written to, or a full disk.

    Example: see `Dissection`.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    find_layers(model, names)
    _check(top_images, batch_size, tokens, memory_budget, disk_budget)
    _tell_training(model)
    rules = preset_with(
        preset, fraction=fraction, positions=positions, border=border, scope=scope, detector_iou=detector_iou
    )
    concepts = concepts if concepts is not None else getattr(segmenter or images, "concepts", None)
    vocabulary = None if concepts is None else Concepts.of(concepts)
    run = _Run(names, rules, top_images, model)
    settings = {"preset": preset, **dataclasses.asdict(rules), "tokens": tokens and list(tokens)}
    about = {
        "model": resume and fingerprint(model),
        "layers": names,
        "options": {**settings, "top_images": top_images, "batch_size": batch_size},
        "concepts": vocabulary and [list(vocabulary.names), list(vocabulary.categories)],
        "segmenter": resume and fingerprint(segmenter),
    }
    reading, batches = Reading(rules.relu, rules.step, tokens), Batches(images, batch_size)
    saved = Progress(resume, about)
    with Source(model, batches, segmenter, reading, memory_budget, disk_budget, progress) as source:
        saved.restore(run)
        source.expect(run.checksums)
        run.before_saving = source.settle  # the checksums are the run's
        _finish(run, source, saved, vocabulary)
    return run.result(vocabulary, settings)


def _finish(run: _Run, source: Source, saved: Progress, concepts: Concepts | None) -> None:
    """All visits that are left."""
    try:
        while run.phase != "done":
            for step in source.visit(run.needs, run.batch):
                run.add(step, concepts)
                saved.save(run)
            run.end_visit(concepts)
            saved.save(run, now=True)
    except KeyboardInterrupt:
        if run.whole:
            saved.save(run, now=True)
        raise


class _Run:
    """A dissection under way: what it has learned, and which visit and batch come next.

    The visits are "survey" (the thresholds' first brackets, the peaks, and the pictures of the peaks), "thresholds" as
    often as some bracket is still open, and "counts" (intersections and areas, and the maps of the top images).
    """

    def __init__(self, layers: list[str], rules: Preset, top_images: int, model: nn.Module) -> None:
        self.layers, self.rules, self.top_images, self._model = layers, rules, top_images, model
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
        self.whole = True  # False in the middle of `add` and `end_visit`
        self.before_saving: Callable[[], None] = lambda: None
        self._late = Late()

    @property
    def needs(self) -> Visit:
        """What the visit under way must see."""
        layers = self._open() if self.phase == "thresholds" else self.layers
        return Visit(f"visit {self.visit}: {self.phase}", layers, self.phase != "thresholds", self.phase == "counts")

    def add(self, step: Step, concepts: Concepts | None) -> None:
        """One batch of the visit under way. What a GPU finds out is looked at when it has the next batch to work on."""
        self.whole = False
        earlier = self._late.take()
        if self.phase == "survey":
            self._survey(step, concepts)
        elif self.phase == "thresholds":
            for name in self._open():
                self.thresholds[name].add(step.activations[name])
        else:
            self._count(step)
            if self.batch % FOLD == 0:
                self._fold(concepts)
        for finish in earlier:
            finish()
        self.batch += 1
        self.whole = True

    def end_visit(self, concepts: Concepts | None) -> None:
        """Chooses what the next visit does."""
        self.whole = False
        self._late.settle()
        for name in self._open():
            self.thresholds[name].advance()
        self.visit, self.batch = self.visit + 1, 0
        if self._open():
            self.phase = "thresholds"
        elif self.phase == "counts":
            self.phase = "done"
        else:
            self.phase = "counts"
            self._begin_counts(Concepts.numbered(self.num_labels) if concepts is None else concepts)
        self.whole = True

    def _open(self) -> list[str]:
        return [name for name, state in self.thresholds.items() if not state.done]

    def _survey(self, step: Step, concepts: Concepts | None) -> None:
        if step.images is None or step.planes is None:
            raise RuntimeError("dissect: the survey must see steps that were just computed, but got a kept one.")
        size = (step.planes.shape[2], step.planes.shape[3])
        for name, maps in step.activations.items():
            if name not in self.thresholds:
                self._begin_layer(name, maps, size, step.images)
            where = f"dissect: layer {name!r}, batch of image {step.numbers[0]}"
            self.grids[name].check(where, maps.shape[2:], size)
            self.thresholds[name].add(maps)
            self.peaks[name].add(maps, step.numbers)
        self.num_images += len(step.numbers)
        self._late.call(partial(self._see_labels, where, concepts), torch.stack(step.planes.aminmax()))
        tops = torch.cat([peaks.candidates().flatten() for peaks in self.peaks.values()])
        self._late.call(partial(self._keep_pictures, step.numbers, step.images), tops)

    def _see_labels(self, where: str, concepts: Concepts | None, ends: Tensor) -> None:
        least, largest = ends.tolist()
        if least < 0:
            raise ValueError(f"{where}: planes must hold labels from 0 on, but hold {least}.")
        self.num_labels = max(self.num_labels, largest + 1)
        if concepts is not None and self.num_labels > len(concepts):
            raise ValueError(
                f"dissect: planes must hold labels below {len(concepts)} (the concepts, and 0 for none), "
                f"but hold {self.num_labels - 1}."
            )

    def _begin_layer(self, name: str, maps: Tensor, size: tuple[int, int], images: Tensor) -> None:
        source = (maps.shape[2], maps.shape[3])
        if self.rules.grid == "half_pixel":
            grid = Grid.half_pixel(source, size, border=self.rules.border)
        else:
            chain = layer_chain(self._model, name, images[:1])
            image = (images.shape[2], images.shape[3])
            grid = Grid.receptive_field(chain, source, size, image=image, border=self.rules.border)
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
        chosen = images[to_device(new, images.device)]
        self._late.call(partial(self._take_pictures, numbers[new]), to_pictures(chosen))

    def _take_pictures(self, numbers: Tensor, found: Tensor) -> None:
        # Copied, else each would keep its whole batch in memory.
        taken = zip(numbers.tolist(), found)
        self.pictures |= {number: picture.clone() for number, picture in taken if number in self._wanted}

    def _begin_counts(self, concepts: Concepts) -> None:
        for name, state in self.thresholds.items():
            self.tallies[name] = IouTally(state.threshold(), len(concepts), grid=self.grids[name])
            self.tops[name] = self.peaks[name].images().cpu()
            self.maps[name] = torch.zeros(*self.tops[name].shape, *self.grids[name].source_shape)

    def _count(self, step: Step) -> None:
        if step.planes is None:
            raise RuntimeError("dissect: the counts need the label planes, but got a step without them.")
        labels = ops.encode_labels(step.planes, self.tallies[self.layers[0]].num_labels)
        self.num_pixels += step.planes[:, 0].numel()
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
        return Dissection(found, vocabulary, {**settings, "num_images": self.num_images}, pictures, numbers)

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
        """Goes on from a `state_dict` of the same layers and rules."""
        for name in _SCALARS:
            setattr(self, name, state[name])
        for name, layer in zip(self.layers, state["layers"].values()):
            self.grids[name] = Grid(layer["rows"], layer["columns"], tuple(layer["source"]))
            self.thresholds[name] = TailThreshold(
                self.rules.fraction, positions=self.rules.positions, grid=self.grids[name]
            )
            self.thresholds[name].load_state_dict(layer["threshold"])
            self.peaks[name] = Peaks(self.top_images)
            self.peaks[name].load_state_dict(layer["peaks"])
            if "tally" in layer:
                tally = layer["tally"]
                self.tallies[name] = IouTally(
                    tally["thresholds"], tally["intersection"].shape[1], grid=self.grids[name]
                )
                self.tallies[name].load_state_dict(tally)
                self.maps[name], self.tops[name] = layer["maps"], self.peaks[name].images()
        self.pictures = dict(zip(state["numbers"], state["pictures"]))


_SCALARS = ("phase", "visit", "batch", "num_images", "num_labels", "num_pixels", "checksums")


def _check(top_images: int, batch_size: int, tokens: tuple[int, int] | None, memory: int, disk: int) -> None:
    """Refuses what would only fail later."""
    for name, value in (("memory_budget", memory), ("disk_budget", disk)):
        if value < 0:
            raise ValueError(f"dissect: {name} must not be negative, but is {value} bytes.")
    for name, value in (("top_images", top_images), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"dissect: {name} must be at least 1, but got {value}.")
    if tokens is not None and (len(tokens) != 2 or min(tokens) < 1):
        raise ValueError(f"dissect: tokens must be the (h, w) of a grid of at least one token, but got {tokens}.")


def _tell_training(model: nn.Module) -> None:
    random = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    if any(module.training and isinstance(module, random) for module in model.modules()):
        warnings.warn(
            "dissect: the model is in training mode, so dropout or batch statistics change its activations "
            "between visits; call model.eval() first.",
            stacklevel=3,
        )
