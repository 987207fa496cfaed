"""What a report says, before it looks like anything: plain rows for the template, from a dissection."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.concepts import CATEGORIES, Concepts
from dissect.dissection.exemplars import TextRow
from dissect.dissection.result import Dissection, LayerDissection
from dissect.dissection.rows import is_detector
from dissect.report.pictures import encode_masks, top_masks
from dissect.report.trust import Density, LayerTrust, density, doubts, halves, layer_trust

if TYPE_CHECKING:
    from dissect.dissection.rows import CategoryRow, UnitRow

#: Further colors, for categories that are not among the papers'.
OTHER_SHADES = 4
#: Concepts that a unit's details list, and units of a layer that are known for each concept beyond these.
MAX_SCORES = 10
#: Images shown on a card.
MAX_PICTURES = 5
#: Units in the first screen.
MAX_FIRST = 8


@dataclass(frozen=True)
class Score:
    """A concept and a unit's IoU with it.

    Attributes:
        label: its number in the vocabulary.
        concept: its name.
        category: its category.
        shade: number of that category's color.
        iou: intersection over union.
    """

    label: int
    concept: str
    category: str
    shade: int
    iou: float


@dataclass(frozen=True)
class Picture:
    """An image of a unit's.

    Attributes:
        number: in the data set.
        mask: where the unit fires, see `encode_masks`; "" where it fires nowhere.
        text: what the picture shows, for those who cannot see it.
        level: the share of images whose peaks are lower, for an image of the sample.
    """

    number: int
    mask: str
    text: str
    level: float | None = None


@dataclass(frozen=True)
class Card:
    """A unit.

    Attributes:
        anchor: its id in the page.
        row: its row in the table of best concepts.
        shade: number of its category's color.
        detector: whether its IoU exceeds the cut-off.
        beyond_chance: whether it exceeds the one that keeps false discoveries rare, too.
        scores: the concepts with the highest IoUs, falling, as far as these are above 0.
        more: further labels and IoUs, falling: the best of each category, and those whose best units it is among.
        pictures: the top images in which it fires.
        classes: the classes to which it is important, see `UnitImportance.classes_by_unit`.
        formula: of several concepts, that it overlaps more than any one; "" if there is none.
        also: the concept that it overlaps where its best one is not, as a detector does; "" if there is none.
        text: its label from texts, if there is one.
        halves: the labels by each half of the images, if they are known.
        doubts: what speaks against its concept, see `trust.doubts`.
        sample: images at some levels of its peaks.
        density: how its peaks are spread, if a sample was kept.
        strength: its highest peak as a multiple of its threshold; 0 where the threshold is not above 0.
    """

    anchor: str
    row: UnitRow
    shade: int
    detector: bool
    beyond_chance: bool
    scores: list[Score]
    more: list[tuple[int, float]]
    pictures: list[Picture]
    classes: list[str]
    formula: str
    also: str
    text: TextRow | None
    halves: list[int]
    doubts: dict[str, str]
    sample: list[Picture]
    density: Density | None
    strength: float


@dataclass(frozen=True)
class ConceptCards:
    """A concept that has detectors.

    Attributes:
        anchor: its id in the page.
        name: the concept.
        shade: number of its category's color.
        cards: its detectors, the best first.
    """

    anchor: str
    name: str
    shade: int
    cards: list[Card]


@dataclass(frozen=True)
class CategoryGroup:
    """A category of the vocabulary.

    Attributes:
        name: the category.
        shade: number of its color.
        concepts: those that have detectors, the ones with most units first.
        units: how many units are detectors of them.
    """

    name: str
    shade: int
    concepts: list[ConceptCards]
    units: int


@dataclass(frozen=True)
class LayerContent:
    """A layer.

    Attributes:
        anchor: its id in the page.
        name: its name in the model.
        cards: one per unit, the highest IoU first.
        categories: all of the vocabulary.
        mask_shape: rows and columns of the cards' masks.
        kept: how many top images were kept per unit.
        trust: what is known about its detectors, None where nothing is.
        word: what its rows are, "unit" or "direction".
    """

    anchor: str
    name: str
    cards: list[Card]
    categories: list[CategoryGroup]
    mask_shape: tuple[int, int]
    kept: int
    trust: LayerTrust | None
    word: str = "unit"

    @property
    def detectors(self) -> int:
        """How many units are detectors."""
        return sum(card.detector for card in self.cards)

    @property
    def beyond_chance(self) -> int:
        """How many detectors hardly come by chance."""
        return sum(card.beyond_chance for card in self.cards)

    @property
    def unique(self) -> int:
        """How many concepts have a detector."""
        return len(self.concepts)

    def count(self, state: str) -> int:
        """How many units are in a state."""
        return sum(card.row.state == state for card in self.cards)

    @property
    def concepts(self) -> list[ConceptCards]:
        """All concepts that have detectors, category by category."""
        return [concept for group in self.categories for concept in group.concepts]


def category_shades(concepts: Concepts) -> dict[str, int]:
    """Each category's color number: the papers' categories have their own, others those that are left, and "" has one.

    Where there are more categories than colors, the others take turns.
    """
    others = sorted(set(concepts.categories) - set(CATEGORIES) - {""})
    shades = {name: number for number, name in enumerate(CATEGORIES)}
    free = list(range(len(CATEGORIES), len(CATEGORIES) + OTHER_SHADES))
    free += [number for name, number in shades.items() if name not in concepts.categories]
    shades |= {name: free[at % len(free)] for at, name in enumerate(others)}
    return shades | {"": len(CATEGORIES)}


def layer_content(
    dissection: Dissection,
    index: int,
    name: str,
    side: int,
    classes: list[list[str]] | None = None,
    formulas: list[tuple[str, str]] | None = None,
    texts: dict[int, TextRow] | None = None,
) -> LayerContent:
    """Everything that the report tells about one layer, with masks of at most `side` rows and columns.

    `classes` are the classes to which each unit is important, `formulas` the texts of its formulas
    and of what they also fire on, `texts` their labels from texts.
    """
    layer = dissection[name]
    shades = category_shades(dissection.concepts)
    cutoff = dissection.settings["detector_iou"]
    trust = layer_trust(layer, cutoff)
    order = layer.iou.sort(dim=1, descending=True, stable=True).indices[:, : MAX_SCORES + 1]
    further = _further(layer.iou, dissection.concepts.categories)
    cards, mask_shape, kept = [], (1, 1), layer.peaks.shape[1]
    for row, (masks, shares) in zip(dissection.best(name), top_masks(layer, MAX_PICTURES, side)):
        mask_shape = (masks.shape[1], masks.shape[2])
        scores = _scores(dissection.concepts, shades, layer, row.unit, order[row.unit].tolist())
        listed = {score.label for score in scores}
        cards.append(
            Card(
                f"u{index}-{row.unit}",
                row,
                shades[row.category],
                detector=is_detector(row, dissection.settings),
                beyond_chance=trust is not None
                and trust.allowed is not None
                and is_detector(row, dissection.settings, max(cutoff, trust.allowed)),
                scores=scores,
                more=[(label, iou) for label, iou in further[row.unit] if label not in listed],
                pictures=_pictures(layer, row, masks, shares, anyway=dissection.images_only),
                classes=[] if classes is None else classes[row.unit],
                formula="" if formulas is None else formulas[row.unit][0],
                also="" if formulas is None else formulas[row.unit][1],
                text=None if texts is None else texts[row.unit],
                halves=halves(layer, row),
                doubts=doubts(row, trust, kept),
                **_sample(layer, row, masks, shares),
                strength=float(layer.peaks[row.unit, 0]) / row.threshold if kept and row.threshold > 0 else 0.0,
            )
        )
    cards.sort(key=lambda card: (-card.row.iou, card.row.unit))
    categories = _by_category(dissection.unique_detectors(name), cards, shades, index)
    return LayerContent(f"layer{index}", name, cards, categories, mask_shape, kept, trust, dissection.word(name))


def check_dissection(dissection: Any) -> None:
    """Refuses anything else.

    Raises:
        TypeError: no dissection.
    """
    if not isinstance(dissection, Dissection):
        raise refusal(TypeError(f"dissection must be a Dissection, but got {type(dissection).__name__}."))


def one_layer(dissection: Dissection, layer: str | None) -> tuple[str, LayerDissection]:
    """A layer's name and what is known of it; the only one's where none is named.

    Raises:
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissection, or no layer where there are several.
    """
    check_dissection(dissection)
    if layer is None and len(dissection) > 1:
        raise refusal(ValueError(f"layer must be one of the dissection's layers, {list(dissection)}."))
    name = next(iter(dissection)) if layer is None else layer
    return name, dissection[name]


def best_concepts(layers: list[LayerContent]) -> dict[str, list[tuple[Score, int]]]:
    """Per category the concepts that name a unit, by name, each with the number of these units."""
    units = Counter(card.scores[0].label for layer in layers for card in layer.cards if card.scores)
    scores = {card.scores[0].label: card.scores[0] for layer in layers for card in layer.cards if card.scores}
    names = [group.name for group in layers[0].categories] if layers else []
    found: dict[str, list[tuple[Score, int]]] = {name: [] for name in names}
    for score in sorted(scores.values(), key=lambda score: (score.concept.lower(), score.label)):
        found.setdefault(score.category, []).append((score, units[score.label]))
    return {name: concepts for name, concepts in found.items() if concepts}


def first_cards(layers: list[LayerContent]) -> list[tuple[LayerContent, Card]]:
    """The units to begin with: the highest IoUs, each of another concept as far as there are enough.

    Units in doubt come last. Without concepts: those that exceed their thresholds most, by other images.
    """
    found = [(layer, card) for layer in layers for card in layer.cards if card.pictures]
    found = [pair for pair in found if pair[1].scores] or found
    found.sort(key=lambda pair: (len(pair[1].doubts) > 0, -pair[1].row.iou, -pair[1].strength))
    seen: Counter[int] = Counter()
    turns = []
    for at, (_, card) in enumerate(found):
        told = card.scores[0].label if card.scores else card.pictures[0].number
        turns.append((len(card.doubts) > 0, seen[told], at))
        seen[told] += 1
    return [found[at] for *_, at in sorted(sorted(turns)[:MAX_FIRST], key=lambda turn: turn[-1])]


def _scores(
    concepts: Concepts, shades: dict[str, int], layer: LayerDissection, unit: int, order: list[int]
) -> list[Score]:
    """The best concepts of a unit, the best first, as far as their IoU is above 0."""
    found = [(label, float(layer.iou[unit, label])) for label in order if label > 0]
    scores = []
    for label, iou in found:
        category = concepts.categories[label]
        if iou > 0:
            scores.append(Score(label, concepts.names[label], category, shades[category], iou))
    return scores[:MAX_SCORES]


def _further(iou: Tensor, categories: tuple[str, ...]) -> list[list[tuple[int, float]]]:
    """Per unit its best label of each category, and the labels for which it is among the best: with IoUs, falling."""
    kept = torch.zeros_like(iou, dtype=torch.bool)
    for category in set(categories[1:]):
        labels = torch.tensor([label for label, its in enumerate(categories) if its == category and label > 0])
        kept[torch.arange(len(iou)), labels[iou[:, labels].argmax(1)]] = True
    kept.scatter_(0, iou.sort(dim=0, descending=True, stable=True).indices[:MAX_SCORES], True)
    kept &= iou > 0
    found = []
    for unit, row in enumerate(kept):
        labels = row.nonzero()[:, 0]
        pairs = zip(labels.tolist(), iou[unit, labels].tolist())
        found.append(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
    return found


def tells_apart(layer: LayerDissection, unit: int) -> bool:
    """Whether a unit's highest peak is above its lowest one, as far as that is known; if not, its images are any."""
    lowest = -math.inf if layer.sample is None else float(layer.sample.peaks[unit, :1].amin())
    return layer.peaks.shape[1] > 0 and float(layer.peaks[unit, 0]) > lowest


