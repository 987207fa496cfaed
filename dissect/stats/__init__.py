"""Streaming statistics: states with `add`, `merge`, `state_dict`, `load_state_dict`, and readers.

All counts are integers, so any split, order or sharding of the same activations gives the same result.
"""

from dissect.stats.correlation import Correlation, pearson
from dissect.stats.frechet import frechet_distance
from dissect.stats.iou import IouTally, best_labels, iou
from dissect.stats.null import NullTally
from dissect.stats.peaks import Peaks
from dissect.stats.state import State
from dissect.stats.threshold import TailThreshold

__all__ = [
    "Correlation",
    "IouTally",
    "NullTally",
    "Peaks",
    "State",
    "TailThreshold",
    "best_labels",
    "frechet_distance",
    "iou",
    "pearson",
]
