"""Labels that were segmented once, in a folder: a manifest, and shards of some batches of images each.

A shard is a safetensors file (`dissect.files.tensors`), which is read whole, some MB, and held against its checksum: a
mapped file that is cut meanwhile would end the process, and pages of either kind lie in the system's cache. Its name
says its place, how many images it has, and the digest of its content, so that equal labels make equal folders, and
two writers that disagree are noticed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import Batch, Batches, attribute_of, fingerprint_of, image_of, names_of
from dissect.digests import digest
from dissect.network.identity import code_of, fingerprint
from dissect.ops.encode_labels import EncodedLabels
from dissect.segmentation.label_files import MANIFEST, SHARD, Shard, form_of, read_manifest, read_shard, shards_in
from dissect.segmentation.likeness import likeness, unlike
from dissect.segmentation.made_labels import SUM, beside_z, strangers, told_generator
from dissect.text import shown

#: Bytes of shards that are kept in memory.
CACHE = 1 << 28


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
        made_size: (H, W) of the images that a generator made, if the store is of these; else None.

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
        if segmenter is not None:
            self.check_segmenter(segmenter)
        self.concepts = Concepts(tuple(self._about["names"]), tuple(self._about["categories"]))
        made = self._about.get("made")
        self.made_size: tuple[int, int] | None = None if made is None else (made[0], made[1])
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
        self._cache: OrderedDict[int, Shard] = OrderedDict()
        self._form = form_of(self._shard(0).labels)

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
            parts.append(self._shard(shard).labels.labels([number - start for number in wanted[begin:end]]))
        return one_after_another(parts)

    @property
    def sees(self) -> str:
        """How images were brought to what the segmenter takes, in words; "" where they were so."""
        told: str | None = self._about.get("sees")
        return told or ""

    def check_segmenter(self, segmenter: Any) -> None:
        """Whether the labels are of this segmenter.

        Raises:
            ValueError: they are of another.
        """
        if self._about["segmenter"] != told_segmenter(segmenter):
            raise refusal(ValueError(f"{shown(self.folder)} must hold labels of this segmenter, but is of another."))

    def check_generator(self, model: nn.Module) -> None:
        """Whether the labels are of what this generator makes, with its weights and under the interventions of now.

        Raises:
            ValueError: they are of another's, or of images.
        """
        told = self._about.get("generator")
        if told != told_generator(model):
            what = "is of images" if told is None else "is of another, or of this one otherwise edited"
            raise refusal(ValueError(f"{shown(self.folder)} must hold labels of this generator's images, but {what}."))

    def check_made(self, batch: Batch, images: Tensor | None) -> None:
        """Whether a batch of z, and what a generator made of it, are those whose labels this store holds.

        Args:
            batch: z and noise seeds.
            images: [N, 3, H, W] in [-1, 1] that were made of it; None where they were not.

        Raises:
            ValueError: they are not; says whether z or images differ.
        """
        numbers = batch.numbers.tolist()
        if images is not None and tuple(images.shape[2:]) != self.made_size:
            raise refusal(
                ValueError(
                    f"the generator must make images of {self.made_size}, as those whose labels {shown(self.folder)} "
                    f"holds, but made {list(images.shape)}."
                )
            )
        if numbers[-1] >= len(self):
            raise refusal(ValueError(f"images must be the {len(self)} z of the store, but are more."))
        kept = torch.stack([self._likeness(number) for number in numbers])
        strange = strangers(batch, images, kept)
        if strange:
            what = "z and noise seeds must be those" if strange == "z" else "the generator must make the images"
            raise refusal(
                ValueError(
                    f"{what} whose labels {shown(self.folder)} holds, in their order, but those of images "
                    f"{numbers[0]} to {numbers[-1]} are others."
                )
            )

    def _likeness(self, number: int) -> Any:
        """What is kept of an image; None in stores of earlier versions."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        kept = self._shard(at).likeness
        return None if kept is None else kept[number - (int(self._ends[at - 1]) if at else 0)]

    def check_images(self, images: Tensor, numbers: Sequence[int]) -> None:
        """Whether images are those whose labels this store holds, at any size and however they are normalised.

        Args:
            images: [N, C, H, W], or z.
            numbers: [N] those in the store.

        Raises:
            ValueError: one shows something else (`dissect.segmentation.likeness.unlike`); says which. Stores of earlier
                versions do not know what their images looked like.
        """
        found = likeness(images)
        for row, number in enumerate(numbers):
            kept = self._likeness(number)
            if kept is not None and bool(unlike(found[row : row + 1], kept[None])[0]):
                raise refusal(
                    ValueError(
                        f"images must be those whose labels {shown(self.folder)} holds, in their order, but image "
                        f"{number} shows something else."
                    )
                )

    def beside(self, images: Any) -> Any:
        """The same images with the labels of this store, for `dissect.dissect` and all that takes images.

        Args:
            images: a Dataset, a tensor or an iterable of batches, in the order of the store; maybe at another size.
                What comes with them is left out, and not read where the data set has `without_planes()`. Of a store of
                what a generator made, the z, or (z, noise seeds), for ``segment="output"``.

        Returns:
            A Dataset of (image, labels), or an iterable of batches of them, with the store's `concepts` and the images'
            `to_pictures`. A DataLoader may read it in workers.

        Raises:
            ValueError: another number of images, or, where both have the names of files, other files; when images are
                read, one that shows something else than the image of its number that was segmented (`check_images`). Of
                z, when they are dissected: another generator, other z, or other images than then (`check_made`).
        """
        if self.made_size is not None:
            return beside_z(self, images)
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
        """How much it holds, and the bytes that it takes; no shard is read."""
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

    def _shard(self, number: int) -> Shard:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        path = self._paths[number]
        shard = read_shard(path, self.identity, len(self.concepts))
        form = form_of(shard.labels)
        if number and form != self._form:
            raise refusal(ValueError(f"{shown(path)} must have planes as shard 0 has, but has {form}."))
        if self.made_size is not None and (shard.likeness is None or shard.likeness.shape[1] <= SUM):
            raise refusal(ValueError(f"{shown(path)} must say of each image of which z it was made, but does not."))
        self._cache[number] = shard
        while len(self._cache) > 1 and sum(part.labels.nbytes for part in self._cache.values()) > CACHE:
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
        image = image_of(item)
        if isinstance(image, Tensor):
            self._store.check_images(image[None], [index])
        return image, _Stored(self._store, index)

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
            self._store.check_images(batch.images, batch.numbers.tolist())
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


def one_after_another(parts: list[EncodedLabels]) -> EncodedLabels:
    """Labels of several batches as of one."""
    if len(parts) == 1:
        return parts[0]
    ends = torch.tensor([len(part.table) for part in parts]).cumsum(0)
    offsets = [parts[0].offsets, *(part.offsets[1:] + end for part, end in zip(parts[1:], ends))]
    fields_of = [torch.cat([getattr(part, name) for part in parts]) for name in ("runs", "table", "area")]
    return EncodedLabels._trusted(fields_of[0], fields_of[1], torch.cat(offsets), fields_of[2])
