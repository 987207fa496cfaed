"""Broden, the densely labeled data set of network dissection (Bau et al. 2017), from its published folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data.files import file_facts, opened, rgb
from dissect.data.folders import MEAN, STD
from dissect.data.labelled import ImagesAlone
from dissect.data.pictures import NormalisedImages
from dissect.digests import digest
from dissect.extras import require
from dissect.table import Table
from dissect.text import printable, shown

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Columns of index.csv before those of the categories.
IMAGE_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")


class VocabularyRow(NamedTuple):
    """A row of Table 1 of Zhou et al. 2018 (TPAMI).

    Attributes:
        category: of concepts.
        classes: labels with this primary category.
        sources: the data sets whose images carry labels of it, by the first folder of their paths.
        average_sample: images per label that carry it in this category, on average.
    """

    category: str
    classes: int
    sources: str
    average_sample: float


class _BrodenImage(NamedTuple):
    path: str
    size: tuple[int, int]
    planes_size: tuple[int, int]
    entries: tuple[tuple[str, ...], ...]  # by category: names of label files, or label numbers


@speaks
class Broden(NormalisedImages):
    """The published Broden data set, `broden1_224` (227, 384), with its labels of all categories as planes.

    A folder with index.csv, category.csv, label.csv, a c_<category>.csv for each category, and images/. Of an image the
    index says, by category, its labels: the name of a PNG whose pixels hold R + 256 G (several of parts), or the number
    of a label of the whole image (scenes, textures), which becomes a plane of this number alone. A label may have
    several categories; its primary one has the largest coverage, of equal ones the later (as in `score_tally_stats` of
    the published code). With ``preset="tpami2018"`` a dissection counts as the paper's code does.

    Files are read when an item is asked for, and ``torch.utils.data.DataLoader(broden, 32, num_workers=4)`` decodes in
    processes of its own.

    Args:
        folder: of the data set.
        split: "train" or "val"; all images by default.
        categories: those whose labels are read; all by default. Names stay as they are.
        mean: of the channels of an image in [0, 1], which are normalised, ``(x - mean) / std``.
        std: of the same.

    Attributes:
        concepts: `Concepts` of all labels; scenes' names end in "-s", colors' in "-c", as published.
        files: the paths of the images, in the index's order.
        categories: whose labels are read.

    Items:
        image: float32 [3, ih, iw].
        planes: int32 [K, sh, sw], the same K for all images: 0 where an image has fewer.

    Raises:
        ImportError: Pillow is missing; names the extra.
        FileNotFoundError: no such folder, or a table or file that is not there; names it.
        ValueError: a table without a column, cut short, or with a number that cannot be (names the line); label numbers
            that are not 1, 2, ...; a category that is not there; no images of the split; a file that cannot be read, or
            has another size than the index says, or a label that label.csv does not have.

    Example:
        >>> broden = dissect.data.Broden("broden1_224", split="val")  # doctest: +SKIP
        >>> dissect.dissect(alexnet, "features.conv5", broden, preset="tpami2018")  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split | None = None,
        *,
        categories: Iterable[str] | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        require("Broden", "report", "PIL")
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise refusal(FileNotFoundError(f"there is no folder {shown(self.folder)}."))
        if split is not None and split not in SPLITS:
            raise refusal(ValueError(f"split must be one of {SPLITS}, or None, but got {split!r}."))
        self._normalise_by(mean, std)
        self._tables: list[Path] = []
        known = [row["name"] for row in self._table("category.csv", ("name",))]
        self.categories = tuple(known if categories is None else categories)
        strange = [name for name in self.categories if name not in known]
        if strange or not self.categories:
            raise refusal(ValueError(f"categories must be some of {known}, but got {list(self.categories)}."))
        self._coverage = {name: self._coverages(name) for name in known}
        self.concepts = self._concepts()
        self._images = [image for image in self._index() if split in (None, image[0])]
        self.files = [self.folder / "images" / image.path for _, image in self._images]
        if not self._images:
            raise refusal(ValueError(f"index.csv must have images of split {split!r}, but has none."))
        self._depth = [
            max(1, *(len(image.entries[at]) for _, image in self._images)) for at in range(len(self.categories))
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Item `index`: see the class."""
        image, known = self._image(index), self._images[index][1]
        planes = torch.zeros(sum(self._depth), *known.planes_size, dtype=torch.int32)
        begin = 0
        for entries, depth in zip(known.entries, self._depth):
            for at, entry in enumerate(entries):
                planes[begin + at] = self._labels(entry, known.planes_size)
            begin += depth
        return image, planes

    def without_planes(self) -> Dataset[Any]:
        """The same images alone, for those who have their labels elsewhere, as in a `LabelStore`."""
        return ImagesAlone(self)

    def fingerprint(self) -> str:
        """Of the tables, the images' sizes and times, and how items are made: tells whether they changed."""
        told = f"{self.categories} {len(self.files)} {self._mean.tolist()} {self._std.tolist()}"
        return digest([told, *(table.read_bytes() for table in self._tables), *map(file_facts, self.files)])

    def table(self) -> Table[VocabularyRow]:
        """Classes, sources and average samples by category (`VocabularyRow`): Table 1 of Zhou et al. 2018."""
        rows = []
        for place, name in enumerate(self.categories):
            labels = [label for label, category in enumerate(self.concepts.categories) if category == name]
            sources = {image.path.split("/")[0] for _, image in self._images if image.entries[place]}
            seen = [self._coverage[name][label].frequency for label in labels if label in self._coverage[name]]
            average = sum(seen) / len(seen) if seen else 0.0
            rows.append(VocabularyRow(name, len(labels), ", ".join(sorted(sources)), average))
        return Table(rows)

    def _image(self, index: int) -> Tensor:
        path, (_, known) = self.files[index], self._images[index]
        picture, _ = opened(path, False)
        pixels = np.array(rgb(picture, path))
        self._check_size(path, pixels.shape[:2], known.size)
        return self._normalised(pixels)

    def _table(self, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
        """The rows of a table, which must have these columns and be whole."""
        path = self.folder / name
        if not path.is_file():
            raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
        self._tables.append(path)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = [column for column in columns if column not in (reader.fieldnames or ())]
                if missing:
                    raise ValueError(f"it has no column {missing[0]!r}")
                rows = list(reader)
        except (ValueError, csv.Error) as error:
            raise refusal(ValueError(f"{shown(path)} must be a table of the data set, but {error}.")) from error
        for line, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise refusal(
                    ValueError(
                        f"every line of {shown(path)} must have {len(reader.fieldnames or ())} fields, but line "
                        f"{line} has others; is the file cut short?"
                    )
                )
        return rows

    def _number(self, table: str, line: int, column: str, text: str) -> int:
        if not text.isdecimal() or len(text) > 9:
            raise refusal(
                ValueError(
                    f"{column!r} must be a whole number in line {line} of {shown(self.folder / table)}, but is "
                    f"{printable(text)!r}."
                )
            )
        return int(text)

    def _coverages(self, category: str) -> dict[int, _Coverage]:
        """By label, how often and how widely it is of the category."""
        name = f"c_{category}.csv"
        found = {}
        for line, row in enumerate(self._table(name, ("number", "frequency", "coverage")), start=2):
            try:
                coverage = float(row["coverage"])
            except ValueError:
                coverage = math.nan
            if not coverage >= 0:
                raise refusal(
                    ValueError(
                        f"'coverage' must be a number from 0 on in line {line} of {shown(self.folder / name)}, but "
                        f"is {printable(row['coverage'])!r}."
                    )
                )
            numbers = (self._number(name, line, column, row[column]) for column in ("number", "frequency"))
            label, frequency = numbers
            found[label] = _Coverage(frequency, coverage)
        return found

    def _concepts(self) -> Concepts:
        """Names, and primary categories: those of the largest coverage, of equal ones the later."""
        names, categories = ["-"], [""]
        for line, row in enumerate(self._table("label.csv", ("number", "name", "category")), start=2):
            number = self._number("label.csv", line, "number", row["number"])
            if number == 0:
                continue
            if number != len(names):
                raise refusal(
                    ValueError(
                        f"labels must have the numbers 1, 2, ... in label.csv, but line {line} has {number} where "
                        f"{len(names)} is due."
                    )
                )
            ranks = {name: own[number].coverage for name, own in self._coverage.items() if number in own}
            if not ranks:
                raise refusal(
                    ValueError(
                        f"label {number} ({printable(row['name'])!r}) must be in a table c_<category>.csv, but is "
                        "in none."
                    )
                )
            best = max(ranks.values())
            names.append(row["name"])
            categories.append([name for name, value in ranks.items() if value == best][-1])
        return Concepts(tuple(names), tuple(categories))

    def _index(self) -> list[tuple[str, _BrodenImage]]:
        """Every image, with its split."""
        found = []
        for line, row in enumerate(self._table("index.csv", (*IMAGE_COLUMNS, *self.categories)), start=2):
            ih, iw, sh, sw = (self._number("index.csv", line, column, row[column]) for column in IMAGE_COLUMNS[2:])
            entries = tuple(tuple(filter(None, row[name].split(";"))) for name in self.categories)
            for entry in (entry for own in entries for entry in own if entry.isdecimal()):
                self._check_label(int(entry), f"line {line} of index.csv")
            found.append((row["split"], _BrodenImage(row["image"], (ih, iw), (sh, sw), entries)))
        return found

    def _labels(self, entry: str, size: tuple[int, int]) -> Tensor | int:
        """A plane: of a PNG, or one label everywhere."""
        if entry.isdecimal():
            return int(entry)
        path = self.folder / "images" / entry
        if not path.is_file():
            raise refusal(FileNotFoundError(f"there is no file {shown(path)}, which index.csv names."))
        picture, _ = opened(path, False)
        pixels = np.array(rgb(picture, path)).astype(np.int32)
        self._check_size(path, pixels.shape[:2], size)
        labels = pixels[:, :, 0] + 256 * pixels[:, :, 1]
        self._check_label(int(labels.max(initial=0)), shown(path))
        return torch.from_numpy(labels)

    def _check_label(self, label: int, where: str) -> None:
        if label >= len(self.concepts):
            raise refusal(
                ValueError(
                    f"labels must be at most {len(self.concepts) - 1}, the last of label.csv, but {where} has {label}."
                )
            )

    def _check_size(self, path: Path, size: tuple[int, ...], due: tuple[int, int]) -> None:
        if tuple(size) != due:
            raise refusal(ValueError(f"{shown(path)} must have the size {due} of index.csv, but has {tuple(size)}."))


class _Coverage(NamedTuple):
    frequency: int  # images
    coverage: float  # of images, added up
