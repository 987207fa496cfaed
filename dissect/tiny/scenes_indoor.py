"""Layouts of the indoor scenes. Each paints one room from back to front and returns its light (256ths per channel)."""

from __future__ import annotations

from dissect.tiny import objects_furniture as furniture
from dissect.tiny import objects_moving as moving
from dissect.tiny import objects_room as rooms
from dissect.tiny.canvas import UNITS, Canvas, Color
from dissect.tiny.rng import Rng
from dissect.tiny.surfaces import fabric, wood

_LIGHTS: tuple[Color, ...] = ((256, 254, 250), (264, 248, 222), (266, 236, 200), (240, 246, 258), (206, 206, 222))


def _room(canvas: Canvas, rng: Rng, low: int = 600, high: int = 700) -> tuple[int, Color]:
    floor = rng.between(low, high)
    rooms.room(canvas, rng, floor)
    return floor, rng.pick(_LIGHTS)


def _wall_things(canvas: Canvas, rng: Rng, places: tuple[int, ...], top: int) -> None:
    """Windows and pictures at some of these columns."""
    for x in places:
        kind = rng.below(10)
        width = rng.between(130, 200)
        if kind < 4:
            rooms.window(canvas, rng, x, top + rng.between(-20, 30), width, rng.between(220, 320), rng.chance(55))
        elif kind < 8:
            rooms.painting(canvas, rng, x, top + rng.between(20, 80), width, rng.between(120, 200))


def bedroom(canvas: Canvas, rng: Rng) -> Color:
    """A bed, a lamp beside it."""
    floor, light = _room(canvas, rng)
    _wall_things(canvas, rng, (rng.between(130, 240), rng.between(470, 570), rng.between(790, 890)), 110)
    x, side = rng.between(380, 644), rng.pick((-1, 1))
    if rng.chance(40):
        furniture.cabinet(canvas, rng, x - side * rng.between(380, 430), floor + 50, 200, rng.between(220, 420))
    elif rng.chance(25):
        furniture.bookcase(canvas, rng, x - side * rng.between(380, 430), floor + 50, 200, rng.between(320, 460))
    if rng.chance(45):
        rooms.rug(canvas, rng, x + rng.between(-160, 160), 930, rng.between(480, 700), 150)
    if rng.chance(75):
        stand = x + side * rng.between(330, 380)
        furniture.cabinet(canvas, rng, stand, floor + 90, 130, 130)
        rooms.lamp(canvas, rng, stand, floor - 54, rng.between(150, 200))
    elif rng.chance(60):
        rooms.lamp(canvas, rng, 512, rng.between(110, 170), rng.between(110, 160), True)
    furniture.bed(canvas, rng, x, rng.between(880, 960), rng.between(450, 560))
    if rng.chance(30):
        furniture.chair(canvas, rng, rng.pick((100, 924)), 980, 300)
    chance = rng.below(100)
    if chance < 15:
        rooms.screen(canvas, rng, x - side * 400, floor - 160, 160)
    elif chance < 30:
        furniture.sofa(canvas, rng, x - side * 420, 985, 250)
    return light


def kitchen(canvas: Canvas, rng: Rng) -> Color:
    """Cupboards above and below a worktop, a stove and a fridge."""
    floor, light = _room(canvas, rng, 690, 760)
    front, high = (wood(rng) if rng.chance(50) else fabric(rng, ("",)))._replace(material="wood"), rng.between(230, 270)
    side, base = rng.pick((-1, 1)), floor + 50
    fridge = 512 + side * rng.between(370, 420)
    stove = 512 - side * rng.between(40, 330)
    if rng.chance(75):
        rooms.window(canvas, rng, 512 + side * rng.between(40, 160), 130, rng.between(170, 220), 190, rng.chance(40))
    for x in (140, 380, 640, 880):
        if rng.chance(55) and abs(x - 512 - side * 100) > 150:
            furniture.cabinet(canvas, rng, x, rng.between(270, 300), 220, 200, front, False)
    furniture.cabinet(canvas, rng, 512, base, 1060, high, front)
    if rng.chance(90):
        furniture.stove(canvas, rng, stove, base + 6, 190, high + 6)
    if rng.chance(75):
        furniture.fridge(canvas, rng, fridge, base + 10, 220, rng.between(470, 560))
    if rng.chance(35):
        rooms.plant(canvas, rng, 512 + side * 90, base - high - 12, 110)
    if rng.chance(40):
        x = rng.between(300, 724)
        furniture.chair(canvas, rng, x - 230, 960, 290)
        furniture.table(canvas, rng, x, 1010, rng.between(340, 460), 190, rng.chance(30))
    if rng.chance(20):
        moving.person(canvas, rng, rng.between(200, 824), 960, 520)
    return light


