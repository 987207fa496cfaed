"""What a page's script reads: JSON inside the page, which no name can break out of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dissect.report.pictures import encode_pictures

if TYPE_CHECKING:
    from markupsafe import Markup

    from dissect.dissection import Dissection
    from dissect.report.content import Card, Layer

#: Significant digits of a number: they tell any two float32 apart.
DIGITS = 9


def pictures_json(dissection: Dissection, layers: list[Layer]) -> Markup:
    """The pictures of all cards, each once: ``{"type": media type, "data": {number: base64 text}}``."""
    shown = {picture.number for layer in layers for card in layer.cards for picture in card.pictures}
    kept = [at for at, number in enumerate(dissection.image_numbers.tolist()) if number in shown]
    kind, texts = encode_pictures(dissection.images[kept])
    numbers = dissection.image_numbers[kept].tolist()
    return _json({"type": kind, "data": dict(zip(numbers, texts))})


def units_json(dissection: Dissection, layers: list[Layer], shades: dict[str, int]) -> Markup:
    """The numbers of all units, for their details and for the table that can be downloaded.

    ``concepts`` lists name, category and color number by label; ``units`` has, by a card's id, attainable IoU, share
    that the concept covers, threshold, share on which the unit fires, and pairs of label and IoU of the best concepts.
    """
    vocabulary = dissection.concepts
    concepts = [(name, category, shades[category]) for name, category in zip(vocabulary.names, vocabulary.categories)]
    units = {card.anchor: _numbers(card) for layer in layers for card in layer.cards}
    return _json({"concepts": concepts, "units": units})


def _numbers(card: Card) -> list[Any]:
    row = card.row
    measured = (row.attainable, row.concept_fraction, row.threshold, row.firing)
    return [*map(_rounded, measured), [(score.label, _rounded(score.iou)) for score in card.scores]]


def _rounded(value: float) -> float | None:
    """A number as short as it may be; None where JSON has no such number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _json(value: Any) -> Markup:
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value, separators=(",", ":"))
