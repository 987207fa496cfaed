"""Segments a data set once, and keeps its labels in a folder (`LabelStore`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from dissect import ops
from dissect.arguments import ignored_labels, integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import Batch, Batches, attribute_of, names_of
from dissect.data.planes import check_ignored, label_planes
from dissect.devices import checksum, device_of, to_device
from dissect.files.tensors import replacing, save_tensors
from dissect.generated import Generated, paired
from dissect.network.modes import check_evaluating
from dissect.ops.packed import PackedLabels, joined, pack
from dissect.segmentation.label_files import FORMAT, MANIFEST, Shard, name_of, read_manifest, shards_in
from dissect.segmentation.label_store import LabelStore, told_segmenter
from dissect.segmentation.likeness import likeness
from dissect.segmentation.made_labels import cells_of, sums_of_z, told_generator, told_z
from dissect.segmentation.protocol import adapted, told_conversion
from dissect.text import shown


@speaks
def store_labels(
    segmenter: Callable[[Tensor], Tensor] | None,
    images: Dataset[Any] | Tensor | Iterable[Any],
    folder: str | Path,
    *,
    generator: nn.Module | None = None,
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    ignore: int | Iterable[int] = (),
    batch_size: int = 32,
    shard: int = 16,
    part: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> LabelStore | None:
    """Segments images once, and keeps their labels in a folder, for as many dissections as there will be.

    Called again with the same arguments it goes on: batches whose shards are there are not asked for. So it is no run
    (`dissect.visits.run`), whose file would say again what the shards say. Several writers share the work as parts
    (0, n), ..., (n - 1, n); those that do the same one lose time, and nothing else. A shard appears whole or not at
    all.

    Args:
        segmenter: makes planes [N, K, H, W] of a batch, on the device where it is; None takes those that come with
            `images` (as `dissect.data.Broden` gives them).
        images: a Dataset, a tensor or an iterable of batches that knows how many it has.
        folder: of the store; made if it is not there.
        generator: makes the images [N, 3, H, W] in [-1, 1], of which `images` are then the z, or (z, noise seeds), as
            in `dissect.dissect` with ``segment="output"``. The store knows the generator, each z, and what its image
            looked like.
        concepts: of the labels; by default the segmenter's or the images' own.
        ignore: labels that stand for "no label"; they become 0.
        batch_size: of a Dataset or a tensor.
        shard: batches that make a file.
        part: which of how many parts to do.
        progress: show a bar.

    Returns:
        The store; None while shards of other parts are missing.

    Raises:
        TypeError: images that do not say how many batches they are; planes that are no tensor of integers.
        ValueError: no names of labels, or planes of another size, number or with other labels; a folder that holds
            labels of another segmenter, generator, other images or in other batches (says which); writers that
            disagree; a generator without a segmenter, in training mode, or that makes other images of the same z.
        OSError: a folder that cannot be made or written to.

    Example: see `LabelStore`.
    """
    names = concepts if concepts is not None else attribute_of(segmenter or images, "concepts")
    if names is None:
        raise refusal(ValueError("concepts must name the labels, since neither segmenter nor images do."))
    vocabulary, ignored = Concepts.of(names), ignored_labels(ignore)
    check_ignored(ignored, vocabulary)
    images = images if generator is None else paired(images)
    batches, shard = Batches(images, integer("batch_size", batch_size)), integer("shard", shard)
    at, parts = (integer("part", number, least=0) for number in part)
    if at >= parts:
        raise refusal(ValueError(f"part must be (k, n) with k from 0 to n - 1, but got {(at, parts)}."))
    count = batches.count()
    if not count:
        raise refusal(TypeError("images must say how many batches they are, at least one, so that a store is whole."))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, first = _Source(segmenter, images, generator), next(iter(batches))
    about = source.told(first) | {
        "names": list(vocabulary.names), "categories": list(vocabulary.categories), "ignore": list(ignored),
        "images": batches.identity(), "files": names_of(images), "first": int(checksum(first.images)),
        "batches": count, "batch_size": len(first.images), "shard": shard,
    }  # fmt: skip
    identity = _claimed(folder, about)
    own = [number for number in range(-(-count // shard)) if number % parts == at and number not in shards_in(folder)]
    wanted = {batch for number in own for batch in range(number * shard, min(count, number * shard + shard))}
    skip = set(range(count)) - wanted
    gathered: list[Shard] = []
    with tqdm(total=len(wanted), desc="labels", unit="batch", disable=not progress, leave=False) as bar:
        for index, batch in enumerate(batches.visit(0, skip) if wanted else ()):
            if batch is None or index in skip:
                continue
            gathered.append(source.shard(batch, index, vocabulary, ignored))
            bar.update()
            if index + 1 == count or (index + 1) % shard == 0:
                _write(folder, about, identity, index // shard, gathered)
                gathered = []
    whole = len(shards_in(folder)) == -(-count // shard)
    return LabelStore(folder) if whole else None


def _claimed(folder: Path, about: dict[str, Any]) -> str:
    """The digest of the manifest, which is written unless it is there.

    Raises:
        ValueError: it is of something else; says what.
    """
    if not (folder / MANIFEST).exists():
        with replacing(folder / MANIFEST) as partial:
            partial.write_text(json.dumps(about, sort_keys=True), encoding="utf-8")
    there, identity = read_manifest(folder)
    changed = sorted(name for name, value in about.items() if there.get(name, "") != value)
    if changed:
        raise refusal(
            ValueError(
                f"folder must hold labels of the same {', '.join(changed)}, but {shown(folder)} is a store of another; "
                "choose another folder."
            )
        )
    return identity


class _Source:
    """Where labels come from: a segmenter of images, or of what a generator makes of z; or the items themselves."""

    def __init__(self, segmenter: Any, images: Any, generator: nn.Module | None) -> None:
        if generator is not None and segmenter is None:
            raise refusal(ValueError("segmenter must see what the generator makes, but is None."))
        if generator is not None:
            check_evaluating(generator)
        made = generator is not None
        self._own, self._data, self._generator = segmenter, images, generator
        self._made = None if generator is None else Generated(generator)
        self._segmenter = adapted(segmenter, images, generated=made)
        self._sees = told_conversion(segmenter, images, generated=made)

    def told(self, first: Batch) -> dict[str, Any]:
        """What the manifest says of it; `first` is the first batch."""
        told: dict[str, Any] = {"version": 1, "segmenter": told_segmenter(self._own), "sees": self._sees}
        if self._made is None or self._generator is None:
            return told
        size = self._made.made(0, first, device_of(self._generator)).shape[2:]
        made = {"generator": told_generator(self._generator), "z": told_z(self._data, first), "made": list(size)}
        return told | made | {"version": 2}

    def shard(self, batch: Batch, index: int, concepts: Concepts, ignored: tuple[int, ...]) -> Shard:
        """The labels of a batch, and what it looks like."""
        if self._made is None or self._generator is None:
            return Shard(_packed(self._segmenter, batch, index, concepts, ignored), likeness(batch.images))
        images = self._made.made(index, batch, device_of(self._generator))
        packed = _packed(self._segmenter, batch._replace(images=images), index, concepts, ignored)
        return Shard(packed, torch.cat([sums_of_z(batch), cells_of(images)], 1))


def _packed(
    segmenter: Callable[[Tensor], Tensor] | None,
    batch: Batch,
    index: int,
    concepts: Concepts,
    ignored: tuple[int, ...],
) -> PackedLabels:
    planes, images = batch.planes, batch.images
    if segmenter is not None:
        images = to_device(
            images, device_of(segmenter, images.device) if isinstance(segmenter, nn.Module) else images.device
        )
        with torch.no_grad():
            planes = segmenter(images)
    if not isinstance(planes, Tensor):
        raise refusal(TypeError(f"planes of batch {index} must be a tensor, but got {type(planes).__name__}."))
    try:
        planes = label_planes(planes, images, index, ignored)
        if planes.ndim != 4 or len(planes) != len(images):
            raise refusal(
                ValueError(f"planes must have shape [N, K, H, W] with N={len(images)}, but got {list(planes.shape)}.")
            )
        return pack(ops.encode_labels(planes.to(ops.serving_device(planes.device)), len(concepts)))
    except (TypeError, ValueError) as error:
        raise refusal(error, f"batch {index}") from None


def _write(folder: Path, about: dict[str, Any], identity: str, number: int, parts: list[Shard]) -> None:
    forms = {(part.labels.size, part.labels.table.shape[1]) for part in parts}
    if len(forms) > 1:
        raise refusal(
            ValueError(f"planes must be as many and of one size in all batches, but shard {number} has {forms}.")
        )
    packed = joined([part.labels for part in parts])
    seen = torch.cat([part.likeness for part in parts if part.likeness is not None])
    if read_manifest(folder)[1] != identity:
        _claimed(folder, about)  # says what another writer has made of it
        raise refusal(
            ValueError(f"{shown(folder / MANIFEST)} must stay as it is while labels are written, but changed.")
        )
    tensors = {name: getattr(packed, name) for name in ("last", "numbers", "table", "runs", "rows")}
    save_tensors(
        folder / name_of(f"{number:05d}", packed, seen, identity),
        *FORMAT,
        tensors | {"likeness": seen},
        {"of": identity, "size": list(packed.size)},
    )
