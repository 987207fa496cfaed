"""The primitives in plain PyTorch: slow, short, and the specification that every other backend equals to the bit.

Nothing here uses lerp, addcmul or a compiler: those may fuse a multiplication with an addition, and then round once
where the sampling rule rounds twice.
"""

from dissect.reference.blend_units import blend_units, blend_units_backward
from dissect.reference.component_halves import component_halves
from dissect.reference.encode_labels import decode_labels, encode_labels, run_dtype
from dissect.reference.filter_step import filter_step
from dissect.reference.formula_search import formula_search
from dissect.reference.hot_cells import hot_cells
from dissect.reference.image_peaks import image_peaks
from dissect.reference.iou_counts import iou_counts, iou_counts_by_image
from dissect.reference.observe import observe
from dissect.reference.sampling import corners, upsample
from dissect.reference.tail_histogram import keys_of, tail_histogram, values_of
from dissect.reference.threshold_sweep import threshold_sweep
from dissect.reference.upsample_argmax import upsample_argmax

__all__ = [
    "blend_units",
    "blend_units_backward",
    "component_halves",
    "corners",
    "decode_labels",
    "encode_labels",
    "filter_step",
    "formula_search",
    "hot_cells",
    "image_peaks",
    "iou_counts",
    "iou_counts_by_image",
    "keys_of",
    "observe",
    "run_dtype",
    "tail_histogram",
    "threshold_sweep",
    "upsample",
    "upsample_argmax",
    "values_of",
]
