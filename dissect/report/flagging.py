"""A page to flag units by eye whose images show faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dissect.arguments import integer, speaks
from dissect.dissection.result import Dissection
from dissect.generators.artifact_flags import KIND
from dissect.report.content import one_layer
from dissect.report.embedded import json_inside
from dissect.report.html import check_extras, environment, inside, page_path, script_of, write_text
from dissect.report.pictures import encode_masks, encode_pictures, mask_side, top_masks

FILE_NAME = "flagging.html"
SCRIPTS = ("pictures.js", "compare.js", "keeping.js", "flagging.js")
STYLES = ("report.css", "judging.css")
#: Pictures of a unit, as published: the top ten of 1,000 images.
SHOWN = 10


@speaks
def write_flagging(dissection: Dissection, path: str | Path, *, layer: str | None = None, images: int = SHOWN) -> Path:
    """Writes a page on which a person flags units whose images show faults (thesis, 4.4.2).

    Published: of a sample of 1,000 images the ten that excite each unit most were looked at, which took 10 minutes for
    512 units. The page names no concepts, which would sway the eye. It is one file that opens without a network; what
    is flagged is saved as JSON or CSV, for `dissect.generators.read_flags`.

    Args:
        dissection: of a generator, with its top images (``dissect.dissect(..., top_images=10)``).
        path: a folder, in which "flagging.html" is written, or a file that ends in ".html".
        layer: one of its layers; its only one by default.
        images: of each unit, at most.

    Returns:
        The file's path.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissection, or no layer where there are several.

    Example:
        >>> dissect.report.write_flagging(dissect.load("out/result"), "out/")  # doctest: +SKIP
        PosixPath('out/flagging.html')
    """
    check_extras()
    layer, found = one_layer(dissection, layer)
    images = integer("images", images)
    images = min(images, found.peaks.shape[1])
    side = mask_side([found], images)
    units: list[dict[str, Any]] = []
    shape = (1, 1)
    for number, (masks, _) in enumerate(top_masks(found, images, side)):
        shape = (masks.shape[1], masks.shape[2])
        shown = zip(found.peak_images[number, :images].tolist(), encode_masks(masks[:images]))
        units.append({"number": number, "pictures": [{"number": image, "mask": mask} for image, mask in shown]})
    shown_images = sorted({picture["number"] for unit in units for picture in unit["pictures"]})
    places = {number: at for at, number in enumerate(dissection.image_numbers.tolist())}
    kind, texts = encode_pictures(dissection.images[[places[number] for number in shown_images]])
    weights = dissection.settings.get("provenance", {}).get("weights")
    page = environment().get_template("flagging.html").render(
        layer=layer,
        units=units,
        num_images=dissection.settings["num_images"],
        weights=weights,
        shape=shape,
        aspect="{} / {}".format(*reversed(dissection.images.shape[-2:])),
        pictures=json_inside({"type": kind, "data": dict(zip(shown_images, texts))}),
        about=json_inside({"kind": KIND, "layer": layer, "weights": weights, "units": len(units)}),
        **inside(script_of(SCRIPTS), STYLES),
    )  # fmt: skip
    return write_text(page_path(path, FILE_NAME), page)
