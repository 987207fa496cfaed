"""`HotCells`: what `dissect.ops.hot_cells` keeps of maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.ops import known


@dataclass(frozen=True, eq=False)
class HotCells:
    """Of [N, U, h, w] maps the cells near values above a floor, in place of all.

    They answer every question about pixels above the floors as the maps do: a pixel lies between its four source
    cells, so one above a floor has a source cell above it, and its other ones are neighbours of that.

    Attributes:
        floors: [N, U] float32; of a map whose floor is -inf all cells are kept.
        peaks: [N, U] float32, the largest value of each map.
        starts: [N, U] int64, where the entries of each map begin.
        counts: [N, U] int32, how many they are.
        places: [R] ``row * w + column`` of each entry, rising within a map; uint16, or int32 from 65,537 cells on.
        values: [R] float32.
        size: (h, w).
        reach: how many rows and columns away a neighbour may be, 0 or 1.

    Example:
        >>> maps = torch.tensor([[[[0.0, 0.1, 0.0, 0.0, 0.3]]]])
        >>> hot = dissect.ops.hot_cells(maps, torch.tensor([0.2]))
        >>> hot.places.tolist(), hot.maps()
        ([3, 4], tensor([[[[0.0000, 0.0000, 0.0000, 0.0000, 0.3000]]]]))
    """

    floors: Tensor
    peaks: Tensor
    starts: Tensor
    counts: Tensor
    places: Tensor
    values: Tensor
    size: tuple[int, int]
    reach: int

    @property
    def shape(self) -> torch.Size:
        """(N, U, h, w), of the maps."""
        return torch.Size((*self.counts.shape, *self.size))

    @property
    def ndim(self) -> int:
        """Of the maps: 4."""
        return 4

    @property
    def dtype(self) -> torch.dtype:
        """Of the values: float32."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(part.nbytes for part in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their names, in the order in which a new one takes them."""
        names = ("floors", "peaks", "starts", "counts", "places", "values")
        return {name: getattr(self, name) for name in names}

    def element_size(self) -> int:
        """Of a value: 4."""
        return self.values.element_size()

    def check(self) -> None:
        """Refuses what an engine would read beyond its end; what was looked at once is not looked at again.

        Raises:
            ValueError: tensors of other dtypes or shapes, not contiguous, or entries where there are none.
        """
        if known.is_known(*self._parts(), facts=self.size):
            return
        area, number = self.size[0] * self.size[1], len(self.values)
        rules = {
            "floors must be contiguous float32 [N, U]": (self.floors, torch.float32, self.counts.shape),
            "starts must be contiguous int64 [N, U]": (self.starts, torch.int64, self.counts.shape),
            "counts must be contiguous int32 [N, U]": (self.counts, torch.int32, self.floors.shape),
            "places must be contiguous [R], int32 if maps have more than 65,536 cells and else uint16": (
                self.places, torch.int32 if area > 1 << 16 else torch.uint16, (number,)),
            "values must be contiguous float32 [R]": (self.values, torch.float32, (number,)),
        }  # fmt: skip
        for rule, (part, dtype, shape) in rules.items():
            if part.dtype != dtype or part.shape != shape or not part.is_contiguous() or part.device != self.device:
                raise ValueError(f"hot cells: {rule}, all on one device, but are {part.dtype} {list(part.shape)}.")
        starts, ends = self.starts, self.starts + self.counts
        places = self.places.int()
        good = bool(((starts >= 0) & (self.counts >= 0) & (ends <= number)).all())
        if not good or not bool(((places >= 0) & (places < area)).all()):
            raise ValueError("hot cells: starts, counts and places must be of entries and cells that there are.")
        falls = places[1:] <= places[:-1]
        falls[starts[(starts > 0) & (starts < number)] - 1] = False
        if bool(falls.any()):
            raise ValueError("hot cells: places must rise within a map.")
        self.trust()

    def __len__(self) -> int:
        """N."""
        return len(self.counts)

    def __getitem__(self, images: slice) -> HotCells:
        """Those of some images; entries are shared."""
        parts = (self.floors, self.peaks, self.starts, self.counts)
        floors, peaks, starts, counts = (part[images].contiguous() for part in parts)
        found = HotCells(floors, peaks, starts, counts, self.places, self.values, self.size, self.reach)
        if known.is_known(*self._parts(), facts=self.size):
            found.trust()
        return found

    def _parts(self) -> tuple[Tensor, ...]:
        return self.starts, self.counts, self.places, self.values, self.floors

    def trust(self) -> None:
        """Notes that an engine can read the entries: they were looked at, or it made them."""
        known.remember(*self._parts(), facts=self.size)

    def maps(self) -> Tensor:
        """[N, U, h, w] float32: the maps, with 0 in place of what was not kept, or the floor where that is below 0."""
        least = -float(torch.finfo(torch.float32).max) / 4  # what is lower is no activation
        maps = self.floors.clamp(least, 0)[..., None, None].repeat(1, 1, *self.size)
        number, entry = self._entries(torch.arange(self.counts.numel(), device=self.device))
        maps.view(-1)[number * self.size[0] * self.size[1] + self.places.int()[entry].long()] = self.values[entry]
        return maps

    def whole(self, images: Tensor, units: Tensor) -> Tensor:
        """[M, h, w] float32, the maps of some images of the batch and units, of which all cells were kept.

        Raises:
            ValueError: not all were kept.
        """
        numbers = images * self.counts.shape[1] + units
        area = self.size[0] * self.size[1]
        if bool((self.counts.view(-1)[numbers] != area).any()):
            raise ValueError("whole: all cells of the maps must have been kept, but of some only the hot ones were.")
        entry = self.starts.reshape(-1)[numbers][:, None] + torch.arange(area, device=self.device)
        return self.values[entry].view(-1, *self.size)

    def _entries(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """For each entry of these maps, the map's number and the entry's."""
        counts = self.counts.reshape(-1)[numbers].long()
        number = numbers.repeat_interleave(counts)
        ends = counts.cumsum(0)
        within = torch.arange(len(number), device=self.device) - (ends - counts).repeat_interleave(counts)
        return number, self.starts.reshape(-1)[number] + within
