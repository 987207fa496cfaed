"""Folders of image files, and of label planes beside them, as a data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dissect.arguments import ignored_labels, refusal, speaks, tell
from dissect.concepts import Concepts
from dissect.data.files import MOST_PLANES, TRANSPOSED, UPRIGHT, array, file_facts, files_under, opened, rgb
from dissect.data.pictures import NormalisedImages
from dissect.digests import digest
from dissect.extras import require
from dissect.text import printable, shown

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: What most published networks of ImageNet and Places were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@speaks
class ImageFolder(NormalisedImages):
    """The images under a folder, in the order of their paths, as a network takes them.

    A photograph is turned as its orientation tag says, scaled so that its shorter side has `size` pixels and cut to
    the middle square, then normalised, ``(x - mean) / std`` per channel. Planes are treated alike, but never mixed: a
    pixel takes the nearest label.

    Args:
        folder: images, in subfolders and linked ones too; every file with one of `SUFFIXES` (in any case). Hidden files
            and folders, whose names begin with a dot, are left out.
        planes: a folder of label planes: for ``a/b.jpg`` the file ``a/b.npy``, integers or bools [K, H, W] or [H, W],
            at most 256 planes, or ``a/b.png``, one plane of 1, 8 or 16 bits (no palette is looked up), of the image's
            own shape as it is seen upright (any scale of it). A file ``concepts.json`` there, a list of names or of
            [name, category] for the labels 1, 2, ..., or an object of them by number, names them. An image that has
            none, where others have, is left out, which a warning tells. None: images come without planes.
        size: rows and columns.
        mean: of the channels of an image in [0, 1].
        std: of the same.
        skip: leave out files that cannot be read, with a warning that names each, instead of an error. They are found
            now, by reading every file once.
        ignore: a label, or several, that stand for "no label", 255 for example; they become 0.
        colors: labels by color, ``{(128, 64, 128): 1, ...}``: planes are .png files of these colors, and any other
            color is an error. 0 is "no label" here too.
        orientation: turn photographs, and planes, that have an orientation tag (EXIF); else all are as they are stored.

    Attributes:
        files: the paths, in order.
        unlabelled: the paths of those that were left out for want of planes.
        concepts: `Concepts` of the planes, or None.

    Items:
        image: float32 [3, size, size].
        planes: int64 [K, size, size], where a folder of them is given.

    Raises:
        ImportError: Pillow is missing; names the extra.
        FileNotFoundError: no such folder, or no planes for any image (names the first, before any is read).
        TypeError: a label of `ignore` or `colors` that is no integer.
        ValueError: no images; a file that cannot be read, is cut short, is damaged or has more than 89 million pixels
            (names it); planes of another shape; two files of planes for an image; concepts.json that is no such list.

    Warns:
        UserWarning: images without planes; the first photograph whose tag turns it so that the shape of its planes
            does not tell whether they are drawn on it upright, which they are taken to be.

    Data sets and loaders around it (`torch.utils.data.Subset`, `DataLoader`) keep its concepts and colors.
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
        ignore: int | Iterable[int] = (),
        colors: Mapping[tuple[int, int, int], int] | None = None,
        orientation: bool = True,
    ) -> None:
        require("ImageFolder", "report", "PIL")
        self.folder, self.size, self.orientation = Path(folder), size, orientation
        self._planes = None if planes is None else Path(planes)
        for given in (self.folder, self._planes):
            if given is not None and not given.is_dir():
                raise refusal(FileNotFoundError(f"there is no folder {shown(given)}."))
        if size < 1:
            raise refusal(ValueError(f"size must be positive, but got {size}."))
        self._normalise_by(mean, std)
        self._ignore = ignored_labels(ignore)
        self._colors = None if colors is None else _by_color(colors)
        found = files_under(self.folder, SUFFIXES)
        self.files = [path for path in found if self._readable(path)] if skip else found
        if not self.files:
            raise refusal(
                ValueError(
                    f"folder must hold images ({', '.join(SUFFIXES)}), but {shown(folder)} holds none that is "
                    "not hidden."
                )
            )
        self.concepts = None if self._planes is None else _concepts(self._planes / "concepts.json")
        self.unlabelled: list[Path] = []
        self._planes_of: dict[Path, Path] = {}
        if self._planes is not None:
            self._find_planes(self._planes)
        self._told = False

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        from PIL import Image

        path = self.files[index]
        picture, tag = opened(path, self.orientation)
        image = self._normalised(square(rgb(picture, path), self.size, Image.Resampling.BILINEAR))
        return image if self._planes is None else (image, self._labels(path, picture.size, tag))

    def fingerprint(self) -> str:
        """Of the files' names, sizes and times, and of how images are made of them: tells whether they changed."""
        told = f"{self.size} {self._mean.tolist()} {self._std.tolist()}"
        if self._ignore or self._colors or not self.orientation:  # else as it was before there was a choice
            told += f"{self._ignore} {self._colors} {self.orientation}"
        paths = ((image,) if self._planes is None else (image, self._planes_of[image]) for image in self.files)
        return digest([told, *map(file_facts, chain.from_iterable(paths))])

    def _readable(self, path: Path) -> bool:
        try:
            opened(path, self.orientation)
        except ValueError as error:
            tell(f"left out: {error}")
            return False
        return True

    def _find_planes(self, folder: Path) -> None:
        """The file of each image's planes; images without are left out, and told."""
        listings: dict[Path, dict[str, list[Path]]] = {}
        for image in self.files:
            base = folder / image.relative_to(self.folder)
            if base.parent not in listings:
                listings[base.parent] = _by_name(base.parent)
            of_image = listings[base.parent]
            found = of_image.get(f"{base.stem}.npy") or of_image.get(f"{base.stem}.png", [])
            if len(found) > 1:
                raise refusal(ValueError(f"{shown(image)} must have one file of label planes, but has {found}."))
            if found:
                self._planes_of[image] = found[0]
        self.unlabelled = [image for image in self.files if image not in self._planes_of]
        first = ", ".join(map(shown, self.unlabelled[:3])) + (", ..." if len(self.unlabelled) > 3 else "")
        if not self._planes_of:
            base = folder / self.files[0].relative_to(self.folder)
            raise refusal(
                FileNotFoundError(
                    f"{shown(self.files[0])} has no label planes; there is no "
                    f"{shown(base.with_suffix('.npy'))}, nor .png. No other image has any either."
                )
            )
        if self.unlabelled:
            tell(
                f"{len(self.unlabelled)} of {len(self.files)} images have no label planes and are left "
                f"out (attribute unlabelled): {first}."
            )
            self.files = [image for image in self.files if image in self._planes_of]

    def _labels(self, image: Path, size: tuple[int, int], tag: int) -> Tensor:
        """Planes of an image that has `size`, columns and rows, and was turned as `tag` says."""
        from PIL import Image

        path = self._planes_of[image]
        planes = self._array(path)
        planes = planes[None] if planes.ndim == 2 else planes
        rows, columns = planes.shape[1:]
        self._check_shape(path, (rows, columns), size, tag)
        if not 1 <= len(planes) <= MOST_PLANES or not rows or not columns:
            raise refusal(
                ValueError(
                    f"an image must have 1 to {MOST_PLANES} label planes, but {shown(path)} holds {list(planes.shape)}."
                )
            )
        if self._ignore:
            planes = np.where(np.isin(planes, self._ignore), 0, planes)
        if not 0 <= int(planes.min()) <= int(planes.max()) < 2**31:
            raise refusal(
                ValueError(
                    f"label planes must hold numbers from 0 to 2^31 - 1, but {shown(path)} holds "
                    f"{planes.min()} to {planes.max()}; ignore= takes those that mean 'no label'."
                )
            )
        squares = [
            square(Image.fromarray(plane.astype(np.int32)), self.size, Image.Resampling.NEAREST) for plane in planes
        ]
        return torch.from_numpy(np.stack([np.array(part) for part in squares])).long()

    def _array(self, path: Path) -> np.ndarray:
        """Integers [K, H, W] or [H, W] of a file of label planes.

        Raises:
            ValueError: it holds something else, or colors that have no label; names the file.
        """
        png = path.suffix.lower() == ".png"
        if png and self._colors is not None:
            return _labels_of_colors(opened(path, self.orientation)[0], self._colors, path)
        planes = np.array(opened(path, self.orientation)[0]) if png else array(path)
        if planes.ndim not in ((2,) if png else (2, 3)) or planes.dtype.kind not in "iub":
            wanted = "[H, W]" if png else "[K, H, W] or [H, W]"
            hint = " (colors= says which label each color is)" if png else ""
            raise refusal(
                ValueError(
                    f"label planes must be integers {wanted}, but {shown(path)} holds "
                    f"{planes.dtype} {list(planes.shape)}{hint}."
                )
            )
        return planes.astype(np.uint8) if planes.dtype.kind == "b" else planes

    def _check_shape(self, path: Path, shape: tuple[int, int], size: tuple[int, int], tag: int) -> None:
        """Compares the planes' shape with their image's.

        Raises:
            ValueError: it is no scale of it.
        """
        if not alike(shape, size):
            turned = tag >= TRANSPOSED and alike(shape, size[::-1])
            hint = " It is that of the image as it is stored, untouched by its orientation tag: pass orientation=False."
            raise refusal(
                ValueError(
                    f"label planes must have the shape of their image, {size[1]} x {size[0]} rows and columns "
                    f"or a scale of it, but {shown(path)} holds {shape[0]} x {shape[1]}.{hint if turned else ''}"
                )
            )
        if tag != UPRIGHT and not self._told and (tag < TRANSPOSED or alike(shape, size[::-1])):
            self._told = True
            tell(
                f"the image of {shown(path)} was turned as its orientation tag {tag} says; the planes, "
                "whose shape does not tell, are taken to be drawn on it upright; orientation=False turns none."
            )


