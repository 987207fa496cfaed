"""Where things go in the outdoor scenes: sizes by distance, chance places, and what stands on the horizon."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dissect.tiny import objects_built as built
from dissect.tiny import objects_moving as moving
from dissect.tiny import objects_nature as nature
from dissect.tiny.canvas import UNITS, Canvas, Surface
from dissect.tiny.rng import Rng
from dissect.tiny.surfaces import LEAVES

Draw = Callable[[Canvas, Rng, int, int, int], None]


def scaled(base: int, horizon: int, size: int) -> int:
    """How large a thing of this size (at the lower edge) looks that stands on row `base`."""
    return size * (base - horizon + 60) // (UNITS - horizon + 60)


def scatter(canvas: Canvas, rng: Rng, horizon: int, count: int, low: int, high: int, things: Sequence[tuple[Draw, int]],
            x_range: tuple[int, int] = (0, UNITS)) -> None:  # fmt: skip
    """Things at chance places on rows [low, high], the far ones first; each with its size at the lower edge."""
    for base in sorted(rng.between(low, high) for _ in range(count)):
        draw, size = rng.pick(things)
        draw(canvas, rng, rng.between(*x_range), base, scaled(base, horizon, size * rng.between(80, 125) // 100))


def airplane_above(canvas: Canvas, rng: Rng, percent: int) -> None:
    """An airliner high up, in so many of a hundred cases."""
    if rng.chance(percent):
        moving.airplane(canvas, rng, rng.between(150, 870), rng.between(60, 200), rng.between(110, 200), False)


def backdrop(canvas: Canvas, rng: Rng, horizon: int) -> None:
    """Something far away: mountains, hills, a wood, a town or nothing."""
    airplane_above(canvas, rng, 5)
    kind = rng.below(7)
    if kind == 0:
        nature.mountains(canvas, rng, horizon, rng.between(120, 260), rng.chance(50))
    elif kind == 1:
        nature.hills(canvas, rng, horizon, "grass", Surface(rng.jitter(rng.pick(LEAVES)), "foliage", "speckled"))
    elif kind in (2, 3):
        nature.treeline(canvas, rng, horizon)
    elif kind == 4:
        for _ in range(rng.between(3, 6)):
            width = rng.between(50, 90)
            built.skyscraper(canvas, rng, rng.below(UNITS), horizon + 8, width, rng.between(90, 220))
    elif kind == 5:
        for _ in range(rng.between(2, 4)):
            built.house(canvas, rng, rng.below(UNITS), horizon + 10, rng.between(70, 110))
        if rng.chance(50):
            built.church(canvas, rng, rng.below(UNITS), horizon + 14, rng.between(150, 220))
        elif rng.chance(50):
            moving.train(canvas, rng, rng.between(200, 824), horizon + 10, rng.between(44, 60))
