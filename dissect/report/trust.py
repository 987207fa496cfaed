"""How far labels can be trusted: what a report says of a dissection's evidence, where it has some."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dissect.stats.significance import RATE

if TYPE_CHECKING:
    from dissect.dissection.result import LayerDissection
    from dissect.dissection.rows import UnitRow

#: A concept that fewer than this share of a unit's top images show is doubtful.
SHOWN_SHARE = 0.4
#: What `UnitRow` tells beside the IoU.
TRUST = (
    "p", "low", "high", "same_label", "held_out", "margin", "place_iou", "precision", "recall", "accuracy",
    "information_quality", "shown",
)  # fmt: skip
#: Bars of the chart of a unit's peaks.
BINS = 24


@dataclass(frozen=True)
class LayerTrust:
    """What the planes of other images say about a layer's detectors.

    Attributes:
        null: [K, U] each unit's best IoU with the planes of other images, K times.
        by_chance: how many units exceed the detector cut-off there, on average.
        rate: the false discovery rate at the detector cut-off.
        allowed: the cut-off that keeps this rate at `RATE`, None where none does.
    """

    null: Tensor
    by_chance: float
    rate: float
    allowed: float | None


@dataclass(frozen=True)
class Density:
    """How a unit's highest activations in a sample of the images are spread.

    Attributes:
        low: where the first bar begins.
        high: where the last one ends.
        counts: images per bar.
        above: the share of images whose highest activation exceeds the threshold.
    """

    low: float
    high: float
    counts: list[int]
    above: float


def layer_trust(layer: LayerDissection, cutoff: float) -> LayerTrust | None:
    """What is known about a layer's detectors, if planes were permuted at all."""
    evidence = layer.evidence
    if evidence is None or not len(evidence.null):
        return None
    return LayerTrust(
        evidence.null, evidence.by_chance(cutoff), layer.false_discovery_rate(cutoff), layer.cutoff_at(RATE)
    )


def facts(row: UnitRow) -> dict[str, float | bool | int]:
    """Those of the facts in `TRUST` that are known about a unit with a concept."""
    found = {name: getattr(row, name) for name in TRUST}
    return {
        name: value
        for name, value in found.items()
        if row.iou > 0 and value is not None and (isinstance(value, (bool, int)) or math.isfinite(value))
    }


def halves(layer: LayerDissection, row: UnitRow) -> list[int]:
    """A unit's best label by each half of the images; none where that is not known."""
    if layer.evidence is None or row.same_label is None:
        return []
    return layer.evidence.half_labels[:, row.unit].tolist()


def doubts(row: UnitRow, layer: LayerTrust | None, kept: int) -> dict[str, str]:
    """What speaks against a unit's concept, in a few words each, by what was looked at; `kept` top images were."""
    known, found = facts(row), {}
    if row.iou > 0 and layer is not None and (layer.allowed is None or row.iou <= layer.allowed):
        found["limit"] = "may be chance"
    if known.get("same_label") is False:
        found["same_label"] = "halves of the images disagree"
    if known.get("place_iou", -math.inf) >= row.iou:
        found["place_iou"] = "a fixed place fits as well"
    if known.get("shown", kept) < SHOWN_SHARE * kept:
        found["shown"] = f"shown in {known['shown']} of {kept} top images"
    return found


def density(peaks: Tensor, threshold: float) -> Density:
    """The spread of a unit's peaks [S], over a range that holds its threshold."""
    values = peaks.double().numpy()
    ends = [*values[[0, -1]].tolist(), *([threshold] if math.isfinite(threshold) else [])]
    low, high = min(ends), max(ends)
    high = high if high > low else low + 1
    counts = np.histogram(values, BINS, (low, high))[0]
    return Density(low, high, counts.tolist(), float((values > threshold).mean()))
