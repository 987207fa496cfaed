"""The highest activation of each unit in each image."""

from torch import Tensor

from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def image_peaks(activations: Tensor) -> Tensor:
    """``max over y, x of activations[n, u, y, x]``, on the feature map itself.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.

    Returns:
        [N, U] float32; a zero is always the positive zero.
    """
    return activations.amax((2, 3)).float() + 0.0
