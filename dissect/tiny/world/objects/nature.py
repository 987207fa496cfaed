"""Sky, land, water and what grows there. x is an object's middle, base the row it stands on, size its height."""

from __future__ import annotations

from dissect.tiny.world.canvas import UNITS, Canvas, Color, Surface
from dissect.tiny.world.light import Light, Sun
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.surfaces import GREYS, LEAVES, SNOW, leaves, paint

# Top and bottom of the sky, the light on the land in 256ths, the sun's height over the horizon in percent of the sky.
SKIES: dict[str, tuple[Color, Color, Color, int]] = {
    "noon": ((88, 150, 222), (190, 220, 242), (262, 260, 254), 75),
    "morning": ((134, 182, 228), (244, 224, 196), (264, 254, 240), 35),
    "sunset": ((104, 84, 150), (246, 150, 84), (270, 232, 206), 22),
    "dusk": ((44, 50, 96), (150, 112, 150), (196, 196, 226), 14),
    "night": ((16, 20, 44), (48, 58, 100), (166, 172, 212), 0),
    "overcast": ((158, 166, 176), (208, 210, 212), (236, 240, 246), 0),
    "storm": ((86, 94, 110), (150, 156, 164), (212, 218, 230), 0),
}

_LAWNS = ((108, 152, 70), (126, 158, 76), (92, 134, 66), (150, 154, 84), (186, 172, 84), (160, 132, 84))
_EARTHS = ((150, 116, 80), (172, 142, 104), (120, 104, 92), (168, 104, 72))
_FIELDS = ((186, 162, 84), (138, 108, 70), (132, 150, 68))
_SANDS = ((222, 198, 146), (212, 176, 118), (206, 150, 100))
_WATERS = ((58, 112, 158), (72, 140, 160), (66, 96, 120), (82, 132, 104), (112, 122, 130), (134, 128, 96))
_PAVINGS = ((176, 170, 160), (160, 150, 146), (136, 134, 140), (178, 140, 120), (190, 180, 150))


