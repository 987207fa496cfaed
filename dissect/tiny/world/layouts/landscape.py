"""Landscapes: land to the horizon, water, a road, and what stands there."""

from __future__ import annotations

from dissect.tiny.world.canvas import UNITS, Canvas, Surface
from dissect.tiny.world.casting import LANDS
from dissect.tiny.world.light import Light, reflect
from dissect.tiny.world.objects import beings, buildings, nature, street, vehicles
from dissect.tiny.world.placing import Draw, slots
from dissect.tiny.world.rng import Rng


def _house(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    draw: Draw = buildings.barn if rng.chance(35) else buildings.house
    draw(canvas, rng, x, base, size)


def _conifers(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """Two or three firs."""
    snowy = rng.chance(25)
    for place in rng.shuffled((-1, 0, 1))[: rng.between(2, 3)]:
        nature.conifer(canvas, rng, x + place * size * 18 // 100, base, size * rng.between(70, 105) // 100, snowy)


def _rocks(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A boulder, and a smaller one."""
    nature.rock(canvas, rng, x + rng.pick((-1, 1)) * size * 8 // 10, base - 20, size * 6 // 10)
    nature.rock(canvas, rng, x, base, size)


def _ashore(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A boat drawn up on land."""
    vehicles.boat(canvas, rng, x, base, size, rng.pick(("row", "motor")))


#: How to draw what stands on the land, its usual size and the room that it needs.
_STANDING: dict[str, tuple[Draw, int, int]] = {
    "house": (_house, 320, 350),
    "conifer": (_conifers, 430, 280),
    "palm": (nature.palm, 470, 300),
    "rock": (_rocks, 140, 310),
    "cow": (beings.cow, 270, 300),
    "tent": (buildings.tent, 300, 310),
    "boat": (_ashore, 370, 380),
    "tree": (nature.tree, 400, 250),
    "bush": (nature.bush, 100, 200),
    "cactus": (nature.cactus, 400, 240),
    "person": (beings.person, 230, 100),
    "umbrella": (street.umbrella, 240, 260),
}


#: What stands or floats in the water where there is water.
_AFLOAT = frozenset(("boat", "house"))


def compose(canvas: Canvas, rng: Rng, shown: frozenset[str]) -> Light:
    """A landscape that shows these of the objects that tell landscapes; returns its light."""
    horizon = rng.between(370, 480)
    light = nature.sky(canvas, rng, horizon, horizon - 20)
    land = next((name for name in LANDS if name in shown), rng.pick(("grass", "grass", "earth")))
    _backdrop(canvas, rng, horizon, "mountain" in shown, land)
    nature.ground(canvas, rng, horizon, UNITS, land)
    if land == "field" and rng.chance(75):
        nature.furrows(canvas, rng, horizon)
    top, bottom, shore = horizon + 110, 1000, 0
    if "water" in shown:
        near = rng.chance(35)
        shore = rng.between(720, 780) if near else rng.between(580, 680)
        span = (shore, UNITS) if near else (horizon + 8, shore)
        top, bottom = (horizon + 110, shore - 30) if near else (shore + 70, 1000)
    if "road" in shown:
        street.perspective_road(
            canvas, rng, horizon, rng.between(380, 644), rng.between(250, 774), rng.between(170, 260)
        )
    if "water" in shown:
        _water(canvas, rng, light, span)
    _things(canvas, rng, shown, land, (horizon, top, bottom, shore))
    return light


def _backdrop(canvas: Canvas, rng: Rng, horizon: int, mountain: bool, land: str) -> None:
    """What stands on the horizon: mountains if they are shown, or hills, a wood, or nothing."""
    if mountain:
        nature.mountains(canvas, rng, horizon, rng.between(230, 370), rng.chance(60))
    kind = rng.below(4)
    if kind == 0:
        nature.treeline(canvas, rng, horizon)
    elif kind == 1 and land in ("grass", "earth") and not mountain:
        nature.hills(canvas, rng, horizon, land, Surface(rng.jitter((120, 132, 96), 24), "foliage", "speckled"))


def _water(canvas: Canvas, rng: Rng, light: Light, span: tuple[int, int]) -> None:
    """A band of water, foam on its far or near shore, the sun in it."""
    top, bottom = span
    nature.ground(canvas, rng, top, bottom, "water")
    edge = bottom if bottom < UNITS else top
    canvas.pen("water", rng).rect(0, edge - 8, UNITS, edge + 8, Surface((226, 234, 238), "water"))
    reflect(canvas, light.sun, top, bottom)


def _things(canvas: Canvas, rng: Rng, shown: frozenset[str], land: str, rows: tuple[int, int, int, int]) -> None:
    """What stands on the land between two rows, side by side, and what floats; the far things first."""
    horizon, top, bottom, shore = rows
    if shore and (shown & _AFLOAT or rng.chance(50)):
        _shore(canvas, rng, shown, shore, bottom < shore)
    names = [name for name in _STANDING if name in shown and not (shore and name in _AFLOAT)]
    clutter = ["tree", "bush", "person"] + (["cactus", "cactus", "umbrella", "umbrella"] if land == "sand" else [])
    names += rng.shuffled(clutter)[: rng.pick((0, 1, 1, 2)) + (land == "sand")]
    fence = rng.between((top + bottom) // 2, bottom) if "fence" in shown else UNITS + 1
    placed = slots(rng, [(name, _STANDING[name][2]) for name in sorted(set(names))])
    places = sorted((rng.between(top, bottom), slot) for slot in placed)
    for base, slot in places:
        if base > fence:
            street.fence(canvas, rng, 0, UNITS, fence, rng.between(100, 140))
            fence = UNITS + 1
        draw, size, _ = _STANDING[slot.name]
        nearness = 68 + 42 * (base - horizon) // (UNITS - horizon)
        draw(canvas, rng, slot.x, base, size * slot.percent * nearness // 10000)
    if fence <= UNITS:
        street.fence(canvas, rng, 0, UNITS, fence, rng.between(100, 140))


def _shore(canvas: Canvas, rng: Rng, shown: frozenset[str], shore: int, near: bool) -> None:
    """A pier, a house on it, a boat before it; near water lies below the shore, far water above it."""
    line = rng.between(shore + 100, 900) if near else shore - rng.between(10, 50)
    x, side = rng.between(300, 724), rng.pick((-1, 1))
    if "boat" not in shown or rng.chance(60):
        street.pier(canvas, rng, min(x, x + side * 700), max(x, x + side * 700), line - 30, 84)
    if "house" in shown:
        buildings.house(canvas, rng, x + side * 190, line - 20, rng.between(270, 340))
    if "boat" in shown:
        vehicles.boat(canvas, rng, x - side * 170, line + 30, rng.between(300, 380), "sail")
