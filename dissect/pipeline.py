"""dissect(): images -> model -> activations -> thresholds -> counts -> concepts, in as few visits as it takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from dissect import ops
from dissect.concepts import Concepts
from dissect.data import Batch, Batches
from dissect.dissection import Dissection, LayerDissection
from dissect.grid import Grid
from dissect.stats import IouTally, Peaks, TailThreshold
from dissect.trace import Trace, find_layers

GIB = 2**30


def dissect(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    fraction: float = 0.01,
    positions: str = "pixel",
    border: str = "edge",
    scope: str = "all",
    detector_iou: float = 0.04,
    top_images: int = 5,
    batch_size: int = 32,
    memory_budget: int = 4 * GIB,
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
            own output [N, U, h, w], before any in-place operation that follows it.
        images: a Dataset, a tensor or an iterable of batches, of images or of (images, planes), where planes are
            integer label planes [K, H, W] with 0 for "no label". Shuffling is refused.
        segmenter: makes planes [N, K, H, W] of a batch of images; its attribute `concepts` names the labels.
        concepts: names, (name, category) pairs or `Concepts` of the labels 1, 2, ...; by default those of the
            segmenter or of `images` (attribute `concepts`), and the numbers themselves where there are none.
        fraction: the share of samples on which a unit fires.
        positions: thresholds over "pixel" (upsampled maps) or "feature" (raw maps) samples.
        border: "edge", or "zeros" as the PNAS 2020 code.
        scope: of the union: "all" images, or "category": those that carry a label of the concept's category.
        detector_iou: a unit is a detector if its best IoU exceeds this.
        top_images: how many images to keep per unit.
        batch_size: of a Dataset or a tensor.
        memory_budget: bytes of activations and planes to keep between visits; batches beyond it go through the model
            again at each visit.
        progress: show a bar.

    Returns:
        A `Dissection`.

    Raises:
        KeyError: a layer that the model does not have.
        TypeError, ValueError: images, planes or outputs that do not fit; each message names what and which batch.

    Example: see `Dissection`.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    find_layers(model, names)
    _tell_training(model)
    source = _Source(model, names, Batches(images, batch_size), segmenter, memory_budget, progress)
    concepts = concepts if concepts is not None else getattr(segmenter or images, "concepts", None)
    survey = _survey(source, fraction, positions, border, top_images)
    visit, wide = 1, survey.thresholds
    while wide := {name: state for name, state in wide.items() if not state.advance()}:
        visit += 1
        _refine(source, wide, visit)
    vocabulary = Concepts.numbered(survey.num_labels) if concepts is None else Concepts.of(concepts)
    if survey.num_labels > len(vocabulary):
        raise ValueError(
            f"dissect: planes must hold labels below {len(vocabulary)} (the concepts, and 0 for none), "
            f"but hold {survey.num_labels - 1}."
        )
    settings = {
        "fraction": fraction,
        "positions": positions,
        "border": border,
        "scope": scope,
        "detector_iou": detector_iou,
        "num_images": survey.num_images,
    }
    found = _count(source, survey, vocabulary, scope)
    numbers = torch.tensor(sorted(survey.pictures), dtype=torch.int64)
    pictures = [survey.pictures[number] for number in numbers.tolist()]
    return Dissection(found, vocabulary, settings, torch.stack(pictures), numbers)


@dataclass
class _Step:
    """A batch as the visits see it."""

    numbers: Tensor
    planes: Tensor
    activations: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        return self.planes.nbytes + sum(maps.nbytes for maps in self.activations.values())


@dataclass
class _Survey:
    """What the first visit learns."""

    thresholds: dict[str, TailThreshold]
    peaks: dict[str, Peaks]
    pictures: dict[int, Tensor]
    grids: dict[str, Grid]
    num_images: int = 0
    num_labels: int = 1


class _Source:
    """The data set's steps: from memory as far as the budget reaches, from the model beyond it."""

    def __init__(
        self,
        model: nn.Module,
        layers: list[str],
        batches: Batches,
        segmenter: Callable[[Tensor], Tensor] | None,
        memory_budget: int,
        progress: bool,
    ) -> None:
        self._model, self._layers, self._batches, self._segmenter = model, layers, batches, segmenter
        self._progress, self._free = progress, memory_budget
        self._kept: dict[int, _Step] = {}  # by batch
        self._num_batches: int | None = None
        first = next(model.parameters(), None)
        self._device = torch.device("cpu") if first is None else first.device

    def first_visit(self) -> Iterator[tuple[_Step, Batch]]:
        """Every step with its batch, keeping what fits the budget."""
        count = 0
        for index, batch in enumerate(self._bar(self._batches, "visit 1: network")):
            step = self._compute(index, batch)
            if step.nbytes <= self._free and len(self._kept) == index:
                self._free -= step.nbytes
                self._kept[index] = step
            yield step, batch
            count += 1
        if count == 0:
            raise ValueError("dissect: images must hold at least one batch, but held none.")
        self._num_batches = count

    def visit(self, title: str) -> Iterator[_Step]:
        """Every step again, in the same order and with the same batch boundaries."""
        if len(self._kept) == self._num_batches:
            yield from self._bar(self._kept.values(), title)
            return
        for index, batch in enumerate(self._bar(self._batches, title)):
            yield self._kept[index] if index in self._kept else self._compute(index, batch)

    def _bar(self, steps: Iterable[Any], title: str) -> Iterable[Any]:
        total = self._num_batches
        if total is None and hasattr(steps, "__len__"):
            try:
                total = len(steps)  # type: ignore[arg-type]
            except TypeError:
                total = None
        return tqdm(steps, title, total=total, disable=not self._progress, unit="batch", leave=False)

    def _compute(self, index: int, batch: Batch) -> _Step:
        images = batch.images.to(self._device)
        with torch.no_grad(), Trace(self._model, self._layers, stop=True) as trace:
            trace.run(images)
        activations = {}
        for name in self._layers:
            output = trace[name]
            if not isinstance(output, Tensor) or output.ndim != 4:
                got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"dissect: layer {name!r} must give maps [N, U, h, w], but gave {got}.")
            activations[name] = output.cpu()
        planes = batch.planes if self._segmenter is None else self._segmenter(images).cpu()
        if planes is None:
            raise ValueError("dissect: label planes must come with the images or from a segmenter, but there are none.")
        if planes.ndim != 4 or len(planes) != len(images):
            raise ValueError(
                f"dissect: planes of batch {index} must have shape [N, K, H, W] with N={len(images)}, "
                f"but got {list(planes.shape)}."
            )
        return _Step(batch.numbers, planes, activations)


