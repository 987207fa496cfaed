"""Vehicles. x is the middle, base the row that they stand on."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Pen, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, GLASS, RUBBER, STEEL, made, metal, paint

_SADDLE = Surface((70, 46, 34), "leather")


def _wheel(pen: Pen, x: int, y: int, radius: int) -> None:
    pen.ellipse(x, y, radius, radius, RUBBER, "wheel", 0)
    if radius >= 18:
        pen.ellipse(x, y, radius * 55 // 100, radius * 55 // 100, STEEL, "wheel/hub", 0)


def car(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A saloon, a van or a pickup from its side; size is its length."""
    pen, body = canvas.pen("car", rng), metal(rng)
    side, radius = rng.pick((-1, 1)), size * 12 // 100
    pen.shadow(x, base, size * 56 // 100, max(8, size // 14))
    left, sill = x - size // 2, base - radius * 8 // 10
    belt, top = base - size * 27 // 100, base - size * rng.between(42, 46) // 100
    kind = rng.below(3)

    def place(percent: int) -> int:
        return left + (size * percent // 100 if side > 0 else size - size * percent // 100)

    cabin = ((14, 26, 62, 76), (2, 6, 72, 86), (40, 44, 66, 78))[kind]
    pen.polygon(
        [(place(cabin[0]), belt + 4), (place(cabin[1]), top), (place(cabin[2]), top), (place(cabin[3]), belt + 4)],
        body,
        "body",
    )
    pen.polygon(
        [
            (place(0), belt + size // 40),
            (place(6), belt),
            (place(92), belt + size // 60),
            (place(100), belt + size // 12),
            (place(100), sill),
            (place(0), sill),
        ],
        body,
        "body",
    )
    inner = size * 4 // 100
    middle = (cabin[1] + cabin[2]) // 2
    for a, b in ((cabin[0] + 5, middle - 2), (middle + 2, cabin[3] - 6)):
        high_a, high_b = max(a, cabin[1] + 2), min(b, cabin[2] - 1)
        pen.polygon(
            [(place(a), belt), (place(high_a), top + inner), (place(high_b), top + inner), (place(b), belt)],
            GLASS.shaded(-30),
            "window",
        )
    pen.rect(left, sill - size // 16, left + size, sill, DARK_METAL, "bumper")
    lamp = place(98)
    pen.rect(
        lamp - 9, belt + size // 14, lamp + 9, belt + size // 14 + max(9, size // 24), Surface((250, 236, 180), "glass")
    )
    for wheel in (20, 79):
        _wheel(pen, place(wheel), base - radius, radius)


def _sails(pen: Pen, rng: Rng, x: int, deck: int, size: int, side: int) -> None:
    cloth = Surface(
        rng.jitter((240, 236, 226), 10) if rng.chance(60) else paint(rng), "fabric", rng.pick(("", "", "banded"))
    )
    tall = size * rng.between(95, 125) // 100
    pen.rect(x - 5, deck - tall, x + 6, deck, made(rng, "wood", "metal"), "stand")
    pen.polygon(
        [
            (x + side * 12, deck - tall + 10),
            (x + side * 12, deck - size // 10),
            (x + side * size * 46 // 100, deck - size // 10),
        ],
        cloth,
        "sail",
    )
    pen.polygon(
        [
            (x - side * 10, deck - tall * 88 // 100),
            (x - side * 10, deck - size // 12),
            (x - side * size * 40 // 100, deck - size // 12),
        ],
        cloth.shaded(-24),
        "sail",
    )


def _cabin(pen: Pen, rng: Rng, x: int, deck: int, size: int) -> None:
    cabin = Surface((236, 234, 228), "metal")
    high = size * rng.between(18, 26) // 100
    pen.polygon(
        [
            (x - size * 22 // 100, deck + 2),
            (x - size * 22 // 100, deck - high),
            (x + size * 12 // 100, deck - high),
            (x + size * 20 // 100, deck + 2),
        ],
        cabin,
        "body",
    )
    pen.rect(
        x - size * 16 // 100,
        deck - high * 75 // 100,
        x + size * 8 // 100,
        deck - high * 35 // 100,
        GLASS.shaded(-30),
        "window",
    )


def boat(canvas: Canvas, rng: Rng, x: int, base: int, size: int, kind: str = "") -> None:
    """A sailing boat, a motor boat or a rowing boat; size is its length, base the water line."""
    kind = kind or rng.pick(("sail", "sail", "motor", "row"))
    pen, side = canvas.pen("boat", rng), rng.pick((-1, 1))
    pen.shadow(x, base + size // 24, size // 2, max(8, size // 16))
    hull = made(rng, "wood", "metal", "plastic")
    deep = size * (15 if kind == "sail" else 21) // 100
    deck = base - deep
    if kind == "sail":
        _sails(pen, rng, x, deck, size, side)
    elif kind == "motor":
        _cabin(pen, rng, x, deck, size)
    bow, stern = x + side * size // 2, x - side * size * 44 // 100
    pen.polygon(
        [
            (stern, deck),
            (bow, deck - size // 24),
            (x + side * size * 34 // 100, base + 4),
            (stern + side * size // 14, base + 4),
        ],
        hull,
        "hull",
    )
    pen.polygon(
        [
            (stern, deck),
            (bow, deck - size // 24),
            (bow - side * size // 22, deck + deep // 3),
            (stern, deck + deep // 3),
        ],
        hull.shaded(50),
        "top",
    )


def tram(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A tramcar with a pole on its roof; size is its length."""
    pen, half, tall = canvas.pen("tram", rng), size // 2, size * 40 // 100
    body, band = metal(rng), made(rng, "metal", "wood")
    pen.shadow(x, base, half, max(8, size // 24))
    top, floor = base - tall, base - tall // 7
    pen.line(x - size // 12, top - tall // 3, x + size // 10, top, 12, DARK_METAL, "arm")
    pen.rect(x - size // 6, top - tall // 3 - 6, x, top - tall // 3 + 6, DARK_METAL, "arm")
    for foot in (-34, -20, 20, 34):
        _wheel(pen, x + size * foot // 100, base - tall // 10, tall // 9)
    pen.polygon([(x - half, floor), (x - half, base - tall * 45 // 100), (x - half * 93 // 100, top),
                 (x + half * 93 // 100, top), (x + half, base - tall * 45 // 100), (x + half, floor)],
                body, "body")  # fmt: skip
    pen.rect(x - half * 93 // 100, top - tall // 14, x + half * 93 // 100, top + tall // 12, body.shaded(-80), "roof")
    pen.rect(x - half, floor - tall // 7, x + half, floor, band, "body")
    for column in range(7):
        left = x - half * 90 // 100 + size * 90 * column // 700
        door = column in (1, 5)
        low = floor - 4 if door else base - tall * 46 // 100
        pen.rect(left, top + tall // 6, left + size * 10 // 100, low, GLASS.shaded(-40), "door" if door else "window")


def bus(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A bus from its side; size is its length."""
    pen, half, side = canvas.pen("bus", rng), size // 2, rng.pick((-1, 1))
    body, tall, radius = metal(rng), size * 42 // 100, size * 8 // 100
    pen.shadow(x, base, half, max(8, size // 20))
    top, sill = base - tall, base - radius * 7 // 10
    pen.polygon([(x - half, sill), (x - half, top + size // 24), (x - half + size // 30, top),
                 (x + half - size // 30, top), (x + half, top + size // 24), (x + half, sill)],
                body, "body")  # fmt: skip
    pen.rect(x - half + 6, sill - size // 24, x + half - 6, sill, DARK_METAL, "bumper")
    stripe = made(rng, "plastic", "metal")
    pen.rect(x - half, base - tall * 42 // 100, x + half, base - tall * 32 // 100, stripe, "body/stripe")
    for column in range(5):
        left = x - half + size * (3 + 15 * column) // 100 if side > 0 else x + half - size * (15 + 15 * column) // 100
        pen.rect(left, top + tall // 8, left + size * 12 // 100, base - tall // 2, GLASS.shaded(-40), "window")
    left = x + half - size * 19 // 100 if side > 0 else x - half + size * 6 // 100
    pen.rect(left, top + tall // 8, left + size * 13 // 100, sill - 8, GLASS.shaded(-70), "door")
    for wheel in (-29, 27):
        _wheel(pen, x + side * size * wheel // 100, base - radius, radius)


def bicycle(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A bicycle; size is its length."""
    pen, side, radius = canvas.pen("bicycle", rng), rng.pick((-1, 1)), size * 25 // 100
    frame, stroke = made(rng, "metal", "metal", "plastic", "wood"), max(14, size // 14)
    rear, front, hub = x - side * size // 4, x + side * size // 4, base - radius
    for wheel in (rear, front):
        pen.ellipse(wheel, hub, radius, radius, RUBBER, "wheel", 0)
        pen.ellipse(wheel, hub, radius - stroke, radius - stroke, STEEL, "wheel/hub", 20)
    saddle, bar = (x - side * size // 9, base - size * 62 // 100), (x + side * size // 6, base - size * 62 // 100)
    pedal = (x - side * size // 40, hub)
    for start, end in ((saddle, pedal), (pedal, bar), ((rear, hub), pedal), ((rear, hub), saddle), (bar, (front, hub))):
        pen.line(*start, *end, stroke, frame, "body")
    pen.line(saddle[0], saddle[1] + size // 12, bar[0], bar[1] + size // 12, stroke, frame, "body")
    pen.rect(saddle[0] - size // 10, saddle[1] - stroke, saddle[0] + size // 10, saddle[1], _SADDLE, "seat")
    pen.rect(bar[0] - size // 12, bar[1] - stroke * 2, bar[0] + size // 12, bar[1] - stroke, DARK_METAL, "handle")
