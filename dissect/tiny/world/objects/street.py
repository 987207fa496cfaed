"""Ways, and the furniture of streets, parks and shores."""

from __future__ import annotations

from dissect.tiny.world.canvas import UNITS, Canvas, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, fabric, made, paint


def fence(canvas: Canvas, rng: Rng, x0: int, x1: int, base: int, size: int) -> None:
    """Posts and two rails."""
    pen, surface = canvas.pen("fence", rng), made(rng, "wood", "wood", "metal", "stone")
    for level in (35, 75):
        pen.rect(x0, base - size * level // 100 - 8, x1, base - size * level // 100 + 8, surface)
    step = max(26, size * 6 // 10)
    for x in range(x0, x1, step):
        pen.rect(x, base - size, x + max(16, size // 6), base, surface)


def pier(canvas: Canvas, rng: Rng, x0: int, x1: int, y: int, depth: int) -> None:
    """Planks on posts over water; y is the deck."""
    pen, planks = canvas.pen("pier", rng), made(rng, "wood", "wood", "stone", "concrete")
    for x in range(x0 + 10, x1, 74):
        pen.rect(x, y, x + 14, y + depth + 40, planks.shaded(-60), "leg")
    pen.polygon(
        [(x0 + 24, y - depth // 2), (x1 - 24, y - depth // 2), (x1, y + depth // 2), (x0, y + depth // 2)],
        planks._replace(texture="striped"),
        "top",
    )


def roadway(rng: Rng) -> Surface:
    """What a road is paved with."""
    return rng.pick((
        Surface(rng.jitter((96, 96, 100), 16), "asphalt", "speckled"),
        Surface(rng.jitter((112, 108, 108), 16), "asphalt", "speckled"),
        Surface(rng.jitter((150, 118, 84), 16), "earth", "speckled"),
        Surface(rng.jitter((140, 132, 122), 16), "stone", "tiled"),
    ))  # fmt: skip


def perspective_road(canvas: Canvas, rng: Rng, horizon: int, far: int, foot: int, half: int) -> None:
    """A road that runs to the horizon, with a broken middle line."""
    pen = canvas.pen("road", rng)
    surface = roadway(rng)
    pen.polygon([(far - 8, horizon), (far + 8, horizon), (foot + half, UNITS), (foot - half, UNITS)], surface)
    if surface.material == "asphalt":
        stripe = Surface(rng.pick(((236, 234, 224), (230, 196, 84))), "asphalt")
        for near, end in ((4, 9), (16, 27), (38, 56), (72, 100)):
            y0, y1 = horizon + (UNITS - horizon) * near // 100, horizon + (UNITS - horizon) * end // 100
            xa, xb = far + (foot - far) * near // 100, far + (foot - far) * end // 100
            wa, wb = 4 + half * near // 2400, 4 + half * end // 2400
            pen.polygon([(xa - wa, y0), (xa + wa, y0), (xb + wb, y1), (xb - wb, y1)], stripe, "stripe")


def cross_road(canvas: Canvas, rng: Rng, top: int, bottom: int) -> None:
    """A road across the picture, with a broken middle line."""
    pen = canvas.pen("road", rng)
    surface = roadway(rng)
    pen.rect(0, top, UNITS, bottom, surface)
    if surface.material == "asphalt":
        middle, start = (top + bottom) // 2, rng.below(120)
        for x in range(start - 120, UNITS, 150):
            pen.rect(x, middle - 8, x + 80, middle + 8, Surface((234, 232, 220), "asphalt"), "stripe")


def streetlight(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A post with a lamp on an arm, or a globe on top."""
    pen, post = canvas.pen("streetlight", rng), made(rng, "metal", "wood", "concrete")
    width = max(22, size // 18)
    pen.rect(x - width // 2, base - size, x + width - width // 2, base, post, "stand")
    pen.rect(x - width, base - size // 10, x + width, base, post.shaded(-40), "stand")
    glow = Surface((255, 236, 170), "glass")
    if rng.chance(50):
        side = rng.pick((-1, 1))
        pen.rect(min(x, x + side * size // 5), base - size, max(x, x + side * size // 5), base - size + 14, post, "arm")
        pen.ellipse(x + side * size // 5, base - size + 8, size // 9, max(24, size // 14), glow, "head", 0, "lower")
    else:
        pen.ellipse(x, base - size, size // 12, size // 12, glow, "head", 20)


def bench(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A park bench; size is its width."""
    pen, planks = canvas.pen("bench", rng), made(rng, "wood", "wood", "metal", "stone", "plastic")
    pen.shadow(x, base, size * 6 // 10, max(8, size // 12))
    for side in (-42, 36):
        pen.rect(x + size * side // 100, base - size * 24 // 100, x + size * (side + 7) // 100, base, DARK_METAL, "leg")
    pen.rect(
        x - size // 2,
        base - size * 54 // 100,
        x + size // 2,
        base - size * 32 // 100,
        planks._replace(texture="banded"),
        "back",
    )
    pen.rect(x - size // 2, base - size * 28 // 100, x + size // 2, base - size * 18 // 100, planks.shaded(20), "seat")


def umbrella(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A parasol with gores of two colours."""
    pen = canvas.pen("umbrella", rng)
    pen.shadow(x + size // 4, base, size * 4 // 10, max(8, size // 16))
    pen.rect(x - 9, base - size, x + 9, base, made(rng, "wood", "metal"), "stand")
    first, second = fabric(rng, ("",)), fabric(rng, ("",))
    if rng.chance(30):
        first = Surface(rng.jitter((190, 160, 100)), "wicker", "striped")
    low, half = base - size * 62 // 100, size * 55 // 100
    pen.ellipse(x, low, half, size * 40 // 100, first, "canopy", 20, "upper")
    pen.ellipse(x, low, half * 55 // 100, size * 40 // 100, second, "canopy", 20, "upper")
    pen.ellipse(x, low, half * 2 // 10, size * 40 // 100, first, "canopy", 20, "upper")


def stall(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A market stall: an awning over a counter with goods; size is its width."""
    pen, half = canvas.pen("stall", rng), size // 2
    counter, post = made(rng, "wood", "wood", "metal", "plastic"), made(rng, "wood", "metal")
    pen.shadow(x, base, half, max(8, size // 16))
    high, low = base - size * 86 // 100, base - size * 58 // 100
    for side in (-1, 1):
        pen.line(
            x + side * half * 88 // 100, low, x + side * half * 88 // 100, base, max(14, size // 18), post, "stand"
        )
    pen.rect(x - half * 92 // 100, base - size * 32 // 100, x + half * 92 // 100, base - size // 14, counter, "counter")
    for place in range(-3, 4):
        ware, middle = Surface(paint(rng), rng.pick(("foliage", "paper", "ceramic"))), x + place * half * 25 // 100
        pen.ellipse(middle, base - size * 32 // 100, half * 13 // 100, size // 9, ware, "counter/goods", 30, "upper")
    first, second = fabric(rng, ("",)), Surface(rng.pick(((236, 232, 222), paint(rng))), "fabric")
    for strip in range(6):
        a, b = x - half + size * strip // 6, x - half + size * (strip + 1) // 6
        c, d = x + (a - x) * 84 // 100, x + (b - x) * 84 // 100
        pen.polygon([(c, high), (d, high), (b, low), (a, low)], second if strip % 2 else first, "canopy")


def fountain(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A basin with a bowl on a column and jets of water; size is its width."""
    pen, half = canvas.pen("fountain", rng), size // 2
    stone, jet = made(rng, "stone", "stone", "concrete", "metal", "ceramic"), Surface((206, 228, 242), "glass")
    pen.shadow(x, base, half, max(8, size // 12))
    rim = base - size * 20 // 100
    pen.ellipse(x, rim, half, size // 10, stone.shaded(30), "basin", 0)
    pen.rect(x - half, rim, x + half, base - size // 14, stone, "basin")
    pen.ellipse(x, base - size // 12, half, size // 12, stone, "basin", 0, "lower")
    pen.ellipse(x, rim, half * 88 // 100, size * 7 // 100, Surface((96, 152, 186), "glass", "wavy"), "basin", 0)
    bowl = base - size * 52 // 100
    pen.rect(x - size // 16, bowl, x + size // 16, rim, stone.shaded(-20), "stand")
    pen.ellipse(x, bowl, half * 46 // 100, size // 10, stone.shaded(16), "top", 30, "lower")
    for side in (-1, 1):
        edge = x + side * half * 54 // 100
        pen.line(x, base - size * 82 // 100, edge, bowl - size // 10, max(12, size // 18), jet)
        pen.line(edge, bowl - size // 9, edge + side * half // 8, rim, max(12, size // 18), jet)
    pen.line(x, base - size * 88 // 100, x, bowl, max(16, size // 12), jet)
