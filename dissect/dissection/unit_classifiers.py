"""Units as classifiers: every unit's peak in every image, and what the images show, in one visit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.planes import label_planes
from dissect.dissection.plan import Segment, planned
from dissect.dissection.unit_classifiers_result import FINITE, UnitClassifiers
from dissect.files.checked import Array, Of, Whole, fields
from dissect.network.identity import fingerprint
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.stats.iou import SCOPES, Scope
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step


@speaks
def unit_classifiers(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    segment: Segment = "input",
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    ignore: int | Iterable[int] = (),
    least_area: float = 0.0,
    scope: Scope = "all",
    tokens: tuple[int, int] | Mapping[str, tuple[int, int]] | None = None,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> UnitClassifiers:
    """How well each unit tells the images that show a concept from those that do not, by its highest activation.

    A unit's answer is ``max over places of a_u(x, p) > t`` (Bau et al. 2020, Fig. 1F, and 3F for a generator). The
    result has AUROC and p-values of every unit for every concept, and the balanced accuracy of thresholds that were
    chosen on one half of a balanced sample and measured on the other.

    Args:
        model: see `dissect.dissect`.
        layer: a name; its output may be maps, tokens or vectors [N, U].
        images: see `dissect.dissect`: of (images, planes), of images alone with a segmenter, or z. Without a segmenter
            labels of whole images may come in the place of planes: class numbers [N], from 0 on, as
            `dissect.data.ClassFolder` gives them; or 0 and 1 for each class, [N, K] (multi-hot).
        segmenter: see `dissect.dissect`.
        segment: see `dissect.dissect`; "output" for a generator.
        concepts: see `dissect.dissect`; the names of labels 1, 2, ..., or of classes 0, 1, ... By default those of the
            segmenter or of `images` (attribute `concepts`, for labels of whole images `classes`); there must be some.
        ignore: see `dissect.dissect`; not for labels of whole images.
        least_area: an image is with a concept that covers more than this share of its pixels, 0.05 in Fig. 3F, and
            without one that covers none; others are neither. `dataclasses.replace` makes a result with another.
        scope: "all"; or "category": an image without any label of a concept's category is neither with nor without it,
            as where not all images were labelled for it.
        tokens: see `dissect.dissect`.
        layout: see `dissect.dissect`.
        batch_size: see `dissect.dissect`.
        resume: see `dissect.dissect`.
        progress: show a bar.

    Returns:
        A `UnitClassifiers`.

    Raises:
        KeyError, RuntimeError, TypeError, ValueError, OSError: see `dissect.dissect`; labels without names, class
            numbers beyond the names, or other numbers than 0 and 1 where there is one for each class.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU()).eval()
        >>> images, classes = torch.rand(60, 3, 4, 4), torch.arange(60) % 2
        >>> found = dissect.unit_classifiers(model, "1", [(images, classes)], concepts=["cat", "dog"], progress=False)
        >>> found.auroc("dog").shape, [row.concept for row in found.table()]
        (torch.Size([4]), ['cat', 'dog'])
    """
    _check_options(layer, scope, least_area)
    vocabulary = _vocabulary(images, segmenter, concepts)
    plan = planned(
        model, layer, images, segmenter=segmenter, segment=segment, concepts=vocabulary,
        ignore=ignore, preset="default", tokens=tokens, layout=layout, batch_size=batch_size, memory_budget=0,
        disk_budget=0, grid=None, border=None, relu=None,
    )  # fmt: skip
    tell_training(model)
    batches, run = plan.batches(images), _Peaks(layer, vocabulary)
    options = {"segment": segment, **plan.told, **plan.options}
    about: dict[str, Any] = {} if resume is None else plan.about(batches)
    about |= {"layer": layer, "options": {**options, "tokens": plan.settings["tokens"]}}
    with plan.steps(batches, vectors=True, to_planes=run.to_planes) as steps:
        finish(run, steps, resume=resume, about=about, progress=progress)
    settings = {**options, "network": type(model).__name__, "fingerprint": fingerprint(model)}
    return UnitClassifiers(
        layer, run.concepts, *run.found(), run.num_pixels, scope, float(least_area), {**settings, "whole": run.whole}
    )


class _Peaks(Run):
    """One visit: the peaks of a layer's units, and the pixels of each label.

    Attributes:
        concepts: names of the labels.
        num_pixels: of an image's planes; 1 where labels are of whole images.
        whole: whether they are.
    """

    def __init__(self, layer: str, concepts: Concepts) -> None:
        self._layer, self.concepts, self._done = layer, concepts, False
        self._peaks, self._areas = list[Tensor](), list[Tensor]()
        self.num_pixels, self.whole = 0, False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self._done else Visit("peaks", [self._layer], planes=True, last=True, images=False)

    def add(self, step: Step) -> None:
        """See `Run`."""
        planes = step.label_planes
        size = planes.shape[2:].numel()
        if self.num_pixels not in (0, size):
            raise refusal(ValueError(
                f"planes must all have as many pixels, but those of batch {len(self._peaks)} have {size} and those "
                f"before it {self.num_pixels}."
            ))  # fmt: skip
        try:
            peaks = ops.image_peaks(step.activations[self._layer]).cpu()
            areas = ops.encode_labels(planes, len(self.concepts)).area.int().cpu()
        except ValueError as error:
            raise refusal(error, f"batch {len(self._peaks)}") from None
        units = self._peaks[0].shape[1] if self._peaks else peaks.shape[1]
        if peaks.shape[1] != units:
            raise refusal(ValueError(
                f"units of layer {self._layer!r} must be the same at every visit, but there are {peaks.shape[1]} in "
                f"batch {len(self._peaks)} and {units} before it."
            ))  # fmt: skip
        self.num_pixels = size
        self._peaks.append(peaks)
        self._areas.append(areas)

    def end_visit(self) -> None:
        """See `Run`."""
        self._done = True

    def found(self) -> tuple[Tensor, Tensor]:
        """[N, U] float32 and [N, C] int32: peaks, and pixels of each label."""
        if not self._peaks:
            return torch.empty(0, 0), torch.empty(0, len(self.concepts), dtype=torch.int32)
        return torch.cat(self._peaks), torch.cat(self._areas)

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        peaks, areas = self.found()
        sizes = [len(part) for part in self._peaks]
        own = {"num_pixels": self.num_pixels, "whole": self.whole, "done": self._done}
        return {**own, "sizes": torch.tensor(sizes, dtype=torch.int64), "peaks": peaks, "areas": areas}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        rules = {"num_pixels": Whole(), "whole": Of(bool), "done": Of(bool), "sizes": Array(torch.int64, "B", 1)}
        arrays = {"peaks": Array(torch.float32, "N U", *FINITE), "areas": Array(torch.int32, "N C", 0)}
        found = fields("the run", state, {**rules, **arrays}, {"C": len(self.concepts)})
        if int(state["sizes"].sum()) != found["N"]:
            raise ValueError("the run: peaks must be those of its batches, but are not.")
        sizes = state["sizes"].tolist()
        self._peaks, self._areas = ([*state[name].split(sizes)] if sizes else [] for name in ("peaks", "areas"))
        self.num_pixels, self.whole, self._done = state["num_pixels"], state["whole"], state["done"]

    def to_planes(self, labels: Tensor, images: Tensor, batch: int, ignore: tuple[int, ...]) -> Tensor:
        """Planes of what came with images: labels of whole images are planes of one pixel; others see `label_planes`.

        Raises:
            ValueError: labels of whole images that are no class numbers, nor 0 and 1 for each class.
        """
        if labels.ndim not in (1, 2) or labels.is_floating_point():
            return label_planes(labels, images, batch, ignore)
        if ignore:
            raise refusal(ValueError("ignore must be left out where labels are of whole images."))
        self.whole = True
        number, classes = len(images), len(self.concepts) - 1
        if labels.ndim == 1:
            if len(labels) != number or bool((labels < 0).any()) or bool((labels >= classes).any()):
                ends = [int(labels.min()), int(labels.max())] if len(labels) else []
                raise refusal(ValueError(
                    f"class numbers of batch {batch} must be [N={number}], from 0 to {classes - 1} as there are "
                    f"{classes} names, but are {list(labels.shape)}, from and to {ends}."
                ))  # fmt: skip
            return (labels.long() + 1)[:, None, None, None]
        if labels.shape != (number, classes) or bool(((labels != 0) & (labels != 1)).any()):
            raise refusal(ValueError(
                f"labels of batch {batch} must be 0 or 1 for each class, [N={number}, K={classes}] as there are "
                f"{classes} names, but are {list(labels.shape)}, from {int(labels.min())} to {int(labels.max())}."
            ))  # fmt: skip
        planes: Tensor = labels.long() * torch.arange(1, classes + 1, device=labels.device)
        return planes[:, :, None, None]


def _vocabulary(images: Any, segmenter: Any, concepts: Any) -> Concepts:
    """The names of the labels: of planes the attribute `concepts`, of whole images `classes`.

    Raises:
        ValueError: there are none.
    """
    whole = segmenter is None and _are_of_whole_images(images)
    attribute = "classes" if whole else "concepts"
    found = attribute_of(segmenter or images, attribute) if concepts is None else concepts
    if found is None:
        of = "the segmenter has" if segmenter is not None else "the images have"
        raise refusal(ValueError(
            f"concepts must name the labels, since {of} no attribute {attribute}; give concepts=[name, ...]."
        ))  # fmt: skip
    if whole and not isinstance(found, Concepts) and all(isinstance(name, str) for name in found):
        return Concepts(("-", *found), ("", *["concept"] * len(found)))  # of classes "background" may be the first
    return Concepts.of(found)


def _are_of_whole_images(images: Any) -> bool:
    """Whether the labels that come with the first image are numbers, not planes; an iterator is left as it is."""
    batches = Batches(images, 1)
    first = None if batches.used_once else next(iter(batches), None)
    return first is not None and isinstance(first.planes, Tensor) and first.planes.ndim in (1, 2)


def _check_options(layer: Any, scope: Any, least_area: Any) -> None:
    """Refuses options that are none."""
    if not isinstance(layer, str):
        raise refusal(TypeError(f"layer must be one layer's name, but got {layer!r}."))
    if scope not in SCOPES:
        raise refusal(ValueError(f"scope must be one of {SCOPES}, but got {scope!r}."))
    if isinstance(least_area, bool) or not isinstance(least_area, (int, float)) or not 0 <= least_area < 1:
        raise refusal(ValueError(
            f"least_area must be a share of an image's pixels, from 0 to below 1, but got {least_area!r}."
        ))  # fmt: skip
