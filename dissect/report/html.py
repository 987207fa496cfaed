"""A dissection as one web page that needs nothing else: no network, no other files."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.arguments import refusal, speaks
from dissect.digests import digest
from dissect.dissection.comparison import Comparison
from dissect.dissection.formulas_result import FormulaRow, UnitFormulas
from dissect.dissection.result import Dissection
from dissect.extras import require
from dissect.files.tensors import replacing
from dissect.report.texts import texts_by_unit
from dissect.stats.significance import RATE

if TYPE_CHECKING:
    from jinja2 import Environment

    from dissect.classifiers import UnitImportance
    from dissect.dissection.exemplars import TextRow
    from dissect.report.content import LayerContent

FILE_NAME, COMPARISON_NAME = "report.html", "comparison.html"
FOLDER = Path(__file__).parent
#: One script in the end; each file uses what those before it define.
COMPARISON_SCRIPTS = ("pictures.js", "compare.js")
SCRIPTS = ("pictures.js", "cards.js", "search.js", "units.js", "trust.js", "detail.js", "address.js")


@speaks
def write_report(
    dissection: Dissection | Comparison,
    path: str | Path,
    *,
    importance: UnitImportance | Iterable[UnitImportance] = (),
    formulas: UnitFormulas | None = None,
    texts: Iterable[TextRow] | Iterable[Iterable[TextRow]] = (),
) -> Path:
    """Writes a page about every unit: its concept, how well it fits, and the images that excite it most.

    Of a comparison, a page of networks side by side: detectors, top concepts, and each concept's best units.

    The page is one file of HTML that opens without a network. The same dissection gives the same bytes.

    Args:
        dissection: what `dissect.dissect`, `dissect.compare` or `dissect.load` returned.
        path: a folder, in which "report.html" is written, or of a comparison "comparison.html"; or a file that ends in
            ".html". Missing folders are made; an older file is replaced only once the new one is complete.
        importance: what `dissect.unit_importance` found about one or several of the layers; their cards then list the
            classes in whose top four a unit is.
        formulas: what `dissect.formulas` found about it; cards then tell a unit's formula, where it has a higher IoU
            than any one concept, and what the unit also fires on, where that exceeds the cut-off of detectors; and of
            both whether they are beyond chance, at a false discovery rate of 5 %.
        texts: what `dissect.dissection.text_labels` found about it, of one or several layers. Cards then tell a unit's
            text, with its score and how probable so high a one is by chance. The page's search looks through concepts,
            formulas and these texts; it embeds nothing, so a phrase finds the units that have its words in their label,
            and no others.

    Returns:
        The file's path.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        TypeError: no Dissection, an importance that is no UnitImportance, formulas that are no UnitFormulas, texts that
            are no rows of `text_labels`.
        KeyError: importance, formulas or texts of a layer that was not dissected.
        ValueError: importance or formulas of a layer with another number of units; texts that are not one of each of a
            layer's units, or of another dissection.

    Example:
        >>> dissect.write_report(dissect.load("vgg16-conv5_3"), "out/")  # doctest: +SKIP
        PosixPath('out/report.html')
    """
    page = page_of(dissection, importance, formulas, texts)
    return write_text(page_path(path, FILE_NAME if isinstance(dissection, Dissection) else COMPARISON_NAME), page)


def page_of(
    dissection: Dissection | Comparison,
    importance: UnitImportance | Iterable[UnitImportance],
    formulas: UnitFormulas | None,
    texts: Iterable[TextRow] | Iterable[Iterable[TextRow]] = (),
) -> str:
    """The page of `write_report`, which says what it raises."""
    check_extras()
    if not isinstance(dissection, (Dissection, Comparison)):
        raise refusal(
            TypeError(
                "dissection must be a Dissection or a Comparison, which dissect.load reads from a file, "
                f"but got {type(dissection).__name__}."
            )
        )
    if isinstance(dissection, Dissection):
        said = _formula_texts(dissection, formulas), texts_by_unit(dissection, texts)
        return _render(dissection, important_classes(dissection, importance), *said)
    given = {"importance": importance != (), "formulas": formulas is not None, "texts": texts != ()}
    if any(given.values()):
        name = next(name for name, is_given in given.items() if is_given)
        raise refusal(TypeError(f"{name} must not be given with a comparison, whose page has no room for it."))
    return _render_comparison(dissection)


def page_path(path: str | Path, name: str) -> Path:
    """The file of a page: of this name in a folder, or itself if it ends in ".html"."""
    path = Path(path)
    return path if path.suffix.lower() == ".html" else path / name


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all; half of a pair of surrogates, which UTF-8 has not, becomes "?"."""
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", errors="replace"))
    return path


