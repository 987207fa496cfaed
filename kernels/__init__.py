"""Triton kernels, one file per op; installed as `dissect.kernels`.

Each file's function of the op's name takes checked tensors on one device, and waits for nothing; `encode_labels`, the
size of whose result depends on the data, is a class of two steps. What is wrong with the data is noted in `status`, an
int32 on the device. `arithmetic`, `maps` and `cells` are what the kernels share, `launch` the host's side.
"""

from dissect.kernels.blend_units import blend_units, blend_units_, blend_units_backward
from dissect.kernels.encode_labels import Combinations
from dissect.kernels.image_peaks import image_peaks
from dissect.kernels.iou_counts import iou_counts, iou_counts_by_image
from dissect.kernels.tail_histogram import tail_histogram
from dissect.kernels.threshold_sweep import threshold_sweep
from dissect.kernels.upsample_argmax import upsample_argmax

__all__ = [
    "Combinations",
    "blend_units",
    "blend_units_",
    "blend_units_backward",
    "image_peaks",
    "iou_counts",
    "iou_counts_by_image",
    "tail_histogram",
    "threshold_sweep",
    "upsample_argmax",
]
