"""The table of scene classes, and what all of them share: light, weather, mirroring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dissect.tiny import scenes_country as country
from dissect.tiny import scenes_indoor as indoor
from dissect.tiny import scenes_town as town
from dissect.tiny.canvas import Canvas, Color
from dissect.tiny.colors import color_labels
from dissect.tiny.rng import Rng
from dissect.tiny.vocabulary import PLANES, SCENES, label

Layout = Callable[[Canvas, Rng], Color]

LAYOUTS: dict[str, Layout] = {
    "boathouse": country.boathouse,
    "farm": country.farm,
    "ski slope": country.ski_slope,
    "forest road": country.forest_road,
    "street": town.street,
    "downtown": town.downtown,
    "harbor": town.harbor,
    "beach": country.beach,
    "desert": country.desert,
    "lake": country.lake,
    "church": town.church_green,
    "playground": town.playground,
    "park": town.park,
    "airfield": town.airfield,
    "railway": country.railway,
    "bedroom": indoor.bedroom,
    "kitchen": indoor.kitchen,
    "living room": indoor.living_room,
    "dining room": indoor.dining_room,
    "office": indoor.office,
}

_INDOORS = frozenset(("bedroom", "kitchen", "living room", "dining room", "office"))
_DRY = frozenset(("desert", "ski slope"))


def _weather(canvas: Canvas, rng: Rng, name: str) -> None:
    if name in _INDOORS or name in _DRY:
        return
    chance = rng.below(100)
    if chance < 5:
        canvas.sprinkle(rng, 90, (206, 214, 226), 40)
    elif chance < 8:
        canvas.sprinkle(rng, 110, (248, 250, 255), 8)
    elif chance < 13:
        canvas.fog(200, 470, 760, rng.between(70, 150))


def render(split: str, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `index` of a split: the image uint8 [3, size, size] and its planes int16 [K, size, size] (see `PLANES`)."""
    scene = SCENES[index % len(SCENES)]
    rng = Rng("dissect.tiny", split, index)
    canvas = Canvas(size)
    light = LAYOUTS[scene](canvas, rng)
    _weather(canvas, rng, scene)
    red, green, blue = (channel * rng.between(93, 106) // 100 for channel in light)
    image, shapes = canvas.finish((red, green, blue), rng.chance(50))
    planes = np.empty((len(PLANES), size, size), dtype=np.int16)
    planes[: len(shapes)] = shapes
    planes[PLANES.index("color")] = color_labels(image)
    planes[PLANES.index("scene")] = label("scene", scene)
    return np.ascontiguousarray(image), planes
