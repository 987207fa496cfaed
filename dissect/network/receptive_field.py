"""The geometry of the convolutions and poolings that come before a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dissect.devices import device_of
from dissect.network.hooks import Hooks
from dissect.network.layers import find_layers


class _ReachedError(BaseException):
    """Ends a forward pass at the probed layer; no `except Exception` of a model takes it."""


def layer_chain(model: nn.Module, layer: str, images: Tensor) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) of each convolution and pooling from the image up to and including a layer.

    Found by running the model: each layer must read what the one before it gave, as in AlexNet and VGG.

    Args:
        model: the network.
        layer: the last one of the chain.
        images: [N, 3, H, W], a batch to run.

    Raises:
        ValueError: the layers form no chain, or one of them is of a kind whose geometry is not known.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        >>> layer_chain(model, "2", torch.zeros(1, 3, 8, 8))
        [(3, 1, 1, 1), (2, 2, 0, 1)]
    """
    (probed,) = find_layers(model, [layer])
    leaves = {module: name for name, module in model.named_modules() if not any(module.children())}
    chain: list[tuple[int, int, int, int]] = []
    last: list[Any] = [None]  # what the leaf before gave

    def hook(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if last[0] is not None and (not inputs or inputs[0] is not last[0]):
            raise ValueError(
                f"layer_chain: the layers up to {layer!r} must form a chain for a receptive-field grid, but "
                f"{leaves[module]!r} reads something else than the layer before it gave; use another preset."
            )
        geometry = _geometry(leaves[module], module, inputs[0], output)
        if geometry is not None:
            chain.append(geometry)
        last[0] = output

    with Hooks() as hooks:
        for leaf in leaves:
            hooks.after(leaf, hook)
        hooks.after(probed, lambda *_: _stop())
        try:
            with torch.no_grad():
                model(images.to(device_of(model, images.device)))
        except _ReachedError:
            pass
    return chain


def check_chain(
    layer: str, chain: list[tuple[int, int, int, int]], image: tuple[int, int], source: tuple[int, int]
) -> None:
    """Whether the chain gives maps of the layer's size, up to a pixel that pooling may round up."""
    found = image
    for kernel, stride, padding, dilation in chain:
        rows, columns = ((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in found)
        found = (rows, columns)
    if max(abs(found[0] - source[0]), abs(found[1] - source[1])) > 1:
        raise ValueError(
            f"dissect: the modules up to layer {layer!r} must explain its size for a receptive-field grid, but make "
            f"{found} of {image} where the layer gives {source}: operations that are no modules lie between; use "
            "another preset."
        )


def _stop() -> None:
    raise _ReachedError


def _geometry(name: str, module: nn.Module, given: Any, output: Any) -> tuple[int, int, int, int] | None:
    """Of a layer; None where it works pixel by pixel."""
    if hasattr(module, "kernel_size") and not getattr(module, "transposed", False):
        values = [getattr(module, field, 1) for field in ("kernel_size", "stride", "padding", "dilation")]
        pairs = [value if isinstance(value, tuple) else (value, value) for value in values]
        if all(len(set(pair)) == 1 and isinstance(pair[0], int) for pair in pairs):
            kernel, stride, padding, dilation = (pair[0] for pair in pairs)
            return kernel, stride, padding, dilation
    elif isinstance(output, Tensor) and isinstance(given, Tensor) and output.shape[2:] == given.shape[2:]:
        return None
    raise ValueError(
        f"layer_chain: a receptive-field grid needs convolutions and poolings of one size in both directions, "
        f"but layer {name!r} is {module}."
    )
