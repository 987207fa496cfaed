"""Rows of the tables that compare dissections, made of the rows of their units."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dissect.dissection.rows import UnitRow
from dissect.stats.correlation import pearson
from dissect.stats.significance import RATE

if TYPE_CHECKING:
    from dissect.dissection.result import LayerDissection

#: What stands for all categories together.
ALL = "all"


class LayerRow(NamedTuple):
    """A layer of a network beside others.

    Attributes:
        network: the network's name.
        layer: the layer's name.
        step: the network's place in a series, such as the steps of its training; None without one.
        units: how many units the layer has.
        detectors: how many of them are detectors.
        concepts: how many different concepts these detect: the unique detectors of Zhou et al. 2018.
        ratio: of unique detectors to all units.
        beyond_chance: how many detectors also exceed the cut-off above which at most 5 % of the units would be there by
            chance; None where planes were not permuted.
        concepts_beyond_chance: how many different concepts those detect.
        by_chance: how many units exceed the detector cut-off with the planes of other images, on average.
        certain: how many detectors have the whole 95 % interval of their IoU above the cut-off; None without intervals.
        mean_iou: of the best IoUs of all units.
        detector_mean_iou: of those of the detectors; None where there are none.
        sparse: how many units fire on less than asked, since their ReLU is 0 there.
        dead: how many units never fire.
        images: that were looked at.
    """

    network: str
    layer: str
    step: float | None
    units: int
    detectors: int
    concepts: int
    ratio: float
    beyond_chance: int | None
    concepts_beyond_chance: int | None
    by_chance: float | None
    certain: int | None
    mean_iou: float
    detector_mean_iou: float | None
    sparse: int
    dead: int
    images: int


class LayerCategoryRow(NamedTuple):
    """A category in a layer of a network.

    Attributes:
        network, layer, step: as in `LayerRow`.
        category: its name.
        detectors: how many units are detectors of one of its concepts.
        concepts: how many of its concepts have a detector.
        ratio: of those to all units of the layer.
        beyond_chance, concepts_beyond_chance: as in `LayerRow`.
    """

    network: str
    layer: str
    step: float | None
    category: str
    detectors: int
    concepts: int
    ratio: float
    beyond_chance: int | None
    concepts_beyond_chance: int | None


class LayerConceptRow(NamedTuple):
    """A concept that has detectors in a layer of a network.

    Attributes:
        network, layer: as in `LayerRow`.
        category: of the concept.
        rank: from 1 on, among the category's concepts in this layer: by the number of their detectors, and then by
            the best IoU.
        concept: its name.
        detectors: how many units detect it.
        beyond_chance: how many of those are beyond chance; None where planes were not permuted.
        mean_iou: of its detectors.
        unit: the one with the best IoU.
        iou: that one's.
    """

    network: str
    layer: str
    category: str
    rank: int
    concept: str
    detectors: int
    beyond_chance: int | None
    mean_iou: float
    unit: int
    iou: float


class BestUnitRow(NamedTuple):
    """One of the best units for a concept in one of the networks.

    Attributes:
        category: of the concept.
        concept: its name.
        networks: how many of the networks have a detector of it.
        network: this one's name.
        rank: from 1 on, among the network's detectors of the concept, all layers together.
        layer: the unit's layer.
        unit: its number.
        iou: with the concept.
        low: the lower end of its 95 % interval; None where there is none.
        high: the upper end.
        beyond_chance: whether it is; None where planes were not permuted.
    """

    category: str
    concept: str
    networks: int
    network: str
    rank: int
    layer: str
    unit: int
    iou: float
    low: float | None
    high: float | None
    beyond_chance: bool | None


class CorrelationRow(NamedTuple):
    """Whether the concepts with more detectors have better ones (Zhou et al. 2018, Fig. 10).

    Attributes:
        network, layer: as in `LayerRow`.
        category: whose concepts are the points; "all" for those of all categories.
        concepts: how many have detectors, and so are points.
        r: Pearson's, between the number of a concept's detectors and their mean IoU; None of fewer than three
            concepts, or where one of both is the same for all.
        low: the lower end of its 95 % interval (Fisher's z); None of fewer than four concepts.
        high: the upper end.
    """

    network: str
    layer: str
    category: str
    concepts: int
    r: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Compared:
    """A layer of a network, as its rows are made of it.

    Attributes:
        network: the network's name.
        step: its place in a series.
        layer: the layer.
        units: the rows of all units.
        detectors: those of its detectors.
        cutoff: that these exceed.
        images: how many there were.
        beyond: the numbers of the detectors beyond chance; None where planes were not permuted.
    """

    network: str
    step: float | None
    layer: LayerDissection
    units: list[UnitRow]
    detectors: list[UnitRow]
    cutoff: float
    images: int
    beyond: frozenset[int] | None = field(init=False)

    def __post_init__(self) -> None:
        allowed = self.layer.cutoff_at(RATE)
        lowest = math.inf if allowed is None else max(allowed, self.cutoff)
        judged = self.layer.evidence is not None and len(self.layer.evidence.null) > 0
        beyond = frozenset(row.unit for row in self.detectors if row.iou > lowest) if judged else None
        object.__setattr__(self, "beyond", beyond)

    def by_concept(self) -> dict[tuple[str, str], list[UnitRow]]:
        """The detectors by (category, concept), the best first."""
        found: dict[tuple[str, str], list[UnitRow]] = defaultdict(list)
        for row in sorted(self.detectors, key=lambda row: (-row.iou, row.unit)):
            found[row.category, row.concept].append(row)
        return found

    def counts(self, category: str | None = None) -> tuple[int, int, int | None, int | None]:
        """How many detectors and concepts there are, and how many of both beyond chance; of one category or of all."""
        rows = [row for row in self.detectors if category in (None, row.category)]
        surer = None if self.beyond is None else [row for row in rows if row.unit in self.beyond]
        return (
            len(rows),
            _concepts(rows),
            None if surer is None else len(surer),
            None if surer is None else _concepts(surer),
        )


def layer_row(one: Compared) -> LayerRow:
    """What a layer comes to."""
    detectors, concepts, beyond, surer = one.counts()
    lows = [row.low for row in one.units if row.low is not None]
    evidence, states = one.layer.evidence, [row.state for row in one.units]
    return LayerRow(
        one.network,
        one.layer.name,
        one.step,
        len(one.units),
        detectors,
        concepts,
        concepts / max(len(one.units), 1),
        beyond,
        surer,
        None if beyond is None or evidence is None else evidence.by_chance(one.cutoff),
        sum(row.low is not None and row.low > one.cutoff for row in one.detectors) if lows else None,
        _mean([row.iou for row in one.units]) or 0.0,
        _mean([row.iou for row in one.detectors]),
        states.count("sparse"),
        states.count("dead"),
        one.images,
    )


def category_rows(one: Compared, categories: Sequence[str]) -> list[LayerCategoryRow]:
    """A layer's counts, category by category."""
    rows = []
    for category in categories:
        detectors, concepts, beyond, surer = one.counts(category)
        ratio, place = concepts / max(len(one.units), 1), (one.network, one.layer.name, one.step)
        rows.append(LayerCategoryRow(*place, category, detectors, concepts, ratio, beyond, surer))
    return rows


def concept_rows(one: Compared, categories: Sequence[str]) -> list[LayerConceptRow]:
    """A layer's concepts, category by category, in the order of their ranks."""
    found, rows = one.by_concept(), []
    for category in categories:
        own = [(concept, units) for (its, concept), units in found.items() if its == category]
        own.sort(key=lambda pair: (-len(pair[1]), -pair[1][0].iou, pair[0]))
        for rank, (concept, units) in enumerate(own, 1):
            beyond = None if one.beyond is None else sum(row.unit in one.beyond for row in units)
            mean, best = _mean([row.iou for row in units]) or 0.0, units[0]
            place = one.network, one.layer.name, category, rank, concept
            rows.append(LayerConceptRow(*place, len(units), beyond, mean, best.unit, best.iou))
    return rows


def best_unit_rows(layers: Iterable[Compared], count: int) -> list[BestUnitRow]:
    """Each concept's best units in each network: concepts of most networks first, then those with the best units."""
    found: dict[tuple[str, str], dict[str, list[tuple[Compared, UnitRow]]]] = defaultdict(lambda: defaultdict(list))
    for one in layers:
        for row in one.detectors:
            found[row.category, row.concept][one.network].append((one, row))
    for networks in found.values():
        for units in networks.values():
            units.sort(key=lambda pair: -pair[1].iou)  # ties in the order of layers and units
    highest = {key: max(units[0][1].iou for units in networks.values()) for key, networks in found.items()}
    order = sorted(found, key=lambda key: (-len(found[key]), -highest[key], key))
    return [
        BestUnitRow(
            *key, len(found[key]), network, rank, row.layer, row.unit, row.iou,
            row.low, row.high, None if one.beyond is None else row.unit in one.beyond,
        )
        for key in order
        for network, units in found[key].items()
        for rank, (one, row) in enumerate(units[:count], 1)
    ]  # fmt: skip


def correlation_rows(rows: Iterable[LayerConceptRow], categories: Sequence[str]) -> list[CorrelationRow]:
    """Of each layer's concepts, all of them and category by category."""
    layers: dict[tuple[str, str], list[LayerConceptRow]] = defaultdict(list)
    for row in rows:
        layers[row.network, row.layer].append(row)
    found = []
    for (network, layer), points in layers.items():
        for category in (ALL, *categories):
            own = [row for row in points if category in (ALL, row.category)]
            if own:
                number, mean = [row.detectors for row in own], [row.mean_iou for row in own]
                found.append(CorrelationRow(network, layer, category, *pearson(number, mean)))
    return found


def _concepts(rows: Iterable[UnitRow]) -> int:
    return len({(row.category, row.concept) for row in rows})


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
