"""Of every target pixel, the map whose upsampled value is the highest."""

import torch
from torch import Tensor

from dissect.reference.sampling import upsample
from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def upsample_argmax(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``argmax over c of upsample(logits[n, c])[y, x]``, ties to the smaller c; one map at a time.

    Args:
        logits: [N, C, h, w] float32, float16 or bfloat16, C >= 1.
        rows: [H, 3] int32 table of `Grid.rows`.
        columns: [W, 3] int32 table of `Grid.columns`.

    Returns:
        [N, H, W] int32.
    """
    best = upsample(logits[:, 0], rows, columns)
    winners = torch.zeros(best.shape, dtype=torch.int32, device=logits.device)
    for number in range(1, logits.shape[1]):
        values = upsample(logits[:, number], rows, columns)
        wins = values > best
        best = torch.where(wins, values, best)
        winners = torch.where(wins, number, winners)
    return winners
