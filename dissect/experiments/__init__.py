"""The papers' experiments, one file each."""

from dissect.experiments.ablated_bands import ablated_bands, band_losses
from dissect.experiments.ablated_bands_result import AblatedBands, BandLossRow
from dissect.experiments.at_hand import (
    AtHand,
    dissected_at_hand,
    embedded_discrimination,
    networks_at_hand,
    small_dissections,
)
from dissect.experiments.attack import attack, attacked_again
from dissect.experiments.attack_result import AttackResult, GroupRow, most_important
from dissect.experiments.axis_alignment import (
    ALPHAS,
    axis_alignment,
    fractional_rotation,
    random_rotation,
    rotation_error,
)
from dissect.experiments.axis_alignment_result import AxisAlignment
from dissect.experiments.carlini_wagner import PUBLISHED, CarliniWagner, adversarial, with_noise
from dissect.experiments.discrimination import discrimination, linear_predictions
from dissect.experiments.discrimination_result import Discrimination
from dissect.experiments.explanations import explain_predictions
from dissect.experiments.explanations_fitted import explain_by_svm
from dissect.experiments.explanations_result import Explanations
from dissect.experiments.matching import Matches, UnitMatches, matching_units
from dissect.experiments.planted import CORRUPTIONS, Corruption, Planted, plant, score_labels
from dissect.experiments.planted_methods import by_formulas, by_iou, by_similarity, by_texts
from dissect.experiments.planted_result import PlantedScores
from dissect.experiments.relations import (
    Combination,
    clearest_combinations,
    important_pairs,
    iou_by_classes,
    iou_by_importance,
    mean_importance,
    overlapping_combinations,
    peak_correlation,
    rank_correlation,
    sign_shares,
)
from dissect.experiments.retraining import retrained_tops
from dissect.experiments.retraining_network import retrain_top
from dissect.experiments.retraining_result import RetrainedRow, RetrainedTops
from dissect.experiments.rosetta import rosetta
from dissect.experiments.rosetta_permuted import rosetta_permuted
from dissect.experiments.rosetta_result import Rosetta
from dissect.experiments.texture import texture_sensitivity
from dissect.experiments.texture_result import TextureSensitivity
from dissect.experiments.verified import verified_labels
from dissect.experiments.verified_result import VerifiedLabels

__all__ = [
    "ALPHAS",
    "CORRUPTIONS",
    "PUBLISHED",
    "AblatedBands",
    "AtHand",
    "AttackResult",
    "AxisAlignment",
    "BandLossRow",
    "CarliniWagner",
    "Combination",
    "Discrimination",
    "Corruption",
    "Explanations",
    "GroupRow",
    "UnitMatches",
    "Matches",
    "Planted",
    "PlantedScores",
    "RetrainedRow",
    "RetrainedTops",
    "Rosetta",
    "TextureSensitivity",
    "VerifiedLabels",
    "ablated_bands",
    "adversarial",
    "attack",
    "attacked_again",
    "axis_alignment",
    "band_losses",
    "by_formulas",
    "by_iou",
    "by_similarity",
    "by_texts",
    "clearest_combinations",
    "discrimination",
    "dissected_at_hand",
    "embedded_discrimination",
    "explain_by_svm",
    "explain_predictions",
    "fractional_rotation",
    "important_pairs",
    "iou_by_classes",
    "iou_by_importance",
    "linear_predictions",
    "matching_units",
    "mean_importance",
    "most_important",
    "networks_at_hand",
    "small_dissections",
    "overlapping_combinations",
    "peak_correlation",
    "plant",
    "random_rotation",
    "rank_correlation",
    "retrain_top",
    "retrained_tops",
    "rosetta",
    "rosetta_permuted",
    "rotation_error",
    "score_labels",
    "sign_shares",
    "texture_sensitivity",
    "verified_labels",
    "with_noise",
]
