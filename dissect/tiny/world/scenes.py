"""One scene: its cast, its family's layout, and what all scenes share: light, weather, mirroring, the planes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dissect.tiny.world.canvas import Canvas
from dissect.tiny.world.casting import cast
from dissect.tiny.world.colors import color_labels
from dissect.tiny.world.layouts import landscape, room, street
from dissect.tiny.world.light import Light
from dissect.tiny.world.restyle import Restyle
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.stamp import stamp
from dissect.tiny.world.vocabulary import FAMILY_OF, PLANES, label

SceneLayout = Callable[[Canvas, Rng, frozenset[str]], Light]

#: How the scenes of each family are laid out.
LAYOUTS: dict[str, SceneLayout] = {
    "street": street.compose,
    "room": room.compose,
    "landscape": landscape.compose,
}


def _weather(canvas: Canvas, rng: Rng) -> None:
    chance = rng.below(100)
    if chance < 5:
        canvas.sprinkle(rng, 90, (206, 214, 226), 40)
    elif chance < 9:
        canvas.sprinkle(rng, 110, (248, 250, 255), 8)
    elif chance < 14:
        canvas.fog(200, 470, 760, rng.between(60, 120))


def render(
    split: str, scene: str, number: int, size: int, restyle: int | None = None, watermark: bool = False,
    without: tuple[str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The scene of this number and class: the image uint8 [3, size, size] and its planes int16 [K, size, size].

    Args:
        split: a name; scenes of two splits have nothing in common.
        scene: the class.
        number: which of the class's scenes.
        size: height and width in pixels.
        restyle: another look of the same scene, by this seed.
        watermark: stamp text on some pictures.
        without: (category, name) of what is left out, see `Canvas`.
    """
    key = (split, scene, number)
    rng = Rng("dissect.tiny", *key)
    canvas = Canvas(size, None if restyle is None else Restyle("restyle", restyle, *key), without)
    light = LAYOUTS[FAMILY_OF[scene]](canvas, rng, cast(rng, *key))
    if FAMILY_OF[scene] != "room":
        _weather(canvas, rng)
    red, green, blue = (channel * rng.between(90, 108) // 100 for channel in light.tint)
    flip = rng.chance(50)
    image, shapes = canvas.finish((red, green, blue), flip)
    if watermark:
        image = stamp(image, Rng("watermark", *key))
    planes = np.empty((len(PLANES), size, size), dtype=np.int16)
    planes[: len(shapes)] = shapes
    planes[PLANES.index("color")] = color_labels(image)
    planes[PLANES.index("scene")] = label("scene", scene)
    return np.ascontiguousarray(image), planes
