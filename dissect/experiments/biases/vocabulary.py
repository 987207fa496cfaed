"""Two biases, measured: concepts that the vocabulary lacks, and those that are too fine or too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.dissection import Dissection, UnitRow
from dissect.experiments.biases.maps import LayerMaps, found, only
from dissect.stats.classes import rank_area

#: The category of what `finer` adds.
FINE = "combination"


class Removed(NamedTuple):
    """A concept that was taken away, and the units that detected it.

    Attributes:
        category: the concept's.
        concept: its name.
        before: the units' rows with it in the vocabulary.
        after: the same units' rows without it.
        overlaps: the IoU of the concept's mask and of that of what each unit is called without it.
    """

    category: str
    concept: str
    before: list[UnitRow]
    after: list[UnitRow]
    overlaps: list[float]


@speaks
def removed(maps: LayerMaps, layer: str, whole: Dissection, most: int | None = None) -> list[Removed]:
    """What units are called without their concept: each one is taken out of the planes in turn, all dissected again.

    Args:
        maps: what is dissected.
        layer: one of its layers.
        whole: its dissection with all concepts.
        most: only of so many concepts, those with the most detectors.
    """
    detectors = whole.detectors()
    names = list(zip(maps.concepts.categories, maps.concepts.names))
    results = []
    for (category, concept), _ in Counter((row.category, row.concept) for row in detectors).most_common(most):
        label = names.index((category, concept))
        planes = torch.where(maps.planes == label, 0, maps.planes)
        rows = maps.dissected(layer, planes=planes, resamples=2).best()
        before = [row for row in detectors if (row.category, row.concept) == (category, concept)]
        after = [rows[row.unit] for row in before]
        # A unit that fits no label any more is called "-", which lies nowhere.
        others = [names.index((row.category, row.concept)) if row.iou > 0 else -1 for row in after]
        results.append(Removed(category, concept, before, after, _overlaps(maps.planes, label, others)))
    return results


def _overlaps(planes: Tensor, label: int, others: Iterable[int]) -> list[float]:
    """The IoU of the mask of a label and of each of some others."""
    mask = (planes == label).any(1)
    known = {}
    for other in set(others := list(others)):
        its = (planes == other).any(1)
        known[other] = float((mask & its).sum() / (mask | its).sum())
    return [known[other] for other in others]


@speaks
def separation(low: Iterable[float], high: Iterable[float]) -> float:
    """The probability that one of `low` is below one of `high`, equal ones counting half; NaN if there are none.

    Example:
        >>> separation([1, 2], [2, 3])
        0.875
    """
    values = [torch.tensor(list(part), dtype=torch.float64) for part in (low, high)]
    return rank_area(torch.cat(values), torch.arange(sum(map(len, values))) >= len(values[0]))


class Reach(NamedTuple):
    """What is found under some setting.

    Attributes:
        setting: its name.
        present: labels that are in some image.
        reachable: of them, those with which an IoU above the cut-off is possible at all.
        units: detectors.
        concepts: that they detect.
        by_chance: detectors with planes permuted among the images.
    """

    setting: str
    present: int
    reachable: int
    units: int
    concepts: int
    by_chance: float


@speaks
def reach(setting: str, dissection: Dissection) -> Reach:
    """Of one layer's labels those that are there, in reach, and found; the dissection needs its decoys.

    A unit that fires on a share q of the pixels has with a label on a share f an IoU of at most
    ``min(q, f) / max(q, f)``; it is in reach if that exceeds the cut-off of detectors.

    Raises:
        ValueError: it was counted without decoys.
    """
    layer, cutoff = only(dissection), dissection.settings["detector_iou"]
    if layer.evidence is None or not len(layer.evidence.null):
        raise refusal(ValueError("dissection must have been counted with decoys, but has none; leave out decoys=0."))
    share, fires = layer.label_area[1:].double() / layer.num_pixels, torch.tensor(dissection.settings["fraction"])
    attainable = torch.minimum(share, fires) / torch.maximum(share, fires)
    return Reach(
        setting, int((share > 0).sum()), int((attainable > cutoff).sum()), *found(dissection),
        float((layer.evidence.null > cutoff).sum() / len(layer.evidence.null)),
    )  # fmt: skip


class Finer(NamedTuple):
    """Objects combined with another category, as labels more: what units prefer to all labels of before.

    Attributes:
        category: that objects are combined with.
        labels: how many combinations there are.
        units: whose best label is a combination.
        detectors: of these, those above the cut-off.
        new: of these, those that were no detectors without combinations.
        before: the units' mean IoU on odd images, without combinations, with the label that even images give.
        after: the same with combinations.
    """

    category: str
    labels: int
    units: int
    detectors: int
    new: int
    before: float
    after: float


@speaks
def finer(
    maps: LayerMaps, layer: str, whole: Dissection, category: str, *, elsewhere: bool = False, seed: int = 0
) -> Finer:
    """What units prefer where objects are combined with labels of a category ("car, red").

    Args:
        maps: what is dissected.
        layer: one of its layers.
        whole: its dissection without combinations.
        category: of the labels that objects are combined with.
        elsewhere: with those of another image, drawn at random: labels of the same kind that mean nothing.
        seed: of the draw.
    """
    # Drawn, not shifted: where classes take turns, a shift would only rename them.
    count, stream = len(maps.planes), torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=stream) if elsewhere else torch.arange(count)
    cutoff = whole.settings["detector_iou"]
    planes, concepts = combined(maps, category, order, cutoff * whole.settings["fraction"])
    rows = maps.dissected(layer, planes=planes, concepts=concepts, decoys=0, resamples=0).best()
    old, preferred = whole.best(), [row for row in rows if row.category == FINE]
    hits = [row for row in preferred if row.iou > cutoff]
    units = [row.unit for row in preferred]
    before, after = (_held_out(maps, layer, *each) for each in ((maps.planes, maps.concepts), (planes, concepts)))
    return Finer(
        category, len(concepts) - len(maps.concepts), len(preferred), len(hits),
        sum(old[row.unit].iou <= cutoff for row in hits), float(before[units].mean()), float(after[units].mean()),
    )  # fmt: skip


def combined(maps: LayerMaps, category: str, order: Tensor, least: float) -> tuple[Tensor, Concepts]:
    """The planes, and one more of objects combined with labels of a category; and the names of all.

    Args:
        maps: whose planes these are. Where several planes show objects at a pixel, that of the largest number counts.
        category: of the labels that objects are combined with.
        order: [N] of the images that these labels are from.
        least: combinations on a smaller share of all pixels have no label.
    """
    objects, others = (_plane_of(maps, name) for name in ("object", category))
    count = len(maps.concepts)
    pairs = torch.where((objects > 0) & (others[order] > 0), objects * count + others[order], 0)
    values, areas = pairs.unique(return_counts=True)
    kept = values[(values > 0) & (areas >= least * pairs.numel())]
    at = torch.searchsorted(kept, pairs).clamp(max=max(0, len(kept) - 1))
    plane = torch.where(kept[at] == pairs, count + at, 0) if len(kept) else torch.zeros_like(pairs)
    names = maps.concepts.names
    fine = [(f"{names[int(pair) // count]}, {names[int(pair) % count]}", FINE) for pair in kept]
    coarse = list(zip(names[1:], maps.concepts.categories[1:]))
    concepts, dtype = Concepts.of(coarse + fine), maps.planes.dtype
    wide = dtype if len(concepts) - 1 <= torch.iinfo(dtype).max else torch.int32
    return torch.cat([maps.planes.to(wide), plane[:, None].to(wide)], 1), concepts


def _plane_of(maps: LayerMaps, category: str) -> Tensor:
    """[N, H, W] int64: the labels of a category, 0 elsewhere."""
    own = torch.tensor([each == category for each in maps.concepts.categories])
    own[0] = False
    shown = torch.zeros_like(maps.planes[:, 0], dtype=torch.int64)
    for labels in (plane.long() for plane in maps.planes.unbind(1)):
        shown = torch.where(own[labels], labels.maximum(shown), shown)
    return shown


def _held_out(maps: LayerMaps, layer: str, planes: Tensor, concepts: Concepts) -> Tensor:
    """[U]: IoU on odd images with the label that is the best on even ones."""
    even, odd = (
        only(
            maps.dissected(layer, planes=planes, concepts=concepts, images=slice(half, None, 2), decoys=0, resamples=0)
        )
        for half in (0, 1)
    )
    return odd.iou.gather(1, even.best_label[:, None])[:, 0]


class ConceptSize(NamedTuple):
    """A concept: the share of the pixels that carry it, and the IoU of the unit that fits it best."""

    share: float
    best: float


Size = ConceptSize  # its earlier name, which callers have


@speaks
def sizes(dissection: Dissection) -> list[ConceptSize]:
    """All concepts but "no label"."""
    layer = only(dissection)
    shares = (layer.label_area.double() / layer.num_pixels)[1:].tolist()
    return [ConceptSize(*pair) for pair in zip(shares, layer.iou[:, 1:].amax(0).tolist())]
