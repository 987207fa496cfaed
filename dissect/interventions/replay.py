"""Runs a network on the same inputs again and again, under edits of a layer: what ends before it is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import tell
from dissect.network.forwards import instead
from dissect.network.graph import edit_first
from dissect.network.hooks import Hooks
from dissect.network.layers import find_layers
from dissect.network.outputs import copied, tensors
from dissect.network.trace import FAILURES, StopForward

#: What modules are called with beside tensors, and tuples of these, where only tensors can have been changed.
_CONSTANTS = (int, float, str, type(None), torch.dtype, torch.device, slice)


class Replay:
    """A network that runs again from a layer on.

    A first run, which ends with the layer, notes what each module gives that ends before or with it. In the runs that
    follow these modules give copies of that and compute nothing; what calls them, and all that comes after, runs as it
    is, on the same batch, so that outputs have the bits of whole runs. The modules' own hooks act every time, the edit
    of the layer among them; those of modules within them do not. An edit must know where the layer's units are, by the
    layer's kind or by `layout`, since they cannot be followed through what does not run.

    Computed every time are operations that belong to no module, and modules that change what they are given, give it
    or a view of it, or take lists, dicts and other objects. A module must have no effect beside what it gives.

    Args:
        model: any nn.Module, whose outputs of the same inputs are the same.
        layers: those that will be edited; no module that ends before all of them may be.
        *args: what the model is called with.
        **kwargs: the same, by name.

    Raises:
        KeyError, TypeError: see `Trace`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
        >>> images = torch.rand(2, 3, 8, 8)
        >>> replay = Replay(model, ["1"], images)
        >>> with dissect.ablate(model, "1", [3]):
        ...     expected, found = model(images), replay()
        >>> torch.equal(found, expected)
        True
    """

    def __init__(self, model: nn.Module, layers: list[str], *args: Any, **kwargs: Any) -> None:
        self._model, self._args, self._kwargs = model, args, kwargs
        self._calls: list[_Call] = []
        self._next = 0  # of the calls to replay
        ended: list[bool] = []

        def end(*_: object) -> None:
            ended.append(True)
            raise StopForward

        with torch.no_grad(), Hooks() as hooks, instead(model.modules(), self._note):
            for module in find_layers(model, layers):
                hooks.after(module, end)
            try:
                model(*args, **kwargs)
            except StopForward:
                pass
        if not ended:  # no edit will be seen at the layer either
            self._calls.clear()

    def __call__(self) -> Any:
        """The model's output, under the edits of whatever block the caller is in."""
        self._next = 0
        with instead([call.module for call in self._calls], self._replay):
            return self._model(*self._args, **self._kwargs)

    def _replay(self, module: nn.Module, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._next < len(self._calls):
            call = self._calls[self._next]
            if call.module is not module:  # the model takes another way this time, so it goes on by itself
                self._next = len(self._calls)
            else:
                self._next += 1
                if call.ended:
                    return copied(call.output, Tensor.clone, "what a module gives")
        return run(*args, **kwargs)

    def _note(self, module: nn.Module, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call, within = _Call(module), len(self._calls) + 1
        self._calls.append(call)
        given = [*tensors((args, kwargs))]
        simple = all(map(_simple, (*args, *kwargs.values()))) and not any(tensor.is_inference() for tensor in given)
        versions = [tensor._version for tensor in given] if simple else []
        output = run(*args, **kwargs)
        if simple and versions == [tensor._version for tensor in given] and _apart([*tensors(output)], given):
            try:
                call.output = copied(output, Tensor.clone, "what a module gives")
            except TypeError:  # tensors in objects that no one knows how to copy
                return output
            call.ended = True
            del self._calls[within:]
        return output


class Replays:
    """A network that was looked at: whether `Replay` gives what whole runs give, else these, which a warning tells.

    Args:
        model: see `Replay`.
        layer: that will be edited.
        *args: what the model is called with; few images will do.
        **kwargs: the same, by name.

    Warns:
        UserWarning: some module has another effect than what it gives.
    """

    def __init__(self, model: nn.Module, layer: str, *args: Any, **kwargs: Any) -> None:
        self._model, self._layer = model, layer
        with torch.no_grad():
            whole = model(*args, **kwargs)
            close = 1e-3 * (not _same(model(*args, **kwargs), whole, 0))  # on a GPU rounding need not repeat
            try:
                with self._zeroed():  # whole runs go first, so that what they leave behind is not what is expected
                    edited = model(*args, **kwargs)
                replay = Replay(model, [layer], *args, **kwargs)
                self._good = _same(replay(), whole, close)
                with self._zeroed():
                    self._good &= _same(replay(), edited, close)
                self._good &= _same(replay(), whole, close)
            except (*FAILURES, LookupError, AttributeError):  # of a network that runs as a whole
                self._good = False
        if not self._good:
            tell(
                f"all of the network runs for each edit of layer {layer!r}, which is slow, since what comes before the "
                "layer does not give the same when it runs once: does a module there change what others keep?"
            )

    def of(self, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """Runs the network on these, under the edits of whatever block the caller is in, as often as it is called."""
        return (
            Replay(self._model, [self._layer], *args, **kwargs) if self._good else partial(self._model, *args, **kwargs)
        )

    @contextmanager
    def _zeroed(self) -> Iterator[None]:
        """Within, the layer gives 0."""

        def edit(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return edit_first(output, torch.zeros_like)

        with Hooks() as hooks:
            for module in find_layers(self._model, [self._layer]):
                hooks.after(module, edit, edits=True)
            yield


def _same(output: Any, expected: Any, close: float) -> bool:
    """Whether two outputs are the same, to the bit where `close` is 0."""
    pairs = zip(tensors(output), tensors(expected), strict=True)
    return all(torch.allclose(one, other, rtol=close, atol=close / 100, equal_nan=True) for one, other in pairs)


@dataclass
class _Call:
    """A module's call in the first run, and what it gave; where it has not `ended` it runs again, its parts may not."""

    module: nn.Module
    output: Any = None
    ended: bool = False


def _simple(argument: Any) -> bool:
    parts = argument if type(argument) is tuple else (argument,)
    return all(isinstance(part, (Tensor, *_CONSTANTS)) or (type(part) is tuple and _simple(part)) for part in parts)


def _apart(outputs: list[Tensor], given: list[Tensor]) -> bool:
    """Whether all outputs have memory of their own, so that what is done to one in place is done to it alone."""
    if any(tensor.layout is not torch.strided for tensor in (*outputs, *given)):
        return False
    places = [{tensor.untyped_storage().data_ptr() for tensor in group} for group in (outputs, given)]
    return len(places[0]) == len({id(tensor) for tensor in outputs}) and not places[0] & places[1]
