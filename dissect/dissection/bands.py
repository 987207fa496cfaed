"""Which label each band of a unit's activations overlaps most: the highest may mean another thing than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

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


def band_rows(layer: SweptLayer, concepts: Concepts, shares: Sequence[float]) -> Iterator[BandRow]:
    """Of every unit its bands between the exact shares, the highest first, and from the last one down to 0."""
    order = sorted(range(len(shares)), key=lambda at: shares[at])
    ends = [*(shares[at] for at in order), None]
    levels = torch.stack([layer.level(at) for at in [*order, None]], 1)  # [U, K]
    unit = 0
    for both in layer._blocks():
        for own, fires, at in zip(
            both.intersection, both.unit_area[:, 0], levels[unit : unit + len(both.intersection)]
        ):
            edges = layer.counts.edges[unit, at].tolist()
            # Counts above each end, less those above the one before: integers.
            inside = own[:, at].diff(dim=1, prepend=own.new_zeros(len(own), 1)).clamp(min=0)
            area = fires[at].diff(prepend=fires.new_zeros(1)).clamp(min=0)
            scores = iou(inside.T, area, both.label_area[:, 0])
            pixels = int(both.pixels[0])
            for band, label in enumerate(best_labels(scores).tolist()):
                known = label if scores[band, label] > 0 else 0
                yield BandRow(
                    layer.name, unit, ends[band - 1] or 0.0 if band else 0.0, ends[band], edges[band],
                    edges[band - 1] if band else torch.inf, int(area[band]) / pixels, concepts.names[known],
                    concepts.categories[known], float(scores[band, known]) if known else 0.0,
                    int(inside[known, band]) / max(1, int(area[band])) if known else 0.0,
                )  # fmt: skip
            unit += 1
