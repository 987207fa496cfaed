"""Every concept that a scene can show, with its label number."""

from __future__ import annotations

from dissect.concepts import CATEGORIES, Concepts

OBJECTS = (
    "sky", "sun", "cloud", "mountain", "grass", "field", "sand", "snow", "water", "road", "sidewalk", "tree", "conifer",
    "palm", "cactus", "bush", "rock", "house", "church", "skyscraper", "fence", "pier", "car", "boat", "airplane",
    "train", "person", "cow", "bench", "streetlight", "umbrella", "swing", "slide", "wall", "floor", "window",
    "curtain", "painting", "bed", "sofa", "chair", "table", "lamp", "cabinet", "bookcase", "stove", "fridge",
    "screen", "rug", "plant",
)  # fmt: skip
PARTS = (
    "facade", "roof", "door", "pane", "chimney", "steeple", "trunk", "crown", "wheel", "hull", "sail", "mast", "wing",
    "tail", "body", "head", "leg", "back", "seat", "arm", "headboard", "pillow", "blanket", "shade", "stand", "top",
    "drawer", "frame", "shelf", "canopy", "pot", "peak",
)  # fmt: skip
MATERIALS = (
    "wood", "brick", "stone", "plaster", "glass", "metal", "fabric", "foliage", "water", "sand", "snow", "earth",
    "asphalt", "concrete", "ceramic", "paper", "skin", "rubber",
)  # fmt: skip
TEXTURES = (
    "speckled", "blotchy", "wavy", "bricked", "grained", "striped", "banded", "tiled", "checkered", "dotted", "gridded",
)  # fmt: skip
COLORS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
SCENES = (
    "boathouse", "farm", "ski slope", "forest road", "street", "downtown", "harbor", "beach", "desert", "lake",
    "church", "playground", "park", "airfield", "railway", "bedroom", "kitchen", "living room", "dining room", "office",
)  # fmt: skip

_BY_CATEGORY = dict(zip(CATEGORIES, (OBJECTS, PARTS, MATERIALS, TEXTURES, COLORS, SCENES)))

#: The categories of the label planes, in the planes' order.
PLANES: tuple[str, ...] = tuple(_BY_CATEGORY)

#: All concepts; the label numbers run on over the categories, so a number names its category too.
CONCEPTS = Concepts.of([(name, category) for category, names in _BY_CATEGORY.items() for name in names])

_NUMBERS = {(CONCEPTS.categories[n], CONCEPTS.names[n]): n for n in range(1, len(CONCEPTS))}


def label(category: str, name: str) -> int:
    """The label number of a concept; 0 for the empty name.

    Raises:
        KeyError: the category has no such concept.
    """
    return _NUMBERS[category, name] if name else 0
