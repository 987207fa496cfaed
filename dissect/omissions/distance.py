"""The Frechet Segmentation Distance of a generator's images from real ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.arguments import refusal, seed_number, speaks
from dissect.omissions.statistics import SegmentationStatistics, check_samples
from dissect.stats.bootstrap import FEWEST, ends, enough_draws
from dissect.stats.frechet import frechet_distance


@dataclass(frozen=True)
class SegmentationDistance:
    """A Frechet Segmentation Distance, in squared percent of an image.

    Attributes:
        distance: the FSD.
        mean_part: what the means add to it, ``|m_g - m_t|^2``.
        covariance_part: what the covariances add.
        low: the lower end of its 95 % interval; NaN for fewer than 10 images, or without resamples.
        high: the upper end.
        count: N, of the images in each sample.
        floor: the FSD of two samples of N real images; NaN where no second one was given.
    """

    distance: float
    mean_part: float
    covariance_part: float
    low: float
    high: float
    count: int
    floor: float

    def __str__(self) -> str:
        sure = f" ({self.low:.1f} to {self.high:.1f})" if self.low == self.low else ""
        floor = f", {self.floor:.1f} of real images among themselves" if self.floor == self.floor else ""
        return (
            f"FSD {self.distance:.1f}{sure} %^2 at N = {self.count}{floor}; means {self.mean_part:.1f}, covariances "
            f"{self.covariance_part:.1f}"
        )


@speaks
def fsd(
    generated: SegmentationStatistics, real: SegmentationStatistics, others: SegmentationStatistics | None = None, *,
    resamples: int = 200, seed: int = 0,
) -> SegmentationDistance:  # fmt: skip
    """The Frechet Segmentation Distance (thesis, section 5.3.1).

    ::

        |m_g - m_t|^2 + trace(S_g + S_t - 2 (S_g S_t)^(1/2))

    with means m and covariances S (they divide by N - 1) of the areas of all classes in percent of an image, "no label"
    included, as the published code has it; so its unit is a squared percent. Samples of finite size never have
    distance 0, and the smaller they are the larger it is, so distances of different N cannot be compared: both samples
    must have the same N, and distances that are compared as well.

    The interval is where 95 % of distances lie when the images of both samples are drawn again with replacement. As
    each such sample is farther away than the one from which it was drawn, by about what a sample of N is from its
    population, the middle of these distances is moved to the distance that was measured.

    Args:
        generated: statistics of the generator's images.
        real: those of real ones.
        others: those of as many other real images, for the noise floor.
        resamples: how often images are drawn again, twice at least; 0 for no interval.
        seed: of these draws.

    Raises:
        ValueError: fewer than two images, different numbers of images, vocabularies, planes, sizes or segmenters;
            others that are not of the same data or have an image of `real`.

    Example:
        >>> from dissect import tiny
        >>> from dissect.omissions import segmentation_statistics
        >>> street, scenes = tiny.generator(), tiny.TinyScenes("val", size=64, family="street")
        >>> made = segmentation_statistics(street, tiny.segmenter(signed=True), count=10, progress=False)
        >>> real = segmentation_statistics(scenes, tiny.segmenter(), count=20, progress=False)
        >>> found = fsd(made, *real.split(), resamples=20)
        >>> found.distance > 0, found.floor > 0, found.low < found.distance < found.high, found.count
        (True, True, True, 10)
    """
    samples = [generated, real] if others is None else [generated, real, others]
    check_samples(*samples)
    for sample in samples:
        real.check_comparable(sample)
        if len(sample) != len(real) or len(sample) < 2:
            counts = [len(each) for each in samples]
            raise refusal(
                ValueError(
                    f"samples must have the same number of images, at least 2, since the distance falls with it, but "
                    f"have {counts}; SegmentationStatistics.first(count) makes them equal."
                )
            )
    enough_draws(resamples)
    seed_number(seed)
    floor = float("nan")
    if others is not None:
        if others.source != real.source:
            raise refusal(ValueError("others must be of the data set that real is of, but are of another."))
        real.check_disjoint(others)
        floor = frechet_distance(*_columns(others, real))
    ours, theirs = _columns(generated, real)
    distance = frechet_distance(ours, theirs)
    mean_part = float((ours.mean(0) - theirs.mean(0)).square().sum())
    low, high = _interval(ours, theirs, distance, resamples, seed)
    return SegmentationDistance(distance, mean_part, distance - mean_part, low, high, len(real), floor)


def _columns(one: SegmentationStatistics, other: SegmentationStatistics) -> tuple[Tensor, Tensor]:
    """[N, c] each, in percent, of the labels that occur in either."""
    occur = (one.counts.sum(0) + other.counts.sum(0)) > 0
    return one.percent[:, occur], other.percent[:, occur]


def _interval(ours: Tensor, theirs: Tensor, distance: float, resamples: int, seed: int) -> tuple[float, float]:
    if not resamples or len(ours) < FEWEST:
        return float("nan"), float("nan")
    stream = torch.Generator().manual_seed(seed)
    found = torch.empty(resamples, dtype=torch.float64)
    for at in range(resamples):
        draws = torch.randint(len(ours), (2, len(ours)), generator=stream)
        found[at] = frechet_distance(ours[draws[0]], theirs[draws[1]])
    low, high = (ends(found) - found.mean() + distance).tolist()
    return max(0.0, low), high
