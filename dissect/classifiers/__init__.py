"""What single units do for a classifier: which classes lose accuracy when units are removed."""

from dissect.classifiers.importance import UnitImportance, UnitRow
from dissect.classifiers.tally import ClassTally, one_vs_rest_auc

__all__ = ["ClassTally", "UnitImportance", "UnitRow", "one_vs_rest_auc"]
