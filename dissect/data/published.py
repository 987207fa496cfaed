"""Readers of segmented data sets in the layouts in which they are published: ADE20K, Pascal VOC, Cityscapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data.files import files_under
from dissect.data.folders import MEAN, STD
from dissect.data.labelled import LabelledImages, folder_of, plane
from dissect.text import printable, shown

#: Pascal VOC's twenty classes, 1 on.
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
#: What VOC, and masks in its form, call pixels that are not counted.
VOID = 255
#: The classes that Cityscapes evaluates, by labelId, in the order of their trainIds, 0 on.
CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
#: The largest labelId of Cityscapes; -1, a licence plate, is 255 in its files.
LAST_LABEL_ID = 33


@speaks
class SceneParsing(LabelledImages):
    """ADE20K as the scene parsing challenge has it (``ADEChallengeData2016``): 150 objects, one plane.

    ``images/<split>/<name>.jpg``, ``annotations/<split>/<name>.png`` (0 "other", 1 to 150) and ``objectInfo150.txt``.
    Images are treated, and items given, as by `LabelledImages`.

    Args:
        folder: of the data set.
        split: "validation" or "training".
        size: rows and columns of the images.
        mean: of the channels of an image in [0, 1].
        std: of the same.
        skip: leave out images whose files cannot be read, with a warning that names and counts them; they are found
            now, by reading every file once.

    Raises:
        ImportError: Pillow is missing; names the extra.
        FileNotFoundError: no such folder, or a file that is missing; names it.
        ValueError: no images, a table of names that is damaged, a file that cannot be read, or a label without a name.

    Example:
        >>> dissect.dissect(net, "layer4", SceneParsing("ADEChallengeData2016"))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "validation",
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        root = folder_of(folder)
        files = files_under(folder_of(root, "images", split), (".jpg",))
        planes = [(root / "annotations" / split / f"{path.stem}.png",) for path in files]
        super().__init__(files, planes, _object_names(root), size=size, mean=mean, std=std, skip=skip)

    def labels(self, index: int) -> np.ndarray:
        """Planes [1, rows, columns] of an image, at its own size."""
        return plane(self._sources[index][0])


