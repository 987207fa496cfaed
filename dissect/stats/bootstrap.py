"""Intervals of what is read from a sample: it is drawn again with replacement, many times (percentile bootstrap)."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.arguments import integer, refusal

#: A sample of fewer gives no interval.
FEWEST = 10
#: Of one draw both ends would be the same number.
LEAST_DRAWS = 2
#: More tell nothing: the ends of an interval move by a thousandth of it, and memory grows with them.
MOST_DRAWS = 100_000
#: Of an interval: it leaves out half of the rest on each side.
LEVEL = 0.95


def enough_draws(value: int, name: str = "resamples", *, none: bool = True) -> int:
    """How often a sample is drawn again: twice or more, or not at all, where `none` allows that.

    Of 40 draws and fewer the interval reaches from the lowest to the highest: none lies outside of 95 % of them.

    Raises:
        TypeError: no integer.
        ValueError: 1, below 0, above 100,000, or 0 where that is not allowed.

    Example:
        >>> enough_draws(200), enough_draws(0)
        (200, 0)
    """
    draws = integer(name, value, 0 if none else 1, MOST_DRAWS)
    if 0 < draws < LEAST_DRAWS:
        raise refusal(ValueError(
            f"{name} must be at least {LEAST_DRAWS}, since one draw has no interval"
            f"{', or 0 for none' if none else ''}, but is {draws}."
        ))  # fmt: skip
    return draws


def drawn_again(count: int, resamples: int, seed: int) -> Tensor:
    """[B, N] float64: how often each of N things is drawn in each of B samples of N."""
    drawn = torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(resamples, count, dtype=torch.float64)
    return weights.scatter_add_(1, drawn, torch.ones_like(weights))


def ends(values: Tensor) -> Tensor:
    """[..., 2]: where 95 % of values [B, ...] lie, of which none is NaN.

    Order statistics, the next ones outwards: nothing is rounded.

    Example:
        >>> ends(torch.arange(200.0))
        tensor([  4., 195.])
    """
    ordered, last = values.sort(0).values, len(values) - 1
    low = int((1 - LEVEL) / 2 * last)
    return torch.stack([ordered[low], ordered[last - low]], -1)


def interval_of(values: Tensor, enough: int) -> Tensor:
    """[2] float64: the `ends` of values [B], those that are NaN left out.

    Args:
        values: of each sample.
        enough: how many of the things that are drawn say something; fewer than 10 give NaN.
    """
    known = values[~values.isnan()]
    return ends(known) if enough >= FEWEST and len(known) else torch.full((2,), torch.nan, dtype=torch.float64)
