"""The public primitives: each checks its arguments, chooses a backend, and is registered with torch.library."""

from dissect.ops import checks
from dissect.ops.backends.arguments import new_status
from dissect.ops.blend_units import blend_units
from dissect.ops.dispatch import BackendUnavailableError, BackendWarning, backends, home, record_backends
from dissect.ops.encode_labels import EncodedLabels, encode_labels
from dissect.ops.image_peaks import image_peaks
from dissect.ops.iou_counts import IouCounts, iou_counts
from dissect.ops.iou_counts_by_image import ImageCounts, iou_counts_by_image
from dissect.ops.observe import Observation, observe
from dissect.ops.tail_histogram import tail_histogram

__all__ = [
    "BackendUnavailableError",
    "BackendWarning",
    "EncodedLabels",
    "ImageCounts",
    "IouCounts",
    "Observation",
    "backends",
    "blend_units",
    "checks",
    "encode_labels",
    "home",
    "image_peaks",
    "iou_counts",
    "iou_counts_by_image",
    "new_status",
    "observe",
    "record_backends",
    "tail_histogram",
]
