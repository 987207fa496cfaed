"""Intervals of shares of pixels: z are drawn again with replacement (percentile bootstrap)."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.stats.significance import FEWEST_GROUPS, LEVEL

#: How often z are drawn again.
RESAMPLES = 1000
#: Fewer z that show a class than this give no interval.
FEWEST = FEWEST_GROUPS


def drawn_again(count: int, resamples: int, seed: int) -> Tensor:
    """[B, N] float64: how often each of N z is drawn in each of B samples of N."""
    drawn = torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(resamples, count, dtype=torch.float64)
    return weights.scatter_add_(1, drawn, torch.ones_like(weights))


def intervals(weights: Tensor, change: Tensor, base: Tensor) -> Tensor:
    """Where 95 % of the ratios ``sum of change / sum of base`` lie; NaN where fewer than 10 z have a base.

    Args:
        weights: [B, N], see `drawn_again`.
        change: [N, K] numbers.
        base: [N, K] integers, 0 or more.

    Returns:
        [K, 2] float64.

    Example:
        >>> base = torch.full((20, 1), 4)
        >>> intervals(drawn_again(20, 100, seed=0), -base, base)
        tensor([[-1., -1.]], dtype=torch.float64)
    """
    # Of integers the sums are exact in float64, below 2^53.
    ratios = (weights @ change.double()) / (weights @ base.double())  # NaN in samples that happen to have no base
    return torch.stack([interval_of(ratio, int((own > 0).sum())) for ratio, own in zip(ratios.T, base.T)])


def interval_of(values: Tensor, enough: int) -> Tensor:
    """[2] float64: where 95 % of values [B] lie, those that are NaN left out.

    Args:
        values: of each sample of z.
        enough: how many z say something; fewer than 10 give NaN.
    """
    ordered = values[~values.isnan()].sort().values
    if enough < FEWEST or not len(ordered):
        return torch.full((2,), torch.nan, dtype=torch.float64)
    low = int((1 - LEVEL) / 2 * (len(ordered) - 1))
    return torch.stack([ordered[low], ordered[len(ordered) - 1 - low]])


def known(value: float) -> float | None:
    """A number for a table, or None where it is not known."""
    return None if value != value else float(value)
