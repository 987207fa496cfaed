"""Rooms and what hangs, stands or lies about in them. x is the middle, base the row that a thing stands on."""

from __future__ import annotations

from dissect.tiny.world.canvas import UNITS, Canvas, Surface
from dissect.tiny.world.objects.nature import SKIES
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, LEAVES, STEEL, fabric, leaves, made, paint, wood

_PALE = (
    (236, 230, 216),
    (206, 216, 222),
    (214, 206, 190),
    (198, 210, 186),
    (228, 202, 190),
    (222, 214, 160),
    (150, 164, 178),
    (176, 140, 128),
    (120, 136, 120),
)
_TILES = ((196, 188, 176), (150, 160, 168), (178, 120, 92))


def room(canvas: Canvas, rng: Rng, floor: int) -> None:
    """The back wall and the floor that meets it at row `floor`."""
    kind = rng.below(10)
    wall = Surface(rng.jitter(rng.pick(_PALE)), "plaster")
    if kind in (5, 6):
        wall = Surface(rng.jitter(rng.pick(_PALE)), "paper", rng.pick(("striped", "dotted")))
    elif kind == 7:
        wall = Surface(rng.jitter(rng.pick((*_PALE, *_TILES))), "ceramic", "tiled")
    elif kind == 8:
        wall = Surface(rng.jitter(rng.pick(((178, 104, 82), (190, 176, 160)))), "brick", "bricked")
    elif kind == 9:
        wall = Surface(rng.jitter(rng.pick(((180, 140, 96), (220, 214, 200)))), "wood", "striped")
    pen = canvas.pen("wall", rng)
    pen.rect(0, 0, UNITS, floor, wall)
    pen.rect(0, floor - 22, UNITS, floor, Surface((224, 220, 210), "wood").shaded(rng.between(-110, 10)))
    boards = rng.pick(
        (
            wood(rng)._replace(texture="banded"),
            wood(rng),
            Surface(rng.jitter(rng.pick(_TILES)), "ceramic", rng.pick(("tiled", "checkered"))),
            Surface(paint(rng), "fabric", "speckled"),
        )
    )
    canvas.pen("floor", rng).gradient(0, floor, UNITS, UNITS, boards.shaded(-20), boards.shaded(14).color)


