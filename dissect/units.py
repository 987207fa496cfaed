"""Which units: their numbers, where in a layer's output they lie, and which module makes them."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

Units = int | Iterable[int] | Tensor

#: Modules that change each number by itself: the units that they give are those that they were given.
POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.GELU, nn.Mish,
    nn.Softplus, nn.Softsign, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
_CHANNELS_FIRST = (
    nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.GroupNorm, nn.MaxPool1d, nn.AvgPool1d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d,
)  # fmt: skip


def check_units(layer: str, units: Units) -> Tensor:
    """[K] int64: unit numbers, of several units or of one.

    Raises:
        TypeError: no integers.
        ValueError: one is negative or repeated.
    """
    if isinstance(units, str) or not isinstance(units, (Integral, Iterable)):
        raise TypeError(f"units of layer {layer!r} must be a list of integers, but got {units!r}.")
    numbers = torch.as_tensor(units if isinstance(units, (Tensor, Integral)) else list(units))
    if numbers.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    numbers = numbers[None] if numbers.ndim == 0 else numbers
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise TypeError(f"units of layer {layer!r} must be a list of integers, but got {units!r}.")
    numbers = numbers.long().cpu()
    values, counts = numbers.unique(return_counts=True)
    if int(values[0]) < 0:
        raise ValueError(f"units of layer {layer!r} must not be negative, but one is {int(values[0])}.")
    if int(counts.max()) > 1:
        raise ValueError(
            f"units of layer {layer!r} must be named once, but {int(values[counts.argmax()])} is repeated."
        )
    return numbers


def is_one_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these types and computes what that does: subclasses may compute anything."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def source_of(model: nn.Module, layer: str) -> nn.Module:
    """The module that a layer's units come from: itself, or before pointwise ones in an nn.Sequential.

    Example:
        >>> source_of(torch.nn.Sequential(torch.nn.Conv1d(1, 3, 1), torch.nn.ReLU()), "1")
        Conv1d(1, 3, kernel_size=(1,), stride=(1,))
    """
    name: str | None = layer
    module = model.get_submodule(layer)
    while name is not None and is_one_of(module, POINTWISE):
        name = name_before(model, name)
        module = module if name is None else model.get_submodule(name)
    return module


def name_before(model: nn.Module, name: str) -> str | None:
    """The name of the module before one in its nn.Sequential, if there is one."""
    parent_name, _, child = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    children = list(parent._modules)
    at = children.index(child)
    if type(parent).forward is not nn.Sequential.forward or at == 0:
        return None
    return f"{parent_name}.{children[at - 1]}".removeprefix(".")


def unit_axis(output: Any, layer: str, source: nn.Module) -> int:
    """The axis of a layer's units.

    1 of maps [N, U, h, w], of vectors [N, U] and of what one-dimensional convolutions, poolings and normalisations
    give; the last of tokens [N, T, U], and of [N, h, w, U] from nn.Linear or nn.LayerNorm.

    Args:
        output: of the layer.
        layer: its name, for messages.
        source: the module that its units come from, see `source_of`.

    Raises:
        ValueError: it gives none of these.
    """
    dims = output.ndim if isinstance(output, Tensor) else 0
    if dims not in (2, 3, 4) or (dims == 2 and is_one_of(source, (nn.Conv1d, nn.ConvTranspose1d))):
        got = list(output.shape) if dims else type(output).__name__
        raise ValueError(f"layer {layer!r} must give [N, U, h, w], [N, T, U] or [N, U], but gave {got}.")
    if dims == 3:
        return 1 if is_one_of(source, _CHANNELS_FIRST) else 2
    over_channels = is_one_of(source, (nn.LayerNorm,)) and len(source.normalized_shape) == 1  # type: ignore[arg-type]
    return 3 if dims == 4 and (over_channels or is_one_of(source, (nn.Linear,))) else 1


def unit_maps(output: Tensor, axis: int) -> Tensor:
    """A layer's output with units on an axis as maps [N, U, h, w], a view."""
    moved = output.movedim(axis, 1)
    return moved[(..., *(None,) * (4 - output.ndim))]


def like_output(maps: Tensor, output: Tensor, axis: int) -> Tensor:
    """The inverse of `unit_maps`: maps in the shape of the layer's output."""
    return maps.flatten(output.ndim - 1).movedim(1, axis) if output.ndim < 4 else maps.movedim(1, axis)
