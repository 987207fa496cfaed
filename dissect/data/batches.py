"""Batches with global image numbers, from a Dataset, a tensor, or any iterable of batches."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Subset, default_collate

from dissect.arguments import check_values, integer, refusal, speaks
from dissect.digests import digest


class Batch(NamedTuple):
    """Some images, their global numbers, and what came with them.

    Attributes:
        numbers: [N] int64.
        images: [N, 3, H, W], or whatever the model takes.
        planes: the labels that came with them, as the data set gives them: integer planes [N, K, H, W], class numbers
            [N] where a classifier is asked, or None.
    """

    numbers: Tensor
    images: Tensor
    planes: Tensor | None


class Batches:
    """Visits a data set in the same batches every time, so that a network's rounding is the same too.

    Args:
        source: a map-style Dataset of images or (image, planes); a tensor of images [N, 3, H, W]; or an iterable of
            batches, each a tensor or an (images, planes) pair: a DataLoader, a list; an IterableDataset, of items.
        batch_size: for a Dataset, a tensor or an IterableDataset.

    Raises:
        TypeError: a source that is none of these; the path of a folder, which `ImageFolder` reads; one (images, planes)
            pair alone; a batch_size that is no integer.
        ValueError: a batch_size below 1; a DataLoader that shuffles; or, at a second visit, a generator that is used
            up.

    Example:
        >>> batches = dissect.data.Batches(torch.zeros(5, 3, 8, 8), batch_size=2)
        >>> [batch.numbers.tolist() for batch in batches], len(batches)
        ([[0, 1], [2, 3], [4]], 3)
    """

    @speaks
    def __init__(self, source: Dataset[Any] | Tensor | Iterable[Any], batch_size: int = 32) -> None:
        batch_size = integer("batch_size", batch_size)
        if isinstance(source, DataLoader) and isinstance(source.sampler, RandomSampler):
            raise refusal(ValueError("images must come in the same order at every visit, but the DataLoader shuffles."))
        if isinstance(source, (str, Path)):
            raise refusal(
                TypeError(
                    "images must be a Dataset, a tensor or an iterable of batches, but got the "
                    f"{type(source).__name__} {str(source)!r}; dissect.data.ImageFolder reads a folder of pictures."
                )
            )
        if _is_one_batch(source):
            raise refusal(
                TypeError(
                    "images must be an iterable of batches, but got one pair of a tensor of floats and one of "
                    "integers; pass a list of batches: [(images, planes)]."
                )
            )
        if isinstance(source, Tensor):
            source = source.split(batch_size)
        elif callable(getattr(source, "in_batches", None)):
            source = source.in_batches(batch_size)  # type: ignore[union-attr]
        if isinstance(source, IterableDataset):
            source = DataLoader(source, batch_size=batch_size)
        if not isinstance(source, (Dataset, Iterable)):
            raise refusal(
                TypeError(
                    f"images must be a Dataset, a tensor or an iterable of batches, but got {type(source).__name__}."
                )
            )
        self._data, self._batch_size = source, batch_size
        self._used_up = False

    def __len__(self) -> int:
        """The number of batches.

        Raises:
            TypeError: the iterable does not know.
        """
        if isinstance(self._data, Dataset):
            return -(-len(self._data) // self._batch_size)  # type: ignore[arg-type]
        return len(self._data)  # type: ignore[arg-type]

    def count(self) -> int | None:
        """The number of batches, or None where the iterable does not know."""
        try:
            return len(self)
        except TypeError:
            return None

    def identity(self) -> list[int | str | None]:
        """Tells a data set from another without reading it: its `count`, and its `fingerprint` if it has one."""
        return [self.count(), fingerprint_of(self._data)]

    @property
    def data(self) -> Dataset[Any] | Iterable[Any]:
        """The data set, or the iterable of batches."""
        return self._data

    @property
    def used_once(self) -> bool:
        """Whether the data set is an iterator, which can be visited only once."""
        return isinstance(self._data, Iterator)

    def __iter__(self) -> Iterator[Batch]:
        """Every batch."""
        return (batch for batch in self.visit() if batch is not None)

    def visit(self, start: int = 0, skip: Container[int] = ()) -> Iterator[Batch | None]:
        """Every batch from number `start` on, None for those to skip; a Dataset is not asked for the items of others.

        Raises:
            TypeError: a batch that is no tensor or pair.
            ValueError: a generator that is used up, images of different sizes, or without values (on the meta device).
        """
        if self._used_up:
            raise refusal(
                ValueError(
                    "images must be an iterable that can be visited again, but got a generator that is used up; "
                    "pass a Dataset, a DataLoader or a list, or raise memory_budget."
                )
            )
        self._used_up = self.used_once
        first, size = 0, None
        for index, item in self._items(start, skip):
            if item is None:
                yield None
                continue
            images, planes = (item[0], item[1]) if isinstance(item, (tuple, list)) and len(item) > 1 else (item, None)
            images = images[0] if isinstance(images, (tuple, list)) else images
            if not isinstance(images, Tensor):
                where = f"batch {index}" if images is item else f"the images of batch {index}"
                hint = "; torch.from_numpy makes a tensor of an array" if type(images).__module__ == "numpy" else ""
                if isinstance(images, Mapping):
                    pair = ", ".join(f"batch[{name!r}]" for name in [*images][:2])
                    hint = f"; give parts of it, such as [({pair}) for batch in ...]"
                raise refusal(
                    TypeError(
                        f"a batch of images must be a tensor or (images, planes), but {where} came as "
                        f"{type(images).__name__}{hint}."
                    )
                )
            check_values(f"batch {index} of images", images)
            check_values(f"what comes with batch {index} of images", planes)
            first = index * self._batch_size if isinstance(self._data, Dataset) else first
            size = size or images.shape[1:]
            if images.shape[1:] != size:
                raise refusal(
                    ValueError(
                        f"images must all have one size, but image {first} has {list(images.shape[1:])} "
                        f"and those before it {list(size)}."
                    )
                )
            if index >= start:
                if not len(images):
                    raise refusal(ValueError(f"batches of images must hold at least one, but batch {index} has none."))
                yield None if index in skip else Batch(torch.arange(first, first + len(images)), images, planes)
            first += len(images)

    def _items(self, start: int, skip: Container[int]) -> Iterator[tuple[int, Any]]:
        """Numbers of batches and what comes with each; a Dataset gives None for those to skip, none before `start`."""
        if not isinstance(self._data, Dataset):
            yield from enumerate(self._data)
            return
        count, length = len(self), len(self._data)  # type: ignore[arg-type]
        size = self._batch_size
        wanted = (list(range(i * size, min(length, i * size + size))) for i in range(start, count) if i not in skip)
        loaded = iter(DataLoader(self._data, batch_sampler=wanted, collate_fn=_collate))
        for index in range(start, count):
            yield index, None if index in skip else next(loaded)


def attribute_of(data: Any, name: str) -> Any:
    """What a data set says of itself, such as its `concepts`, through loaders and subsets around it; None if nothing.

    Example:
        >>> class Scenes(torch.utils.data.Dataset):
        ...     concepts = ["sky"]
        >>> attribute_of(torch.utils.data.Subset(Scenes(), [2, 3]), "concepts")
        ['sky']
    """
    while not hasattr(data, name) and isinstance(data, (DataLoader, Subset)):
        data = data.dataset
    return getattr(data, name, None)


def image_of(item: Any) -> Any:
    """The image of a data set's item, whatever comes with it."""
    return item[0] if isinstance(item, (tuple, list)) else item


