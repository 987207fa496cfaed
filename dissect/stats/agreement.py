"""How well two masks agree, by every measure that follows from how many pixels each has and both share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.stats.iou import iou


@dataclass(frozen=True, eq=False)
class Agreement:
    """Pixels where a unit fires and where a label is, in counts, and what follows from them.

    With I the pixels where both are, A the unit's, L the label's and M all, the four cells of the table of both are
    ``n11 = I``, ``n10 = A - I``, ``n01 = L - I``, ``n00 = M - A - L + I``, of shares ``p = n / M`` with marginals
    ``p1. = A / M`` and ``p.1 = L / M``. Every measure is float64 of the counts' joint shape, finite wherever the counts
    are: a quotient whose denominator is 0 is 0, and 0 log 0 is 0. Logarithms are natural.

    Attributes:
        intersection: I, integers.
        unit_area: A, broadcasts to the intersection.
        label_area: L, broadcasts to the intersection.
        pixels: M, broadcasts to the intersection.

    Example:
        >>> both = dissect.stats.Agreement(*(torch.tensor(n) for n in (30, 40, 50, 100)))
        >>> both.iou().item(), both.f1().item(), both.precision().item(), both.recall().item(), both.accuracy().item()
        (0.5, 0.6666666666666666, 0.75, 0.6, 0.7)
        >>> both.correlation().round(decimals=4).item(), both.cosine().round(decimals=4).item()
        (0.4082, 0.6708)
        >>> both.information_quality().round(decimals=4).item()
        0.0674
    """

    intersection: Tensor
    unit_area: Tensor
    label_area: Tensor
    pixels: Tensor

    def iou(self) -> Tensor:
        """``I / (A + L - I)`` (Bau et al. 2020, equation 1); 0 where neither fires."""
        flat = [part.expand(self.intersection.shape).flatten() for part in (self.unit_area, self.label_area)]
        return iou(self.intersection.flatten()[None], flat[0][None], flat[1]).view(self.intersection.shape)

    def f1(self) -> Tensor:
        """``2 I / (A + L)`` (Dice); 0 where neither is anywhere."""
        return _share(2 * self.intersection, self.unit_area + self.label_area)

    def correlation(self) -> Tensor:
        """``(M I - A L) / sqrt(A (M - A) L (M - L))``, Pearson's of both masks; 0 where one is constant."""
        shared, fires, carries, pixels = (part.double() for part in (
            self.intersection, self.unit_area, self.label_area, self.pixels
        ))  # fmt: skip
        spread = (fires * (pixels - fires) * carries * (pixels - carries)).sqrt()
        return _share(pixels * shared - fires * carries, spread)

    def cosine(self) -> Tensor:
        """``I / sqrt(A L)``; 0 where either is nowhere."""
        return _share(self.intersection, (self.unit_area.double() * self.label_area.double()).sqrt())

    def precision(self) -> Tensor:
        """``I / A``; 0 where the unit never fires."""
        return _share(self.intersection, self.unit_area)

    def recall(self) -> Tensor:
        """``I / L``; 0 where the label is nowhere."""
        return _share(self.intersection, self.label_area)

    def accuracy(self) -> Tensor:
        """``(n11 + n00) / M = (M - A - L + 2 I) / M`` (the pixel accuracy of the thesis, Fig. 4-5); 0 of no pixels."""
        both = self.pixels - self.unit_area - self.label_area + 2 * self.intersection
        return _share(both, self.pixels)

    def mutual_information(self) -> Tensor:
        """``I = sum over i, j of p_ij log (p_ij / (p_i. p_.j))``: 0 where one is everywhere or nowhere."""
        total = torch.zeros(self.intersection.shape, dtype=torch.float64, device=self.intersection.device)
        pixels, fires, carries = (part.double() for part in (self.pixels, self.unit_area, self.label_area))
        marginals = [(f, c) for f in (fires, pixels - fires) for c in (carries, pixels - carries)]
        for number, (one, other) in zip(self._cells(), marginals):
            # As one quotient of products, so that it is exactly 1 where the other is everywhere or nowhere; a marginal
            # is 0 only where the cell is.
            total += torch.xlogy(number, number * pixels / (one * other).clamp(min=1))
        return (total / self.pixels.clamp(min=1)).clamp(min=0)

    def joint_entropy(self) -> Tensor:
        """``H = - sum over i, j of p_ij log p_ij``."""
        total = torch.zeros(self.intersection.shape, dtype=torch.float64, device=self.intersection.device)
        pixels = self.pixels.double().clamp(min=1)
        for number in self._cells():
            total -= torch.xlogy(number / pixels, number / pixels)
        return total

    def information_quality(self) -> Tensor:
        """The information quality ratio ``I / H`` (thesis, equation 4.2), from 0 to 1; 0 where H is 0."""
        return _share(self.mutual_information(), self.joint_entropy())

    def _cells(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shared = self.intersection
        unit_only, label_only = self.unit_area - shared, self.label_area - shared
        neither = self.pixels - self.unit_area - label_only
        return shared.double(), unit_only.double(), label_only.double(), neither.double()


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole`` in float64, 0 where the whole is."""
    part, whole = part.double(), whole.double()
    return torch.where(whole == 0, 0.0, part / torch.where(whole == 0, 1.0, whole))


def average_precision(agreement: Agreement) -> Tensor:
    """The mean of the precision over the recall as the threshold falls, of counts at rising edges along the last axis.

    ``AP = sum over b of (R_b - R_{b+1}) P_b``, with recall 0 above the highest edge. What lies at or below the lowest
    edge is not told apart: it is retrieved last, all at once, at precision ``L / M``. This is what scikit-learn's
    `average_precision_score` says of the number of edges that each pixel exceeds. A label that is nowhere has 0.

    Args:
        agreement: counts [..., B]; all pixels of the label and in all are the same at every edge.

    Returns:
        [...] float64.

    Example:
        >>> counts = [torch.tensor(n) for n in ([[2, 1]], [[3, 1]], [[4, 4]], [[8, 8]])]
        >>> average_precision(dissect.stats.Agreement(*counts))  # 1/4 * 1/1 + 1/4 * 2/3 + 2/4 * 4/8
        tensor([0.6667], dtype=torch.float64)
    """
    recall, precision = agreement.recall(), agreement.precision()
    gained = recall - torch.nn.functional.pad(recall[..., 1:], (0, 1))
    prevalence = _share(agreement.label_area, agreement.pixels).expand(recall.shape)[..., 0]
    last = torch.where(prevalence > 0, 1 - recall[..., 0], 0.0)
    return (gained * precision).sum(-1) + last * prevalence
