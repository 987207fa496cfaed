"""iou_counts_by_image: iou_counts, and what every unit and label share in each image by itself, sparse."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from dissect import reference
from dissect.grid import Grid
from dissect.ops import checks, gpu, native
from dissect.ops.dispatch import LIBRARY, register_shapes, select
from dissect.ops.encode_labels import EncodedLabels
from dissect.ops.iou_counts import (
    by_the_engine,
    check_status,
    check_thresholds,
    checked_tables,
    prepared,
)

#: Bytes of the counts that a GPU keeps before they become sparse.
WORKSPACE = 1 << 28


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
    activations: Tensor,
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
    A GPU is waited for, since the number of entries depends on the data, so no CUDA graph can capture this op; its
    workspace is 8 bytes per unit and label of an image, for so many images at a time as need at most 256 MB.

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
    labels, rows, columns = prepared("iou_counts_by_image", activations, thresholds, labels, num_labels, grid, backend)
    height, width = labels.size
    if height * width >= 1 << 31:
        raise ValueError(
            f"iou_counts_by_image: segmentations must have fewer than 2^31 pixels, but got {height} x {width}."
        )
    intersection, unit_area, entries, status = torch.ops.dissect.iou_counts_by_image(
        activations,
        thresholds,
        labels.runs,
        labels.table,
        labels.offsets,
        labels.num_labels,
        rows,
        columns,
        backend,
    )
    return ImageCounts(intersection, unit_area, labels.area, status, *entries.unbind())


LIBRARY.define(
    "iou_counts_by_image(Tensor activations, Tensor thresholds, Tensor runs, Tensor table, Tensor offsets, "
    "int num_labels, Tensor? rows, Tensor? columns, str backend) -> (Tensor, Tensor, Tensor, Tensor)"
)


def _iou_counts_by_image(
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor | None,
    columns: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chosen = select("iou_counts_by_image", backend, activations.device)
    rows, columns = checked_tables(
        "iou_counts_by_image", activations, thresholds, runs, table, offsets, num_labels, rows, columns
    )
    status = gpu.new_status(activations.device)
    arguments = (activations, thresholds, runs, table, offsets, num_labels, rows, columns)
    kernels = gpu.kernels(chosen)
    if kernels is not None:
        return *by_kernels(kernels, *arguments, status), status
    check_thresholds("iou_counts_by_image", thresholds)
    if chosen == "reference":
        checks.finite("iou_counts_by_image", activations)
        planes = reference.decode_labels(runs, table, offsets)
        counts = reference.iou_counts_by_image(activations, thresholds, planes, num_labels, rows, columns)
        return *counts, status
    intersection, unit_area, found = by_the_engine(native.engine().iou_counts_by_image, *arguments)
    if found is None:
        checks.finite("iou_counts_by_image", activations)  # finds and names the first one
    entries = torch.empty(4, found.size(), dtype=torch.int32)
    found.write(entries.data_ptr(), torch.get_num_threads())
    return intersection, unit_area, entries, status


def by_kernels(
    kernels: ModuleType,
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor,
    columns: Tensor,
    status: Tensor,
    workspace: int = WORKSPACE,
) -> tuple[Tensor, Tensor, Tensor]:
    """The intersection, unit_area and entries by iou_counts' own kernels, for which each image has labels of its own.

    The same label in two images is two labels to them, so one launch counts many images, each by itself: [U, P] for P
    pairs of an image and a label that it carries. Images are taken so many at a time as need `workspace` bytes for
    that, or one.
    """
    num_images, num_units = activations.shape[:2]
    intersection = activations.new_zeros((num_units, num_labels), dtype=torch.int64)
    image_of_row = torch.repeat_interleave(offsets.diff(), output_size=len(table))
    carries = torch.zeros(num_images, num_labels, dtype=torch.bool, device=table.device)
    carries[image_of_row[:, None], table.long()] = True
    carries[:, 0] = False
    pairs = carries.sum(1)  # of an image and a label
    areas, entries = [], [torch.zeros(4, 0, dtype=torch.int32, device=table.device)]
    for begin, end in _chunks(pairs.tolist(), workspace // (8 * max(1, num_units))):
        images, labels = carries[begin:end].nonzero(as_tuple=True)
        number = carries[begin:end].flatten().cumsum(0).int().view(end - begin, num_labels) * carries[begin:end]
        numbers = number[(image_of_row - begin).clamp(0, end - begin - 1)[:, None], table.long()]
        by_pair, area = kernels.iou_counts(
            activations[begin:end],
            thresholds,
            runs[begin:end],
            numbers,
            offsets[begin : end + 1],
            len(images) + 1,
            rows,
            columns,
            status,
        )
        areas.append(area)
        by_pair = by_pair[:, 1:]
        intersection.index_add_(1, labels, by_pair)
        units, pair = by_pair.nonzero(as_tuple=True)
        # Within an image and a unit they are in the order of the labels already.
        order = (images[pair] * num_units + units).argsort(stable=True)
        units, pair = units[order], pair[order]
        entries.append(torch.stack([images[pair] + begin, units, labels[pair], by_pair[units, pair]]).int())
    unit_area = torch.cat(areas) if areas else activations.new_zeros((num_images, num_units), dtype=torch.int64)
    return intersection, unit_area, torch.cat(entries, 1)


def _chunks(sizes: list[int], most: int) -> list[tuple[int, int]]:
    """Neighbours whose sizes add up to at most so much, or that are alone."""
    chunks: list[tuple[int, int]] = []
    begin = total = 0
    for end, size in enumerate(sizes):
        if total + size > most and end > begin:
            chunks.append((begin, end))
            begin, total = end, 0
        total += size
    return [*chunks, (begin, len(sizes))] if sizes else []


def _iou_counts_by_image_fake(
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor | None,
    columns: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_images, num_units = activations.shape[:2]
    return (
        activations.new_empty((num_units, num_labels), dtype=torch.int64),
        activations.new_empty((num_images, num_units), dtype=torch.int64),
        activations.new_empty((4, torch.library.get_ctx().new_dynamic_size()), dtype=torch.int32),
        activations.new_empty((), dtype=torch.int32),
    )


for _key in ("CPU", "CUDA"):
    LIBRARY.impl("iou_counts_by_image", _iou_counts_by_image, _key)
register_shapes("iou_counts_by_image", _iou_counts_by_image_fake)
