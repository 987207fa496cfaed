"""The cells of maps that lie near values above a floor."""

import torch
from torch import Tensor

from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def hot_cells(activations: Tensor, floors: Tensor, reach: int) -> Tensor:
    """Which cells are kept: those above their map's floor, and the neighbours of such.

    The zeros that a grid may have around a map are above a floor below 0, so that their neighbours are kept then.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        floors: [N, U] float32; -inf keeps all.
        reach: how many rows and columns away a neighbour may be, 0 or 1.

    Returns:
        [N, U, h, w] bool.
    """
    around = torch.nn.functional.pad(activations.float(), (reach,) * 4)
    hot = (around > floors[..., None, None]).float()
    return torch.nn.functional.max_pool2d(hot, 2 * reach + 1, stride=1) > 0
