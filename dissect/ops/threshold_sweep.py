"""threshold_sweep: what iou_counts counts, at many thresholds per unit in one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import checks
from dissect.ops.backends.arguments import Labels, new_status
from dissect.ops.dispatch import implementation, register
from dissect.ops.encode_labels import EncodedLabels
from dissect.ops.iou_counts import check_status, checked_labels_and_tables, prepared


class SweepCounts(NamedTuple):
    """Counts at every edge, as histograms: bin b holds the pixels that exceed edge b, and no higher one.

    Attributes:
        bins: [U, C, B] int64, over the batch and what `bins` held before it; row 0 ("no label") is not counted.
        unit_bins: [N, U, B] int64, of all pixels, per image.
        label_area: [N, C] int64, pixels that carry each label, per image; column 0 is 0. As `iou_counts`.
        status: [] int32, 0, or 1 where the batch held bad data; only on a GPU, since a CPU raises. As `iou_counts`.
    """

    bins: Tensor
    unit_bins: Tensor
    label_area: Tensor
    status: Tensor

    @property
    def intersection(self) -> Tensor:
        """[U, C, B] int64: at edge b what `iou_counts` counts at threshold ``edges[:, b]``."""
        return above_edges(self.bins)

    @property
    def unit_area(self) -> Tensor:
        """[N, U, B] int64: pixels where each unit exceeds edge b, per image."""
        return above_edges(self.unit_bins)

    def check(self) -> SweepCounts:
        """Returns itself, or raises ValueError where `status` tells of bad data. Waits for the device."""
        check_status("threshold_sweep", self.status)
        return self


def above_edges(bins: Tensor) -> Tensor:
    """What exceeds each edge, of what exceeds it and no higher one: sums along the last dimension from its end.

    Example:
        >>> above_edges(torch.tensor([3, 0, 2]))
        tensor([5, 2, 2])
    """
    return bins.flip(-1).cumsum(-1).flip(-1)


def threshold_sweep(
    activations: Tensor,
    edges: Tensor,
    labels: EncodedLabels | Tensor,
    num_labels: int | None = None,
    *,
    bins: Tensor | None = None,
    grid: Grid | None = None,
    backend: str = "auto",
) -> SweepCounts:
    """What `iou_counts` counts, at each of B thresholds per unit, in one pass over the maps.

    Equivalent to::

        exceeded = (upsample(activations, grid)[:, :, None] > edges[:, :, None, None]).sum(2)
        bins[u, c, b] += sum over n, y, x of (exceeded[n, u, y, x] == b + 1) and carries[n, c, y, x]

    so that ``threshold_sweep(...).intersection[:, :, b]`` is ``iou_counts(..., edges[:, b]).intersection``. Every
    backend gives the same bits. Choose the lowest edge so that few pixels exceed it (5 %): the others cost nothing, and
    each that does costs a search among the edges and one count.

    Memory: 8 * U * C * B bytes for `bins`, which is what grows: 512 units, 1,300 labels and 64 edges take 340 MB. Where
    that is too much, take some of the units at a time: ``activations[:, a:b]``, ``edges[a:b]``. Beside them 8 * N * U *
    B bytes for `unit_bins`, and on a CPU per thread 4 * B bytes per combination of labels of the image that has most.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides.
        edges: [U, B] float32, B >= 1, each row rising (equal neighbours and infinities are allowed).
        labels: what `encode_labels` gave, or integer planes [N, K, H, W] with 0 for "no label"; fewer than 2^31 pixels
            per image.
        num_labels: C, label 0 included; needed for planes, read from encoded labels.
        bins: [U, C, B] int64, contiguous, of earlier batches: added to. New ones by default.
        grid: how the maps are sampled at [H, W]; half-pixel centres and edge border by default.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Raises:
        TypeError, ValueError: as `iou_counts`; edges are NaN or fall, or bins are of another kind (on a CPU before
            anything is counted; on a GPU the edges' and the activations' values set `status` instead).
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> maps = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
        >>> planes = torch.tensor([[[[1, 1, 1, 2]]]], dtype=torch.int16)
        >>> counts = dissect.ops.threshold_sweep(maps, torch.tensor([[0.5, 1.5]]), planes, num_labels=3)
        >>> counts.bins.tolist(), counts.intersection.tolist()
        ([[[0, 0], [1, 1], [0, 1]]], [[[0, 0], [2, 1], [1, 1]]])
    """
    checks.activations("threshold_sweep", activations)
    _check_edges(edges, activations)
    area, encoded, tables = prepared("threshold_sweep", activations, edges[:, 0], labels, num_labels, grid, backend)
    _check_size(encoded.runs)
    if bins is None:
        bins = torch.zeros(len(edges), encoded.num_labels, edges.shape[1], dtype=torch.int64, device=edges.device)
    _check_bins(bins, edges, encoded.num_labels)
    names, values = ("bins", "activations", "edges", "labels"), (bins, activations, edges, encoded.runs)
    checks.apart("threshold_sweep", names, values, num_written=1)
    unit_bins, status = torch.ops.dissect.threshold_sweep(activations, edges, bins, *encoded, *tables, backend)
    return SweepCounts(bins, unit_bins, area, status)


def _check_edges(edges: Tensor, activations: Tensor) -> None:
    units = activations.shape[1]
    checks.tensor("threshold_sweep", "edges", edges, "a torch.float32 tensor")
    if edges.dtype != torch.float32:
        raise TypeError(f"threshold_sweep: edges must be a torch.float32 tensor, but got {edges.dtype}.")
    if edges.ndim != 2 or edges.shape[0] != units or edges.shape[1] < 1:
        raise ValueError(
            f"threshold_sweep: edges must have shape [U, B] with U={units} (from activations) and B >= 1, but got "
            f"{list(edges.shape)}."
        )
    checks.same_device("threshold_sweep", "edges", edges, activations)


def _check_bins(bins: Tensor, edges: Tensor, num_labels: int) -> None:
    checks.same_device("threshold_sweep", "bins", bins, edges, owner="edges")
    checks.laid_out("threshold_sweep", "bins", bins, torch.int64, (len(edges), num_labels, edges.shape[1]))
    checks.written("threshold_sweep", "bins", bins)


def _check_size(runs: Tensor) -> None:
    height, width = runs.shape[1:]
    if height * width >= 1 << 31:
        raise ValueError(
            f"threshold_sweep: segmentations must have fewer than 2^31 pixels, but got {height} x {width}."
        )


def _threshold_sweep(
    activations: Tensor,
    edges: Tensor,
    bins: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor | None,
    columns: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    serve = implementation("threshold_sweep", backend, activations.device)
    checks.activations("threshold_sweep", activations)
    _check_edges(edges, activations)
    labels = Labels(runs, table, offsets, num_labels)
    tables = checked_labels_and_tables("threshold_sweep", activations, edges[:, 0], labels, rows, columns)
    _check_size(runs)
    _check_bins(bins, edges, num_labels)
    status = new_status(activations.device)
    return serve(activations, edges, bins, labels, tables, status), status


def _shapes(activations: Tensor, edges: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    unit_bins = activations.new_empty((*activations.shape[:2], edges.shape[1]), dtype=torch.int64)
    return unit_bins, activations.new_empty((), dtype=torch.int32)


register(
    "threshold_sweep(Tensor activations, Tensor edges, Tensor(a!) bins, Tensor runs, Tensor table, Tensor offsets, "
    "int num_labels, Tensor? rows, Tensor? columns, str backend) -> (Tensor, Tensor)",
    _threshold_sweep,
    _shapes,
)
