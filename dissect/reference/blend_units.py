"""Ablation and insertion: features of some units blended with a value."""

import torch
from torch import Tensor

from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def blend_units(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """``a * value + (1 - a) * r`` with ``a = alpha * mask``; r's own bits at a = 0, the value itself at a = 1.

    Where alpha or mask is 0, a is 0, whatever the other: infinity and NaN too.

    Args:
        features: [N, U, h, w] float32, float16 or bfloat16: r.
        alpha: float32, broadcasts to the features.
        value: float32, broadcasts to the features.
        mask: float32, broadcasts to the features.

    Returns:
        [N, U, h, w] of the features' dtype, computed in float32 and rounded once.
    """
    a = _share(alpha, mask)
    kept = (1 - a) * features.float()
    blended = torch.where(a == 1, value, a * value + kept).to(features.dtype)
    return torch.where(a == 0, features, blended)


@keeps_subnormals
def blend_units_backward(
    gradient: Tensor, features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `blend_units` with respect to features, alpha and value, unreduced: [N, U, h, w] float32 each.

    ``d/dr = 1 - a``, ``d/dalpha = mask * (value - r)``, ``d/dvalue = a``, everywhere, a = 0 and a = 1 included. Where a
    factor is 0 the product is 0, even if the other is infinite.
    """
    a = _share(alpha, mask)
    gradient = gradient.float()
    by_alpha = torch.where(mask == 0, 0.0, gradient * mask * (value - features.float()))
    return (
        torch.where(a == 1, 0.0, gradient * (1 - a)),
        by_alpha,
        torch.where(a == 0, 0.0, gradient * a).expand_as(gradient),
    )


def _share(alpha: Tensor, mask: Tensor) -> Tensor:
    return torch.where((alpha == 0) | (mask == 0), 0.0, alpha * mask)
