"""Which units belong to a class, by their IoU with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dissect.concepts import label_of
from dissect.generators.counting import Concept, Counter
from dissect.generators.rendering import Renderer
from dissect.stats import IouTally, TailThreshold

#: A unit fires on the top 1 % of its pixels.
FRACTION = 0.01

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


def class_iou(dissection: Dissection, layer: str, concept: Concept) -> Tensor:
    """[U] float64: the IoU of each unit of a layer with a class.

    Args:
        dissection: of the generator, over other z than those whose effects are measured.
        layer: a layer that it has.
        concept: the class: a label number, a name, or "category/name".

    Raises:
        KeyError: the dissection has no such layer or class.

    Example: see `units_by_iou`.
    """
    scores: Tensor = dissection[layer].iou
    return scores[:, label_of("class_iou", dissection.concepts, concept)]


def units_by_iou(dissection: Dissection, layer: str, concept: Concept) -> Tensor:
    """[U] int64: the units of a layer, the one with the highest IoU with a class first; ties to the lower number.

    Arguments and errors: see `class_iou`.

    Example:
        >>> from dissect import generators, tiny
        >>> street, segmenter = tiny.generator(), tiny.segmenter(signed=True)
        >>> z = dissect.latents(street, 8, seed=1)
        >>> d = dissect.dissect(street, "layer4", z, segmenter=segmenter, segment="output", decoys=0, progress=False)
        >>> units = generators.units_by_iou(d, "layer4", "object/house")
        >>> iou = generators.class_iou(d, "layer4", "object/house")
        >>> len(units), bool(iou[units[0]] == iou.max())
        (128, True)
    """
    return class_iou(dissection, layer, concept).sort(descending=True, stable=True).indices


def sample_iou(renderer: Renderer, counter: Counter, progress: bool) -> Tensor:
    """[U] float64: the IoU of each unit with a class in a sample, at the threshold that the top 1 % exceed there."""
    size = counter.planes(0, renderer.plain(slice(0, 1))[1]).shape[2:]
    state = TailThreshold(FRACTION, size=(size[0], size[1]))
    while True:
        for rows in renderer.batches("thresholds", progress):
            state.add(renderer.maps(rows))
        if state.advance():
            break
    tally = IouTally(state.threshold(), 2)
    for rows in renderer.batches("IoU", progress):
        maps, images = renderer.plain(rows)
        carries = counter.carries(counter.planes(rows.start // renderer.batch_size, images))
        tally.add(maps, carries[:, None].to(torch.uint8), torch.arange(rows.start, rows.stop))
    return tally.iou()[:, 1].cpu()
