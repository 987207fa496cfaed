"""Labelled images as other data sets have them, and how their labels are called in one vocabulary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dissect.concepts import Concepts
from dissect.data.labelled import LabelledImages

#: Words that say where a thing is, not what; dropped at the beginning of a name that has others.
POSITIONAL = ("back", "bottom", "front", "left", "lower", "right", "top", "upper")


class SourceImage(NamedTuple):
    """An image of a source, with its labels by their names.

    Attributes:
        name: of its file in the source, "a/b.jpg"; no other may be called so but for the suffix.
        image: the file, or uint8 [H, W, 3].
        planes: (category, integers [h, w], {integer: name}) of each label plane, of the image's shape or a scale of it;
            integers without a name are no label.
        whole: (category, name) of labels of the whole image.
    """

    name: str
    image: Path | np.ndarray
    planes: Sequence[tuple[str, np.ndarray, Mapping[int, str]]] = ()
    whole: Sequence[tuple[str, str]] = ()


class Renaming(NamedTuple):
    """How names of sources become those of the vocabulary.

    Attributes:
        synonyms: a name, as it is without positional words, and the one that is used instead.
        positional: words that are dropped at the beginning of a name.
        left_out: names, in the end, that are no label.

    Example:
        >>> Renaming({"automobile": "car"}).of("Left_front Automobile"), Renaming().of("back")
        ('car', 'back')
        >>> Renaming(left_out=("misc",)).of("misc") is None
        True
    """

    synonyms: Mapping[str, str] = {}
    positional: Sequence[str] = POSITIONAL
    left_out: Sequence[str] = ()

    def of(self, name: str) -> str | None:
        """A source's name in the vocabulary; None where it is left out."""
        words = name.lower().replace("_", " ").split()
        while len(words) > 1 and words[0] in self.positional:
            words = words[1:]
        plain = " ".join(words)
        found = self.synonyms.get(plain, plain)
        return None if not found or found in self.left_out else found


class ReaderSource:
    """The images of one of `dissect.data`'s readers as a source.

    Args:
        data: `Ade20k`, `Voc`, `Cityscapes`, or another `LabelledImages`.
        root: its folder, which names are relative to.
    """

    def __init__(self, data: LabelledImages, root: str | Path) -> None:
        self._data, self._root = data, Path(root)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[SourceImage]:
        concepts: Concepts = self._data.concepts
        names: dict[str, dict[int, str]] = defaultdict(dict)
        for label, (name, category) in enumerate(zip(concepts.names, concepts.categories)):
            if label:
                names[category][label] = name
        for index, path in enumerate(self._data.files):
            found = [
                (category, plane, own)
                for plane in self._data.labels(index)
                for category, own in names.items()
                if np.isin(plane, [*own]).any()
            ]
            yield SourceImage(path.relative_to(self._root).as_posix(), path, found)
