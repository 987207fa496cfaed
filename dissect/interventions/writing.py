"""Which weights determine a layer's units, so that an edit can be written into them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dissect.arguments import refusal
from dissect.network.forwards import own_forward
from dissect.network.hooks import why_not_plain
from dissect.network.trace import find_layers
from dissect.network.units import is_one_of, name_before

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def writable(model: nn.Module, layer: str, negative: bool) -> Any:
    """The module whose weights determine a layer's units.

    Args:
        model: the network.
        layer: a name.
        negative: whether units shall have values below 0, which no ReLU gives.

    Raises:
        ValueError: there is none, or others depend on these weights too.

    Example:
        >>> writable(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()), "1", negative=False)
        Linear(in_features=2, out_features=3, bias=True)
    """
    everywhere = list(model.named_modules(remove_duplicate=False))
    name, module = layer, find_layers(model, [layer])[0]
    _check_plain(name, module)
    while is_one_of(module, (nn.ReLU,)) or (is_one_of(module, _DROPOUTS) and not module.training):
        if isinstance(module, nn.ReLU) and negative:
            raise refusal(ValueError(f"after the ReLU {name!r} a unit cannot have a negative value."))
        places = [other for other, part in everywhere if part is module]
        if len(places) > 1:
            raise refusal(ValueError(f"{name!r} runs in several places, {places}, each after other weights."))
        before = name_before(model, name)
        parent = model.get_submodule(name.rpartition(".")[0])
        if before is None or own_forward(parent) is not None:
            raise refusal(
                ValueError(f"what feeds {name!r} is not known, since it follows nothing in an nn.Sequential.")
            )
        name, module = before, model.get_submodule(before)
        _check_plain(name, module)
    if not is_one_of(module, (*_LINEAR, *_NORMS)) or module.weight is None:
        raise refusal(
            ValueError(
                f"the units of layer {layer!r} must be the outputs of a convolution, a fully connected layer or a "
                f"batch normalisation with weights, but {name!r} is {type(module).__name__}; use it as a context "
                "manager."
            )
        )
    if isinstance(model.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention):
        raise refusal(
            ValueError(f"{name!r} is never called, since its nn.MultiheadAttention reads the weights itself.")
        )
    _check_own_weights(everywhere, name, module)
    return module


def _check_plain(name: str, module: nn.Module) -> None:
    """Refuses a module that gives something else than its class says."""
    why = why_not_plain(module)
    if why is not None:
        raise refusal(
            ValueError(
                f"weights must be all that determines the units, but {name!r} {why}; remove them first, or use the "
                "intervention as a context manager."
            )
        )


def _check_own_weights(everywhere: list[tuple[str, nn.Module]], name: str, module: nn.Module) -> None:
    """Refuses weights and biases that are computed, or that other modules have too."""
    for kind, called in (("weight", "weights"), ("bias", "biases")):
        if parametrize.is_parametrized(module, kind) or kind not in module._parameters:
            raise refusal(
                ValueError(
                    f"the {called} of {name!r} are computed from others, so they cannot be written "
                    "(torch.nn.utils.parametrize.remove_parametrizations makes them plain ones)."
                )
            )
    own = [tensor for tensor in module._parameters.values() if tensor is not None]
    holders = [other for other, part in everywhere if any(_overlap(p, q) for p in _tensors(part) for q in own)]
    if len(holders) > 1:
        raise refusal(ValueError(f"the weights of {name!r} are shared by {holders}."))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)


def _overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have memory in common."""
    if first is second:
        return True
    if first.device != second.device or not (first.numel() and second.numel()):
        return False
    (begin, end), (other_begin, other_end) = _extent(first), _extent(second)
    return begin < other_end and other_begin < end


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The first byte of a tensor's memory and the one after the last."""
    if tensor.layout is not torch.strided:
        return (0, 0)
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
