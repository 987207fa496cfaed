"""Buildings. x is the middle, base the row that a building stands on."""

from __future__ import annotations

from dissect.tiny.world.canvas import Canvas, Pen, Surface
from dissect.tiny.world.light import glow
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import DARK_METAL, GLASS, made, masonry, paint, roofing

_WHITE_FRAME = Surface((228, 226, 218), "wood")

# Brighter than white, so that it stays bright in the light of the night.
_LIT = Surface((420, 350, 190), "glass")
_BRASS = Surface((206, 176, 96), "metal")


def _pane(pen: Pen, x0: int, y0: int, x1: int, y1: int, frame: Surface, glass: Surface) -> None:
    """A window in a wall: a frame and a crossed pane."""
    pen.rect(x0 - 8, y0 - 8, x1 + 8, y1 + 8, frame, "window")
    pen.rect(x0, y0, x1, y1, glass, "window/pane")
    if x1 - x0 >= 40:
        pen.rect((x0 + x1) // 2 - 4, y0, (x0 + x1) // 2 + 4, y1, frame, "window")


def house(canvas: Canvas, rng: Rng, x: int, base: int, width: int, snowy: bool = False) -> None:
    """A house: seen from its gable, from its long side, or with a flat roof."""
    pen = canvas.pen("house", rng)
    wall, cover = masonry(rng), roofing(rng)
    if snowy:
        cover = Surface((232, 238, 246), "snow", "speckled")
    tall = width * rng.between(46, 72) // 100
    left, right, eaves = x - width // 2, x + width // 2, base - tall
    rise = width * rng.between(28, 46) // 100
    if rng.chance(60):
        chimney_x = x + width * rng.between(10, 24) // 100
        pen.rect(
            chimney_x,
            eaves - rise * 8 // 10 - 20,
            chimney_x + max(26, width // 8),
            eaves,
            Surface((142, 84, 66), "brick", "bricked"),
            "chimney",
        )
    pen.rect(left, eaves, right, base, wall, "facade")
    edge = max(8, width // 14)
    style = rng.below(5)
    if style < 2:
        pen.polygon([(left, eaves + 2), (x, eaves - rise), (right, eaves + 2)], wall, "facade")
        pen.polygon([(left - edge, eaves + edge), (x, eaves - rise - edge), (right + edge, eaves + edge),
                     (right, eaves + edge), (x, eaves - rise + edge), (left, eaves + edge)], cover, "roof")  # fmt: skip
        _pane(pen, x - width // 14, eaves - rise // 2, x + width // 14, eaves - rise // 8, _WHITE_FRAME, GLASS)
    elif style < 4:
        inset = width * rng.between(5, 22) // 100
        pen.polygon(
            [
                (left - edge, eaves + 10),
                (left + inset, eaves - rise * 8 // 10),
                (right - inset, eaves - rise * 8 // 10),
                (right + edge, eaves + 10),
            ],
            cover,
            "roof",
        )
    else:
        pen.rect(left - edge // 2, eaves - edge, right + edge // 2, eaves + edge // 2, cover, "roof")
    _front(pen, rng, left, right, eaves, base)


def _front(pen: Pen, rng: Rng, left: int, right: int, eaves: int, base: int) -> None:
    """The door and the windows of a facade; lit windows light the ground before them."""
    width, tall = right - left, base - eaves
    lit = rng.chance(75) and pen.canvas.dark
    glass = GLASS.shaded(rng.between(-60, 30))
    frame = _WHITE_FRAME if rng.chance(70) else Surface(paint(rng), "wood")
    door = left + width * rng.pick((18, 42, 64)) // 100
    end, high = door + width * 17 // 100, base - tall * 56 // 100
    pen.rect(door - 6, high, end + 6, base, frame, "frame")
    pen.rect(door, high + 10, end, base, made(rng, "wood", "wood", "metal", "plastic"), "door")
    pen.rect(
        end - max(10, width // 24), base - tall * 30 // 100, end - 4, base - tall * 20 // 100, _BRASS, "door/handle"
    )
    for start in (8, 40, 72):
        x = left + width * start // 100
        if abs(x - door) > width * 20 // 100:
            low = eaves + tall * 60 // 100
            _pane(pen, x + 4, eaves + tall * 24 // 100, x + width * 18 // 100, low, frame, _LIT if lit else glass)
            if lit:
                glow(pen, x + 4, x + width * 18 // 100, base, max(40, tall * 60 // 100))


def barn(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A big wooden house with a wide door and no windows."""
    pen = canvas.pen("house", rng)
    boards = Surface(paint(rng) if rng.chance(40) else rng.jitter((150, 46, 42)), "wood", "striped")
    cover, tall = roofing(rng), width * 55 // 100
    left, right, eaves = x - width // 2, x + width // 2, base - tall
    shoulder, ridge = eaves - tall * 38 // 100, eaves - tall * 56 // 100
    pen.polygon(
        [
            (left, base),
            (left, eaves),
            (left + width // 5, shoulder),
            (x, ridge),
            (right - width // 5, shoulder),
            (right, eaves),
            (right, base),
        ],
        boards,
        "facade",
    )
    edge = max(10, width // 16)
    bend, under = width // 5, shoulder + edge // 2
    pen.polygon([(left - edge, eaves + edge), (left + bend, shoulder - edge), (x, ridge - edge),
                 (right - bend, shoulder - edge), (right + edge, eaves + edge), (right - edge // 2, eaves),
                 (right - bend - edge // 3, under), (x, ridge + edge // 2), (left + bend + edge // 3, under),
                 (left + edge // 2, eaves)], cover, "roof")  # fmt: skip
    half = width // 6
    pen.rect(x - half - 8, base - tall * 6 // 10 - 8, x + half + 8, base, _WHITE_FRAME, "frame")
    door = boards.shaded(-40)
    pen.rect(x - half, base - tall * 6 // 10, x + half, base, door, "door")
    pen.line(x - half, base - tall * 6 // 10, x + half, base, 9, _WHITE_FRAME, "door")
    pen.line(x + half, base - tall * 6 // 10, x - half, base, 9, _WHITE_FRAME, "door")


def church(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A nave beside a tower with a pointed steeple; size is the height."""
    pen = canvas.pen("church", rng)
    pen.shadow(x, base, size // 2, max(8, size // 18))
    wall, cover, side = masonry(rng), roofing(rng), rng.pick((-1, 1))
    tower, half = x - side * size * 16 // 100, size * rng.between(10, 13) // 100
    near, far, eaves = tower, x + side * size * rng.between(34, 44) // 100, base - size * rng.between(28, 34) // 100
    left, right = min(near, far), max(near, far)
    pen.rect(left, eaves, right, base, wall, "facade")
    ridge = eaves - size * rng.between(14, 20) // 100
    pen.polygon(
        [
            (left, eaves + 8),
            (left, ridge),
            (right, ridge),
            (right + 14 * (side > 0), eaves + 8),
            (left - 14 * (side < 0), eaves + 8),
        ],
        cover,
        "roof",
    )
    dark = Surface(rng.pick(((60, 72, 104), (90, 60, 84), (44, 48, 60))), "glass")
    step = (right - left - half) // 3
    for i in range(3):
        wx = (left if side < 0 else tower + half) + step * i + step // 2
        pen.rect(
            wx - size // 40,
            eaves + (base - eaves) * 34 // 100,
            wx + size // 40,
            base - (base - eaves) // 5,
            dark,
            "window/pane",
        )
        pen.ellipse(wx, eaves + (base - eaves) * 34 // 100, size // 40, size // 26, dark, "window/pane", 0, "upper")
    top = base - size * rng.between(54, 62) // 100
    pen.rect(tower - half, top, tower + half, base, wall.shaded(14), "facade")
    pen.polygon([(tower - half - 8, top), (tower, base - size), (tower + half + 8, top)], cover, "steeple")
    pen.polygon([(tower + half // 4, top), (tower, base - size), (tower + half + 8, top)], cover.shaded(-50), "steeple")
    pen.rect(tower - 5, base - size - size // 12, tower + 5, base - size + 8, DARK_METAL, "steeple")
    pen.rect(tower - 16, base - size - size // 18, tower + 16, base - size - size // 18 + 9, DARK_METAL, "steeple")
    pen.ellipse(tower, top + half, half // 2, half // 2, Surface((236, 230, 206), "stone"), "facade", 0)
    pen.rect(tower - half // 2, base - half * 5 // 4, tower + half // 2, base, Surface(paint(rng), "wood"), "door")
    pen.ellipse(tower, base - half * 5 // 4, half // 2, half // 2, Surface(wall.color).shaded(-90), "door", 0, "upper")


def skyscraper(canvas: Canvas, rng: Rng, x: int, base: int, width: int, height: int) -> None:
    """A tower block, its windows in a grid or in bands."""
    pen = canvas.pen("skyscraper", rng)
    wall = made(rng, "glass", "concrete", "brick", "metal")._replace(texture=rng.pick(("gridded", "gridded", "banded")))
    if rng.chance(40):
        pen.rect(x - width // 4, base - height - height // 8, x + width // 4, base - height, wall, "facade")
    if rng.chance(35):
        pen.rect(x - 5, base - height - height // 4, x + 5, base - height, DARK_METAL, "roof")
    pen.rect(x - width // 2, base - height, x + width // 2, base, wall, "facade")
    pen.rect(x + width // 4, base - height, x + width // 2, base, wall.shaded(-56), "facade")
    pen.rect(
        x - width // 2,
        base - height - 10,
        x + width // 2,
        base - height + 4,
        wall._replace(texture="").shaded(-30),
        "roof",
    )


def tent(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A ridge tent or a dome with an open front; size is its width."""
    pen, cloth = canvas.pen("tent", rng), made(rng, "fabric", "fabric", "leather", "plastic")
    pen.shadow(x, base, size * 55 // 100, max(8, size // 14))
    dark = Surface(cloth.color, cloth.material).shaded(-170)
    half, high, lean = size // 2, base - size * 58 // 100, size * rng.pick((-18, 18)) // 100
    if rng.chance(35):
        pen.ellipse(x, base, half, size * 54 // 100, cloth, "canopy", 40, "upper")
        pen.ellipse(x + lean, base, half * 4 // 10, size * 38 // 100, dark, "door", 0, "upper")
        return
    pen.polygon([(x - half, base), (x + lean - half // 4, high), (x + lean + half // 4, high), (x + half, base)],
                cloth, "canopy")  # fmt: skip
    front = x + lean + (half // 4 if lean < 0 else -half // 4)
    foot = x + half if lean < 0 else x - half
    pen.polygon([(front, high), (foot, base), (2 * front - foot, base)], cloth.shaded(-50), "canopy")
    pen.polygon([(front, high + size // 8), (front - half // 3, base), (front + half // 3, base)], dark, "door")
    pole = made(rng, "wood", "metal")
    pen.line(front, high - size // 16, front, base, max(10, size // 24), pole, "stand")
