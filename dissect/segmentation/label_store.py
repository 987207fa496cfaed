"""Labels that were segmented once, in a folder: a manifest, and shards of some batches of images each.

A shard is a safetensors file (`dissect.files.tensors`), which is read whole, some MB, and held against its checksum: a
mapped file that is cut meanwhile would end the process, and pages of either kind lie in the system's cache. Its name
says its place, how many images it has, and the digest of its content, so that equal labels make equal folders, and
two writers that disagree are noticed.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import Batches, attribute_of, fingerprint_of, names_of
from dissect.digests import digest
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, named
from dissect.files.tensors import load_tensors
from dissect.network.identity import code_of, fingerprint
from dissect.ops.encode_labels import EncodedLabels
from dissect.ops.packed import PackedLabels
from dissect.text import shown

MANIFEST, FORMAT = "labels.json", ("label shard", 1)
SHARD = re.compile(r"(\d{5})-(\d{1,9})-([0-9a-f]{16})\.safetensors")

#: Bytes of shards that are kept in memory.
CACHE = 1 << 28

_MANIFEST = {
    "version": Whole(1, 1), "names": Each(Text(), "C"), "categories": Each(Text(), "C"), "segmenter": Each(Text(), 2),
    "images": Each(Maybe(Of(object))), "files": Maybe(Text()), "sees": Maybe(Text()), "first": Whole(-(1 << 63)),
    "ignore": Each(Whole(-128)),
    "batches": Whole(1), "batch_size": Whole(1), "shard": Whole(1),
}  # fmt: skip


class StoreSize(NamedTuple):
    """What a store holds, and the bytes it takes.

    Attributes:
        images: how many.
        planes: label planes of each.
        height: of the planes.
        width: of the planes.
        shards: files.
        stored: bytes of these files.
        encoded: bytes of the same labels as ops take them (`dissect.ops.EncodedLabels`).
        as_planes: bytes of the same planes in int16.
    """

    images: int
    planes: int
    height: int
    width: int
    shards: int
    stored: int
    encoded: int
    as_planes: int


class _Stored:
    """The labels of one image in a store; many of them are unpacked at once."""

    def __init__(self, store: LabelStore, number: int) -> None:
        self.store, self.number = store, number


def _unpacked(items: Sequence[_Stored], **_: Any) -> EncodedLabels:
    return items[0].store.labels([item.number for item in items])


# As PyTorch's own documentation of `default_collate` extends it: loaders need no collate_fn then.
default_collate_fn_map[_Stored] = _unpacked


@speaks
class LabelStore:
    """A folder of labels that `store_labels` wrote, of images in their order.

    Args:
        folder: of the store.
        segmenter: what should have made it, if that is to be checked.

    Attributes:
        folder: of the store.
        concepts: `Concepts` of the labels.

    Raises:
        FileNotFoundError: no such folder, or one without a manifest.
        ValueError: shards are missing, or there are two of one place; it is damaged or cut short, of another segmenter,
            or was written for something else; names the file.

    Example:
        >>> import tempfile
        >>> scenes = dissect.tiny.TinyScenes("val", count=6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = dissect.segmentation.store_labels(None, scenes, folder, batch_size=3, progress=False)
        ...     len(store), store.labels([4, 5]).planes.shape, store.sizes().planes
        (6, torch.Size([2, 7, 128, 128]), 7)
    """

    def __init__(self, folder: str | Path, *, segmenter: Any = None) -> None:
        self.folder = Path(folder)
        self._about, self.identity = read_manifest(self.folder)
        if segmenter is not None and self._about["segmenter"] != told_segmenter(segmenter):
            raise refusal(ValueError(f"{shown(self.folder)} must hold labels of this segmenter, but is of another."))
        self.concepts = Concepts(tuple(self._about["names"]), tuple(self._about["categories"]))
        found, due = shards_in(self.folder), -(-self._about["batches"] // self._about["shard"])
        missing = [number for number in range(due) if number not in found]
        if missing:
            raise refusal(
                ValueError(
                    f"{shown(self.folder)} must have {due} shards, but lacks {len(missing)}, the first number "
                    f"{missing[0]}; store_labels goes on."
                )
            )
        self._paths = [found[number] for number in range(due)]
        counts = [int(SHARD.fullmatch(path.name)[2]) for path in self._paths]  # type: ignore[index]
        self._ends = np.cumsum(counts)
        self._cache: OrderedDict[int, PackedLabels] = OrderedDict()
        first = self._shard(0)
        self._form = first.size, first.table.shape[1]

    def __len__(self) -> int:
        """The number of images."""
        return int(self._ends[-1])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the planes."""
        return self._form[0]

    def digest(self) -> str:
        """Of all that it says, by the digests of its shards."""
        return digest([self.identity, *(path.name for path in self._paths)])

    def labels(self, images: Sequence[int] | Tensor) -> EncodedLabels:
        """The labels of some images, as `dissect.ops.encode_labels` gave them, to the bit.

        Args:
            images: their numbers, in any order, at least one.

        Raises:
            IndexError: a number that the store does not have.
            ValueError: a shard that is damaged; names the file.
        """
        wanted = images.tolist() if isinstance(images, Tensor) else list(images)
        strange = [number for number in wanted if not 0 <= number < len(self)]
        if strange or not wanted:
            got = strange[0] if strange else "none"
            raise refusal(IndexError(f"images must be numbers below {len(self)}, but got {got}."))
        shards = np.searchsorted(self._ends, wanted, side="right")
        cuts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(wanted)]
        parts = []
        for begin, end in pairwise(cuts):
            shard = int(shards[begin])
            start = int(self._ends[shard - 1]) if shard else 0
            parts.append(self._shard(shard).labels([number - start for number in wanted[begin:end]]))
        return one_after_another(parts)

    def beside(self, images: Any) -> Any:
        """The same images with the labels of this store, for `dissect.dissect` and all that takes images.

        Args:
            images: a Dataset, a tensor or an iterable of batches, in the order of the store; maybe at another size.
                What comes with them is left out, and not read where the data set has `without_planes()`.

        Returns:
            A Dataset of (image, labels), or an iterable of batches of them, with the store's `concepts` and the images'
            `to_pictures`. A DataLoader may read it in workers.

        Raises:
            ValueError: another number of images, or, where both have the names of files, other files.
        """
        bare = getattr(images, "without_planes", None)
        images = bare() if callable(bare) else images
        if isinstance(images, (Dataset, Tensor)) and hasattr(images, "__len__"):
            number = len(images)
            if number != len(self):
                raise refusal(ValueError(f"images must be the {len(self)} of the store, but are {number}."))
            names = names_of(images)
            if names is not None and self._about["files"] not in (None, names):
                raise refusal(
                    ValueError(
                        f"images must be the files whose labels {shown(self.folder)} holds, in their order, but "
                        "their names are others."
                    )
                )
            return _Labelled(self, images)
        return _LabelledBatches(self, images)

    def sizes(self) -> StoreSize:
        """What it holds and the bytes it takes; no shard is read."""
        (height, width), planes = self._form
        stored = sum(path.stat().st_size for path in [self.folder / MANIFEST, *self._paths])
        one = self.labels([0])
        encoded = len(self) * (one.runs.nbytes + one.area.nbytes)
        as_planes = 2 * len(self) * planes * height * width
        return StoreSize(len(self), planes, height, width, len(self._paths), stored, encoded, as_planes)

    def verify(self) -> None:
        """Reads every shard and holds it against its checksum and the rules of its content.

        Raises:
            ValueError: one is damaged; names the file.
        """
        for number in range(len(self._paths)):
            self._cache.pop(number, None)
            self._shard(number)

    def _shard(self, number: int) -> PackedLabels:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        path = self._paths[number]
        shard = read_shard(path, self.identity, len(self.concepts))
        form = shard.size, shard.table.shape[1]
        if number and form != self._form:
            raise refusal(ValueError(f"{shown(path)} must have planes as shard 0 has, but has {form}."))
        self._cache[number] = shard
        while len(self._cache) > 1 and sum(part.nbytes for part in self._cache.values()) > CACHE:
            self._cache.popitem(last=False)
        return shard


