"""COCO's annotations: instances and stuff, as polygons and run lengths, and panoptic PNGs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.files import opened, rgb
from dissect.data.folders import MEAN, STD
from dissect.data.labelled import LabelledImages, folder_of
from dissect.digests import digest
from dissect.extras import require
from dissect.files.checked import Each, Of, Text, Whole, fields, named
from dissect.text import shown

_FILE = {"images": Each(Of(dict)), "annotations": Each(Of(dict)), "categories": Each(Of(dict))}
_IMAGE = {"id": Whole(), "file_name": Text()}
_CATEGORY = {"id": Whole(1), "name": Text()}
_OBJECT = {"image_id": Whole(), "category_id": Whole(1), "segmentation": Of(object)}
_SEGMENTS = {"image_id": Whole(), "file_name": Text(), "segments_info": Each(Of(dict))}
_SEGMENT = {"id": Whole(1), "category_id": Whole(1)}


class _Annotated(LabelledImages):
    """Images that a JSON file lists, in the order of their numbers; labels are its categories in that of theirs."""

    def _read(self, folder: str | Path, files: Sequence[Path], rules: Mapping[str, Any]) -> list[Path]:
        """Takes images, categories and annotations from all files; gives the paths of the images."""
        self._files_of = list(files)
        images, categories = dict[int, str](), dict[int, str]()
        self._annotations: dict[int, list[dict[str, Any]]] = {}
        for path in self._files_of:
            found = _json(path)
            with named(path):
                fields(str(path), found, _FILE)
                for image in found["images"]:
                    fields(f"{path}: an image", image, _IMAGE)
                    images[image["id"]] = image["file_name"]
                for category in found["categories"]:
                    fields(f"{path}: a category", category, _CATEGORY)
                    if categories.setdefault(category["id"], category["name"]) != category["name"]:
                        raise refusal(ValueError(f"{shown(path)} must name category {category['id']} as others do."))
                for annotation in found["annotations"]:
                    fields(f"{path}: an annotation", annotation, rules)
                    self._annotations.setdefault(annotation["image_id"], []).append(annotation)
        strange = sorted(self._annotations.keys() - images.keys())
        if strange:
            raise refusal(ValueError(f"annotations must be of images that are listed, but one is of {strange[0]}."))
        self._numbers = {category: label for label, category in enumerate(sorted(categories), start=1)}
        self._concepts = Concepts.of((categories[category], "object") for category in self._numbers)
        self._ids = sorted(images)
        root = folder_of(folder)
        return [root / images[number] for number in self._ids]

    def _begin(self, paths: list[Path], sources: Sequence[tuple[Path, ...]], options: dict[str, Any]) -> None:
        super().__init__(paths, sources, self._concepts, **options)
        places = {path: number for number, path in zip(self._ids, paths)}
        self._ids = [places[path] for path in self.files]  # those that were not left out

    def _label(self, category: int, index: int) -> int:
        if category not in self._numbers:
            raise refusal(
                ValueError(f"category {category}, of {shown(self.files[index])}, must be listed, but is not.")
            )
        return self._numbers[category]

    def fingerprint(self) -> str:
        """Of the images, of the labels' names and files, and of how items are made: changes with them."""
        return digest([super().fingerprint(), *(path.read_bytes() for path in self._files_of)])


