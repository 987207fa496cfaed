"""Decoys: the planes of other images, against which units are counted to see what they would find by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect.arguments import refusal
from dissect.chosen import cycles, rank_keys
from dissect.devices import DeferredReads, to_device
from dissect.files.checked import Array, Each, Whole, fields, require
from dissect.ops.encode_labels import EncodedLabels, Encoding, encode_labels
from dissect.reference import run_dtype
from dissect.reference.encode_labels import RUN_SHIFTS

#: Gives labels other numbers.
Dense = Callable[[Tensor], Tensor]

#: Bytes of planes that a pool may hold.
POOL = 1 << 26

#: Bytes that a tensor takes beside its numbers, about.
_OVERHEAD = 512


class PlanePool:
    """The label planes of as many images as a budget allows: those whose numbers have the lowest hashes.

    Planes are kept as their runs of equal labels alone, which take a few percent of the memory of their pixels. The
    same images give the same pool, in whatever batches and order they come.

    Args:
        budget: bytes.
    """

    def __init__(self, budget: int = POOL) -> None:
        self._budget, self._held = budget, 0
        self._images: dict[int, tuple[Tensor, Tensor]] = {}  # by number: runs [R], and table [T, K]
        self._keys: dict[int, int] = {}
        self._limit = torch.iinfo(torch.int64).max  # no key from here on fits
        self._size = (0, 0)

    def add(
        self, planes: Tensor, numbers: Tensor, num_labels: int, late: DeferredReads, names: Tensor | None = None
    ) -> None:
        """Adds those images of a batch that fit, when the device has encoded them.

        Args:
            planes: [N, K, H, W].
            numbers: [N] int64 image numbers.
            num_labels: all labels lie below it.
            late: what is done when a GPU comes to it.
            names: [num_labels] what the planes' labels are called outside, rising; they are that by default.
        """
        wanted = (rank_keys(numbers) < self._limit).nonzero().flatten()
        if not len(wanted):
            return
        self._size = (planes.shape[2], planes.shape[3])
        encoding = Encoding(planes[to_device(wanted, planes.device)], num_labels)
        late.call(lambda size: self.take(encoding.labels(size), numbers[wanted], names), encoding.size)

    def take(self, labels: EncodedLabels, numbers: Tensor, names: Tensor | None = None) -> None:
        """Adds those images of a batch that fit, whose labels are encoded already; see `add`."""
        self._size = labels.size
        table = labels.table if names is None else names[labels.table.long()].int()
        starts = _starts(labels.runs)
        runs = labels.runs.flatten(1)[starts].split(starts.sum(1).tolist())
        tables = table.split(labels.offsets.diff().tolist())
        for number, key, *parts in zip(numbers.tolist(), rank_keys(numbers).tolist(), runs, tables):
            if key < self._limit:
                # Copied, else each would keep its whole batch in memory.
                self._images[number], self._keys[number] = (parts[0].clone(), parts[1].clone()), key
                self._held += _bytes(self._images[number])
        while self._held > self._budget:
            worst = max(self._keys, key=self._keys.__getitem__)
            self._limit = self._keys.pop(worst)
            self._held -= _bytes(self._images.pop(worst))

    @property
    def numbers(self) -> list[int]:
        """Of the images that it holds, rising."""
        return sorted(self._images)

    def labels(self, numbers: list[int], num_labels: int, dense: Dense = lambda labels: labels) -> EncodedLabels:
        """The planes of some of its images, in this order, as `encode_labels` gives them.

        Args:
            numbers: of the images.
            num_labels: C.
            dense: gives labels as they were added their numbers in [0, C).
        """
        runs, tables = zip(*(self._images[number] for number in numbers))
        flat, sizes = torch.cat(runs), torch.tensor([len(table) for table in tables], device=runs[0].device)
        width, shift = self._size[1], RUN_SHIFTS[flat.dtype]
        ends = flat >> shift
        lengths = (ends - _begins(ends, width)).long()
        pixels = flat.repeat_interleave(lengths, output_size=len(numbers) * self._size[0] * width)
        planes = max(table.shape[1] for table in tables)
        table = dense(torch.cat([pad(table, (0, planes - table.shape[1])) for table in tables])).int()
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        image = torch.arange(len(numbers), device=flat.device)
        of_run = image.repeat_interleave(torch.tensor([len(part) for part in runs], device=flat.device))
        inside = lengths.new_zeros(len(table))
        inside.index_add_(0, offsets[of_run] + (flat & ((1 << shift) - 1)).long(), lengths)
        area = lengths.new_zeros(len(numbers), num_labels)
        where = image.repeat_interleave(sizes)[:, None] * num_labels + table.long()
        area.view(-1).index_add_(0, where.flatten(), inside[:, None].expand_as(where).flatten())
        area[:, 0] = 0
        return EncodedLabels._trusted(pixels.view(len(numbers), *self._size), table, offsets, area)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        parts = [self._images[number] for number in self.numbers]
        runs, tables = [part[0] for part in parts], [part[1] for part in parts]
        planes = max((table.shape[1] for table in tables), default=1)
        tables = [pad(table, (0, planes - table.shape[1])) for table in tables]
        empty = torch.empty(0, dtype=torch.int32)
        return {
            "numbers": self.numbers,
            "size": list(self._size),
            "limit": self._limit,
            "lengths": [len(part) for part in runs],
            "rows": [len(part) for part in tables],
            "runs": torch.cat(runs) if runs else empty,
            "table": torch.cat(tables) if tables else empty[:, None],
        }

    def check(self, dense: Dense, num_labels: int) -> None:
        """Whether all of its labels lie below `num_labels`, by their dense numbers.

        Raises:
            ValueError: one does not.
        """
        tables = [table.flatten() for _, table in self._images.values()]
        inside = not tables or bool((dense(torch.cat(tables)) < num_labels).all())
        require("the run's pool of planes", inside, f"labels lie in [0, {num_labels})")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's pool of planes"
        rules = {"numbers": Each(Whole(), "P", different=True), "size": Each(Whole(), 2),
                 "lengths": Each(Whole(1), "P"), "rows": Each(Whole(1), "P"), "limit": Whole(-(1 << 63)),
                 "table": Array(torch.int32, "T K", 0)}  # fmt: skip
        fields(what, state, rules)
        height, width = state["size"]
        dtype = run_dtype(height, width)
        fields(what, state, {"runs": Array(dtype, "R")})
        whole = sum(state["lengths"]) == len(state["runs"]) and sum(state["rows"]) == len(state["table"])
        require(what, whole, "every image has its runs and its rows of the table")
        runs, tables = state["runs"].split(state["lengths"]), state["table"].split(state["rows"])
        for row, table in zip(runs, tables):
            _check_runs(what, row, len(table), height, width)
        self._size, self._limit = (height, width), state["limit"]
        self._images = {number: parts for number, *parts in zip(state["numbers"], runs, tables)}  # type: ignore[misc]
        self._keys = dict(zip(state["numbers"], rank_keys(torch.tensor(state["numbers"])).tolist()))
        self._held = sum(map(_bytes, self._images.values()))


class Decoys:
    """Whose planes stand in for each image's own, K times: a random permutation of all images, each time.

    Where the pool holds all images each permutation is one cycle, so that no image has its own planes and every image's
    planes are taken once. Where it does not, the permuted places are spread over those that it holds.

    Args:
        pool: of planes.
        num_images: N, at least 2.
        count: K.
        seed: of the permutations.
    """

    def __init__(self, pool: PlanePool, num_images: int, count: int, seed: int) -> None:
        self._pool, self._numbers = pool, torch.tensor(pool.numbers)
        enough = num_images >= 2 and len(self._numbers) >= 2
        self.count = count if enough else 0
        self._places = cycles(self.count, num_images, seed) * len(self._numbers) // num_images if enough else None

    def labels(self, numbers: Tensor, num_labels: int, dense: Dense = lambda labels: labels) -> EncodedLabels:
        """The planes that are counted in the place of these images' own: see `side_by_side`.

        Args:
            numbers: [N] int64.
            num_labels: C, of each decoy.
            dense: see `PlanePool.labels`.
        """
        return side_by_side(self.each(numbers, num_labels, dense))

    def each(self, numbers: Tensor, num_labels: int, dense: Dense = lambda labels: labels) -> list[EncodedLabels]:
        """The same, of each of the K decoys for itself."""
        if self._places is None:
            raise refusal(RuntimeError("there are no decoys."))
        require("the run", bool((numbers < self._places.shape[1]).all()), "it has seen every image")
        places = self._places[:, numbers]
        own = self._numbers[places] == numbers
        places = torch.where(own, (places + 1) % len(self._numbers), places)
        return [self._pool.labels(row, num_labels, dense) for row in self._numbers[places].tolist()]


def side_by_side(parts: list[EncodedLabels]) -> EncodedLabels:
    """Labels that say at once what several say of the same images: label c of part k becomes ``k (C - 1) + c``.

    Args:
        parts: of as many images, of one size and C labels each.
    """
    shift = RUN_SHIFTS[parts[0].runs.dtype]
    most = max(int(part.offsets.diff().max()) for part in parts)
    # The combinations of combinations: those of each part are labels of a plane, told apart as labels are below.
    planes = torch.stack([_told_apart(part.runs & ((1 << shift) - 1), k, most) for k, part in enumerate(parts)], 1)
    joint = encode_labels(planes, 1 + len(parts) * (most - 1))
    image = torch.arange(len(joint), device=planes.device).repeat_interleave(joint.offsets.diff())
    rows = []
    for k, (part, own) in enumerate(zip(parts, joint.table.long().unbind(1))):
        own = torch.where(own > 0, own - k * (most - 1), 0)
        rows.append(_told_apart(part.table[part.offsets[image] + own], k, part.num_labels))
    area = torch.cat([parts[0].area[:, :1], *(part.area[:, 1:] for part in parts)], 1)
    return EncodedLabels._trusted(joint.runs, torch.cat(rows, 1), joint.offsets, area)


def _told_apart(labels: Tensor, part: int, num_labels: int) -> Tensor:
    """Labels below `num_labels` of one of several parts, numbered after those of the parts before; 0 stays 0."""
    return torch.where(labels > 0, labels + part * (num_labels - 1), 0)


def _starts(runs: Tensor) -> Tensor:
    """[N, H * W] bool: where a run begins, as its neighbour on the left is of another, or there is none."""
    starts = torch.ones_like(runs, dtype=torch.bool)
    starts[..., 1:] = runs[..., 1:] != runs[..., :-1]
    return starts.flatten(1)


def _begins(ends: Tensor, width: int) -> Tensor:
    """[R]: the column where each run begins, by where runs end: where the last one did, or at the row's begin."""
    begins = ends.roll(1)
    begins[begins == width] = 0
    begins[0] = 0
    return begins


def _check_runs(what: str, runs: Tensor, rows: int, height: int, width: int) -> None:
    """Refuses runs that do not fill an image, or that name a row which its table does not have."""
    shift = RUN_SHIFTS[runs.dtype]
    ends, numbers = (runs >> shift).long(), runs & ((1 << shift) - 1)
    fills = (
        (ends > _begins(ends, width)).all()
        & (ends <= width).all()
        & (ends == width).sum().eq(height)
        & (ends[-1] == width)
    )
    require(what, fills & (numbers < rows).all(), "runs fill an image and name rows of its table")


def _bytes(parts: tuple[Tensor, Tensor]) -> int:
    return sum(part.nbytes + _OVERHEAD for part in parts)
