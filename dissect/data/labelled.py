"""What the readers of published data sets have in common: pictures, planes beside them, and how both get their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, speaks, tell
from dissect.concepts import Concepts
from dissect.data.files import file_facts, opened, rgb
from dissect.data.folders import square
from dissect.data.pictures import NormalisedImages
from dissect.digests import digest
from dissect.extras import require
from dissect.text import shown


@speaks
class LabelledImages(NormalisedImages):
    """Images with label planes: the base of `Ade20k`, `SceneParsing`, `Voc`, `Cityscapes` and `Coco`.

    An image is scaled so that its shorter side has `size` pixels and cut to the middle square, then normalised,
    ``(x - mean) / std`` per channel. Planes are treated alike, but never mixed: a pixel takes the nearest label.

    Attributes:
        files: the paths of the images, in order.
        skipped: the paths of those that were left out, as they cannot be read.
        concepts: `Concepts` of the planes.

    Items:
        image: float32 [3, size, size].
        planes: int32 [K, size, size], the same K for all images.
    """

    def __init__(
        self,
        files: Sequence[Path],
        sources: Sequence[Sequence[Path]],
        concepts: Concepts,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        skip: bool,
    ) -> None:
        """Of images and, for each, the files that its planes are in."""
        reader = type(self).__name__
        require(reader, "report", "PIL")
        self.concepts, self._size = concepts, integer("size", size)
        self._given = mean, std
        self._normalise_by(mean, std)
        self.files, self._sources, self.skipped = list(files), list(sources), list[Path]()
        for path in (path for group in (files, *sources) for path in group):
            if not path.is_file():
                raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
        if skip:
            self._skip_broken()
        if not self.files:
            raise refusal(ValueError("images must be at least one that can be read, but there are none."))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        from PIL import Image

        image, (columns, rows) = self._scaled(index)
        planes = self.labels(index)
        if planes.shape[1:] != (rows, columns):
            raise refusal(
                ValueError(
                    f"label planes must have the shape of their image, {rows} x {columns}, but those of "
                    f"{shown(self.files[index])} have {planes.shape[1]} x {planes.shape[2]}."
                )
            )
        largest = int(planes.max(initial=0))
        if largest >= len(self.concepts):
            raise refusal(
                ValueError(
                    f"labels must be at most {len(self.concepts) - 1}, the last that has a name, but those of "
                    f"{shown(self.files[index])} reach {largest}."
                )
            )
        nearest = Image.Resampling.NEAREST
        squares = [square(Image.fromarray(plane.astype(np.int32)), self._size, nearest) for plane in planes]
        return image, torch.from_numpy(np.stack([np.array(part) for part in squares]))

    def labels(self, index: int) -> np.ndarray:
        """Planes [K, rows, columns] of an image as the data set has them: at its own size."""
        raise NotImplementedError

    def without_planes(self) -> Dataset[Any]:
        """The same images alone, for those who have their labels elsewhere, as in a `LabelStore`."""
        return ImagesAlone(self)

    def fingerprint(self) -> str:
        """Of the files' names, sizes and times, of the labels' names and of how items are made: changes with them."""
        told = f"{type(self).__name__} {self._size} {self._given} {self.concepts}"
        files = [path for image, group in zip(self.files, self._sources) for path in (image, *group)]
        return digest([told, *map(file_facts, files)])

    def _image(self, index: int) -> Tensor:
        return self._scaled(index)[0]

    def _scaled(self, index: int) -> tuple[Tensor, tuple[int, int]]:
        from PIL import Image

        path = self.files[index]
        picture = rgb(opened(path, False)[0], path)
        return self._normalised(square(picture, self._size, Image.Resampling.BILINEAR)), picture.size

    def _skip_broken(self) -> None:
        good = []
        for at, path in enumerate(self.files):
            try:
                for file in (path, *self._sources[at]):
                    opened(file, False)
                good.append(at)
            except ValueError as error:
                self.skipped.append(path)
                tell(f"left out, {len(self.skipped)} so far: {error}")
        self.files, self._sources = [self.files[at] for at in good], [self._sources[at] for at in good]


class ImagesAlone(Dataset[Any]):
    """The images of a data set without their planes."""

    def __init__(self, data: Any) -> None:
        self._data, self.files, self.to_pictures = data, getattr(data, "files", None), data.to_pictures
        self.normalisation = data.normalisation

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self._data._image(index)
        return image

    def fingerprint(self) -> str | None:
        """Of the data set that they are from."""
        told: str | None = self._data.fingerprint()
        return told and digest(["images alone", told])


def plane(path: Path, decode: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """[1, rows, columns] of a PNG: its numbers, or those of its palette's places; or of its three channels, decoded.

    Raises:
        ValueError: it has other channels; names the file.
    """
    picture = opened(path, False)[0]
    if decode is not None:
        return decode(np.array(rgb(picture, path)).astype(np.int32))[None]
    pixels = np.array(picture)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise refusal(
            ValueError(
                f"label planes must be of one channel of numbers, or of a palette, but {shown(path)} has mode "
                f"{picture.mode}."
            )
        )
    return pixels.astype(np.int32)[None]


def folder_of(*parts: str | Path) -> Path:
    """A folder that is there.

    Raises:
        FileNotFoundError: it is not.
    """
    folder = Path(*parts)
    if not folder.is_dir():
        raise refusal(FileNotFoundError(f"there is no folder {shown(folder)}."))
    return folder
