"""What the experiments on classifiers read from a batch: the network's scores and each unit's peak."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import check_precision, refusal
from dissect.devices import device_of
from dissect.network.layouts import Layouts, to_maps
from dissect.network.modes import check_repeatable, noticed_chance
from dissect.network.outputs import first_tensor
from dissect.network.trace import FirstTensorTrace
from dissect.network.tracking import TrackedPasses


def scores_and_peaks(model: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the peak ``max over p of a_u(x, p)`` of each unit of a layer, on its own output.

    Args:
        model: a classifier that gives logits [N, C].
        layer: a layer's name, whose output is maps, tokens or vectors.
        images: [N, 3, H, W], on any device.

    Returns:
        [N, C] and [N, U], float32 on the CPU.

    Raises:
        ValueError: the model's or the layer's output has another shape; or the model, which is evaluating, gives others
            of the same images when it runs again.
        KeyError: no such layer.
    """
    device = device_of(model, images.device)
    layouts = Layouts(model, [layer])
    passes = TrackedPasses(model, lambda: bool(layouts.may_be_uncertain()))

    def learn(output: Any, layer: str) -> Any:
        if passes.tracker is not None:
            layouts.learn(layer, output, passes.tracker, len(images))
        return output

    images = images.to(device)
    with torch.no_grad(), noticed_chance(device) as drawn, passes:
        with FirstTensorTrace(model, layer, edit=learn) as trace:
            scores = model(images)
    if drawn:
        check_repeatable(model, images)
    activations = first_tensor(trace[layer])
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
        raise refusal(ValueError(f"model must give logits [N={len(images)}, classes], but gave {_shape(scores)}."))
    check_precision(layer, activations)
    axes = layouts.of(layer, activations, len(images)).axes
    return scores.float().cpu(), ops.image_peaks(to_maps(activations, axes).cpu())


def _shape(output: object) -> str:
    return str(list(output.shape)) if isinstance(output, Tensor) else type(output).__name__
