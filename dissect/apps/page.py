"""The painting page: one file of HTML, with its style and script inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dissect import extras
from dissect.apps.brushes import Brush, default_number
from dissect.apps.painter import Painter
from dissect.report.embedded import json_inside
from dissect.report.html import environment, inside, script_of

FOLDER = Path(__file__).parent
#: Rows and columns of the grid that is painted on at least, as in the published page.
GRID = 32


def paint_page(painter: Painter, name: str) -> str:
    """The page of a painter.

    Raises:
        ImportError: jinja2 is not installed.
    """
    extras.require("the painting page", "apps", "jinja2")
    about = told(painter)
    script = script_of(str(FOLDER / part) for part in ("about.js", "canvas.js", "paint.js"))
    return (
        environment(FOLDER)
        .get_template("paint.html")
        .render(
            name=name,
            painter=painter,
            about=json_inside(about),
            brushes=about["brushes"],
            number=about["number"],
            size=min(12, max(1, round(about["grid"][0] / about["map"][0]))),
            count=len(painter),
            **inside(script, ("report.css", str(FOLDER / "paint.css"))),
        )
    )


def told(painter: Painter) -> dict[str, Any]:
    """What the page's script knows of a painter."""
    concepts: dict[str, int] = {}
    shorts = [brush.name for brush in painter.brushes]
    return {
        "map": list(painter.map_size),
        "grid": [max(GRID, side) for side in painter.map_size],
        "image": list(painter.image_size),
        "count": len(painter),
        "units": painter.num_units,
        "number": default_number(painter.num_units),
        "session": {
            "kind": "dissect painting", "version": 1, "generator": painter.fingerprint, "layer": painter.layer,
            "z": {"seed": painter.seed, "number": 0}, "strokes": [],
        },
        "brushes": [
            {
                "name": brush.full_name,
                "label": brush.short + (f" ({category_of(brush)})" if shorts.count(brush.name) > 1 else ""),
                "category": category_of(brush),
                "ranking": brush.ranking,
                "shade": concepts.setdefault(brush.concept, len(concepts)) % 10,
                "detectors": brush.detectors,
                "units": list(brush.units), "scores": list(brush.scores), "levels": list(brush.levels),
            }
            for brush in painter.brushes
        ],
    }  # fmt: skip


def category_of(brush: Brush) -> str:
    """The category of its concept."""
    return brush.concept.partition("/")[0]
