"""Several labelled data sets as one with one vocabulary, in Broden's published layout (Zhou et al. 2018, 2.1)."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import Batches, attribute_of
from dissect.data.broden import Broden, VocabularyRow
from dissect.data.files import opened, rgb
from dissect.data.folders import alike, square
from dissect.digests import digest
from dissect.extras import require
from dissect.files.tensors import replacing
from dissect.ops import encode_labels
from dissect.segmentation.colors import ColorNamer
from dissect.segmentation.sources import Renaming, SourceImage
from dissect.table import Table
from dissect.text import shown

#: What names of a category end in, as published.
ENDINGS = {"scene": "-s", "color": "-c"}

#: Of 16 ** 8 beginnings of digests, those of the training split.
TRAIN = 0.7


@speaks
def build_broden(
    sources: Mapping[str, Iterable[SourceImage]],
    folder: str | Path,
    *,
    renaming: Renaming | None = None,
    size: int = 224,
    min_samples: int = 10,
    min_coverage: float = 0.5,
    namer: ColorNamer | None = None,
    progress: bool = True,
) -> Broden:
    """Writes data sets as one, as Broden was made of five (TPAMI, 2.1), in the layout that `dissect.data.Broden` reads.

    Labels are merged by their names, across sources and categories (`Renaming`): synonyms are one label, words of
    position are dropped, and a list is left out. A label stays if at least `min_samples` images carry it and they add
    up to `min_coverage` images' area (the published code's two rules; the paper names the first). Every pixel gets one
    of eleven colours. Images are scaled to `size` on the shorter side and cut to the middle square, planes to half of
    it. An image is of the training split if the digest of "source/name" says so: 70 %, whatever else there is.

    Each image is read twice. What was interrupted has no index.csv and is no data set; delete it to begin anew.

    Args:
        sources: their images by their names; anything that can be gone through twice, `ReaderSource` for example.
        folder: where it goes: new, or empty.
        renaming: of labels.
        size: rows and columns of the images; of planes half, rounded down.
        min_samples: images that must carry a label.
        min_coverage: area that it must have, in images: the sum over images of its share of their pixels.
        namer: of the colours; by default the rule of `color_name`.
        progress: show a bar.

    Returns:
        The data set, read from the folder.

    Raises:
        ImportError: Pillow is missing.
        FileExistsError: a folder that holds something.
        TypeError: a source that can be gone through only once.
        ValueError: no images; two images of one name; planes of another shape than their image; a synonym of a
            synonym; a source or category whose name is none for a file.

    Example: see docs/guide/files.md.
    """
    require("build_broden", "report", "PIL")
    folder = Path(folder)
    size, least = integer("size", size, 2), integer("min_samples", min_samples, 0)
    renaming = renaming or Renaming()
    if folder.is_dir() and any(folder.iterdir()):
        raise refusal(FileExistsError(f"folder must be new or empty, but {shown(folder)} holds something."))
    _check(sources, renaming)
    namer, vocabulary = namer or ColorNamer(), _Vocabulary()
    for source, items in sources.items():
        for item in _bar(items, f"{source}: labels", progress):
            vocabulary.add(source, _Read(source, item, size, renaming, namer))
    vocabulary.keep(least, float(min_coverage))
    rows = [
        _written(folder, source, _Read(source, item, size, renaming, namer), vocabulary)
        for source, items in sources.items()
        for item in _bar(items, f"{source}: files", progress)
    ]
    _write_tables(folder, vocabulary, rows)
    return Broden(folder)


class _Read:
    """An image of a source at its size, and its labels by name: (category, [h, w] numbers, names from 1 on)."""

    def __init__(self, source: str, item: SourceImage, size: int, renaming: Renaming, namer: ColorNamer) -> None:
        from PIL import Image

        self.name, self.side = item.name, size // 2
        where = shown(f"{source}/{item.name}")
        if isinstance(item.image, Path):
            picture = rgb(opened(item.image, False)[0], item.image)
        else:
            picture = Image.fromarray(item.image)
        columns, rows = picture.size
        self.picture = square(picture, size, Image.Resampling.BILINEAR)
        #: Categories, names, and how the source calls them.
        self.said: list[tuple[str, str, str]] = []
        #: By category; a plane's numbers are places in its names, whose first is no label.
        self.planes: list[tuple[str, np.ndarray, list[str]]] = []
        for category, codes, names in item.planes:
            codes = np.asarray(codes)
            if codes.ndim != 2 or not alike((codes.shape[0], codes.shape[1]), (columns, rows)):
                raise refusal(
                    ValueError(
                        f"planes must have the shape of their image, {rows} x {columns} or a scale of it, but one of "
                        f"{where} has {list(codes.shape)}."
                    )
                )
            found = {code: renaming.of(name) for code, name in names.items()}
            self.said += [(category, name, names[code]) for code, name in found.items() if name is not None]
            own = sorted({name for name in found.values() if name is not None})
            numbers = {code: own.index(name) + 1 for code, name in found.items() if name is not None}
            present, back = np.unique(codes, return_inverse=True)
            plane = np.array([numbers.get(int(code), 0) for code in present], np.int32)[back].reshape(codes.shape)
            small = square(Image.fromarray(plane), self.side, Image.Resampling.NEAREST)
            self.planes.append((category, np.array(small), ["", *own]))
        small = np.array(self.picture.resize((self.side, self.side), Image.Resampling.BILINEAR))
        shades = namer(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy().astype(np.int32)
        self.planes.append(("color", shades, ["", *namer.concepts.names[1:]]))
        self.whole = [(category, name) for category, given in item.whole if (name := renaming.of(given)) is not None]
        self.said += [(category, name, given) for category, given in item.whole if (name := renaming.of(given))]

    def shares(self) -> dict[tuple[str, str], float]:
        """By (category, name) the share of the image's pixels; 1 of labels of the whole image."""
        covered: dict[tuple[str, str], np.ndarray | None] = {}
        for category, plane, names in self.planes:
            for number in np.unique(plane[plane > 0]).tolist():
                key, here = (category, names[number]), plane == number
                before = covered.get(key)
                covered[key] = here if before is None else before | here
        found = {key: float(here.mean()) for key, here in covered.items() if here is not None}
        return found | {key: 1.0 for key in self.whole}