def sky(canvas: Canvas, rng: Rng, horizon: int, low: int) -> Light:
    """The sky down to the horizon, perhaps with clouds and the sun, which stands above row `low`; returns the light."""
    name = rng.pick((*SKIES, "noon", "noon", "morning", "sunset", "dusk"))
    top, bottom, tint, height = SKIES[name]
    canvas.dark = name in ("dusk", "night")
    canvas.pen("sky", rng).gradient(0, 0, UNITS, horizon + 40, Surface(rng.jitter(top, 16)), rng.jitter(bottom, 12))
    sun = None
    for _ in range(rng.pick((0, 1, 2, 3)) + (name in ("overcast", "storm"))):
        cloud(canvas, rng, rng.below(UNITS), rng.between(50, max(80, low * 7 // 10)), rng.between(50, 110))
    if height and rng.chance(65):
        radius = rng.between(38, 60)
        sun = Sun(rng.between(90, 934), max(radius + 10, low - radius - 10 - low * height // 100), radius)
        disc = Surface(rng.jitter((255, 236, 150) if height > 30 else (255, 190, 110), 10))
        canvas.pen("sun", rng).ellipse(sun.x, sun.y, radius, radius, disc, light=0)
    return Light(tint, sun)


def cloud(canvas: Canvas, rng: Rng, x: int, y: int, size: int) -> None:
    """A heap of white or grey puffs with a flat base."""
    pen = canvas.pen("cloud", rng)
    white = rng.between(206, 250)
    puff = Surface((white, white, min(255, white + 5)))
    for _ in range(rng.between(3, 4)):
        pen.ellipse(
            x + rng.between(-size, size),
            y - rng.below(size // 3),
            size * 3 // 4,
            size // 2,
            puff,
            light=16,
            half="upper",
        )
    pen.ellipse(x, y - size // 8, size * 2, size // 4, puff.shaded(-14), light=0)


def mountains(canvas: Canvas, rng: Rng, horizon: int, height: int, snowy: bool) -> None:
    """A range along the horizon; the peaks may be white."""
    pen = canvas.pen("mountain", rng)
    rock = Surface(
        rng.jitter(rng.pick(((104, 112, 132), (120, 106, 98), (92, 112, 104), (134, 128, 138), (176, 112, 80)))),
        "stone",
        "blotchy",
    )
    for _ in range(rng.between(2, 4)):
        x, tall = rng.below(UNITS), height * rng.between(60, 100) // 100
        left, right = x - tall * rng.between(90, 150) // 100, x + tall * rng.between(90, 150) // 100
        knee = rng.between(-30, 30)
        pen.polygon([(left, horizon + 12), ((left + x) // 2 + knee, horizon - tall // 2 + 20), (x, horizon - tall),
                     ((x + right) // 2 + knee, horizon - tall // 2 - 16), (right, horizon + 12)], rock)  # fmt: skip
        pen.polygon([(x, horizon - tall), ((x + right) // 2 + knee, horizon - tall // 2 - 16), (right, horizon + 12),
                     (x + tall // 6, horizon + 12), (x - tall // 12, horizon - tall // 2)],
                    rock.shaded(-50))  # fmt: skip
        if snowy:
            cap = tall * rng.between(30, 48) // 100
            top = horizon - tall
            pen.polygon([(x, top), (x + cap, top + cap), (x + cap // 3, top + cap * 3 // 4), (x, top + cap * 5 // 4),
                         (x - cap // 3, top + cap * 3 // 4), (x - cap, top + cap)], SNOW, "peak")  # fmt: skip


def hills(canvas: Canvas, rng: Rng, horizon: int, name: str, surface: Surface) -> None:
    """Low rounded rises behind the ground."""
    pen = canvas.pen(name, rng)
    for _ in range(rng.between(2, 4)):
        pen.ellipse(rng.below(UNITS), horizon + 60, rng.between(240, 460), rng.between(100, 190),
                    surface.shaded(rng.between(-36, 10)), light=14)  # fmt: skip


def ground(canvas: Canvas, rng: Rng, top: int, bottom: int, kind: str) -> None:
    """A level stretch of grass, earth, field, sand, snow, water or sidewalk."""

    def near(colors: tuple[Color, ...]) -> Color:
        return rng.jitter(rng.pick(colors))

    surface = {
        "grass": Surface(near(_LAWNS), "foliage", rng.pick(("speckled", "speckled", "blotchy"))),
        "earth": Surface(near(_EARTHS), rng.pick(("earth", "stone")), rng.pick(("speckled", "speckled", "blotchy"))),
        "field": Surface(near(_FIELDS), rng.pick(("earth", "foliage")), "speckled"),
        "sand": Surface(near(_SANDS), "sand", "speckled"),
        "snow": SNOW,
        "water": Surface(near(_WATERS), "water", "wavy"),
        "sidewalk": Surface(
            near(_PAVINGS), rng.pick(("concrete", "stone", "brick")), rng.pick(("tiled", "", "bricked"))
        ),
    }[kind]
    far = surface.shaded(26)
    canvas.pen(kind, rng).gradient(0, top, UNITS, bottom, far, surface.shaded(-18).color)


def furrows(canvas: Canvas, rng: Rng, horizon: int) -> None:
    """Rows of a crop that meet at a point on the horizon."""
    pen, far = canvas.pen("field", rng), rng.between(300, 724)
    crop = Surface(
        rng.jitter(rng.pick((*LEAVES, (214, 184, 88), (104, 74, 50)))), rng.pick(("foliage", "earth")), "blotchy"
    )
    for x in range(-1500, 2500, 250):
        pen.polygon([(far, horizon), (x, UNITS), (x + 120, UNITS)], crop)


def tree(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A broad-leaved tree, green, in autumn's colours or in blossom."""
    pen = canvas.pen("tree", rng)
    pen.shadow(x + size // 12, base, size * 3 // 10, max(8, size // 18))
    bark = Surface(rng.jitter((98, 70, 48)), "wood", "grained")
    width = max(10, size // 11)
    pen.polygon(
        [
            (x - width, base),
            (x - width * 2 // 3, base - size // 2),
            (x + width * 2 // 3, base - size // 2),
            (x + width, base),
        ],
        bark,
        "trunk",
    )
    leaf = leaves(rng, rng.chance(30)) if rng.chance(90) else Surface(rng.jitter((222, 150, 176)), "foliage", "blotchy")
    middle, radius = base - size * 66 // 100, size * rng.between(28, 36) // 100
    for dx, dy, scale in ((-55, 30, 62), (55, 26, 64), (rng.between(-20, 20), -30, 86)):
        part = radius * scale // 100
        pen.ellipse(x + radius * dx // 100, middle + radius * dy // 100, part * 11 // 10, part, leaf, "crown", 52)


def conifer(canvas: Canvas, rng: Rng, x: int, base: int, size: int, snowy: bool = False) -> None:
    """A fir of three tiers, perhaps with snow on them."""
    pen = canvas.pen("conifer", rng)
    pen.shadow(x + size // 16, base, size // 4, max(8, size // 20))
    pen.rect(
        x - max(6, size // 24), base - size // 6, x + max(6, size // 24), base, Surface((88, 62, 44), "wood"), "trunk"
    )
    needles = Surface(rng.jitter(rng.pick(((38, 82, 56), (48, 92, 50), (34, 72, 66)))), "foliage", "blotchy")
    for tier in range(3):
        low, high = base - size * (10 + 26 * tier) // 100, base - size * (54 + 23 * tier) // 100
        half = size * (28 - 7 * tier) // 100
        pen.polygon([(x - half, low), (x, high), (x + half, low)], needles.shaded(8 * tier), "crown")
        pen.polygon([(x, high), (x + half, low), (x + half // 4, low)], needles.shaded(8 * tier - 50), "crown")
        if snowy:
            pen.polygon(
                [(x - half * 2 // 3, (low + high) // 2 + half // 4), (x, high), (x + half // 3, (low + high) // 2)],
                SNOW,
                "crown",
            )


def palm(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A leaning trunk and a star of fronds."""
    pen, lean = canvas.pen("palm", rng), rng.between(-size // 6, size // 6)
    pen.shadow(x, base, size // 5, max(8, size // 24))
    bark = Surface(rng.jitter((142, 108, 74)), "wood", "banded")
    top = base - size * 3 // 4
    width = max(9, size // 22)
    pen.polygon(
        [
            (x - width, base),
            (x + lean * 3 // 4 - width // 2, top),
            (x + lean * 3 // 4 + width // 2, top),
            (x + width, base),
        ],
        bark,
        "trunk",
    )
    leaf = Surface(rng.jitter((72, 128, 54)), "foliage", "blotchy")
    x += lean * 3 // 4
    for dx, dy in ((-36, 10), (36, 12), (-34, -8), (34, -6), (-16, -20), (18, -20), (-24, 24), (24, 26)):
        tip = (x + size * dx // 100, top + size * dy // 100)
        bend = (x + size * dx // 200, top + size * (dy - 14) // 100)
        pen.polygon(
            [(x, top), bend, tip, (x + size * dx // 180, top + size * (dy - 2) // 130)], leaf.shaded(2 * dy), "crown"
        )


def cactus(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A column with two arms."""
    pen = canvas.pen("cactus", rng)
    pen.shadow(x + size // 6, base, size // 4, max(8, size // 20))
    green = Surface(rng.jitter((76, 128, 74)), "foliage", "striped")
    width = max(12, size // 9)
    pen.rect(x - width, base - size * 9 // 10, x + width, base, green)
    pen.ellipse(x, base - size * 9 // 10, width, width, green, light=0)
    for side in (-1, 1):
        reach, low = side * size * rng.between(24, 30) // 100, base - size * rng.between(35, 52) // 100
        pen.rect(min(x, x + reach), low - width * 2 // 3, max(x, x + reach), low + width * 2 // 3, green, "arm")
        high = low - size * rng.between(20, 32) // 100
        pen.rect(x + reach - width * 2 // 3, high, x + reach + width * 2 // 3, low + width * 2 // 3, green, "arm")
        pen.ellipse(x + reach, high, width * 2 // 3, width * 2 // 3, green, "arm", light=0)


def bush(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A low round bush; some bear flowers."""
    pen, leaf = canvas.pen("bush", rng), leaves(rng, rng.chance(35))
    for dx, scale in ((-60, 70), (55, 76), (0, 100)):
        part = size * scale // 100
        pen.ellipse(x + size * dx // 100, base, part * 8 // 10, part * 8 // 10, leaf, "", 46, "upper")
    if rng.chance(40):
        bloom = Surface(paint(rng), "foliage")
        for _ in range(5):
            pen.ellipse(
                x + rng.between(-size, size) * 8 // 10, base - rng.between(10, size // 2 + 10), 14, 14, bloom, light=0
            )


def rock(canvas: Canvas, rng: Rng, x: int, base: int, size: int) -> None:
    """A boulder."""
    pen = canvas.pen("rock", rng)
    pen.shadow(x + size // 4, base, size, max(8, size // 5))
    stone = Surface(rng.jitter(rng.pick(GREYS)), "stone", "blotchy")
    top = size * rng.between(60, 90) // 100
    pen.polygon([(x - size, base), (x - size * 7 // 10, base - top * 6 // 10), (x - size // 5, base - top),
                 (x + size // 2, base - top * 8 // 10), (x + size, base)], stone)  # fmt: skip
    pen.polygon(
        [
            (x + size // 8, base),
            (x + size // 4, base - top // 2),
            (x + size // 2, base - top * 8 // 10),
            (x + size, base),
        ],
        stone.shaded(-60),
    )


def treeline(canvas: Canvas, rng: Rng, horizon: int) -> None:
    """A far wood along the horizon: one row of crowns."""
    pen = canvas.pen("tree", rng)
    leaf = leaves(rng)
    dark = leaf.shaded(-40)
    x = -40
    while x < UNITS + 40:
        radius = rng.between(34, 74)
        pen.ellipse(
            x, horizon + 6, radius, radius + rng.below(24), dark.shaded(rng.between(-14, 14)), "crown", 30, "upper"
        )
        x += rng.between(radius * 2 // 3, radius * 3 // 2)
