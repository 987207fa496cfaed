"""What stands for maps once a survey has told about where thresholds are and which images will be shown."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect import ops
from dissect.devices import to_device
from dissect.dissection.given import GivenThreshold
from dissect.grid import Grid
from dissect.stats import TailThreshold


def condensed(
    state: TailThreshold | GivenThreshold, grid: Grid, shown: Tensor, maps: Tensor, numbers: Tensor
) -> ops.HotCells:
    """The hot cells of a batch's maps, from which thresholds, counts and shown maps come to the same bits.

    Args:
        state: of the maps' thresholds, which are given, or sought; then at least its first visit has ended.
        grid: by which they are counted.
        shown: [U, S] numbers of the images whose maps a unit is shown with, which stay whole.
        maps: [N, U, h, w].
        numbers: [N] of the images.
    """
    whole = (numbers.cpu()[:, None, None] == shown.cpu()).any(2)
    floors = torch.where(to_device(whole, maps.device), -torch.inf, state.floors())
    return ops.hot_cells(maps, floors, reach=0 if grid.is_identity else 1)
