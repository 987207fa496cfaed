"""What the experiments on classifiers read from a batch: the network's scores and each unit's peak."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import check_precision
from dissect.trace import Trace
from dissect.transfer import device_of
from dissect.units import source_of, unit_axis, unit_maps


def scores_and_peaks(name: str, model: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the peak ``max over p of a_u(x, p)`` of each unit of a layer, on its own output.

    Args:
        name: of the caller, for messages.
        model: a classifier that gives logits [N, C].
        layer: a layer's name, whose output is [N, U, h, w].
        images: [N, 3, H, W], on any device.

    Returns:
        [N, C] and [N, U], float32 on the CPU.

    Raises:
        ValueError: the model's or the layer's output has another shape.
        KeyError: no such layer.
    """
    device = device_of(model, images.device)
    with torch.no_grad(), Trace(model, layer) as trace:
        scores = model(images.to(device))
    activations = trace[layer]
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
        raise ValueError(f"{name}: model must give logits [N={len(images)}, classes], but gave {_shape(scores)}.")
    if not isinstance(activations, Tensor) or activations.ndim != 4:
        raise ValueError(f"{name}: layer {layer!r} must give [N, U, h, w], but gave {_shape(activations)}.")
    check_precision(layer, activations)
    maps = unit_maps(activations, unit_axis(activations, layer, source_of(model, layer)))
    return scores.float().cpu(), ops.image_peaks(maps.cpu())


def _shape(output: object) -> str:
    return str(list(output.shape)) if isinstance(output, Tensor) else type(output).__name__
