"""The public primitives: each checks its arguments, chooses a backend, and is registered with torch.library.

Beside the public names, `checks`, `narrow`, `observe` and `takes_hot_cells` are for the library itself.
"""

from dissect.ops import checks as checks
from dissect.ops.backends.arguments import new_status
from dissect.ops.blend_units import blend_units
from dissect.ops.component_halves import component_halves
from dissect.ops.dispatch import (
    BackendUnavailableError,
    BackendWarning,
    backends,
    home,
    record_backends,
    serving_device,
)
from dissect.ops.dispatch import takes_hot_cells as takes_hot_cells
from dissect.ops.encode_labels import EncodedLabels, Encoding, encode_labels
from dissect.ops.filter_step import filter_step
from dissect.ops.formula_search import BestFormulas, formula_search
from dissect.ops.hot import HotCells
from dissect.ops.hot_cells import hot_cells
from dissect.ops.image_peaks import image_peaks
from dissect.ops.iou_counts import IouCounts, iou_counts
from dissect.ops.iou_counts_by_image import ImageCounts, iou_counts_by_image
from dissect.ops.narrow import narrow as narrow
from dissect.ops.observe import Observation as Observation
from dissect.ops.observe import observe as observe
from dissect.ops.tail_histogram import tail_histogram
from dissect.ops.threshold_sweep import SweepCounts, threshold_sweep
from dissect.ops.upsample_argmax import upsample_argmax

__all__ = [
    "BackendUnavailableError",
    "BackendWarning",
    "BestFormulas",
    "EncodedLabels",
    "Encoding",
    "HotCells",
    "ImageCounts",
    "IouCounts",
    "SweepCounts",
    "backends",
    "blend_units",
    "component_halves",
    "encode_labels",
    "filter_step",
    "formula_search",
    "home",
    "hot_cells",
    "image_peaks",
    "iou_counts",
    "iou_counts_by_image",
    "new_status",
    "record_backends",
    "serving_device",
    "tail_histogram",
    "threshold_sweep",
    "upsample_argmax",
]
