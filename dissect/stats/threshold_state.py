"""What a saved state of `TailThreshold` must hold before kernels and readers can trust it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch

from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require

WHAT = "TailThreshold: the state"
MOST = 1 << 53
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
    if state["dtype"] is None:
        require(WHAT, sizes["U"] == 0 and state["visit"] == 0 and state["seen"] == 0, "without a dtype it saw nothing")
        return
    require(WHAT, state["map_area"] >= 1, "maps have cells")
    require(WHAT, at_cells or state["source"] is not None, "samples at pixels come with a grid")
    require(WHAT, at_cells or bits == 32, "samples at pixels are float32")
    require(WHAT, (state["visit"] > 0) == (state["samples"] > 0), "samples are known when a visit has ended")
    low, high, first, last, shift = (state[name] for name in ("low", "high", "first", "last", "shift"))
    fields(WHAT, state, {"shift": Array(torch.int64, "R U", 0, 31)}, sizes)
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
