"""Which images a segmenter takes, as it says itself, and how others are brought there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate

from dissect.arguments import refusal, speaks
from dissect.data.pictures import Normalisation
from dissect.data.signed import LEAST, SignedRange
from dissect.network.modes import range_taken

#: Values of a channel that is called "from 0 to 255" and reaches no further than a 64th of it lie in [0, 1].
FAINT = 64


@speaks
@dataclass(frozen=True)
class ImageInput:
    """Which images a segmenter takes.

    Args:
        low: the value of black.
        high: the value of white.
        size: (H, W), or None where it takes any.
        mean: of red, green and blue in [0, 1], if it takes images that are normalised, ``(x - mean) / std``; low and
            high follow from these then.
        std: the same.

    Raises:
        ValueError: high is not above low; mean and std are not three numbers each, a std is not positive, or a range is
            given beside them.

    Example:
        >>> ImageInput(-1.0, 1.0)
        ImageInput(low=-1.0, high=1.0, size=None)
        >>> ImageInput(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)).high
        2.0
    """

    low: float = 0.0
    high: float = 1.0
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = field(default=(), repr=False)
    std: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        mean, std = (tuple(float(value) for value in values) for values in (self.mean, self.std))
        if (mean or std) and (len(mean) != 3 or len(std) != 3 or min(std) <= 0):
            raise refusal(
                ValueError(f"mean and std must be three numbers each, std positive, but got {mean} and {std}.")
            )
        if mean:
            ends = (
                min(-middle / spread for middle, spread in zip(mean, std)),
                max((1 - middle) / spread for middle, spread in zip(mean, std)),
            )
            if (self.low, self.high) not in ((0, 1), ends):
                raise refusal(
                    ValueError(f"mean and std must be without low and high, but come with {self.low} and {self.high}.")
                )
            if len({*mean}) == len({*std}) == 1:  # channels are treated alike, which a range says
                mean, std = (), ()
            for name, value in zip(("mean", "std", "low", "high"), (mean, std, *ends)):
                object.__setattr__(self, name, value)
        if not self.low < self.high:
            raise refusal(ValueError(f"high must be above low, but got {self.low} and {self.high}."))

    @property
    def said(self) -> str:
        """In words."""
        if self.mean:
            return f"normalised by {[*self.mean]} and {[*self.std]}"
        return f"[{self.low:g}, {self.high:g}]"

    def values_as(self, other: ImageInput) -> bool:
        """Whether another takes the same values, of whatever size."""
        return (self.low, self.high, self.mean, self.std) == (other.low, other.high, other.mean, other.std)


def input_of(segmenter: Any) -> ImageInput | None:
    """Which images a segmenter says that it takes, by its `input` or its `signed`; None where it does not say."""
    own = getattr(segmenter, "input", None)
    if isinstance(own, ImageInput):
        return own
    ends = range_taken(segmenter)
    return None if ends is None else ImageInput(*ends)


def given_by(images: Any) -> ImageInput | None:
    """Which images a data set says that it gives, by its `normalisation`; None where it does not say."""
    while not hasattr(images, "normalisation") and isinstance(images, (DataLoader, Subset)):
        if isinstance(images, DataLoader) and images.collate_fn is not default_collate:
            return None  # it may change them
        images = images.dataset
    told = getattr(images, "normalisation", None)
    if not isinstance(told, Normalisation):
        return None
    return ImageInput() if told.is_none else ImageInput(mean=told.mean, std=told.std)


def converted(images: Tensor, given: ImageInput, wanted: ImageInput) -> Tensor:
    """Images of one kind as of another: by way of [0, 1], to which they are clamped, and resized."""
    if not given.values_as(wanted):
        if given.mean:
            mean, std = (images.new_tensor(values)[:, None, None] for values in (given.mean, given.std))
            images = images * std + mean
        elif (given.low, given.high) != (0, 1):
            images = (images - given.low) / (given.high - given.low)
        images = images.clamp(0, 1)
        if wanted.mean:
            mean, std = (images.new_tensor(values)[:, None, None] for values in (wanted.mean, wanted.std))
            images = (images - mean) / std
        elif (wanted.low, wanted.high) != (0, 1):
            images = images * (wanted.high - wanted.low) + wanted.low
    if wanted.size is not None and tuple(images.shape[2:]) != wanted.size:
        images = F.interpolate(images, wanted.size, mode="bilinear", antialias=True)
    return images


def conversion(given: ImageInput, wanted: ImageInput) -> str:
    """What `converted` does, in words; "" for nothing."""
    said = []
    if not given.values_as(wanted):
        said.append(f"{given.said} to {wanted.said}")
    if wanted.size is not None and wanted.size != given.size:
        said.append(f"to {wanted.size[0]}x{wanted.size[1]}")
    return ", ".join(said)


class RangeWatch:
    """Looks at the first images that come, and refuses what cannot be meant.

    Args:
        wanted: which images should come.

    Example:
        >>> import torch
        >>> RangeWatch(ImageInput()).see(torch.full((1, 3, 2, 2), 3.0))
        Traceback (most recent call last):
        ...
        ValueError: images must lie in [0, 1], but reach from 3 to 3; segmentation.fitted converts other ranges.
    """

    def __init__(self, wanted: ImageInput) -> None:
        self._wanted, self._seen, self._ends = wanted, 0, (0.0, 0.0)
        signed = (wanted.low, wanted.high, wanted.mean) == (-1.0, 1.0, ())
        self._signed = SignedRange("images") if signed else None

    def see(self, images: Tensor) -> None:
        """Looks at some.

        Raises:
            TypeError, ValueError: see `check_images`; or values that would be strangely few: none below 0 in all of
                the first images, where black is; none above a 64th of white.
        """
        check_images(images, None)
        wanted = self._wanted
        check_size(images, wanted)
        if self._seen >= LEAST or not len(images):
            return
        if self._signed is not None:
            self._signed.see(images.detach(), "of the first batch" if not self._seen else "that came after the first")
            self._seen += len(images)
            return
        low, high = check_values_lie(images, wanted)
        self._ends = min(low, self._ends[0] if self._seen else low), max(high, self._ends[1])
        self._seen += len(images)
        low, high = self._ends
        if self._seen >= LEAST and ((wanted.low < 0 <= low) or 0 < high <= wanted.high / FAINT):
            raise refusal(
                ValueError(
                    f"images must be {wanted.said}, from {wanted.low:.4g} to {wanted.high:.4g}, but the first "
                    f"{self._seen} reach from {low:.4g} to {high:.4g}; segmentation.fitted converts other ranges."
                )
            )


def check_images(images: Tensor, wanted: ImageInput | None) -> None:
    """Refuses what are no images [N, 3, H, W] of floats, or, where `wanted`, of another size or range.

    Generators overshoot: values outside by up to a quarter of the range are let pass.

    Raises:
        TypeError: images of whole numbers.
        ValueError: another shape, size or range; says how they are converted.
    """
    if not images.is_floating_point():
        raise refusal(TypeError(f"images must be floats, but got {images.dtype}."))
    if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise refusal(ValueError(f"images must have shape [N, 3, H, W], but got {list(images.shape)}."))
    if wanted is not None and len(images):
        check_size(images, wanted)
        check_values_lie(images, wanted)


def check_size(images: Tensor, wanted: ImageInput) -> None:
    """Refuses images of another size, if there is one.

    Raises:
        ValueError: see there.
    """
    if wanted.size is not None and tuple(images.shape[2:]) != wanted.size and len(images):
        size = list(images.shape[2:])
        raise refusal(
            ValueError(
                f"images must be of size {list(wanted.size)}, but are of {size}; segmentation.fitted resizes them."
            )
        )


def check_values_lie(images: Tensor, wanted: ImageInput) -> tuple[float, float]:
    """The least and the largest value of images, which must lie in a range, or beyond it by a quarter at most.

    Raises:
        ValueError: see there.
    """
    low, high = (float(end) for end in images.detach().aminmax())
    slack = (wanted.high - wanted.low) / 4
    if not (wanted.low - slack <= low and high <= wanted.high + slack):
        raise refusal(
            ValueError(
                f"images must lie in [{wanted.low:g}, {wanted.high:g}], but reach from {low:.4g} to {high:.4g}; "
                "segmentation.fitted converts other ranges."
            )
        )
    return low, high
