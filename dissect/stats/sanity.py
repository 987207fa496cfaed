"""Two sanity tests of measures: does a score fall when labels are taken away, or added, at random?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.stats.agreement import Agreement
from dissect.table import Table

#: The share of pairs in which a score must fall in both tests.
ENOUGH = 0.9
#: By which share of itself a score must fall at least: less would drown in a draw.
LEAST = 0.01


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


@speaks
def sanity_tests(pairs: Agreement) -> Table[SanityRow]:
    """Whether measures of agreement fall when the labels get worse (Oikarinen et al. 2025, NeuronEval).

    A measure by which units are explained must prefer the right labels to wrong ones. Of pairs of a unit and the label
    that names it, half of the label's pixels are taken away at random ("missing labels"), or as many others are added
    at random ("extra labels"). What follows is in expectation, so that nothing is drawn: of I shared pixels, A of the
    unit, L of the label and M in all, ``I / 2`` and ``L / 2`` are left, or there are ``I + (A - I) L / (M - L)`` and
    ``2 L``. A score falls where it loses more than 1 % of itself. Recall does not see the first, precision not the
    second. (The paper draws, and has the area under the curve of precision and recall among the measures that pass,
    which needs more than these counts.)

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
    both, unit, label, pixels = (part.flatten().double().cpu() for part in parts)
    known = (both > 0) & (2 * label <= pixels)
    if not bool(known.any()):
        raise refusal(ValueError("pairs must hold a unit and a label that share a pixel, but hold none."))
    as_is = _Counts(both[known], unit[known], label[known], pixels[known])
    missing = as_is._replace(both=as_is.both / 2, label=as_is.label / 2)
    more = (as_is.unit - as_is.both) * as_is.label / (as_is.pixels - as_is.label)
    extra = as_is._replace(both=as_is.both + more, label=2 * as_is.label)
    rows = []
    for name, measure in MEASURES.items():
        before = measure(as_is)
        lost, gained = (
            float((measure(worse) < before - LEAST * before.abs()).double().mean()) for worse in (missing, extra)
        )
        rows.append(SanityRow(name, lost, gained, min(lost, gained) >= ENOUGH))
    return Table(rows)
