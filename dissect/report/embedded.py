"""What a page's script reads: JSON inside the page, which no name can break out of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dissect.report.content import category_shades
from dissect.report.pictures import encode_pictures
from dissect.report.trust import facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup

    from dissect.dissection.result import Dissection
    from dissect.report.content import Card, LayerContent

#: Significant digits of a number: they tell any two float32 apart.
DIGITS = 9
#: Of IoUs that serve to rank.
FEWER_DIGITS = 6


def pictures_json(dissection: Dissection, layers: list[LayerContent]) -> Markup:
    """The pictures of all cards, each once: ``{"type": media type, "data": {number: base64 text}}``."""
    shown = {picture.number for layer in layers for card in layer.cards for picture in card.pictures + card.sample}
    kept = [at for at, number in enumerate(dissection.image_numbers.tolist()) if number in shown]
    kind, texts = encode_pictures(dissection.images[kept])
    numbers = dissection.image_numbers[kept].tolist()
    return json_inside({"type": kind, "data": dict(zip(numbers, texts))})


def units_json(dissection: Dissection, layers: list[LayerContent], html: Callable[[LayerContent, Card], str]) -> Markup:
    """All units, from which the script makes cards as they are needed, details, and the table to download.

    ``concepts`` lists name, category and color number by label, ``categories`` their names; ``layers`` has, by a
    layer's id, its units, the highest IoU first: see `_unit`.
    """
    vocabulary = dissection.concepts
    shades = category_shades(vocabulary)
    concepts = [(name, category, shades[category]) for name, category in zip(vocabulary.names, vocabulary.categories)]
    units = {layer.anchor: [_unit(card, html(layer, card)) for card in layer.cards] for layer in layers}
    categories = [group.name for group in layers[0].categories] if layers else []
    parts = {"categories": categories, "concepts": concepts, "imagesOnly": dissection.images_only, "layers": units}
    return json_inside(parts)


def _unit(card: Card, html: str) -> dict[str, Any]:
    """A unit's numbers, the labels and IoUs of its best concepts, what is known of them, and the inside of its card."""
    row = card.row
    return {
        "id": card.anchor,
        "unit": row.unit,
        "state": row.state,
        "detector": card.detector,
        "attainable": _rounded(row.attainable),
        "covers": _rounded(row.concept_fraction),
        "threshold": _rounded(row.threshold),
        "firing": _rounded(row.firing),
        "strength": _rounded(card.strength, FEWER_DIGITS),
        "scores": [(score.label, _rounded(score.iou)) for score in card.scores],
        "more": [(label, _rounded(iou, FEWER_DIGITS)) for label, iou in card.more],
        **_said(card),
        **_trust(card),
        **_sample(card),
        "html": html,
    }


def _said(card: Card) -> dict[str, Any]:
    """A unit's text label with its score and p, and what a search looks through beside concepts, in small letters."""
    parts = [text.rpartition(" (IoU ")[0] for text in (card.formula, card.also)]
    found: dict[str, Any] = {}
    if card.text is not None:
        parts.append(card.text.text)
        found["text"] = [card.text.text, *(_rounded(value, FEWER_DIGITS) for value in (card.text.score, card.text.p))]
    told = "\n".join(part for part in parts if part).lower()
    return found | ({"told": told} if told else {})


def _trust(card: Card) -> dict[str, Any]:
    """`trust.TRUST` as far as it is known, what speaks against the concept, and the labels by each half."""
    known = {
        name: value if isinstance(value, (bool, int)) else _rounded(value, FEWER_DIGITS)
        for name, value in facts(card.row).items()
    }
    if not known and not card.doubts:
        return {}
    return {"beyond": card.beyond_chance, "trust": known, "doubts": card.doubts, "halves": card.halves}


def _sample(card: Card) -> dict[str, Any]:
    """The spread of the unit's peaks, and the pictures at some levels."""
    if card.density is None:
        return {}
    spread = card.density
    return {
        "density": [
            *(_rounded(value, FEWER_DIGITS) for value in (spread.low, spread.high, spread.above)),
            spread.counts,
        ],
        "sample": [(picture.level, picture.number, picture.mask, picture.text) for picture in card.sample],
    }


def _rounded(value: float, digits: int = DIGITS) -> float | None:
    """A number as short as it may be; None where JSON has no such number."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def json_inside(value: Any) -> Markup:
    """JSON that no name in it can break out of."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value, separators=(",", ":"))