def window(canvas: Canvas, rng: Rng, x: int, top: int, width: int, height: int, curtains: bool) -> None:
    """A window with something outside it, perhaps with curtains."""
    pen = canvas.pen("window", rng)
    frame = made(rng, "wood", "wood", "metal", "plastic")
    sky = SKIES[rng.pick(("noon", "noon", "morning", "overcast", "dusk", "night"))]
    left, right = x - width // 2, x + width // 2
    pen.rect(left - 14, top - 14, right + 14, top + height + 14, frame, "frame")
    pen.gradient(left, top, right, top + height, Surface(sky[0], "glass"), sky[1], "pane")
    if rng.chance(60):
        green = Surface(rng.pick(LEAVES), "glass", "blotchy")
        pen.rect(left, top + height * 78 // 100, right, top + height, green, "pane")
    pen.rect(x - 5, top, x + 6, top + height, frame, "frame")
    if height > 200:
        pen.rect(left, top + height // 2 - 5, right, top + height // 2 + 5, frame, "frame")
    if curtains:
        drape, cloth = canvas.pen("curtain", rng), fabric(rng, ("striped", "", "dotted"))
        low = top + height + rng.between(20, 160)
        for side in (-1, 1):
            outer, inner = x + side * (width // 2 + 44), x + side * width * 34 // 100
            drape.polygon(
                [(outer, top - 34), (inner, top - 34), (x + side * width * 42 // 100, low), (outer, low)], cloth
            )
        drape.rect(left - 60, top - 42, right + 60, top - 22, made(rng, "wood", "metal"), "top")


def painting(canvas: Canvas, rng: Rng, x: int, top: int, width: int, height: int) -> None:
    """A framed picture: a landscape or coloured shapes."""
    pen, frame = canvas.pen("painting", rng), made(rng, "wood", "wood", "metal", "plastic")
    left, right, low = x - width // 2, x + width // 2, top + height
    pen.rect(left - 12, top - 12, right + 12, low + 12, frame, "frame")
    pen.rect(left, top, right, low, Surface(paint(rng), "paper"))
    if rng.chance(50):
        pen.polygon(
            [
                (left, low),
                (left, top + height * 6 // 10),
                (x, top + height * rng.between(20, 50) // 100),
                (right, top + height * 7 // 10),
                (right, low),
            ],
            Surface(paint(rng), "paper"),
        )
    else:
        pen.ellipse(
            x + rng.between(-width, width) // 6,
            top + height // 2,
            width // 4,
            height // 3,
            Surface(paint(rng), "paper"),
            light=0,
        )


def lamp(canvas: Canvas, rng: Rng, x: int, base: int, size: int, hanging: bool = False) -> None:
    """A lamp with a shade: standing on base, or hanging down to it."""
    pen, shade = (
        canvas.pen("lamp", rng),
        Surface(rng.jitter(rng.pick(((248, 226, 168), (236, 210, 180), (250, 240, 214))), 8), "fabric"),
    )
    if rng.chance(30):
        shade = made(rng, "fabric", "glass", "paper")
    wide = max(44, size * 3 // 10) if not hanging else size
    if hanging:
        pen.rect(x - 4, 0, x + 5, base - size // 2, DARK_METAL, "stand")
        pen.polygon(
            [
                (x - wide // 4, base - size // 2),
                (x + wide // 4, base - size // 2),
                (x + wide // 2, base),
                (x - wide // 2, base),
            ],
            shade,
            "shade",
        )
        pen.ellipse(x, base, wide // 6, wide // 8, Surface((255, 244, 200), "glass"), "", 0)
        return
    foot = rng.pick((DARK_METAL, STEEL, wood(rng), Surface(paint(rng), "ceramic")))
    pen.rect(x - 15, base - size * 7 // 10, x + 15, base, foot, "stand")
    pen.rect(x - wide // 3, base - 12, x + wide // 3, base, foot, "stand")
    drop = max(60, size * 3 // 10)
    pen.polygon(
        [
            (x - wide // 3, base - size),
            (x + wide // 3, base - size),
            (x + wide * 6 // 10, base - size + drop),
            (x - wide * 6 // 10, base - size + drop),
        ],
        shade,
        "shade",
    )


def rug(canvas: Canvas, rng: Rng, x: int, y: int, width: int, depth: int) -> None:
    """A carpet, round or with straight sides."""
    pen, cloth = canvas.pen("rug", rng), fabric(rng, ("speckled", "striped", "checkered", "dotted"))
    if rng.chance(40):
        cloth = cloth._replace(material=rng.pick(("hair", "wicker")))
    border = Surface(paint(rng), cloth.material)
    if rng.chance(40):
        pen.ellipse(x, y, width // 2, depth // 2, border, light=0)
        pen.ellipse(x, y, width // 2 - 26, depth // 2 - 16, cloth, light=0)
        return
    for inset, surface in ((0, border), (24, cloth)):
        half, high, low = width // 2 - inset, y - depth // 2 + inset * 6 // 10, y + depth // 2 - inset * 6 // 10
        pen.polygon(
            [(x - half * 84 // 100, high), (x + half * 84 // 100, high), (x + half, low), (x - half, low)], surface
        )


def plant(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A potted plant."""
    pen, pot, leaf = (
        canvas.pen("plant", rng),
        made(rng, "ceramic", "ceramic", "wicker", "metal", "plastic"),
        leaves(rng, rng.chance(25)),
    )
    wide = size * 24 // 100
    for dx, dy in ((-34, 62), (34, 60), (-16, 84), (18, 88), (0, 100), (-44, 44), (42, 40)):
        tip, bend, root = base - size * dy // 100, base - size * dy // 125, base - size * 3 // 10
        pen.polygon([(x - 8, root), (x + size * (dx - 10) // 100, bend), (x + size * dx // 100, tip),
                     (x + size * (dx + 10) // 100, bend), (x + 8, root)], leaf.shaded(dx // 2))  # fmt: skip
    pen.polygon(
        [
            (x - wide, base - size * 32 // 100),
            (x + wide, base - size * 32 // 100),
            (x + wide * 7 // 10, base),
            (x - wide * 7 // 10, base),
        ],
        pot,
        "pot",
    )
