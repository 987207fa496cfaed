"""Intervals of shares of pixels: z are drawn again with replacement."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.stats.bootstrap import interval_of

#: How often z are drawn again.
RESAMPLES = 1000


def intervals(weights: Tensor, change: Tensor, base: Tensor) -> Tensor:
    """Where 95 % of the ratios ``sum of change / sum of base`` lie; NaN where fewer than 10 z have a base.

    Args:
        weights: [B, N], see `dissect.stats.bootstrap.drawn_again`.
        change: [N, K] numbers.
        base: [N, K] integers, 0 or more.

    Returns:
        [K, 2] float64.

    Example:
        >>> from dissect.stats.bootstrap import drawn_again
        >>> base = torch.full((20, 1), 4)
        >>> intervals(drawn_again(20, 100, seed=0), -base, base)
        tensor([[-1., -1.]], dtype=torch.float64)
    """
    # Of integers the sums are exact in float64, below 2^53.
    ratios = (weights @ change.double()) / (weights @ base.double())  # NaN in samples that happen to have no base
    return torch.stack([interval_of(ratio, int((own > 0).sum())) for ratio, own in zip(ratios.T, base.T)])


def known(value: float) -> float | None:
    """A number for a table, or None where it is not known."""
    return None if value != value else float(value)