@speaks
class Coco(_Annotated):
    """COCO's instances and stuff (``instances_val2017.json``, ``stuff_val2017.json``), overlaps and all.

    A pixel carries a category if any of its annotations, crowds too, covers it. Label k is the k-th category by its
    number, of all files. Images are treated, and items given, as by `LabelledImages`.

    Args:
        folder: of the images.
        annotations: one JSON file, or several (instances and stuff) with categories of different numbers.
        planes: K, how many categories a pixel may have at most; one that has more is an error.
        size: see `SceneParsing`.
        mean: see `SceneParsing`.
        std: see `SceneParsing`.
        skip: see `SceneParsing`.

    Raises:
        ImportError: pycocotools, which reads polygons and run lengths, or Pillow is missing; names the extra.
        FileNotFoundError, ValueError: see `SceneParsing`; a file that is damaged, or a category that it does not list.

    Example:
        >>> coco = Coco("val2017", "annotations/instances_val2017.json")  # doctest: +SKIP
        >>> dissect.dissect(net, "layer4", coco)  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        annotations: str | Path | Sequence[str | Path],
        *,
        planes: int = 4,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        require("Coco", "coco", "pycocotools")
        files = [annotations] if isinstance(annotations, (str, Path)) else annotations
        self._depth = integer("planes", planes)
        paths = self._read(folder, [Path(path) for path in files], _OBJECT)
        self._begin(paths, [()] * len(paths), {"size": size, "mean": mean, "std": std, "skip": skip})

    def labels(self, index: int) -> np.ndarray:
        """Planes [K, rows, columns] of an image: the categories of each pixel, in the order of their numbers."""
        from pycocotools import mask as masks

        width, height = opened(self.files[index], False)[0].size
        by_label: dict[int, list[Any]] = {}
        for annotation in self._annotations.get(self._ids[index], ()):
            label, given = self._label(annotation["category_id"], index), annotation["segmentation"]
            try:
                encoded = [given] if isinstance(given, dict) and isinstance(given.get("counts"), (str, bytes)) else (
                    masks.frPyObjects(given, height, width)
                )  # fmt: skip
            except Exception as error:  # its own, of many kinds
                raise refusal(
                    ValueError(f"an annotation of {shown(self.files[index])} cannot be read: {error}")
                ) from error
            by_label.setdefault(label, []).extend(encoded if isinstance(encoded, list) else [encoded])
        planes = np.zeros((self._depth, height, width), dtype=np.int32)
        used = np.zeros((height, width), dtype=np.int64)
        for label in sorted(by_label):
            self._check_sizes(by_label[label], (height, width), index)
            with warnings.catch_warnings():  # of its own use of numpy
                warnings.simplefilter("ignore", DeprecationWarning)
                rows, columns = masks.decode(masks.merge(by_label[label])).nonzero()
            depth = used[rows, columns]
            if depth.max(initial=0) >= self._depth:
                raise refusal(
                    ValueError(
                        f"planes must be as many as a pixel has categories at most, but {self._depth} are too few for "
                        f"{shown(self.files[index])}; give a larger number."
                    )
                )
            planes[depth, rows, columns] = label
            used[rows, columns] += 1
        return planes

    def _check_sizes(self, encoded: list[Any], size: tuple[int, int], index: int) -> None:
        strange = [part["size"] for part in encoded if tuple(part["size"]) != size]
        if strange:
            raise refusal(
                ValueError(
                    f"annotations must have the size of their image, {size}, but one of {shown(self.files[index])} has "
                    f"{strange[0]}."
                )
            )


@speaks
class CocoPanoptic(_Annotated):
    """COCO's panoptic segmentations (``panoptic_val2017.json`` and its PNGs): one plane of things and stuff.

    A pixel's segment is ``R + 256 G + 256^2 B``, whose category the JSON says; 0 is "no label". Label k is the k-th
    category by its number. Images are treated, and items given, as by `LabelledImages`.

    Args:
        folder: of the images.
        annotations: the JSON file.
        segments: the folder of PNGs; by default that beside the JSON file, of its name.
        size: see `SceneParsing`.
        mean: see `SceneParsing`.
        std: see `SceneParsing`.
        skip: see `SceneParsing`.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `SceneParsing`; a file that is damaged, a segment or category
            that it does not list, or an image without segments, or with two files of them.
    """

    def __init__(
        self,
        folder: str | Path,
        annotations: str | Path,
        segments: str | Path | None = None,
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        file = Path(annotations)
        paths = self._read(folder, [file], _SEGMENTS)
        root = folder_of(file.with_suffix("") if segments is None else segments)
        counts = {number: len(self._annotations.get(number, ())) for number in self._ids}
        strange = [number for number, count in counts.items() if count != 1]
        if strange:
            raise refusal(
                ValueError(
                    f"every image must have one annotation in {shown(file)}, but image {strange[0]} has "
                    f"{counts[strange[0]]}."
                )
            )
        sources = [(root / self._annotations[number][0]["file_name"],) for number in self._ids]
        self._begin(paths, sources, {"size": size, "mean": mean, "std": std, "skip": skip})

    def labels(self, index: int) -> np.ndarray:
        """Planes [1, rows, columns] of an image, at its own size."""
        path = self._sources[index][0]
        table = {0: 0}
        for segment in self._annotations[self._ids[index]][0]["segments_info"]:
            fields(f"a segment of {path}", segment, _SEGMENT)
            table[segment["id"]] = self._label(segment["category_id"], index)
        pixels = np.array(rgb(opened(path, False)[0], path)).astype(np.int64) @ np.array([1, 256, 1 << 16])
        segments, places = np.unique(pixels, return_inverse=True)
        strange = [number for number in segments.tolist() if number not in table]
        if strange:
            raise refusal(
                ValueError(
                    f"segments must be listed, but {shown(path)} has {strange[0]}, which {self._files_of[0]} lacks."
                )
            )
        numbers = np.array([table[number] for number in segments.tolist()], dtype=np.int32)
        return numbers[places].reshape(1, *pixels.shape)


def _json(path: Path) -> Any:
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise refusal(ValueError(f"{shown(path)} must be JSON, but is not: {error}; is it cut short?")) from error
