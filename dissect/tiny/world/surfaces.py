"""Palettes, and surfaces drawn from them."""

from __future__ import annotations

from dissect.tiny.world.canvas import Color, Surface
from dissect.tiny.world.rng import Rng

PAINTS: tuple[Color, ...] = (
    (196, 58, 48), (214, 122, 44), (222, 190, 70), (98, 146, 72), (60, 120, 150), (62, 86, 160), (122, 78, 148),
    (206, 128, 156), (232, 228, 218), (150, 150, 152), (92, 94, 100), (128, 82, 50), (178, 150, 112), (44, 52, 68),
    (150, 42, 52), (120, 176, 180),
)  # fmt: skip
WOODS: tuple[Color, ...] = ((150, 104, 62), (118, 76, 44), (184, 140, 92), (92, 60, 40), (166, 96, 56))
BRICKS: tuple[Color, ...] = ((166, 80, 60), (146, 66, 54), (182, 110, 78), (168, 150, 126), (120, 92, 84))
LEAVES: tuple[Color, ...] = ((66, 118, 48), (86, 136, 58), (54, 100, 54), (112, 140, 56), (74, 126, 78))
AUTUMN: tuple[Color, ...] = ((196, 120, 40), (178, 74, 40), (206, 164, 58))
GREYS: tuple[Color, ...] = ((120, 120, 122), (150, 148, 144), (92, 94, 98), (172, 168, 160))

GLASS = Surface((96, 132, 158), "glass")
DARK_METAL = Surface((62, 64, 70), "metal")
STEEL = Surface((168, 174, 180), "metal")
RUBBER = Surface((34, 34, 38), "rubber")
SNOW = Surface((232, 238, 246), "snow", "speckled")


def paint(rng: Rng) -> Color:
    """Any colour that a person would paint a thing in."""
    return rng.jitter(rng.pick(PAINTS), 18)


def wood(rng: Rng) -> Surface:
    """Bare wood with its grain."""
    return Surface(rng.jitter(rng.pick(WOODS)), "wood", "grained")


def leaves(rng: Rng, autumn: bool = False) -> Surface:
    """Foliage, green or in autumn's colours."""
    return Surface(rng.jitter(rng.pick(AUTUMN if autumn else LEAVES), 12), "foliage", "blotchy")


def metal(rng: Rng) -> Surface:
    """Painted metal."""
    return Surface(paint(rng), "metal")


def fabric(rng: Rng, textures: tuple[str, ...] = ("", "", "striped", "checkered", "dotted")) -> Surface:
    """Cloth, plain or patterned."""
    return Surface(paint(rng), "fabric", rng.pick(textures))


def masonry(rng: Rng) -> Surface:
    """The outer wall of a house: brick, boards, plaster or stone, of any colour."""
    kind = rng.below(4)
    if kind == 0:
        return Surface(rng.jitter(rng.pick(BRICKS)), "brick", "bricked")
    if kind == 1:
        return Surface(paint(rng), "wood", rng.pick(("striped", "banded")))
    if kind == 2:
        return Surface(paint(rng), "plaster")
    return Surface(rng.jitter(rng.pick(GREYS)), "stone", "blotchy")


def roofing(rng: Rng) -> Surface:
    """The cover of a roof."""
    if rng.chance(50):
        return Surface(rng.jitter(rng.pick(((168, 74, 48), (132, 60, 48), (150, 96, 62)))), "ceramic", "banded")
    if rng.chance(50):
        return Surface(rng.jitter(rng.pick(GREYS)), "stone", "banded")
    return Surface(paint(rng), "metal", "striped")


def made(rng: Rng, *materials: str) -> Surface:
    """What people make things of, of any colour that they paint it in: one of these materials."""
    material = rng.pick(materials)
    if material == "wood" and rng.chance(50):
        return wood(rng)
    if material in ("stone", "concrete"):
        return Surface(rng.jitter(rng.pick(GREYS)), material, "blotchy" if material == "stone" else "speckled")
    if material == "brick":
        return Surface(rng.jitter(rng.pick(BRICKS)), "brick", "bricked")
    if material == "fabric":
        return fabric(rng)
    if material == "wicker":
        return Surface(rng.jitter(rng.pick(WOODS)), "wicker", "checkered")
    return Surface(paint(rng), material)
