"""The rows of what a sweep over thresholds found."""

from __future__ import annotations

from typing import NamedTuple

from dissect.stats.sanity import FAILING


class SweptUnitRow(NamedTuple):
    """A unit at the levels where it agrees best with some label, by measures of which each names its label.

    A unit that is constant, as far as any level tells, has no label, "-", and 0 by each measure.

    Attributes:
        layer: the layer's name.
        unit: number within the layer.
        concept: the label with the highest IoU at any level, "-" where none is above 0. (F1 is ``2 IoU / (1 + IoU)``,
            so it names the same.)
        category: of the concept.
        iou: that IoU.
        f1: the F1 there.
        threshold: the level.
        firing: the share of all pixels where the unit exceeds it.
        by_precision: the label with the highest average precision over all levels.
        average_precision: that.
        by_information: the label with the highest information quality ratio at any level.
        information_quality: that.
        by_correlation: the label with the highest correlation of its mask and the unit's at any level.
        correlation: that.
        by_cosine: the label with the highest cosine of both masks at any level.
        cosine: that.
    """

    layer: str
    unit: int
    concept: str
    category: str
    iou: float
    f1: float
    threshold: float
    firing: float
    by_precision: str
    average_precision: float
    by_information: str
    information_quality: float
    by_correlation: str
    correlation: float
    by_cosine: str
    cosine: float


class SweptLabelRow(NamedTuple):
    """Which labels appear where units fire on one share of the pixels (Zhou et al. 2018, Fig. 28).

    Attributes:
        layer: the layer's name.
        share: tau, the top fraction of the pixels on which units fire; None without a threshold: where they exceed 0.
        category: of the labels.
        concepts: how many of its labels are some unit's best, with an IoU above the cut-off.
        units: how many units these are.
    """

    layer: str
    share: float | None
    category: str
    concepts: int
    units: int


class SweptCurveRow(NamedTuple):
    """A unit and a label at one level.

    Attributes:
        concept: the label.
        category: of the label.
        threshold: the level.
        firing: the share of all pixels where the unit exceeds it.
        iou: intersection over union.
        f1: of the same masks.
        precision: the share of where it fires that carries the label.
        recall: the share of the label where it fires.
        information_quality: the information quality ratio I/H.
        correlation: of both masks.
        cosine: of both masks.
    """

    concept: str
    category: str
    threshold: float
    firing: float
    iou: float
    f1: float
    precision: float
    recall: float
    information_quality: float
    correlation: float
    cosine: float


#: How columns are printed: measures that pass the sanity tests of `stats.sanity_tests` first, the others marked.
PRINTED_UNIT = ("layer", "unit", "concept", "category", "iou", "f1", "by_correlation", "correlation", "by_cosine",
                "cosine", "by_precision", "average_precision", "threshold", "firing", "by_information",
                "information_quality")  # fmt: skip
PRINTED_CURVE = ("concept", "category", "threshold", "firing", "iou", "f1", "correlation", "cosine",
                 "information_quality", "precision", "recall")  # fmt: skip
MARKED = {name: f"{name} (fails)" for name in FAILING} | {"information_quality": "information_quality (untested)"}
