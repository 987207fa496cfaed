"""Rooms: a wall with windows and pictures, a floor, and furniture side by side."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Color
from dissect.tiny.world.light import Light
from dissect.tiny.world.objects import appliances, beings, furniture
from dissect.tiny.world.objects import room as rooms
from dissect.tiny.world.placing import Draw, slots
from dissect.tiny.world.rng import Rng

_TINTS: tuple[Color, ...] = ((256, 254, 250), (264, 248, 222), (266, 236, 200), (240, 246, 258), (206, 206, 222))


def _table(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    furniture.table(canvas, rng, x, base, width, width * rng.between(48, 60) // 100, rng.chance(25))


def _lamp(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    if rng.chance(35):
        rooms.lamp(canvas, rng, x, rng.between(200, 280), width, True)
    else:
        rooms.lamp(canvas, rng, x, base, width * 28 // 10)


def _cabinet(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    furniture.cabinet(canvas, rng, x, base, width, width * rng.between(80, 130) // 100)


def _bookcase(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    furniture.bookcase(canvas, rng, x, base, width, width * rng.between(150, 190) // 100)


def _stove(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    appliances.stove(canvas, rng, x, base, width, width * 115 // 100)


def _fridge(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    appliances.fridge(canvas, rng, x, base, width, width * rng.between(190, 230) // 100)


def _washer(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    appliances.washer(canvas, rng, x, base, width, width * 112 // 100)


def _chair(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    furniture.chair(canvas, rng, x, base, width * 19 // 10, wheels=rng.chance(25))


def _plant(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    rooms.plant(canvas, rng, x, base, width * rng.between(130, 170) // 100)


def _person(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    beings.person(canvas, rng, x, base, width * 4)


#: How to draw what stands in a room, its usual width, and the rows below the wall's foot where it stands.
_STANDING: dict[str, tuple[Draw, int, int, int]] = {
    "bed": (furniture.bed, 400, 180, 300),
    "sofa": (furniture.sofa, 400, 90, 240),
    "table": (_table, 380, 150, 310),
    "lamp": (_lamp, 170, 30, 160),
    "cabinet": (_cabinet, 250, 30, 80),
    "bookcase": (_bookcase, 250, 30, 80),
    "stove": (_stove, 220, 30, 90),
    "fridge": (_fridge, 210, 30, 90),
    "screen": (appliances.television, 260, 40, 160),
    "piano": (appliances.piano, 350, 40, 130),
    "bathtub": (appliances.bathtub, 380, 100, 250),
    "washer": (_washer, 220, 30, 90),
    "plant": (_plant, 210, 60, 250),
    "chair": (_chair, 180, 100, 300),
    "person": (_person, 120, 80, 250),
}
_SPARE = 20


def compose(canvas: Canvas, rng: Rng, shown: frozenset[str]) -> Light:
    """A room that shows these of the objects that tell rooms; returns its light."""
    floor = rng.between(580, 690)
    rooms.room(canvas, rng, floor)
    for x in (rng.between(120, 220), rng.between(440, 584), rng.between(800, 900)):
        _on_the_wall(canvas, rng, x)
    if rng.chance(45):
        rooms.rug(canvas, rng, rng.between(300, 724), rng.between(floor + 150, 930), rng.between(440, 760), 190)
    names = [name for name in _STANDING if name in shown]
    if rng.chance(70 if "table" in shown else 25):
        names.append("chair")
    if rng.chance(8):
        names.append("person")
    places = []
    for slot in slots(rng, [(name, _STANDING[name][1] + _SPARE) for name in names]):
        _, width, low, high = _STANDING[slot.name]
        places.append((min(1010, floor + rng.between(low, high)), slot, width * slot.percent // 100))
    for base, slot, width in sorted(places):
        _STANDING[slot.name][0](canvas, rng, slot.x, base, width)
    return Light(rng.pick(_TINTS))


def _on_the_wall(canvas: Canvas, rng: Rng, x: int) -> None:
    """A window, a picture or nothing."""
    kind, width, top = rng.below(10), rng.between(130, 210), rng.between(70, 140)
    if kind < 4:
        rooms.window(canvas, rng, x, top, width, rng.between(200, 300), rng.chance(50))
    elif kind < 8:
        rooms.painting(canvas, rng, x, top + rng.between(0, 60), width, rng.between(120, 200))