class _Vocabulary:
    """Labels, their images and coverage; numbers once `keep` was called."""

    def __init__(self) -> None:
        self.frequency: Counter[tuple[str, str]] = Counter()
        self.coverage: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.images: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}
        self.categories: list[str] = []
        #: Of each label, how sources call it.
        self.merged: defaultdict[str, set[str]] = defaultdict(set)
        self._stems: set[str] = set()

    def add(self, source: str, read: _Read) -> None:
        """Counts an image's labels."""
        stem = f"{source}/{Path(read.name).with_suffix('').as_posix()}"
        if stem in self._stems or ".." in Path(read.name).parts or Path(read.name).is_absolute():
            raise refusal(ValueError(f"images must have names of their own in a source, but {shown(stem)} has not."))
        self._stems.add(stem)
        shares = read.shares()
        for key, share in shares.items():
            self.frequency[key] += 1
            self.coverage[key] += share
        self.images.update({called(*key) for key in shares})
        for category, name, said in read.said:
            self.merged[called(category, name)].add(said)

    def keep(self, least: int, coverage: float) -> None:
        """Gives numbers to the labels that images carry often enough, the most frequent first."""
        covered: defaultdict[str, float] = defaultdict(float)
        for key, share in self.coverage.items():
            covered[called(*key)] += share
        kept = [name for name, count in self.images.items() if count >= least and covered[name] >= coverage]
        if not kept:
            raise refusal(ValueError(f"labels must be carried by {least} images at least, but none is."))
        self.numbers = {name: at for at, name in enumerate(sorted(kept, key=lambda n: (-self.images[n], n)), start=1)}
        self.categories = sorted({category for category, name in self.frequency if self.number(category, name)})

    def number(self, category: str, name: str) -> int:
        """Of a label, 0 if it did not stay."""
        return self.numbers.get(called(category, name), 0)


def called(category: str, name: str) -> str:
    """A label's name in the published form."""
    return name + ENDINGS.get(category, "")


@speaks
def category_table(images: Any, concepts: Concepts | None = None, *, source: str = "") -> Table[VocabularyRow]:
    """Table 1 of Zhou et al. 2018 of any images with planes, as `dissect.data.Broden.table` gives it of Broden.

    Args:
        images: a data set or batches of (images, planes).
        concepts: of the planes; by default the data set's own.
        source: what the rows call it.

    Returns:
        A row per category: labels that some image carries, and how many images carry one of them on average.

    Raises:
        TypeError: planes that are no tensor of integers; says which batch.
        ValueError: no names of labels, images without planes, or a label outside the concepts; says which batch.

    Example:
        >>> table = category_table(dissect.tiny.TinyScenes("val", count=8, size=32), source="tiny")
        >>> table.columns
        ('category', 'classes', 'sources', 'average_sample')
    """
    concepts = concepts or attribute_of(images, "concepts")
    if concepts is None:
        raise refusal(ValueError("concepts must name the labels, since the images do not."))
    seen = torch.zeros(len(concepts), dtype=torch.int64)
    for index, batch in enumerate(Batches(images)):
        if batch.planes is None:
            raise refusal(ValueError(f"planes must come with images, but batch {index} has none."))
        try:
            seen += (encode_labels(batch.planes, len(concepts)).area > 0).sum(0)
        except (TypeError, ValueError) as error:
            raise refusal(error, f"batch {index}") from None
    rows = []
    for category in dict.fromkeys(concepts.categories[1:]):
        own = [int(seen[label]) for label, name in enumerate(concepts.categories) if label and name == category]
        own = [count for count in own if count]
        rows.append(VocabularyRow(category, len(own), source, sum(own) / len(own) if own else 0.0))
    return Table(rows)


