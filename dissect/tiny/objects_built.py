"""Buildings, ways and the furniture of streets and parks."""

from __future__ import annotations

from dissect.tiny.canvas import UNITS, Canvas, Pen, Surface
from dissect.tiny.rng import Rng
from dissect.tiny.surfaces import DARK_METAL, GLASS, STEEL, masonry, metal, paint, roofing, wood

_WHITE_FRAME = Surface((228, 226, 218), "wood")
_LIT = Surface((250, 214, 120), "glass")


def pane(pen: Pen, x0: int, y0: int, x1: int, y1: int, frame: Surface, glass: Surface) -> None:
    """A window in a wall: a frame and a crossed pane."""
    pen.rect(x0 - 8, y0 - 8, x1 + 8, y1 + 8, frame, "frame")
    pen.rect(x0, y0, x1, y1, glass, "pane")
    if x1 - x0 >= 40:
        pen.rect((x0 + x1) // 2 - 4, y0, (x0 + x1) // 2 + 4, y1, frame, "frame")


def house(canvas: Canvas, rng: Rng, x: int, base: int, width: int, snowy: bool = False) -> None:
    """A house: seen from its gable, from its long side, or with a flat roof."""
    pen = canvas.pen("house", rng)
    canvas.shadow(x + width // 10, base, width * 6 // 10, max(8, width // 14))
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
            chimney_x + max(16, width // 11),
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
        pane(pen, x - width // 14, eaves - rise // 2, x + width // 14, eaves - rise // 8, _WHITE_FRAME, GLASS)
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
    """The door and the windows of a facade."""
    width, tall = right - left, base - eaves
    glass = _LIT if rng.chance(20) else GLASS.shaded(rng.between(-60, 30))
    frame = _WHITE_FRAME if rng.chance(70) else Surface(paint(rng), "wood")
    door = left + width * rng.pick((18, 42, 64)) // 100
    pen.rect(door - 6, base - tall * 56 // 100, door + width * 17 // 100 + 6, base, frame, "frame")
    pen.rect(door, base - tall * 54 // 100, door + width * 17 // 100, base, Surface(paint(rng), "wood"), "door")
    for start in (8, 40, 72):
        x = left + width * start // 100
        if abs(x - door) > width * 20 // 100:
            pane(pen, x + 4, eaves + tall * 24 // 100, x + width * 18 // 100, eaves + tall * 60 // 100, frame, glass)


def barn(canvas: Canvas, rng: Rng, x: int, base: int, width: int) -> None:
    """A big wooden house with a wide door and no windows."""
    pen = canvas.pen("house", rng)
    boards = Surface(
        rng.jitter(rng.pick(((150, 46, 42), (128, 84, 54), (170, 168, 160), (86, 72, 62)))), "wood", "striped"
    )
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
    door = Surface(boards.color, "wood", "striped").shaded(-40)
    pen.rect(x - half, base - tall * 6 // 10, x + half, base, door, "door")
    pen.line(x - half, base - tall * 6 // 10, x + half, base, 9, _WHITE_FRAME, "door")
    pen.line(x + half, base - tall * 6 // 10, x - half, base, 9, _WHITE_FRAME, "door")


def church(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A nave beside a tower with a pointed steeple; size is the height."""
    pen = canvas.pen("church", rng)
    canvas.shadow(x, base, size // 2, max(8, size // 18))
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
            (right - side * 0, ridge),
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
            "pane",
        )
        pen.ellipse(wx, eaves + (base - eaves) * 34 // 100, size // 40, size // 26, dark, "pane", 0, "upper")
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
    color = rng.jitter(
        rng.pick(((118, 134, 152), (150, 142, 132), (88, 98, 116), (170, 160, 148), (122, 92, 82), (70, 96, 112)))
    )
    wall = Surface(color, rng.pick(("glass", "concrete", "concrete")), rng.pick(("gridded", "gridded", "banded")))
    if rng.chance(40):
        pen.rect(x - width // 4, base - height - height // 8, x + width // 4, base - height, wall, "facade")
    if rng.chance(35):
        pen.rect(x - 5, base - height - height // 4, x + 5, base - height, DARK_METAL, "mast")
    pen.rect(x - width // 2, base - height, x + width // 2, base, wall, "facade")
    pen.rect(x + width // 4, base - height, x + width // 2, base, wall.shaded(-56), "facade")
    pen.rect(
        x - width // 2,
        base - height - 10,
        x + width // 2,
        base - height + 4,
        Surface(color, "concrete").shaded(-30),
        "roof",
    )


def fence(canvas: Canvas, rng: Rng, x0: int, x1: int, base: int, size: int) -> None:
    """Posts and two rails."""
    pen = canvas.pen("fence", rng)
    surface = (
        wood(rng) if rng.chance(60) else Surface(rng.pick(((226, 224, 216), (90, 92, 96))), rng.pick(("wood", "metal")))
    )
    for level in (35, 75):
        pen.rect(x0, base - size * level // 100 - 5, x1, base - size * level // 100 + 6, surface)
    step = max(26, size * 6 // 10)
    for x in range(x0, x1, step):
        pen.rect(x, base - size, x + max(9, size // 8), base, surface)


def pier(canvas: Canvas, rng: Rng, x0: int, x1: int, y: int, depth: int) -> None:
    """Planks on posts over water; y is the deck."""
    pen, planks = canvas.pen("pier", rng), wood(rng)
    for x in range(x0 + 10, x1, 74):
        pen.rect(x, y, x + 14, y + depth + 40, planks.shaded(-60), "leg")
    pen.polygon(
        [(x0 + 24, y - depth // 2), (x1 - 24, y - depth // 2), (x1, y + depth // 2), (x0, y + depth // 2)],
        planks._replace(texture="striped"),
        "top",
    )


def perspective_road(canvas: Canvas, rng: Rng, horizon: int, far: int, foot: int, half: int) -> None:
    """A road that runs to the horizon, with a broken middle line."""
    pen = canvas.pen("road", rng)
    surface = Surface(rng.jitter((96, 96, 100), 10), "asphalt", "speckled")
    if rng.chance(25):
        surface = Surface(rng.jitter((150, 118, 84)), "earth", "speckled")
    pen.polygon([(far - 8, horizon), (far + 8, horizon), (foot + half, UNITS), (foot - half, UNITS)], surface)
    if surface.material == "asphalt":
        stripe = Surface(rng.pick(((236, 234, 224), (230, 196, 84))), "asphalt")
        for near, end in ((4, 9), (16, 27), (38, 56), (72, 100)):
            y0, y1 = horizon + (UNITS - horizon) * near // 100, horizon + (UNITS - horizon) * end // 100
            xa, xb = far + (foot - far) * near // 100, far + (foot - far) * end // 100
            wa, wb = 4 + half * near // 2400, 4 + half * end // 2400
            pen.polygon([(xa - wa, y0), (xa + wa, y0), (xb + wb, y1), (xb - wb, y1)], stripe)


def cross_road(canvas: Canvas, rng: Rng, top: int, bottom: int, lines: bool = True) -> None:
    """A road across the picture, with a broken middle line."""
    pen = canvas.pen("road", rng)
    pen.rect(0, top, UNITS, bottom, Surface(rng.jitter((92, 92, 98), 10), "asphalt", "speckled"))
    if lines:
        middle, start = (top + bottom) // 2, rng.below(120)
        for x in range(start - 120, UNITS, 150):
            pen.rect(x, middle - 6, x + 80, middle + 6, Surface((234, 232, 220), "asphalt"))


def streetlight(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A post with a lamp on an arm, or a globe on top."""
    pen = canvas.pen("streetlight", rng)
    width = max(9, size // 36)
    pen.rect(x - width // 2, base - size, x + width - width // 2, base, DARK_METAL, "stand")
    glow = Surface((255, 236, 170), "glass")
    if rng.chance(50):
        side = rng.pick((-1, 1))
        pen.rect(
            min(x, x + side * size // 5), base - size, max(x, x + side * size // 5), base - size + 9, DARK_METAL, "arm"
        )
        pen.ellipse(x + side * size // 5, base - size + 8, size // 14, max(9, size // 22), glow, "head", 0, "lower")
    else:
        pen.ellipse(x, base - size, size // 16, size // 16, glow, "head", 20)


def bench(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A park bench; size is its width."""
    pen, planks = canvas.pen("bench", rng), wood(rng)
    canvas.shadow(x, base, size * 6 // 10, max(8, size // 12))
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
    canvas.shadow(x + size // 4, base, size * 4 // 10, max(8, size // 16))
    pen.rect(x - 5, base - size, x + 5, base, STEEL, "stand")
    first, second = Surface(paint(rng), "fabric"), Surface(paint(rng), "fabric")
    low, half = base - size * 62 // 100, size * 55 // 100
    pen.ellipse(x, low, half, size * 40 // 100, first, "canopy", 20, "upper")
    pen.ellipse(x, low, half * 55 // 100, size * 40 // 100, second, "canopy", 20, "upper")
    pen.ellipse(x, low, half * 2 // 10, size * 40 // 100, first, "canopy", 20, "upper")


def swing(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """An A-frame with two seats on ropes."""
    pen, tube = canvas.pen("swing", rng), metal(rng)
    wide, top, stroke = size * 7 // 10, base - size, max(10, size // 22)
    for foot in (-1, 1):
        for lean in (-1, 1):
            end = x + foot * wide
            pen.line(end, top, end + lean * size // 6, base, stroke, tube, "leg")
    pen.rect(x - wide - 6, top - stroke // 2, x + wide + 6, top + stroke, tube, "top")
    for place in (-1, 1):
        middle, sway = x + place * wide * 45 // 100, rng.between(-size // 7, size // 7)
        seat = base - size * rng.between(22, 34) // 100
        for rope in (-1, 1):
            pen.line(middle + rope * size // 12, top, middle + rope * size // 12 + sway, seat, 8, DARK_METAL, "arm")
        pen.rect(
            middle - size // 9 + sway, seat, middle + size // 9 + sway, seat + max(10, size // 22), RUBBER_SEAT, "seat"
        )


RUBBER_SEAT = Surface((40, 40, 46), "rubber")


def slide(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A ladder and a chute."""
    pen, chute, frame = canvas.pen("slide", rng), metal(rng), metal(rng)
    side, stroke = rng.pick((-1, 1)), max(10, size // 18)
    top, ladder = base - size * 8 // 10, x - side * size * 3 // 10
    for offset in (0, side * size // 5):
        pen.line(
            ladder + offset, top, ladder + offset - (side * size // 12 if not offset else 0), base, stroke, frame, "leg"
        )
    for rung in range(1, 6):
        y = top + (base - top) * rung // 6
        pen.rect(min(ladder, ladder + side * size // 5), y, max(ladder, ladder + side * size // 5), y + 9, frame, "leg")
    pen.line(ladder, top - size // 5, ladder, top, stroke, frame, "arm")
    pen.line(ladder + side * size // 5, top - size // 5, ladder + side * size // 5, top, stroke, frame, "arm")
    platform = ladder + side * size // 5
    end, upper, lower = platform + side * size * 8 // 10, base - size // 10, base - size // 40
    pen.polygon([(ladder, top), (platform, top), (platform + side * size * 6 // 10, upper), (end, upper), (end, lower),
                 (platform + side * size * 58 // 100, lower), (platform - side * size // 30, top + size // 10),
                 (ladder, top + size // 10)], chute, "seat")  # fmt: skip
