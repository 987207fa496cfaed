"""Batches with global image numbers, from a Dataset, a tensor, or any iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler


class Batch(NamedTuple):
    """Some images, their global numbers, and what came with them.

    Attributes:
        numbers: [N] int64.
        images: [N, 3, H, W], or whatever the model takes.
        planes: [N, K, H, W] integer label planes, or None.
    """

    numbers: Tensor
    images: Tensor
    planes: Tensor | None


class Batches:
    """Visits a data set in the same batches every time, so that a network's rounding is the same too.

    Args:
        source: a map-style Dataset of images or (image, planes); a tensor of images [N, 3, H, W]; or an iterable of
            batches, each a tensor or an (images, planes) pair: a DataLoader, a list, an IterableDataset.
        batch_size: for a Dataset or a tensor.

    Raises:
        TypeError: none of these.
        ValueError: a DataLoader that shuffles; or, at a second visit, a generator that is used up.

    Example:
        >>> batches = dissect.data.Batches(torch.zeros(5, 3, 8, 8), batch_size=2)
        >>> [batch.numbers.tolist() for batch in batches], len(batches)
        ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(self, source: Dataset | Tensor | Iterable[Any], batch_size: int = 32) -> None:
        if isinstance(source, Tensor):
            source = source.split(batch_size)
        elif isinstance(source, IterableDataset):
            source = DataLoader(source, batch_size=batch_size)
        elif isinstance(source, Dataset):
            source = DataLoader(source, batch_size=batch_size, shuffle=False)
        if not isinstance(source, Iterable):
            raise TypeError(
                f"images must be a Dataset, a tensor or an iterable of batches, but got {type(source).__name__}."
            )
        if isinstance(source, DataLoader) and isinstance(source.sampler, RandomSampler):
            raise ValueError("images must come in the same order at every visit, but the DataLoader shuffles.")
        self._source: Iterable[Any] = source
        self._used_up = False

    def __len__(self) -> int:
        """The number of batches.

        Raises:
            TypeError: the iterable does not know.
        """
        return len(self._source)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        if self._used_up:
            raise ValueError(
                "images must be an iterable that can be visited again, but got a generator that is used up; "
                "pass a Dataset, a DataLoader or a list, or raise memory_budget."
            )
        self._used_up = isinstance(self._source, Iterator)
        first = 0
        for item in self._source:
            images, planes = (item[0], item[1]) if isinstance(item, (tuple, list)) and len(item) > 1 else (item, None)
            images = images[0] if isinstance(images, (tuple, list)) else images
            if not isinstance(images, Tensor):
                raise TypeError(f"images: a batch must be a tensor or (images, planes), but got {type(item).__name__}.")
            yield Batch(torch.arange(first, first + len(images)), images, planes)
            first += len(images)
