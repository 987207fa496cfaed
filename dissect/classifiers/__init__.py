"""What single units do for a classifier: which classes lose accuracy when units are removed."""

from dissect.classifiers.importance import ImportanceRow, UnitImportance, UnitRow
from dissect.classifiers.probe import unit_importance
from dissect.classifiers.sets import SetRow, UnitSets, unit_sets
from dissect.stats.classes import ClassTally, one_vs_rest_auc

__all__ = [
    "ClassTally",
    "ImportanceRow",
    "SetRow",
    "UnitImportance",
    "UnitRow",
    "UnitSets",
    "one_vs_rest_auc",
    "unit_importance",
    "unit_sets",
]
