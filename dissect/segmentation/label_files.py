"""The files of a label store: a manifest and shards, named by their content, and what they must hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.digests import digest
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, named, require
from dissect.files.tensors import load_tensors
from dissect.ops.packed import PackedLabels
from dissect.text import shown

#: Shards of version 1 do not say what the images looked like.
MANIFEST, FORMAT = "labels.json", ("label shard", 2)
SHARD = re.compile(r"(\d{5})-(\d{1,9})-([0-9a-f]{16})\.safetensors")

_MANIFEST = {
    "version": Whole(1, 2), "names": Each(Text(), "C"), "categories": Each(Text(), "C"), "segmenter": Each(Text(), 2),
    "images": Each(Maybe(Of(object))), "files": Maybe(Text()), "sees": Maybe(Text()), "first": Whole(-(1 << 63)),
    "ignore": Each(Whole(-128)),
    "batches": Whole(1), "batch_size": Whole(1), "shard": Whole(1),
    # Version 2 is of what a generator made.
    "generator": Maybe(Each(Text(), 2)), "z": Maybe(Text()), "made": Maybe(Each(Whole(1, 1 << 20), 2)),
}  # fmt: skip


class Shard(NamedTuple):
    """What a file of a store holds.

    Attributes:
        labels: of its images.
        likeness: what they looked like, and of which z they were made; None in stores of earlier versions.
    """

    labels: PackedLabels
    likeness: Tensor | None


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """What a store's manifest says, and its digest.

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
        told = {about.get(name) is not None for name in ("generator", "z", "made")}
        require(str(path), told == {about["version"] == 2}, "version 2 is of what a generator made")
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


def form_of(labels: PackedLabels) -> tuple[tuple[int, int], int]:
    """(H, W) and how many planes."""
    return labels.size, labels.table.shape[1]


def read_shard(path: Path, identity: str, num_labels: int) -> Shard:
    """A shard, checked.

    Raises:
        ValueError: it is damaged, or belongs elsewhere; names the file.
    """
    tensors, meta = load_tensors(path, *FORMAT)
    seen = tensors.pop("likeness", None)
    narrow = (torch.uint8, torch.int16, torch.int32)
    rules = {"runs": Array(torch.int32, "N", 0), "rows": Array(torch.int32, "N", 1)}
    for name, shape in (("last", "R"), ("numbers", "R"), ("table", "T K")):
        dtype = getattr(tensors.get(name), "dtype", None)
        rules[name] = Array(dtype if dtype in narrow else torch.uint8, shape, 0)
    with named(path):
        fields(str(path), tensors, rules)
        fields(str(path), {"likeness": seen}, {"likeness": Maybe(Array(torch.int8, "N S"))})
        fields(str(path), meta, {"of": Text(), "size": Each(Whole(1, 1 << 20), 2)})
        if meta["of"] != identity:
            raise refusal(ValueError(f"{shown(path)} must belong to the store in its folder, but is of another one."))
        size = meta["size"][0], meta["size"][1]
        packed = PackedLabels(**tensors, size=size, num_labels=num_labels)
        if seen is not None and len(seen) != len(packed):
            raise refusal(ValueError(f"{shown(path)} must say of each image what it looked like, but does not."))
        if name_of(path.name[:5], packed, seen, identity) != path.name:
            raise refusal(ValueError(f"{shown(path)} must be called by its place and content, but is not."))
    return Shard(packed, seen)


def name_of(place: str, packed: PackedLabels, seen: Tensor | None, identity: str) -> str:
    """The file of a shard."""
    parts = (packed.last, packed.numbers, packed.table, packed.runs, packed.rows, *(() if seen is None else (seen,)))
    told = [f"{place} {identity} {packed.size}", *(f"{part.dtype} {list(part.shape)}" for part in parts)]
    return f"{place}-{len(packed)}-{digest([*told, *parts])}.safetensors"
