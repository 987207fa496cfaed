"""Streaming statistics: states with `add`, `merge`, `state_dict`, `load_state_dict`, and readers.

All counts are integers, so any split, order or sharding of the same activations gives the same result.
"""

from dissect.stats.agreement import Agreement, average_precision
from dissect.stats.also_null import AlsoNull
from dissect.stats.combinations import CombinationTally
from dissect.stats.correlation import Correlation, pearson
from dissect.stats.formulas import Formula, FormulaSearch
from dissect.stats.frechet import FrechetReference, frechet_distance
from dissect.stats.grouped_correlation import GroupedCorrelation
from dissect.stats.iou import IouTally, best_labels, iou
from dissect.stats.map_correlation import MapCorrelation
from dissect.stats.null import NullTally
from dissect.stats.pairs import PairTally
from dissect.stats.peaks import Peaks
from dissect.stats.proportion import wilson_interval
from dissect.stats.raters import RaterAgreement, rater_agreement
from dissect.stats.sanity import activation_curves, curve_sanity_tests, sanity_tests
from dissect.stats.state import State
from dissect.stats.sweep import Informative, ThresholdSweep, edges_between
from dissect.stats.threshold import TailThreshold
from dissect.stats.wasserstein import pyramid_patches, sliced_wasserstein

__all__ = [
    "Agreement",
    "AlsoNull",
    "CombinationTally",
    "Correlation",
    "Formula",
    "FormulaSearch",
    "FrechetReference",
    "GroupedCorrelation",
    "Informative",
    "IouTally",
    "MapCorrelation",
    "NullTally",
    "PairTally",
    "Peaks",
    "RaterAgreement",
    "State",
    "TailThreshold",
    "ThresholdSweep",
    "activation_curves",
    "average_precision",
    "best_labels",
    "curve_sanity_tests",
    "edges_between",
    "frechet_distance",
    "iou",
    "pearson",
    "pyramid_patches",
    "rater_agreement",
    "sanity_tests",
    "sliced_wasserstein",
    "wilson_interval",
]
