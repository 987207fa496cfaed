"""What a generator leaves out (thesis, chapter 5): of the distribution of segmented objects, and of single images."""

from dissect.omissions.differences import DifferenceRow, omission_chart, omission_table
from dissect.omissions.distance import SegmentationDistance, fsd
from dissect.omissions.inversion import Inversion
from dissect.omissions.inverter import LayerInverter
from dissect.omissions.pairs import OmissionPairs, PairRow, omission_pairs
from dissect.omissions.published import load_encoder
from dissect.omissions.recovery import RecoveryRow, recovery
from dissect.omissions.statistics import SegmentationStatistics, segmentation_statistics

__all__ = [
    "DifferenceRow",
    "Inversion",
    "LayerInverter",
    "OmissionPairs",
    "PairRow",
    "RecoveryRow",
    "SegmentationDistance",
    "SegmentationStatistics",
    "fsd",
    "load_encoder",
    "omission_chart",
    "omission_pairs",
    "omission_table",
    "recovery",
    "segmentation_statistics",
]
