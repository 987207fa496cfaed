"""The threshold of each unit: an exact order statistic of its samples, found in a few visits."""

from __future__ import annotations

import math
from copy import copy
from decimal import Decimal
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.grid import Grid
from dissect.reference import keys_of
from dissect.reference.narrow import Bracket, Histogram, Narrowed, Narrowing, block_sums, located, narrowest_shift
from dissect.stats import threshold_state as parts
from dissect.stats.bins import CHOICES, exact_fraction, guessed_rank, rebinned, sparse
from dissect.stats.state import State, grid_key
from dissect.stats.threshold_state import POSITIONS, Positions

#: Bins of a visit.
NUM_BINS = 4096
#: The first visit bins what may be in the tail: from where a tail so many times as large began in so many images. The
#: tail of all images is no less of the first ones, whose hot cells may be kept.
WINDOW_RANKS, WINDOW_IMAGES = 8, 4


@speaks
class TailThreshold(State):
    """The level above which each unit fires on at most a top fraction q of its samples.

    Over M samples it is the ``floor(q * M) + 1``-th largest, an exact order statistic, so that at most ``floor(q * M)``
    samples are strictly above it. (Bau et al. 2020 define ``t_u = max_t P[a > t] >= q``, which lets at least q fire;
    the two differ by one sample.) q is the decimal that it is written as: 0.1 of 10 samples is 1 sample.

    Each visit to all activations narrows a bracket per unit, in the integer order of the floats. The first guesses one
    from a few pixels of each map. The next counts what lies above the guess and bins what lies inside: that either
    certifies a 4,096th of it or tells on which side the threshold is, and so do all visits after it. Three end at one
    float for nearly all units; where a guess was wrong, it takes five. Where the samples are the maps' own cells, at
    positions "feature" or where the maps have the segmentation's size, the first visit bins all of them, and 16-bit
    maps need no other.

    Args:
        fraction: q, between 0 and 1; a float, Decimal, Fraction, or a string such as "0.005".
        positions: "pixel": samples are the pixels of the upsampled maps; "feature": the cells of the raw maps.
        size: (H, W) of the upsampled maps, sampled half-pixel with edge border; with "pixel", this or `grid`.
        grid: how the maps are sampled.
        backend: of `dissect.ops.tail_histogram`.

    Attributes:
        whole: whether the visit under way must see whole maps, since `hot_cells` above `floors` did not tell.

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

    version = 6
    since = ("shift", "at_cells", "spare", "kept", "whole", "least")
    tensors = ("_low", "_high", "_spare", "_kept", "_least", "_first", "_last", "_shift", "_bins", "_above")

    def __init__(
        self,
        fraction: float | str | Decimal | Fraction = 0.01,
        *,
        positions: Positions = "pixel",
        size: tuple[int, int] | None = None,
        grid: Grid | None = None,
        backend: str = "auto",
    ) -> None:
        self.fraction = exact_fraction(fraction)
        if not 0 < self.fraction < 1:
            raise refusal(ValueError(f"fraction must lie strictly between 0 and 1, but got {fraction}."))
        if positions not in POSITIONS:
            raise refusal(ValueError(f"positions must be one of {POSITIONS}, but got {positions!r}."))
        if positions == "pixel" and size is None and grid is None:
            raise refusal(ValueError('positions "pixel" must come with a size or a grid, but got neither.'))
        self.positions, self.size, self.backend = positions, size, backend
        self.grid = grid if positions == "pixel" else None
        self.visit = 0  # visits that ended
        self._done = False  # kept, since to look at the brackets on a GPU is to wait for it
        self.batch = 0  # batches of the visit under way
        self.samples = 0  # M, known when the first visit ends
        self._seen = 0  # images of the visit under way
        self._map_area = 0  # cells per map
        self._at_cells = positions == "feature"  # whether samples are the maps' own cells; known after a batch
        self._dtype: torch.dtype | None = None  # whose keys these are
        # [U] keys: every threshold lies in [_low, _high].
        self._low = self._high = torch.empty(0, dtype=torch.int64)
        # [U] keys: below `_spare` nothing will be asked for, it seems; from `_kept` on this visit has seen all.
        self._spare = self._kept = torch.empty(0, dtype=torch.int64)
        # [U] keys of the least cells that the first visit has seen.
        self._least = torch.empty(0, dtype=torch.int64)
        self.whole = False
        # [R, U]: keys that the visit's histogram bins, 2^shift to a bin; [R, U, B] and [R, U]: its counts. R is 1;
        # before the first batch, 0.
        self._first = self._last = self._shift = self._above = torch.empty(0, 0, dtype=torch.int64)
        self._bins = torch.empty(0, 0, 0, dtype=torch.int64)
        self._narrowed: Narrowed | None = None  # what becomes of all that, until it is known to be good

    def add(self, activations: Tensor | ops.HotCells) -> None:
        """Adds a batch [N, U, h, w] to the visit under way; from the second on its `hot_cells` will do (see `floors`).

        Raises:
            TypeError, ValueError: bad activations (the message says which batch, image and unit), or other numbers of
                units, another map size or, where samples are cells, another dtype than before; or hot cells where maps
                must be whole. Nothing is added then.
        """
        counted = False
        try:
            self._start(activations)
            kept = parts.kept_from(activations, self._low, whole=self.visit == 0 or self.whole)
            if not len(activations):
                return  # the batch that opens the windows must have something to show
            self._move(activations.device)
            status = ops.new_status(activations.device)
            if not len(self._first) and isinstance(activations, Tensor):
                self._open_windows(activations[:: max(1, len(activations) // WINDOW_IMAGES)][:WINDOW_IMAGES], status)
            for grid, images in self._samples():
                ops.tail_histogram(
                    activations[images], self._first[0], self._last[0], self._shift[0], self._bins[0], self._above[0],
                    grid=grid, status=status, backend=self.backend,
                )  # fmt: skip
                counted = True
        except (TypeError, ValueError) as error:
            refusal(error, f"batch {self.batch} of visit {self.visit}")
            raise
        except BaseException:
            if counted:  # of some of its images: no reader may take this for the whole batch or for none of it
                self._status = torch.tensor(self.batch + 1, dtype=torch.int32)
            raise
        self._note(status, self.batch)
        self._kept = torch.maximum(self._kept, kept)
        if self.visit == 0 and not self._at_cells and isinstance(activations, Tensor):
            self._least = torch.minimum(self._least, keys_of(activations.amin((2, 3)).amin(0).float()))
        self.batch += 1
        self._seen += activations.shape[0]

    def advance(self) -> bool:
        """Ends a visit: narrows every unit's bracket. True when all are one float; else visit the same data again.

        Raises:
            ValueError: no samples were added, or another number of them than in the first visit, or bad ones, or others
                than in the visits before (where that shows).
        """
        self._end_advance(self._begin_advance().tolist())
        return self.done

    def _begin_advance(self) -> Tensor:
        """Narrows without waiting for the device. [5]: `Narrowed.facts`, and the status, for `_end_advance`."""
        samples = self._seen * self._area(self.grid)
        if samples == 0 or samples != (self.samples if self.visit else samples):
            self.check()
            parts.refuse_samples(samples, self.samples, self.visit)
        self._narrowed = None if self.done else self._narrow()
        facts = self._low.new_zeros(4) if self._narrowed is None else self._narrowed.facts
        status = facts.new_zeros(()) if self._status is None else self._status.to(facts)
        return torch.cat([facts, status[None]])

    def _end_advance(self, facts: list[int]) -> None:
        """Takes over what was narrowed, if these are the facts of it."""
        open_units, unproved, torn, from_end, bad = facts
        if bad:
            self.check()
        parts.check_untorn(torn, len(self._low) - from_end, self.visit)
        if self._narrowed is not None:
            low, high, spare, first, last, shift, _ = self._narrowed
            num_bins = 1 if not open_units else 1 << 16 if self._bits == 16 else NUM_BINS
            self._bin(first[None], last[None], shift[None], num_bins)
            self._low, self._high, self._spare, self._done = low, high, spare, not open_units
            self._kept, self._least, self.whole = torch.zeros_like(low), torch.zeros_like(low), unproved > 0
            self.samples = self._seen * self._area(self.grid)
        self._narrowed = None
        self.visit += 1
        self._seen = self.batch = 0

    @property
    def done(self) -> bool:
        """Whether every unit's threshold is known."""
        return self._done

    def bracket(self) -> tuple[Tensor, Tensor]:
        """[U] float32 each: every unit's threshold lies in [lo, hi].

        Raises:
            RuntimeError: no visit has ended.
        """
        self.check()
        if self.visit == 0 or self._dtype is None:
            raise refusal(RuntimeError("a visit must end with advance() before there is a bracket."))
        return parts.value_at(self._low, self._dtype), parts.value_at(self._high, self._dtype)

    def threshold(self) -> Tensor:
        """[U] float32: the thresholds.

        Raises:
            RuntimeError: further visits are needed.
        """
        if not self.done:
            raise refusal(RuntimeError("advance() must have returned True before there is a threshold."))
        return self.bracket()[0]

    def floors(self, share: float | None = None) -> Tensor:
        """[U] float32, below which later visits ask for nothing, it seems: about twice the fraction is above.

        `dissect.ops.hot_cells` above these may stand for the maps from the second visit on. Whether they sufficed is
        proved by exact counts; where they did not, `whole` tells.

        Args:
            share: in the first visit, of all samples how many were added so far, above 0 and at most 1. The floors are
                those that as many samples exceed as will exceed the last ones, so that they rise while samples are
                added; -inf before there are enough.

        Raises:
            RuntimeError: no visit has ended, and no share is given.
        """
        self.check()
        if self._dtype is None or (self.visit == 0 and share is None):
            raise refusal(RuntimeError("a visit must end with advance() before there are floors."))
        if self.visit > 0 or share is None or not self._seen:
            return parts.floors_below(self._spare, self._dtype)
        area = self._area(self.grid if self._at_cells else sparse(self.grid, 0))
        rank, margin = guessed_rank(self.fraction, math.ceil(self._seen / share) * area)
        return parts.floors_below(self._locate(rank if self._at_cells else 2 * rank + margin)[0], self._dtype)

    def merge(self, other: TailThreshold) -> None:
        """Adds what another state saw in the same visit, of other images.

        Raises:
            ValueError: the two are not of the same fraction, positions, grid, visit and bracket.
        """
        self.check()
        other.check()
        if other._dtype is None:
            return
        if self._dtype is None:
            self.load_state_dict(other.state_dict())
            return
        other = copy(other)
        other._move(self._low.device)
        self._agree({
            "fraction": self.fraction == other.fraction,
            "positions": self.positions == other.positions,
            "grid": grid_key(self.grid) == grid_key(other.grid),
            "dtype": self._dtype == other._dtype and self._at_cells == other._at_cells,
            "visit": self.visit == other.visit,
            "bracket": torch.equal(self._low, other._low) and torch.equal(self._high, other._high),
            "map size": self._map_area == other._map_area,
        })  # fmt: skip
        self._kept = torch.maximum(self._kept, other._kept)
        self._least = torch.minimum(self._least, other._least)
        first, last = torch.maximum(self._first, other._first), torch.minimum(self._last, other._last)
        if self.visit == 0 and bool((first > last).any()):
            raise refusal(ValueError("states to merge must agree, but their bins do not meet; add all to one."))
        shift = torch.maximum(self._shift, other._shift)
        own = ((state._first, state._shift, state._bins, state._above) for state in (self, other))
        mine, theirs = (rebinned(bins, first, last, shift) for bins in own)
        self._first, self._last, self._shift = first, last, shift
        self._bins, self._above = mine[0] + theirs[0], mine[1] + theirs[1]
        self._seen += other._seen
        self.batch += other.batch

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        self.check()
        return {
            "fraction": str(self.fraction),
            "positions": self.positions,
            "visit": self.visit,
            "batch": self.batch,
            "samples": self.samples,
            "seen": self._seen,
            "map_area": self._map_area,
            "at_cells": self._at_cells,
            "dtype": None if self._dtype is None else str(self._dtype).removeprefix("torch."),
            "source": None if self.grid is None else list(self.grid.source_shape),
            "rows": None if self.grid is None else self.grid.rows.clone(),
            "columns": None if self.grid is None else self.grid.columns.clone(),
            "whole": self.whole,
            **{name[1:]: getattr(self, name).clone() for name in self.tensors},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it is of another fraction, other positions, or another grid or size than this one has; or it
                holds what cannot be.
        """
        state = {"dtype": None, "source": None} | state  # of one that saw nothing
        parts.check_scalars(state)
        for name, own in (("fraction", str(self.fraction)), ("positions", self.positions)):
            if state[name] != own:
                raise refusal(ValueError(f"the state's {name} must be {own}, but is {state[name]}."))
        self.grid = parts.grid_of(state, self.grid, self.size)
        self.visit, self.batch = state["visit"], state["batch"]
        self.samples, self._seen, self._map_area = state["samples"], state["seen"], state["map_area"]
        self._dtype = None if state["dtype"] is None else getattr(torch, state["dtype"])
        self._at_cells = state.get("at_cells", self.positions == "feature")  # version 2 lacks it
        state = parts.upgraded(state, self._bits)
        parts.check_keys(state, self._bits, self._at_cells)
        self.whole = state["whole"]
        for name in self.tensors:
            setattr(self, name, state[name[1:]].clone())
        self._done = self.visit > 0 and bool((self._low == self._high).all())
        self._status = None

    def _batch_name(self, number: int) -> str:
        return f"batch {number} of visit {self.visit}"

    def _start(self, activations: Tensor | ops.HotCells) -> None:
        """On the first batch: learns the map's size and type, and opens the widest bracket."""
        ops.checks.activations("TailThreshold", activations)
        num_units, map_shape = activations.shape[1], (activations.shape[2], activations.shape[3])
        if self._dtype is None:
            if self.positions == "pixel" and self.grid is None:
                self.grid = Grid.half_pixel(map_shape, self.size or map_shape)
            self._at_cells = self.grid is None or self.grid.is_identity
        key_dtype = activations.dtype if self._at_cells else torch.float32
        if self._dtype is not None:
            area = self._map_area if self.grid is None else None
            parts.check_like(map_shape, num_units, key_dtype, len(self._low), self._dtype, area)
        if self.grid is not None:
            self.grid.check("TailThreshold", map_shape)
        if self._dtype is None:
            self._dtype, self._map_area = key_dtype, map_shape[0] * map_shape[1]
            self._low = torch.zeros(num_units, dtype=torch.int64, device=activations.device)
            self._high = torch.full_like(self._low, (1 << (8 * key_dtype.itemsize)) - 1)
            self._spare, self._kept = torch.zeros_like(self._low), torch.zeros_like(self._low)
            self._least = self._high.clone()

    def _samples(self) -> list[tuple[Grid | None, slice]]:
        """What the visit under way bins of the next batch: which pixels (None: the maps' own cells) of which images.

        Images take turns in which pixels stand for all, by their number, so that batches make no difference.
        """
        if self._at_cells or self.visit > 0:
            return [(None if self._at_cells else self.grid, slice(None))]
        return [
            (sparse(self.grid, choice), slice((choice - self._seen) % CHOICES, None, CHOICES))
            for choice in range(CHOICES)
        ]

    @property
    def _bits(self) -> int:
        """Of a key: 16 or 32."""
        return 16 if self._dtype is not None and self._dtype.itemsize == 2 else 32

    def _area(self, grid: Grid | None) -> int:
        """Samples per unit and image."""
        return self._map_area if grid is None else grid.target_shape[0] * grid.target_shape[1]

    def _open_windows(self, maps: Tensor, status: Tensor) -> None:
        """Chooses what the first visit bins: everything from well below where the tail of these maps begins."""
        if self._bits == 16:
            self._bin(self._low[None].clone(), self._high[None].clone(), torch.zeros_like(self._low)[None], 1 << 16)
            return
        grid, ends = self._samples()[-1][0], (self._low, self._high)
        rank = WINDOW_RANKS * int(self.fraction * len(maps) * self._area(grid)) + 16
        first = parts.window(maps, grid, min(rank, len(maps) * self._area(grid)), ends, status, self.backend)[None]
        last = torch.full_like(first, parts.LAST_KEY)
        self._bin(first, last, narrowest_shift(first, last, NUM_BINS), NUM_BINS)

    def _bin(self, first: Tensor, last: Tensor, shift: Tensor, num_bins: int) -> None:
        """Begins histograms of [first, last]; where there is no memory for them, nothing has changed."""
        bins, above = first.new_zeros(*first.shape, num_bins), torch.zeros_like(first)
        self._first, self._last, self._shift, self._bins, self._above = first, last, shift, bins, above

    def _histogram(self) -> Histogram:
        return Histogram(self._first[0], self._last[0], self._shift[0], self._bins[0], self._above[0])

    def _narrow(self) -> Narrowed:
        """Narrows the bracket by the visit's histogram, and chooses what the next visit bins."""
        ranks: tuple[int, ...] = (int(self.fraction * self._seen * self._area(self.grid)) + 1,)
        if self.visit == 0 and not self._at_cells:
            # By the pixels that stand for all the threshold seems to lie between two keys, well above a third.
            rank, margin = guessed_rank(self.fraction, self._seen * self._area(sparse(self.grid, 0)))
            ranks = (rank + margin, max(1, rank - margin), 2 * rank + margin)
        bracket = Bracket(self._low, self._high, self._spare, self._kept, self._least)
        return ops.narrow(bracket, self._histogram(), Narrowing(ranks, self.visit == 0, self._bits, NUM_BINS))

    def _locate(self, rank: int) -> tuple[Tensor, Tensor]:
        """[U] keys each: the rank-th largest of the visit's samples lies between them."""
        histogram = self._histogram()
        return located(histogram, rank, (1 << self._bits) - 1, block_sums(histogram.bins))
