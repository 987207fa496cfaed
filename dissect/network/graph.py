"""Who reads a layer's output, from autograd's graph of one forward pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dissect.network.hooks import Hooks
from dissect.network.outputs import first_tensor, tensors, with_first
from dissect.network.trace import RanTwiceError, Trace

#: Stands for the node of a module's input where its first argument is no tensor.
_UNKNOWN = object()


class Graph:
    """Autograd's graph from a layer's output on, its nodes named by the layers that made them."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._model, self._layer = model, layer
        self.modules = dict(model.named_modules())
        self.names: dict[Any, str] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.dtypes: dict[str, set[torch.dtype]] = {}  # of what a layer was given and gave
        self.runs: Counter[str] = Counter()  # of each layer, the probed one and what comes before it left out
        self.root: Any = None
        self.floats = 0

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output.

        Raises:
            KeyError, RuntimeError: the layer does not run, or runs twice; or one that follows it fails (says which).
            ValueError: the layer does not give a tensor.
        """
        running: list[tuple[str, Any]] = []  # modules, each with the node of what it was given
        try:
            with torch.no_grad(), Hooks() as hooks:
                for name, module in self.modules.items():
                    hooks.before(module, lambda _, args, kwargs, name=name: running.append((name, _node(args))))
                    hooks.after(module, lambda _, args, kwargs, out: self._after(args, out, *running.pop()))
                with Trace(self._model, self._layer, edit=self._begin, clone=False, detach=False) as trace:
                    output = self._model(*args, **kwargs)
                    trace[self._layer]
        except RanTwiceError:
            raise
        except (RuntimeError, TypeError) as error:
            if self.root is None:
                raise
            raise RuntimeError(
                f"{running[-1][0] or 'the network'!r} cannot run while autograd looks for what follows layer "
                f"{self._layer!r}: {error}"
            ) from error
        return output

    def _begin(self, output: Any, layer: str) -> Any:
        return edit_first(output, lambda first: self._copy(first, layer))

    def _copy(self, output: Any, layer: str) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(f"layer {layer!r} must give a tensor, but gave {type(output).__name__}.")
        torch.set_grad_enabled(True)  # until the forward pass ends: what came before needs no graph
        # A copy, which operations in place may change, as they may not a leaf.
        self.output = output.detach().requires_grad_().clone()
        self.root, self.floats = self.output.grad_fn, self.output.numel()
        return self.output

    def _after(self, args: tuple[Any, ...], output: Any, name: str, before: Any) -> None:
        if not name or self.root is None or not isinstance(output, Tensor) or output.grad_fn is None:
            return
        self.floats = max(self.floats, output.numel())
        self.runs[name] += 1
        self._name(name, before, output)
        self.dtypes[name] = {part.dtype for part in (*args, output) if isinstance(part, Tensor)}
        self.shapes[name] = args[0].shape if args and isinstance(self.modules[name], nn.Linear) else output.shape

    def _name(self, name: str, before: Any, output: Tensor) -> None:
        """Names the node of a module's output, and, of a module without parts, those from its input's on.

        A module that gives what it was given, as dropout in evaluation mode, made no node. Of one whose input is not
        known only the output's node is named.
        """
        node = output.grad_fn
        while node is not before and node is not None and node is not self.root and node not in self.names:
            self.names[node] = name
            if before is _UNKNOWN or any(self.modules[name].children()) or len(node.next_functions) != 1:
                return
            node = node.next_functions[0][0]

    def readers(self, output: Any) -> dict[Any, list[Any]]:
        """Of each node from which the model's output can be reached, the nodes that read it."""
        readers: dict[Any, list[Any]] = defaultdict(list)
        seen, waiting = set(), self._ends(output)
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            for earlier, _ in node.next_functions:
                if earlier is not None:
                    readers[earlier].append(node)
                    waiting.append(earlier)
        return readers

    def consumers(self, output: Any, whole: str) -> tuple[str, ...]:
        """Who reads the layer's output on its way to the model's: layers, other operations, or (`whole`) nobody else.

        Layers go by name, other operations by autograd's name. Empty where no way leads there.
        """
        readers = self.readers(output)
        found = [self._describe(node, readers) for node in readers.get(self.root, [])]
        return tuple(sorted(found)) + ((whole,) if self.root in self._ends(output) else ())

    def _ends(self, output: Any) -> list[Any]:
        """The nodes of the model's output."""
        return [part.grad_fn for part in tensors(output) if part.grad_fn is not None]

    def _describe(self, node: Any, readers: dict[Any, list[Any]]) -> str:
        """The layer that a node is, or the operation and a layer that it comes before."""
        if node in self.names:
            return self.names[node]
        later = [node]
        for other in later:  # grows as it goes: the nearest layers come first
            if other in self.names:
                return f"{node.name()} before {self.names[other]}"
            later += readers.get(other, [])
        name: str = node.name()
        return name


def edit_first(output: Any, edit: Callable[[Any], Any]) -> Any:
    """A layer's output, edited; of several tensors, the first one (see `outputs.first_tensor`)."""
    return with_first(output, edit(first_tensor(output)))


def _node(args: tuple[Any, ...]) -> Any:
    """Autograd's node of the first argument, if it has one."""
    return args[0].grad_fn if args and isinstance(args[0], Tensor) else _UNKNOWN
