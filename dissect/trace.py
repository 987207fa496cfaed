"""Retains and edits the outputs of a network's layers while it runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


class StopForward(Exception):
    """Ends a forward pass once every traced layer has run; `Trace` catches it."""


class Trace:
    """Within a ``with`` block, retains the outputs of layers of any module, and edits them if asked.

    Args:
        model: any nn.Module.
        layers: names as in ``model.named_modules()``.
        edit: called as ``edit(output, layer)`` after a layer has run; what it returns replaces the output.
        stop: end each forward pass as soon as all layers have run; the call then returns None (use `run`).
        clone: retain copies, so that an in-place operation that follows a layer cannot change what was retained.
        detach: retain tensors outside the autograd graph.
        retain: "before" or "after" the edit.

    Raises:
        TypeError: a scripted or exported model, whose hooks do not fire.
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
        retain: str = "before",
    ) -> None:
        if retain not in ("before", "after"):
            raise ValueError(f"Trace: retain must be 'before' or 'after', but got {retain!r}.")
        self.model = model
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self._modules = find_layers(model, self.layers)
        self._edit, self._stop, self._clone, self._detach, self._retain = edit, stop, clone, detach, retain
        self._retained: dict[str, Any] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Trace:
        self._handles.append(self.model.register_forward_pre_hook(lambda *_: self._retained.clear()))
        for name, module in zip(self.layers, self._modules):
            self._handles.append(module.register_forward_hook(self._hook_for(name)))
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

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model; returns its output, or None where `stop` ended it. Use within the ``with`` block."""
        try:
            return self.model(*args, **kwargs)
        except StopForward:
            return None

    def _hook_for(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if name in self._retained:
                raise RuntimeError(f"Trace: layer {name!r} ran twice in one forward pass; trace one that runs once.")
            edited = output if self._edit is None else self._edit(output, name)
            self._retained[name] = self._keep(output if self._retain == "before" else edited)
            if self._stop and len(self._retained) == len(self.layers):
                raise StopForward
            return edited

        return hook

    def _keep(self, output: Any) -> Any:
        if isinstance(output, Tensor):
            output = output.detach() if self._detach else output
            return output.clone() if self._clone else output
        if isinstance(output, (tuple, list)):
            return type(output)(self._keep(part) for part in output)
        return output


def find_layers(model: nn.Module, layers: list[str]) -> list[nn.Module]:
    """The modules with these names.

    Raises:
        TypeError, KeyError, ValueError: see `Trace`.
    """
    if isinstance(model, torch.jit.ScriptModule) or not isinstance(model, nn.Module):
        raise TypeError(f"Trace: model must be an nn.Module whose hooks fire, but got {type(model).__name__}.")
    if not layers:
        raise ValueError("Trace: layers must name at least one layer, but got none.")
    modules = dict(model.named_modules())
    for name in layers:
        if name not in modules or name == "":
            near = difflib.get_close_matches(name, [known for known in modules if known], n=3, cutoff=0.3)
            raise KeyError(f"Trace: the model has no layer {name!r}; the nearest are {near}.")
    return [modules[name] for name in layers]
