"""Every concept that a scene can show, with its label number, and what makes each class of scenes."""

from __future__ import annotations

from dissect.concepts import CATEGORIES, Concepts

#: Of each class the objects that tell it, by family. A scene shows at least two of its own, and of any other class of
#: its family at most one; two classes of a family share at most one, and each serves at least three classes.
_STREETS: dict[str, tuple[str, ...]] = {
    "avenue": ("tree", "car", "streetlight", "umbrella"),
    "church square": ("church", "fountain", "bench"),
    "downtown": ("skyscraper", "bus", "streetlight"),
    "canal": ("water", "bicycle", "tree"),
    "market": ("stall", "umbrella", "fountain"),
    "residential street": ("fence", "car", "bicycle"),
    "tram stop": ("tram", "bench", "streetlight"),
    "office park": ("skyscraper", "tree", "fence"),
    "bus stop": ("bus", "bench", "car"),
    "promenade": ("water", "umbrella", "bench"),
    "village street": ("church", "fence", "stall"),
    "fish market": ("water", "stall", "car"),
    "station square": ("tram", "fountain", "skyscraper"),
    "old town": ("church", "tram", "bicycle", "bus"),
}
_ROOMS: dict[str, tuple[str, ...]] = {
    "bedroom": ("bed", "lamp", "cabinet"),
    "kitchen": ("stove", "fridge", "table"),
    "living room": ("sofa", "screen", "lamp"),
    "dining room": ("table", "cabinet", "piano"),
    "office": ("screen", "table", "bookcase"),
    "bathroom": ("bathtub", "washer", "plant"),
    "library": ("bookcase", "sofa", "cabinet"),
    "hotel room": ("bed", "screen", "bathtub"),
    "laundry": ("washer", "cabinet", "fridge"),
    "music room": ("piano", "plant", "bookcase"),
    "studio flat": ("stove", "sofa", "bed"),
    "winter garden": ("plant", "lamp", "table"),
    "attic": ("bathtub", "piano", "fridge"),
    "basement": ("washer", "stove", "lamp"),
}
_LANDSCAPES: dict[str, tuple[str, ...]] = {
    "boathouse": ("house", "water", "boat"),
    "farm": ("house", "field", "cow"),
    "ski slope": ("snow", "mountain", "house"),
    "mountain lake": ("water", "mountain", "conifer"),
    "beach": ("water", "sand", "palm"),
    "desert": ("sand", "rock", "tent"),
    "pasture": ("cow", "fence", "conifer"),
    "forest road": ("road", "conifer", "snow"),
    "campsite": ("tent", "conifer", "boat"),
    "country road": ("field", "fence", "road"),
    "mountain pass": ("road", "mountain", "rock"),
    "cove": ("palm", "boat", "rock"),
    "winter camp": ("snow", "tent", "fence"),
    "ranch": ("cow", "sand", "mountain"),
    "plantation": ("field", "palm", "mountain"),
}
_BY_FAMILY = {"street": _STREETS, "room": _ROOMS, "landscape": _LANDSCAPES}

#: The classes of each family.
FAMILIES: dict[str, tuple[str, ...]] = {family: tuple(classes) for family, classes in _BY_FAMILY.items()}

#: The signature objects of each class.
SIGNATURES: dict[str, tuple[str, ...]] = {
    name: objects for classes in _BY_FAMILY.values() for name, objects in classes.items()
}

#: The family of each class.
FAMILY_OF: dict[str, str] = {name: family for family, names in FAMILIES.items() for name in names}

OBJECTS = (
    "sky", "sun", "cloud", "mountain", "grass", "earth", "field", "sand", "snow", "water", "road", "sidewalk", "tree",
    "conifer", "palm", "cactus", "bush", "rock", "house", "church", "skyscraper", "fence", "pier", "tent", "car", "bus",
    "bicycle", "tram", "boat", "person", "cow", "bench", "streetlight", "umbrella", "stall", "fountain", "wall",
    "floor", "window", "curtain", "painting", "bed", "sofa", "chair", "table", "lamp", "cabinet", "bookcase", "stove",
    "fridge", "screen", "rug", "plant", "piano", "bathtub", "washer",
)  # fmt: skip
PARTS = (
    "facade", "roof", "door", "window", "chimney", "steeple", "trunk", "crown", "wheel", "hull", "sail",
    "body", "head", "leg", "arm", "back", "seat", "headboard", "pillow", "blanket", "shade", "stand", "top", "drawer",
    "frame", "shelf", "canopy", "counter", "basin", "pot", "peak", "keyboard", "display", "board", "bumper",
    "pane", "handle", "face", "hub", "spot", "book", "goods", "stripe", "reflection", "glow",
)  # fmt: skip
MATERIALS = (
    "wood", "brick", "stone", "plaster", "glass", "metal", "fabric", "leather", "foliage", "water", "sand", "snow",
    "earth", "asphalt", "concrete", "ceramic", "paper", "skin", "hair", "rubber", "plastic", "wicker",
)  # fmt: skip
TEXTURES = (
    "speckled", "blotchy", "wavy", "bricked", "grained", "striped", "banded", "tiled", "checkered", "dotted", "gridded",
)  # fmt: skip
COLORS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
SCENES = tuple(FAMILY_OF)

#: What covers the ground; the light of windows falls on it.
GROUNDS = ("grass", "earth", "field", "sand", "snow", "water", "road", "sidewalk")

#: The objects that can be a scene's main object: those that tell classes.
MAIN_OBJECTS = tuple(name for name in OBJECTS if any(name in objects for objects in SIGNATURES.values()))

#: Objects that nature colours or makes: they may come in fewer than three colours, or of fewer than three materials.
FEW_COLORS = ("sun", "cloud", "palm", "cactus")
FEW_MATERIALS = (
    "sky", "sun", "cloud", "mountain", "grass", "earth", "field", "sand", "snow", "water", "tree", "conifer", "palm",
    "cactus", "bush", "rock", "person", "cow",
)  # fmt: skip

#: Pairs of concepts that cover nearly the same pixels, each as (category, name): what only one object is made of.
NEAR_TWINS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("object", "sand"), ("material", "sand")),
    (("object", "snow"), ("material", "snow")),
    (("object", "water"), ("material", "water")),
    (("object", "water"), ("texture", "wavy")),
    (("material", "water"), ("texture", "wavy")),
)

_BY_CATEGORY = dict(zip(CATEGORIES, (OBJECTS, PARTS, MATERIALS, TEXTURES, COLORS, SCENES)))

#: The categories of the label planes, in the planes' order. The second part plane holds parts that lie inside others.
PLANES: tuple[str, ...] = ("object", "part", "part", "material", "texture", "color", "scene")

#: All concepts; the label numbers run on over the categories, so a number names its category too.
CONCEPTS = Concepts.of([(name, category) for category, names in _BY_CATEGORY.items() for name in names])

_NUMBERS = {(CONCEPTS.categories[n], CONCEPTS.names[n]): n for n in range(1, len(CONCEPTS))}


def label(category: str, name: str) -> int:
    """The label number of a concept; 0 for the empty name.

    Raises:
        KeyError: the category has no such concept.
    """
    return _NUMBERS[category, name] if name else 0
