"""Images that lie in rows: of Hugging Face data sets, of webdataset shards, or of any sequence of mappings."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import ignored_labels, integer, refusal, speaks, tell
from dissect.concepts import Concepts
from dissect.data.files import DAMAGED, file_facts, opened, rgb
from dissect.data.folders import MEAN, STD, square
from dissect.data.labelled import ImagesAlone
from dissect.data.pictures import NormalisedImages
from dissect.digests import digest
from dissect.extras import require
from dissect.text import shown


@speaks
class TarShards:
    """The samples of webdataset shards, plain tar files on this machine, in their order: rows for `Records`.

    Files that follow each other and have the same name up to its first dot are a sample: ``000.jpg`` and
    ``000.seg.png`` give ``{"__key__": "000", "jpg": bytes, "seg.png": bytes}``. The shards' headers are read now;
    contents when a sample is asked for, so that workers and visits that skip batches read no more than they need.

    Args:
        paths: of the shards, in order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: none; a file that is no plain tar, or is cut short (names it); a sample with a file twice.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = [Path(path) for path in paths]
        self._samples: list[tuple[int, str, dict[str, tuple[int, int]]]] = []
        for shard, path in enumerate(self._paths):
            if not path.is_file():
                raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
            self._index(shard, path)
        if not self._samples:
            raise refusal(ValueError("paths must name shards with samples, but there are none."))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """The files of a sample by what follows the first dot of their names."""
        shard, key, places = self._samples[index]
        row: dict[str, Any] = {"__key__": key}
        with self._paths[shard].open("rb") as file:
            for name, (begin, size) in places.items():
                file.seek(begin)
                row[name] = file.read(size)
        return row

    def fingerprint(self) -> str:
        """Of the shards' names, sizes and times."""
        return digest(map(file_facts, self._paths))

    def _index(self, shard: int, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as archive:
                members = archive.getmembers()
            end = max((member.offset_data + -(-member.size // 512) * 512 for member in members), default=0)
            with path.open("rb") as file:
                file.seek(end)
                whole = file.read(512) == bytes(512)
        except (tarfile.TarError, *DAMAGED) as error:
            raise refusal(ValueError(f"{shown(path)} must be a plain tar file, but is not: {error}.")) from error
        if not whole:
            raise refusal(ValueError(f"{shown(path)} must end as a tar file does, but is cut short."))
        for member in filter(tarfile.TarInfo.isfile, members):
            folder, _, name = member.name.rpartition("/")
            start, _, ending = name.partition(".")
            key = f"{folder}/{start}" if folder else start
            if not self._samples or self._samples[-1][:2] != (shard, key):
                self._samples.append((shard, key, {}))
            if ending.lower() in self._samples[-1][2]:
                raise refusal(
                    ValueError(f"samples of {shown(path)} must have each file once, not {member.name!r} twice.")
                )
            self._samples[-1][2][ending.lower()] = (member.offset_data, member.size)


@speaks
class Records(NormalisedImages):
    """The images of rows, and label planes beside them where they have any, as a network takes them.

    Images are scaled so that the shorter side has `size` pixels, cut to the middle square and normalised,
    ``(x - mean) / std``; planes are treated alike, a pixel taking the nearest label.

    Args:
        rows: a ``datasets.Dataset`` of Hugging Face, decoded or not, in any of its formats but lists of numbers;
            `TarShards`; or any sequence of mappings.
        image: the column of the images: as Pillow has them, their files' bytes or paths (a mapping of `bytes` and
            `path`), or arrays and tensors of integers from 0 to 255, [H, W, 3], [H, W] or, of tensors, [3, H, W].
        planes: the column, or columns, of label planes: as Pillow has them, PNGs as of images, or integers [H, W].
        concepts: of the labels.
        ignore: labels that stand for "no label"; they become 0.
        size: rows and columns of the images.
        mean: of the channels of an image in [0, 1].
        std: of the same.
        skip: leave out rows whose images or planes cannot be read, with a warning that names and counts them; they are
            found now, by reading every row once.

    Attributes:
        concepts: `Concepts`, or None.
        skipped: numbers of the rows that were left out.

    Items:
        image: float32 [3, size, size].
        planes: int32 [K, size, size], where columns are named.

    Raises:
        ImportError: Pillow is missing; names the extra.
        KeyError: a row without a column.
        TypeError: rows that have no length or number; a value that is no picture.
        ValueError: no rows; a picture that cannot be read, or planes of another shape than its own; names the row.

    Example:
        >>> rows = [{"image": np.zeros((8, 8, 3), np.uint8), "label": np.ones((8, 8), np.int64)}]
        >>> image, planes = Records(rows, planes="label", concepts=["sky"], size=4)[0]
        >>> image.shape, planes.shape
        (torch.Size([3, 4, 4]), torch.Size([1, 4, 4]))
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]] | Any,
        *,
        image: str = "image",
        planes: str | Sequence[str] = (),
        concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | Mapping[Any, Any] | None = None,
        ignore: int | Iterable[int] = (),
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        require("Records", "report", "PIL")
        if isinstance(rows, Mapping):  # as a DatasetDict is, of Hugging Face's
            raise refusal(
                TypeError(
                    f"rows must be rows, but are a {type(rows).__name__} of {sorted(map(str, rows))[:5]}; give one of "
                    "its parts."
                )
            )
        if not hasattr(rows, "__len__") or not hasattr(rows, "__getitem__"):
            raise refusal(TypeError(f"rows must have a length and numbers, but are a {type(rows).__name__}."))
        self._rows, self._column = rows, image
        self._planes = (planes,) if isinstance(planes, str) else tuple(planes)
        self.concepts = None if concepts is None else Concepts.of(concepts)
        self._ignore, self._size = ignored_labels(ignore), integer("size", size)
        self._normalise_by(mean, std)
        self.skipped: list[int] = []
        self._numbers = [number for number in range(len(rows)) if not skip or self._readable(number)]
        if not self._numbers:
            raise refusal(ValueError("rows must hold at least one image that can be read, but there are none."))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        from PIL import Image

        number = self._numbers[index]
        row = self._row(number)
        picture = rgb(self._picture(row, number, self._column), self._name(number, self._column))
        image = self._square(picture)
        if not self._planes:
            return image
        found = []
        for column in self._planes:
            plane = np.array(self._picture(row, number, column))
            if plane.ndim != 2 or plane.dtype.kind not in "iu" or plane.shape != picture.size[::-1]:
                raise refusal(
                    ValueError(
                        f"label planes must be integers of the shape of their image, {list(picture.size[::-1])}, but "
                        f"{self._name(number, column)} holds {plane.dtype} {list(plane.shape)}."
                    )
                )
            plane = np.where(np.isin(plane, self._ignore), 0, plane).astype(np.int32)
            found.append(np.array(square(Image.fromarray(plane), self._size, Image.Resampling.NEAREST)))
        return image, torch.from_numpy(np.stack(found))

    def without_planes(self) -> Dataset[Any]:
        """The same images alone, for those who have their labels elsewhere, as in a `LabelStore`."""
        return ImagesAlone(self)

    def fingerprint(self) -> str | None:
        """Of the rows and of how items are made; None where the rows, as a list, do not tell."""
        own = getattr(self._rows, "fingerprint", None)
        told = own() if callable(own) else getattr(self._rows, "_fingerprint", None)  # as `datasets` calls it
        how = f"{self._column} {self._planes} {self._size} {self._mean.tolist()} {self._std.tolist()} {self._ignore}"
        return told and digest([str(told), how, repr(self.concepts), repr(self._numbers)])

    def _image(self, index: int) -> Tensor:
        number = self._numbers[index]
        name = self._name(number, self._column)
        return self._square(rgb(self._picture(self._row(number), number, self._column), name))

    def _square(self, picture: Any) -> Tensor:
        from PIL import Image

        return self._normalised(square(picture, self._size, Image.Resampling.BILINEAR))

    def _row(self, number: int) -> Mapping[str, Any]:
        """A row, whose pictures a data set may decode when it is asked for it.

        Raises:
            ValueError: it cannot be read; names it.
        """
        try:
            row: Mapping[str, Any] = self._rows[number]
        except DAMAGED as error:
            raise refusal(ValueError(f"row {number} cannot be read: {error}")) from error
        return row

    def _picture(self, row: Mapping[str, Any], number: int, column: str) -> Any:
        if column not in row:
            raise refusal(KeyError(f"row {number} must have a column {column!r}, but has {sorted(map(str, row))}."))
        value, name = row[column], self._name(number, column)
        if value is None:
            raise refusal(ValueError(f"{name} must be a picture, but is empty."))
        if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():  # as `datasets` keeps what it leaves
            value = value.get("bytes") or Path(str(value.get("path")))
        if isinstance(value, bytes):
            return opened(_Member(value, str(name)), False)[0]  # type: ignore[arg-type]
        if isinstance(value, Path):
            return opened(value, False)[0]
        if isinstance(value, (np.ndarray, Tensor)):
            return _drawn(value, name)
        try:
            value.load()
        except AttributeError as error:
            hint = '; of a data set of Hugging Face, with_format("numpy")' if isinstance(value, list) else ""
            raise refusal(TypeError(f"{name} must be a picture, but is a {type(value).__name__}{hint}.")) from error
        except DAMAGED as error:
            raise refusal(ValueError(f"{name} cannot be read: {error}")) from error
        return value

    def _readable(self, number: int) -> bool:
        try:
            row = self._row(number)
            for column in (self._column, *self._planes):
                self._picture(row, number, column)
        except ValueError as error:
            self.skipped.append(number)
            tell(f"left out, {len(self.skipped)} so far: {error}")
            return False
        return True

    @staticmethod
    def _name(number: int, column: str) -> Path:
        return Path(f"row {number}, {column!r}")


def _drawn(value: np.ndarray | Tensor, name: Path) -> Any:
    """An array or a tensor as Pillow has pictures.

    Raises:
        TypeError: it holds no integers.
        ValueError: another shape, or colours that are not from 0 to 255.
    """
    from PIL import Image

    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if array.dtype.kind not in "iu":
        raise refusal(TypeError(f"{name} must be a picture of integers, but is {array.dtype} {list(array.shape)}."))
    first = isinstance(value, Tensor) and array.ndim == 3 and array.shape[0] in (1, 3)
    if first and array.shape[2] in (1, 3):
        raise refusal(ValueError(f"{name} must tell where its colours are, but is {list(array.shape)}."))
    if first:
        array = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    if array.ndim == 2:
        return Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.int32))
    if array.ndim != 3 or array.shape[2] != 3 or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        ends = f", {array.min()} to {array.max()}" if array.size else ""
        raise refusal(
            ValueError(f"{name} must be integers [H, W, 3] from 0 to 255, or [H, W], but is {list(array.shape)}{ends}.")
        )
    return Image.fromarray(np.ascontiguousarray(array.astype(np.uint8)))


class _Member:
    """Bytes that are opened as a file is."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._called = data, name

    def open(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._data)

    def __fspath__(self) -> str:
        return self._called