def fingerprint_of(data: Any) -> str | None:
    """A data set's own fingerprint, with the loaders and subsets around it; None if it has none."""
    own = getattr(data, "fingerprint", None)
    if callable(own):
        told: str | None = own()
        return told
    if not isinstance(data, (DataLoader, Subset)):
        return None
    inner = fingerprint_of(data.dataset)
    how = list(data.indices) if isinstance(data, Subset) else data.batch_size
    return inner and digest([f"{inner} {how}"])


def names_of(data: Any) -> str | None:
    """A digest of the names of a data set's files in their order (attribute `files`), however images are made of them.

    None where it does not say.
    """
    files = getattr(data, "files", None)
    if files is None and isinstance(data, Subset):
        files = getattr(data.dataset, "files", None)
        files = files and [files[index] for index in data.indices]
    return digest(f"{Path(path).name}\n" for path in files) if files else None


def _is_one_batch(data: Any) -> bool:
    """Whether this is (images, planes) itself: as two batches of images they would not be of one kind."""
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not all(isinstance(x, Tensor) for x in data):
        return False
    return data[0].is_floating_point() and not data[1].is_floating_point()


def _collate(items: list[Any]) -> Any:
    """A batch of a Dataset's items.

    Raises:
        ValueError: images or planes of different sizes.
    """
    try:
        return default_collate(items)
    except RuntimeError as error:
        sizes = {
            str([list(part.shape) for part in (item if isinstance(item, (tuple, list)) else [item])
                 if isinstance(part, Tensor)])
            for item in items
        }  # fmt: skip
        raise refusal(
            ValueError(f"images and planes must all have one size, but a batch holds {sorted(sizes)}.")
        ) from error