def living_room(canvas: Canvas, rng: Rng) -> Color:
    """A sofa, a low table, a screen or pictures."""
    floor, light = _room(canvas, rng)
    _wall_things(canvas, rng, (rng.between(140, 240), rng.between(460, 570), rng.between(780, 890)), 110)
    x, side = rng.between(400, 624), rng.pick((-1, 1))
    if rng.chance(60):
        rooms.lamp(canvas, rng, x - side * rng.between(340, 400), floor + 90, rng.between(430, 520))
    if rng.chance(40):
        furniture.bookcase(
            canvas, rng, x + side * rng.between(360, 420), floor + 40, rng.between(180, 240), rng.between(380, 520)
        )
    elif rng.chance(50):
        rooms.plant(canvas, rng, x + side * rng.between(360, 410), floor + 120, rng.between(280, 400))
    if rng.chance(70):
        rooms.rug(canvas, rng, x, 890, rng.between(600, 860), 200)
    furniture.sofa(canvas, rng, x, floor + rng.between(120, 170), rng.between(460, 620))
    if rng.chance(40):
        furniture.sofa(canvas, rng, x + side * rng.between(330, 400), 950, 250)
    if rng.chance(70):
        furniture.table(canvas, rng, x - rng.between(-120, 120), 980, rng.between(280, 400), 110)
    if rng.chance(35):
        foot = x - side * rng.between(340, 390)
        furniture.cabinet(canvas, rng, foot, 960, 260, 130)
        rooms.screen(canvas, rng, foot, 816, 240)
    if rng.chance(15):
        moving.person(canvas, rng, x + side * 250, 960, 500)
    elif rng.chance(12):
        furniture.bed(canvas, rng, 512 - side * 330, 1000, 330)
    return light


def dining_room(canvas: Canvas, rng: Rng) -> Color:
    """A table with chairs around it under a lamp."""
    floor, light = _room(canvas, rng, 560, 660)
    _wall_things(canvas, rng, (rng.between(130, 240), rng.between(460, 570), rng.between(780, 890)), 130)
    x, base, width = rng.between(440, 584), rng.between(900, 960), rng.between(480, 640)
    if rng.chance(40):
        furniture.cabinet(
            canvas, rng, x + rng.pick((-380, 380)), floor + 40, rng.between(220, 300), rng.between(180, 300)
        )
    elif rng.chance(40):
        furniture.fridge(canvas, rng, x + rng.pick((-400, 400)), floor + 40, 180, 440)
        if rng.chance(60):
            furniture.stove(canvas, rng, x + rng.between(-150, 150), floor + 40, 160, 210)
    if rng.chance(50):
        rooms.rug(canvas, rng, x, base - 10, width * 14 // 10, 230)
    if rng.chance(80):
        rooms.lamp(canvas, rng, x, rng.between(220, 330), rng.between(140, 220), True)
    seats = wood(rng) if rng.chance(60) else fabric(rng, ("",))
    count, tall = rng.between(2, 3), rng.between(330, 380)
    for i in range(count):
        furniture.chair(canvas, rng, x - width // 3 + width * 2 // 3 * i // (count - 1), base - 70, tall, seats)
    furniture.table(canvas, rng, x, base, width, rng.between(200, 230), rng.chance(40))
    for place in (-1, 1):
        if rng.chance(60):
            furniture.chair(canvas, rng, x + place * (width // 2 + rng.between(20, 60)), base + 20, tall + 20, seats)
    if rng.chance(45):
        rooms.plant(canvas, rng, x + rng.between(-width, width) // 4, base - 225, rng.between(90, 140))
    return light


def office(canvas: Canvas, rng: Rng) -> Color:
    """Desks with screens, chairs on castors, shelves."""
    floor, light = _room(canvas, rng)
    _wall_things(canvas, rng, (rng.between(130, 240), rng.between(460, 570), rng.between(780, 890)), 100)
    side = rng.pick((-1, 1))
    if rng.chance(65):
        furniture.bookcase(
            canvas, rng, 512 + side * rng.between(330, 420), floor + 40, rng.between(200, 280), rng.between(360, 540)
        )
    if rng.chance(45):
        rooms.plant(canvas, rng, 512 - side * rng.between(390, 450), floor + 110, rng.between(240, 340))
    for base, height in ((rng.between(800, 850), 210), (rng.between(930, 990), 230))[rng.chance(65) :]:
        x, width = rng.between(300, 724), rng.between(440, 600)
        furniture.table(canvas, rng, x, base, width, height)
        for offset in (-1, 1) if rng.chance(40) else (rng.pick((-1, 0, 1)),):
            rooms.screen(canvas, rng, x + offset * width // 4, base - height - 26, rng.between(170, 220))
        if rng.chance(40):
            rooms.lamp(canvas, rng, x + rng.pick((-1, 1)) * width * 42 // 100, base - height - 20, 150)
        if rng.chance(80):
            furniture.chair(
                canvas,
                rng,
                x + rng.between(-110, 110),
                min(UNITS - 6, base + 34),
                rng.between(300, 350),
                fabric(rng, ("",)),
                rng.chance(85),
            )
    if rng.chance(20):
        moving.person(canvas, rng, rng.pick((120, 900)), 980, 560)
    elif rng.chance(20):
        furniture.sofa(canvas, rng, rng.pick((140, 880)), 990, 280)
    return light
