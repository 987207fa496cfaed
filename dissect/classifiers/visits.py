"""What images with class numbers must be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from torch import Tensor

from dissect.arguments import refusal
from dissect.data import Batch, Batches


def first_batch(batches: Batches) -> Batch:
    """The first batch.

    Raises:
        ValueError: there is none, or the data can only be visited once.
    """
    check_visited_again(batches)
    batch = next(iter(batches), None)
    if batch is None or not len(batch.images):
        raise refusal(ValueError("images must hold at least one batch, but held none."))
    return batch


def check_visited_again(batches: Batches) -> None:
    """Refuses data that can only be visited once.

    Raises:
        ValueError: it can.
    """
    if batches.used_once:
        raise refusal(
            ValueError("images must be an iterable that can be visited again, but got a generator; pass a Dataset.")
        )


def class_numbers(labels: Tensor | None) -> Tensor:
    """[N] the class number of each image, of what came with a batch.

    Raises:
        ValueError: the images come without them.
    """
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        got = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise refusal(ValueError(f"images must come with class numbers [N], integers, but came with {got}."))
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
    raise refusal(
        ValueError(
            f"both data sets must number the same classes alike, but class {number} is {one} of the training images "
            f"and {other} of the validation images; if they do, name them with classes=."
        )
    )
