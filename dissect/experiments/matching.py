"""Units that match a concept at the threshold that tells most about it (Bau et al. 2019, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.network.modes import tell_training
from dissect.network.trace import Trace
from dissect.stats import TailThreshold, ThresholdSweep

#: Top fractions of the pixels on which a unit may fire.
FRACTIONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


class UnitMatches(NamedTuple):
    """Per unit the concept that it tells most about, if the two match.

    Attributes:
        labels: [U] int64; 0 where the unit matches nothing.
        iou: [U] float64, of the mask of the unit, at that concept's threshold, and the concept's; 0 without one.
        information_quality: [U] float64, of the same masks.
    """

    labels: Tensor
    iou: Tensor
    information_quality: Tensor


Matches = UnitMatches  # its earlier name, which callers have


@speaks
def matching_units(
    model: nn.Module,
    layer: str,
    z: Tensor,
    segment: Callable[[Any], Tensor],
    concepts: Concepts,
    *,
    categories: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    least_iou: float = 0.05,
    least_accuracy: float = 0.75,
    batch_size: int = 64,
) -> UnitMatches:
    """A generator's units against what a segmentation network sees in its images.

    A unit's threshold for a concept is, of those at which it fires on each of some fractions of the pixels, the one at
    which the information quality ratio of its mask and the concept's, mutual information over joint entropy (equation 2
    of ICLR 2019), is the largest; its concept is the one of the largest ratio. Ratios of masks of which too few pixels
    agree, or that overlap no more than by chance, are 0. The unit matches if the IoU exceeds `least_iou` (thesis,
    Figure 4-5). Ties go to the smaller fraction, and to the smaller label.

    Args:
        model: z [N, ...] to anything that `segment` takes.
        layer: name of a module that gives maps [N, U, h, w].
        z: [N, ...].
        segment: the model's output to label planes [N, K, H, W].
        concepts: of their labels.
        categories: whose concepts units may match; None: all.
        fractions: of the pixels.
        least_iou: that a match exceeds.
        least_accuracy: the share of pixels on which masks must agree, which a match exceeds too.
        batch_size: z at a time; maps of all are kept.

    Warns:
        UserWarning: the model is in training mode, or looks at the batch.

    Raises:
        ValueError: no z, no fractions, or a category that concepts do not have.
        KeyError: no such layer.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Identity())
        >>> z = torch.zeros(2, 1, 8, 8)
        >>> z[:, :, :4, :2] = 1
        >>> tree = dissect.Concepts.of(["tree"])
        >>> found = matching_units(net, "0", z, lambda x: (x > 0).long(), tree, fractions=[0.2])
        >>> found.labels.tolist(), found.iou.tolist()
        ([1], [1.0])
    """
    known = set(concepts.categories)
    if unknown := sorted(set(categories or ()) - known):
        raise refusal(ValueError(f"categories must be among {sorted(known - {''})}, but {unknown[0]!r} is not."))
    if not len(z) or not len(fractions):
        raise refusal(ValueError(f"z and fractions must hold one at least, but hold {len(z)} and {len(fractions)}."))
    tell_training(model)
    kept = list(_seen(model, layer, z.split(integer("batch_size", batch_size)), segment, len(concepts)))
    states = [_threshold(kept, fraction) for fraction in sorted(fractions, reverse=True)]
    edges = torch.stack([state.threshold() for state in states], 1)
    sweep = ThresholdSweep(edges, len(concepts), grid=states[0].grid)
    for maps, labels in kept:
        sweep.add(maps, labels)
    agreement = sweep.agreement()
    by_chance = agreement.unit_area.double() * agreement.label_area / agreement.pixels
    counts = (agreement.accuracy() > least_accuracy) & (agreement.intersection > by_chance)
    allowed = [categories is None or category in categories for category in concepts.categories]
    quality = torch.where(counts, agreement.information_quality(), 0.0)
    quality[:, [not each for each in allowed]] = -1.0
    quality[:, 0] = -1.0
    # Of edges rising the last is of the smallest fraction; numpy's argmax documents that it returns the first.
    at = _first_largest(quality.flip(2))
    quality, overlap = (part.flip(2).gather(2, at[..., None])[..., 0] for part in (quality, agreement.iou()))
    best = _first_largest(quality)[:, None]
    quality, overlap = quality.gather(1, best)[:, 0], overlap.gather(1, best)[:, 0]
    found = (quality > 0) & (overlap > least_iou)
    return UnitMatches(*(torch.where(found, part, 0) for part in (best[:, 0], overlap, quality)))


def _first_largest(values: Tensor) -> Tensor:
    return torch.from_numpy(values.numpy().argmax(-1))


@torch.inference_mode()
def _seen(
    model: nn.Module, layer: str, batches: Sequence[Tensor], segment: Callable[[Any], Tensor], num_labels: int
) -> Iterator[tuple[Tensor, ops.EncodedLabels]]:
    """Maps of the layer, and what the images show."""
    with Trace(model, layer) as trace:
        for z in batches:
            output = model(z)
            yield trace[layer].cpu(), ops.encode_labels(segment(output).cpu(), num_labels)


def _threshold(kept: Sequence[tuple[Tensor, ops.EncodedLabels]], fraction: float) -> TailThreshold:
    state = TailThreshold(fraction, size=kept[0][1].size)
    while True:
        for maps, _ in kept:
            state.add(maps)
        if state.advance():
            return state
