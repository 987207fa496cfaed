"""Whether a ReLU follows the layers that a preset reads after their ReLU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dissect.arguments import tell

_RELUS = (nn.functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class ReluWatch(TorchFunctionMode):
    """Within a ``with`` block around one forward pass, warns of layers with negative activations that no ReLU reads.

    To read such a layer as if a ReLU followed would give numbers of something that the network does not compute (it
    may have a leaky ReLU or a normalisation there). Not of the network's last layer, as of a network that was cut off.

    Args:
        model: the network.
        layers: names of its layers.
    """

    def __init__(self, model: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self._model, self._layers = model, layers
        self._handles: list[Any] = []
        self._negative: dict[str, Tensor] = {}
        self._last: Any = None
        self._thread = threading.get_ident()  # other threads may run the model meanwhile

    def __enter__(self) -> ReluWatch:
        for layer in self._layers:
            module = self._model.get_submodule(layer)
            self._handles.append(module.register_forward_hook(lambda _, __, output, at=layer: self._see(at, output)))
        self._handles.append(self._model.register_forward_hook(lambda _, __, output: self._end(output)))
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for handle in self._handles:
            handle.remove()
        for layer, output in self._negative.items():
            if output is not self._last:
                tell(
                    f"layer {layer!r} gives negative activations and no ReLU follows it, but the preset reads "
                    "after one: they count as 0. Name the layer of the ReLU, or say relu=False to read the layer's own "
                    "output (relu=True to keep to the preset)."
                )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RELUS:
            given = args[0] if args else kwargs.get("input")
            self._negative = {layer: output for layer, output in self._negative.items() if output is not given}
        return func(*args, **kwargs)

    def _see(self, layer: str, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if threading.get_ident() == self._thread and isinstance(first, Tensor) and bool((first < 0).any()):
            self._negative[layer] = first

    def _end(self, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self._last = output
