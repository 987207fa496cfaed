"""What `TailThreshold` asks of batches and of saved states before kernels and readers can trust them."""

from __future__ import annotations

import math
from typing import Any, Literal, NoReturn, get_args

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.grid import Grid
from dissect.reference import keys_of, values_of
from dissect.reference.narrow import bin_of_rank, block_sums, narrowest_shift

WHAT = "TailThreshold: the state"
MOST = 1 << 53
#: The first visit's last key, below that of 2^126, the least value that is refused; a tail's bins all end there.
LAST_KEY = ((1 << 31) | (253 << 23)) - 1
DTYPES = ("float32", "float16", "bfloat16")

_ALWAYS = {
    "fraction": Text(),
    "positions": Text(),
    "visit": Whole(0, MOST),
    "batch": Whole(0, MOST),
    "samples": Whole(0, MOST),
    "seen": Whole(0, MOST),
    "map_area": Whole(0, MOST),
    "at_cells": Maybe(Of(bool)),
    "dtype": Maybe(Text(DTYPES)),
    "whole": Maybe(Of(bool)),
    "source": Maybe(Each(Whole(1), 2)),
}
_KEYS = {name: Array(torch.int64, "U", 0, "keys") for name in ("low", "high")}
_BINS = {
    "first": Array(torch.int64, "R U", 0, "keys"),
    "last": Array(torch.int64, "R U", 0, "keys"),
    "bins": Array(torch.int64, "R U B", 0, MOST),
    "above": Array(torch.int64, "R U", 0, MOST),
}
_TABLES = {name: Array(torch.int32, "T 3") for name in ("rows", "columns")}

