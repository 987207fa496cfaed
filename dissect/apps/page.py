"""The pages: each one file of HTML, with its style and script inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dissect import extras
from dissect.apps.brushes import Brush, default_number
from dissect.apps.painter import Painter
from dissect.apps.rewriter import MOST_CONTEXT, Rewriter, erased_number
from dissect.report.embedded import json_inside
from dissect.report.html import environment, inside, script_of

FOLDER = Path(__file__).parent
#: Rows and columns of the grid that is painted on at least, as in the published page.
GRID = 32
#: The same where a rule is rewritten, as a rule; and how many images are shown at first.
FINE, SHOWN = 64, 12
#: Scripts of both pages, in their order, after the one that carries what they ask; each uses what those before define.
SCRIPTS = ("about.js", "canvas.js", "gestures.js", "stage.js")
#: What carries it to a server, and in a frame of a notebook.
SERVED, FRAMED = "served.js", "framed.js"


def paint_page(painter: Painter, name: str, carrier: str = SERVED) -> str:
    """The page of a painter, whose requests a script carries, `SERVED` or `FRAMED`.

    Raises:
        ImportError: jinja2 is not installed.
    """
    extras.require("the painting page", "apps", "jinja2")
    about = told(painter)
    parts = {"painter": painter, "brushes": about["brushes"], "number": about["number"]}
    return _page("paint", name, about, parts, ("paint.css",), carrier)


def rewrite_page(rewriter: Rewriter, name: str, carrier: str = SERVED) -> str:
    """The page of a rewriter; see `paint_page`.

    Raises:
        ImportError: jinja2 is not installed.
    """
    extras.require("the rewriting page", "apps", "jinja2")
    styles = ("paint.css", "rewrite.css")
    return _page("rewrite", name, told_of_rewriter(rewriter), {"rewriter": rewriter}, styles, carrier)


def _page(
    kind: str, name: str, about: dict[str, Any], parts: dict[str, Any], styles: tuple[str, ...], carrier: str
) -> str:
    """The template of its kind, with the script and the styles inside."""
    script = script_of(str(FOLDER / part) for part in (carrier, *SCRIPTS, f"{kind}.js"))
    resources = inside(script, ("report.css", *(str(FOLDER / style) for style in styles)))
    template = environment(FOLDER).get_template(f"{kind}.html")
    return template.render(
        name=name,
        about=json_inside(about),
        size=min(12, max(1, round(about["grid"][0] / about["map"][0]))),
        count=about["count"],
        image_size=about["image"],
        reach="'self'" if carrier == SERVED else "'none'",
        **parts,
        **resources,
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


def told_of_rewriter(rewriter: Rewriter) -> dict[str, Any]:
    """What the page's script knows of a rewriter."""
    values, most = rewriter.value_size, max(1, FINE // max(rewriter.value_size))
    sides = [*zip(rewriter.image_size, values)]
    fine = max(by for by in range(1, most + 1) if by == 1 or not any(side % (own * by) for side, own in sides))
    grid = [fine * side for side in values]
    return {
        "map": list(rewriter.key_size), "grid": grid, "image": list(rewriter.image_size), "count": len(rewriter),
        "shown": min(SHOWN, len(rewriter)), "context": MOST_CONTEXT, "inputs": rewriter.memory.inputs,
        "erased": erased_number(rewriter.memory.inputs),
    }  # fmt: skip


def category_of(brush: Brush) -> str:
    """The category of its concept."""
    return brush.concept.partition("/")[0]
