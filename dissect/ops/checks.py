"""Checks that the ops share. Messages name the op, the argument, the rule, the value."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from dissect.grid import Grid
from dissect.ops import native
from dissect.ops.hot import HotCells

ACTIVATION_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LIMIT = 2.0**126


def tensor(op: str, name: str, value: object, rule: str = "a torch.Tensor") -> None:
    """Refuses what is no tensor, or one whose values do not lie in memory at strides.

    Raises:
        TypeError: says what it is, and how a numpy array becomes one.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.is_nested:
            raise TypeError(f"{op}: {name} must be a plain tensor of values, but got a {_kind_of(value)} one.")
        return
    kind = type(value)
    got, hint = kind.__name__, ""
    if kind.__module__ == "numpy":
        got, hint = f"numpy.{got}", "; torch.from_numpy makes one" if got == "ndarray" else ""
    raise TypeError(f"{op}: {name} must be {rule}, but got {got}{hint}.")


def _kind_of(value: Tensor) -> str:
    if value.is_nested:
        return "nested"
    if value.layout is not torch.strided:
        return f"{str(value.layout).removeprefix('torch.').removeprefix('_')} (its to_dense() is plain)"
    return "quantized (its dequantize() is plain)"


def on_a_device(op: str, name: str, value: Tensor) -> None:
    """Refuses a tensor on the meta device, which has no values; all others must be where it is.

    Raises:
        TypeError: it is there.
    """
    if value.is_meta:
        raise TypeError(f"{op}: {name} must hold values, but is on the meta device, which has none.")


def integer(op: str, name: str, value: object, least: int) -> int:
    """An integer of at least `least`.

    Raises:
        TypeError: no integer.
        ValueError: a smaller one.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be an integer, but got {value!r}.")
    number: Any = value if isinstance(value, torch.SymInt) else operator.index(value)
    if number < least:
        raise ValueError(f"{op}: {name} must be at least {least}, but got {number}.")
    whole: int = number
    return whole


def backend(op: str, value: object) -> None:
    """Refuses a backend that is no text.

    Raises:
        TypeError: says what it is.
    """
    if not isinstance(value, str):
        raise TypeError(f"{op}: backend must be the name of one, but got {value!r}.")


def laid_out(op: str, name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Refuses what an engine would read or write beyond its end: for calls that do not come by `dissect.ops`.

    Raises:
        ValueError: another dtype or shape, or not contiguous.
    """
    if value.dtype is not dtype or value.shape != shape or not value.is_contiguous():
        raise ValueError(
            f"{op}: {name} must be contiguous {dtype} {list(shape)}, but got {value.dtype} {list(value.shape)} with "
            f"strides {list(value.stride())}."
        )


def written(op: str, name: str, value: Tensor) -> None:
    """Refuses a tensor that cannot be written in place: elements that share memory, or that inference mode made.

    Raises:
        ValueError: says which.
    """
    if torch.compiler.is_compiling():
        return
    if value.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError(f"{op}: {name} must not be written outside inference mode, which made it; clone it.")
    if value.is_neg():
        raise ValueError(f"{op}: {name} must be a plain view, but is a negated one; its resolve_neg() is plain.")
    if value.is_contiguous():
        return
    reach = 0  # of all dimensions with smaller strides
    for stride, size in sorted((stride, size) for stride, size in zip(value.stride(), value.shape) if size > 1):
        if stride <= reach:
            raise ValueError(
                f"{op}: {name} to be written must own their memory, but they are expanded or overlap (shape "
                f"{list(value.shape)}, strides {list(value.stride())}); clone them."
            )
        reach += stride * (size - 1)


def apart(op: str, names: Sequence[str], values: Sequence[Tensor], num_written: int) -> None:
    """Refuses tensors that share memory with one of the first `num_written`, which are written.

    Raises:
        ValueError: names both.
    """
    if torch.compiler.is_compiling():
        return
    owners = [value.untyped_storage().data_ptr() for value in values]
    if all(owners.count(owner) == 1 for owner in owners[:num_written]):
        return
    spans = [_span_of(value) for value in values]
    for first in range(num_written):
        for second in range(first + 1, len(values)):
            if spans[first][0] < spans[second][1] and spans[second][0] < spans[first][1]:
                raise ValueError(
                    f"{op}: {names[first]} is written, so it must not share memory with {names[second]}; clone one."
                )


def _span_of(value: Tensor) -> tuple[int, int]:
    """Addresses from the first byte to the one after the last."""
    begin = value.data_ptr()
    reach = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride())) + 1
    return begin, begin + (reach * value.element_size() if value.numel() else 0)


