"""Several segmenters as one, with one vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts, label_of
from dissect.segmentation.inputs import ImageInput
from dissect.segmentation.protocol import SegmenterProtocol


@speaks
class MergedSegmenter(nn.Module):
    """All planes of several segmenters, one after another; label 0 is "no label" in all of them.

    Labels are numbered in the order of the segmenters. ``scores(c) = 1 - prod over those that have c of (1 - scores)``.

    Args:
        segmenters: each with `concepts`, `input` and `scores`, all for the same images.
        shared: a concept that several have, by name and category, is one label; without it that is an error.

    Raises:
        TypeError: a segmenter that does not say what it takes.
        ValueError: none, segmenters for different images, or vocabularies that clash.

    Example:
        >>> from dissect.segmentation import ColorNamer, Segmenter
        >>> night = Segmenter(nn.Conv2d(3, 2, 1), Concepts.of([("dark", "scene")]), [[0, 1]])
        >>> merged = MergedSegmenter([night, ColorNamer()])
        >>> merged.concepts.names[:3], merged(torch.rand(1, 3, 4, 4)).shape
        (('-', 'dark', 'black'), torch.Size([1, 2, 4, 4]))
    """

    def __init__(self, segmenters: Sequence[SegmenterProtocol], *, shared: bool = False) -> None:
        super().__init__()
        if not segmenters:
            raise refusal(ValueError("segmenters must be at least one, but there are none."))
        for segmenter in segmenters:
            if not isinstance(segmenter, SegmenterProtocol):
                raise refusal(
                    TypeError(
                        f"segmenters must have concepts, input and scores, but a {type(segmenter).__name__} lacks some."
                    )
                )
        if len({segmenter.input for segmenter in segmenters}) > 1:
            inputs = "; ".join(str(segmenter.input) for segmenter in segmenters)
            raise refusal(
                ValueError(
                    f"segmenters must take the same images, but take {inputs}; segmentation.fitted converts them."
                )
            )
        self.segmenters = list(segmenters)
        self.networks = nn.ModuleList(segmenter for segmenter in segmenters if isinstance(segmenter, nn.Module))
        numbers: dict[tuple[str, str], int] = {}
        clashes = []
        #: Of each segmenter, the merged number of each of its labels.
        self.numbers: list[list[int]] = []
        for segmenter in segmenters:
            pairs = [*zip(segmenter.concepts.names, segmenter.concepts.categories)][1:]
            clashes += [f"{category}/{name}" for name, category in pairs if (name, category) in numbers]
            for pair in pairs:
                numbers.setdefault(pair, len(numbers) + 1)
            self.numbers.append([0, *(numbers[pair] for pair in pairs)])
        if clashes and not shared:
            named = ", ".join(clashes[:10])
            raise refusal(
                ValueError(
                    f"vocabularies must not share concepts, but share {named}; shared=True makes each one label."
                )
            )
        self.concepts = Concepts.of(list(numbers))

    @property
    def input(self) -> ImageInput:
        """Which images it takes."""
        return self.segmenters[0].input

    @property
    def signed(self) -> bool:
        """Whether images come in [-1, 1], as generators give them."""
        return (self.input.low, self.input.high) == (-1.0, 1.0)

    def extra_repr(self) -> str:
        """What tells it from another of the same segmenters."""
        return f"numbers={self.numbers}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes [N, K, H, W]: those of the first segmenter, of the second, ..."""
        planes = []
        for segmenter, numbers in zip(self.segmenters, self.numbers, strict=True):
            own = segmenter(images)
            planes.append(torch.tensor(numbers, dtype=torch.int16, device=own.device)[own.long()])
        sizes = {tuple(own.shape[2:]) for own in planes}
        if len(sizes) > 1:
            raise refusal(ValueError(f"planes must have one size, but have {sorted(sizes)}."))
        return torch.cat(planes, 1)

    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept: float [N, H, W] in [0, 1], differentiable in the images.

        Raises:
            KeyError, TypeError: as `label`.
        """
        label = self.label(concept)
        absent: Tensor | None = None
        for segmenter, numbers in zip(self.segmenters, self.numbers, strict=True):
            if label in numbers:
                missing = 1 - segmenter.scores(images, numbers.index(label))
                absent = missing if absent is None else absent * missing
        if absent is None:
            raise refusal(KeyError(f"no segmenter can show {concept!r}."))
        return 1 - absent

    def label(self, concept: str | int) -> int:
        """The label number of a concept, given by number, name or "category/name".

        Raises:
            KeyError: there is none, or a name alone stands for several.
            TypeError: neither a number nor a text.
        """
        return label_of(self.concepts, concept)
