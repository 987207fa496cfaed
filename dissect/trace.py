"""Retains and edits the outputs of a network's layers while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from torch import Tensor, nn

# What used to be here is found here still.
from dissect.layers import find_layers as find_layers
from dissect.layers import nearest as nearest
from dissect.receptive_field import layer_chain as layer_chain


class StopForward(BaseException):
    """Ends a forward pass once every traced layer has run; `Trace` catches it, and no `except Exception` of a model."""


class RanTwiceError(RuntimeError):
    """A traced layer ran twice in one forward pass, so that it has no one output."""


class Trace:
    """Within a ``with`` block, retains the outputs of layers of any module, and edits them if asked.

    Only forward passes of the thread that entered the block are traced; other threads may use the model meanwhile.
    When the block ends, by an exception too, the model is as it was.

    Args:
        model: any nn.Module.
        layers: names as in ``model.named_modules()``.
        edit: called as ``edit(output, layer)`` after a layer has run; what it returns replaces the output.
        stop: end each forward pass as soon as all layers have run; the call then returns None (use `run`). Whether a
            layer would run again is not seen then.
        clone: retain copies, so that an in-place operation that follows a layer cannot change what was retained.
        detach: retain tensors outside the autograd graph.
        retain: "before" or "after" the edit; None only edits, and a layer may run as often as it likes.
        inputs: retain what the layers were called with as well, see `inputs`.

    Raises:
        TypeError: a compiled, scripted or exported model, whose hooks do not fire, one in threads of its own, or a list
            of layers (says what to do); layers that are no names.
        KeyError: a layer that the model does not have; names the nearest.
        ValueError: no layers, or an unknown `retain`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True))
        >>> with dissect.Trace(model, ["0", "1"]) as trace:
        ...     output = model(torch.zeros(2, 3, 5, 5))
        >>> trace["0"].shape, bool((trace["1"] >= 0).all())
        (torch.Size([2, 4, 3, 3]), True)
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Iterable[str],
        *,
        edit: Callable[[Any, str], Any] | None = None,
        stop: bool = False,
        clone: bool = True,
        detach: bool = True,
        retain: str | None = "before",
        inputs: bool = False,
    ) -> None:
        if retain not in ("before", "after", None):
            raise ValueError(f"Trace: retain must be 'before', 'after' or None, but got {retain!r}.")
        self.model = model
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self._modules = find_layers(model, self.layers)
        self._edit, self._stop, self._clone, self._detach, self._retain = edit, stop, clone, detach, retain
        self._keep_inputs = inputs
        self._retained: dict[str, Any] = {}
        self._called_with: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._handles: list[Any] = []
        self._thread: int | None = None
        #: How many forward passes of the whole model came to their end.
        self.passes = 0

    def __enter__(self) -> Trace:
        self._thread = threading.get_ident()
        self._handles.append(self.model.register_forward_pre_hook(lambda *_: self._begin()))
        self._handles.append(self.model.register_forward_hook(lambda *_: self._end()))
        for name, module in zip(self.layers, self._modules):
            self._handles.append(module.register_forward_hook(self._hook_for(name), with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        return kind is not None and issubclass(kind, StopForward)

    def __getitem__(self, layer: str) -> Any:
        """What the layer gave in the last forward pass.

        Raises:
            KeyError: it was not traced, or has not run.
        """
        if layer not in self._retained:
            state = "has not run" if layer in self.layers else f"is not traced (traced: {self.layers})"
            raise KeyError(f"Trace: layer {layer!r} {state}.")
        return self._retained[layer]

    def complete(self) -> bool:
        """Whether all layers have run in the last forward pass."""
        return len(self._retained) == len(self.layers)

    def pop(self, layer: str) -> Any:
        """As ``trace[layer]``, and the trace forgets it, so that its memory can be freed.

        Raises:
            KeyError: it was not traced, or has not run.
        """
        output = self[layer]
        del self._retained[layer]
        return output

    def inputs(self, layer: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments of the layer's last call.

        Raises:
            KeyError: it was not traced with ``inputs=True``, or has not run.
        """
        if layer not in self._called_with:
            raise KeyError(
                f"Trace: there are no inputs of layer {layer!r}; trace it with inputs=True and run the model."
            )
        return self._called_with[layer]

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model; returns its output, or None where `stop` ended it. Use within the ``with`` block."""
        try:
            return self.model(*args, **kwargs)
        except StopForward:
            return None

    def _begin(self) -> None:
        if threading.get_ident() == self._thread:
            self._retained.clear()
            self._called_with.clear()

    def _end(self) -> None:
        self.passes += threading.get_ident() == self._thread

    def _hook_for(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if threading.get_ident() != self._thread:
                return output
            if self._retain is None:
                return output if self._edit is None else self._edit(output, name)
            if name in self._retained:
                raise RanTwiceError(
                    f"Trace: layer {name!r} ran twice in one forward pass (of the traced model, which must itself be "
                    "called, for a pass to begin); trace one that runs once."
                )
            if self._keep_inputs:
                self._called_with[name] = self._keep(args), {key: self._keep(value) for key, value in kwargs.items()}
            edited = output if self._edit is None else self._edit(output, name)
            self._retained[name] = self._keep(output if self._retain == "before" else edited)
            if self._stop and self.complete():
                raise StopForward
            return edited

        return hook

    def _keep(self, output: Any) -> Any:
        if isinstance(output, Tensor):
            output = output.detach() if self._detach else output
            return output.clone() if self._clone else output
        if isinstance(output, dict):
            return {key: self._keep(value) for key, value in output.items()}
        if isinstance(output, (tuple, list)):
            parts = [self._keep(part) for part in output]
            return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
        return output
