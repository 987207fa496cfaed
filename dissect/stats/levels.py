"""Levels of units at many top fractions, from a sample of their values."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dissect.chosen import rank_keys
from dissect.files.checked import Array, fields, require
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.stats.sample import LowestKeys

#: Images in the sample, and in each of them rows and columns at whose crossings values are taken.
IMAGES, SIDE = 512, 8


class LevelSample:
    """Values of a layer's units at some pixels of some images, both chosen by hashes of the images' numbers.

    Of at most 512 images, those of the lowest hashes, 64 upsampled pixels each: the same ones in any batches and order.

    Args:
        grid: how the maps are sampled.

    Example:
        >>> sample = LevelSample(Grid.half_pixel((2, 2), (2, 2)))
        >>> sample.add(torch.arange(8.0).view(2, 1, 2, 2), torch.arange(2))
        >>> sample.levels([0.5, 0.25]).shape
        torch.Size([1, 2])
    """

    def __init__(self, grid: Grid) -> None:
        self._grid, self._sample = grid, LowestKeys(IMAGES)
        self._values = torch.empty(0, 0, 0)  # [S, U, 64]

    def add(self, activations: Tensor, numbers: Tensor) -> None:
        """Takes what belongs to the sample of a batch [N, U, h, w] of images of these numbers [N]."""
        before, new = self._sample.offer(numbers)
        if not len(self._values):
            self._values = torch.empty(0, activations.shape[1], SIDE * SIDE)
        found = [self._at_places(activations[at], int(numbers[at])) for at in new.tolist()]
        self._values = torch.cat([self._values[before], *(values[None] for values in found)])

    def levels(self, fractions: Sequence[float]) -> Tensor:
        """[U, B] float32: the level that each top fraction, falling, of the sampled values exceeds at most.

        The (floor(q M) + 1)-th largest of M values, as `TailThreshold` has it of all pixels.
        """
        values = self._values.transpose(0, 1).flatten(1).sort(1, descending=True).values
        ranks = [min(int(Fraction(str(share)) * values.shape[1]), values.shape[1] - 1) for share in fractions]
        return values[:, ranks].contiguous()

    def _at_places(self, maps: Tensor, number: int) -> Tensor:
        """[U, 64] of an image's maps."""
        keys = rank_keys(torch.arange(2 * SIDE) + 2 * SIDE * number)
        tables = (table[part % len(table)] for table, part in
                  zip((self._grid.rows, self._grid.columns), keys.split(SIDE)))  # fmt: skip
        return upsample(maps, *(table.to(maps.device) for table in tables)).flatten(1).cpu()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"numbers": self._sample.numbers, "values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's sample of levels"
        sizes = fields(what, state, {"numbers": Array(torch.int64, "S", 0)})
        places = str(SIDE * SIDE) if sizes["S"] else "P"
        fields(what, state, {"values": Array(torch.float32, f"S U {places}", -(2.0**126), 2.0**126)}, sizes)
        require(what, len(state["numbers"]) <= IMAGES, f"it has at most {IMAGES} images")
        self._sample.numbers, self._values = state["numbers"], state["values"]