def _survey(source: _Source, fraction: float, positions: str, border: str, top_images: int) -> _Survey:
    """The first visit: the thresholds' first brackets, the peaks, and the pictures of the peaks."""
    survey = _Survey({}, {}, {}, {})
    for step, batch in source.first_visit():
        size = (step.planes.shape[2], step.planes.shape[3])
        for name, maps in step.activations.items():
            if name not in survey.thresholds:
                grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), size, border=border)
                survey.grids[name] = grid
                survey.thresholds[name] = TailThreshold(fraction, positions=positions, grid=grid)
                survey.peaks[name] = Peaks(top_images)
            survey.grids[name].check(f"dissect: layer {name!r}, batch of image {step.numbers[0]}", maps.shape[2:], size)
            survey.thresholds[name].add(maps)
            survey.peaks[name].add(maps, step.numbers)
        survey.num_images += len(step.numbers)
        survey.num_labels = max(survey.num_labels, int(step.planes.max()) + 1)
        _keep_pictures(survey, batch)
    return survey


def _keep_pictures(survey: _Survey, batch: Batch) -> None:
    """Keeps the pictures that are in some unit's top k so far, and drops those that no longer are."""
    wanted = {number for peaks in survey.peaks.values() for number in peaks.images().unique().tolist()}
    for number in survey.pictures.keys() - wanted:
        del survey.pictures[number]
    for position, number in enumerate(batch.numbers.tolist()):
        if number in wanted:
            survey.pictures[number] = to_picture(batch.images[position])


def _refine(source: _Source, thresholds: dict[str, TailThreshold], visit: int) -> None:
    for step in source.visit(f"visit {visit}: thresholds"):
        for name, state in thresholds.items():
            state.add(step.activations[name])


def _count(source: _Source, survey: _Survey, concepts: Concepts, scope: str) -> dict[str, LayerDissection]:
    """The last visit: intersections and areas at the thresholds, and the maps of the top images."""
    tallies, maps = {}, {}
    for name, state in survey.thresholds.items():
        tallies[name] = IouTally(state.threshold(), len(concepts), grid=survey.grids[name])
        top = survey.peaks[name].images()
        maps[name] = torch.zeros(*top.shape, *survey.grids[name].source_shape)
    num_pixels = 0
    for step in source.visit("last visit: counts"):
        labels = ops.encode_labels(step.planes, len(concepts))
        num_pixels += step.planes[:, 0].numel()
        for name, activations in step.activations.items():
            tallies[name].add(activations, labels, step.numbers)
            units, ranks = torch.isin(survey.peaks[name].images(), step.numbers).nonzero(as_tuple=True)
            inside = survey.peaks[name].images()[units, ranks] - step.numbers[0]
            maps[name][units, ranks] = activations[inside, units].float()
    return {
        name: LayerDissection(
            name,
            tally.thresholds,
            tally.intersection(),
            tally.unit_area().sum(0),
            tally.scoped_unit_area(scope, concepts.categories),
            tally.label_area().sum(0),
            num_pixels,
            survey.peaks[name].values(),
            survey.peaks[name].images(),
            maps[name],
            survey.grids[name],
        )
        for name, tally in tallies.items()
    }


def to_picture(image: Tensor) -> Tensor:
    """[3, H, W] uint8 for people to look at, from one image as the model takes it.

    Floats in [0, 1] are taken as they are, others are stretched from their least to their largest value.
    """
    image = image.detach().cpu()
    if image.dtype != torch.uint8:
        image = image.float()
        low, high = image.aminmax()
        if low < 0 or high > 1:
            image = (image - low) / (high - low).clamp(min=1e-12)
        image = (image * 255).round().to(torch.uint8)
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)


def _tell_training(model: nn.Module) -> None:
    random = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    if any(module.training and isinstance(module, random) for module in model.modules()):
        warnings.warn(
            "dissect: the model is in training mode, so dropout or batch statistics change its activations "
            "between visits; call model.eval() first.",
            stacklevel=3,
        )
