"""Two sanity tests of measures: does a score fall when labels are taken away, or added, at random?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect.arguments import refusal, speaks
from dissect.stats.agreement import Agreement
from dissect.table import Table

#: The share of pairs in which a score must fall in both tests.
ENOUGH = 0.9
#: By which share of itself a score must fall at least: less would drown in a draw.
LEAST = 0.01
#: How many of the measures of counts pass in the paper.
PASSING = 4


class SanityRow(NamedTuple):
    """A measure.

    Attributes:
        measure: its name.
        missing: the share of pairs whose score falls when half of the label's pixels are taken away.
        extra: the share of those whose score falls when as many pixels again are added.
        passes: whether both are at least 0.9.
    """

    measure: str
    missing: float
    extra: float
    passes: bool


class _Counts(NamedTuple):
    """Pixels of P pairs, float64: both, the unit's, the label's, all."""

    both: Tensor
    unit: Tensor
    label: Tensor
    pixels: Tensor


def _quotient(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(other > 0, one / other.clamp(min=1e-300), 0.0)


def _correlation(c: _Counts) -> Tensor:
    spread = c.unit * (c.pixels - c.unit) * c.label * (c.pixels - c.label)
    return _quotient(c.pixels * c.both - c.unit * c.label, spread.sqrt())


def _balanced(c: _Counts) -> Tensor:
    outside = _quotient(c.pixels - c.unit - c.label + c.both, c.pixels - c.label)
    return (_quotient(c.both, c.label) + outside) / 2


#: By name; those that pass in the paper first.
MEASURES: dict[str, Callable[[_Counts], Tensor]] = {
    "f1": lambda c: _quotient(2 * c.both, c.unit + c.label),
    "iou": lambda c: _quotient(c.both, c.unit + c.label - c.both),
    "correlation": _correlation,
    "cosine": lambda c: _quotient(c.both, (c.unit * c.label).sqrt()),
    "precision": lambda c: _quotient(c.both, c.unit),
    "recall": lambda c: _quotient(c.both, c.label),
    "accuracy": lambda c: _quotient(c.pixels - c.unit - c.label + 2 * c.both, c.pixels),
    "balanced_accuracy": _balanced,
}
#: Those that fail one of the tests in the paper.
FAILING = tuple(list(MEASURES)[PASSING:])


@speaks
def sanity_tests(pairs: Agreement) -> Table[SanityRow]:
    """Whether measures of agreement fall when the labels get worse (Oikarinen et al. 2025, NeuronEval).

    A measure by which units are explained must prefer the right labels to wrong ones. Of pairs of a unit and the label
    that names it, half of the label's pixels are taken away at random ("missing labels"), or as many others are added
    at random ("extra labels"). What follows is in expectation, so that nothing is drawn: of I shared pixels, A of the
    unit, L of the label and M in all, ``I / 2`` and ``L / 2`` are left, or there are ``I + (A - I) L / (M - L)`` and
    ``2 L``. A score falls where it loses more than 1 % of itself. Recall does not see the first, precision not the
    second. (The paper draws. The fifth measure that passes there, the area under the curve of precision and recall,
    needs counts at more than one threshold: `curve_sanity_tests`.)

    Args:
        pairs: the counts of P pairs, in any shape; pairs that share no pixel, or whose label has more than half of all,
            are left out.

    Raises:
        ValueError: no pair is left.

    Example:
        >>> pairs = dissect.stats.Agreement(*(torch.tensor([n]) for n in (30, 40, 50, 1000)))
        >>> [row.measure for row in sanity_tests(pairs) if row.passes]
        ['f1', 'iou', 'correlation', 'cosine']
    """
    parts = torch.broadcast_tensors(pairs.intersection, pairs.unit_area, pairs.label_area, pairs.pixels)
    counts = _Counts(*(part.flatten().double().cpu() for part in parts))
    known = _usable(counts)
    if not bool(known.any()):
        raise refusal(ValueError("pairs must hold a unit and a label that share a pixel, but hold none."))
    return Table(_rows(_Counts(*(part[known] for part in counts))))


@speaks
def curve_sanity_tests(curves: Agreement, at: int | Tensor) -> Table[SanityRow]:
    """`sanity_tests` of counts at many thresholds, with the area under the curve of precision and recall among them.

    That area is the average precision, ``AP = sum over b of d_b I_b / (L A_b)``, of the d_b pixels of the label that
    exceed edge b and no higher one, and I_b and A_b that exceed it (`average_precision`). Of K pixels drawn from n
    without replacement each is drawn with probability ``p = K / n``, and each two with ``q = p (K - 1) / (n - 1)``, so
    with ``K = ceil(L / 2)`` of the label's the mean over all draws is exactly

        ``E[AP] = sum over b of (q d_b I_b + (p - q) d_b) / (K A_b)``,

    and with ``K = L`` of the ``n = M - L`` others, of which m_b lie between edges and J_b = A_b - I_b above,

        ``E[AP] = sum over b of (d_b I_b + p (d_b J_b + m_b I_b) + q m_b J_b + (p - q) m_b) / (2 L A_b)``.

    The other measures are of the counts at one edge, where units fire.

    Args:
        curves: counts [P, B] of P pairs at B rising edges, as of `ThresholdSweep.agreement` or `activation_curves`.
        at: the number of that edge, one for all or [P] int64.

    Raises:
        ValueError: counts of another shape, an edge that there is not, or no pair is left, as of `sanity_tests`.

    Example:
        >>> maps, labels = torch.tensor([[0.1, 0.9, 0.8, 0.2, 0.3, 0.0]]), torch.tensor([[0, 1, 1, 0, 0, 0]])
        >>> rows = curve_sanity_tests(activation_curves(maps, labels), at=3)
        >>> [row.measure for row in rows if not row.passes]
        ['precision', 'recall']
    """
    parts = torch.broadcast_tensors(curves.intersection, curves.unit_area, curves.label_area, curves.pixels)
    if parts[0].ndim != 2:
        raise refusal(ValueError(f"curves must be counts [P, B], but are of shape {list(parts[0].shape)}."))
    whole = _Counts(*(part.double().cpu() for part in parts))
    edges = torch.as_tensor(at).cpu()
    if edges.dtype.is_floating_point or edges.ndim > 1 or (edges.ndim and len(edges) != len(whole.both)):
        raise refusal(ValueError(f"at must be an edge, or one of each of P={len(whole.both)} pairs, but is {at!r}."))
    if not bool(((edges >= 0) & (edges < whole.both.shape[1])).all()):
        raise refusal(ValueError(f"at must be from 0 to {whole.both.shape[1] - 1}, but is {at!r}."))
    place = edges.long().expand(len(whole.both))[:, None]
    counts = _Counts(*(part.gather(1, place)[:, 0] for part in whole))
    known = _usable(counts)
    if not bool(known.any()):
        raise refusal(ValueError("curves must hold a unit and a label that share a pixel, but hold none."))
    rows = _rows(_Counts(*(part[known] for part in counts)))
    kept = _Counts(*(part[known] for part in whole))
    rows.insert(PASSING, _row("average_precision", *_expected_precision(kept)))
    return Table(rows)


@speaks
def activation_curves(activations: Tensor, labels: Tensor) -> Agreement:
    """Counts [P, M] of P units and the labels that name them at every value that occurs, exactly.

    Edge b is the unit's value of rank b, the lowest first, so `average_precision` of them is scikit-learn's
    `average_precision_score` of the activations themselves.

    Args:
        activations: [P, M], of M pixels, floating and without NaN.
        labels: [P, M], or [M] for all units: where the label is, bool or numbers that are 0 elsewhere.

    Raises:
        ValueError: other shapes, no pixels, or NaN.

    Example:
        >>> curves = activation_curves(torch.tensor([[0.1, 0.9, 0.4, 0.4]]), torch.tensor([[0, 1, 1, 0]]))
        >>> curves.unit_area.tolist(), dissect.stats.average_precision(curves)  # 1/2 * 1/1 + 1/2 * 2/3
        ([[3, 1, 1, 0]], tensor([0.8333], dtype=torch.float64))
    """
    if activations.ndim != 2 or not activations.shape[1] or not activations.is_floating_point():
        raise refusal(ValueError(f"activations must be floating [P, M], but are of shape {list(activations.shape)}."))
    if labels.shape not in (activations.shape, activations.shape[1:]):
        raise refusal(ValueError(f"labels must have shape {list(activations.shape)}, but have {list(labels.shape)}."))
    if bool(activations.isnan().any()):
        raise refusal(ValueError("activations must be numbers, but hold NaN."))
    carries = (labels != 0).expand(activations.shape)
    values, order = activations.sort(1)
    above = torch.searchsorted(values, values, right=True)  # the first place that exceeds each
    total = carries.gather(1, order).long().cumsum(1)
    shared = total[:, -1:] - total.gather(1, above - 1)
    count = activations.shape[1]
    return Agreement(shared, count - above, total[:, -1:], torch.tensor(count, device=activations.device))


def _usable(counts: _Counts) -> Tensor:
    """Pairs that share a pixel, and whose label has a pixel outside for each of its own."""
    return (counts.both > 0) & (2 * counts.label <= counts.pixels)


def _rows(as_is: _Counts) -> list[SanityRow]:
    missing = as_is._replace(both=as_is.both / 2, label=as_is.label / 2)
    more = (as_is.unit - as_is.both) * as_is.label / (as_is.pixels - as_is.label)
    extra = as_is._replace(both=as_is.both + more, label=2 * as_is.label)
    return [_row(name, *(measure(counts) for counts in (as_is, missing, extra))) for name, measure in MEASURES.items()]


def _row(name: str, before: Tensor, *worse: Tensor) -> SanityRow:
    lost, gained = (float((after < before - LEAST * before.abs()).double().mean()) for after in worse)
    return SanityRow(name, lost, gained, min(lost, gained) >= ENOUGH)


def _expected_precision(curves: _Counts) -> tuple[Tensor, Tensor, Tensor]:
    """[P] float64 each: the average precision, and its means with half of the label, and with as many others."""
    label, pixels = curves.label[:, 0], curves.pixels[:, 0]
    # What lies at or below the lowest edge is an edge of its own, which everything exceeds.
    both, unit = (torch.cat([end[:, None], part], 1) for end, part in ((label, curves.both), (pixels, curves.unit)))
    other = unit - both
    d, m = (part - pad(part[:, 1:], (0, 1)) for part in (both, other))

    def area(products: Tensor, count: Tensor) -> Tensor:
        return (_quotient(products, unit)).sum(1) / count

    def chances(drawn: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        p = drawn / of
        return p[:, None], (p * (drawn - 1) / (of - 1).clamp(min=1))[:, None]

    half = (label / 2).ceil()
    p, q = chances(half, label)
    missing = area(q * d * both + (p - q) * d, half)
    p, q = chances(label, pixels - label)
    extra = area(d * both + p * (d * other + m * both) + q * m * other + (p - q) * m, 2 * label)
    return area(d * both, label), missing, extra
