"""Which label each band of a unit's activations overlaps most: the highest may mean another thing than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.stats.iou import best_labels, iou

if TYPE_CHECKING:
    from dissect.dissection.swept import SweptLayer


class BandRow(NamedTuple):
    """A unit in a band of its activations.

    Attributes:
        layer: the layer's name.
        unit: number within the layer.
        top: the share of the pixels that lie above the band; 0 for the highest band.
        share: the share that the band ends at; None where it ends at an activation of 0.
        low: the level that the band's activations exceed.
        high: the level that they do not exceed; infinite for the highest band.
        firing: the share of all pixels in the band, less than `share - top` where a unit is sparse.
        concept: the label with the highest IoU with the band, "-" where none is above 0.
        category: of the concept.
        iou: of the band's pixels and the label's.
        precision: the share of the band's pixels that carry the label.
        iou_low: where 95 % of its IoUs with the label lie when images are drawn again (``sweep(..., resamples=200)``).
        iou_high: the upper end; both None without resamples, with fewer than ten groups of images, or no label.
        p: how probable so high a best IoU of this band is, in any unit of the layer, when the planes are permuted among
            the images (``sweep(..., decoys=4)``); None without decoys.
    """

    layer: str
    unit: int
    top: float
    share: float | None
    low: float
    high: float
    firing: float
    concept: str
    category: str
    iou: float
    precision: float
    iou_low: float | None = None
    iou_high: float | None = None
    p: float | None = None


def band_rows(layer: SweptLayer, concepts: Concepts, shares: Sequence[float]) -> Iterator[BandRow]:
    """Of every unit its bands between the exact shares, the highest first, and from the last one down to 0."""
    ends, evidence = [*sorted(shares), None], layer.bands
    for unit, (edges, inside, area, scores, pixels) in enumerate(_counted(layer, shares)):
        best = best_labels(scores)
        own = scores.gather(1, best[:, None])[:, 0]
        p = evidence.p_values(own[None])[0].tolist() if evidence is not None and len(evidence.null) else None
        for band, label in enumerate(best.tolist()):
            known = label if own[band] > 0 else 0
            low, high = (None, None) if evidence is None or not known else _known(evidence.interval[unit, band])
            yield BandRow(
                layer.name, unit, ends[band - 1] or 0.0 if band else 0.0, ends[band], edges[band],
                edges[band - 1] if band else torch.inf, int(area[band]) / pixels, concepts.names[known],
                concepts.categories[known], float(scores[band, known]) if known else 0.0,
                int(inside[known, band]) / max(1, int(area[band])) if known else 0.0,
                low, high, None if p is None else p[band],
            )  # fmt: skip


def band_labels(layer: SweptLayer, shares: Sequence[float]) -> Tensor:
    """[U, B] int64: the label of each band, 0 where no IoU is above 0."""
    found = []
    for _, _, _, scores, _ in _counted(layer, shares):
        best = best_labels(scores)
        found.append(torch.where(scores.gather(1, best[:, None])[:, 0] > 0, best, 0))
    return torch.stack(found)


def _known(ends: Tensor) -> tuple[float | None, float | None]:
    """An interval, whose NaN is unknown."""
    return (None, None) if bool(ends.isnan().any()) else (float(ends[0]), float(ends[1]))


def _counted(layer: SweptLayer, shares: Sequence[float]) -> Iterator[tuple[list[float], Tensor, Tensor, Tensor, int]]:
    """Per unit the lower ends of its bands, pixels inside [C, B] and [B], IoUs [B, C], and how many pixels are all."""
    order = sorted(range(len(shares)), key=lambda at: shares[at])
    levels = torch.stack([layer.level(at) for at in [*order, None]], 1)  # [U, B]
    unit = 0
    for both in layer._blocks():
        for own, fires, at in zip(
            both.intersection, both.unit_area[:, 0], levels[unit : unit + len(both.intersection)]
        ):
            # Counts above each end, less those above the one before: integers.
            inside = own[:, at].diff(dim=1, prepend=own.new_zeros(len(own), 1)).clamp(min=0)
            area = fires[at].diff(prepend=fires.new_zeros(1)).clamp(min=0)
            scores = iou(inside.T, area, both.label_area[:, 0]) * ~layer.constant[unit]
            yield layer.counts.edges[unit, at].tolist(), inside, area, scores, int(both.pixels[0])
            unit += 1