class _Labelled(Dataset[Any]):
    """A data set's images, each with its labels in a store."""

    def __init__(self, store: LabelStore, images: Any) -> None:
        self._store, self._images = store, images
        self.concepts, self.to_pictures = store.concepts, attribute_of(images, "to_pictures")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, _Stored]:
        item = self._images[index]
        return item[0] if isinstance(item, (tuple, list)) else item, _Stored(self._store, index)

    def fingerprint(self) -> str:
        """Of the images and the store."""
        return digest([str(fingerprint_of(self._images)), self._store.digest()])


class _LabelledBatches:
    """Batches of images with their labels in a store."""

    def __init__(self, store: LabelStore, images: Iterable[Any]) -> None:
        self._store, self._batches = store, Batches(images)
        self.concepts, self.to_pictures = store.concepts, attribute_of(images, "to_pictures")

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, EncodedLabels]]:
        end = 0
        for batch in self._batches:
            end += len(batch.images)
            if end > len(self._store):
                break
            yield batch.images, self._store.labels(batch.numbers)
        if end != len(self._store):
            number = f"at least {end}" if end > len(self._store) else str(end)
            raise refusal(ValueError(f"images must be the {len(self._store)} of the store, but are {number}."))

    def fingerprint(self) -> str:
        """Of the images and the store."""
        return digest([repr(self._batches.identity()), self._store.digest()])


