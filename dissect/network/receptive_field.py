"""The receptive fields of a layer's cells, whatever ways lead there from the image."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.devices import device_of
from dissect.network.hooks import Hooks
from dissect.network.layers import find_layers
from dissect.network.outputs import first_tensor
from dissect.network.places import EVERYWHERE, Field, Lost, PlaceTracker


class ReceptiveField(NamedTuple):
    """What the cells of a layer see of the image: `Field` (size, offset, step) of its rows, and of its columns.

    Cell i of an axis sees `size` pixels from `offset + i step` on, and lies at their middle.
    """

    rows: Field
    columns: Field

    @property
    def layer(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """(kernel, stride, padding) of the one convolution that has these fields, for `Grid.receptive_field`."""
        size, offset, step = zip(*self)
        return size, step, (-offset[0], -offset[1])


class _ReachedError(BaseException):
    """Ends a forward pass at the probed layer; no `except Exception` of a model takes it."""


def receptive_field(model: nn.Module, layer: str, images: Tensor) -> ReceptiveField:
    """The receptive fields of a layer's rows and columns, in pixels of the image.

    Found by following one pass of the model: convolutions and poolings compose as
    ``size += (kernel - 1) * dilation * step; offset -= padding * step; step *= stride`` (the published
    `composed_fieldmap` of Bau et al. 2017), whether they are modules or functions. Where ways meet, as in residual
    blocks or Inception's, all must give the same centres, and the largest field counts. What depends on the image as a
    whole, as the gate of squeeze-and-excitation, moves no cell and is left out; so are the statistics of
    normalisations.

    Args:
        model: the network.
        layer: a layer that gives maps.
        images: [N, C, H, W], a batch to run, of which the first image is enough.

    Raises:
        ValueError: two ways give other centres (both are named); or an operation on the way has no receptive field
            that is known: attention, upsampling, transposed convolutions.
        KeyError, RuntimeError: no such layer, or it does not run.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        >>> rows, columns = receptive_field(model, "2", torch.zeros(1, 3, 8, 8))
        >>> rows, rows.centre
        (Field(size=4, offset=-1, step=2), 0.5)
        >>> dissect.Grid.receptive_field([receptive_field(model, "2", torch.zeros(1, 3, 8, 8)).layer], (4, 4), (8, 8))
        Grid(...)
    """
    (probed,) = find_layers(model, [layer])
    images = images.to(device_of(model, images.device))
    running: list[str] = []
    tracker = PlaceTracker(images, lambda: running[-1] if running else "")
    reached: list[Any] = []

    def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        reached.append(first_tensor(output))
        raise _ReachedError

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        running.pop()
        if isinstance(module, nn.Linear) and args:
            tracker.keep(args[0], output)

    with Hooks() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            hooks.before(module, lambda *_, name=name: running.append(name))
            hooks.after(module, after)
        hooks.after(probed, end)
        try:
            with tracker:
                model(images)
        except _ReachedError:
            pass
    if not reached:
        raise refusal(RuntimeError(f"layer {layer!r} must run in a forward pass, but the model did not call it."))
    return _fields(layer, tracker, reached[0])


def _fields(layer: str, tracker: PlaceTracker, output: Any) -> ReceptiveField:
    known = tracker.of(output) if isinstance(output, Tensor) else None
    why = "it gives no tensor of the images"
    if isinstance(known, Lost):
        why = known.why if known is not EVERYWHERE else "its output is an average over all places"
    elif known is not None and known.axes[0] < known.axes[1]:
        return ReceptiveField(*known.fields)
    elif known is not None:
        why = "its rows come after its columns"
    raise refusal(
        ValueError(
            f"layer {layer!r} must have cells with receptive fields for this grid, but {why}; use grid='half_pixel' or "
            "give a Grid."
        )
    )
