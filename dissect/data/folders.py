"""Folders of image files, and of label planes beside them, as a data set."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.concepts import Concepts
from dissect.extras import require

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: What most published networks of ImageNet and Places were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageFolder(Dataset):
    """The images under a folder, in the order of their paths, as a network takes them.

    An image is scaled so that its shorter side has `size` pixels and cut to the middle square, then normalised,
    ``(x - mean) / std`` per channel. Planes are treated alike, but never mixed: a pixel takes the nearest label.

    Args:
        folder: images, in subfolders too; every file with one of `SUFFIXES`.
        planes: a folder of label planes: for ``a/b.jpg`` the file ``a/b.npy``, integers [K, H, W] or [H, W], or
            ``a/b.png``, one plane of 8 or 16 bits (no palette is looked up). A file ``concepts.json`` there, a list of
            names or of [name, category] for the labels 1, 2, ..., names them. None: images come without planes.
        size: rows and columns.
        mean: of the channels of an image in [0, 1].
        std: of the same.
        skip: leave out files that cannot be read, with a warning that names each, instead of an error. They are found
            now, by reading every file once.

    Attributes:
        files: the paths, in order.
        concepts: `Concepts` of the planes, or None.

    Items:
        image: float32 [3, size, size].
        planes: int64 [K, size, size], where a folder of them is given.

    Raises:
        ImportError: Pillow is missing; names the extra.
        FileNotFoundError: no such folder, or no planes for an image (names it).
        ValueError: no images; a file that cannot be read, is cut short or has more than 89 million pixels (names
            it); planes of another shape; concepts.json that is no such list.
    """

    def __init__(
        self,
        folder: str | Path,
        planes: str | Path | None = None,
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        require("ImageFolder", "report", "PIL")
        self.folder, self.size = Path(folder), size
        self._planes = None if planes is None else Path(planes)
        for given in (self.folder, self._planes):
            if given is not None and not given.is_dir():
                raise FileNotFoundError(f"ImageFolder: there is no folder {given}.")
        if size < 1:
            raise ValueError(f"ImageFolder: size must be positive, but got {size}.")
        self._mean, self._std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
        found = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        self.files = [path for path in found if self._readable(path)] if skip else found
        if not self.files:
            raise ValueError(f"ImageFolder: folder must hold images ({', '.join(SUFFIXES)}), but {folder} holds none.")
        self.concepts = None if self._planes is None else _concepts(self._planes / "concepts.json")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        from PIL import Image

        path = self.files[index]
        square = _square(_opened(path).convert("RGB"), self.size, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        image = (pixels - self._mean) / self._std
        return image if self._planes is None else (image, self._labels(path))

    def _readable(self, path: Path) -> bool:
        try:
            _opened(path)
        except ValueError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            return False
        return True

    def _labels(self, image: Path) -> Tensor:
        from PIL import Image

        base = self._planes / image.relative_to(self.folder)  # type: ignore[operator]
        path = next((p for p in (base.with_suffix(".npy"), base.with_suffix(".png")) if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"ImageFolder: {image} has no label planes; there is no {base.with_suffix('.npy')}."
            )
        try:
            planes = np.load(path) if path.suffix == ".npy" else np.array(_opened(path))
        except (OSError, ValueError) as error:
            raise ValueError(f"ImageFolder: label planes {path} cannot be read: {error}") from error
        planes = planes[None] if planes.ndim == 2 else planes
        if planes.ndim != 3 or planes.dtype.kind not in "iu":
            raise ValueError(
                f"ImageFolder: label planes must be integers [K, H, W] or [H, W], but {path} holds "
                f"{planes.dtype} {list(planes.shape)}."
            )
        squares = [
            _square(Image.fromarray(plane.astype(np.int32)), self.size, Image.Resampling.NEAREST) for plane in planes
        ]
        return torch.from_numpy(np.stack([np.array(square) for square in squares])).long()


def _opened(path: Path) -> Any:
    """A decoded picture.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    from PIL import Image, UnidentifiedImageError

    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file)
            picture.load()
    except (OSError, SyntaxError, UnidentifiedImageError, *too_large) as error:
        raise ValueError(f"ImageFolder: {path} cannot be read: {error}") from error
    return picture


def _square(picture: Any, size: int, resampling: Any) -> Any:
    """Scaled to `size` pixels on the shorter side, and cut to the middle square."""
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return picture.resize((size, size), resampling, box=(left, top, left + short, top + short))


def _concepts(path: Path) -> Concepts | None:
    if not path.is_file():
        return None
    try:
        entries = json.loads(path.read_text())
        return Concepts.of(entries)
    except (ValueError, TypeError) as error:
        raise ValueError(f"ImageFolder: {path} must be a list of names or of [name, category]: {error}") from error
