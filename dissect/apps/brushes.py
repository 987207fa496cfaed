"""Brushes: the units with which a concept is drawn and removed, from a dissection or an optimisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.generators.causal_result import CausalUnits
from dissect.generators.ranking import class_iou

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection

#: The share of a layer's units that a stroke takes: 20 of 512, as published.
SHARE = 20 / 512
#: Units of a brush at most.
MOST = 64


class Brush(NamedTuple):
    """A concept, and the units that draw it.

    Attributes:
        concept: as "category/name".
        ranking: by what the units are ranked: "iou", or "ace", their average causal effect.
        units: numbers, those that rank highest first.
        scores: of each, by which it ranks: its IoU, or its alpha.
        levels: what each is set to where the concept is drawn.
        detectors: units of the layer whose best concept this is.
    """

    concept: str
    ranking: str
    units: tuple[int, ...]
    scores: tuple[float, ...]
    levels: tuple[float, ...]
    detectors: int

    @property
    def short(self) -> str:
        """The concept without its category."""
        return self.concept.partition("/")[2]

    @property
    def name(self) -> str:
        """As "tree-iou", as the published page calls it."""
        return f"{self.short}-{self.ranking}"

    @property
    def full_name(self) -> str:
        """As "object/tree-iou"."""
        return f"{self.concept}-{self.ranking}"


def default_number(num_units: int) -> int:
    """How many units a stroke takes of a layer of so many: 3.9 %, at least one.

    Example:
        >>> default_number(512), default_number(128)
        (20, 5)
    """
    return max(1, round(SHARE * num_units))


@speaks
def brushes(
    dissection: Dissection | None, layer: str, *, causal: Iterable[CausalUnits] = (), most: int = MOST
) -> list[Brush]:
    """The concepts that can be painted in a layer, and the units of each.

    Of a dissection, every concept that is the best one of at least one detector, with its units by IoU (PNAS: 20 of
    them); first the one whose best unit has the highest. Before these, the concept of each optimisation, with its
    units by alpha. A unit is drawn at its threshold of the dissection, the level of its top 1 %, or, where there is no
    dissection, at the k of the optimisation. Units that fire nowhere, or on everything, have no such level and are left
    out.

    Args:
        dissection: of the generator; or None, where there are optimisations.
        layer: one that it has.
        causal: what `dissect.generators.causal_units` found, of the same layer.
        most: units of a brush.

    Raises:
        KeyError: the dissection has no such layer.
        ValueError: no concept can be painted; an optimisation of another layer, or of another number of units.

    Example: see `Painter`.
    """
    most = integer("most", most)
    found: list[Brush] = []
    levels = None if dissection is None else dissection.of_units(layer).thresholds
    rows = [] if dissection is None else dissection.detectors(layer)
    counts = Counter(f"{row.category}/{row.concept}" for row in rows)
    for one in causal:
        if not isinstance(one, CausalUnits) or one.layer != layer:
            got = f"of {one.layer!r}" if isinstance(one, CausalUnits) else f"a {type(one).__name__}"
            raise refusal(ValueError(f"causal must be what causal_units found in layer {layer!r}, but one is {got}."))
        if levels is not None and len(levels) != len(one.alpha):
            raise refusal(ValueError(f"causal must be of the layer's {len(levels)} units, but is of {len(one.alpha)}."))
        own = one.value if levels is None else levels
        found.append(_brush(one.concept, "ace", one.ranking, one.alpha, own, counts[one.concept], most))
    if dissection is not None and levels is not None:
        scores = {concept: class_iou(dissection, layer, concept) for concept in counts}
        for concept in sorted(counts, key=lambda concept: (-float(scores[concept].max()), concept)):
            order = scores[concept].sort(descending=True, stable=True).indices
            found.append(_brush(concept, "iou", order, scores[concept], levels, counts[concept], most))
    found = [brush for brush in found if brush.units]
    if not found:
        raise refusal(
            ValueError(
                f"layer {layer!r} must have a detector of some concept, or an optimisation, but has none; dissect it "
                "with a segmenter, or take another layer."
            )
        )
    return found


def _brush(concept: str, ranking: str, order: Tensor, scores: Tensor, levels: Tensor, count: int, most: int) -> Brush:
    chosen = [unit for unit in order.tolist() if bool(levels[unit].isfinite()) and float(scores[unit]) > 0][:most]
    own = tuple(float(levels[unit]) for unit in chosen)
    return Brush(concept, ranking, tuple(chosen), tuple(float(scores[unit]) for unit in chosen), own, count)
