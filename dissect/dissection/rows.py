"""The rows of a dissection's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.stats.agreement import Agreement

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection, LayerDissection


class UnitRow(NamedTuple):
    """One unit in a table. What tells whether its label can be trusted is explained in docs/trust.md.

    Attributes:
        layer: the layer's name.
        unit: number within the layer.
        concept: the best concept, "-" where no concept has an IoU above 0.
        category: the concept's category.
        iou: intersection over union with it.
        attainable: the bound ``min(q, f) / max(q, f)`` on the IoU, for concept fraction f and firing fraction
            q (with scope "category" where the union counts it: in images that show the category).
        concept_fraction: f, the share of all pixels that carry the concept.
        threshold: the level above which the unit fires: the concept's, where labels have their own.
        firing: q, the share of all pixels where it does.
        state: "ok"; "sparse": its ReLU is 0 at the threshold, so it fires on less than asked (thresholds that were
            given ask for what they get); "dead": never fires; "unmatched": its labels have thresholds of their own,
            and it coincides with none.
        p: how probable so high a best IoU is where planes are permuted among the images; None if that was not tried.
        low: the lower end of the IoU's 95 % interval; None where there are too few images.
        high: the upper end.
        same_label: whether each half of the images alone gives the concept; None if that is not known.
        held_out: the mean IoU on each half of the images with the label that the other half gives; None if not known.
        margin: by how much the IoU exceeds that of the second best concept.
        place_iou: the IoU that the best mask has that is the same in all images; None if not known.
        precision: the share of the unit's area that carries the concept.
        recall: the share of the concept's area where the unit fires.
        shown: in how many of the unit's top images the concept is anywhere; None if not known.
        accuracy: the share of pixels where unit and concept agree, both there or both not; None if not known.
        information_quality: the information quality ratio I/H of both (thesis, equation 4.2); None if not known.
    """

    layer: str
    unit: int
    concept: str
    category: str
    iou: float
    attainable: float
    concept_fraction: float
    threshold: float
    firing: float
    state: str
    p: float | None = None
    low: float | None = None
    high: float | None = None
    same_label: bool | None = None
    held_out: float | None = None
    margin: float | None = None
    place_iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    shown: int | None = None
    accuracy: float | None = None
    information_quality: float | None = None


#: What is printed of a `UnitRow`; the rest is in the rows, and in files.
PRINTED = ("layer", "unit", "concept", "category", "iou", "low", "high", "p", "same_label", "shown", "state")


#: The same of images without labels.
PRINTED_ALONE = ("layer", "unit", "threshold", "firing", "state")


class CategoryRow(NamedTuple):
    """A category in a table of detectors.

    Attributes:
        category: its name.
        concepts: how many of its concepts have at least one detector.
        units: how many units are detectors of them.
    """

    category: str
    concepts: int
    units: int


class DiscoveryRow(NamedTuple):
    """A cut-off of the IoU, and how many of the units above it would be there by chance.

    Attributes:
        layer: the layer's name.
        cutoff: of the IoU.
        units: how many units exceed it.
        by_chance: how many do on average when planes are permuted among the images.
        rate: the false discovery rate, see `Evidence.false_discovery_rate`.
    """

    layer: str
    cutoff: float
    units: int
    by_chance: float
    rate: float


def is_detector(row: UnitRow, settings: dict[str, Any], cutoff: float | None = None) -> bool:
    """Whether a unit is a detector by its dissection's rules; above another cut-off of the IoU, if one is given."""
    least = settings["detector_iou"] if cutoff is None else cutoff
    measure, least_measure = _MATCH[settings.get("match", "iou")]
    return row.iou > least and bool(getattr(row, measure) > least_measure)


#: By the rule for detectors, what must exceed what beside the IoU: see `dissect.dissection.presets.MATCHES`.
_MATCH = {"iou": ("iou", 0.0), "information": ("information_quality", 0.01), "accuracy": ("accuracy", 0.75)}


