"""iou_counts_by_image: iou_counts, and what every unit and label share in each image by itself, sparse."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops.dispatch import register
from dissect.ops.encode_labels import EncodedLabels
from dissect.ops.hot import HotCells
from dissect.ops.iou_counts import ARGUMENTS, check_status, counted, iou_counts_shapes, prepared


class ImageCounts(NamedTuple):
    """Counts of one batch, in all and per image.

    The intersections per image are sparse: entry e says that in image `images[e]` unit `units[e]` fires on `counts[e]`
    pixels of label `labels[e]`. Each (image, unit, label) that shares a pixel has one entry, and no other has; entries
    are sorted by image, then unit, then label, so equal counts are equal tensors.

    Attributes:
        intersection: [U, C] int64, over the batch; column 0 ("no label") is 0. As `iou_counts`.
        unit_area: [N, U] int64, pixels where each unit fires, per image. As `iou_counts`.
        label_area: [N, C] int64, pixels that carry each label, per image; column 0 is 0. As `iou_counts`.
        status: [] int32, 0, or 1 where the batch held bad data; only on a GPU, since a CPU raises. As `iou_counts`.
        images: [E] int32, the image's place in the batch.
        units: [E] int32.
        labels: [E] int32, never 0.
        counts: [E] int32, never 0.
    """

    intersection: Tensor
    unit_area: Tensor
    label_area: Tensor
    status: Tensor
    images: Tensor
    units: Tensor
    labels: Tensor
    counts: Tensor

    def check(self) -> ImageCounts:
        """Returns itself, or raises ValueError where `status` tells of bad data. Waits for the device."""
        check_status("iou_counts_by_image", self.status)
        return self


def iou_counts_by_image(
    activations: Tensor | HotCells,
    thresholds: Tensor,
    labels: EncodedLabels | Tensor,
    num_labels: int | None = None,
    *,
    grid: Grid | None = None,
    backend: str = "auto",
) -> ImageCounts:
    """`iou_counts`, and the intersections of each image by itself, sparse, in the same pass over the maps.

    Equivalent to::

        counts = iou_counts(activations, thresholds, labels)
        per_image[n, u, c] = iou_counts(activations[n : n + 1], thresholds, labels[n : n + 1]).intersection[u, c]
        images, units, labels = per_image.nonzero(as_tuple=True)

    Every backend gives the same bits. Results of batches add up: move `images` by the images before, and put the
    entries one after the other. On a CPU it costs a few percent more than `iou_counts`; workspace 8 bytes per entry.
    A GPU is waited for once, since the number of entries depends on the data, so no CUDA graph can capture this op; its
    workspace is 4 bytes per unit and label that an image carries, at most 256 MB or those of one image. Where all
    images need more, they are taken so many at a time, with a wait each.

    Args:
        activations: as of `iou_counts`.
        thresholds: as of `iou_counts`.
        labels: as of `iou_counts`; fewer than 2^31 pixels per image.
        num_labels: as of `iou_counts`.
        grid: as of `iou_counts`.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Raises:
        TypeError, ValueError: as `iou_counts`; or a segmentation has 2^31 pixels or more.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> maps = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]], [[[1.0, 1.0], [0.0, 0.0]]]])
        >>> planes = torch.tensor([[[[1, 1, 2, 2]]], [[[1, 1, 2, 2]]]], dtype=torch.int16)
        >>> counts = dissect.ops.iou_counts_by_image(maps, torch.tensor([0.4]), planes, num_labels=3)
        >>> counts.intersection, counts.images, counts.labels, counts.counts
        (tensor([[0, 2, 4]]), tensor([0, 1, 1], dtype=torch.int32), ...)
    """
    area, encoded, tables = prepared("iou_counts_by_image", activations, thresholds, labels, num_labels, grid, backend)
    height, width = encoded.runs.shape[1:]
    if height * width >= 1 << 31:
        raise ValueError(
            f"iou_counts_by_image: segmentations must have fewer than 2^31 pixels, but got {height} x {width}."
        )
    op, hot = "iou_counts_by_image", isinstance(activations, HotCells)
    count = partial(counted, op) if hot else torch.ops.dissect.iou_counts_by_image
    intersection, unit_area, entries, status = count(activations, thresholds, *encoded, *tables, backend)
    return ImageCounts(intersection, unit_area, area, status, *entries.unbind())


def _shapes(activations: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    intersection, unit_area, status = iou_counts_shapes(activations, *arguments)
    entries = activations.new_empty((4, torch.library.get_ctx().new_dynamic_size()), dtype=torch.int32)
    return intersection, unit_area, entries, status


register(
    f"iou_counts_by_image({ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)",
    partial(counted, "iou_counts_by_image"),
    _shapes,
)
