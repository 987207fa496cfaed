"""Objects, materials, parts and halves by the published segmentation network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.models.upp import UPP, UppLabels
from dissect.network.modes import check_segmenter
from dissect.segmentation.protocol import ImageSegmenter, as_planes

#: The owners of the vocabulary of 29 parts that dissected the generators (Bau et al. 2019).
ICLR_OWNERS = ("sky", "building", "person")

#: Halves, in the order of their labels, and where `component_halves` has them: (plane, value).
HALVES = {"t": (0, 1), "l": (1, 1), "b": (0, 2), "r": (1, 2)}


class UppSegmenter(ImageSegmenter):
    """Planes of objects, materials, parts, and halves of objects, by Unified Perceptual Parsing.

    With P the softmax of a head, at the images' size divided by `downsample`, and averaged over `sizes`::

        plane 0 = argmax of P(object), and plane 1 = argmax of P(material); 0 where the first label, "-", wins
        plane 2 = argmax of P(part | owner) among the parts of the object that plane 0 shows, if it has parts
        planes 3 and 4 = upper or lower, left or right half of each component of plane 0
        scores(object) = P(object),   scores(part) = sum over owners of P(owner) P(part | owner)
        scores(half) = P(object) where planes 3 and 4 show the half, else 0

    Labels are numbered as published: objects, the four halves of all objects (t, l, b, r; with `halves`), materials,
    and parts whose name no object has. A part that is called like an object is that object's label, whose score is then
    1 - (1 - P(object)) (1 - P(part)).

    Args:
        network: of `dissect.models.load_upp`, in evaluation mode.
        halves: objects are divided; the planes are five instead of three.
        owners: objects whose parts are shown; None for all, `ICLR_OWNERS` for the vocabulary of the ICLR paper.
        sizes: images are brought to each of these sizes (by averages over boxes), and their P averaged.
        downsample: the planes are so many times smaller than the images.
        omit_last: the last component of each image is not divided, as in the published code.
        signed: images come in [-1, 1], not in [0, 1].

    Raises:
        ValueError: an owner without parts, no size, downsample below 1, or a network in training mode.

    Example:
        >>> labels = UppLabels(("-", "tree"), ("-", "wood"), ("street",), (("tree", ("-", "trunk")),))
        >>> network = UPP(labels, depths=(1, 1, 1, 1), width=2, stem=(2, 2, 4), decoder=4, pooled=3).eval()
        >>> segmenter = UppSegmenter(network, sizes=(64,))
        >>> segmenter.concepts.names, segmenter(torch.rand(1, 3, 64, 64)).shape
        (('-', 'tree', 'tree-t', 'tree-l', 'tree-b', 'tree-r', 'wood', 'trunk'), torch.Size([1, 5, 64, 64]))
    """

    @speaks
    def __init__(
        self,
        network: UPP,
        *,
        halves: bool = True,
        owners: Sequence[str] | None = None,
        sizes: Sequence[int] = (256,),
        downsample: int = 1,
        omit_last: bool = False,
        signed: bool = False,
    ) -> None:
        check_segmenter(network)
        labels = network.labels
        known = [owner for owner, _ in labels.owners]
        shown = known if owners is None else list(owners)
        if strangers := [owner for owner in shown if owner not in known]:
            raise refusal(ValueError(f"owners must be objects that have parts, but {strangers} are none."))
        if not sizes or min(*sizes, downsample) < 1:
            raise refusal(ValueError(f"sizes and downsample must be positive, but got {list(sizes)} and {downsample}."))
        super().__init__(_concepts(labels, halves, shown), signed=signed)
        self.network, self.halves, self.omit_last = network, halves, omit_last
        self.sizes, self.downsample = tuple(sizes), downsample
        objects = len(labels.object)
        self._first_material = objects + 4 * (objects - 1) * halves
        #: Of each owner that is shown: its object's label, its channels of the head, the labels of its parts.
        self._parts: list[tuple[int, slice, list[int]]] = []
        channel = 0
        for owner, parts in labels.owners:
            if owner in shown:
                numbers = [0 if part == "-" else self._part_label(part) for part in parts]
                self._parts.append((labels.object.index(owner), slice(channel, channel + len(parts)), numbers))
            channel += len(parts)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes int16 [N, 3 or 5, H, W] of images [N, 3, H, W]."""
        images = self.unit_range(images)
        target = self._target(images)
        if len(self.sizes) == 1:  # which is largest is the same before the softmax: coarse logits will do
            likely, winner = self._logits(images, self.sizes[0]), partial(_largest, size=target)
        else:
            likely, winner = self._probabilities(images, target), partial(torch.argmax, dim=1)
        objects, materials = winner(likely["object"]), winner(likely["material"])
        parts = torch.zeros_like(objects)
        for label, channels, numbers in self._parts:
            own = torch.tensor(numbers, device=images.device)[winner(likely["part"][:, channels])]
            parts = torch.where(objects == label, own, parts)
        planes = [objects, materials + (self._first_material - 1) * (materials > 0), parts]
        if self.halves:
            count = len(self.network.labels.object) - 1
            divided = self._divided(objects).long()
            for plane in (0, 1):  # t and b are the first and third of the four; l and r the second and fourth
                shift = count * (2 * divided[:, plane] - 1 + plane)
                planes.append((objects + shift) * (divided[:, plane] > 0))
        return as_planes(planes)

    @speaks
    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel shows a concept: float [N, H, W] in [0, 1], differentiable in the images.

        Raises:
            KeyError, TypeError: as `label`.
        """
        label = self.label(concept)
        images = self.unit_range(images)
        likely = self._probabilities(images, self._target(images))
        objects = len(self.network.labels.object)
        if objects <= label < self._first_material:
            half, number = divmod(label - objects, objects - 1)
            plane, value = [*HALVES.values()][half]
            with torch.no_grad():
                shown = likely["object"].argmax(1)
                there = (shown == number + 1) & (self._divided(shown)[:, plane] == value)
            return likely["object"][:, number + 1] * there
        material = label - self._first_material + 1
        if 0 < material < len(self.network.labels.material):
            return likely["material"][:, material]
        absent = 1 - likely["object"][:, label] if label < objects else torch.ones_like(likely["object"][:, 0])
        parts = [
            likely["object"][:, owner] * likely["part"][:, channels][:, numbers.index(label)]
            for owner, channels, numbers in self._parts
            if label in numbers
        ]
        return 1 - absent * (1 - torch.stack(parts).sum(0)) if parts else 1 - absent

    def extra_repr(self) -> str:
        """What tells it from another of the same weights."""
        own = f"sizes={self.sizes}, downsample={self.downsample}, omit_last={self.omit_last}, parts={self._parts}"
        return f"{super().extra_repr()}, {own}"

    def _divided(self, objects: Tensor) -> Tensor:
        """The halves; a GPU is not waited for, since no label is below 0."""
        return ops.component_halves(objects, omit_last=self.omit_last, status=ops.new_status(objects.device))

    def _part_label(self, part: str) -> int:
        """Of a part of an object that is shown: that of the object of this name, if there is one."""
        names = self.network.labels.object
        return names.index(part) if part in names[1:] else self.concepts.names.index(part, self._first_part)

    @property
    def _first_part(self) -> int:
        return self._first_material + len(self.network.labels.material) - 1

    def _target(self, images: Tensor) -> tuple[int, int]:
        height, width = (max(1, length // self.downsample) for length in images.shape[2:])
        return height, width

    def _probabilities(self, images: Tensor, target: tuple[int, int]) -> dict[str, Tensor]:
        """Softmax of objects, materials, and parts of each owner, averaged over the sizes."""
        total: dict[str, Tensor] = {}
        for size in self.sizes:
            for name, values in self._logits(images, size).items():
                large = F.interpolate(values, target, mode="bilinear", align_corners=False)
                share = self._softmax(name, large) / len(self.sizes)
                total[name] = share if name not in total else total[name] + share
        return total

    def _logits(self, images: Tensor, size: int) -> dict[str, Tensor]:
        """What the network's heads give for images in [0, 1] that are brought to a size."""
        mean = torch.tensor(UPP.MEAN, device=images.device, dtype=images.dtype)[:, None, None]
        shown = F.adaptive_avg_pool2d(images, size).flip(1) * 255 - mean
        return {name: values.float() for name, values in self.network(shown).items()}

    def _softmax(self, name: str, logits: Tensor) -> Tensor:
        if name != "part":
            return logits.softmax(1)
        lengths = [len(parts) for _, parts in self.network.labels.owners]
        return torch.cat([own.softmax(1) for own in logits.split(lengths, 1)], 1) if lengths else logits


def _largest(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The number of the largest upsampled logit of each pixel, int64 [N, H, W]."""
    return ops.upsample_argmax(logits, size).long()


def _concepts(labels: UppLabels, halves: bool, owners: Sequence[str]) -> Concepts:
    """Objects, halves, materials, parts that no object is called like."""
    objects = labels.object[1:]
    found = [(name, "object") for name in objects]
    if halves:
        found += [(f"{name}-{half}", "part") for half in HALVES for name in objects]
    found += [(name, "material") for name in labels.material[1:]]
    parts = [part for owner, names in labels.owners if owner in owners for part in names]
    found += [(part, "part") for part in dict.fromkeys(parts) if part != "-" and part not in objects]
    return Concepts.of(found)
