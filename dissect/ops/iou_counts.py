"""iou_counts: pixels where units fire, and where units and labels meet."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import checks, known
from dissect.ops.backends.arguments import Labels, Tables, new_status
from dissect.ops.dispatch import has, register, serving
from dissect.ops.encode_labels import EncodedLabels, encode_labels
from dissect.ops.encoded import check_runs
from dissect.ops.hot import HotCells
from dissect.ops.hot_cells import check_floors, check_reach


class IouCounts(NamedTuple):
    """Counts of one batch.

    Attributes:
        intersection: [U, C] int64, over the batch; column 0 ("no label") is 0.
        unit_area: [N, U] int64, pixels where each unit fires, per image.
        label_area: [N, C] int64, pixels that carry each label, per image; column 0 is 0.
        status: [] int32, 0, or 1 + the number of the batch that held bad data (1 from this op, which sees one batch);
            only on a GPU, since a CPU raises.
    """

    intersection: Tensor
    unit_area: Tensor
    label_area: Tensor
    status: Tensor

    def check(self) -> IouCounts:
        """Returns itself, or raises ValueError where `status` tells of bad data. Waits for the device."""
        check_status("iou_counts", self.status)
        return self


def check_status(op: str, status: Tensor) -> None:
    """Refuses a status that tells of bad data. Waits for the device.

    Raises:
        ValueError: names the batch.
    """
    if int(status):
        raise ValueError(
            f"{op}: activations must be finite and below 2^126 in magnitude, and thresholds not NaN, "
            f"but batch {int(status) - 1} held others."
        )


def iou_counts(
    activations: Tensor | HotCells,
    thresholds: Tensor,
    labels: EncodedLabels | Tensor,
    num_labels: int | None = None,
    *,
    grid: Grid | None = None,
    backend: str = "auto",
) -> IouCounts:
    """The areas and intersections of units and labels, without materialising upsampled activations.

    Equivalent to::

        fires = upsample(activations, grid) > thresholds[:, None, None]
        carries[n, c] = (labels[n] == c).any(0)
        intersection[u, c] = sum over n, y, x of fires[n, u, y, x] and carries[n, c, y, x]

    Source: Bau et al. 2020, equation 1, in integers. Every backend gives the same bits (see `Grid` for the rule).
    Cost: reads each activation once; cells whose corners do not exceed the threshold cost one comparison. Workspace per
    thread: 16 padded float32 maps, and 12 bytes per combination of labels in an image; per image: 4 bytes per cell (the
    pixels between the same four source values), and 32 per cell of at most 16 pixels with several combinations.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides (channels-last included, without a copy); or
            `hot_cells` of them, with floors that thresholds do not lie below.
        thresholds: [U] float32; a unit fires strictly above its threshold.
        labels: what `encode_labels` gave, or integer planes [N, K, H, W] with 0 for "no label".
        num_labels: C, label 0 included; needed for planes, read from encoded labels.
        grid: how the maps are sampled at [H, W]; half-pixel centres and edge border by default.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Raises:
        TypeError: wrong dtypes; tensors of other kinds than plain ones; num_labels that is no integer.
        ValueError: shapes, devices or the grid disagree; thresholds are NaN; a label is outside [0, C); activations
            are NaN, infinite or of magnitude 2^126 or more (on a CPU before anything is counted; on a GPU thresholds
            and activations set `status` instead).
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> maps = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
        >>> planes = torch.tensor([[[[1, 1, 2, 2]]]], dtype=torch.int16)
        >>> counts = dissect.ops.iou_counts(maps, torch.tensor([0.5]), planes, num_labels=3)
        >>> counts.intersection, counts.unit_area
        (tensor([[0, 0, 2]]), tensor([[2]]))
    """
    area, encoded, tables = prepared("iou_counts", activations, thresholds, labels, num_labels, grid, backend)
    count = partial(counted, "iou_counts") if isinstance(activations, HotCells) else torch.ops.dissect.iou_counts
    intersection, unit_area, status = count(activations, thresholds, *encoded, *tables, backend)
    return IouCounts(intersection, unit_area, area, status)


def prepared(
    op: str,
    activations: Tensor | HotCells,
    thresholds: Tensor,
    labels: EncodedLabels | Tensor,
    num_labels: int | None,
    grid: Grid | None,
    backend: str,
) -> tuple[Tensor, Labels, tuple[Tensor | None, Tensor | None]]:
    """What an op that counts does first: the labels' area, the labels, the tables of the grid or None, all checked.

    Raises:
        TypeError, ValueError: as `iou_counts`.
    """
    checks.backend(op, backend)
    checks.activations(op, activations)
    checks.vector(op, "thresholds", thresholds, torch.float32, activations)
    labels = _encoded(op, labels, num_labels, backend, activations.device)
    if len(labels) != activations.shape[0]:
        raise ValueError(f"{op}: labels must be of N={activations.shape[0]} images, but got {len(labels)}.")
    for part in (labels.runs, labels.table, labels.offsets):
        checks.same_device(op, "labels", part, activations)
    if isinstance(activations, HotCells):
        check_floors(op, activations, thresholds, "thresholds")
        check_reach(op, activations, grid or Grid.half_pixel(activations.size, labels.size))
    encoded = Labels(labels.runs, labels.table, labels.offsets, labels.num_labels)
    return labels.area, encoded, checks.tables(op, grid, activations, labels.size)


def _encoded(
    op: str, labels: EncodedLabels | Tensor, num_labels: int | None, backend: str, device: torch.device
) -> EncodedLabels:
    if num_labels is not None:
        num_labels = checks.integer(op, "num_labels", num_labels, 1)
    if isinstance(labels, EncodedLabels):
        if num_labels not in (None, labels.num_labels):
            raise ValueError(f"{op}: num_labels must be the labels' {labels.num_labels}, but got {num_labels}.")
        return labels
    if num_labels is None:
        raise ValueError(f"{op}: num_labels must be given with label planes, but got None.")
    # Not each backend that counts has an encoder of its own.
    return encode_labels(labels, num_labels, backend=backend if has(backend, "encode_labels", device) else "auto")


def checked_labels_and_tables(
    op: str,
    activations: Tensor | HotCells,
    thresholds: Tensor,
    labels: Labels,
    rows: Tensor | None,
    columns: Tensor | None,
) -> Tables:
    """The tables of the grid that was given, or of the default, once all that goes with them can be trusted.

    What `EncodedLabels` were asked for when they were made is not asked for again.
    """
    runs, table = labels.runs, labels.table
    if activations.ndim != 4 or runs.ndim != 3 or table.ndim != 2 or not all((*activations.shape[2:], *runs.shape[1:])):
        raise ValueError(
            f"{op}: activations must be [N, U, h, w], runs [N, H, W] and table [T, K], but got "
            f"{list(activations.shape)}, {list(runs.shape)} and {list(table.shape)}."
        )
    source, target = (activations.shape[2], activations.shape[3]), (runs.shape[1], runs.shape[2])
    if rows is None or columns is None:
        grid = Grid.half_pixel(source, target)
        rows, columns = grid.rows, grid.columns
    if thresholds.dtype is not torch.float32 or thresholds.shape != activations.shape[1:2]:
        checks.laid_out(op, "thresholds", thresholds, torch.float32, (activations.shape[1],))
    _check_labels(op, activations, labels)
    for name, axis, length in (("rows", rows, target[0]), ("columns", columns, target[1])):
        checks.laid_out(op, name, axis, torch.int32, (length, 3))  # the engine looks at their numbers
    return Tables(rows, columns)


def _check_labels(op: str, activations: Tensor | HotCells, labels: Labels) -> None:
    """Of what `EncodedLabels` promises, and a call of torch.ops.dissect's may not keep."""
    runs, table, offsets, num_labels = labels
    checks.integer(op, "num_labels", num_labels, 1)
    num_images, laid_out = activations.shape[0], partial(checks.laid_out, op)
    laid_out("runs", runs, torch.int64 if runs.dtype is torch.int64 else torch.int32, (num_images, *runs.shape[1:]))
    laid_out("table", table, torch.int32, (len(table), table.shape[-1]))
    laid_out("offsets", offsets, torch.int64, (num_images + 1,))
    # On a GPU it would have to be waited for.
    if runs.is_cuda or known.is_known(runs, table, offsets, facts=(num_labels,)):
        return
    for name, value in (("runs", runs), ("table", table), ("offsets", offsets)):
        checks.same_device(op, name, value, activations)
    check_runs(runs, table, offsets, num_labels)
    known.remember(runs, table, offsets, facts=(num_labels,))


