"""One visit to images, real or a generator's, that counts the pixels of each class in each of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from dissect import ops
from dissect.arguments import check_values, refusal
from dissect.concepts import Concepts
from dissect.data import Batch, Batches
from dissect.data.batches import attribute_of, image_of
from dissect.data.planes import check_named, label_planes
from dissect.devices import checksum, device_of
from dissect.digests import digest
from dissect.files.checked import Array, Of, Whole, fields, require
from dissect.generated import Generated
from dissect.generators.counting import Segmenting
from dissect.models import latents, noise_seeds
from dissect.models.noise import takes_noise
from dissect.network.identity import fingerprint
from dissect.network.modes import check_evaluating, check_segmenter, range_taken
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step


class GeneratedImages:
    """z, and the images that a generator makes of them."""

    def __init__(self, generator: nn.Module, segmenter: Segmenting | None, count: int, seed: int) -> None:
        if segmenter is None:
            raise refusal(ValueError("segmenter must see what a generator makes, but is None."))
        check_evaluating(generator)
        check_segmenter(segmenter, generated=True)
        self._generated, self._device = Generated(generator), device_of(generator)
        self.source: str | None = fingerprint(generator)
        self.concepts = None
        z = latents(generator, count, seed).cpu()
        self.data: Any = TensorDataset(z, noise_seeds(count, seed)) if takes_noise(generator) else z

    def images(self, batch: Batch, index: int) -> Tensor:
        """The generator's images of a batch of z."""
        return self._generated.made(index, batch, self._device)

    def rows(self, numbers: Tensor) -> Tensor:
        """The numbers of the z."""
        return numbers


def numbered(images: Any) -> bool:
    """Whether images are known by their numbers: of a map-style data set, or of a tensor."""
    return isinstance(images, Tensor) or (
        isinstance(images, Dataset) and not isinstance(images, IterableDataset) and hasattr(images, "__len__")
    )


