"""A dissection as one web page that needs nothing else: no network, no other files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.cache import replacing

if TYPE_CHECKING:
    from dissect.dissection import Dissection
    from dissect.report.content import Layer

FILE_NAME = "report.html"
FOLDER = Path(__file__).parent
_EXTRAS = ("jinja2", "matplotlib", "PIL")


def write_report(dissection: Dissection, path: str | Path) -> Path:
    """Writes a page about every unit: its concept, how well it fits, and the images that excite it most.

    The page is one file of HTML that opens without a network. The same dissection gives the same bytes.

    Args:
        dissection: what `dissect.dissect` or `dissect.load` returned.
        path: a folder, in which "report.html" is written, or a file that ends in ".html". Missing folders are made; an
            older file is replaced only once the new one is complete.

    Returns:
        The file's path.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.

    Example:
        >>> dissect.write_report(dissect.load("vgg16-conv5_3"), "out/")  # doctest: +SKIP
        PosixPath('out/report.html')
    """
    _check_extras()
    path = Path(path)
    if path.suffix.lower() != ".html":
        path = path / FILE_NAME
    page = _render(dissection).encode("utf-8", errors="replace")
    with replacing(path) as partial:
        partial.write_bytes(page)
    return path


def _check_extras() -> None:
    for name in _EXTRAS:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"write_report needs jinja2, matplotlib and pillow, but {name} cannot be imported ({error}); "
                "install them with: pip install 'dissect-units[report]'"
            ) from error


def _render(dissection: Dissection) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from dissect.report.charts import detector_chart, iou_chart, is_wide, layers_chart
    from dissect.report.content import layer_content

    layers = [layer_content(dissection, index, name) for index, name in enumerate(dissection.layers)]
    cutoff = dissection.settings["detector_iou"]
    charts = [
        {
            "detectors": Markup(detector_chart(layer)) if layer.detectors else None,
            "iou": Markup(iou_chart(layer, cutoff)),
            "wide": is_wide(layer),
        }
        for layer in layers
    ]
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["plural"] = _plural
    return environment.get_template("report.html").render(
        layers=layers,
        charts=charts,
        comparison=Markup(layers_chart(layers)) if len(layers) > 1 else None,
        settings=dissection.settings,
        cutoff=cutoff,
        aspect="{} / {}".format(*reversed(dissection.images.shape[-2:])) if len(dissection.images) else "1 / 1",
        pictures=Markup(_pictures(dissection, layers)),
        style=Markup((FOLDER / "report.css").read_text("utf-8")),
        script=Markup((FOLDER / "report.js").read_text("utf-8")),
    )


def _pictures(dissection: Dissection, layers: list[Layer]) -> str:
    """The pictures of all cards as JSON, each once."""
    from dissect.report.pictures import encode_pictures

    shown = {picture.number for layer in layers for card in layer.cards for picture in card.pictures}
    kept = [at for at, number in enumerate(dissection.image_numbers.tolist()) if number in shown]
    kind, texts = encode_pictures(dissection.images[kept])
    numbers = dissection.image_numbers[kept].tolist()
    return json.dumps({"type": kind, "data": dict(zip(numbers, texts))}, separators=(",", ":"))


def _number(value: Any) -> str:
    """A measured value with three significant digits, without an exponent where that stays short."""
    return f"{value:.3g}" if 0.001 <= abs(value) < 1e6 or value == 0 else f"{value:.2e}"


def _percent(value: float) -> str:
    """A share as a percentage with two significant digits, or three for 100%."""
    return f"{value:.0%}" if value >= 0.1 else f"{100 * value:.2g}%"


def _plural(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
