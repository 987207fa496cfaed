"""Encoded labels as files keep them: their runs alone, in the narrowest types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dissect.ops.encode_labels import EncodedLabels
from dissect.reference.encode_labels import RUN_SHIFTS, run_dtype

#: From narrow to wide, as files can hold them.
_TYPES = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True)
class PackedLabels:
    """The `EncodedLabels` of some images in a few percent of their memory; both say the same.

    Made by `pack`. What comes from elsewhere is checked, since kernels trust what is unpacked.

    Attributes:
        last: [R] uint8, int16 or int32: the last column of each run of equal combinations, row by row, image by image.
        numbers: [R] of one of these types: the run's combination, among its image's.
        table: [T, K] of one of these types: the labels of every combination, image after image.
        runs: [N] int32: how many runs each image has.
        rows: [N] int32: how many combinations.
        size: (H, W).
        num_labels: C.

    Raises:
        ValueError: fields that are not what `pack` gives; says what.

    Example:
        >>> labels = dissect.ops.encode_labels(torch.tensor([[[[1, 1, 2], [0, 0, 0]]]]), num_labels=3)
        >>> packed = pack(labels)
        >>> packed.last.tolist(), packed.numbers.tolist(), packed.table.tolist()
        ([1, 2, 2], [1, 2, 0], [[0], [1], [2]])
        >>> torch.equal(packed.labels([0]).runs, labels.runs)
        True
    """

    last: Tensor
    numbers: Tensor
    table: Tensor
    runs: Tensor
    rows: Tensor
    size: tuple[int, int]
    num_labels: int

    def __post_init__(self) -> None:
        (height, width), rows = self.size, self.rows.long()
        _require(len(self.runs) == len(self.rows) and bool((self.runs >= 0).all()), "every image has its runs")
        _require(int(self.runs.sum()) == len(self.last) == len(self.numbers), "runs are those of the images")
        _require(bool((rows > 0).all()) and int(rows.sum()) == len(self.table), "rows are those of the images")
        last, numbers = self.last.long(), self.numbers.long()
        ends = last == width - 1
        begins = torch.cat([ends.new_ones(1), ends[:-1]]) if len(ends) else ends
        rising = torch.cat([last.new_full((1,), -1), last[:-1]])[: len(last)].masked_fill(begins, -1) < last
        whole = torch.cat([ends.new_zeros(1, dtype=torch.int64), ends.cumsum(0)])[self.runs.long().cumsum(0)]
        due = height * torch.arange(1, len(self) + 1)
        _require(bool(rising.all()) and bool((last < width).all()) and torch.equal(whole, due), "runs fill the images")
        most = rows.repeat_interleave(self.runs.long())
        _require(bool(((numbers >= 0) & (numbers < most)).all()), "numbers are rows of their image's table")
        inside = not self.table.numel() or 0 <= int(self.table.min()) <= int(self.table.max()) < self.num_labels
        _require(inside, f"labels lie in [0, {self.num_labels})")
        ordered = self.table.sort(1).values
        again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)
        _require(not bool(again.any()), "no combination has a label twice")

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for part in (self.last, self.numbers, self.table, self.runs, self.rows))

    def labels(self, images: Sequence[int]) -> EncodedLabels:
        """Of some images, in this order: the bits that `encode_labels` gave."""
        runs, rows = (np.concatenate([[0], part.numpy().cumsum(dtype=np.int64)]) for part in (self.runs, self.rows))
        last, numbers = (_taken(part.numpy(), runs, images) for part in (self.last, self.numbers))
        table = _taken(self.table.numpy(), rows, images).astype(np.int32)
        width, dtype = self.size[1], run_dtype(*self.size)
        ends = last.astype(np.int64) + 1
        begins = np.empty_like(ends)
        begins[:1], begins[1:] = 0, ends[:-1]
        begins[begins == width] = 0
        lengths = ends - begins
        words = numbers.astype(np.int64) | ends << RUN_SHIFTS[dtype]
        pixels = np.repeat(words.astype(np.int32) if dtype == torch.int32 else words, lengths)
        chosen = np.asarray(images, dtype=np.int64)
        offsets = np.concatenate([[0], (rows[chosen + 1] - rows[chosen]).cumsum()])
        own = numbers + np.repeat(offsets[:-1], runs[chosen + 1] - runs[chosen])
        inside = np.bincount(own, lengths, len(table))
        where = table + np.repeat(np.arange(len(chosen)) * self.num_labels, offsets[1:] - offsets[:-1])[:, None]
        area = np.bincount(where.ravel(), np.repeat(inside, table.shape[1]), len(chosen) * self.num_labels)
        area = area.astype(np.int64).reshape(len(chosen), self.num_labels)
        area[:, 0] = 0
        made = (pixels.reshape(len(chosen), *self.size), table, offsets, area)
        return EncodedLabels._trusted(*map(torch.from_numpy, made))


def pack(labels: EncodedLabels) -> PackedLabels:
    """The same labels in little memory; see `PackedLabels`."""
    shift = RUN_SHIFTS[labels.runs.dtype]
    words = labels.runs.cpu()
    starts = torch.ones_like(words, dtype=torch.bool)
    starts[..., 1:] = words[..., 1:] != words[..., :-1]
    flat = words[starts]
    last, numbers, table = map(_narrow, ((flat >> shift) - 1, flat & ((1 << shift) - 1), labels.table.cpu()))
    runs, rows = starts.flatten(1).sum(1).int(), labels.offsets.cpu().diff().int()
    return PackedLabels(last, numbers, table, runs, rows, labels.size, labels.num_labels)


def joined(parts: Sequence[PackedLabels]) -> PackedLabels:
    """Several as one, image after image; of one size, as many planes and labels."""
    whole = {
        name: torch.cat([getattr(part, name).int() for part in parts])
        for name in ("last", "numbers", "table", "runs", "rows")
    }
    narrow = {name: _narrow(whole[name]) for name in ("last", "numbers", "table")}
    return PackedLabels(**whole | narrow, size=parts[0].size, num_labels=parts[0].num_labels)


def _narrow(values: Tensor) -> Tensor:
    """In the narrowest type that holds them all."""
    most = int(values.max()) if values.numel() else 0
    return values.to(next(dtype for dtype in _TYPES if most <= torch.iinfo(dtype).max))


def _taken(values: np.ndarray, offsets: np.ndarray, images: Sequence[int]) -> np.ndarray:
    """The values of some images."""
    if list(images) == list(range(images[0], images[0] + len(images))):
        return values[offsets[images[0]] : offsets[images[-1] + 1]]
    return np.concatenate([values[offsets[image] : offsets[image + 1]] for image in images])


def _require(good: bool, rule: str) -> None:
    if not good:
        raise ValueError(f"PackedLabels: fields must be as pack gives them, where {rule}, but they are not.")
