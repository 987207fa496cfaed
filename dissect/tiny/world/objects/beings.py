"""People and animals. x is the middle, base the row that they stand on."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import fabric

_SKINS = ((236, 196, 164), (214, 164, 124), (160, 108, 76), (104, 70, 52))

_HAIRS = ((44, 34, 30), (96, 62, 38), (206, 170, 96), (150, 148, 146))


def person(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """Somebody standing or walking; size is the height."""
    pen = canvas.pen("person", rng)
    skin, hair = Surface(rng.pick(_SKINS), "skin"), Surface(rng.pick(_HAIRS), "hair")
    shirt, trousers = (
        fabric(rng, ("", "", "banded")),
        Surface(rng.jitter(rng.pick(((52, 62, 96), (60, 58, 56), (120, 100, 76)))), "fabric"),
    )
    pen.shadow(x, base, size // 4, max(8, size // 18))
    sleeve = skin if rng.chance(60) else shirt.shaded(-30)
    hip, neck, width = base - size * 46 // 100, base - size * 76 // 100, size * 14 // 100
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
            sleeve,
            "arm",
        )
        pen.ellipse(x + arm * (width + stride), hip + size // 30, size // 26, size // 26, skin, "arm", 0)
    pen.polygon(
        [(x - width, neck), (x + width, neck), (x + width * 8 // 10, hip), (x - width * 8 // 10, hip)], shirt, "body"
    )
    radius = size * 13 // 100
    pen.ellipse(x, neck - radius * 8 // 10, radius, radius * 11 // 10, skin, "head/face", 20)
    pen.ellipse(x, neck - radius, radius, radius * 11 // 10, hair, "head", 0, "upper")


def cow(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A cow, plain or pied; size is its length."""
    pen, side = canvas.pen("cow", rng), rng.pick((-1, 1))
    coat = Surface(rng.jitter(rng.pick(((228, 222, 212), (126, 82, 52), (58, 50, 48), (190, 150, 104)))), "hair")
    pen.shadow(x, base, size // 2, max(8, size // 14))
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
    spot = Surface((62, 52, 50), "hair") if coat.color[0] > 180 else Surface((226, 220, 210), "hair")
    pen.ellipse(
        x - size * rng.between(4, 20) // 100, (low + high) // 2 - size // 20, size // 7, size // 8, spot, "body/spot", 0
    )
    pen.ellipse(
        x + size * rng.between(8, 24) // 100,
        (low + high) // 2 + size // 30,
        size // 10,
        size // 10,
        spot,
        "body/spot",
        0,
    )
    pen.line(
        x - side * size * 40 // 100, high + size // 14, x - side * size * 45 // 100, low, 9, coat.shaded(-40), "body"
    )
    head = (x + side * size * 48 // 100, high + size * rng.between(0, 26) // 100)
    pen.ellipse(*head, size * 13 // 100, size * 11 // 100, coat, "head", 20)
    pen.ellipse(
        head[0] + side * size * 9 // 100,
        head[1] + size // 24,
        size // 16,
        size // 16,
        Surface((222, 170, 158), "skin"),
        "head/face",
        0,
    )