Positions = Literal["pixel", "feature"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


#: A bin of the first visit held 2^15 keys in states of version 1.
FIRST_SHIFT = 15


def upgraded(state: dict[str, Any], bits: int) -> dict[str, Any]:
    """A state as of this version, of one of any before; `bits` are of a key."""
    first, last = state["first"], state["last"]
    if "shift" not in state:  # version 1
        if bits == 16:
            shift = torch.zeros_like(first)
        elif state["visit"]:
            shift = narrowest_shift(first, last, state["bins"].shape[2])
        else:
            shift = torch.full_like(first, FIRST_SHIFT)
        state = {**state, "shift": shift}
    if len(first) == 3:  # until version 3 the first visit binned bounds too, before these few pixels
        state = {**state, **{name: state[name][2:] for name in ("first", "last", "shift", "bins", "above")}}
    if "spare" not in state:  # until version 4 all maps came whole
        state = {
            **state,
            "spare": torch.zeros_like(state["low"]),
            "kept": torch.zeros_like(state["low"]),
            "whole": False,
        }
    if "least" not in state:  # until version 5 nobody asked
        state = {**state, "least": torch.zeros_like(state["low"])}
    return state


def check_scalars(state: dict[str, Any]) -> None:
    """Refuses numbers, texts and shapes that cannot be, and tables that are missing.

    Raises:
        ValueError: says which.
    """
    fields(WHAT, state, _ALWAYS)
    fields(WHAT, state, {**_KEYS, **_BINS}, {"keys": (1 << 32) - 1})
    if state["source"] is not None:
        for name, rule in _TABLES.items():
            fields(WHAT, state, {name: rule})


def grid_of(state: dict[str, Any], own: Grid | None, size: tuple[int, int] | None) -> Grid | None:
    """The grid of a state, or one's own where it has none; compared with what was asked for.

    Raises:
        ValueError: it is another one, or of another size.
    """
    if state["source"] is None:
        return own
    grid = Grid(state["rows"], state["columns"], tuple(state["source"]))
    if own is not None and grid.key != own.key:
        raise refusal(ValueError("the state's grid must be this one's, but they differ."))
    if size is not None and grid.target_shape != tuple(size):
        raise refusal(ValueError(f"the state's size must be {size}, but is {grid.target_shape}."))
    return grid


def check_keys(state: dict[str, Any], bits: int, at_cells: bool) -> None:
    """Refuses brackets and bins that do not fit together.

    Args:
        state: with `check_scalars` behind it.
        bits: of a key.
        at_cells: whether samples are the maps' own cells.

    Raises:
        ValueError: says which.
    """
    sizes = fields(WHAT, state, {**_KEYS, **_BINS}, {"keys": (1 << bits) - 1})
    fields(WHAT, state, {"shift": Array(torch.int64, "R U", 0, 31)}, sizes)
    fields(
        WHAT,
        state,
        dict.fromkeys(("spare", "kept", "least"), Array(torch.int64, "U", 0, "keys")),
        sizes | {"keys": 1 << bits},
    )
    fields(WHAT, state, {"whole": Of(bool)})
    if state["dtype"] is None:
        require(WHAT, sizes["U"] == 0 and state["visit"] == 0 and state["seen"] == 0, "without a dtype it saw nothing")
        return
    require(WHAT, state["map_area"] >= 1, "maps have cells")
    require(WHAT, at_cells or state["source"] is not None, "samples at pixels come with a grid")
    require(WHAT, at_cells or bits == 32, "samples at pixels are float32")
    require(WHAT, (state["visit"] > 0) == (state["samples"] > 0), "samples are known when a visit has ended")
    low, high, first, last, shift = (state[name] for name in ("low", "high", "first", "last", "shift"))
    require(WHAT, low <= high, "low is at most high")
    if not sizes["R"]:
        require(WHAT, state["seen"] == 0, "what was seen was binned")
        return
    require(WHAT, sizes["R"] == 1, "a visit has one histogram")
    require(WHAT, sizes["B"] == 1 or (sizes["B"] > 0 and sizes["B"] % 64 == 0), "bins come in blocks of 64")
    width = (last - first) >> shift
    require(WHAT, width < sizes["B"], "first and last fit in the bins")
    beyond = torch.arange(sizes["B"], device=width.device) > width[..., None]
    require(WHAT, ~(beyond & (state["bins"] != 0)), "bins beyond last are empty")
    done = bool((low == high).all())
    require(WHAT, done or sizes["B"] > 1, "open brackets have bins")


def window(
    maps: Tensor, grid: Grid | None, rank: int, ends: tuple[Tensor, Tensor], status: Tensor, backend: str
) -> Tensor:
    """[U] keys: a bin of a quarter of an octave begins there, in which the rank-th largest sample lies.

    Args:
        maps: [N, U, h, w].
        grid: which pixels are samples.
        rank: from 1.
        ends: [U] each, the least and the largest key.
        status: see `dissect.ops.tail_histogram`.
        backend: of it.
    """
    coarse = torch.full_like(ends[0], 21)
    bins, above = coarse.new_zeros(len(coarse), 1 << 11), torch.zeros_like(coarse)
    ops.tail_histogram(maps, *ends, coarse, bins, above, grid=grid, status=status, backend=backend)
    return bin_of_rank(bins, torch.full_like(coarse, rank), block_sums(bins)) << 21


def refuse_samples(samples: int, first: int, visit: int) -> NoReturn:
    """Refuses a visit of no samples, or of others than those of the first.

    Raises:
        ValueError: says how many.
    """
    told = f"visit {visit} must see the samples of the first, {first} per unit, but saw {samples}."
    if samples == 0:
        told = "a visit must add at least one sample before advance(), but added none."
    raise refusal(ValueError(told))


def check_untorn(torn: int, unit: int, visit: int) -> None:
    """Refuses units, so many, whose brackets have no end in common any more; `unit` is the first one.

    Raises:
        ValueError: names it.
    """
    if torn:
        raise refusal(
            ValueError(
                f"visit {visit} must see the activations of the visits before, but those of unit {unit} "
                f"({torn} units in all) have changed; is the network in evaluation mode and without chance of "
                "its own, and the data the same at every visit?"
            )
        )


def value_at(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """[U] float32: the values of keys; of keys beyond those of the infinities, which would be NaN, the infinities."""
    least, most = keys_of(torch.tensor([-math.inf, math.inf], dtype=dtype)).tolist()
    return values_of(keys.clamp(least, most), dtype).float()


def floors_below(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """[U] float32: the largest values below these keys; -inf where there are none."""
    return value_at(keys - 1, dtype).clamp(max=torch.finfo(dtype).max)


def check_like(
    map_shape: tuple[int, int], num_units: int, dtype: torch.dtype, units: int, own: torch.dtype, area: int | None
) -> None:
    """Refuses a batch of another number of units, dtype or, where `area` is given, number of cells than before.

    Raises:
        ValueError: says what they must be.
    """
    if (num_units, dtype) != (units, own):
        rule = f"activations must have U={units} units of {own}, but got U={num_units} of {dtype}."
        raise refusal(ValueError(rule))
    if area is not None and area != map_shape[0] * map_shape[1]:
        raise refusal(ValueError(f"activations must be maps of {area} cells, but got {list(map_shape)}."))


def kept_from(activations: Tensor | ops.HotCells, like: Tensor, whole: bool) -> Tensor:
    """[U] keys from which on a batch has all samples; `like` are some keys, and `whole` is whether it must have all.

    Raises:
        ValueError: hot cells where maps must be whole.
    """
    if not isinstance(activations, ops.HotCells):
        return torch.zeros_like(like)
    if whole:
        raise refusal(ValueError("activations must be whole maps at this visit, but are hot cells (see `whole`)."))
    floors = activations.floors.amax(0) if len(activations) else activations.floors.new_full(like.shape, -math.inf)
    return torch.where(floors == -math.inf, 0, keys_of(floors) + 1)