def told_segmenter(segmenter: Any) -> list[str]:
    """What tells a segmenter from another: its weights and modules, and its code; None are planes of the items."""
    return ["planes", ""] if segmenter is None else [fingerprint(segmenter), code_of(segmenter)]


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """What a store is of, and the digest of that.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; names the file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {shown(path)}; store_labels writes a store."))
    text = path.read_bytes()
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(ValueError(f"{shown(path)} must be a store's manifest, but is no JSON: {error}")) from error
    with named(path):
        fields(str(path), about, _MANIFEST)
    return about, digest([text])


def shards_in(folder: Path) -> dict[int, Path]:
    """The shards of a folder by their places.

    Raises:
        ValueError: two of one place, as writers that disagree leave them; names both.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = SHARD.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise refusal(
                ValueError(
                    f"{shown(folder)} must have one shard of each place, but {found[number].name} and {path.name} are "
                    "of one: writers disagreed. Remove the wrong one, or both, and call store_labels again."
                )
            )
        found[number] = path
    return found


def read_shard(path: Path, identity: str, num_labels: int) -> PackedLabels:
    """A shard, checked.

    Raises:
        ValueError: it is damaged, or belongs elsewhere; names the file.
    """
    tensors, meta = load_tensors(path, *FORMAT)
    narrow = (torch.uint8, torch.int16, torch.int32)
    rules = {"runs": Array(torch.int32, "N", 0), "rows": Array(torch.int32, "N", 1)}
    for name, shape in (("last", "R"), ("numbers", "R"), ("table", "T K")):
        dtype = getattr(tensors.get(name), "dtype", None)
        rules[name] = Array(dtype if dtype in narrow else torch.uint8, shape, 0)
    with named(path):
        fields(str(path), tensors, rules)
        fields(str(path), meta, {"of": Text(), "size": Each(Whole(1, 1 << 20), 2)})
        if meta["of"] != identity:
            raise refusal(ValueError(f"{shown(path)} must belong to the store in its folder, but is of another one."))
        size = meta["size"][0], meta["size"][1]
        packed = PackedLabels(**tensors, size=size, num_labels=num_labels)
        if name_of(path.name[:5], packed, identity) != path.name:
            raise refusal(ValueError(f"{shown(path)} must be called by its place and content, but is not."))
    return packed


def name_of(place: str, packed: PackedLabels, identity: str) -> str:
    """The file of a shard."""
    parts = (packed.last, packed.numbers, packed.table, packed.runs, packed.rows)
    told = [f"{place} {identity} {packed.size}", *(f"{part.dtype} {list(part.shape)}" for part in parts)]
    return f"{place}-{len(packed)}-{digest([*told, *parts])}.safetensors"


def one_after_another(parts: list[EncodedLabels]) -> EncodedLabels:
    """Labels of several batches as of one."""
    if len(parts) == 1:
        return parts[0]
    ends = torch.tensor([len(part.table) for part in parts]).cumsum(0)
    offsets = [parts[0].offsets, *(part.offsets[1:] + end for part, end in zip(parts[1:], ends))]
    fields_of = [torch.cat([getattr(part, name) for part in parts]) for name in ("runs", "table", "area")]
    return EncodedLabels._trusted(fields_of[0], fields_of[1], torch.cat(offsets), fields_of[2])
