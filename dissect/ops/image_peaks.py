"""image_peaks: the highest activation of each unit in each image."""

from __future__ import annotations

from torch import Tensor

from dissect import reference
from dissect.ops import checks
from dissect.ops.dispatch import select


def image_peaks(activations: Tensor, *, backend: str = "auto") -> Tensor:
    """``max over y, x of activations[n, u, y, x]``, on the feature map itself.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides.
        backend: "auto" or "reference".

    Returns:
        [N, U] float32.

    Raises:
        TypeError, ValueError: wrong dtype or shape, or values that are not finite and below 2^126.

    Example:
        >>> dissect.ops.image_peaks(torch.tensor([[[[1.0, 3.0]], [[-2.0, -5.0]]]]))
        tensor([[ 3., -2.]])
    """
    checks.activations("image_peaks", activations)
    checks.finite("image_peaks", activations)
    select("image_peaks", backend, activations.device)
    return reference.image_peaks(activations)
