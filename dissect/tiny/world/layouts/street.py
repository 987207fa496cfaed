"""Streets: a row of buildings, a pavement before it, a road or a canal before that."""

from __future__ import annotations

from dissect.tiny.world.canvas import UNITS, Canvas
from dissect.tiny.world.light import Light, reflect
from dissect.tiny.world.objects import beings, buildings, nature, street, vehicles
from dissect.tiny.world.placing import Draw, slots
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import made

#: How to draw what stands on the pavement or drives on the road, its usual size and the room that it needs.
_STANDING: dict[str, tuple[Draw, int, int]] = {
    "tree": (nature.tree, 460, 280),
    "streetlight": (street.streetlight, 460, 130),
    "bench": (street.bench, 230, 240),
    "stall": (street.stall, 270, 280),
    "umbrella": (street.umbrella, 260, 280),
    "fountain": (street.fountain, 260, 270),
    "bicycle": (vehicles.bicycle, 210, 220),
    "person": (beings.person, 190, 80),
    "bush": (nature.bush, 66, 130),
}
_DRIVING: dict[str, tuple[Draw, int, int]] = {
    "car": (vehicles.car, 320, 330),
    "bus": (vehicles.bus, 430, 440),
    "tram": (vehicles.tram, 520, 530),
}


def compose(canvas: Canvas, rng: Rng, shown: frozenset[str]) -> Light:
    """A street that shows these of the objects that tell streets; returns its light."""
    walk = rng.between(560, 650)
    light = nature.sky(canvas, rng, walk, rng.between(200, 260))
    nature.ground(canvas, rng, walk - 60, UNITS, "sidewalk")
    curb = walk + rng.between(80, 130)
    if shown & {"tram", "bus", "car"} or "water" not in shown or rng.chance(25):
        end = curb + rng.between(130, 170) if "water" in shown else rng.pick((UNITS, rng.between(900, 960)))
        street.cross_road(canvas, rng, curb, end)
    else:
        end = curb
    if "water" in shown:
        _canal(canvas, rng, end + 20)
    elif end < UNITS:
        nature.ground(canvas, rng, end, UNITS, rng.pick(("sidewalk", "sidewalk", "grass")))
    _buildings(canvas, rng, shown, walk)
    if "water" in shown:
        reflect(canvas, light.sun, end + 50, UNITS)
        if rng.chance(50):
            kind, base = rng.pick(("motor", "row")), rng.between((end + 20 + 2 * UNITS) // 3, 1000)
            vehicles.boat(canvas, rng, rng.between(150, 874), base, rng.between(220, 300), kind)
    if "fence" in shown:
        gap = rng.pick((0, 0, rng.between(200, 500)))
        street.fence(canvas, rng, gap, UNITS, walk + 30, rng.between(90, 120))
    _things(canvas, rng, shown, curb, end)
    return light


def _canal(canvas: Canvas, rng: Rng, top: int) -> None:
    """A quay, and water down to the lower edge."""
    nature.ground(canvas, rng, top, UNITS, "water")
    quay = made(rng, "stone", "brick", "concrete")
    canvas.pen("sidewalk", rng).rect(0, top - 14, UNITS, top + 30, quay.shaded(-30))


def _buildings(canvas: Canvas, rng: Rng, shown: frozenset[str], walk: int) -> None:
    """Lots side by side: houses, and among them the church and the tower block if they are shown."""
    edges, x = [], rng.between(-140, -20)
    while x < UNITS:
        edges.append(x)
        x += rng.between(250, 370)
    lots = [(left, right) for left, right in zip(edges, [*edges[1:], x])]
    inside = rng.shuffled([lot for lot in lots if lot[0] > -60 and lot[1] < UNITS + 60])
    tall = {inside.pop(): name for name in ("church", "skyscraper") if name in shown}
    for left, right in lots:
        middle, width = (left + right) // 2, right - left
        name = tall.get((left, right))
        if name == "skyscraper":
            buildings.skyscraper(canvas, rng, middle, walk, width * rng.between(70, 90) // 100, rng.between(470, 560))
        elif name == "church":
            buildings.church(canvas, rng, middle, walk, rng.between(460, 540))
        else:
            buildings.house(canvas, rng, middle, walk, width - rng.between(20, 44))


def _things(canvas: Canvas, rng: Rng, shown: frozenset[str], curb: int, end: int) -> None:
    """What stands on the pavement and drives on the road, side by side; the far things first."""
    names = [name for name in (*_STANDING, *_DRIVING) if name in shown]
    if rng.chance(30):
        names.append("person")
    if rng.chance(15):
        names.append("bush")
    every = {**_STANDING, **_DRIVING}
    places = []
    for slot in slots(rng, [(name, every[name][2]) for name in names]):
        if slot.name in _DRIVING:
            base = rng.between(curb + 70, max(curb + 71, min(end, 960) - 30))
        else:
            base = rng.between(curb - 40, curb - 8)
        places.append((base, slot))
    for base, slot in sorted(places):
        draw, size, _ = every[slot.name]
        draw(canvas, rng, slot.x, base, size * slot.percent // 100)