def unit_rows(dissection: Dissection, layer: LayerDissection) -> list[UnitRow]:
    """Each unit's row, in the order of the units."""
    best, concepts = layer.best_label, dissection.concepts
    scores = _at(layer.iou, best)
    firing = layer.unit_area.double() / layer.num_pixels
    fraction = (layer.label_area.double() / layer.num_pixels)[best]
    # Under scope "category" a unit is judged by where it fires in the images that show the category.
    area = layer.union_area if layer.union_area.ndim == 1 else _at(layer.union_area, best)
    judged = area.double() / layer.num_pixels
    columns = {
        "iou": scores,
        "attainable": torch.minimum(judged, fraction) / torch.maximum(judged, fraction).clamp(min=1e-300),
        "concept_fraction": fraction,
        "threshold": layer.thresholds,
        "firing": firing,
        "margin": scores - _second(layer.iou, best),
        "precision": _at(layer.intersection, best).double() / area.clamp(min=1),
        "recall": _at(layer.intersection, best).double() / layer.label_area[best].clamp(min=1),
        **_agreement(layer, best),
        **_evidence(layer, best, scores),
    }
    known = {name: values.tolist() for name, values in columns.items()}  # what is NaN in a `Table` is None
    states, shown, same = layer.states(), _shown(dissection, layer, best), _same_label(layer, best)
    return [
        UnitRow(
            layer=layer.name,
            unit=unit,
            concept=concepts.names[best[unit]],
            category=concepts.categories[best[unit]],
            state=states[unit],
            same_label=same[unit],
            shown=shown[unit],
            **{name: values[unit] for name, values in known.items()},
        )
        for unit in range(layer.num_units)
    ]


def discovery_rows(layer: LayerDissection, step: float = 0.01) -> list[DiscoveryRow]:
    """One row for each cut-off 0, 0.01, 0.02, ... that some unit exceeds; none where planes were not permuted."""
    scores, evidence = layer.best_iou, layer.evidence
    if evidence is None or not len(evidence.null):
        return []
    cutoffs = [round(at * step, 10) for at in range(int(float(scores.max()) / step + 2))]
    return [
        DiscoveryRow(
            layer.name,
            cutoff,
            int((scores > cutoff).sum()),
            evidence.by_chance(cutoff),
            evidence.false_discovery_rate(scores, cutoff),
        )
        for cutoff in cutoffs
        if bool((scores > cutoff).any())
    ]


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _second(scores: Tensor, best: Tensor) -> Tensor:
    """[U] the highest IoU of another label; 0 where there is none."""
    return scores.scatter(1, best[:, None], 0.0).amax(1)


def _agreement(layer: LayerDissection, best: Tensor) -> dict[str, Tensor]:
    """Measures that need all pixels that count; 0 for a unit without a label."""
    found = layer.agreement
    if found is None:
        return {}
    counts = (found.intersection, found.unit_area, found.label_area, found.pixels)
    own = Agreement(*(_at(part.expand(found.intersection.shape), best) for part in counts))
    measures = {"accuracy": own.accuracy(), "information_quality": own.information_quality()}
    return {name: values * (best > 0) for name, values in measures.items()}


def _evidence(layer: LayerDissection, best: Tensor, scores: Tensor) -> dict[str, Tensor]:
    evidence = layer.evidence
    if evidence is None:
        return {}
    return {
        "p": evidence.p_values(scores),
        "low": evidence.interval[:, 0],
        "high": evidence.interval[:, 1],
        "held_out": evidence.held_out.mean(0),
        "place_iou": evidence.place_iou,
    }


def _same_label(layer: LayerDissection, best: Tensor) -> list[bool | None]:
    evidence = layer.evidence
    if evidence is None:
        return [None] * len(best)
    agree = (evidence.half_labels == best).all(0).tolist()
    known = (~evidence.held_out.isnan()).all(0) & (best > 0)
    return [value if told else None for value, told in zip(agree, known.tolist())]


def _shown(dissection: Dissection, layer: LayerDissection, best: Tensor) -> list[int | None]:
    """In how many of its top images each unit's best label is; None for a unit that has none, or never fires."""
    pairs = dissection.image_labels
    if layer.evidence is None:
        return [None] * len(best)
    labels = layer.iou.shape[1]
    carried = pairs[:, 0] * labels + pairs[:, 1]
    wanted = layer.peak_images * labels + best[:, None]
    counts = torch.isin(wanted, carried).sum(1)
    named = (best > 0).tolist()
    return [count if told else None for count, told in zip(counts.tolist(), named)]