def _check(sources: Mapping[str, Iterable[SourceImage]], renaming: Renaming) -> None:
    if not sources:
        raise refusal(ValueError("sources must be at least one, but there are none."))
    for name, items in sources.items():
        if not name or Path(name).name != name:
            raise refusal(ValueError(f"sources must have names as folders have, but one is {name!r}."))
        if isinstance(items, Iterator):
            raise refusal(TypeError(f"source {name!r} must be gone through twice, as a list can, but is an iterator."))
    chained = [name for name in renaming.synonyms.values() if renaming.synonyms.get(name, name) != name]
    if chained:
        raise refusal(ValueError(f"synonyms must be of names that stay, but {chained[0]!r} has a synonym itself."))


def _bar(items: Iterable[SourceImage], title: str, progress: bool) -> Iterable[SourceImage]:
    bar: Iterable[SourceImage] = tqdm(items, desc=title, unit="image", disable=not progress, leave=False)
    return bar


def _written(folder: Path, source: str, read: _Read, vocabulary: _Vocabulary) -> list[Any]:
    """An image's files; its row of index.csv."""
    from PIL import Image

    stem = f"{source}/{Path(read.name).with_suffix('').as_posix()}"
    base = folder / "images" / stem
    base.parent.mkdir(parents=True, exist_ok=True)
    read.picture.save(base.with_name(base.name + ".jpg"), quality=95)
    entries: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for at, (category, plane, names) in enumerate(read.planes):
        numbers = np.array([0, *(vocabulary.number(category, name) for name in names[1:])])[plane]
        if numbers.any():
            path = base.with_name(f"{base.name}_{category}_{at}.png")
            pixels = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], 2).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            entries[category].append((int((numbers > 0).sum()), path.relative_to(folder / "images").as_posix()))
    for category, name in read.whole:
        if number := vocabulary.number(category, name):
            entries[category].append((0, str(number)))
    listed = [
        ";".join(text for _, text in sorted(entries[name], key=lambda own: -own[0])) for name in vocabulary.categories
    ]
    drawn = int(digest([f"{source}/{read.name}"], 8), 16) / 16**8
    (width, height), side = read.picture.size, read.side
    return [f"{stem}.jpg", "train" if drawn < TRAIN else "val", height, width, side, side, *listed]


def _write_tables(folder: Path, vocabulary: _Vocabulary, rows: list[list[Any]]) -> None:
    """The tables; the index last, so that what was interrupted is no data set."""
    of_category: dict[str, list[tuple[int, tuple[str, str]]]] = {
        category: sorted((number, key) for key in vocabulary.frequency
                         if key[0] == category and (number := vocabulary.number(*key)))
        for category in vocabulary.categories
    }  # fmt: skip
    counted, covered = vocabulary.frequency, vocabulary.coverage
    for category, own in of_category.items():
        _write(folder / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), [
            (code, number, called(*key), counted[key], f"{covered[key]:.6f}")
            for code, (number, key) in enumerate(own, start=1)])  # fmt: skip
    labels = []
    for name, number in vocabulary.numbers.items():
        keys = [key for own in of_category.values() for other, key in own if other == number]
        within = ";".join(f"{key[0]}({counted[key]})" for key in sorted(keys, key=lambda key: -counted[key]))
        labels.append((number, name, within, vocabulary.images[name], f"{sum(covered[key] for key in keys):.6f}",
                       ";".join(sorted(vocabulary.merged[name]))))  # fmt: skip
    _write(folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), labels)
    _write(folder / "category.csv", ("name", "first", "last", "count", "frequency"), [
        (category, own[0][0], own[-1][0], len(own), sum(counted[key] for _, key in own))
        for category, own in of_category.items()])  # fmt: skip
    columns = ("image", "split", "ih", "iw", "sh", "sw", *vocabulary.categories)
    _write(folder / "index.csv", columns, rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
