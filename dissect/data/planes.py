"""Label planes that come with images, in the one form that all that follows takes."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.arguments import check_values, refusal
from dissect.concepts import Concepts, is_no_label

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def label_planes(planes: Tensor, images: Tensor, batch: int, ignore: tuple[int, ...] = ()) -> Tensor:
    """Integer planes [N, K, H, W] of what came with a batch; [N, H, W] and bools where it is certain what they mean.

    Args:
        planes: what came.
        images: [N, C, H, W] of the same batch.
        batch: its number, for messages; masks are looked for in batch 0, which costs a look at all of its labels.
        ignore: labels that stand for "no label" and become 0.

    Returns:
        The planes; a bool plane's True is label 1.

    Raises:
        ValueError: label numbers come last, or planes are masks, one per label, which say 1 where the label is; or they
            are on the meta device.

    Example:
        >>> label_planes(torch.ones(2, 8, 8, dtype=torch.bool), torch.zeros(2, 3, 8, 8), 0).shape
        torch.Size([2, 1, 8, 8])
    """
    check_values(f"planes of batch {batch} (by a segmenter with its weights there?)", planes)
    planes = _without(planes, ignore)
    if planes.ndim == 3 and images.ndim == 4 and len(planes) == len(images) and _fits(planes.shape[1:], images):
        planes = planes[:, None]
    if planes.ndim != 4 or images.ndim != 4:
        return planes
    if not _fits(planes.shape[2:], images) and _fits(planes.shape[1:3], images):
        end = "." if planes.shape[3] == 1 else ", or, of masks of one label each, the numbers of their labels."
        raise refusal(
            ValueError(
                f"planes of batch {batch} must have shape [N, K, H, W], but {list(planes.shape)} are [N, H, W, K] "
                f"beside images of {list(images.shape[2:])}; pass planes.permute(0, 3, 1, 2){end}"
            )
        )
    if batch == 0 and planes.shape[1] > 1 and _are_masks(planes):
        raise refusal(
            ValueError(
                f"planes must hold the numbers of labels, but the {planes.shape[1]} of batch 0 hold only 0 and 1, "
                "as masks do, each of another label; pass the labels' numbers: of masks [N, C, H, W] that exclude each "
                "other, masks.argmax(1) where mask 0 is 'no label'; of others, planes that say c + 1 where mask c is 1."
            )
        )
    return planes.to(torch.uint8) if planes.dtype == torch.bool else planes


def check_ignored(ignore: tuple[int, ...], concepts: Concepts | None) -> None:
    """Refuses to leave out what is called by the name of a concept.

    Raises:
        ValueError: names it.
    """
    for label in ignore:
        name = concepts.names[label] if concepts is not None and 0 < label < len(concepts) else ""
        # A dictionary of names calls labels that it leaves out by their numbers.
        if name != str(label) and not is_no_label(name):
            raise refusal(
                ValueError(
                    f"ignore must be labels that stand for 'no label', but concepts calls label {label} {name!r}; "
                    "leave the one or the other out."
                )
            )


def _without(planes: Tensor, ignore: tuple[int, ...]) -> Tensor:
    """The planes with 0 for some labels."""
    if planes.dtype not in _INTEGERS:
        return planes
    ends = torch.iinfo(planes.dtype)
    for label in ignore:
        if ends.min <= label <= ends.max:  # others, as -1 in uint8, would be taken for what their low bits say
            planes = planes.masked_fill(planes == label, 0)
    return planes


def _fits(size: torch.Size, images: Tensor) -> bool:
    """Whether rows and columns are the images', or a scale of them up to the rounding of a pixel of the smaller one."""
    (rows, columns), (height, width) = size, images.shape[2:]
    return abs(rows * width - columns * height) <= max(min(height, rows), min(width, columns), 1)


def _are_masks(planes: Tensor) -> bool:
    """Whether several planes hold 1 and none another label; of integers, only if no pixel has it twice."""
    if planes.dtype == torch.bool:
        return int(planes.flatten(2).any(2).any(0).sum()) > 1
    ends = planes.aminmax()
    if int(ends.min) < 0 or int(ends.max) != 1:
        return False
    used = planes.amax((0, 2, 3))
    return int(used.sum()) > 1 and int(planes.sum(1, dtype=torch.int64).max()) <= 1


def check_named(planes: Tensor, count: int, whose: str = "") -> None:
    """Refuses labels that have no name.

    Args:
        planes: integers, one at least.
        count: how many labels there are, label 0 included.
        whose: what is said of these planes, as "those of batch 3 ".

    Raises:
        ValueError: names the first end that is beyond.
    """
    least, largest = (int(end) for end in planes.aminmax())
    if least < 0 or largest >= count:
        raise refusal(
            ValueError(
                f"planes must hold labels from 0 to {count - 1}, those of concepts, but {whose}hold "
                f"{least if least < 0 else largest}; what is to be ignored (often 255) must be 0."
            )
        )
