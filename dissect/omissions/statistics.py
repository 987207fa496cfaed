"""Segmentation statistics: how much of each image every class takes, over real images or a generator's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.files.checked import Array, Each, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.generators.counting import Segmenting
from dissect.network.identity import code_of, fingerprint, weights_fingerprint
from dissect.omissions.counting import Counting, GeneratedImages, RealImages, digest_of
from dissect.segmentation.protocol import adapted
from dissect.visits.images import Images
from dissect.visits.run import finish


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class SegmentationStatistics(Result):
    """How many pixels of each image carry each label, and what follows of it (thesis, section 5.3.1).

    ::

        a[n, c] = 100 * pixels of label c in image n / pixels of image n       label 0, "no label", included

    Everything is read from integers, so that samples which were counted in parts give the same bits as one.

    Attributes:
        concepts: names and categories of the labels.
        planes: the segmentation's planes that were counted; of several a pixel has label c if any says c.
        num_pixels: of one image's plane.
        counts: [N, C] int32, pixels of each label in each image.
        numbers: [N] int64, of the images in their data set, or of their z in the set that the seed names.
        segmenter: the fingerprint of its weights; "labels" for the images' own planes.
        source: what the images are: a generator's fingerprint; of real ones their number and the data set's own
            fingerprint or, where it has none, a digest: of all values of a tensor, of the first, the middle and the
            last image of a data set, of all that was read of an iterable.
        settings: seed, and the size to which images were brought.

    Example: see `segmentation_statistics`.
    """

    kind = "segmentation statistics"
    suffix = ".segstats"

    concepts: Concepts
    planes: tuple[int, ...]
    num_pixels: int
    counts: Tensor
    numbers: Tensor
    segmenter: str
    source: str
    settings: dict[str, Any]

    def __repr__(self) -> str:
        found = int((self.counts.sum(0)[1:] > 0).sum())
        return f"<SegmentationStatistics of {len(self)} images: {found} of {len(self.concepts) - 1} classes>"

    def __len__(self) -> int:
        """N."""
        return len(self.counts)

    @property
    def percent(self) -> Tensor:
        """[N, C] float64: a."""
        return self.counts.double() * 100 / self.num_pixels

    @property
    def mean(self) -> Tensor:
        """[C] float64: the mean of a, in percent of an image."""
        return self.counts.sum(0).double() * 100 / (self.num_pixels * len(self))

    @property
    def covariance(self) -> Tensor:
        """[C, C] float64: the covariance of a, in percent squared; it divides by N - 1.

        Raises:
            ValueError: a single image has none.
        """
        count = len(self)
        if count < 2:
            raise refusal(ValueError(f"a covariance needs at least two images, but there are {count}."))
        wide = self.counts.long()
        sums, products = wide.sum(0).double(), (wide.T @ wide).double()
        return (products - sums[:, None] * sums / count) * (100 / self.num_pixels) ** 2 / (count - 1)

    def merge(self, other: SegmentationStatistics) -> SegmentationStatistics:
        """The statistics of both samples' images.

        Raises:
            ValueError: they do not agree (vocabulary, planes, segmenter, sizes, source), or have an image in common.
        """
        self.check_comparable(other)
        if self.source != other.source or self.settings.get("seed") != other.settings.get("seed"):
            raise refusal(ValueError("samples to merge must be of one source and seed, but are not."))
        self.check_disjoint(other)
        counts, numbers = torch.cat([self.counts, other.counts]), torch.cat([self.numbers, other.numbers])
        return self._of(counts, numbers)

    def split(self, seed: int = 0) -> tuple[SegmentationStatistics, SegmentationStatistics]:
        """Two disjoint halves of the sample, drawn at random; of an odd number one image is left out.

        Raises:
            ValueError: fewer than four images.
        """
        half = len(self) // 2
        if half < 2:
            raise refusal(ValueError(f"halves need at least four images, but there are {len(self)}."))
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed_number(seed)))
        parts = (drawn[:half].sort().values, drawn[half : 2 * half].sort().values)
        one, other = (self._of(self.counts[rows], self.numbers[rows]) for rows in parts)
        return one, other

    def first(self, count: int) -> SegmentationStatistics:
        """The statistics of the first `count` images.

        Raises:
            ValueError: there are not so many.
        """
        if not 1 <= integer("count", count) <= len(self):
            raise refusal(ValueError(f"count must be at most {len(self)}, but is {count}."))
        return self._of(self.counts[:count], self.numbers[:count])

    def check_comparable(self, other: SegmentationStatistics) -> None:
        """Refuses another sample with which no comparison means anything.

        Raises:
            ValueError: says in what they differ.
        """
        check_samples(other)
        same = {
            "vocabulary": self.concepts == other.concepts,
            "planes": self.planes == other.planes,
            "pixels of an image": self.num_pixels == other.num_pixels,
            "segmenter": self.segmenter == other.segmenter,
        }
        differ = [name for name, equal in same.items() if not equal]
        if differ:
            raise refusal(ValueError(f"statistics to compare must agree, but their {', '.join(differ)} differ."))

    def check_disjoint(self, other: SegmentationStatistics) -> None:
        """Refuses a sample of the same source that has an image of this one.

        Raises:
            ValueError: names one.
        """
        common = sorted({*self.numbers.tolist()} & {*other.numbers.tolist()})
        if self.source == other.source and common:
            raise refusal(ValueError(f"samples must have no image in common, but image {common[0]} is in both."))

    def _of(self, counts: Tensor, numbers: Tensor) -> SegmentationStatistics:
        return SegmentationStatistics(
            self.concepts, self.planes, self.num_pixels, counts, numbers, self.segmenter, self.source, self.settings
        )

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {name: getattr(self, name) for name in ("planes", "num_pixels", "segmenter", "source", "settings")}
        meta |= {"names": self.concepts.names, "categories": self.concepts.categories}
        return {"counts": self.counts, "numbers": self.numbers}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> SegmentationStatistics:
        """See `Result`."""
        sizes = fields(what, meta, _META)
        fields(what, tensors, {**_TENSORS, "counts": Array(torch.int32, "N C", 0, meta["num_pixels"])}, sizes)
        numbers = tensors["numbers"]
        require(what, len(numbers.unique()) == len(numbers) > 0, "each image is there once, and one at least")
        if len(meta["planes"]) == 1:
            require(what, tensors["counts"].sum(1) == meta["num_pixels"], "labels of one plane take all its pixels")
        concepts = Concepts(tuple(meta["names"]), tuple(meta["categories"]))
        return cls(
            concepts, tuple(meta["planes"]), meta["num_pixels"], tensors["counts"], numbers, meta["segmenter"],
            meta["source"], meta["settings"],
        )  # fmt: skip


_META = {
    "names": Each(Text(), "C"), "categories": Each(Text(), "C"), "planes": Each(Whole(), different=True),
    "num_pixels": Whole(1, 1 << 30), "segmenter": Text(), "source": Text(), "settings": Of(dict),
}  # fmt: skip
_TENSORS = {"numbers": Array(torch.int64, "N", 0)}


@speaks
def segmentation_statistics(
    images_or_generator: nn.Module | Dataset[Any] | Tensor | Iterable[Any], segmenter: Segmenting | None, *,
    plane: int | Sequence[int] = 0, count: int = 10_000, seed: int = 1, size: tuple[int, int] | None = None,
    batch_size: int = 32, resume: str | Path | None = None, progress: bool = True,
) -> SegmentationStatistics:  # fmt: skip
    """Counts the pixels of each class in real images, or in those that a generator makes (thesis, section 5.3.1).

    The published code counts channel 0 of a segmentation of 10,000 images of 256x256, "no label" included; seed 1 draws
    z and the sample of real images, seed 2 a second sample of these.

    Args:
        images_or_generator: a data set, a tensor of images or an iterable of batches, of images or of (images, planes);
            or a generator from z to images in [-1, 1], in evaluation mode, which is given `dissect.latents` and, where
            it takes noise, `dissect.noise_seeds`.
        segmenter: from images to planes [N, K, H, W], with the names of its labels, `concepts`; it says by its
            attribute `signed` whether it takes images in [-1, 1] or in [0, 1]. None: the planes that come with the
            images, named by the data set's `concepts`.
        plane: the plane to count, by default that of objects; or several.
        count: how many images; of a data set or a tensor they are drawn without replacement, of an iterable of batches
            they are the first.
        seed: of the z, or of the sample.
        size: rows and columns to which images are brought (bilinear, antialiased) before they are segmented.
        batch_size: images at a time.
        resume: a folder for what an interrupted run needs to go on.
        progress: show a bar.

    Returns:
        The statistics, with `mean` and `covariance`.

    Raises:
        TypeError: a segmenter that does not name its labels; what is no image.
        ValueError: a segmenter in training mode with dropout or batch statistics; fewer images than `count`; images in
            another range than the segmenter takes; a plane that is not there; planes of several sizes; other than
            integers; no labels.

    Example:
        >>> from dissect import tiny
        >>> street = tiny.generator()
        >>> found = segmentation_statistics(street, tiny.segmenter(signed=True), count=4, progress=False)
        >>> found
        <SegmentationStatistics of 4 images: ... classes>
        >>> round(float(found.mean.sum()), 6), abs(round(float(found.covariance.sum()), 6))
        (100.0, 0.0)
    """
    chosen: Any = plane if isinstance(plane, Iterable) and not isinstance(plane, str) else [plane]
    planes = tuple(integer("plane", number, 0) for number in chosen)
    if not planes or len({*planes}) < len(planes):
        raise refusal(ValueError(f"plane must be one or several different planes, but is {plane!r}."))
    count, seed = integer("count", count), integer("seed", seed, 0, 2**32 - 1)
    if size is not None and (not isinstance(size, Sequence) or len(size) != 2):
        raise refusal(TypeError(f"size must be two integers, rows and columns, but is {size!r}."))
    size = None if size is None else (integer("size", size[0]), integer("size", size[1]))
    counted: GeneratedImages | RealImages
    if isinstance(images_or_generator, nn.Module):
        counted, fitting = GeneratedImages(images_or_generator, segmenter, count, seed), segmenter
    else:
        fitting = adapted(segmenter, images_or_generator)
        counted = RealImages(images_or_generator, fitting, count, seed, batch_size)
    run = Counting(counted, fitting, planes, size)
    batches = Batches(counted.data, batch_size)
    about = {
        "source": counted.source, "segmenter": [fingerprint(segmenter), code_of(segmenter)], "planes": list(planes),
        "count": count, "seed": seed, "size": None if size is None else list(size), "batch_size": batch_size,
    }  # fmt: skip
    steps = Images({"images": batches})
    finish(run, steps, resume=resume, about=about, progress=progress)
    if len(run.numbers) < count:
        raise refusal(ValueError(f"count must be at most the number of images, {len(run.numbers)}, but is {count}."))
    return SegmentationStatistics(
        run.concepts, planes, run.num_pixels, torch.cat(run.counts)[:count], counted.rows(torch.cat(run.found)[:count]),
        segmenter_of(segmenter), counted.source or digest_of(steps.state_dict()),
        {"seed": seed, "size": None if size is None else list(size)},
    )  # fmt: skip


def check_samples(*samples: object) -> None:
    """Whether all are statistics.

    Raises:
        TypeError: one is something else.
    """
    for sample in samples:
        if not isinstance(sample, SegmentationStatistics):
            raise refusal(TypeError(f"samples must be SegmentationStatistics, but one is {type(sample).__name__}."))


def segmenter_of(segmenter: Segmenting | None) -> str:
    """What tells a segmenter from another: its weights, or its code where it has none; "labels" where there is none."""
    if segmenter is None:
        return "labels"
    return weights_fingerprint(segmenter) if isinstance(segmenter, nn.Module) else code_of(segmenter)
