"""The layers of a network, as one pass finds them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks, tell
from dissect.devices import device_of
from dissect.network.layouts import Layouts
from dissect.network.outputs import first_tensor
from dissect.network.tracking import UnitTracker
from dissect.table import Table


class ListedLayerRow(NamedTuple):
    """A layer.

    Attributes:
        layer: its name, as all functions take it.
        kind: its class.
        output: the shape of what it gives, without the images' axis; of several tensors the first one's. Empty where it
            does not run, or gives something else.
        units: how many it has; None where that is not known, so that it cannot be dissected.
        note: what to know before it is chosen, or "".
    """

    layer: str
    kind: str
    output: tuple[int, ...]
    units: int | None
    note: str


@speaks
def list_layers(model: nn.Module, images: Tensor) -> Table[ListedLayerRow]:
    """All layers of a network, in the order of ``model.named_modules()``: a `Table` of `ListedLayerRow`.

    The network runs once, as it is (in training mode some networks give other shapes).

    Args:
        model: the network.
        images: [N, C, H, W], a batch to run; shapes may depend on its size.

    Raises:
        ValueError: the network cannot take these images, so that no layer ran; says why.

    Warns:
        UserWarning: it failed later; the layers that did not run say so.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
        >>> list_layers(model, torch.zeros(1, 3, 5, 5))
        layer  kind     output     units  note
        0      Conv2d   (4, 3, 3)      4
        1      Flatten  (36,)         36
    """
    outputs: dict[str, list[Any]] = {name: [] for name, _ in model.named_modules() if name}
    layouts, tracker = Layouts(model, outputs), UnitTracker()

    def keep(name: str, output: Any) -> None:
        # The first run tells.
        outputs[name].append(None if outputs[name] else first_tensor(output))
        if len(outputs[name]) == 1:
            layouts.learn(name, output, tracker, len(images))

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: keep(name, output))
        for name, module in model.named_modules()
        if name
    ]
    images = images.to(device_of(model))
    try:
        with torch.no_grad(), tracker:
            tracker.begin(images)
            model(images)
    except Exception as error:  # it is the network's own code that failed
        reason = f"{list(images.shape)}: {' '.join(str(error).split()) or type(error).__name__}"
        ran = sum(map(bool, outputs.values()))
        if not ran:
            raise refusal(ValueError(f"the network cannot take images {reason}")) from error
        tell(f"the network failed once {ran} of its layers had run on images {reason}")
    finally:
        for handle in handles:
            handle.remove()
    return Table(_row(model, layouts, name, found) for name, found in outputs.items())


def _row(model: nn.Module, layouts: Layouts, name: str, found: list[Any]) -> ListedLayerRow:
    kind = type(model.get_submodule(name)).__name__
    if not found:
        return ListedLayerRow(name, kind, (), None, "does not run")
    output = found[0]
    if not isinstance(output, Tensor):
        return ListedLayerRow(name, kind, (), None, f"gives {type(output).__name__}")
    try:
        units: int | None = output.shape[layouts.of(name, output).axes.index("U")]
    except ValueError:
        units = None
    return ListedLayerRow(
        name, kind, tuple(output.shape[1:]), units, f"runs {len(found)} times" if len(found) > 1 else ""
    )