def alike(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether rows and columns are those of a picture of so many columns and rows.

    Or a scale of them, up to the rounding of a pixel of the smaller one.
    """
    return abs(shape[0] * size[0] - shape[1] * size[1]) <= max(size)


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder by stem and lower-case suffix; none if there is no such folder."""
    files: dict[str, list[Path]] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file():
                files.setdefault(path.stem + path.suffix.lower(), []).append(path)
    return files


def _by_color(colors: Mapping[tuple[int, int, int], int]) -> dict[int, int]:
    """Labels by color as one number.

    Raises:
        TypeError, ValueError: they are no such table.
    """
    table = {}
    for color, label in colors.items():
        if not isinstance(label, (int, np.integer)) or isinstance(label, bool):
            raise refusal(TypeError(f"colors must give integer labels, but gives {color!r} {label!r}."))
        parts = color if isinstance(color, Sequence) and not isinstance(color, str) else ()
        if len(parts) != 3 or not all(isinstance(part, (int, np.integer)) and 0 <= part <= 255 for part in parts):
            raise refusal(ValueError(f"colors must be (red, green, blue) from 0 to 255, but got {color!r}."))
        table[int(parts[0]) << 16 | int(parts[1]) << 8 | int(parts[2])] = int(label)
    if not table:
        raise refusal(ValueError("colors must give at least one color's label, but is empty."))
    return table


def _labels_of_colors(picture: Any, table: dict[int, int], path: Path) -> np.ndarray:
    """The label of each pixel's color.

    Raises:
        ValueError: a color that has none, or a pixel that is seen through.
    """
    if picture.has_transparency_data and np.array(picture.convert("RGBA"))[..., 3].min() < 255:
        raise refusal(ValueError(f"label planes must be opaque, but {shown(path)} has transparent pixels."))
    channels = np.array(rgb(picture, path)).astype(np.int64)
    colors, places = np.unique(channels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    strange = [f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in colors.tolist() if c not in table]
    if strange:
        more = f" and {len(strange) - 5} others" if len(strange) > 5 else ""
        raise refusal(
            ValueError(
                f"colors must give the label of every color, but {shown(path)} has "
                f"{', '.join(strange[:5])}{more}; give those without a label 0."
            )
        )
    return np.array([table[color] for color in colors.tolist()])[places].reshape(channels.shape[:2])


def square(picture: Any, size: int, resampling: Any) -> Any:
    """Scaled to `size` pixels on the shorter side, and cut to the middle square."""
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return picture.resize((size, size), resampling, box=(left, top, left + short, top + short))


def _concepts(path: Path) -> Concepts | None:
    if not path.is_file():
        return None
    try:
        return Concepts.of(json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once))
    except (ValueError, TypeError, RecursionError) as error:
        raise refusal(
            ValueError(
                f"{shown(path)} must be a list of names or of [name, category], or an object of them by "
                f"number: {printable(str(error))}"
            )
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, no name of which stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name stands twice among {[name for name, _ in pairs][:20]}")
    return found
