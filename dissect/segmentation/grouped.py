"""Segmentation networks: label planes of images, and differentiable scores of a concept."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaker, speaks
from dissect.concepts import Concepts
from dissect.segmentation.inputs import ImageInput, RangeWatch


class Segmenter(nn.Module):
    """Label planes by a network that has one group of logits for each plane.

    A plane's labels exclude one another::

        plane k of a pixel = the label of group k with the largest logit     (of two, the first in the group)
        scores of c        = 1 - prod over the groups with c of (1 - softmax of the group at c)

    so scores [N, H, W] is the probability that some plane says c, as the network has it, and differentiable.

    Args:
        network: images to logits [N, sum of the groups' lengths, H, W].
        concepts: names and categories of the labels.
        groups: for each plane the labels that its logits stand for, usually with 0 ("no label") first.
        signed: images come in [-1, 1], as generators give them, and are clamped and brought to [0, 1].

    Forward:
        images: float [N, 3, H, W]. Returns planes int16 [N, K, H, W], without gradients.

    Raises:
        ValueError: no groups, a label outside the vocabulary or twice in a group, or logits that are not as many as
            the groups' labels.

    Example:
        >>> from dissect.segmentation import Segmenter
        >>> night = nn.Conv2d(3, 2, 1)
        >>> segmenter = Segmenter(night, Concepts.of(["dark"]), [[0, 1]])
        >>> images = torch.zeros(1, 3, 4, 4)
        >>> segmenter(images).shape, segmenter.scores(images, "dark").shape
        (torch.Size([1, 1, 4, 4]), torch.Size([1, 4, 4]))
    """

    @speaks
    def __init__(
        self, network: nn.Module, concepts: Concepts, groups: Sequence[Sequence[int]], *, signed: bool = False
    ) -> None:
        super().__init__()
        if not groups:
            raise refusal(ValueError("groups must hold the labels of at least one plane, but there are none."))
        for group in groups:
            if len(set(group)) != len(group) or not group or not all(0 <= label < len(concepts) for label in group):
                raise refusal(
                    ValueError(f"groups must hold different labels in [0, {len(concepts)}), but one is {list(group)}.")
                )
        self.network, self.concepts, self.signed = network, concepts, signed
        self._watch: RangeWatch | None = None
        self.groups = [list(group) for group in groups]

    @property
    def input(self) -> ImageInput:
        """Which images it takes."""
        return ImageInput(-1.0 if self.signed else 0.0, 1.0)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes int16 [N, K, H, W] of images [N, 3, H, W]."""
        planes = [
            torch.tensor(group, dtype=torch.int16, device=images.device)[logits.argmax(1)]
            for group, logits in zip(self.groups, self.logits(images), strict=True)
        ]
        return torch.stack(planes, 1)

    @speaks
    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept: float [N, H, W] in [0, 1], differentiable in the images.

        Args:
            images: float [N, 3, H, W].
            concept: a label number, or a name; "category/name" where planes show it in several categories.

        Raises:
            KeyError: there is no such concept, no group has it, or groups have it in several categories.
            TypeError: neither a number nor a text.
        """
        label = self.label(concept)
        absent: Tensor | None = None
        for group, logits in zip(self.groups, self.logits(images), strict=True):
            if label in group:
                missing = 1 - logits.float().softmax(1)[:, group.index(label)]
                absent = missing if absent is None else absent * missing
        if absent is None:
            raise refusal(KeyError(f"no plane can show {concept!r}."))
        return 1 - absent

    @speaks
    def label(self, concept: str | int) -> int:
        """The label number of a concept, given by number, name or "category/name".

        Raises:
            KeyError: there is none, or a name alone stands for several that planes show.
            TypeError: neither a number nor a text.
        """
        if not isinstance(concept, str):
            try:
                number = operator.index(concept)
            except TypeError:
                kind = type(concept).__name__
                raise refusal(TypeError(f"concept must be a label number or a name, but got a {kind}.")) from None
            if not 0 < number < len(self.concepts):
                raise refusal(KeyError(f"concept must be in [1, {len(self.concepts)}), but got {number}."))
            return number
        category, slash, name = concept.partition("/")
        if slash:
            return self.concepts.number(name, category)
        shown = sorted({label for group in self.groups for label in group if self.concepts.names[label] == concept})
        if len(shown) > 1:
            choices = ", ".join(repr(f"{self.concepts.categories[label]}/{concept}") for label in shown)
            raise refusal(KeyError(f"{concept!r} is in several categories; say which: {choices}."))
        return shown[0] if shown else self.concepts.number(concept)

    def logits(self, images: Tensor) -> tuple[Tensor, ...]:
        """The network's logits, [N, labels of the group, H, W] for each group."""
        self._watch = self._watch or RangeWatch(self.input)
        self._watch.see(images)
        shown = images.add(1).div(2).clamp(0, 1) if self.signed else images
        logits = self.network(shown)
        widths = [len(group) for group in self.groups]
        if logits.dim() != 4 or logits.shape[1] != sum(widths):
            with speaker("Segmenter"):
                got = list(logits.shape)
                raise refusal(
                    ValueError(f"network must give [N, {sum(widths)}, H, W] for these groups, but gave {got}.")
                )
        groups: tuple[Tensor, ...] = logits.split(widths, 1)
        return groups