def source_of(images: Any, batch_size: int = 32) -> str | None:
    """What tells images from others; None for what can only be read from its beginning.

    That is their data set's own fingerprint; without one a digest of a tensor, or of the first, the middle and the last
    image of a data set.

    Example:
        >>> source_of(torch.zeros(2, 3, 4, 4)) == source_of(torch.ones(2, 3, 4, 4))
        False
    """
    told = Batches(images, batch_size).identity()[1]
    if told is None and numbered(images):
        whole = images.tensors[0] if isinstance(images, TensorDataset) else images
        places = (0, len(images) // 2, len(images) - 1) if len(images) else ()
        few = [whole] if isinstance(whole, Tensor) else [images[at] for at in places]
        told = digest_of([_sum(image_of(item)) for item in few])
    return None if told is None else f"{len(images)} images, {told}" if numbered(images) else str(told)


def digest_of(value: Any) -> str:
    """A short name of what JSON can hold."""
    return digest([repr(value)])


def _sum(image: Any) -> list[Any]:
    check_values("images", image)
    return [*image.shape, int(checksum(image))] if isinstance(image, Tensor) else [type(image).__qualname__]


class RealImages:
    """A sample of a data set."""

    def __init__(self, images: Any, segmenter: Segmenting | None, count: int, seed: int, batch_size: int) -> None:
        self.concepts = attribute_of(images, "concepts")
        known = len(images) if numbered(images) else None
        if known is not None and known < count:
            raise refusal(ValueError(f"count must be at most the number of images, {known}, but is {count}."))
        self.source = source_of(images, batch_size)
        self._rows: Tensor | None = None
        if known is not None:
            drawn = np.sort(np.random.RandomState(seed).permutation(known)[:count])
            self._rows = torch.from_numpy(drawn)
            images = images[self._rows] if isinstance(images, Tensor) else Subset(images, drawn.tolist())
        self.data, self._ends = images, range_taken(segmenter)

    def images(self, batch: Batch, index: int) -> Tensor:
        """The images of a batch.

        Raises:
            ValueError: they are in another range than the segmenter takes.
        """
        if not batch.images.is_floating_point():
            raise refusal(
                TypeError(f"images must be floats, but those of batch {index} are {batch.images.dtype}; divide by 255.")
            )
        low, high = (float(end) for end in batch.images.detach().aminmax())
        least, most = (-math.inf, math.inf) if self._ends is None else self._ends
        slack = 0 if self._ends in (None, (-1, 1), (0, 1)) else (most - least) / 1000  # by rounding of normalised ones
        if not (least - slack <= low and high <= most + slack and math.isfinite(high - low)) or low >= 0 > least > -9:
            wanted = "finite" if self._ends is None else f"in [{least:g}, {most:g}]"
            raise refusal(
                ValueError(
                    f"images must be {wanted}, as the segmenter takes them, but those of batch {index} are in "
                    f"[{low:g}, {high:g}]; make the segmenter with another signed=, or bring the images there."
                )
            )
        return batch.images

    def rows(self, numbers: Tensor) -> Tensor:
        """The images' numbers in the data set."""
        return numbers if self._rows is None else self._rows[numbers]


class Counting(Run):
    """One visit that counts the pixels of each label in each image."""

    def __init__(
        self, counted: GeneratedImages | RealImages, segmenter: Segmenting | None, planes: tuple[int, ...],
        size: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        names = getattr(segmenter, "concepts", None) if segmenter is not None else counted.concepts
        if names is None:
            whose = "the images" if segmenter is None else "segmenter"
            raise refusal(TypeError(f"{whose} must have an attribute concepts, the names of the labels, but has none."))
        check_segmenter(segmenter)
        self.concepts = Concepts.of(names)
        self._counted, self._segmenter, self._planes, self._size = counted, segmenter, planes, size
        self.num_pixels, self.done = 0, False
        self.counts: list[Tensor] = []
        self.found: list[Tensor] = []

    @property
    def numbers(self) -> list[int]:
        """Of all images so far."""
        return [number for part in self.found for number in part.tolist()]

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("segmenting", last=True, planes=self._segmenter is None)

    @torch.no_grad()
    def compute(self, step: Step) -> Any:
        """See `Run`.

        Raises:
            ValueError: the planes are none.
        """
        index = len(self.found)
        images = self._counted.images(Batch(step.numbers, step.shown, step.planes), index)
        planes: Any = step.planes
        if self._segmenter is not None:
            if self._size is not None:
                images = interpolate(images, self._size, mode="bilinear", align_corners=False, antialias=True)
            planes = self._segmenter(images)
        if not isinstance(planes, Tensor) or planes.is_floating_point():
            got = planes.dtype if isinstance(planes, Tensor) else type(planes).__name__
            raise refusal(ValueError(f"planes must be integers [N, K, H, W], but those of batch {index} are {got}."))
        planes = label_planes(planes, images, index)
        if planes.ndim != 4 or len(planes) != len(images) or planes.shape[1] <= max(self._planes):
            raise refusal(
                ValueError(
                    f"planes must have shape [N={len(images)}, K, H, W] with K above plane {max(self._planes)}, but "
                    f"those of batch {index} have {list(planes.shape)}."
                )
            )
        pixels = planes.shape[2] * planes.shape[3]
        if self.num_pixels not in (0, pixels):
            raise refusal(
                ValueError(f"planes must all have one size, but batch {index} has {pixels} pixels, not those before.")
            )
        chosen = planes[:, list(self._planes)].contiguous()
        check_named(chosen, len(self.concepts), f"those of batch {index} ")
        areas = ops.encode_labels(chosen, len(self.concepts)).area.cpu().int()
        areas[:, 0] = (chosen == 0).all(1).sum((1, 2), dtype=torch.int32).cpu()
        return step.numbers, areas, pixels

    def add(self, found: Any) -> None:
        """See `Run`."""
        numbers, areas, self.num_pixels = found
        self.found.append(numbers)
        self.counts.append(areas)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        none = torch.empty(0, dtype=torch.int64)
        counts = torch.cat([torch.empty(0, len(self.concepts), dtype=torch.int32), *self.counts])
        sizes = torch.tensor([len(part) for part in self.found], dtype=torch.int64)
        numbers = torch.cat([none, *self.found])
        return {"counts": counts, "found": numbers, "sizes": sizes, "pixels": self.num_pixels, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`.

        Raises:
            ValueError: it holds what cannot be.
        """
        rules = {
            "counts": Array(torch.int32, "N C", 0), "found": Array(torch.int64, "N", 0),
            "sizes": Array(torch.int64, "B", 1), "pixels": Whole(), "done": Of(bool),
        }  # fmt: skip
        fields("the counts", state, rules, {"C": len(self.concepts)})
        sizes = state["sizes"].tolist()
        require("the counts", sum(sizes) == len(state["counts"]), "batches have all images")
        self.counts, self.found = list(state["counts"].split(sizes)), list(state["found"].split(sizes))
        self.num_pixels, self.done = state["pixels"], state["done"]
