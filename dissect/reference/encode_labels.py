"""What depends on the label planes alone, computed once per data set."""

import torch
from torch import Tensor

#: How many low bits of a run hold the combination.
RUN_SHIFTS = {torch.int32: 17, torch.int64: 32}


def run_dtype(height: int, width: int) -> torch.dtype:
    """The narrowest type that holds every run of an image of this size."""
    return torch.int32 if height * width < 2**17 and width < 2**14 else torch.int64


def encode_labels(planes: Tensor, num_labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each pixel's labels as one combination, in runs along the rows, and the area of each label.

    The combinations of an image are numbered as they first occur, row by row; number 0 is that without any label.

    Args:
        planes: [N, K, H, W] integers in [0, num_labels); 0 is "no label".
        num_labels: C.

    Returns:
        runs: [N, H, W] of `run_dtype`; the pixel's combination in the low bits, in the high ones the first column after
            x with another combination, or W.
        table: [T, K] int32, the labels of every combination, image after image; a label that an earlier plane already
            says is replaced by 0.
        offsets: [N + 1] int64, where each image's combinations begin in the table.
        label_area: [N, C] int64; pixels that carry each label, 0 for label 0.
    """
    num_images, num_planes, height, width = planes.shape
    runs = torch.empty(num_images, height, width, dtype=run_dtype(height, width))
    label_area = torch.zeros(num_images, num_labels, dtype=torch.int64)
    tables = [torch.empty(0, num_planes, dtype=torch.int32)]
    for image in range(num_images):
        pixels = planes[image].to(torch.int32).flatten(1).T
        # The row of zeros comes first, so that it gets number 0.
        rows, number = torch.cat([pixels[:1] * 0, pixels]).unique(dim=0, return_inverse=True)
        first = torch.full((len(rows),), len(number)).scatter_reduce(0, number, torch.arange(len(number)), "amin")
        order = first.argsort()
        number = order.argsort()[number[1:]].view(height, width)
        tables.append(_without_repetitions(rows[order]))

        ends = torch.full_like(number, width)
        for x in range(width - 2, -1, -1):
            ends[:, x] = torch.where(number[:, x] == number[:, x + 1], ends[:, x + 1], x + 1)
        runs[image] = number | ends << RUN_SHIFTS[runs.dtype]

        areas = number.flatten().bincount(minlength=len(rows))
        label_area[image].index_add_(0, tables[-1].flatten().long(), areas.repeat_interleave(num_planes))
    label_area[:, 0] = 0
    offsets = torch.tensor([0] + [len(table) for table in tables[1:]]).cumsum(0)
    return runs, torch.cat(tables), offsets, label_area


def decode_labels(runs: Tensor, table: Tensor, offsets: Tensor) -> Tensor:
    """[N, K, H, W] int32: the planes again, but for labels that an earlier plane already says, which are 0."""
    rows = (runs & ((1 << RUN_SHIFTS[runs.dtype]) - 1)) + offsets[:-1, None, None]
    return table[rows].permute(0, 3, 1, 2).contiguous()


def _without_repetitions(rows: Tensor) -> Tensor:
    rows, given = rows.clone(), rows
    for later in range(1, rows.shape[1]):
        repeated = (given[:, :later] == given[:, later : later + 1]).any(1)
        rows[repeated, later] = 0
    return rows
