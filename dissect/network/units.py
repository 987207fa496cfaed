"""Which units: their numbers, and which module makes them. Where they lie in its output: `dissect.network.layouts`."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.network.forwards import own_forward

Units = int | Iterable[int] | Tensor

#: Modules that change each number by itself: the units that they give are those that they were given.
POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.GELU, nn.Mish,
    nn.Softplus, nn.Softsign, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip


def check_units(layer: str, units: Units) -> Tensor:
    """[K] int64: unit numbers, of several units or of one.

    Raises:
        TypeError: no integers.
        ValueError: one is negative or repeated.
    """
    if isinstance(units, str) or not isinstance(units, (Integral, Iterable)):
        raise refusal(TypeError(f"units of layer {layer!r} must be a list of integers, but got {units!r}."))
    numbers = torch.as_tensor(units if isinstance(units, (Tensor, Integral)) else list(units))
    if numbers.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    numbers = numbers[None] if numbers.ndim == 0 else numbers
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise refusal(TypeError(f"units of layer {layer!r} must be a list of integers, but got {units!r}."))
    numbers = numbers.long().cpu()
    values, counts = numbers.unique(return_counts=True)
    if int(values[0]) < 0:
        raise refusal(ValueError(f"units of layer {layer!r} must not be negative, but one is {int(values[0])}."))
    if int(counts.max()) > 1:
        raise refusal(
            ValueError(f"units of layer {layer!r} must be named once, but {int(values[counts.argmax()])} is repeated.")
        )
    return numbers


def is_one_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these types and computes what that does: subclasses may compute anything."""
    plain = own_forward(module) is None
    return plain and any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def unit_module(model: nn.Module, layer: str) -> nn.Module:
    """The module that a layer's units come from: itself, its last part, or one before pointwise ones in a sequence.

    Example:
        >>> unit_module(torch.nn.Sequential(torch.nn.Conv1d(1, 3, 1), torch.nn.ReLU()), "1")
        Conv1d(1, 3, kernel_size=(1,), stride=(1,))
    """
    name, module = _last_part(layer, model.get_submodule(layer))
    while is_one_of(module, POINTWISE):
        before = name_before(model, name)
        if before is None:
            break
        name, module = _last_part(before, model.get_submodule(before))
    return module


def _last_part(name: str, module: nn.Module) -> tuple[str, nn.Module]:
    """Of an nn.Sequential its last module, however nested."""
    while is_one_of(module, (nn.Sequential,)) and len(module._modules):
        child = list(module._modules)[-1]
        name, module = f"{name}.{child}", module.get_submodule(child)
    return name, module


def name_before(model: nn.Module, name: str) -> str | None:
    """The name of the module before one in its nn.Sequential, if there is one."""
    parent_name, _, child = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    children = list(parent._modules)
    at = children.index(child)
    if type(parent).forward is not nn.Sequential.forward or at == 0:
        return None
    return f"{parent_name}.{children[at - 1]}".removeprefix(".")
