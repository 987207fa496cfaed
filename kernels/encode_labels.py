"""encode_labels: the combinations of labels of each image, found in a hash table in global memory.

An image's table holds pixels: a slot belongs to the combination of the pixel in it, and ends with the first pixel that
has that combination, whatever the order of the programs. The rank of that pixel among all first ones is the number of
the combination, so that the result has the reference's bits. Pixels without a label have no slot, and number 0.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.launch import launch

RUN_TIME = (
    "num_planes", "num_labels", "height", "width", "num_slots",
    "stride_image", "stride_plane", "stride_row", "stride_column",
)  # fmt: skip


@triton.jit
def load_labels(planes, plane, pixels, valid, width, stride_plane, stride_row, stride_column):
    """The labels of an image's pixels in one plane."""
    place = (pixels // width).to(tl.int64) * stride_row + (pixels % width).to(tl.int64) * stride_column
    return tl.load(planes + stride_plane.to(tl.int64) * plane + place, mask=valid, other=0)


@triton.jit
def same_labels(planes, one, other, valid, num_planes, width, stride_plane, stride_row, stride_column):
    """Whether two pixels have the same label in every plane."""
    same = valid
    for plane in range(0, num_planes):
        label = load_labels(planes, plane, one, valid, width, stride_plane, stride_row, stride_column)
        same = same & (
            label == load_labels(planes, plane, other, valid, width, stride_plane, stride_row, stride_column)
        )
    return same


@triton.jit(do_not_specialize=RUN_TIME)
def claim_slots_kernel(
    planes, slots, slot_of, status, num_planes, num_labels, height, width, num_slots,
    stride_image, stride_plane, stride_row, stride_column, BLOCK: tl.constexpr,
):  # fmt: skip
    """Finds each pixel's slot; `slots` [N, S] are -1 where free. A label out of range sets status to 1."""
    blocks = tl.cdiv(height * width, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    pixels = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    valid = pixels < height * width
    planes += image * stride_image
    slots += image * num_slots
    hashes = tl.zeros(pixels.shape, tl.uint32)
    labelled, num_bad = pixels < 0, tl.zeros(pixels.shape, tl.int32)
    for plane in range(0, num_planes):
        labels = load_labels(planes, plane, pixels, valid, width, stride_plane, stride_row, stride_column).to(tl.int64)
        num_bad += (valid & ((labels < 0) | (labels >= num_labels))).to(tl.int32)
        labelled = labelled | (labels != 0)
        hashes = (hashes ^ labels.to(tl.uint32)) * 0x9E3779B1
        hashes = hashes ^ (hashes >> 15)
    if tl.sum(num_bad) > 0:
        tl.store(status, 1)
    slot = (hashes & (num_slots - 1).to(tl.uint32)).to(tl.int32)
    pending = valid & labelled
    while tl.sum(pending.to(tl.int32)) > 0:
        owner = tl.load(slots + slot, mask=pending, other=0)
        free = pending & (owner == -1)
        if tl.sum(free.to(tl.int32)) > 0:
            # There is no mask for it: lanes that must not claim compare with what is never there.
            before = tl.atomic_cas(slots + slot, tl.where(free, -1, -2), pixels, sem="relaxed")
            owner = tl.where(free, tl.where(before == -1, pixels, before), owner)
        found = same_labels(planes, pixels, owner, pending, num_planes, width, stride_plane, stride_row, stride_column)
        tl.atomic_min(slots + slot, pixels, mask=found & (pixels < owner), sem="relaxed")
        pending = pending & ~found
        slot = tl.where(pending, (slot + 1) & (num_slots - 1), slot)
    tl.store(slot_of + image * height * width + pixels, tl.where(labelled, slot, num_slots), mask=valid)


@triton.jit(do_not_specialize=["num_pixels", "num_slots"])
def mark_firsts_kernel(slots, firsts, num_pixels, num_slots, BLOCK: tl.constexpr):
    """Writes 1 for each first pixel, into `firsts` [N, H * W] of zeros."""
    blocks = tl.cdiv(num_slots, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    slot = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    owner = tl.load(slots + image * num_slots + slot, mask=slot < num_slots, other=-1)
    tl.store(firsts + image * num_pixels + owner, 1, mask=owner >= 0)


@triton.jit(do_not_specialize=["height", "width", "num_slots"])
def write_runs_kernel(
    slots, slot_of, numbers, counts, runs, height, width, num_slots, RUN_BITS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Writes the runs of one row, from right to left, and adds their lengths to the counts of their slots."""
    row = tl.program_id(0).to(tl.int64)
    image = row // height
    slots += image * num_slots
    counts += image * num_slots
    numbers += image * height * width
    slot_of += row * width
    runs += row * width
    lanes = tl.arange(0, BLOCK)
    next_end = width
    for block in range(0, tl.cdiv(width, BLOCK)):
        x = (tl.cdiv(width, BLOCK) - 1 - block) * BLOCK + lanes
        here = tl.load(slot_of + x, mask=x < width, other=-1)
        ends_here = (x < width) & (here != tl.load(slot_of + x + 1, mask=x < width - 1, other=-1))
        ends = tl.where(ends_here, x + 1, next_end)
        end = tl.min(tl.where(lanes[None, :] >= lanes[:, None], ends[None, :], next_end), axis=1)
        next_end = tl.min(ends)
        labelled = (x < width) & (here < num_slots)
        first = tl.load(slots + here, mask=labelled, other=0)
        number = tl.load(numbers + first, mask=labelled, other=0)
        word = runs.dtype.element_ty
        tl.store(runs + x, number.to(word) | (end.to(word) << RUN_BITS), mask=x < width)
        starts = labelled & (here != tl.load(slot_of + x - 1, mask=labelled & (x > 0), other=-1))
        tl.atomic_add(counts + here, end - x, mask=starts, sem="relaxed")


@triton.jit(do_not_specialize=RUN_TIME)
def write_table_kernel(
    planes, slots, numbers, counts, offsets, table, label_area, num_planes, num_labels, height, width, num_slots,
    stride_image, stride_plane, stride_row, stride_column, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes each combination's labels, 0 for one that an earlier plane says, and adds its pixels to their areas."""
    blocks = tl.cdiv(num_slots, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    slot = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(slots + image * num_slots + slot, mask=slot < num_slots, other=-1)
    valid = first >= 0
    pixels = tl.load(counts + image * num_slots + slot, mask=valid, other=0).to(tl.int64)
    number = tl.load(numbers + image * height * width + first, mask=valid, other=0)
    rows = table + (tl.load(offsets + image) + number) * num_planes
    planes += image * stride_image
    for plane in range(0, num_planes):
        label = load_labels(planes, plane, first, valid, width, stride_plane, stride_row, stride_column).to(tl.int32)
        for earlier in range(0, plane):
            other = load_labels(planes, earlier, first, valid, width, stride_plane, stride_row, stride_column)
            label = tl.where(other.to(tl.int32) == label, 0, label)
        tl.store(rows + plane, label, mask=valid)
        tl.atomic_add(label_area + image * num_labels + label, pixels, mask=valid & (label > 0), sem="relaxed")


class Combinations:
    """The combinations of labels in the images of `planes`, looked for on the device; nobody waits for it.

    Attributes:
        size: [2] int64 on the device: how many combinations there are in all images, and 1 if a label is out of range.
    """

    def __init__(self, planes: Tensor, num_labels: int) -> None:
        num_images, num_planes, height, width = planes.shape
        num_pixels, num_slots = height * width, triton.next_power_of_2(height * width)
        self._planes, self._sizes = planes, (num_planes, num_labels, height, width, num_slots)
        self._new: dict[str, Any] = {"dtype": torch.int32, "device": planes.device}
        self._slots = torch.full((num_images, num_slots), -1, **self._new)
        self._slot_of = torch.empty(num_images, num_pixels, **self._new)
        firsts, status = torch.zeros(num_images, num_pixels, **self._new), torch.zeros((), **self._new)
        launch(claim_slots_kernel, num_images * -(-num_pixels // 256), planes, self._slots, self._slot_of, status,
               *self._sizes, *planes.stride(), BLOCK=256)  # fmt: skip
        over_slots = num_images * -(-num_slots // 256)
        launch(mark_firsts_kernel, over_slots, self._slots, firsts, num_pixels, num_slots, BLOCK=256)
        self._numbers = firsts.cumsum(1, dtype=torch.int32)
        counted = (self._numbers[:, -1].long() + 1).cumsum(0)
        self._offsets = torch.cat([counted.new_zeros(1), counted])
        self.size = torch.stack([self._offsets[-1], status.long()])

    def write(self, num_rows: int, runs: Tensor, label_area: Tensor) -> tuple[Tensor, Tensor]:
        """Writes `runs` [N, H, W], adds to `label_area` [N, C], and returns the table, of so many rows, and offsets."""
        num_planes, _, height, width, num_slots = self._sizes
        counts = torch.zeros_like(self._slots)
        run_bits = 17 if runs.element_size() == 4 else 32
        launch(write_runs_kernel, len(runs) * height, self._slots, self._slot_of, self._numbers, counts, runs,
               height, width, num_slots, RUN_BITS=run_bits, BLOCK=64)  # fmt: skip
        table = torch.zeros(num_rows, num_planes, **self._new)
        launch(write_table_kernel, len(runs) * -(-num_slots // 256), self._planes, self._slots, self._numbers, counts,
               self._offsets, table, label_area, *self._sizes, *self._planes.stride(), BLOCK=256)  # fmt: skip
        return table, self._offsets
