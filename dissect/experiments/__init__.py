"""The papers' experiments, one file each."""

from dissect.experiments.attack import AttackResult, GroupRow, attack
from dissect.experiments.carlini_wagner import CarliniWagner, adversarial, with_noise
from dissect.experiments.relations import (
    Combination,
    important_pairs,
    iou_by_classes,
    iou_by_importance,
    mean_importance,
    overlapping_combinations,
    peak_correlation,
    rank_correlation,
    sign_shares,
)

__all__ = [
    "AttackResult",
    "CarliniWagner",
    "Combination",
    "GroupRow",
    "adversarial",
    "attack",
    "important_pairs",
    "iou_by_classes",
    "iou_by_importance",
    "mean_importance",
    "overlapping_combinations",
    "peak_correlation",
    "rank_correlation",
    "sign_shares",
    "with_noise",
]
