"""Intervals of shares that are counted."""

from __future__ import annotations

import math
from statistics import NormalDist

from dissect.arguments import integer, refusal, speaks


@speaks
def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share, of so many successes in so many independent trials (Wilson 1927).

    ::

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    with p = successes / trials, n = trials, and z the quantile of the normal distribution at (1 + level) / 2.

    Raises:
        TypeError, ValueError: no trials, more successes than these, or a level outside (0, 1).

    Example:
        >>> [round(end, 4) for end in dissect.stats.wilson_interval(8, 10)]
        [0.4902, 0.9433]
    """
    trials, successes = integer("trials", trials), integer("successes", successes, 0)
    if successes > trials:
        raise refusal(ValueError(f"successes must be at most the {trials} trials, but are {successes}."))
    if not 0 < level < 1:
        raise refusal(ValueError(f"level must be between 0 and 1, but is {level}."))
    z, share = NormalDist().inv_cdf((1 + level) / 2), successes / trials
    half = z * math.sqrt(share * (1 - share) / trials + (z / trials) ** 2 / 4)
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