def counted(
    op: str,
    activations: Tensor | HotCells,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor | None,
    columns: Tensor | None,
    backend: str,
) -> tuple[Tensor, ...]:
    """What a backend's op of this name counts, and the status, last."""
    serve, activations = serving(op, backend, activations)
    labels = Labels(runs, table, offsets, num_labels)
    tables = checked_labels_and_tables(op, activations, thresholds, labels, rows, columns)
    status = new_status(activations.device)
    return *serve(activations, thresholds, labels, tables, status), status


def iou_counts_shapes(
    activations: Tensor, thresholds: Tensor, runs: Tensor, table: Tensor, offsets: Tensor, num_labels: int, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    """What the op gives of tensors without values."""
    return (
        activations.new_empty((activations.shape[1], num_labels), dtype=torch.int64),
        activations.new_empty(activations.shape[:2], dtype=torch.int64),
        activations.new_empty((), dtype=torch.int32),
    )


#: Of the ops that count.
ARGUMENTS = (
    "Tensor activations, Tensor thresholds, Tensor runs, Tensor table, Tensor offsets, int num_labels, "
    "Tensor? rows, Tensor? columns, str backend"
)
register(f"iou_counts({ARGUMENTS}) -> (Tensor, Tensor, Tensor)", partial(counted, "iou_counts"), iou_counts_shapes)
