"""Whether a unit's label can be trusted: a null of permuted planes, intervals, halves, and what place alone gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.stats.bootstrap import FEWEST, drawn_again, ends
from dissect.stats.iou import IouTally, Scope, best_labels, iou
from dissect.stats.pairs import PairTally

#: The false discovery rate that detectors beyond chance keep to.
RATE = 0.05


@dataclass(frozen=True, eq=False)
class Evidence:
    """What tells whether a layer's labels can be trusted. See docs/trust.md.

    Attributes:
        null: [K, U] float64; each unit's best IoU when the planes are permuted among the images, K times.
        interval: [U, 2] float64; where 95 % of the IoUs with the unit's label lie when images are drawn again with
            replacement (percentile bootstrap over groups of images); NaN where there are too few images.
        half_labels: [2, U] int64; the best label by each half of the images alone.
        held_out: [2, U] float64; the IoU in each half of the images with the label that the other half gives.
        place_iou: [U] float64; the highest IoU that one mask, the same in all images, has with each unit's label.

    Example:
        >>> evidence = Evidence(torch.tensor([[0.01, 0.05]]), *[torch.empty(0)] * 4)
        >>> evidence.p_values(torch.tensor([0.2, 0.03]))
        tensor([0.3333, 0.6667], dtype=torch.float64)
    """

    null: Tensor
    interval: Tensor
    half_labels: Tensor
    held_out: Tensor
    place_iou: Tensor

    def p_values(self, scores: Tensor) -> Tensor:
        """[U] float64: how probable so high a best IoU is under the null, which all units of the layer share.

        ``(1 + number of null values >= IoU) / (1 + K U)`` (the empirical p-value; Phipson & Smyth 2010).

        Args:
            scores: [U] the units' best IoUs.
        """
        return p_values(self.null, scores)

    def by_chance(self, cutoff: float) -> float:
        """How many units exceed a cut-off of the IoU under the null, on average; NaN without a null."""
        return int((self.null > cutoff).sum()) / len(self.null) if len(self.null) else float("nan")

    def false_discovery_rate(self, scores: Tensor, cutoff: float) -> float:
        """The share of units above a cut-off that would be there if planes said nothing about their images.

        ``(1 + number of null values > cut-off) / K / number of IoUs > cut-off``, at most 1; the 1 keeps a few null
        values from proving a rate of 0. NaN where no unit is above it, or without a null.

        Args:
            scores: [U] the units' best IoUs.
            cutoff: of the IoU.
        """
        found, decoys = int((scores > cutoff).sum()), len(self.null)
        if not found or not decoys:
            return float("nan")
        return min(1.0, (1 + int((self.null > cutoff).sum())) / decoys / found)

    def cutoff_at(self, scores: Tensor, rate: float) -> float | None:
        """The lowest cut-off at which the false discovery rate is at most `rate`; None where there is none.

        Args:
            scores: [U] the units' best IoUs.
            rate: between 0 and 1.
        """
        # The rate falls only where a null value is left behind.
        null, found = self.null.flatten().double().sort().values, scores.double().sort().values
        cutoffs = torch.cat([null.new_zeros(1), null.unique()])
        above = len(null) - torch.searchsorted(null, cutoffs, right=True)
        units = len(found) - torch.searchsorted(found, cutoffs, right=True)
        good = (units > 0) & ((1 + above) / max(1, len(self.null)) <= rate * units)
        return float(cutoffs[good][0]) if len(self.null) and bool(good.any()) else None


def p_values(null: Tensor, scores: Tensor) -> Tensor:
    """[U] float64: how probable so high scores [U] are by null values of any shape; NaN without any.

    ``(1 + number of null values >= score) / (1 + number of null values)`` (Phipson & Smyth 2010).
    """
    null = null.flatten().double().sort().values
    if not len(null):
        return torch.full(scores.shape, torch.nan, dtype=torch.float64)
    reached = len(null) - torch.searchsorted(null, scores.double().contiguous())
    return (1 + reached).double() / (1 + len(null))


def resampled(
    tally: IouTally | PairTally, labels: Tensor, scope: Scope, categories: tuple[str, ...], resamples: int, seed: int
) -> Tensor:
    """[U, 2] float64: the interval of each unit's IoU with a label, see `Evidence.interval`.

    Args:
        tally: that has counts by group of images.
        labels: [U] int64.
        scope: of the union.
        categories: [C] of the labels.
        resamples: how often images are drawn.
        seed: of the draws.
    """
    counts = tally.by_group(labels, scope, categories)
    return _interval(counts, tally.images_by_group() > 0, resamples, seed)


def resampled_between(tally: IouTally, labels: Tensor, resamples: int, seed: int) -> Tensor:
    """[U, K, 2] float64: intervals as `resampled` has them, of what lies between neighbouring thresholds of a unit.

    Args:
        tally: of U * K units, the k-th of each K with its k-th threshold, falling.
        labels: [U, K] int64, of what exceeds the k-th threshold and not the one before.
        resamples: how often images are drawn.
        seed: of the draws.
    """
    size = labels.shape[1]
    shared, fires, carries = tally.by_group(labels.flatten())
    # With the label of the next threshold; nothing follows the last one.
    above = tally.by_group(labels.roll(-1, 1).flatten())[0].unflatten(1, (-1, size))[..., :-1]
    shared = shared.unflatten(1, (-1, size)).clone()
    shared[..., 1:] -= above
    fires = fires.unflatten(1, (-1, size)).diff(dim=2, prepend=fires.new_zeros(len(fires), len(labels), 1))
    counts = shared.clamp(min=0).flatten(1), fires.clamp(min=0).flatten(1), carries
    found: Tensor = _interval(counts, tally.images_by_group() > 0, resamples, seed).unflatten(0, (-1, size))
    return found


def _interval(counts: tuple[Tensor, Tensor, Tensor], groups: Tensor, resamples: int, seed: int) -> Tensor:
    """[U, 2] float64: where the IoUs lie that counts [G, U] give, when those of the groups are drawn again."""
    number, units = int(groups.sum()), counts[0].shape[1]
    if number < FEWEST or not resamples:
        return torch.full((units, 2), torch.nan, dtype=torch.float64)
    weights = drawn_again(number, resamples, seed)
    # Sums of integers below 2^53: exact in float64, in any order.
    shared, fires, carries = (weights @ part[groups].double() for part in counts)
    union = fires + carries - shared
    return ends(torch.where(union > 0, shared / union.clamp(min=1), 0.0))


def halves(tally: IouTally | PairTally, scope: Scope, categories: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """`Evidence.half_labels` and `Evidence.held_out`; label 0 and NaN where a half is empty."""
    scores = [iou(*counts) for counts in tally.by_half(scope, categories)]
    units = tally.num_units
    images = tally.images_by_group().view(2, -1).sum(1)
    if scores[0].shape[1] < 2 or not bool((images > 0).all()):
        return torch.zeros(2, units, dtype=torch.int64), torch.full((2, units), torch.nan, dtype=torch.float64)
    best = [best_labels(score) for score in scores]
    held_out = [score.gather(1, other[:, None])[:, 0] for score, other in zip(scores, reversed(best))]
    named = [torch.where(score.gather(1, own[:, None])[:, 0] > 0, own, 0) for score, own in zip(scores, best)]
    return torch.stack(named), torch.stack(held_out)
