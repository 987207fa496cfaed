"""What stands in kitchens and bathrooms, screens and pianos. x is the middle, base the row that a thing stands on."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, STEEL, made, paint


def stove(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """A cooker with an oven and rings."""
    pen, body, half = (
        canvas.pen("stove", rng),
        made(rng, "metal", "ceramic", "plastic"),
        width // 2,
    )
    pen.rect(x - half, base - height, x + half, base, body)
    pen.rect(
        x - half + 16,
        base - height * 66 // 100,
        x + half - 16,
        base - height // 7,
        Surface((44, 46, 52), "glass"),
        "door",
    )
    pen.rect(x - half + 14, base - height * 74 // 100, x + half - 14, base - height * 69 // 100, STEEL, "door/handle")
    for knob in range(-1, 2):
        pen.ellipse(x + knob * half * 6 // 10, base - height * 85 // 100, 11, 11, DARK_METAL, "", 0)
    pen.rect(x - half - 4, base - height - 12, x + half + 4, base - height + 4, Surface((50, 52, 56), "metal"), "top")
    if rng.chance(70):
        pot = Surface(paint(rng), "metal")
        pen.rect(x - half // 2, base - height - 70, x + half // 4, base - height - 10, pot, "pot")


def fridge(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """A refrigerator with two doors."""
    pen, half = canvas.pen("fridge", rng), width // 2
    body = made(rng, "metal", "metal", "plastic", "wood")
    pen.rect(x - half, base - height, x + half, base, body)
    split = base - height * 62 // 100
    for high, low in ((base - height + 8, split - 5), (split + 5, base - 12)):
        pen.rect(x - half + 8, high, x + half - 8, low, body.shaded(18), "door")
        pen.rect(x + half - 40, high + (low - high) // 5, x + half - 20, low - (low - high) // 5, STEEL, "door/handle")


def screen(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A monitor or television on a foot."""
    pen, half, tall = canvas.pen("screen", rng), width // 2, width * 62 // 100
    pen.rect(x - width // 12, base - width // 8, x + width // 12, base, DARK_METAL, "stand")
    pen.rect(x - width // 4, base - 12, x + width // 4, base, DARK_METAL, "stand")
    pen.rect(
        x - half,
        base - width // 8 - tall,
        x + half,
        base - width // 8,
        made(rng, "metal", "plastic", "plastic", "wood"),
        "frame",
    )
    glow = Surface(rng.pick(((28, 34, 44), (70, 120, 180), (190, 214, 230), (60, 140, 120))), "glass")
    pen.rect(x - half + 12, base - width // 8 - tall + 12, x + half - 12, base - width // 8 - 12, glow, "display")


def television(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A screen on legs of its own."""
    pen, leg = canvas.pen("screen", rng), made(rng, "wood", "metal")
    for side in (-1, 1):
        pen.line(x + side * width // 12, base - width // 2, x + side * width // 3, base, 18, leg, "leg")
    screen(canvas, rng, x, base - width // 2 + 12, width)


def washer(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """A washing machine with a round door."""
    pen, half, body = canvas.pen("washer", rng), width // 2, made(rng, "metal", "metal", "plastic", "ceramic")
    pen.rect(x - half, base - height, x + half, base, body)
    pen.rect(x - half, base - height, x + half, base - height * 82 // 100, body.shaded(-50), "top")
    pen.rect(x - half + 12, base - height * 96 // 100, x - half // 6, base - height * 86 // 100, DARK_METAL, "drawer")
    pen.ellipse(x + half // 2, base - height * 91 // 100, 15, 15, STEEL, "top/handle", 0)
    middle, radius = base - height * 42 // 100, width * 36 // 100
    pen.ellipse(x, middle, radius, radius, STEEL, "door", 0)
    pen.ellipse(x, middle, radius * 7 // 10, radius * 7 // 10, Surface((60, 84, 108), "glass"), "door/pane", 60)


def bathtub(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A tub on feet with a tap."""
    pen, half = canvas.pen("bathtub", rng), width // 2
    tub, side = made(rng, "ceramic", "ceramic", "metal", "wood", "stone"), rng.pick((-1, 1))
    if rng.chance(40):
        tub = Surface(rng.jitter((226, 226, 222)), "ceramic")
    pen.shadow(x, base, half, 18)
    rim = base - width * 40 // 100
    for foot in (-1, 1):
        pen.rect(x + foot * half * 62 // 100 - 16, base - 40, x + foot * half * 62 // 100 + 16, base, DARK_METAL, "leg")
    pen.line(x + side * half * 70 // 100, rim - width // 4, x + side * half * 70 // 100, rim, 20, STEEL, "handle")
    tap = x + side * half * 70 // 100
    end = tap - side * width // 9
    pen.rect(min(tap, end) - 10, rim - width // 4 - 8, max(tap, end) + 10, rim - width // 4 + 14, STEEL, "handle")
    foot, low = half * 80 // 100, base - 26
    pen.polygon([(x - half, rim), (x + half, rim), (x + foot, low), (x - foot, low)], tub, "basin")
    pen.rect(x - half - 14, rim - 16, x + half + 14, rim + 14, tub.shaded(40), "top")


def piano(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """An upright piano; width includes the keyboard's ends."""
    pen, half = canvas.pen("piano", rng), width // 2
    case = made(rng, "wood", "wood", "wood", "plastic", "metal")
    pen.shadow(x, base, half, 16)
    pen.rect(x - half, base - width * 72 // 100, x + half, base - width // 20, case)
    pen.rect(x - half - 10, base - width * 76 // 100, x + half + 10, base - width * 70 // 100, case.shaded(40), "top")
    pen.rect(x - half // 3, base - width * 66 // 100, x + half // 3, base - width * 50 // 100,
             Surface((238, 234, 222), "paper", "banded"), "board")  # fmt: skip
    keys, low = base - width * 44 // 100, base - width * 32 // 100
    pen.rect(x - half - 8, low, x + half + 8, low + width // 16, case.shaded(-60), "keyboard")
    pen.rect(x - half, keys, x + half, low, Surface((240, 238, 230), "plastic"), "keyboard")
    for key in range(9):
        left = x - half + width * (2 * key + 1) // 20
        pen.rect(left, keys, left + width // 24, keys + (low - keys) * 6 // 10, Surface((36, 34, 38), "plastic"),
                 "keyboard")  # fmt: skip
    for side in (-1, 1):
        pen.rect(
            x + side * (half - 12) - 14, low + width // 16, x + side * (half - 12) + 14, base, case.shaded(-40), "leg"
        )
