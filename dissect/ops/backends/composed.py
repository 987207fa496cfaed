"""Ops that are made of other functions of the same backend."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dissect.ops.backends.arguments import Blend, Brackets, Labels, Tables
from dissect.subnormals import keeps_subnormals

#: Bytes of the counts that a GPU keeps before they become sparse.
WORKSPACE = 1 << 28


CountsOfImages = Callable[[Tensor, Tensor, Labels, Tables, Tensor], tuple[Tensor, Tensor, Tensor]]
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


def image_by_image(
    iou_counts: Callable[[Tensor, Tensor, Labels, Tables, Tensor], tuple[Tensor, Tensor]], workspace: int = WORKSPACE
) -> CountsOfImages:
    """A GPU's `iou_counts_by_image`, by its `iou_counts`, for which each image has labels of its own.

    The same label in two images is two labels to it, so one launch counts many images, each by itself: [U, P] for P
    pairs of an image and a label that it carries. Images are taken so many at a time as need `workspace` bytes for
    that, or one.
    """

    def iou_counts_by_image(
        activations: Tensor, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        num_images, num_units = activations.shape[:2]
        runs, table, offsets, num_labels = labels
        intersection = activations.new_zeros((num_units, num_labels), dtype=torch.int64)
        image_of_row = torch.repeat_interleave(offsets.diff(), output_size=len(table))
        carries = torch.zeros(num_images, num_labels, dtype=torch.bool, device=table.device)
        carries[image_of_row[:, None], table.long()] = True
        carries[:, 0] = False
        pairs = carries.sum(1)  # of an image and a label
        areas, entries = [], [torch.zeros(4, 0, dtype=torch.int32, device=table.device)]
        for begin, end in _chunks(pairs.tolist(), workspace // (8 * max(1, num_units))):
            images, numbers = carries[begin:end].nonzero(as_tuple=True)
            own = carries[begin:end].flatten().cumsum(0).int().view(end - begin, num_labels) * carries[begin:end]
            own_table = own[(image_of_row - begin).clamp(0, end - begin - 1)[:, None], table.long()]
            own_labels = Labels(runs[begin:end], own_table, offsets[begin : end + 1], len(images) + 1)
            by_pair, area = iou_counts(activations[begin:end], thresholds, own_labels, tables, status)
            areas.append(area)
            by_pair = by_pair[:, 1:]
            intersection.index_add_(1, numbers, by_pair)
            units, pair = by_pair.nonzero(as_tuple=True)
            # Within an image and a unit they are in the order of the labels already.
            order = (images[pair] * num_units + units).argsort(stable=True)
            units, pair = units[order], pair[order]
            entries.append(torch.stack([images[pair] + begin, units, numbers[pair], by_pair[units, pair]]).int())
        unit_area = torch.cat(areas) if areas else activations.new_zeros((num_images, num_units), dtype=torch.int64)
        return intersection, unit_area, torch.cat(entries, 1)

    return iou_counts_by_image


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


class EncodedAtOnce:
    """Labels that are encoded whole in the second step, since nobody is waited for."""

    def __init__(self, encode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self._encode = encode
        self.size = torch.zeros(2, dtype=torch.int64, device="cpu")

    def write(self, num_rows: int, runs: Tensor, label_area: Tensor) -> tuple[Tensor, Tensor]:
        """Writes runs and areas; returns the table and the offsets."""
        return self._encode(runs, label_area)
