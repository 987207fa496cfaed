"""What follows a layer of a network, found by running it: who reads the layer, and how large what follows is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dissect.arguments import check_precision, refusal
from dissect.network.graph import Graph
from dissect.network.hooks import others_hooks, why_not_plain
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, Layouts
from dissect.network.tracking import UnitTracker
from dissect.network.units import POINTWISE, is_one_of

#: Layers that treat each unit alone, so that ablating one unit changes only its own part of what they give.
_UNIT_WISE = (
    *POINTWISE, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
#: The same for operations that belong to no layer, by autograd's names: other shapes of the same numbers, and pooling.
_UNIT_WISE_NODES = (
    "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "SqueezeBackward1", "AliasBackward0",
    "CloneBackward0", "ReluBackward0", "MaxPool2DWithIndicesBackward0", "AvgPool2DBackward0",
    "AdaptiveAvgPool2DBackward0",
)  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """What follows a layer.

    Attributes:
        num_units: of the layer.
        shape: of what the network gives for one image: (classes,) of a classifier.
        consumers: who reads the layer's output, and so sees an edit of it: names of layers, and autograd's names of
            other operations.
        linear: the fully connected layer that only layers which treat each unit alone separate from the layer, if
            there is one: the same number of its inputs belongs to each unit, in the units' order. None where hooks of
            others, exchanged forwards or autocast may make any of these give something else.
        floats: numbers per image in the largest output from the layer on.
        axes: how the layer's output is laid out, see `dissect.network.layouts.Layout`.
    """

    num_units: int
    shape: tuple[int, ...]
    consumers: tuple[str, ...]
    linear: str | None
    floats: int
    axes: str


def follow(model: nn.Module, layer: str, images: Tensor, layout: LayoutOption | None = None) -> Flow:
    """What follows a layer, from autograd's graph of one forward pass.

    Args:
        model: a network in evaluation mode.
        layer: a layer's name.
        images: a batch to run, on the model's device.
        layout: of the layer's output where it is not certain, see `dissect.ablate`.

    Raises:
        KeyError, RuntimeError: the layer does not exist, does not run, or runs twice.
        ValueError: outputs that are no tensor [N, ...], no path from the layer to them, or a layer without units.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.ReLU(), torch.nn.Flatten())
        >>> follow(model.append(torch.nn.Linear(12, 5)).eval(), "0", torch.rand(1, 1, 2, 2))
        Flow(num_units=3, shape=(5,), consumers=('1',), linear='3', floats=12, axes='NUHW')
    """
    find_layers(model, [layer])
    graph, layouts, tracker = Graph(model, layer), Layouts(model, [layer], layout), UnitTracker()
    if layouts.may_be_uncertain():
        with tracker:
            tracker.begin(images)
            output = graph.run(images)
        layouts.learn(layer, graph.output, tracker, len(images))
    else:
        output = graph.run(images)
    if not isinstance(output, Tensor) or not output.ndim or len(output) != len(images):
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        hint = "" if isinstance(output, Tensor) else "; wrap it so that it gives the tensor alone (its `.logits`, say)"
        raise refusal(ValueError(f"the model must give a tensor [N, ...] with N={len(images)}, but gave {got}{hint}."))
    readers, whole = graph.readers(output), "the predictions" if output.ndim == 2 else "the output"
    if graph.root not in readers and graph.root is not output.grad_fn:
        raise refusal(ValueError(f"layer {layer!r} must have a path to {whole}, but changing it cannot change them."))
    check_precision(layer, graph.output)
    axes = layouts.of(layer, graph.output).axes
    axis = axes.index("U")
    units = graph.output.shape[axis]
    consumers, shape = graph.consumers(output, whole), tuple(output.shape[1:])
    return Flow(units, shape, consumers, _linear(graph, readers, units, axis), graph.floats // len(images), axes)


def _linear(graph: Graph, readers: dict[Any, list[Any]], units: int, axis: int) -> str | None:
    """See `Flow`."""
    node = graph.root
    if axis != 1:  # a unit's inputs are not neighbours
        return None
    images = len(graph.output)
    if others_hooks():  # global ones, of all modules
        return None
    while len(readers[node]) == 1:
        node = readers[node][0]
        name = graph.names.get(node)
        if name is None:
            if node.name() not in _UNIT_WISE_NODES:
                return None
            continue
        module, shape = graph.modules[name], graph.shapes[name]
        if graph.runs[name] != 1 or shape[0] != images or why_not_plain(module) is not None:
            return None
        if is_one_of(module, (nn.Linear,)):
            one_dtype = graph.dtypes[name] == {module.weight.dtype}  # under autocast it computes in another
            return name if one_dtype and len(shape) == 2 and shape[1] % units == 0 else None
        if not is_one_of(module, (*_UNIT_WISE, nn.Flatten)) or shape[1] % units:
            return None
    return None
