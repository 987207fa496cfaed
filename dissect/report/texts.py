"""Units' labels from texts, held against the dissection that they stand beside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dissect.arguments import refusal
from dissect.dissection.exemplars import TextRow

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


def texts_by_unit(
    dissection: Dissection, texts: Iterable[TextRow] | Iterable[Iterable[TextRow]]
) -> dict[str, dict[int, TextRow]]:
    """By layer, each unit's row of `dissect.dissection.text_labels`.

    Raises:
        TypeError: other rows.
        KeyError: a layer that was not dissected.
        ValueError: not one row of each of a layer's units, or rows of another dissection.
    """
    found: dict[str, dict[int, TextRow]] = {}
    for row in _rows(texts):
        units = found.setdefault(row.layer, {})
        if row.unit in units:
            raise refusal(ValueError(f"texts must have each unit once, but unit {row.unit} of {row.layer!r} is twice."))
        units[row.unit] = row
    for layer, rows in found.items():
        own = {row.unit: row for row in dissection.best(layer)}
        if rows.keys() != own.keys():
            raise refusal(
                ValueError(f"texts of layer {layer!r} must be of its {len(own)} units, but are of {len(rows)}.")
            )
        other = [unit for unit, row in rows.items() if (row.concept, row.iou) != (own[unit].concept, own[unit].iou)]
        if other:
            raise refusal(
                ValueError(
                    f"texts of layer {layer!r} must be of this dissection, but unit {other[0]} has another concept or "
                    "IoU there."
                )
            )
    return found


def _rows(texts: Iterable[TextRow] | Iterable[Iterable[TextRow]]) -> Iterable[TextRow]:
    for part in texts:
        if isinstance(part, TextRow):
            yield part
        elif isinstance(part, (tuple, str)) or not isinstance(part, Iterable):
            kind = type(part).__name__
            raise refusal(TypeError(f"texts must be what dissect.dissection.text_labels gave, but hold a {kind}."))
        else:
            yield from _rows(part)
