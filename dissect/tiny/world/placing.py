"""Where things go: slots side by side, so that what matters is not hidden, and sizes by distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dissect.tiny.world.canvas import UNITS, Canvas
from dissect.tiny.world.rng import Rng

#: Draws a thing whose middle column, lowest row and size are given.
Draw = Callable[[Canvas, Rng, int, int, int], None]

_MARGIN = 10


class Slot(NamedTuple):
    """A place for one thing: its name, the middle column, and its size in percent of the usual."""

    name: str
    x: int
    percent: int


def slots(rng: Rng, things: Sequence[tuple[str, int]]) -> list[Slot]:
    """Places side by side, in chance order, for things of these names and widths; smaller if they need more room."""
    order = rng.shuffled(things)
    room = UNITS - 2 * _MARGIN
    total = sum(width for _, width in order)
    percent = min(rng.between(100, 130), 100 * room // max(1, total))
    free = room - total * percent // 100
    cuts = sorted(rng.below(free + 1) for _ in order)
    placed, used = [], _MARGIN
    for (name, width), cut in zip(order, cuts):
        wide = width * percent // 100
        placed.append(Slot(name, used + cut + wide // 2, percent))
        used += wide
    return placed
