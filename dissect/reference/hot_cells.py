"""The cells of maps that lie near values above a floor."""

import torch
from torch import Tensor

from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def hot_cells(activations: Tensor, floors: Tensor, reach: int) -> Tensor:
    """Which cells are kept: those above their map's floor and their neighbours; all where the floor is below 0.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        floors: [N, U] float32.
        reach: how many rows and columns away a neighbour may be, 0 or 1.

    Returns:
        [N, U, h, w] bool.
    """
    levels = floors[..., None, None]
    hot = (activations.float() > levels).float()
    near = torch.nn.functional.max_pool2d(hot, 2 * reach + 1, stride=1, padding=reach)
    return (near > 0) | (levels < 0)