def check_extras() -> None:
    """Makes sure that a report can be written.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
    """
    require("a page", "report", "jinja2", "matplotlib", "PIL")


def important_classes(
    dissection: Dissection, importance: UnitImportance | Iterable[UnitImportance]
) -> dict[str, list[list[str]]]:
    """By layer, per unit the classes to which it is important."""
    from dissect.classifiers import UnitImportance

    if isinstance(importance, (UnitImportance, str)) or not isinstance(importance, Iterable):
        importance = [importance]
    given = list(importance)
    for one in given:
        if not isinstance(one, UnitImportance):
            raise refusal(
                TypeError(
                    "importance must be a UnitImportance, which UnitImportance.load reads from a file, or "
                    f"several, but got {type(one).__name__}."
                )
            )
        if one.num_units != dissection.of_units(one.layer).num_units:
            raise refusal(
                ValueError(
                    f"importance of layer {one.layer!r} must be of its {dissection[one.layer].num_units} "
                    f"units, but is of {one.num_units}."
                )
            )
    return {one.layer: one.classes_by_unit() for one in given}


def _formula_texts(dissection: Dissection, formulas: UnitFormulas | None) -> dict[str, list[tuple[str, str]]]:
    """By layer, of each unit a formula that it overlaps more than any one concept, and what it also fires on; or ""."""
    if formulas is None:
        return {}
    if not isinstance(formulas, UnitFormulas):
        raise refusal(TypeError(f"formulas must be what dissect.formulas gave, but got {type(formulas).__name__}."))
    texts = {}
    for name in formulas.layers:
        rows, units = formulas.rows(name), dissection[name].num_units
        if len(rows) != units:
            raise refusal(
                ValueError(f"formulas of layer {name!r} must be of its {units} units, but are of {len(rows)}.")
            )
        cutoff = dissection.settings["detector_iou"]
        texts[name] = [(_formula_text(row) if row.length > 1 else "", _also_text(row, cutoff)) for row in rows]
    return texts


def _also_text(row: FormulaRow, cutoff: float) -> str:
    if row.also_iou is None or row.also_firing is None or row.also_iou <= cutoff:
        return ""
    text = f"IoU {row.also_iou:.3f} without the pixels of {row.concept}, {row.also_firing:.0%} of its own"
    return f"{row.also} ({text}{_chance_text(row.also_q)})"


def _formula_text(row: FormulaRow) -> str:
    known = "" if row.held_out is None else f", {row.held_out:.3f} on images that did not choose it"
    return f"{row.formula} (IoU {row.iou:.3f}{known}{_chance_text(row.q)})"


def _chance_text(rate: float | None) -> str:
    if rate is None:
        return ""
    return f"; {'beyond' if rate <= RATE else 'may be'} chance, false discovery rate {rate:.2g}"


