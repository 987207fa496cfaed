"""What stands for maps once it is known about where thresholds are and which images may be shown."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dissect import ops
from dissect.devices import to_device
from dissect.dissection.given import GivenThreshold
from dissect.grid import Grid
from dissect.stats import TailThreshold
from dissect.visits.disk import Maps

#: Floors of a survey are found anew when so many times as many images were seen.
AGED = 1.1


def condensed(floors: Tensor, grid: Grid, shown: Tensor, maps: Maps, numbers: Tensor) -> ops.HotCells:
    """The hot cells of a batch's maps, from which thresholds, counts and shown maps come to the same bits.

    Args:
        floors: [U] below which nothing will be asked for, it seems.
        grid: by which the maps are counted.
        shown: [U, S] numbers of the images whose maps a unit is shown with, or may be, which stay whole.
        maps: [N, U, h, w], or what was kept of them above lower floors.
        numbers: [N] of the images.
    """
    whole = (numbers.cpu()[:, None, None] == shown.cpu()).any(2)
    floors = torch.where(to_device(whole, maps.device), -torch.inf, floors)
    if isinstance(maps, ops.HotCells):  # a floor that was too high stays: the counts will tell
        floors = torch.maximum(floors, maps.floors)
    return ops.hot_cells(maps, floors, reach=0 if grid.is_identity else 1)


class RisingFloors:
    """Below which no layer's thresholds will ask for anything, it seems, in the middle of a survey.

    Args:
        thresholds: by layer; may be filled later.
    """

    def __init__(self, thresholds: Mapping[str, TailThreshold | GivenThreshold]) -> None:
        self._thresholds = thresholds
        self._last: dict[str, tuple[float, Tensor]] = {}  # the share of all images, and the floors then

    def at(self, name: str, share: float | None) -> Tensor:
        """[U] of a layer, now or a little before, since to find them takes a while.

        Args:
            name: of the layer.
            share: of all images how many were seen; None for the floors as if it were all of them.
        """
        if share is None:
            return self._thresholds[name].floors(1.0)
        then, floors = self._last.get(name, (0.0, torch.empty(0)))
        if not then <= share <= AGED * then:
            floors = self._thresholds[name].floors(share)
            self._last[name] = share, floors
        return floors


class HighestFloors:
    """The highest floors, by layer, above which anything was kept.

    Exact counts prove floors while thresholds are sought; of what the last such visit keeps nothing else tells.
    """

    def __init__(self) -> None:
        self._floors: dict[str, Tensor] = {}

    def note(self, name: str, floors: Tensor) -> None:
        """Something may be kept above floors [U]."""
        self._floors[name] = torch.maximum(floors, self._floors.get(name, floors))

    def forget(self, name: str) -> None:
        """What was kept of a layer is gone."""
        self._floors.pop(name, None)

    def above(self, thresholds: Mapping[str, TailThreshold | GivenThreshold]) -> set[str]:
        """The layers that lack cells: a floor lies above a threshold, now that thresholds are known."""
        return {
            name
            for name, floors in self._floors.items()
            if isinstance(state := thresholds[name], TailThreshold) and bool((floors > state.threshold()).any())
        }
