"""The scenes as a map-style data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dissect.arguments import refusal, speaks
from dissect.data.pictures import Normalisation
from dissect.tiny.world.scenes import render
from dissect.tiny.world.vocabulary import CONCEPTS, FAMILIES, FAMILY_OF, MAIN_OBJECTS, PLANES, SCENES, SIGNATURES, label

SPLITS = ("train", "val")
TARGETS = ("planes", "class", "object")
#: Scenes of each class.
CLASS_COUNTS = {"train": 600, "val": 200}
#: Scenes of all classes.
DEFAULT_COUNTS = {split: count * len(SCENES) for split, count in CLASS_COUNTS.items()}
_SIZES = (16, 1024)
_WIDE = frozenset(("water", "field", "sand", "snow", "road", "mountain"))
#: Whose concepts scenes can be drawn without: a material is a name alone, a colour or a scene is made by many things.
OMISSIBLE = ("object", "part", "texture")
_OMISSIBLE = tuple(pair for pair in zip(CONCEPTS.categories, CONCEPTS.names) if pair[0] in OMISSIBLE)
_MAIN = np.array([label("object", name) for name in MAIN_OBJECTS])


@speaks
class TinyScenes(Dataset[Any]):
    """Procedural scenes with exact segmentations: a pure function of its arguments and the index, without any file.

    Item i is scene number `i // len(classes)` of class `classes[i % len(classes)]`; so a family's scenes are the same
    scenes as in the full set. The splits share no scene. The same item has the same bytes on every machine and with
    every version of its libraries.

    What tells a class is which objects meet: a scene shows at least two of its class's `vocabulary.SIGNATURES`, and
    of each other class of its family at most one. Two rules of light act at a distance (see `light`): the sun over
    water casts a reflection below it, and lit windows make the ground before them glow.

    Args:
        split: "train" or "val".
        size: height and width of the images, 16 to 1024.
        count: how many scenes; 600 of each class for "train" and 200 for "val" unless given.
        target: "planes" makes items `(image, planes)`, "class" makes them `(image, class number)`, "object" makes
            them `(image, main object)`, see `main_object`.
        family: only the classes of "street", "room" or "landscape".
        restyle: a seed; the same scenes with other colours, materials and textures. Objects, parts and scene keep
            their pixels to the bit; material, texture and color planes follow the new look.
        watermark: stamp text in the middle of 6 % and at the bottom of 3 % of the images. The planes do not name it,
            but the color plane, as always, names the colours of the image.
        without: (category, name) of an object, a part or a texture that scenes are drawn without. All else is as it
            was, to the bit: what lay behind it shows, its shadow is gone, and so is the light that it gives (the sun's
            reflection, a window's glow) or hides; surfaces of a texture become smooth. Label 0 of the object plane is
            where nothing lay behind, as without the sky.

    Attributes:
        classes: the names of the scene classes.
        objects: the names of the objects that can be the main object.
        concepts: the vocabulary of the planes; label numbers run on over all planes.
        planes: the category of each plane. The second part plane holds parts that lie inside other parts or in no
            part: panes, handles, faces, reflections, glow.

    Items:
        image: float32 [3, size, size] in [0, 1].
        planes: int16 [K, size, size]; plane k holds labels of category `planes[k]`, 0 is "no label".

    Raises:
        ValueError: split, target or family is unknown, size is out of its range, count is negative, restyle is
            neither None nor an integer, or without is no object, part or texture.
        IndexError: an index outside [-len, len).

    Example:
        >>> scenes = TinyScenes("val", size=64, family="landscape")
        >>> image, planes = scenes[0]
        >>> tuple(image.shape), tuple(planes.shape), scenes.classes[scenes.scene(0)]
        ((3, 64, 64), (7, 64, 64), 'boathouse')
    """

    objects = MAIN_OBJECTS
    concepts = CONCEPTS
    planes = PLANES
    classes = SCENES
    normalisation = Normalisation()

    def __init__(
        self, split: str = "train", size: int = 128, count: int | None = None, target: str = "planes", *,
        family: str | None = None, restyle: int | None = None, watermark: bool = False,
        without: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        if split not in SPLITS:
            raise refusal(ValueError(f"split must be one of {SPLITS}, but got {split!r}."))
        if target not in TARGETS:
            raise refusal(ValueError(f"target must be one of {TARGETS}, but got {target!r}."))
        if not isinstance(size, int) or not _SIZES[0] <= size <= _SIZES[1]:
            raise refusal(ValueError(f"size must be an integer in [{_SIZES[0]}, {_SIZES[1]}], but got {size}."))
        if count is not None and count < 0:
            raise refusal(ValueError(f"count must not be negative, but got {count}."))
        if family is not None and family not in FAMILIES:
            raise refusal(ValueError(f"family must be None or one of {tuple(FAMILIES)}, but got {family!r}."))
        if restyle is not None and not isinstance(restyle, int):
            raise refusal(ValueError(f"restyle must be None or an integer, but got {restyle!r}."))
        if without is not None and without not in _OMISSIBLE:
            raise refusal(ValueError(
                f"without must be None or (category, name) of a concept among {OMISSIBLE}, but got {without!r}."
            ))  # fmt: skip
        self.split, self.size, self.target, self.without = split, size, target, without
        self.family, self.restyle, self.watermark = family, restyle, watermark
        if family is not None:
            self.classes = FAMILIES[family]
        self._count = CLASS_COUNTS[split] * len(self.classes) if count is None else count

    def __len__(self) -> int:
        return self._count

    def _checked(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise refusal(IndexError(f"index must be in [{-self._count}, {self._count}), but got {index}."))
        return index % self._count

    def scene(self, index: int) -> int:
        """The class number of item `index`."""
        return self._checked(index) % len(self.classes)

    def raw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Item `index` before it becomes tensors: image uint8 [3, size, size] and planes int16 [K, size, size]."""
        number, place = divmod(self._checked(index), len(self.classes))
        return render(self.split, self.classes[place], number, self.size, self.restyle, self.watermark, self.without)

    def main_object(self, index: int) -> int:
        """The main object of item `index`, an index into `objects`.

        Of the objects that tell classes of the scene's family it is the one with the most pixels (of two, the first
        in `objects`); land, water, roads and mountains only where there is nothing else.
        """
        return self._main(index, self.raw(index)[1])

    def _main(self, index: int, planes: np.ndarray) -> int:
        scene = self.classes[self.scene(index)]
        telling = {name for other in FAMILIES[FAMILY_OF[scene]] for name in SIGNATURES[other]}
        areas = np.bincount(planes[PLANES.index("object")].ravel(), minlength=len(CONCEPTS))[_MAIN]
        things = [name in telling and name not in _WIDE for name in MAIN_OBJECTS]
        if not (areas * things).any():
            things = [name in telling for name in MAIN_OBJECTS]
        return int((areas * things).argmax())

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | tuple[torch.Tensor, int]:
        """Item `index`: see the class."""
        image, planes = self.raw(index)
        pixels = torch.from_numpy(image).float() / 255
        if self.target == "class":
            return pixels, self.scene(index)
        if self.target == "object":
            return pixels, self._main(index, planes)
        return pixels, torch.from_numpy(planes)
