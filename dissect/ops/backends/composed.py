"""Ops that are made of other functions of the same backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect.ops.backends.arguments import Blend, Brackets, Labels, Tables
from dissect.ops.hot import HotCells
from dissect.subnormals import keeps_subnormals

#: Bytes of the counts that a GPU keeps before they become sparse.
WORKSPACE = 1 << 28


#: Adds to counts [P * U] int32, an image's [U, its labels] after the other's, and returns the unit_area; of a table of
#: labels' numbers within their image, and of starts [N + 1], where each image's begin among all P.
#: Maps come first, or hot cells where the backend takes them.
CountImages = Callable[[Any, Tensor, Labels, Tables, Tensor, Tensor, Tensor], Tensor]
CountsOfImages = Callable[[Any, Tensor, Labels, Tables, Tensor], tuple[Tensor, Tensor, Tensor]]
Observes = Callable[[Tensor, Brackets, Tensor | None, Blend | None, Tensor], tuple[Tensor, Tensor]]


def in_turn(
    tail_histogram: Callable[[Tensor, Brackets, Tables | None, str, Tensor | None], None],
    image_peaks: Callable[[Tensor, Tensor | None], Tensor],
    blend_units_: Callable[[Tensor, Blend], None],
) -> Observes:
    """A backend's `observe`, by one of its ops after the other."""

    def observe(
        activations: Tensor, brackets: Brackets, thresholds: Tensor | None, blend: Blend | None, status: Tensor
    ) -> tuple[Tensor, Tensor]:
        tail_histogram(activations, brackets, None, "value", status)
        peaks = image_peaks(activations, status)
        unit_area = torch.zeros(activations.shape[:2], dtype=torch.int64, device=activations.device)
        if thresholds is not None:
            unit_area = _firing_cells(activations, thresholds)
        if blend is not None:
            blend_units_(activations, blend)
        return peaks, unit_area

    return observe


@keeps_subnormals
def _firing_cells(activations: Tensor, thresholds: Tensor) -> Tensor:
    return (activations.float() > thresholds[:, None, None]).sum((2, 3))


def by_image(count_images: CountImages, workspace: int = WORKSPACE) -> CountsOfImages:
    """A GPU's `iou_counts_by_image`, by a kernel that counts the labels of each image apart.

    The labels that an image carries are numbered from 1 within it, so that its counts have no room for others. One
    launch counts all images, and one scan finds the counts that are not 0, which the host waits for; or so many images
    at a time as need `workspace` bytes, or one.
    """

    def iou_counts_by_image(
        activations: Tensor | HotCells, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (num_images, num_units), num_labels = activations.shape[:2], labels.num_labels
        carried = _Carried.of(labels)
        intersection = thresholds.new_zeros((num_units, num_labels), dtype=torch.int64)
        unit_area = thresholds.new_zeros((num_images, num_units), dtype=torch.int64)
        entries = [torch.zeros(4, 0, dtype=torch.int32, device=activations.device)]
        for begin, end, pairs in carried.blocks(workspace // (4 * max(1, num_units))):
            starts = carried.starts[begin : end + 1] - carried.starts[begin]
            counts = thresholds.new_zeros(num_units * pairs, dtype=torch.int32)
            own = Labels(labels.runs[begin:end], carried.table, labels.offsets[begin : end + 1], num_labels)
            unit_area[begin:end] = count_images(activations[begin:end], thresholds, own, tables, starts, counts, status)
            places = counts.nonzero()[:, 0]
            images = torch.searchsorted(starts * num_units, places, right=True) - 1
            within, sizes = places - starts[images] * num_units, starts.diff()[images]
            units, numbers = within // sizes, carried.labels[carried.starts[begin] + starts[images] + within % sizes]
            pixels = counts[places]
            intersection.view(-1).index_add_(0, units * num_labels + numbers, pixels.long())
            entries.append(torch.stack([images + begin, units, numbers, pixels]).int())
        return intersection, unit_area, torch.cat(entries, 1)

    return iou_counts_by_image


class _Carried(NamedTuple):
    """The labels that each image carries, in order.

    Attributes:
        table: [T, K] int32, `Labels.table` with a label's number within its image, from 1, in its place.
        starts: [N + 1] int64, where each image's begin in `labels`.
        labels: [P] int64, of all images; what lies beyond is of none.
    """

    table: Tensor
    starts: Tensor
    labels: Tensor

    @staticmethod
    def of(labels: Labels) -> _Carried:
        """Those of encoded labels; nothing is waited for."""
        table, offsets, places = labels.table, labels.offsets, labels.table.long()
        images = torch.repeat_interleave(offsets.diff(), output_size=len(table))[:, None]
        carries = torch.zeros(len(offsets) - 1, labels.num_labels, dtype=torch.bool, device=table.device)
        carries[images, places] = True
        carries[:, 0] = False
        numbers = carries.cumsum(1, dtype=torch.int32)
        starts, own = pad(numbers[:, -1].cumsum(0), (1, 0)), numbers[images, places]
        most = min(carries[:, 1:].numel(), table.numel())  # each has an entry of the table
        found = torch.zeros(most + 1, dtype=torch.int64, device=table.device)
        found.scatter_(0, torch.where(own > 0, starts[images] + own - 1, most).flatten(), places.flatten())
        return _Carried(own, starts, found[:most])

    def blocks(self, most: int) -> list[tuple[int, int, int]]:
        """Images from begin to end, and for how many labels they need room: at most so many, or those of one image.

        Where there is room for all, nobody waits to know how many there are.
        """
        num_images, bound = len(self.starts) - 1, len(self.labels)
        if num_images <= 1 or bound <= most:
            return [(0, num_images, bound)] if num_images else []
        starts = self.starts.tolist()
        blocks, begin = [], 0
        for end in range(1, num_images + 1):
            if end == num_images or starts[end + 1] - starts[begin] > most:
                blocks.append((begin, end, starts[end] - starts[begin]))
                begin = end
        return blocks


class EncodedAtOnce:
    """Labels that are encoded whole in the second step, since nobody is waited for."""

    def __init__(self, encode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self._encode = encode
        self.size = torch.zeros(2, dtype=torch.int64, device="cpu")

    def write(self, num_rows: int, runs: Tensor, label_area: Tensor) -> tuple[Tensor, Tensor]:
        """Writes runs and areas; returns the table and the offsets."""
        return self._encode(runs, label_area)
