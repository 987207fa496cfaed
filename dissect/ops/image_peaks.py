"""image_peaks: the highest activation of each unit in each image."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.dispatch import implementation, register


def image_peaks(activations: Tensor, *, status: Tensor | None = None, backend: str = "auto") -> Tensor:
    """``max over y, x of activations[n, u, y, x]``, on the feature map itself.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides.
        status: [] int32 on the same device, which becomes 1 where a GPU meets values that are not finite and below
            2^126; without one the call waits for the GPU and raises.
        backend: "auto", "cpp", "cuda", "triton", "torch" or "reference".

    Returns:
        [N, U] float32.

    Raises:
        TypeError, ValueError: wrong dtype or shape, or values that are not finite and below 2^126.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> dissect.ops.image_peaks(torch.tensor([[[[1.0, 3.0]], [[-2.0, -5.0]]]]))
        tensor([[ 3., -2.]])
    """
    checks.activations("image_peaks", activations)
    checks.status("image_peaks", status, activations)
    checks.backend("image_peaks", backend)
    peaks: Tensor = torch.ops.dissect.image_peaks(activations, backend, status)
    return peaks


def _image_peaks(activations: Tensor, backend: str, status: Tensor | None = None) -> Tensor:
    peaks: Tensor = implementation("image_peaks", backend, activations.device)(activations, status)
    return peaks


def _shapes(activations: Tensor, *arguments: object) -> Tensor:
    return activations.new_empty(activations.shape[:2], dtype=torch.float32)


register("image_peaks(Tensor activations, str backend, Tensor(a!)? status=None) -> Tensor", _image_peaks, _shapes)
