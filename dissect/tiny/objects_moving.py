"""Vehicles, people and animals. x is the middle, base the row that they stand on."""

from __future__ import annotations

from collections.abc import Callable

from dissect.tiny.canvas import UNITS, Canvas, Pen, Surface
from dissect.tiny.rng import Rng
from dissect.tiny.surfaces import DARK_METAL, GLASS, RUBBER, STEEL, fabric, metal, paint, wood

_SKINS = ((236, 196, 164), (214, 164, 124), (160, 108, 76), (104, 70, 52))
_HAIRS = ((44, 34, 30), (96, 62, 38), (206, 170, 96), (150, 148, 146))


def _wheel(pen: Pen, x: int, y: int, radius: int) -> None:
    pen.ellipse(x, y, radius, radius, RUBBER, "wheel", 0)
    if radius >= 18:
        pen.ellipse(x, y, radius // 2, radius // 2, STEEL, "wheel", 0)


def car(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A saloon, a van or a pickup from its side; size is its length."""
    pen, body = canvas.pen("car", rng), metal(rng)
    side, radius = rng.pick((-1, 1)), size * 10 // 100
    canvas.shadow(x, base, size * 56 // 100, max(8, size // 14))
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
            "pane",
        )
    pen.rect(left, sill - size // 28, left + size, sill, body.shaded(-80), "body")
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
    pen.rect(x - 5, deck - tall, x + 6, deck, wood(rng), "mast")
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
        "pane",
    )


def boat(canvas: Canvas, rng: Rng, x: int, base: int, size: int, kind: str = "") -> None:
    """A sailing boat, a motor boat or a rowing boat; size is its length, base the water line."""
    kind = kind or rng.pick(("sail", "sail", "motor", "row"))
    pen, side = canvas.pen("boat", rng), rng.pick((-1, 1))
    canvas.shadow(x, base + size // 24, size // 2, max(8, size // 16))
    hull = Surface(paint(rng), rng.pick(("wood", "metal")))
    deep = size * (20 if kind == "motor" else 15) // 100
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
        "hull",
    )


def _fuselage(pen: Pen, at: Callable[[int], int], y: int, radius: int, skin: Surface, accent: Surface) -> None:
    pen.polygon(
        [
            (at(-54), y - radius),
            (at(34), y - radius),
            (at(46), y - radius // 3),
            (at(50), y + radius // 3),
            (at(42), y + radius),
            (at(-30), y + radius),
            (at(-56), y - radius // 3),
        ],
        skin,
        "body",
    )
    pen.polygon(
        [(at(-54), y - radius // 6), (at(49), y), (at(50), y + radius // 3), (at(-46), y + radius // 3)], accent, "body"
    )
    for window in range(-36, 34, 6):
        pen.rect(at(window) - 4, y - radius * 6 // 10, at(window) + 5, y - radius // 6, GLASS.shaded(-60), "pane")
    pen.polygon(
        [(at(38), y - radius * 8 // 10), (at(44), y - radius // 4), (at(38), y - radius // 4)],
        GLASS.shaded(-60),
        "pane",
    )


def airplane(canvas: Canvas, rng: Rng, x: int, y: int, size: int, wheels: bool) -> None:
    """An airliner from its side; y is the middle of the fuselage."""
    pen, side, radius = canvas.pen("airplane", rng), rng.pick((-1, 1)), size * 8 // 100
    skin = Surface(rng.jitter((226, 228, 232), 10), "metal")
    accent = Surface(paint(rng), "metal")

    def at(percent: int) -> int:
        return x + side * size * percent // 100

    if wheels:
        canvas.shadow(x, y + size * 15 // 100, size // 2, max(8, size // 30))
        for foot in (34, -8, -2):
            pen.rect(at(foot) - 5, y + radius // 2, at(foot) + 5, y + size * 13 // 100, DARK_METAL, "leg")
            _wheel(pen, at(foot), y + size * 13 // 100, max(10, size // 36))
    pen.polygon(
        [(at(-2), y), (at(-24), y - size * 15 // 100), (at(-30), y - size * 15 // 100), (at(-16), y)],
        skin.shaded(-60),
        "wing",
    )
    pen.polygon(
        [(at(-34), y - radius // 2), (at(-48), y - size * 24 // 100), (at(-56), y - size * 24 // 100), (at(-50), y)],
        accent,
        "tail",
    )
    _fuselage(pen, at, y, radius, skin, accent)
    pen.polygon(
        [
            (at(12), y + radius // 3),
            (at(-18), y + size * 15 // 100),
            (at(-28), y + size * 15 // 100),
            (at(-8), y + radius // 3),
        ],
        skin.shaded(-30),
        "wing",
    )
    pen.polygon(
        [
            (at(-44), y - radius // 4),
            (at(-58), y + radius // 2),
            (at(-63), y + radius // 2),
            (at(-54), y - radius // 4),
        ],
        skin.shaded(-30),
        "tail",
    )


def train(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """An engine or railcar and its coaches, cut off by the picture's edge; size is the height."""
    pen, side = canvas.pen("train", rng), 1 if x > UNITS // 2 else -1
    body, band = metal(rng), metal(rng)
    length, radius = size * 26 // 10, size // 8
    front = x
    for coach in range(4):
        head = front - side * coach * (length + size // 9)
        rear = head - side * length
        left, right = min(head, rear), max(head, rear)
        pen.rect(left + 6, base - size // 4, right - 6, base - size // 9, DARK_METAL)
        nose = side * size // 3 if coach == 0 else 0
        pen.polygon(
            [
                (head, base - size // 5),
                (head, base - size // 2),
                (head - nose, base - size),
                (rear, base - size),
                (rear, base - size // 5),
            ],
            body,
            "body",
        )
        pen.rect(
            left,
            base - size * 38 // 100,
            right - (abs(nose) if side < 0 else 0) // 9,
            base - size * 26 // 100,
            band,
            "body",
        )
        pen.rect(
            left + size // 12 + abs(nose) * (side < 0),
            base - size,
            right - size // 12 - abs(nose) * (side > 0),
            base - size * 93 // 100,
            body.shaded(-80),
            "roof",
        )
        step = length // 6
        for window in range(6):
            wx = left + step * window + step // 5
            pen.rect(
                wx, base - size * 80 // 100, wx + step * 3 // 5, base - size * 50 // 100, GLASS.shaded(-40), "pane"
            )
        for wheel in (12, 26, 74, 88):
            _wheel(pen, left + length * wheel // 100, base - radius, radius)


def person(canvas: Canvas, rng: Rng, x: int, base: int, size: int, skis: bool = False) -> None:
    """Somebody standing or walking; size is the height."""
    pen = canvas.pen("person", rng)
    skin, hair = Surface(rng.pick(_SKINS), "skin"), Surface(rng.pick(_HAIRS))
    shirt, trousers = (
        fabric(rng, ("", "", "banded")),
        Surface(rng.jitter(rng.pick(((52, 62, 96), (60, 58, 56), (120, 100, 76)))), "fabric"),
    )
    canvas.shadow(x, base, size // 4, max(8, size // 18))
    if skis:
        pen.line(x - size // 2, base - 10, x + size // 2, base + 12, 10, Surface(paint(rng), "wood"))
    hip, neck, width = base - size * 46 // 100, base - size * 80 // 100, size * 13 // 100
    stride, limb = size * rng.between(4, 11) // 100, max(9, size // 11)
    for leg in (-1, 1):
        pen.line(x + leg * width // 3, hip, x + leg * stride, base, limb, trousers, "leg")
    for arm in (-1, 1):
        pen.line(
            x + arm * width * 8 // 10,
            neck + limb // 3,
            x + arm * (width + stride),
            hip + size // 40,
            max(8, size // 14),
            shirt.shaded(-30),
            "arm",
        )
        pen.ellipse(x + arm * (width + stride), hip + size // 30, size // 26, size // 26, skin, "arm", 0)
    pen.polygon(
        [(x - width, neck), (x + width, neck), (x + width * 8 // 10, hip), (x - width * 8 // 10, hip)], shirt, "body"
    )
    radius = size * 9 // 100
    pen.ellipse(x, neck - radius * 8 // 10, radius, radius * 11 // 10, skin, "head", 20)
    pen.ellipse(x, neck - radius, radius, radius * 11 // 10, hair, "head", 0, "upper")


def cow(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A cow, plain or pied; size is its length."""
    pen, side = canvas.pen("cow", rng), rng.pick((-1, 1))
    coat = Surface(rng.jitter(rng.pick(((228, 222, 212), (126, 82, 52), (58, 50, 48)))), "", "")
    canvas.shadow(x, base, size // 2, max(8, size // 14))
    low, high = base - size * 26 // 100, base - size * 62 // 100
    for leg in (-32, -22, 22, 32):
        pen.rect(
            x + size * leg // 100 - max(5, size // 28),
            low - 8,
            x + size * leg // 100 + max(5, size // 28),
            base,
            coat.shaded(-40),
            "leg",
        )
    pen.ellipse(x, (low + high) // 2, size * 42 // 100, (low - high) * 55 // 100, coat, "body", 36)
    spot = Surface((62, 52, 50)) if coat.color[0] > 180 else Surface((226, 220, 210))
    pen.ellipse(
        x - size * rng.between(4, 20) // 100, (low + high) // 2 - size // 20, size // 8, size // 10, spot, "body", 0
    )
    pen.ellipse(
        x + size * rng.between(8, 24) // 100, (low + high) // 2 + size // 30, size // 12, size // 12, spot, "body", 0
    )
    pen.line(
        x - side * size * 40 // 100, high + size // 14, x - side * size * 45 // 100, low, 9, coat.shaded(-40), "tail"
    )
    head = (x + side * size * 48 // 100, high + size * rng.between(0, 26) // 100)
    pen.ellipse(*head, size * 13 // 100, size * 11 // 100, coat, "head", 20)
    pen.ellipse(
        head[0] + side * size * 9 // 100,
        head[1] + size // 24,
        size // 16,
        size // 16,
        Surface((222, 170, 158)),
        "head",
        0,
    )
