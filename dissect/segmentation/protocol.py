"""What the library takes for a segmenter, and what its own segmenters have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts, label_of


@speaks
@dataclass(frozen=True)
class ImageInput:
    """Which images a segmenter takes.

    Args:
        low: the value of black.
        high: the value of white.
        size: (H, W), or None where it takes any.

    Raises:
        ValueError: high is not above low.

    Example:
        >>> ImageInput(-1.0, 1.0)
        ImageInput(low=-1.0, high=1.0, size=None)
    """

    low: float = 0.0
    high: float = 1.0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise refusal(ValueError(f"high must be above low, but got {self.low} and {self.high}."))


@runtime_checkable
class SegmenterProtocol(Protocol):
    """What a segmenter is: any object with these. `dissect.dissect` needs the call alone, with `concepts=` beside it.

    ``segmenter(images)`` gives planes of labels, integers [N, K, H, W], 0 for "no label", without gradients.
    ``concepts`` names the labels. ``scores(images, concept)``, [N, H, W] in [0, 1], is differentiable in the images;
    only what optimises images or units needs it. ``input`` says which images both take; `fitted` makes a segmenter that
    takes others.
    """

    concepts: Concepts

    @property
    def input(self) -> ImageInput:
        """Which images it takes."""

    def __call__(self, images: Tensor) -> Tensor:
        """Planes of labels."""

    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept."""


class ImageSegmenter(nn.Module):
    """The base of segmenters that look at images in [0, 1], or in [-1, 1] where `signed`.

    Images whose values cannot be meant so are refused, when the first ones come.

    Args:
        concepts: names and categories of the labels.
        signed: images come in [-1, 1], as generators give them.
    """

    def __init__(self, concepts: Concepts, *, signed: bool = False) -> None:
        super().__init__()
        self.concepts, self.signed = concepts, signed
        self._looked = False

    @property
    def input(self) -> ImageInput:
        """Which images it takes."""
        return ImageInput(-1.0 if self.signed else 0.0, 1.0)

    def label(self, concept: str | int) -> int:
        """The label number of a concept, given by number, name or "category/name".

        Raises:
            KeyError: there is none, or a name alone stands for several.
            TypeError: neither a number nor a text.
        """
        return label_of(self.concepts, concept)

    def extra_repr(self) -> str:
        """What tells it from another of the same weights; a run that goes on asks for it."""
        return f"signed={self.signed}, names={self.concepts.names[1:]}"

    def unit_range(self, images: Tensor) -> Tensor:
        """The images in [0, 1].

        Raises:
            TypeError: images of whole numbers.
            ValueError: another shape, or the first images are in another range.
        """
        check_images(images, None if self._looked else self.input)
        self._looked = True
        return (images.add(1).div(2) if self.signed else images).clamp(0, 1)


def check_images(images: Tensor, wanted: ImageInput | None) -> None:
    """Refuses what are no images [N, 3, H, W] of floats, or, where `wanted`, in another range.

    Generators overshoot: values outside by up to a quarter of the range are let pass.

    Raises:
        TypeError: images of whole numbers.
        ValueError: another shape or range; says how they are converted.
    """
    if not images.is_floating_point():
        raise refusal(TypeError(f"images must be floats, but got {images.dtype}."))
    if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise refusal(ValueError(f"images must have shape [N, 3, H, W], but got {list(images.shape)}."))
    if wanted is None or not len(images):
        return
    if wanted.size is not None and tuple(images.shape[2:]) != wanted.size:
        size = list(images.shape[2:])
        raise refusal(
            ValueError(
                f"images must be of size {list(wanted.size)}, but are of {size}; segmentation.fitted resizes them."
            )
        )
    low, high = (float(end) for end in images.detach().aminmax())
    slack = (wanted.high - wanted.low) / 4
    if not (wanted.low - slack <= low and high <= wanted.high + slack):
        raise refusal(
            ValueError(
                f"images must lie in [{wanted.low:g}, {wanted.high:g}], but reach from {low:.4g} to {high:.4g}; "
                "segmentation.fitted converts other ranges."
            )
        )


