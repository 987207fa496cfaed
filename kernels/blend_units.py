"""blend_units, forward and backward: each element is read once and written once, or, in place, neither."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.arithmetic import narrow, widen
from dissect.kernels.launch import RUN_TIME, launch
from dissect.kernels.maps import at_position

OPERANDS = (
    "alpha_image", "alpha_unit", "value_image", "value_unit", "value_row", "value_column",
    "mask_image", "mask_row", "mask_column", "out_image", "out_unit", "out_row", "out_column",
)  # fmt: skip


@triton.jit
def locate(num_units, num_positions, UNITS: tl.constexpr, POSITIONS: tl.constexpr):
    """Which tile this program takes: its image, its units [UNITS], its positions [POSITIONS], the number of these."""
    unit_blocks, position_blocks = tl.cdiv(num_units, UNITS), tl.cdiv(num_positions, POSITIONS)
    block = tl.program_id(0) % position_blocks
    plane = tl.program_id(0) // position_blocks
    units = plane % unit_blocks * UNITS + tl.arange(0, UNITS)
    return (plane // unit_blocks).to(tl.int64), units, block * POSITIONS + tl.arange(0, POSITIONS), block


@triton.jit
def offsets_of(image, units, cells, stride_image, stride_unit):
    """[P, BU]."""
    return image * stride_image + units.to(tl.int64)[None, :] * stride_unit + cells[:, None]


@triton.jit
def share_of(alphas, masks):
    """Their product, and 0 where either is 0, whatever the other: infinity and NaN too."""
    return tl.where((alphas == 0.0) | (masks == 0.0), 0.0, alphas * masks)


@triton.jit(do_not_specialize=[*RUN_TIME, *OPERANDS])
def blend_units_kernel(
    features, out, alpha, value, mask,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    alpha_image, alpha_unit, value_image, value_unit, value_row, value_column, mask_image, mask_row, mask_column,
    out_image, out_unit, out_row, out_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr, IN_PLACE: tl.constexpr,
):  # fmt: skip
    """A program blends POSITIONS cells of UNITS maps of one image. IN_PLACE: where a is 0 nothing is touched."""
    image, units, positions, _ = locate(num_units, height * width, UNITS, POSITIONS)
    exist = (units < num_units)[None, :] & (positions < height * width)[:, None]
    alphas = tl.load(alpha + image * alpha_image + units * alpha_unit, mask=units < num_units, other=0.0)
    masks = tl.load(mask + image * mask_image + at_position(positions, width, mask_row, mask_column, FLAT),
                    mask=positions < height * width, other=0.0)  # fmt: skip
    a = share_of(alphas[None, :], masks[:, None])
    touched = exist & (a != 0.0) if IN_PLACE else exist
    cells = at_position(positions, width, stride_row, stride_column, FLAT)
    stored = tl.load(features + offsets_of(image, units, cells, stride_image, stride_unit), mask=touched, other=0.0)
    cells = at_position(positions, width, value_row, value_column, FLAT)
    values = tl.load(
        value + offsets_of(image, units, cells, value_image, value_unit), mask=exist & (a != 0.0), other=0.0
    )
    blended = tl.where(a == 1.0, values, a * values + (1.0 - a) * widen(stored))
    cells = at_position(positions, width, out_row, out_column, FLAT)
    blended = tl.where(a == 0.0, stored, narrow(blended, stored.dtype))
    tl.store(out + offsets_of(image, units, cells, out_image, out_unit), blended, mask=touched)


@triton.jit(
    do_not_specialize=[*RUN_TIME, *OPERANDS, "gradient_image", "gradient_unit", "gradient_row", "gradient_column"]
)
def blend_units_backward_kernel(
    gradient, features, alpha, value, mask, by_features, by_alpha, by_value,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    alpha_image, alpha_unit, value_image, value_unit, value_row, value_column, mask_image, mask_row, mask_column,
    out_image, out_unit, out_row, out_column, gradient_image, gradient_unit, gradient_row, gradient_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr, BY_PLANE: tl.constexpr,
):  # fmt: skip
    """The gradients of one tile. by_alpha [N, U, blocks] takes sums; so does by_value if BY_PLANE, else each cell."""
    num_positions = height * width
    image, units, positions, block = locate(num_units, num_positions, UNITS, POSITIONS)
    exist = (units < num_units)[None, :] & (positions < num_positions)[:, None]
    alphas = tl.load(alpha + image * alpha_image + units * alpha_unit, mask=units < num_units, other=0.0)
    masks = tl.load(mask + image * mask_image + at_position(positions, width, mask_row, mask_column, FLAT),
                    mask=positions < num_positions, other=0.0)[:, None]  # fmt: skip
    a = share_of(alphas[None, :], masks)
    cells = at_position(positions, width, stride_row, stride_column, FLAT)
    r = widen(tl.load(features + offsets_of(image, units, cells, stride_image, stride_unit), mask=exist, other=0.0))
    cells = at_position(positions, width, value_row, value_column, FLAT)
    values = tl.load(value + offsets_of(image, units, cells, value_image, value_unit), mask=exist, other=0.0)
    cells = at_position(positions, width, gradient_row, gradient_column, FLAT)
    g = widen(tl.load(gradient + offsets_of(image, units, cells, gradient_image, gradient_unit), mask=exist, other=0.0))
    cells = at_position(positions, width, out_row, out_column, FLAT)
    kept = tl.where(a == 1.0, 0.0, g * (1.0 - a))
    out = by_features + offsets_of(image, units, cells, out_image, out_unit)
    tl.store(out, narrow(kept, by_features.dtype.element_ty), mask=exist)
    blocks = tl.cdiv(num_positions, POSITIONS)
    sums = (image * num_units + units) * blocks + block
    by_a = tl.where(exist & (masks != 0.0), g * masks * (values - r), 0.0)
    tl.store(by_alpha + sums, tl.sum(by_a, axis=0), mask=units < num_units)
    by_v = tl.where(a == 0.0, 0.0, g * a)
    if BY_PLANE:
        tl.store(by_value + sums, tl.sum(by_v, axis=0), mask=units < num_units)
    else:
        cells = (image * num_units + units.to(tl.int64))[None, :] * num_positions + positions[:, None]
        tl.store(by_value + cells, by_v, mask=exist)


def _tile(features: Tensor, *operands: Tensor) -> dict[str, int]:
    """A program's tile; FLAT where the rows of all operands follow each other."""
    height, width = features.shape[2:]
    _, stride_unit, _, stride_column = features.stride()
    by_unit = height * width == 1 or stride_unit < stride_column
    flat = height == 1 or all(tensor.stride(2) == width * tensor.stride(3) for tensor in (features, *operands))
    return {"UNITS": 64 if by_unit else 1, "POSITIONS": 16 if by_unit else 1024, "FLAT": flat}


