"""Retains and edits the outputs of a network's layers while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.network.hooks import Hooks, computed_again, in_checkpoint

# What used to be here is found here still.
from dissect.network.layers import find_layers as find_layers
from dissect.network.layers import layer_names
from dissect.network.outputs import copied, first_tensor

#: What a network or a layer raises that cannot take what it is given.
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, AssertionError)


class StopForward(BaseException):
    """Ends a forward pass once every traced layer has run; `Trace` catches it, and no `except Exception` of a model."""


class RanTwiceError(RuntimeError):
    """A traced layer ran twice in one forward pass, so that it has no one output."""


@speaks
class Trace:
    """Within a ``with`` block, retains the outputs of layers of any module, and edits them if asked.

    Only forward passes of the thread or coroutine that entered the block are traced, and of tasks that it starts within
    (`asyncio.gather`, `asyncio.to_thread`); others may use the model meanwhile. Copies of the model are not traced.
    When the block ends, by an exception too, the model is as it was.

    What is retained has the type that the layer gave: a tensor, or tuples, lists, dicts and dataclasses of some, as
    Hugging Face's outputs are.

    Args:
        model: any nn.Module.
        layers: names as in ``model.named_modules()``.
        edit: called as ``edit(output, layer)`` after a layer has run; what it returns replaces the output. The layers
            must give ordinary tensors then.
        stop: end each forward pass as soon as all layers have run; the call then returns None (use `run`). Whether a
            layer would run again is not seen then.
        clone: retain copies, so that an in-place operation that follows a layer cannot change what was retained.
        detach: retain tensors outside the autograd graph.
        retain: "before" or "after" the edit; None only edits, and a layer may run as often as it likes.
        inputs: retain what the layers were called with as well, see `inputs`.

    Raises:
        TypeError: a compiled, scripted or exported model, whose hooks do not fire, one in threads of its own, or a list
            of layers (says what to do); layers that are no names (says theirs). In a pass: a layer that gives an object
            with tensors that cannot be copied, or, where it would be edited, quantized or sparse numbers.
        KeyError: a layer that the model does not have; names the nearest.
        ValueError: no layers, an unknown `retain`, or weights on the meta device, which have no values.
        RuntimeError: the block is entered again before it ended. In a pass: a layer ran twice; or it runs within
            torch.utils.checkpoint while gradients are recorded and would be edited, which backward would not know of.

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
            raise refusal(ValueError(f"retain must be 'before', 'after' or None, but got {retain!r}."))
        self.model = model
        self.layers = layer_names(model, layers)
        self._modules = find_layers(model, self.layers)
        self._edit, self._stop, self._clone, self._detach, self._retain = edit, stop, clone, detach, retain
        self._keep_inputs = inputs
        self._retained: dict[str, Any] = {}
        self._called_with: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        #: Those of its block.
        self.hooks = Hooks()
        self._records = True  # whether the pass began with gradients recorded
        #: How many forward passes of the whole model came to their end.
        self.passes = 0

    def __enter__(self) -> Trace:
        self.hooks.__enter__()
        self._records = torch.is_grad_enabled()
        self.hooks.before(self.model, self._begin)
        self.hooks.after(self.model, self._end)
        for name, module in zip(self.layers, self._modules):
            self.hooks.after(module, partial(self._after, name), edits=self._edit is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.hooks.__exit__()
        return kind is not None and issubclass(kind, StopForward)

    def __getitem__(self, layer: str) -> Any:
        """What the layer gave in the last forward pass.

        Raises:
            KeyError: it was not traced, or has not run.
        """
        if layer not in self._retained:
            state = "has not run" if layer in self.layers else f"is not traced (traced: {self.layers})"
            raise refusal(KeyError(f"layer {layer!r} {state}."))
        return self._retained[layer]

    def __contains__(self, layer: object) -> bool:
        """Whether it was traced, and has run in the last forward pass."""
        return layer in self._retained

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
            raise refusal(
                KeyError(f"there are no inputs of layer {layer!r}; trace it with inputs=True and run the model.")
            )
        return self._called_with[layer]

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model; returns its output, or None where `stop` ended it. Use within the ``with`` block."""
        try:
            return self.model(*args, **kwargs)
        except StopForward:
            return None

    def _begin(self, *_: object) -> None:
        self._records = torch.is_grad_enabled()
        self._retained.clear()
        self._called_with.clear()

    def _end(self, *_: object) -> None:
        self.passes += 1

    def _after(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if self._retain is None:
            return self._edited(output, name)
        if name in self._retained:
            if torch.is_grad_enabled() and computed_again():
                return None
            raise refusal(
                RanTwiceError(
                    f"layer {name!r} ran twice in one forward pass (of the traced model, which must itself be "
                    "called, for a pass to begin); trace one that runs once."
                )
            )
        if self._keep_inputs:
            what = f"what layer {name!r} is called with"
            self._called_with[name] = self._keep(args, what), self._keep(kwargs, what)
        edited = self._edited(output, name)
        self._retained[name] = self._keep(output if self._retain == "before" else edited, f"what layer {name!r} gives")
        if self._stop and self.complete():
            raise StopForward
        return edited

    def _edited(self, output: Any, name: str) -> Any:
        if self._edit is None:
            return output
        first = first_tensor(output)
        if isinstance(first, Tensor) and (first.is_quantized or first.layout is not torch.strided):
            kind = f"quantized numbers, {first.dtype}" if first.is_quantized else f"a tensor of layout {first.layout}"
            raise TypeError(f"layer {name!r} must give an ordinary tensor, but gives {kind}; name one that does.")
        if (self._records or torch.is_grad_enabled()) and in_checkpoint():
            raise RuntimeError(
                f"layer {name!r} must not run within torch.utils.checkpoint while it is edited and gradients are "
                "recorded: backward runs it again, which may be without this edit, or with one that the pass had not. "
                "Turn checkpoints off (transformers: model.gradient_checkpointing_disable()), or use torch.no_grad()."
            )
        return self._edit(output, name)

    def _keep(self, output: Any, name: str) -> Any:
        return copied(output, self._keep_tensor, name) if self._clone or self._detach else output

    def _keep_tensor(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach() if self._detach else tensor
        return tensor.clone() if self._clone else tensor


class FirstTensorTrace(Trace):
    """A `Trace` that retains of what a layer gives the first tensor alone, so that the rest need not be copied."""

    def _keep(self, output: Any, name: str) -> Any:
        return super()._keep(first_tensor(output), name)