def _render(
    dissection: Dissection,
    classes: dict[str, list[list[str]]],
    formulas: dict[str, list[tuple[str, str]]],
    texts: dict[str, dict[int, TextRow]],
) -> str:
    from markupsafe import Markup

    from dissect.report.charts import layers_chart
    from dissect.report.content import MAX_PICTURES, best_concepts, first_cards, layer_content
    from dissect.report.embedded import pictures_json, units_json
    from dissect.report.pictures import mask_side
    from dissect.report.trust import facts

    side = mask_side(dissection.layers.values(), MAX_PICTURES)
    layers = [
        layer_content(dissection, index, name, side, classes.get(name), formulas.get(name), texts.get(name))
        for index, name in enumerate(dissection.layers)
    ]
    cutoff = dissection.settings["detector_iou"]
    images_only = dissection.images_only
    comparison = layers_chart(layers)
    script, templates = script_of(SCRIPTS), environment()
    card_html = templates.get_template("unit.html")
    return templates.get_template("report.html").render(
        layers=layers,
        charts=[_charts(layer, cutoff) for layer in layers],
        first=first_cards(layers),
        choices=best_concepts(layers),
        comparison=None if comparison is None else Markup(comparison),
        settings=dissection.settings,
        cutoff=cutoff,
        aspect="{} / {}".format(*reversed(dissection.images.shape[-2:])) if len(dissection.images) else "1 / 1",
        pictures=pictures_json(dissection, layers),
        units=units_json(
            dissection,
            layers,
            lambda layer, card: card_html.render(
                layer=layer, card=card, known=facts(card.row), cutoff=cutoff, images_only=images_only
            ),
        ),
        images_only=images_only,
        searched=_searched(images_only, bool(formulas), bool(texts)),
        texted=bool(texts),
        **inside(script),
    )


def _searched(images_only: bool, formulas: bool, texts: bool) -> str:
    """What one may enter in the page's search."""
    parts = ["concept"] * (not images_only) + ["formula"] * formulas + ["text label"] * texts
    return ", ".join(parts) + " or unit number" if parts else "unit number"


def _render_comparison(comparison: Comparison) -> str:
    from markupsafe import Markup

    from dissect.report import compared
    from dissect.report.embedded import json_inside

    pictures = compared.PagePictures()
    lines, drawn = compared.lines(comparison), compared.charts(comparison)
    concepts, left_out = compared.shown_concepts(comparison, pictures)
    drawn["clouds"] = [Markup(cloud) for cloud in drawn["clouds"]]
    drawn["series"] = None if drawn["series"] is None else Markup(drawn["series"])
    return (
        environment()
        .get_template("compare.html")
        .render(
            comparison=comparison,
            lines=lines,
            charts=drawn,
            concepts=concepts,
            left_out=left_out,
            shades=compared.shades(comparison),
            most=max([1, *(line.row.concepts for line in lines)]),
            cutoffs=" or ".join(f"{cutoff:g}" for cutoff in sorted({one.cutoff for one in comparison.layers})),
            judged=any(line.row.beyond_chance is not None for line in lines),
            pictures=json_inside(pictures.encoded()),
            **inside(script_of(COMPARISON_SCRIPTS)),
        )
    )


def inside(script: str, styles: Iterable[str] = ("report.css",)) -> dict[str, Any]:
    """What a page has inside: its style, and its script, whose digest is the only one that it allows."""
    from markupsafe import Markup

    return {
        "style": Markup("".join((FOLDER / name).read_text("utf-8") for name in styles)),
        "script": Markup(script),
        "digest": base64.b64encode(bytes.fromhex(digest([script], 64))).decode(),
    }


def environment(*folders: Path) -> Environment:
    """What reads the templates, those of other folders too, with the filters that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([FOLDER, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["plural"] = _plural
    return environment


def _charts(layer: LayerContent, cutoff: float) -> dict[str, Any]:
    from markupsafe import Markup

    from dissect.report.charts import detector_chart, iou_chart, is_wide

    iou = iou_chart(layer, cutoff)
    return {
        "detectors": Markup(detector_chart(layer)) if layer.detectors else None,
        "iou": None if iou is None else Markup(iou),
        "wide": is_wide(layer),
    }


def script_of(names: Iterable[str]) -> str:
    """The page's script. The page allows no other, by this one's digest, so that markup in a name cannot run."""
    parts = "\n".join((FOLDER / name).read_text("utf-8") for name in names)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _number(value: Any) -> str:
    """A measured value with three significant digits, without an exponent where that stays short."""
    return f"{value:.3g}" if 0.001 <= abs(value) < 1e6 or value == 0 else f"{value:.2e}"


def _percent(value: float) -> str:
    """A share as a percentage with two significant digits, three near 100%, which is all of it and no less."""
    if 0 < value < 1e-5:
        return "<0.001%"
    if 0.99 <= value < 1:
        return f"{min(100 * value, 99.9):.1f}%"
    return f"{value:.0%}" if value >= 0.1 else f"{100 * value:.2g}%"


def _plural(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
