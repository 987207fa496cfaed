"""Folders of image files, and of label planes beside them, as a data set."""

from __future__ import annotations

import hashlib
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
            ``a/b.png``, one plane of 8 or 16 bits (no palette is looked up), of the image's own shape (any scale of
            it; orientation tags of photographs are not applied). A file ``concepts.json`` there, a list of
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
        FileNotFoundError: no such folder, or no planes for an image (names it, before any is read).
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
        if self._planes is not None:
            for path in self.files:
                self._planes_file(path)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        from PIL import Image

        path = self.files[index]
        picture = _opened(path)
        square = _square(_rgb(picture, path), self.size, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        image = (pixels - self._mean) / self._std
        return image if self._planes is None else (image, self._labels(path, picture.size))

    def to_pictures(self, images: Tensor) -> Tensor:
        """Uint8 [N, 3, H, W] of images [N, 3, H, W] that were normalised here: with the colours of the files."""
        pixels = images.float() * self._std.to(images.device) + self._mean.to(images.device)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)

    def fingerprint(self) -> str:
        """Of the files' names, sizes and times, and of how images are made of them: tells whether they changed."""
        digest = hashlib.sha256(f"{self.size} {self._mean.tolist()} {self._std.tolist()}".encode())
        for image in self.files:
            for path in (image, *(() if self._planes is None else (self._planes_file(image),))):
                facts = path.stat()
                digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def _readable(self, path: Path) -> bool:
        try:
            _opened(path)
        except ValueError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            return False
        return True

    def _planes_file(self, image: Path) -> Path:
        base = self._planes / image.relative_to(self.folder)  # type: ignore[operator]
        path = next((p for p in (base.with_suffix(".npy"), base.with_suffix(".png")) if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"ImageFolder: {image} has no label planes; there is no {base.with_suffix('.npy')}, nor .png."
            )
        return path

    def _labels(self, image: Path, size: tuple[int, int]) -> Tensor:
        """Planes of an image whose file has `size`: columns, rows."""
        from PIL import Image

        path = self._planes_file(image)
        planes = _array(path)
        wanted = "[H, W]" if path.suffix == ".png" else "[K, H, W] or [H, W]"
        if planes.ndim not in ((2,) if path.suffix == ".png" else (2, 3)) or planes.dtype.kind not in "iu":
            raise ValueError(
                f"ImageFolder: label planes must be integers {wanted}, but {path} holds "
                f"{planes.dtype} {list(planes.shape)}."
            )
        planes = planes[None] if planes.ndim == 2 else planes
        rows, columns = planes.shape[1:]
        # Of the same shape up to the rounding of a pixel of the smaller one.
        if abs(rows * size[0] - columns * size[1]) > max(size):
            raise ValueError(
                f"ImageFolder: label planes must have the shape of their image, {size[1]} x {size[0]} rows and columns "
                f"or a scale of it, but {path} holds {rows} x {columns}."
            )
        if planes.size and not 0 <= int(planes.min()) <= int(planes.max()) < 2**31:
            raise ValueError(
                f"ImageFolder: label planes must hold numbers from 0 to 2^31 - 1, but {path} holds {planes.min()} to "
                f"{planes.max()}."
            )
        squares = [
            _square(Image.fromarray(plane.astype(np.int32)), self.size, Image.Resampling.NEAREST) for plane in planes
        ]
        return torch.from_numpy(np.stack([np.array(square) for square in squares])).long()


def _array(path: Path) -> np.ndarray:
    """What a file of label planes holds.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    if path.suffix == ".png":
        return np.array(_opened(path))
    try:
        return np.load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"ImageFolder: {path} cannot be read: {error}") from error


def _rgb(picture: Any, path: Path) -> Any:
    """Three channels of 8 bits.

    Raises:
        ValueError: it has 32 bits, of which it is not known where white is.
    """
    from PIL import Image

    if picture.mode in ("I", "F"):
        raise ValueError(
            f"ImageFolder: pictures must have 8 or 16 bits per channel, but {path} has 32 (mode {picture.mode}); "
            "convert it first."
        )
    if picture.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        picture = Image.fromarray((np.array(picture).astype(np.float32) / 257).round().astype(np.uint8))
    return picture.convert("RGB")


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
        entries = json.loads(path.read_text(encoding="utf-8"))
        return Concepts.of(entries)
    except (ValueError, TypeError) as error:
        raise ValueError(f"ImageFolder: {path} must be a list of names or of [name, category]: {error}") from error
