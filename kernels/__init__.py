"""Triton kernels, one file per op; installed as `dissect.kernels`.

Each file's function of the op's name takes checked tensors on one device. It waits for nothing, but for
`encode_labels`, the size of whose result depends on the data. What is wrong with the data it notes in `status`, an
int32 on the device. `arithmetic`, `maps` and `cells` are what the kernels share, `launch` the host's side.
"""

from dissect.kernels.blend_units import blend_units, blend_units_, blend_units_backward
from dissect.kernels.encode_labels import encode_labels
from dissect.kernels.image_peaks import image_peaks
from dissect.kernels.iou_counts import iou_counts
from dissect.kernels.tail_histogram import tail_histogram

__all__ = [
    "blend_units",
    "blend_units_",
    "blend_units_backward",
    "encode_labels",
    "image_peaks",
    "iou_counts",
    "tail_histogram",
]
