"""How far two quantities go together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from dissect.arguments import refusal, speaks

#: Fewer pairs than this have no correlation that says anything: two always lie on a line.
FEWEST = 3


class Correlation(NamedTuple):
    """Pearson's correlation of pairs of numbers.

    Attributes:
        pairs: how many there are.
        r: the coefficient; None of fewer than three pairs, or where one of the two never varies.
        low: the lower end of its interval (Fisher's z); None of fewer than four pairs.
        high: the upper end.
    """

    pairs: int
    r: float | None
    low: float | None
    high: float | None


@speaks
def pearson(x: Iterable[float], y: Iterable[float], level: float = 0.95) -> Correlation:
    """Pearson's correlation with its interval by Fisher's transformation, ``tanh(atanh(r) +- z / sqrt(n - 3))``.

    The interval takes the pairs to be drawn from a bivariate normal distribution.

    Args:
        x: n finite numbers.
        y: as many.
        level: of the interval, between 0 and 1.

    Raises:
        ValueError: lengths that differ, numbers that are not finite, or no such level.

    Example:
        >>> found = pearson([1, 2, 3, 4, 5], [1, 2, 4, 3, 5])
        >>> found.r, round(found.low, 3), round(found.high, 3)
        (0.9, 0.086, 0.993)
        >>> pearson([1, 2, 3], [5, 5, 5]).r is None
        True
    """
    x, y = [float(value) for value in x], [float(value) for value in y]
    if len(x) != len(y):
        raise refusal(ValueError(f"x and y must have the same length, but have {len(x)} and {len(y)}."))
    if not all(map(math.isfinite, x + y)):
        raise refusal(ValueError("x and y must be finite numbers, but one is not."))
    if not 0 < level < 1:
        raise refusal(ValueError(f"level must lie strictly between 0 and 1, but is {level!r}."))
    if len(x) < FEWEST or min(x) == max(x) or min(y) == max(y):
        return Correlation(len(x), None, None, None)
    r = max(-1.0, min(1.0, statistics.correlation(_scaled(x), _scaled(y))))
    if len(x) == FEWEST:
        return Correlation(len(x), r, None, None)
    if abs(r) == 1:
        return Correlation(len(x), r, r, r)
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2) / math.sqrt(len(x) - 3)
    return Correlation(len(x), r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach))


def _scaled(values: list[float]) -> list[float]:
    """By a power of two, so that no square overflows or vanishes; no bit of the correlation depends on it."""
    exponent = math.frexp(max(map(abs, values)))[1]
    return [math.ldexp(value, -exponent) for value in values]
