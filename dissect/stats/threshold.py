"""The threshold of each unit: an exact order statistic of its samples, found in a few visits."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dissect import ops
from dissect.grid import Grid
from dissect.reference import values_of
from dissect.stats.state import State

POSITIONS = ("pixel", "feature")
NUM_BINS = 4096


class TailThreshold(State):
    """The level above which each unit fires on at most a top fraction q of its samples.

    Over M samples it is the ``floor(q * M) + 1``-th largest, an exact order statistic, so that at most ``floor(q * M)``
    samples are strictly above it. (Bau et al. 2020 define ``t_u = max_t P[a > t] >= q``, which lets at least q fire;
    the two differ by one sample.) q is the decimal that it is written as: 0.1 of 10 samples is 1 sample.

    Each visit to all activations narrows a bracket per unit, in the integer order of the floats: the first by
    histograms of each cell's least and largest corner, which bound its pixels; later ones by 4,096 bins within the
    bracket, where cells outside are skipped or counted whole. About four visits end at one float. 16-bit maps at
    positions "feature" need one.

    Args:
        fraction: q, between 0 and 1; a float, Decimal, Fraction, or a string such as "0.005".
        positions: "pixel": samples are the pixels of the upsampled maps; "feature": the cells of the raw maps.
        size: (H, W) of the upsampled maps, sampled half-pixel with edge border; with "pixel", this or `grid`.
        grid: how the maps are sampled.
        backend: of `dissect.ops.tail_histogram`.

    Raises:
        ValueError: a fraction outside (0, 1), unknown positions, or positions "pixel" without a size or grid.

    Example:
        >>> state = dissect.stats.TailThreshold(0.25, positions="feature")
        >>> maps = torch.arange(8.0).view(1, 1, 2, 4)
        >>> while True:
        ...     state.add(maps)
        ...     if state.advance():
        ...         break
        >>> state.threshold()  # 2 of 8 samples, 6 and 7, are above it
        tensor([5.])
    """

    def __init__(
        self,
        fraction: float | str | Decimal | Fraction = 0.01,
        *,
        positions: str = "pixel",
        size: tuple[int, int] | None = None,
        grid: Grid | None = None,
        backend: str = "auto",
    ) -> None:
        self.fraction = Fraction(str(fraction))
        if not 0 < self.fraction < 1:
            raise ValueError(f"TailThreshold: fraction must lie strictly between 0 and 1, but got {fraction}.")
        if positions not in POSITIONS:
            raise ValueError(f"TailThreshold: positions must be one of {POSITIONS}, but got {positions!r}.")
        if positions == "pixel" and size is None and grid is None:
            raise ValueError('TailThreshold: positions "pixel" must come with a size or a grid, but got neither.')
        self.positions, self.size, self.grid, self.backend = positions, size, grid, backend
        self.visit = 0  # visits that ended
        self.batch = 0  # batches of the visit under way
        self.samples = 0  # M, known when the first visit ends
        self._seen = 0  # samples per unit of the visit under way
        self._dtype: torch.dtype | None = None  # whose keys these are
        self._low = self._high = torch.empty(0, dtype=torch.int64)  # [U] keys: the bracket
        self._bins = torch.empty(0, dtype=torch.int64)  # [1 or 2, U, B]: of values, or of cells' bounds
        self._above = torch.empty(0, dtype=torch.int64)  # [1 or 2, U]

    def add(self, activations: Tensor) -> None:
        """Adds a batch [N, U, h, w] to the visit under way.

        Raises:
            TypeError, ValueError: bad activations (the message says which batch, image and unit), or other numbers of
                units, another map size or, at positions "feature", another dtype than before. Nothing is added then.
        """
        try:
            self._start(activations)
            for row, sample in enumerate(("min", "max") if len(self._bins) == 2 else ("value",)):
                ops.tail_histogram(
                    activations,
                    self._low,
                    self._high,
                    _shift(self._low, self._high, self._bins.shape[2]),
                    self._bins[row],
                    self._above[row],
                    grid=self.grid,
                    sample=sample,
                    backend=self.backend,
                )
        except (TypeError, ValueError) as error:
            raise type(error)(f"TailThreshold: batch {self.batch} of visit {self.visit}: {error}") from None
        self.batch += 1
        area = self.grid.target_shape if self.grid is not None else activations.shape[2:]
        self._seen += activations.shape[0] * area[0] * area[1]

    def advance(self) -> bool:
        """Ends a visit: narrows every unit's bracket. True when all are one float; else visit the same data again.

        Raises:
            ValueError: no samples were added, or another number of them than in the first visit.
        """
        if self._seen == 0:
            raise ValueError("TailThreshold: a visit must add at least one sample before advance(), but added none.")
        if self.visit > 0 and self._seen != self.samples:
            raise ValueError(
                f"TailThreshold: visit {self.visit} must see the samples of the first, {self.samples} per unit, "
                f"but saw {self._seen}."
            )
        if not self.done:
            self.samples = self._seen
            rank = int(self.fraction * self.samples) + 1
            shift = _shift(self._low, self._high, self._bins.shape[2])
            lowest = _bin_of_rank(self._bins[0], rank - self._above[0])
            highest = _bin_of_rank(self._bins[-1], rank - self._above[-1])
            top = self._low + ((highest + 1) << shift) - 1
            self._low, self._high = self._low + (lowest << shift), torch.minimum(self._high, top)
        self.visit += 1
        self._open_visit()
        return self.done

    @property
    def done(self) -> bool:
        """Whether every unit's threshold is known."""
        return self.visit > 0 and bool((self._low == self._high).all())

    def bracket(self) -> tuple[Tensor, Tensor]:
        """[U] float32 each: every unit's threshold lies in [lo, hi].

        Raises:
            RuntimeError: no visit has ended.
        """
        if self.visit == 0 or self._dtype is None:
            raise RuntimeError("TailThreshold: a visit must end with advance() before there is a bracket.")
        return values_of(self._low, self._dtype).float(), values_of(self._high, self._dtype).float()

    def threshold(self) -> Tensor:
        """[U] float32: the thresholds.

        Raises:
            RuntimeError: further visits are needed.
        """
        if not self.done:
            raise RuntimeError("TailThreshold: advance() must have returned True before there is a threshold.")
        return self.bracket()[0]

    def merge(self, other: TailThreshold) -> None:
        """Adds what another state saw in the same visit, of other images.

        Raises:
            ValueError: the two are not of the same fraction, positions, grid, visit and bracket.
        """
        if other._dtype is None:
            return
        if self._dtype is None:
            self.load_state_dict(other.state_dict())
            return
        same = {
            "fraction": self.fraction == other.fraction,
            "positions": self.positions == other.positions,
            "grid": (self.grid and self.grid.key) == (other.grid and other.grid.key),
            "dtype": self._dtype == other._dtype,
            "visit": self.visit == other.visit,
            "bracket": torch.equal(self._low, other._low) and torch.equal(self._high, other._high),
        }
        for name, equal in same.items():
            if not equal:
                raise ValueError(f"TailThreshold: states to merge must agree, but their {name} differs.")
        self._bins += other._bins
        self._above += other._above
        self._seen += other._seen
        self.batch += other.batch

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        return {
            "fraction": str(self.fraction),
            "positions": self.positions,
            "visit": self.visit,
            "batch": self.batch,
            "samples": self.samples,
            "seen": self._seen,
            "dtype": None if self._dtype is None else str(self._dtype).removeprefix("torch."),
            "source": None if self.grid is None else list(self.grid.source_shape),
            "rows": None if self.grid is None else self.grid.rows.clone(),
            "columns": None if self.grid is None else self.grid.columns.clone(),
            **{name: getattr(self, f"_{name}").clone() for name in ("low", "high", "bins", "above")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it is of another fraction or other positions.
            KeyError: a key is missing.
        """
        for name, own in (("fraction", str(self.fraction)), ("positions", self.positions)):
            if state[name] != own:
                raise ValueError(f"TailThreshold: the state's {name} must be {own}, but is {state[name]}.")
        self.visit, self.batch = state["visit"], state["batch"]
        self.samples, self._seen = state["samples"], state["seen"]
        self._dtype = None if state["dtype"] is None else getattr(torch, state["dtype"])
        if state["source"] is not None:
            self.grid = Grid(state["rows"], state["columns"], tuple(state["source"]))
        for name in ("low", "high", "bins", "above"):
            setattr(self, f"_{name}", state[name].clone())

    def _start(self, activations: Tensor) -> None:
        """On the first batch: learns the map's size and type, and opens the widest bracket."""
        ops.checks.activations("TailThreshold", activations)
        num_units, map_shape = activations.shape[1], (activations.shape[2], activations.shape[3])
        key_dtype = torch.float32 if self.positions == "pixel" else activations.dtype
        if self._dtype is not None:
            if (num_units, key_dtype) != (len(self._low), self._dtype):
                raise ValueError(
                    f"activations must have U={len(self._low)} units of {self._dtype}, "
                    f"but got U={num_units} of {key_dtype}."
                )
            return
        if self.positions == "pixel" and self.grid is None:
            self.grid = Grid.half_pixel(map_shape, self.size)
        elif self.positions == "feature":
            self.grid = None
        self._dtype = key_dtype
        self._low = torch.zeros(num_units, dtype=torch.int64)
        self._high = torch.full_like(self._low, (1 << (8 * key_dtype.itemsize)) - 1)
        self._open_visit()

    def _open_visit(self) -> None:
        """Empty histograms for the visit to come."""
        num_bins = 1 << 16 if self._dtype.itemsize == 2 else NUM_BINS
        rows = 2 if self.visit == 0 and self.positions == "pixel" else 1
        self._bins = torch.zeros(rows, len(self._low), num_bins, dtype=torch.int64)
        self._above = torch.zeros(rows, len(self._low), dtype=torch.int64)
        self._seen = self.batch = 0


def _shift(low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """[U]: the smallest shift with which [low, high] fits in num_bins (a power of two) bins."""
    shift = torch.zeros_like(low)
    for bit in range(num_bins.bit_length() - 1, 32):
        shift += (high - low) >> bit > 0
    return shift


def _bin_of_rank(bins: Tensor, rank: Tensor) -> Tensor:
    """[U]: the bin that holds the rank-th largest sample, 1 being the largest."""
    from_top = bins.flip(1).cumsum(1)
    return bins.shape[1] - 1 - (from_top < rank[:, None]).sum(1)
