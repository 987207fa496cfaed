"""How well a unit's peaks tell images with a concept from those without: by ranks, and by the best threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.chosen import half_of, rank_keys
from dissect.stats.bootstrap import FEWEST
from dissect.stats.proportion import wilson_interval

#: What an image is to a concept: with it, without any, or neither, as where it covers less than the area asked for.
WITH, WITHOUT, NEITHER = 1, 0, -1
#: Images of each kind in a balanced sample, at most (Bau et al. 2020, Fig. 1F).
MOST = 1000


class NoClassifierError(ValueError):
    """Images are too few for a threshold, or a unit's peak is the same in all."""


@dataclass(frozen=True, eq=False)
class Separation:
    """How well each of U units' peaks tell images with each of C concepts from those without.

    Attributes:
        auroc: [U, C] float64; NaN where a concept has too few images, see `separation`.
        p: [U, C] float64, two-sided; NaN as there.
        q: [U, C] float64, of all tests together (Benjamini & Hochberg 1995); NaN as there.
        present: [C] int64, how many images are with the concept.
        absent: [C] int64, how many are without.
    """

    auroc: Tensor
    p: Tensor
    q: Tensor
    present: Tensor
    absent: Tensor


def separation(peaks: Tensor, roles: Tensor, least: int = FEWEST) -> Separation:
    """The area under the ROC curve of every unit for every concept, with p-values.

    ``auroc = P(peak with > peak without) + P(equal) / 2``, by mean ranks. p is that of Mann and Whitney's test,
    two-sided: the normal approximation, corrected for ties and continuity. q is the lowest false discovery rate, among
    all tests made here, at which the pair counts as found; it holds where tests are independent or rise together.
    A unit that is constant over a concept's images has 0.5 and p = 1.

    Args:
        peaks: [N, U] each unit's highest activation in each image.
        roles: [N, C] int: `WITH`, `WITHOUT` or `NEITHER`.
        least: how many images a concept needs on each side; the approximation is poor below 8.

    Raises:
        ValueError: other shapes or roles, or peaks that are not finite.

    Example:
        >>> peaks = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> found = separation(peaks, torch.tensor([[0], [1], [0], [1]]), least=2)
        >>> found.auroc.item(), found.present.item(), found.absent.item()
        (0.75, 2, 2)
    """
    _check(peaks, roles)
    present, absent = (roles == WITH).sum(0), (roles == WITHOUT).sum(0)
    auroc, p = torch.full((2, peaks.shape[1], roles.shape[1]), torch.nan, dtype=torch.float64)
    enough = ((present >= least) & (absent >= least)).nonzero()[:, 0]
    used, which = (roles[:, enough] != NEITHER).T.unique(dim=0, return_inverse=True)
    for number, rows in enumerate(used):  # peaks are ranked once for all concepts of the same images
        own = enough[which == number]
        auroc[:, own], p[:, own] = _rank_tests(peaks[rows], roles[rows][:, own] == WITH)
    return Separation(auroc, p, adjusted(p), present, absent)


def adjusted(p: Tensor) -> Tensor:
    """p-values of several tests as false discovery rates (Benjamini & Hochberg 1995), of the same shape.

    ``q of the i-th lowest of m = min over j >= i of m p_j / j``; NaN is no test, and stays.

    Example:
        >>> adjusted(torch.tensor([0.01, 0.5, 0.02], dtype=torch.float64)).tolist()
        [0.03, 0.5, 0.03]
    """
    made = ~p.isnan()
    ordered, order = p[made].sort()
    number = len(ordered)
    rates = (ordered * number / torch.arange(1, number + 1)).flip(0)
    lowest = rates.cummin(0).values.flip(0) if number else rates
    tests = torch.empty_like(ordered)
    tests[order] = lowest.clamp(max=1)
    q = p.clone()
    q[made] = tests
    return q


@dataclass(frozen=True)
class ThresholdClassifier:
    """A unit as a classifier: an image has the concept if the peak exceeds a threshold.

    Attributes:
        threshold: between two neighbouring peaks of the half that it was chosen on.
        accuracy: balanced, in the other half: the mean of the shares of images with and without that it gets right.
        low: the lower end of its 95 % interval, at this threshold: Wilson's of both shares, squared and added (Newcombe
            1998); None where there are fewer than 10 images of a kind.
        high: the upper end.
        chosen_on: accuracy in the half that the threshold was chosen on, which is too good.
        counts: images with and without in the half that chose, then with and without in the other.
    """

    threshold: float
    accuracy: float
    low: float | None
    high: float | None
    chosen_on: float
    counts: tuple[int, int, int, int]


