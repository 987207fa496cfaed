"""The rows of what a sweep over thresholds found."""

from __future__ import annotations

from typing import NamedTuple


class SweptUnitRow(NamedTuple):
    """A unit at the levels where it agrees best with some label, by three measures of which each names its label.

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
