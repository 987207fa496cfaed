"""Checks that the ops share. Messages name the op, the argument, the rule, the value."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import native

ACTIVATION_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LIMIT = 2.0**126


def tensor(op: str, name: str, value: object, rule: str = "a torch.Tensor") -> None:
    """Refuses what is no tensor.

    Raises:
        TypeError: says what it is, and how a numpy array becomes one.
    """
    if isinstance(value, Tensor):
        return
    kind = type(value)
    got, hint = kind.__name__, ""
    if kind.__module__ == "numpy":
        got, hint = f"numpy.{got}", "; torch.from_numpy makes one" if got == "ndarray" else ""
    raise TypeError(f"{op}: {name} must be {rule}, but got {got}{hint}.")


def activations(op: str, value: Tensor, name: str = "activations") -> None:
    """Refuses anything but [N, U, h, w] floating maps of at least 1x1.

    Raises:
        TypeError: no tensor, or another dtype.
        ValueError: another shape.
    """
    tensor(op, name, value)
    if value.dtype not in ACTIVATION_DTYPES:
        raise TypeError(f"{op}: {name} must be float32, float16 or bfloat16, but got {value.dtype}.")
    if value.ndim != 4 or min(value.shape[2:]) < 1:
        raise ValueError(f"{op}: {name} must have shape [N, U, h, w] with h, w >= 1, but got {list(value.shape)}.")


def vector(op: str, name: str, value: Tensor, dtype: torch.dtype, like: Tensor) -> None:
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


def same_device(op: str, name: str, value: Tensor, like: Tensor, owner: str = "activations") -> None:
    """Refuses anything but a tensor on the activations' device.

    Raises:
        TypeError: no tensor.
        ValueError: another device; names both.
    """
    tensor(op, name, value)
    if value.device != like.device:
        raise ValueError(f"{op}: {name} must be on the {owner}' device {like.device}, but got {value.device}.")


def status(op: str, value: Tensor | None, like: Tensor) -> None:
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


def finite(op: str, value: Tensor) -> None:
    """Refuses NaN, infinity and magnitudes from 2^126, which could overflow between two corners.

    Raises:
        ValueError: names the first image of the batch and its unit.
    """
    if native.unavailable() is None and value.device.type == "cpu":
        found = native.find_bad_map(value)
    else:
        good = (value.abs() < LIMIT).flatten(2).all(2)
        found = None if bool(good.all()) else divmod(int((~good).flatten().nonzero()[0]), value.shape[1])
    if found is not None:
        raise ValueError(
            f"{op}: activations must be finite and below 2^126 in magnitude, "
            f"but image {found[0]} of the batch, unit {found[1]}, is not."
        )


def tables(
    op: str, grid: Grid | None, source: Tensor, target: tuple[int, int] | torch.Size | None = None
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
