"""The host's side of a launch: shapes and strides as run-time arguments, tiles, and the grids' tables on the device."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from dissect.devices import record_streams

#: What every kernel over maps takes after its pointers, and is never compiled for.
RUN_TIME = ("num_units", "height", "width", "stride_image", "stride_unit", "stride_row", "stride_column")


class Maps:
    """[N, U, h, w] maps as kernels take them, and how a program's tile lies on them."""

    def __init__(self, maps: Tensor) -> None:
        num_images, num_units, height, width = maps.shape
        _, stride_unit, stride_row, stride_column = maps.stride()
        # Neighbouring threads read neighbouring addresses: along the units of channels-last maps, else along the rows.
        by_unit = height * width == 1 or stride_unit < stride_column
        units, positions = (16, 16) if by_unit else (1, 256)
        self.shape_and_strides = (num_units, height, width, *maps.stride())
        flat = height == 1 or stride_row == width * stride_column
        self.tile = {"UNITS": units, "POSITIONS": positions, "FLAT": flat}
        self.num_programs = num_images * -(-num_units // units)


class AxisTable(NamedTuple):
    """One axis of a Grid on a device.

    Attributes:
        spans: [S, 4] int32; the targets [begin, end) = [2], [3] sample the source indices [0] and [1].
        weights: [T] float32, of the second source index.
        longest: targets in the longest span.
    """

    spans: Tensor
    weights: Tensor
    longest: int

    @staticmethod
    def of(table: Tensor, device: torch.device) -> AxisTable:
        """The table of `Grid.rows` or `Grid.columns` on the device; copied there once, as long as the grid lives."""
        by_device = _AXES.setdefault(table, {})
        if device not in by_device:
            by_device[device] = _axis_table(table, device)
        axis = by_device[device]
        record_streams(axis.spans, axis.weights)
        return axis


_AXES: MutableMapping[Tensor, dict[torch.device, AxisTable]] = WeakIdKeyDictionary()


def _axis_table(table: Tensor, device: torch.device) -> AxisTable:
    table = table.cpu()
    indices = table[:, :2]
    begin = torch.cat([torch.tensor([0]), (indices[1:] != indices[:-1]).any(1).nonzero().flatten() + 1])
    end = torch.cat([begin[1:], torch.tensor([len(table)])])
    spans = torch.cat([indices[begin], torch.stack([begin, end], 1)], 1).to(torch.int32).contiguous()
    weights = table[:, 2].contiguous().view(torch.float32)
    return AxisTable(spans.to(device), weights.to(device), int((end - begin).max()))


def tile_of(rows: AxisTable, columns: AxisTable) -> dict[str, int]:
    """How many cells are tested at a time, and the tiles of those that are sampled: of four sizes, for any grid."""
    longest = max(rows.longest, columns.longest)
    tile = next((size for size in (1, 4, 8) if longest <= size), 16)
    # Small blocks keep a program in few registers, so that more of them share a multiprocessor.
    return {"CELLS": 64, "GROUP": {1: 32, 4: 8, 8: 2, 16: 1}[tile], "TILE": tile}


def launch(kernel: Any, num_programs: int, *arguments: Any, num_warps: int = 1, **constants: Any) -> None:
    """Queues a kernel on the current stream of the first tensor's device. No operation is fused: see `arithmetic`."""
    if num_programs == 0:
        return
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[(num_programs,)](*arguments, **constants, num_warps=num_warps, enable_fp_fusion=False)