def _picture(number: int, peak: float, share: float, mask: str, level: float | None = None) -> Picture:
    """An image, on such a share of which the unit fires."""
    fires = f"the unit fires on {share:.1%} of it" if share > 0 else "the unit does not fire in it"
    return Picture(number, mask if share > 0 else "", f"Image {number}: peak activation {peak:.3g}; {fires}", level)


def _pictures(
    layer: LayerDissection, row: UnitRow, masks: Tensor, shares: Tensor, *, anyway: bool = False
) -> list[Picture]:
    """The top images in which a unit fires; `anyway` also others, unless all images are the same to it.

    A vector has no positions, so it may exceed its threshold in none of few images: some excite it most all the same.
    """
    numbers, peaks = layer.peak_images[row.unit].tolist(), layer.peaks[row.unit].tolist()
    anyway = anyway and tells_apart(layer, row.unit)
    return [
        _picture(number, peak, share, mask)
        for number, peak, share, mask in zip(numbers, peaks, shares.tolist(), encode_masks(masks))
        if anyway or (share > 0 and row.state != "dead")
    ]


def _sample(layer: LayerDissection, row: UnitRow, masks: Tensor, shares: Tensor) -> dict[str, Any]:
    """A unit's peaks in a sample of the images, and the images at some levels of them, as fields of its card."""
    sample = layer.sample
    if sample is None or sample.peaks.shape[1] == 0:
        return {"sample": [], "density": None}
    count = len(sample.levels)
    numbers, peaks = sample.images[row.unit].tolist(), sample.values[row.unit].tolist()
    coded = list(encode_masks(masks[-count:])) if count else []
    pictures = [
        _picture(number, peak, share, mask, level)
        for level, number, peak, share, mask in zip(sample.levels, numbers, peaks, shares[-count:].tolist(), coded)
    ]
    return {"sample": pictures, "density": density(sample.peaks[row.unit], row.threshold)}


def _by_category(rows: list[CategoryRow], cards: list[Card], shades: dict[str, int], index: int) -> list[CategoryGroup]:
    found: dict[tuple[str, str], list[Card]] = defaultdict(list)
    for card in cards:
        if card.detector:
            found[card.row.category, card.row.concept].append(card)
    groups, anchors = [], count()
    for row in rows:
        named = [(name, detectors) for (category, name), detectors in found.items() if category == row.category]
        named.sort(key=lambda pair: (-len(pair[1]), -pair[1][0].row.iou, pair[0]))
        shade = shades[row.category]
        concepts = [ConceptCards(f"c{index}-{next(anchors)}", name, shade, detectors) for name, detectors in named]
        groups.append(CategoryGroup(row.category, shade, concepts, row.units))
    return groups
