"""What the library takes for a segmenter, and what its own segmenters have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks, tell
from dissect.concepts import Concepts, label_of
from dissect.network.modes import check_segmenter
from dissect.segmentation.inputs import ImageInput, RangeWatch, conversion, converted, given_by, input_of


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
        self._watch: RangeWatch | None = None

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
        self._watch = self._watch or RangeWatch(self.input)
        self._watch.see(images)
        return (images.add(1).div(2) if self.signed else images).clamp(0, 1)


class Fitted(nn.Module):
    """A segmenter that takes other images than it was made for; see `fitted`.

    Attributes:
        conversion: what is done to the images, in words; "" for nothing.
    """

    def __init__(
        self, segmenter: SegmenterProtocol, given: ImageInput, mean: Sequence[float] = (), std: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.concepts: Any
        if mean:
            given = ImageInput(size=given.size, mean=tuple(mean), std=tuple(std))
        self.segmenter, self.input, self.concepts = segmenter, given, getattr(segmenter, "concepts", None)
        self._wanted = input_of(segmenter) or ImageInput()
        self.conversion = conversion(given, self._wanted)
        self._watch = RangeWatch(given)

    @property
    def signed(self) -> bool:
        """Whether images come in [-1, 1], as generators give them."""
        return self.input.values_as(ImageInput(-1.0, 1.0))

    def forward(self, images: Tensor) -> Tensor:
        """Planes of labels, at the size at which the segmenter gives them."""
        return self.segmenter(self._converted(images))

    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept."""
        return self.segmenter.scores(self._converted(images), concept)

    def extra_repr(self) -> str:
        """Says what is done to the images."""
        return self.conversion

    def label(self, concept: str | int) -> int:
        """The label number of a concept, given by number, name or "category/name".

        Raises:
            KeyError: there is none, or a name alone stands for several.
            TypeError: neither a number nor a text.
        """
        own: Callable[[str | int], int] | None = getattr(self.segmenter, "label", None)
        return own(concept) if own is not None else label_of(self.concepts, concept)

    def _converted(self, images: Tensor) -> Tensor:
        self._watch.see(images)
        return converted(images, self.input, self._wanted)


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

    All that takes a segmenter does so itself where a data set says how its images were normalised, as those of
    `dissect.data` do (attribute `normalisation`); this is for images that come without a word.

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
    mean, std = (tuple(float(value) for value in values) for values in (mean, std))
    if (mean or std) and (len(mean) != 3 or len(std) != 3 or min(std) <= 0 or (low, high) != (0, 1)):
        raise refusal(
            ValueError(
                f"mean and std must be three numbers each, std positive, without low and high, but got {list(mean)}, "
                f"{list(std)}, {low:g} and {high:g}."
            )
        )
    return Fitted(segmenter, ImageInput(float(low), float(high), size, mean, std))


def adapted(segmenter: Any, images: Any, *, generated: bool = False) -> Any:
    """A segmenter that takes the images of a data set, or of a generator, as it says itself which it takes.

    What a segmenter takes is its `input` or its `signed`; what a data set gives is its `normalisation`; a generator
    gives [-1, 1]. Where both are known, images are converted (`Fitted`). Where only the segmenter says it, the first
    images are held against that. A segmenter that does not say it is given the images as they are, which is told
    where they are normalised.

    Args:
        segmenter: any, or None.
        images: the data set.
        generated: what a generator makes of it is segmented instead.

    Raises:
        ValueError: the segmenter takes images that are normalised by another mean and std than these; it is in training
            mode with dropout or batch statistics, or its weights have no values.

    Warns:
        UserWarning: images are normalised, and the segmenter does not say what it takes.
    """
    check_segmenter(segmenter)
    if segmenter is None:
        return None
    wanted, given = input_of(segmenter), ImageInput(-1.0, 1.0) if generated else given_by(images)
    if wanted is None:
        if not generated and given is not None and not given.values_as(ImageInput()):
            tell(
                f"segmenter does not say which images it takes, and is given the model's, {given.said}. An attribute "
                "input, as dissect.segmentation.ImageInput() for [0, 1], says it."
            )
        return segmenter
    if given is None:
        return Fitted(segmenter, ImageInput(wanted.low, wanted.high, None, wanted.mean, wanted.std))
    if not conversion(given, wanted):
        return segmenter
    if given.mean and wanted.mean and not given.values_as(wanted):
        raise refusal(
            ValueError(
                f"segmenter must take images that are normalised as the model's are, {given.said}, or others than "
                f"normalised ones, but takes images {wanted.said}."
            )
        )
    return Fitted(segmenter, given)


def told_conversion(segmenter: Any, images: Any, *, generated: bool = False) -> str:
    """What `adapted` has done to images, in words; "" for nothing."""
    wanted, given = input_of(segmenter), ImageInput(-1.0, 1.0) if generated else given_by(images)
    if wanted is None:
        return ""
    return conversion(given or ImageInput(wanted.low, wanted.high, None, wanted.mean, wanted.std), wanted)


def as_planes(labels: list[Tensor]) -> Tensor:
    """Planes int16 [N, K, H, W] of K planes [N, H, W]."""
    return torch.stack(labels, 1).to(torch.int16)
