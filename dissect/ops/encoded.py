"""Whether tensors are encoded labels, so that kernels can trust every number in them."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect import reference
from dissect.ops import checks
from dissect.reference.encode_labels import RUN_SHIFTS


def checked_labels(runs: Tensor, table: Tensor, offsets: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of `EncodedLabels`, contiguous.

    Raises:
        TypeError: one that is no plain tensor.
        ValueError: a dtype, shape, device or number that `encode_labels` would not give.
    """
    given = {"runs": runs, "table": table, "offsets": offsets, "area": area}
    for name, value in given.items():
        checks.same_device("EncodedLabels", name, value, runs, "runs")
    runs, table, offsets, area = (value.contiguous() for value in given.values())
    _require(runs.dtype in RUN_SHIFTS and runs.ndim == 3 and min(runs.shape[1:]) >= 1, "runs", runs)
    num_images, height, width = runs.shape
    narrow = reference.run_dtype(height, width) == torch.int32
    _require(narrow or runs.dtype == torch.int64, "runs", runs)
    _require(table.dtype == torch.int32 and table.ndim == 2 and table.shape[1] >= 1, "table", table)
    _require(offsets.dtype == torch.int64 and offsets.shape == (num_images + 1,), "offsets", offsets)
    _require(
        area.dtype == torch.int64 and area.ndim == 2 and len(area) == num_images and area.shape[1] >= 1, "area", area
    )
    check_runs(runs, table, offsets, area.shape[1])
    _check_area(runs, table, offsets, area)
    return runs, table, offsets, area


def check_runs(runs: Tensor, table: Tensor, offsets: Tensor, num_labels: int) -> None:
    """Refuses numbers that would lead a kernel astray; dtypes and shapes are as they must be.

    Raises:
        ValueError: a number that `encode_labels` would not give.
    """
    width = runs.shape[2]
    sizes = offsets.diff()
    if bool((sizes < 0).any()) or int(offsets[0]) < 0 or int(offsets[-1]) > len(table):
        raise ValueError(f"EncodedLabels: offsets must rise within the {len(table)} rows of the table, but do not.")
    if table.numel() and not 0 <= int(table.min()) <= int(table.max()) < num_labels:
        raise ValueError(f"EncodedLabels: table must hold labels in [0, {num_labels}), but does not.")
    ordered = table.sort(1).values
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any()):
        raise ValueError("EncodedLabels: table must not hold a label twice in a row, but does.")
    shift = RUN_SHIFTS[runs.dtype]
    numbers, ends = _numbers(runs), runs >> shift
    here = torch.arange(width, device=runs.device)
    goes_on = ends[..., :-1] > here[:-1] + 1
    good = bool((numbers < sizes[:, None, None]).all() and (ends > here).all() and (ends <= width).all())
    if not good or bool((goes_on & (runs[..., 1:] != runs[..., :-1])).any()):
        raise ValueError("EncodedLabels: runs must hold combinations of their image and where each ends, but do not.")


def _numbers(runs: Tensor) -> Tensor:
    return runs & ((1 << RUN_SHIFTS[runs.dtype]) - 1)


def _check_area(runs: Tensor, table: Tensor, offsets: Tensor, area: Tensor) -> None:
    # Pixels of each row of the table, then of each label in each image.
    rows = _numbers(runs).long() + offsets[:-1, None, None]
    pixels = rows.flatten().bincount(minlength=len(table))
    image = torch.searchsorted(offsets[1:].contiguous(), torch.arange(len(table), device=runs.device), right=True)
    inside = (pixels > 0).nonzero().flatten()
    expected = torch.zeros_like(area)
    places = image[inside][:, None].expand(-1, table.shape[1]), table[inside].long()
    expected.index_put_(places, pixels[inside][:, None].expand(-1, table.shape[1]), accumulate=True)
    expected[:, 0] = 0
    if not torch.equal(expected, area):
        raise ValueError("EncodedLabels: area must count each label's pixels in each image, but does not.")


def _require(good: bool, name: str, value: Tensor) -> None:
    if not good:
        raise ValueError(
            f"EncodedLabels: {name} must be as encode_labels gives it, but got {value.dtype} {list(value.shape)}."
        )
