"""Visits of images with class numbers, which must be the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dissect.data import Batch, Batches
from dissect.devices import checksum


def first_batch(batches: Batches) -> Batch:
    """The first batch.

    Raises:
        ValueError: there is none, or the data can only be visited once.
    """
    check_visited_again(batches)
    batch = next(iter(batches), None)
    if batch is None or not len(batch.images):
        raise ValueError("images must hold at least one batch, but held none.")
    return batch


def check_visited_again(batches: Batches) -> None:
    """Refuses data that can only be visited once.

    Raises:
        ValueError: it can.
    """
    if batches.used_once:
        raise ValueError("images must be an iterable that can be visited again, but got a generator; pass a Dataset.")


def class_numbers(batch: Batch) -> Tensor:
    """[N] the class number of each image.

    Raises:
        ValueError: the images come without them.
    """
    labels = batch.planes
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        got = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"images must come with class numbers [N], integers, but came with {got}.")
    return labels.long()


def check_class_names(train: Sequence[str] | None, val: Sequence[str] | None) -> None:
    """Refuses two data sets whose class numbers mean different classes, where both have names.

    Raises:
        ValueError: the names differ; says where.
    """
    if train is None or val is None or list(train) == list(val):
        return
    names = zip_longest(train, val)
    number, pair = next((number, pair) for number, pair in enumerate(names) if pair[0] != pair[1])
    one, other = ("no class" if name is None else repr(name) for name in pair)
    raise ValueError(
        f"both data sets must number the same classes alike, but class {number} is {one} of the training images and "
        f"{other} of the validation images; if they do, name them with classes=."
    )


class Seen:
    """Checksums of the batches of a data set that were met, with which every later visit is compared.

    Args:
        title: of the data set, for messages.

    Raises:
        ValueError: `check`, `end` and `visit_again` found other images or classes; says in which batch.

    Example:
        >>> seen, images = Seen("val images"), torch.zeros(2, 3, 4, 4)
        >>> batch = Batch(torch.arange(2), images, torch.tensor([0, 1]))
        >>> seen.check(0, batch), seen.end(1), seen.check(0, batch)
        (None, None, None)
        >>> seen.check(0, batch._replace(images=images + 1))
        Traceback (most recent call last):
        ValueError: val images must be the same at every visit, but those of batch 0 have changed; ...
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._sums: list[list[int]] = []
        self._whole = False

    def check(self, index: int, batch: Batch) -> None:
        """Compares a batch with what it was, or, where it is new, notes what it is."""
        sums = torch.stack([checksum(batch.images).cpu(), checksum(class_numbers(batch)).cpu()]).tolist()
        if index == len(self._sums) and not self._whole:
            self._sums.append(sums)
        elif index >= len(self._sums) or self._sums[index] != sums:
            raise ValueError(
                f"{self._title} must be the same at every visit, but those of batch {index} have changed; does the "
                "data set shuffle or augment at random, or is this another one than the run to resume began with? Then "
                "resume from another folder, or delete what is in this one (dissect classify: --fresh)."
            )

    def end(self, count: int) -> None:
        """After a whole visit of so many batches."""
        if count != len(self._sums):
            raise ValueError(f"{self._title} must be the same at every visit, but are {count} batches now.")
        self._whole = True

    def visit_again(self, batches: Batches, progress: bool) -> None:
        """Reads all batches that were met, as a run that goes on does: they are part of its counts."""
        known, count = len(self._sums), 0
        if not known:
            return
        bar = tqdm(batches, "same images?", known, disable=not progress, unit="batch", leave=False)
        for count, batch in enumerate(bar, 1):
            self.check(count - 1, batch)
            if count == known and not self._whole:
                return
        self.end(count)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"sums": torch.tensor(self._sums, dtype=torch.int64).reshape(-1, 2), "whole": self._whole}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self._sums, self._whole = state["sums"].tolist(), state["whole"]