class Fitted(nn.Module):
    """A segmenter that takes other images than it was made for; see `fitted`.

    Attributes:
        conversion: what is done to the images, in words; "" for nothing.
    """

    def __init__(self, segmenter: SegmenterProtocol, given: ImageInput, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.segmenter, self.input, self.concepts = segmenter, given, segmenter.concepts
        self._normalised = tuple(mean), tuple(std)
        wanted, said = segmenter.input, []
        if mean:
            said.append(f"normalised by {list(mean)} and {list(std)} to [{wanted.low:g}, {wanted.high:g}]")
        elif (given.low, given.high) != (wanted.low, wanted.high):
            said.append(f"[{given.low:g}, {given.high:g}] to [{wanted.low:g}, {wanted.high:g}]")
        if wanted.size not in (None, given.size):
            said.append(f"to {wanted.size[0]}x{wanted.size[1]}")
        self.conversion = ", ".join(said)
        self._looked = False

    @property
    def signed(self) -> bool:
        """Whether images come in [-1, 1], as generators give them."""
        return (self.input.low, self.input.high) == (-1.0, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Planes of labels, at the size at which the segmenter gives them."""
        return self.segmenter(self._converted(images))

    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept."""
        return self.segmenter.scores(self._converted(images), concept)

    def extra_repr(self) -> str:
        """Says what is done to the images."""
        return self.conversion

    def _converted(self, images: Tensor) -> Tensor:
        check_images(images, None if self._looked else self.input)
        self._looked = True
        wanted, (low, high) = self.segmenter.input, (self.input.low, self.input.high)
        if self._normalised[0]:
            mean, std = (images.new_tensor(values)[:, None, None] for values in self._normalised)
            images, low, high = images * std + mean, 0.0, 1.0
        if (low, high) != (wanted.low, wanted.high):
            images = (images - low) * ((wanted.high - wanted.low) / (high - low)) + wanted.low
        if wanted.size is not None and tuple(images.shape[2:]) != wanted.size:
            images = F.interpolate(images, wanted.size, mode="bilinear", antialias=True)
        return images


@speaks
def fitted(
    segmenter: SegmenterProtocol,
    *,
    low: float = 0.0,
    high: float = 1.0,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Fitted:
    """A segmenter for images of another range or size than its own `input`: they are converted, once, and it says how.

    With ``segment="input"`` a segmenter sees what the dissected model does: images that were normalised for it, as
    those of `dissect.data.ImageFolder` are; `mean` and `std` take that back.

    Args:
        segmenter: with `concepts` and `input`.
        low: the value of black in the images that will be given.
        high: the value of white.
        size: (H, W) of these images, if all must have it.
        mean: of red, green and blue in [0, 1], if the images are normalised, ``(x - mean) / std``.
        std: the same.

    Raises:
        TypeError: a segmenter that does not say what it takes.
        ValueError: mean and std are not three numbers each, a std is not positive, or a range is given beside them.

    Example:
        >>> night = nn.Conv2d(3, 2, 1)
        >>> segmenter = dissect.segmentation.Segmenter(night, Concepts.of(["dark"]), [[0, 1]])
        >>> fitted(segmenter, low=-1, high=1).conversion
        '[-1, 1] to [0, 1]'
    """
    if not isinstance(segmenter, SegmenterProtocol):
        raise refusal(
            TypeError(f"segmenter must have concepts, input and scores, but a {type(segmenter).__name__} lacks some.")
        )
    mean, std = [float(value) for value in mean], [float(value) for value in std]
    if (mean or std) and (len(mean) != 3 or len(std) != 3 or min(std) <= 0 or (low, high) != (0, 1)):
        raise refusal(
            ValueError(
                f"mean and std must be three numbers each, std positive, without low and high, but got {mean}, {std}, "
                f"{low:g} and {high:g}."
            )
        )
    if mean:
        low = min(-middle / spread for middle, spread in zip(mean, std))
        high = max((1 - middle) / spread for middle, spread in zip(mean, std))
    return Fitted(segmenter, ImageInput(float(low), float(high), size), mean, std)


def as_planes(labels: list[Tensor]) -> Tensor:
    """Planes int16 [N, K, H, W] of K planes [N, H, W]."""
    return torch.stack(labels, 1).to(torch.int16)
