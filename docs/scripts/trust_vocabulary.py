"""Two biases of dissection, measured: concepts that the vocabulary lacks, and those that are too fine or too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from trust_world import CUTOFF, FRACTION, SEED, World, found, only

from dissect import Concepts, Dissection

FINE = "combination"


class Removed(NamedTuple):
    """A concept, and the rows of the units that detect it: with it in the vocabulary and without, in the same order."""

    category: str
    concept: str
    before: list[Any]
    after: list[Any]
    overlaps: list[float]  # IoU of the masks of the concept and of what its units are called without it


def removed(world: World, whole: Dissection, most: int | None = None) -> list[Removed]:
    """Each concept that has detectors, or the `most` with the most, is taken out of the planes, all dissected again."""
    detectors = whole.detectors()
    names = list(zip(world.concepts.categories, world.concepts.names))
    results = []
    for (category, concept), _ in Counter((row.category, row.concept) for row in detectors).most_common(most):
        label = names.index((category, concept))
        planes = torch.where(world.planes == label, 0, world.planes)
        rows = world.dissected(planes=planes, resamples=2).best()
        before = [row for row in detectors if (row.category, row.concept) == (category, concept)]
        after = [rows[row.unit] for row in before]
        others = [names.index((row.category, row.concept)) for row in after]
        results.append(Removed(category, concept, before, after, _overlaps(world.planes, label, others)))
    return results


def _overlaps(planes: Tensor, label: int, others: Iterable[int]) -> list[float]:
    """The IoU of the mask of a label and of each of some others."""
    mask = (planes == label).any(1)
    known = {}
    for other in set(others := list(others)):
        its = (planes == other).any(1)
        known[other] = float((mask & its).sum() / (mask | its).sum())
    return [known[other] for other in others]


def separation(wrong: list[float], right: list[float]) -> float:
    """The probability that a column is lower for a unit whose concept was taken away than for one whose is there."""
    low, high = torch.tensor(wrong, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    less = (low[:, None] < high).double() + (low[:, None] == high).double() / 2
    return float(less.mean())


class Reach(NamedTuple):
    """What is found when units fire on a share of the pixels, or on planes of another size."""

    setting: str
    present: int
    reachable: int
    units: int
    concepts: int
    by_chance: float


def reach(setting: str, dissection: Dissection, fraction: float) -> Reach:
    """Of the labels that are there, those that a unit can have an IoU above the cut-off with, and those some have."""
    layer = only(dissection)
    share = layer.label_area[1:].double() / layer.num_pixels
    attainable = torch.minimum(share, torch.tensor(fraction)) / torch.maximum(share, torch.tensor(fraction))
    null = layer.evidence.null
    return Reach(
        setting, int((share > 0).sum()), int((attainable > CUTOFF).sum()), *found(dissection),
        float((null > CUTOFF).sum() / len(null)),
    )  # fmt: skip


class Finer(NamedTuple):
    """Objects by another category added to the vocabulary: what units prefer to all labels of before."""

    category: str
    labels: int
    units: int
    detectors: int
    new: int
    before: float
    after: float


def finer(world: World, whole: Dissection, category: str, elsewhere: bool = False) -> Finer:
    """Counts units whose best label is a combination, and their mean IoU on odd images with the label of even ones.

    Args:
        world: what is dissected.
        whole: the dissection without combinations.
        category: of the labels that objects are combined with.
        elsewhere: with those of another image: labels of the same kind that mean nothing.
    """
    # drawn, not shifted: classes take turns, so that a shift would only rename them
    count, stream = len(world.planes), torch.Generator().manual_seed(SEED)
    order = torch.randperm(count, generator=stream) if elsewhere else torch.arange(count)
    planes, concepts = _composed(world, category, order)
    rows, old = world.dissected(planes=planes, concepts=concepts, decoys=0, resamples=0).best(), whole.best()
    preferred = [row for row in rows if row.category == FINE]
    hits = [row for row in preferred if row.iou > CUTOFF]
    units = [row.unit for row in preferred]
    coarse, fine = _held_out(world, world.planes, world.concepts), _held_out(world, planes, concepts)
    return Finer(
        category, len(concepts) - len(world.concepts), len(preferred), len(hits),
        sum(old[row.unit].iou <= CUTOFF for row in hits), float(coarse[units].mean()), float(fine[units].mean()),
    )  # fmt: skip


def _composed(world: World, category: str, order: Tensor) -> tuple[Tensor, Concepts]:
    """The planes, and one more of objects combined with labels of a category ("car, red"); all names.

    `order`: of the images that the others' labels are from.

    Combinations on too few pixels for an IoU above the cut-off have no label.
    """
    objects = world.planes[:, world.categories.index("object")].long()
    others = world.planes[order, world.categories.index(category)].long()
    count = len(world.concepts)
    pairs = torch.where((objects > 0) & (others > 0), objects * count + others, 0)
    values, areas = pairs.unique(return_counts=True)
    kept = values[(values > 0) & (areas >= CUTOFF * FRACTION * pairs.numel())]
    at = torch.searchsorted(kept, pairs).clamp(max=len(kept) - 1)
    plane = torch.where(kept[at] == pairs, count + at, 0).to(world.planes.dtype)
    names = world.concepts.names
    fine = [(f"{names[int(pair) // count]}, {names[int(pair) % count]}", FINE) for pair in kept]
    coarse = list(zip(names[1:], world.concepts.categories[1:]))
    return torch.cat([world.planes, plane[:, None]], 1), Concepts.of(coarse + fine)


def _held_out(world: World, planes: Tensor, concepts: Concepts) -> Tensor:
    """[U]: IoU on odd images with the label that is the best on even ones."""
    even, odd = (
        only(world.dissected(planes=planes, concepts=concepts, images=slice(half, None, 2), decoys=0, resamples=0))
        for half in (0, 1)
    )
    return odd.iou.gather(1, even.best_label[:, None])[:, 0]


class Size(NamedTuple):
    """A concept: the share of the pixels that carry it, and the IoU of the unit that fits it best."""

    share: float
    best: float


def sizes(dissection: Dissection) -> list[Size]:
    """All concepts but "no label"."""
    layer = only(dissection)
    shares = (layer.label_area.double() / layer.num_pixels)[1:].tolist()
    return [Size(*pair) for pair in zip(shares, layer.iou[:, 1:].amax(0).tolist())]