def threshold_classifier(
    peaks: Tensor, roles: Tensor, numbers: Tensor, *, least: int = FEWEST, most: int = MOST
) -> ThresholdClassifier:
    """The best threshold on one half of a balanced sample, and its balanced accuracy on the other.

    Halves are by another hash of the number than the sample (`balanced_sample`), so neither depends on order or
    batches. Of thresholds that are equally good, the lowest.

    Args:
        peaks: [N] a unit's highest activation in each image.
        roles: [N] int: `WITH`, `WITHOUT` or `NEITHER`.
        numbers: [N] int64, each image's number in the data set.
        least: how many images each half needs on each side.
        most: how many of each kind the sample has, at most.

    Raises:
        NoClassifierError: too few images, or a unit that is constant.
        ValueError: other shapes or roles, or peaks that are not finite.

    Example:
        >>> peaks, roles = torch.arange(40.0), (torch.arange(40) >= 20).long()
        >>> found = threshold_classifier(peaks, roles, torch.arange(40), least=5)
        >>> found.accuracy, found.threshold
        (1.0, 19.0)
    """
    _check(peaks[..., None], roles[..., None])
    if numbers.shape != peaks.shape:
        raise refusal(ValueError(f"numbers must have shape {list(peaks.shape)}, but have {list(numbers.shape)}."))
    kept = balanced_sample(roles, numbers, most)
    values, own, half = peaks[kept].double(), roles[kept] == WITH, half_of(numbers[kept])
    with_0, without_0, with_1, without_1 = (
        int(((half == part) & (own == kind)).sum()) for part in (0, 1) for kind in (True, False)
    )
    counts = with_0, without_0, with_1, without_1
    if min(counts) < least:
        told = "{} with and {} without in the half that chooses, {} and {} in the other".format(*counts)
        raise refusal(
            NoClassifierError(f"least asks for {least} images of each kind in each half, but there are {told}.")
        )
    threshold, chosen_on = _best_threshold(values[half == 0], own[half == 0])
    right = (values > threshold) == own
    parts = [right[(half == 1) & (own == kind)].double() for kind in (True, False)]
    accuracy = float(sum(part.mean() for part in parts)) / 2
    return ThresholdClassifier(threshold, accuracy, *_interval(parts), chosen_on, counts)


def balanced_sample(roles: Tensor, numbers: Tensor, most: int = MOST) -> Tensor:
    """[M] int64: places of as many images with as without, in the order of their numbers.

    All of the rarer kind, but no more than `most`, and those of the other whose numbers' hashes are lowest.

    Args:
        roles: [N] int: `WITH`, `WITHOUT` or `NEITHER`.
        numbers: [N] int64, each image's number in the data set.
        most: how many of each kind, at most.

    Example:
        >>> balanced_sample(torch.tensor([0, 1, -1, 0, 1]), torch.arange(5), most=1).tolist()
        [0, 4]
    """
    kinds = [(roles == kind).nonzero()[:, 0] for kind in (WITH, WITHOUT)]
    size = min(most, *(len(kind) for kind in kinds))
    drawn = torch.cat([kind[rank_keys(numbers[kind]).argsort()[:size]] for kind in kinds])
    return drawn[numbers[drawn].argsort()]


def _check(peaks: Tensor, roles: Tensor) -> None:
    if peaks.ndim != 2 or roles.ndim != 2 or len(peaks) != len(roles):
        shapes = f"{list(peaks.shape)} and {list(roles.shape)}"
        raise refusal(ValueError(f"peaks and roles must be of the same images, [N, U] and [N, C], but are {shapes}."))
    if not bool(peaks.isfinite().all()):
        raise refusal(ValueError("peaks must be finite, but some are NaN or infinite."))
    if roles.numel() and (int(roles.min()) < NEITHER or int(roles.max()) > WITH):
        raise refusal(ValueError("roles must be 1 (with), 0 (without) or -1 (neither), but others are among them."))


def _rank_tests(peaks: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """[U, C] areas and [U, C] p-values of peaks [N, U] for the images own [N, C]."""
    number, images = len(own), own.sum(0).double()
    pairs = images * (number - images)
    # Equal values share their mean rank. Both it and the size of the tie follow from where they begin and end.
    values = peaks.T.contiguous()
    ordered = values.sort(1).values
    begin, end = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    ranks = (begin + end + 1).double()  # twice the mean ranks, whose sums are exact below 2^53
    wins = (ranks @ own.double() - images * (images + 1)) / 2
    ties = ((end - begin).double() ** 2 - 1).sum(1, keepdim=True)  # t of each tie add t^3 - t
    spread = (pairs / 12 * (number + 1 - ties / (number * (number - 1)))).clamp(min=0).sqrt()
    z = ((wins - pairs / 2).abs() - 0.5).clamp(min=0) / spread
    p = torch.where(spread > 0, torch.erfc(z / math.sqrt(2)), 1.0)
    return wins / pairs, p


def _best_threshold(values: Tensor, own: Tensor) -> tuple[float, float]:
    """The threshold of the highest balanced accuracy, and that."""
    levels = values.unique()
    if len(levels) < 2:
        raise refusal(
            NoClassifierError(f"the unit's peak is {float(levels[0])} in all images of the half that chooses.")
        )
    between = (levels[1:] + levels[:-1]) / 2
    shares = [
        torch.searchsorted(kind.sort().values, between, right=True).double() / len(kind)
        for kind in (values[own], values[~own])
    ]
    accuracies = (1 - shares[0] + shares[1]) / 2
    best = int((accuracies == accuracies.max()).nonzero()[0])
    return float(between[best]), float(accuracies[best])


def _interval(parts: list[Tensor]) -> tuple[float | None, float | None]:
    """The interval of the mean of two shares, see `ThresholdClassifier.low`."""
    if min(len(part) for part in parts) < FEWEST:
        return None, None
    shares = [float(part.mean()) for part in parts]
    lows, highs = zip(*(wilson_interval(int(part.sum()), len(part)) for part in parts))
    accuracy = sum(shares) / 2
    down, up = (math.hypot(*(share - end for share, end in zip(shares, ends))) / 2 for ends in (lows, highs))
    return max(0.0, accuracy - down), min(1.0, accuracy + up)