def _blocks(features: Tensor, tile: dict[str, int]) -> tuple[int, int]:
    """Programs in all, and per plane."""
    num_images, num_units, height, width = features.shape
    per_plane = -(-height * width // tile["POSITIONS"])
    return num_images * -(-num_units // tile["UNITS"]) * per_plane, per_plane


def _strides(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor, out: Tensor) -> tuple[int, ...]:
    """Sizes and strides, in the order of the kernels' arguments."""
    mask_strides = (mask.stride(0), mask.stride(2), mask.stride(3))
    return *features.shape[1:], *features.stride(), *alpha.stride()[:2], *value.stride(), *mask_strides, *out.stride()


def blend_units(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The blend; alpha, value and mask are float32 and broadcast to the features."""
    out = torch.empty_like(features)
    _blend(features, alpha, value, mask, out)
    return out


def blend_units_(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> None:
    """The same in place; what has a = 0 is neither read nor written."""
    _blend(features, alpha, value, mask, features)


def _blend(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor, out: Tensor) -> None:
    alpha, value, mask = (operand.expand_as(features) for operand in (alpha, value, mask))
    tile = _tile(features, value, mask, out)
    launch(blend_units_kernel, _blocks(features, tile)[0], features, out, alpha, value, mask,
           *_strides(features, alpha, value, mask, out), **tile, IN_PLACE=out is features, num_warps=4)  # fmt: skip


def blend_units_backward(
    gradient: Tensor, features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to features (in their dtype), alpha and value (in their shapes)."""
    shapes = alpha.shape, value.shape
    alpha, value, mask = (operand.expand_as(features) for operand in (alpha, value, mask))
    by_features = torch.empty_like(features)
    tile = _tile(features, value, mask, gradient, by_features)
    num_programs, per_plane = _blocks(features, tile)
    by_alpha = torch.empty(*features.shape[:2], per_plane, 1, dtype=torch.float32, device=features.device)
    by_plane = shapes[1][2:] == (1, 1)
    by_value = (
        torch.empty_like(by_alpha)
        if by_plane
        else torch.empty(features.shape, dtype=torch.float32, device=features.device)
    )
    launch(blend_units_backward_kernel, num_programs, gradient, features, alpha, value, mask, by_features, by_alpha,
           by_value, *_strides(features, alpha, value, mask, by_features), *gradient.stride(), **tile,
           BY_PLANE=by_plane, num_warps=4)  # fmt: skip
    return by_features, by_alpha.sum_to_size(shapes[0]), by_value.sum_to_size(shapes[1])
