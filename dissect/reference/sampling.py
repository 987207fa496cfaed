"""The sampling rule: what an upsampled activation is."""

import torch
from torch import Tensor

from dissect.subnormals import keeps_subnormals


def corners(activations: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four source values a00, a01, a10, a11 of every target pixel, where the first digit counts rows.

    Args:
        activations: [..., h, w] feature maps, float32, float16 or bfloat16; 16-bit values widen exactly first.
        rows: [H, 3] int32 table of `Grid.rows`.
        columns: [W, 3] int32 table of `Grid.columns`.

    Returns:
        Four float32 tensors [..., H, W].
    """
    # A ring of zeros holds the virtual corners: index -1 becomes 0, and index h becomes h + 1.
    padded = torch.nn.functional.pad(activations.float(), (1, 1, 1, 1))
    y0, y1 = (rows[:, :2].long() + 1).unbind(1)
    x0, x1 = (columns[:, :2].long() + 1).unbind(1)
    upper, lower = padded[..., y0, :], padded[..., y1, :]
    return upper[..., x0], upper[..., x1], lower[..., x0], lower[..., x1]


@keeps_subnormals
def upsample(activations: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Every feature map at every target pixel, [..., H, W] float32, by the rule in `dissect.grid.Grid`."""
    a00, a01, a10, a11 = corners(activations, rows, columns)
    wy = rows[:, 2].contiguous().view(torch.float32)[:, None]
    wx = columns[:, 2].contiguous().view(torch.float32)
    left = a00 + (a10 - a00) * wy
    right = a01 + (a11 - a01) * wy
    return left + (right - left) * wx