@speaks
class Ade20k(LabelledImages):
    """ADE20K in full, objects and their parts: ``<name>.jpg`` beside ``<name>_seg.png``, ``<name>_parts_1.png``, ...

    The class of a pixel is ``R // 10 * 256 + G``, its place in the published index of names, from 1 on; 0 is "no
    label". Each level of parts is a plane; an image that has fewer has 0 there. Images are treated, and items given, as
    by `LabelledImages`.

    Args:
        folder: with the images of a split, in subfolders by scene.
        concepts: names, or (name, category) pairs, of the classes 1, 2, ... The index is a Matlab file:
            ``scipy.io.loadmat("index_ade20k.mat", simplify_cells=True)["index"]["objectnames"]`` gives the names.
        size: see `SceneParsing`.
        mean: see `SceneParsing`.
        std: see `SceneParsing`.
        skip: see `SceneParsing`.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `SceneParsing`.
    """

    def __init__(
        self,
        folder: str | Path,
        concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | Mapping[Any, Any],
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        files = files_under(folder_of(folder), (".jpg",))
        planes = []
        for path in files:
            parts = (path.with_name(f"{path.stem}_parts_{level}.png") for level in range(1, 100))
            found: list[Path] = []
            for part in parts:
                if not part.is_file():
                    break
                found.append(part)
            planes.append((path.with_name(f"{path.stem}_seg.png"), *found))
        self._depth = max(map(len, planes), default=1)
        super().__init__(files, planes, Concepts.of(concepts), size=size, mean=mean, std=std, skip=skip)

    def labels(self, index: int) -> np.ndarray:
        """Planes [K, rows, columns] of an image: objects, then each level of parts."""
        found = np.concatenate([plane(path, _ade_classes) for path in self._sources[index]])
        return np.pad(found, ((0, self._depth - len(found)), (0, 0), (0, 0)))


@speaks
class Voc(LabelledImages):
    """Pascal VOC's segmentations (``VOCdevkit/VOC2012``): 20 objects, one plane; 255, their outlines, is "no label".

    ``ImageSets/Segmentation/<split>.txt`` names the images, ``JPEGImages/<name>.jpg`` and
    ``SegmentationClass/<name>.png``, whose palette's places are the labels. Images are treated, and items given, as by
    `LabelledImages`.

    Args:
        folder: of a year.
        split: "val", "train" or "trainval".
        size: see `SceneParsing`.
        mean: see `SceneParsing`.
        std: see `SceneParsing`.
        skip: see `SceneParsing`.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `SceneParsing`.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "val",
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        root = folder_of(folder)
        listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listed.is_file():
            raise refusal(FileNotFoundError(f"there is no file {shown(listed)}."))
        names = listed.read_text(encoding="utf-8").split()
        files = [root / "JPEGImages" / f"{name}.jpg" for name in names]
        planes = [(root / "SegmentationClass" / f"{name}.png",) for name in names]
        concepts = Concepts.of((name, "object") for name in VOC_NAMES)
        super().__init__(files, planes, concepts, size=size, mean=mean, std=std, skip=skip)

    def labels(self, index: int) -> np.ndarray:
        """Planes [1, rows, columns] of an image, at its own size."""
        found = plane(self._sources[index][0])
        return np.where(found == VOID, 0, found)


@speaks
class Cityscapes(LabelledImages):
    """Cityscapes' fine annotations: the 19 classes that are evaluated, one plane; all others are "no label".

    ``leftImg8bit/<split>/<city>/<name>_leftImg8bit.png`` and ``gtFine/<split>/<city>/<name>_gtFine_labelIds.png``.
    Label ``t + 1`` is trainId t. Images are treated, and items given, as by `LabelledImages`: of a street twice as
    wide as it is high the middle half is seen.

    Args:
        folder: with both folders.
        split: "val" or "train".
        size: see `SceneParsing`.
        mean: see `SceneParsing`.
        std: see `SceneParsing`.
        skip: see `SceneParsing`.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `SceneParsing`; a number that is no labelId.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "val",
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        root, end = folder_of(folder), "_leftImg8bit.png"
        found = files_under(folder_of(root, "leftImg8bit", split), (".png",))
        files = [path for path in found if path.name.endswith(end)]
        planes = [
            (root / "gtFine" / split / path.parent.name / path.name.replace(end, "_gtFine_labelIds.png"),)
            for path in files
        ]
        concepts = Concepts.of((name, "object") for name in CITYSCAPES.values())
        self._numbers = np.zeros(256, dtype=np.int32)
        self._numbers[list(CITYSCAPES)] = range(1, len(CITYSCAPES) + 1)
        super().__init__(files, planes, concepts, size=size, mean=mean, std=std, skip=skip)

    def labels(self, index: int) -> np.ndarray:
        """Planes [1, rows, columns] of an image, at its own size."""
        path = self._sources[index][0]
        found = plane(path)
        strange = np.setdiff1d(found, [*range(LAST_LABEL_ID + 1), VOID])
        if len(strange):
            raise refusal(
                ValueError(
                    f"labelIds must be from 0 to {LAST_LABEL_ID}, or 255, but {shown(path)} has {strange[0]}; are "
                    "these trainIds, or instances?"
                )
            )
        known: np.ndarray = self._numbers[found]
        return known


def _ade_classes(pixels: np.ndarray) -> np.ndarray:
    classes: np.ndarray = pixels[..., 0] // 10 * 256 + pixels[..., 1]
    return classes


def _object_names(root: Path) -> Concepts:
    """The names in objectInfo150.txt: columns by tabs, of which the first is the number, the last the name."""
    path = root / "objectInfo150.txt"
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) < 2 or row[0].strip() != str(number) or not row[-1].strip():
            raise refusal(
                ValueError(
                    f"{shown(path)} must have a line for each label, 1 on, with its name, but where {number} is due "
                    f"there is {printable(' '.join(row))[:60]!r}."
                )
            )
    return Concepts.of((row[-1].strip(), "object") for row in rows)
