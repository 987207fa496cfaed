"""Labels of what a generator makes of z: by which generator, of which z, and what its images looked like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import Dataset, TensorDataset

from dissect.arguments import refusal
from dissect.data.batches import Batch, Batches, attribute_of, fingerprint_of
from dissect.devices import checksum
from dissect.digests import digest
from dissect.generated import paired
from dissect.network.identity import code_of, fingerprint
from dissect.segmentation.likeness import SIDE

if TYPE_CHECKING:
    from dissect.segmentation.label_store import LabelStore

#: Bytes of a z's checksum.
SUM = 8

#: Steps of a cell's mean from -1 to 1, and how many the same generator may be off: a GPU rounds in another way.
STEPS, FAR = 127, 4


def told_generator(model: nn.Module) -> list[str]:
    """What tells a generator from another: its weights, modules and hooks, those of interventions too, and its code."""
    return [fingerprint(model), code_of(model)]


def sums_of_z(batch: Batch) -> Tensor:
    """int8 [N, 8]: a checksum of each z, and of its noise seed where there is one."""
    sums = torch.stack([checksum(z).cpu() for z in batch.images])
    if isinstance(batch.planes, Tensor):
        pairs = torch.stack([sums, batch.planes.cpu().long()], 1)
        sums = torch.stack([checksum(pair) for pair in pairs])
    return sums.view(torch.int8).view(len(sums), SUM)


def cells_of(images: Tensor) -> Tensor:
    """int8 [N, C * 64] of images in [-1, 1]: the means of 8 x 8 cells of each channel, in steps of 1 / 127."""
    cells = adaptive_avg_pool2d(images.detach().float(), SIDE).clamp(-1, 1)
    return (cells * STEPS).round().to(torch.int8).flatten(1).cpu()


def strangers(batch: Batch, images: Tensor | None, kept: Tensor) -> str:
    """Which part of a batch differs from what a store has kept of it: "z", "image" or "".

    Args:
        batch: z and noise seeds.
        images: that were made of them now; None where they were not.
        kept: int8 [N, 8 + C * 64], as `sums_of_z` and `cells_of` gave it.
    """
    if not torch.equal(sums_of_z(batch), kept[:, :SUM]):
        return "z"
    if images is None:
        return ""
    found, before = cells_of(images), kept[:, SUM:]
    same = found.shape == before.shape and int((found.short() - before.short()).abs().max()) <= FAR
    return "" if same else "image"


def told_z(images: Any, first: Batch) -> str:
    """A digest of all z and noise seeds that are at hand, else of the first batch."""
    parts = images.tensors if isinstance(images, TensorDataset) else [images]
    if all(isinstance(part, Tensor) for part in parts):
        return digest(part for tensor in parts for part in (f"{list(tensor.shape)} {tensor.dtype}", tensor))
    return digest([sums_of_z(first)])


def beside_z(store: LabelStore, images: Any) -> Any:
    """z, and noise seeds, that know the store of the labels of what a generator makes of them.

    Raises:
        ValueError: another number of z.
    """
    images = paired(images)
    if not (isinstance(images, (Dataset, Tensor)) and hasattr(images, "__len__")):
        return _LabelledZBatches(store, images)
    if len(images) != len(store):
        raise refusal(ValueError(f"images must be the {len(store)} z of the store, but are {len(images)}."))
    return _LabelledTensor(store, images) if isinstance(images, Tensor) else _LabelledZ(store, images)


class _LabelledZ(Dataset[Any]):
    """z, or (z, noise seed), of which a store has the labels."""

    def __init__(self, store: LabelStore, images: Any) -> None:
        self.labels_of_made, self.concepts, self._images = store, store.concepts, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        item = self._images[index]
        return item[0] if isinstance(item, (tuple, list)) and len(item) == 1 else item  # as a TensorDataset of z has it

    def fingerprint(self) -> str:
        """Of the z, as far as they say, and the store."""
        return digest([str(fingerprint_of(self._images)), self.labels_of_made.digest()])


class _LabelledTensor(_LabelledZ):
    """A tensor of z: its batches are views, as without labels, since where numbers lie changes how a network rounds."""

    def in_batches(self, batch_size: int) -> _LabelledZBatches:
        """See `dissect.data.Batches`."""
        return _LabelledZBatches(self.labels_of_made, self._images.split(batch_size))


class _LabelledZBatches:
    """Batches of z, or of (z, noise seeds), of which a store has the labels."""

    def __init__(self, store: LabelStore, images: Iterable[Any]) -> None:
        self.labels_of_made, self.concepts, self._images = store, store.concepts, images
        self._batches = Batches(images)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        number, wanted = 0, len(self.labels_of_made)
        for batch in self._batches:
            number += len(batch.images)
            yield batch.images if batch.planes is None else (batch.images, batch.planes)
        if number != wanted:
            raise refusal(ValueError(f"images must be the {wanted} z of the store, but are {number}."))

    def fingerprint(self) -> str:
        """Of the z, as far as they say, and the store."""
        return digest([repr(self._batches.identity()), self.labels_of_made.digest()])


def labels_of_made(model: nn.Module, segmenter: Any, data: Any, *, generated: bool) -> LabelStore | None:
    """The store of labels of what a generator makes of these z, if their data set has one.

    Args:
        model: the generator.
        segmenter: which should have made the labels; None for whichever did.
        data: the data set, as `LabelStore.beside` gives it.
        generated: whether the segmenter sees what the model makes.

    Raises:
        ValueError: the store is of another generator or segmenter, or of what a generator makes where images are given.
    """
    store: LabelStore | None = attribute_of(data, "labels_of_made")
    if store is None:
        return None
    if not generated:
        raise refusal(
            ValueError(
                "images must not be z with the labels of what a generator makes of them, where the model takes images; "
                'say segment="output".'
            )
        )
    store.check_generator(model)
    if segmenter is not None:
        store.check_segmenter(segmenter)
    return store
