"""narrow: where units' thresholds lie after a visit. For `dissect.stats.TailThreshold`, which needs no checks."""

from __future__ import annotations

from dissect.ops.dispatch import implementation
from dissect.reference.narrow import Bracket, Histogram, Narrowed, Narrowing


def narrow(bracket: Bracket, histogram: Histogram, by: Narrowing, *, backend: str = "auto") -> Narrowed:
    """As `dissect.reference.narrow`, on a GPU in one launch and without waiting for it."""
    narrowed: Narrowed = implementation("narrow", backend, bracket.low.device)(bracket, histogram, by)
    return narrowed
