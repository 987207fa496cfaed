"""The scenes as a map-style data set."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from dissect.tiny.scenes import render
from dissect.tiny.vocabulary import CONCEPTS, PLANES, SCENES

SPLITS = ("train", "val")
TARGETS = ("planes", "class")
DEFAULT_COUNTS = {"train": 16000, "val": 1600}
_SIZES = (16, 1024)


class TinyScenes(Dataset):
    """Procedural scenes with exact segmentations: a pure function of (split, index, size), without any file.

    Item i shows a scene of class `i % len(classes)`. The splits share no scene. The same item has the same bytes on
    every machine and with every version of its libraries.

    Args:
        split: "train" or "val".
        size: height and width of the images, 16 to 1024.
        count: how many scenes; 16000 for "train" and 1600 for "val" unless given.
        target: "planes" makes items `(image, planes)`, "class" makes them `(image, class number)`.

    Attributes:
        classes: the names of the scene classes.
        concepts: the vocabulary of the planes; label numbers run on over all planes.
        planes: the category of each plane.

    Items:
        image: float32 [3, size, size] in [0, 1].
        planes: int16 [K, size, size]; plane k holds labels of category `planes[k]`, 0 is "no label".

    Raises:
        ValueError: split or target is unknown, size is out of its range, or count is negative.
        IndexError: an index outside [-len, len).

    Example:
        >>> scenes = TinyScenes("val", size=64)
        >>> image, planes = scenes[0]
        >>> tuple(image.shape), tuple(planes.shape), scenes.classes[scenes.scene(0)]
        ((3, 64, 64), (6, 64, 64), 'boathouse')
    """

    classes = SCENES
    concepts = CONCEPTS
    planes = PLANES

    def __init__(self, split: str = "train", size: int = 128, count: int | None = None, target: str = "planes") -> None:
        if split not in SPLITS:
            raise ValueError(f"TinyScenes: split must be one of {SPLITS}, but got {split!r}.")
        if target not in TARGETS:
            raise ValueError(f"TinyScenes: target must be one of {TARGETS}, but got {target!r}.")
        if not isinstance(size, int) or not _SIZES[0] <= size <= _SIZES[1]:
            raise ValueError(f"TinyScenes: size must be an integer in [{_SIZES[0]}, {_SIZES[1]}], but got {size}.")
        if count is not None and count < 0:
            raise ValueError(f"TinyScenes: count must not be negative, but got {count}.")
        self.split, self.size, self.target = split, size, target
        self._count = DEFAULT_COUNTS[split] if count is None else count

    def __len__(self) -> int:
        return self._count

    def _checked(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise IndexError(f"TinyScenes: index must be in [{-self._count}, {self._count}), but got {index}.")
        return index % self._count

    def scene(self, index: int) -> int:
        """The class number of item `index`."""
        return self._checked(index) % len(self.classes)

    def raw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Item `index` before it becomes tensors: image uint8 [3, size, size] and planes int16 [K, size, size]."""
        return render(self.split, self._checked(index), self.size)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | tuple[torch.Tensor, int]:
        """Item `index`: see the class."""
        image, planes = self.raw(index)
        pixels = torch.from_numpy(image).float() / 255
        if self.target == "class":
            return pixels, self.scene(index)
        return pixels, torch.from_numpy(planes)
