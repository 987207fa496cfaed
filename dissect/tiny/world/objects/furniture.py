"""Furniture and kitchen appliances. x is the middle, base the row that a thing stands on."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Pen, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, STEEL, fabric, made, paint, wood

#: Frame, linen and cover.
_Bedding = tuple[Surface, Surface, Surface]


def bed(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A bed from its foot end, or from its side."""
    pen, frame, cover = canvas.pen("bed", rng), made(rng, "wood", "wood", "metal", "leather"), fabric(rng)
    linen = Surface(rng.jitter((238, 236, 230), 8), "fabric")
    if rng.chance(55):
        _bed_from_its_foot(pen, rng, x, base, width, (frame, linen, cover))
    else:
        _bed_from_its_side(pen, rng, x, base, width, (frame, linen, cover))


def _bed_from_its_foot(pen: Pen, rng: Rng, x: int, base: int, width: int, surfaces: _Bedding) -> None:
    frame, linen, cover = surfaces
    high, half = base - width * 55 // 100, width // 2
    pen.rect(x - half - 12, high - width * 24 // 100, x + half + 12, base - width // 6, frame, "headboard")
    pen.polygon(
        [
            (x - half * 88 // 100, high),
            (x + half * 88 // 100, high),
            (x + half, base - width // 8),
            (x - half, base - width // 8),
        ],
        linen,
    )
    for side in (-1, 1):
        pen.ellipse(
            x + side * half * 42 // 100,
            high + width // 40,
            half * 36 // 100,
            width // 11,
            linen.shaded(6) if rng.chance(60) else fabric(rng),
            "pillow",
            30,
        )
    pen.polygon(
        [
            (x - half * 94 // 100, high + width // 8),
            (x + half * 94 // 100, high + width // 8),
            (x + half + 8, base - width // 8),
            (x - half - 8, base - width // 8),
        ],
        cover,
        "blanket",
    )
    pen.rect(x - half - 8, base - width // 8, x + half + 8, base - width // 30, cover.shaded(-46), "blanket")
    for side in (-1, 1):
        pen.rect(x + side * half - 14, base - width // 30, x + side * half + 14, base, frame, "leg")


def _bed_from_its_side(pen: Pen, rng: Rng, x: int, base: int, width: int, surfaces: _Bedding) -> None:
    frame, linen, cover = surfaces
    side, half, deck = rng.pick((-1, 1)), width * 68 // 100, base - width * 29 // 100
    head = x - side * half
    for end in (-1, 1):
        pen.rect(x + end * half - 12, deck, x + end * half + 12, base, frame, "leg")
    pen.rect(x - half, deck, x + half, base - width // 12, frame)
    pen.rect(x - half, deck - width // 9, x + half, deck + 12, linen)
    pen.polygon(
        [
            (x - side * half * 45 // 100, deck - width // 7),
            (x + side * half, deck - width // 8),
            (x + side * half, deck + width // 12),
            (x - side * half * 45 // 100, deck + width // 12),
        ],
        cover,
        "blanket",
    )
    pen.ellipse(x - side * half * 74 // 100, deck - width // 8, half // 4, width // 14, linen, "pillow", 30)
    pen.rect(
        min(head, head - side * 26), deck - width * 32 // 100, max(head, head - side * 26), base, frame, "headboard"
    )
    foot = x + side * half
    pen.rect(min(foot, foot + side * 22), deck - width // 9, max(foot, foot + side * 22), base, frame)


def sofa(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A sofa or, when narrow, an armchair."""
    pen, cloth, half = canvas.pen("sofa", rng), made(rng, "fabric", "fabric", "leather", "wicker"), width // 2
    tall = max(150, width * 42 // 100)
    pen.shadow(x, base, half * 11 // 10, 22)
    for side in (-1, 1):
        pen.rect(x + side * half * 8 // 10 - 12, base - 30, x + side * half * 8 // 10 + 12, base, wood(rng), "leg")
    pen.rect(x - half * 9 // 10, base - tall, x + half * 9 // 10, base - tall // 3, cloth, "back")
    pen.rect(x - half * 9 // 10, base - tall - 8, x + half * 9 // 10, base - tall + 10, cloth.shaded(36), "back")
    pen.rect(x - half * 9 // 10, base - tall * 50 // 100, x + half * 9 // 10, base - 22, cloth.shaded(18), "seat")
    pen.rect(x - half * 9 // 10, base - tall * 24 // 100, x + half * 9 // 10, base - 22, cloth.shaded(-46), "seat")
    for side in (-1, 1):
        pen.rect(
            x + side * half * 86 // 100 - half // 7,
            base - tall * 66 // 100,
            x + side * half * 86 // 100 + half // 7,
            base - 20,
            cloth.shaded(-20),
            "arm",
        )
        if rng.chance(60):
            pen.ellipse(
                x + side * half * 46 // 100, base - tall * 60 // 100, tall // 4, tall // 5, fabric(rng), "pillow", 26
            )


def chair(canvas: Canvas, rng: Rng, x: int, base: int, size: int, wheels: bool = False) -> None:
    """A chair, with four legs or on castors; size is its height."""
    pen, side = canvas.pen("chair", rng), rng.pick((-1, 1))
    surface = made(rng, "wood", "wood", "metal", "plastic", "wicker", "fabric")
    seat, half, limb = base - size * 45 // 100, size * 24 // 100, max(10, size // 18)
    pen.shadow(x, base, half, 12)
    if wheels:
        pen.rect(x - limb // 2, seat, x + limb // 2, base - 10, DARK_METAL, "leg")
        pen.rect(x - half, base - 22, x + half, base - 10, DARK_METAL, "leg")
        for foot in (-1, 0, 1):
            pen.ellipse(x + foot * half, base - 7, 10, 10, Surface((40, 40, 44), "rubber"), "wheel", 0)
        pen.rect(x - half * 8 // 10, base - size, x + half * 8 // 10, seat - size // 12, surface, "back")
        pen.rect(x - half, seat - size // 14, x + half, seat + size // 20, surface.shaded(-30), "seat")
        return
    rear = x - side * half
    for leg in (-half, half - limb):
        pen.rect(x + leg, seat, x + leg + limb, base, surface.shaded(-40), "leg")
        pen.rect(x + leg * 6 // 10, seat, x + leg * 6 // 10 + limb, base - size // 16, surface.shaded(-70), "leg")
    pen.polygon(
        [(rear - limb, base - size), (rear + limb // 2, base - size), (rear + limb, seat), (rear - limb, seat)],
        surface,
        "back",
    )
    pen.rect(x - half - 6, seat - size // 20, x + half + 6, seat + size // 28, surface.shaded(30), "seat")


def table(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int, cloth: bool = False) -> None:
    """A table; with a cloth its legs are half hidden."""
    pen, surface, half = canvas.pen("table", rng), made(rng, "wood", "wood", "metal", "glass", "stone"), width // 2
    top, limb = base - height, max(14, width // 22)
    deep = max(26, width // 9)
    pen.shadow(x, base, half, 20)
    for side in (-1, 1):
        edge = x + side * (half - limb)
        pen.rect(edge - limb // 2, top, edge + limb // 2, base, surface.shaded(-30), "leg")
        pen.rect(
            edge - side * limb * 2 - limb // 2,
            top,
            edge - side * limb * 2 + limb // 2,
            base - height // 6,
            surface.shaded(-70),
            "leg",
        )
    if cloth:
        surface = fabric(rng)
        pen.rect(x - half, top, x + half, top + height // 3, surface.shaded(-36), "top")
    pen.polygon(
        [(x - half * 88 // 100, top - deep), (x + half * 88 // 100, top - deep), (x + half, top), (x - half, top)],
        surface.shaded(24),
        "top",
    )
    pen.rect(x - half, top, x + half, top + 16, surface.shaded(-20), "top")


def cabinet(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """A chest of drawers or a row of cupboards."""
    pen, half, surface = (
        canvas.pen("cabinet", rng),
        width // 2,
        made(rng, "wood", "wood", "metal", "wicker"),
    )
    pen.rect(x - half, base - height, x + half, base, surface)
    columns, rows = max(1, width // 150), max(1, height // 110)
    for column in range(columns):
        for row in range(rows):
            left, high = x - half + width * column // columns, base - height + height * row // rows
            right, low = x - half + width * (column + 1) // columns, base - height + height * (row + 1) // rows
            pen.rect(left + 14, high + 15, right - 14, low - 14, surface.shaded(-34), "drawer")
            pen.rect(
                (left + right) // 2 - 20,
                (high + low) // 2 - 8,
                (left + right) // 2 + 20,
                (high + low) // 2 + 8,
                STEEL,
                "drawer/handle",
            )
    pen.rect(x - half - 10, base - height - 14, x + half + 10, base - height + 6, surface.shaded(50), "top")


def bookcase(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """Shelves full of books."""
    pen, frame = canvas.pen("bookcase", rng), made(rng, "wood", "wood", "metal", "plastic")
    left, right = x - width // 2, x + width // 2
    pen.rect(left, base - height, right, base, frame)
    rows = max(2, height // 120)
    for row in range(rows):
        low = base - 14 - height * row // rows
        high = low - height // rows + 16
        pen.rect(left + 12, high, right - 12, low, frame.shaded(-110), "shelf")
        place = left + 16
        while place < right - 34:
            thick = rng.between(24, 56)
            tall = (low - high) * rng.between(60, 92) // 100
            if rng.chance(86):
                pen.rect(
                    place,
                    low - tall,
                    min(place + thick, right - 14),
                    low,
                    Surface(paint(rng), "paper", rng.pick(("", "", "striped"))),
                    "/book",
                )
            place += thick