def activations(op: str, value: Tensor | HotCells, name: str = "activations") -> None:
    """Refuses anything but [N, U, h, w] floating maps of at least 1x1, or hot cells of some.

    Raises:
        TypeError: no tensor, or another dtype.
        ValueError: another shape.
    """
    if isinstance(value, HotCells):
        return
    tensor(op, name, value)
    on_a_device(op, name, value)
    if value.dtype not in ACTIVATION_DTYPES:
        raise TypeError(f"{op}: {name} must be float32, float16 or bfloat16, but got {value.dtype}.")
    if value.ndim != 4 or min(value.shape[2:]) < 1:
        raise ValueError(f"{op}: {name} must have shape [N, U, h, w] with h, w >= 1, but got {list(value.shape)}.")


def vector(op: str, name: str, value: Tensor, dtype: torch.dtype, like: Tensor | HotCells) -> None:
    """Refuses anything but a [U] tensor of one dtype on the activations' device.

    Raises:
        TypeError: no tensor, or another dtype.
        ValueError: another shape or device.
    """
    units = like.shape[1]
    tensor(op, name, value, f"a {dtype} tensor")
    if value.dtype != dtype:
        raise TypeError(f"{op}: {name} must be a {dtype} tensor, but got {value.dtype}.")
    if value.shape != (units,):
        raise ValueError(
            f"{op}: {name} must have shape [U] with U={units} (from activations), but got {list(value.shape)}."
        )
    same_device(op, name, value, like)


def same_device(op: str, name: str, value: Tensor, like: Tensor | HotCells, owner: str = "activations") -> None:
    """Refuses anything but a tensor on the activations' device.

    Raises:
        TypeError: no tensor.
        ValueError: another device; names both.
    """
    tensor(op, name, value)
    if value.device != like.device:
        raise ValueError(f"{op}: {name} must be on the {owner}' device {like.device}, but got {value.device}.")
    if isinstance(value, FakeTensor) != isinstance(like, FakeTensor):
        fake, real = (name, owner) if isinstance(value, FakeTensor) else (owner, name)
        raise TypeError(f"{op}: {fake} must be a tensor of values as {real} is, but is a fake one.")


def status(op: str, value: Tensor | None, like: Tensor | HotCells) -> None:
    """Refuses anything but None or one int32 on the activations' device.

    Raises:
        TypeError: no tensor.
        ValueError: another dtype, shape or device.
    """
    if value is None:
        return
    tensor(op, "status", value)
    if value.dtype != torch.int32 or value.ndim != 0:
        raise ValueError(f"{op}: status must be one int32, but got {value.dtype} {list(value.shape)}.")
    same_device(op, "status", value, like)


def finite(op: str, value: Tensor | HotCells, name: str = "activations") -> None:
    """Refuses NaN, infinity and magnitudes from 2^126, which could overflow between two corners.

    Raises:
        ValueError: names the first image of the batch and its unit.
    """
    if isinstance(value, HotCells):
        return  # they were looked at
    if native.unavailable() is None and value.device.type == "cpu":
        found = native.find_bad_map(value)
    else:
        good = (value.abs() < LIMIT).flatten(2).all(2)
        found = None if bool(good.all()) else divmod(int((~good).flatten().nonzero()[0]), value.shape[1])
    if found is not None:
        raise ValueError(
            f"{op}: {name} must be finite and below 2^126 in magnitude, "
            f"but image {found[0]} of the batch, unit {found[1]}, is not."
        )


def labels(op: str, planes: Tensor, num_labels: int) -> None:
    """Refuses planes [N, K, H, W] that hold a number outside [0, num_labels).

    Raises:
        ValueError: names the first image of the batch and such a number.
    """
    if not len(planes):
        return
    # In int64: num_labels may be more than the planes' own type can hold.
    lowest, highest = (end.long() for end in planes.flatten(1).aminmax(dim=1))
    bad = ((lowest < 0) | (highest >= num_labels)).nonzero().flatten()
    if len(bad):
        image = int(bad[0])
        values = planes[image].flatten().long()
        value = int(values[(values < 0) | (values >= num_labels)][0])
        raise ValueError(f"{op}: labels must lie in [0, {num_labels}), but image {image} of the batch holds {value}.")


def tables(
    op: str, grid: Grid | None, source: Tensor | HotCells, target: tuple[int, int] | torch.Size | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """The tables of a grid that must fit the activations (and the target); None for none.

    Raises:
        TypeError: no Grid.
        ValueError: the grid is for other sizes.
    """
    if grid is None:
        return None, None
    if not isinstance(grid, Grid):
        raise TypeError(f"{op}: grid must be a dissect.Grid or None, but got {type(grid).__name__}.")
    grid.check(op, tuple(source.shape[2:]), None if target is None else tuple(target))
    return grid.rows, grid.columns
