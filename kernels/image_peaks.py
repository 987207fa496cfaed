"""image_peaks: one read of each map."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.launch import RUN_TIME, Maps, launch
from dissect.kernels.maps import find_peaks


@triton.jit(do_not_specialize=RUN_TIME)
def image_peaks_kernel(
    maps, peaks, status, num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr,
):  # fmt: skip
    """A program takes UNITS maps of one image."""
    blocks = tl.cdiv(num_units, UNITS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    units = tl.program_id(0) % blocks * UNITS + tl.arange(0, UNITS)
    highest = find_peaks(maps + image * stride_image, units, status, num_units, height, width,
                         stride_unit, stride_row, stride_column, POSITIONS, FLAT)  # fmt: skip
    highest = tl.where(highest == 0, 0.0, highest)  # a zero is always the positive one
    tl.store(peaks + image * num_units + units, highest, mask=units < num_units)


def image_peaks(activations: Tensor, status: Tensor) -> Tensor:
    """[N, U] float32; a map with a bad value sets `status` to 1."""
    maps = Maps(activations)
    peaks = torch.empty(activations.shape[:2], dtype=torch.float32, device=activations.device)
    launch(image_peaks_kernel, maps.num_programs, activations, peaks, status, *maps.shape_and_strides, **maps.tile)
    return peaks
