"""A page about what a generator leaves out: the chart and table of its classes, and real images beside inversions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.report.html import check_extras, environment, inside, page_path, write_text
from dissect.report.pictures import encode_pictures

if TYPE_CHECKING:
    from dissect.omissions import OmissionPairs, SegmentationStatistics

FILE_NAME = "omissions.html"
STYLES = ("report.css", "omissions.css")


@speaks
def write_omissions(
    generated: SegmentationStatistics, real: SegmentationStatistics, path: str | Path, *,
    others: SegmentationStatistics | None = None, truth: SegmentationStatistics | None = None,
    second: tuple[SegmentationStatistics, SegmentationStatistics] | None = None,
    pairs: OmissionPairs | Sequence[OmissionPairs] = (), name: str = "the generator",
) -> Path:  # fmt: skip
    """Writes a page about what a generator leaves out (thesis, chapter 5).

    It has the distance, the chart of Figure 5-1a, every class with what speaks for and against its omission, and sheets
    of real images that show a class beside what the generator makes of them. It is one file that opens without a
    network.

    Args:
        generated: statistics of the generator's images.
        real: those of as many real ones.
        path: a folder, in which "omissions.html" is written, or a file that ends in ".html".
        others: of as many other real images, for the noise floor, see `dissect.omissions.fsd`.
        truth: of the real images' own labels, see `dissect.omissions.omission_table`.
        second: both samples as a second segmenter sees them, see there.
        pairs: what `dissect.omissions.omission_pairs` found, of one or several classes.
        name: of the generator.

    Returns:
        The file's path.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        TypeError: no statistics, or no pairs.
        ValueError: samples that cannot be compared, see `dissect.omissions.fsd` and `omission_table`.

    Example:
        >>> made, real = dissect.load("made.segstats"), dissect.load("real.segstats")  # doctest: +SKIP
        >>> dissect.report.write_omissions(made, real, "out/")  # doctest: +SKIP
        PosixPath('out/omissions.html')
    """
    from dissect.omissions import OmissionPairs, fsd, omission_table

    check_extras()
    shown = [pairs] if isinstance(pairs, OmissionPairs) else list(pairs)
    for one in shown:
        if not isinstance(one, OmissionPairs):
            raise refusal(TypeError(f"pairs must be OmissionPairs, but one is {type(one).__name__}."))
    distance = fsd(generated, real, others)
    rows = omission_table(generated, real, truth=truth, second=second)
    page = environment().get_template("omissions.html").render(
        name=name,
        distance=distance,
        rows=rows,
        omitted=[row.concept for row in rows if row.omitted],
        checked={"truth": truth is not None, "second": second is not None},
        chart=_chart(generated, real, name),
        sheets=[_sheet(one) for one in shown],
        style=inside("", STYLES)["style"],
    )  # fmt: skip
    return write_text(page_path(path, FILE_NAME), page)


def _chart(generated: SegmentationStatistics, real: SegmentationStatistics, name: str) -> Any:
    from markupsafe import Markup

    from dissect.omissions import omission_chart
    from dissect.report.charts import svg_of

    figure = omission_chart(generated, real)
    text = f"Relative change of each class's mean area from real images to those of {name}, and both means"
    return Markup(svg_of(figure, "omissions", text))


def _sheet(pairs: OmissionPairs) -> dict[str, Any]:
    """A row of pictures for the real images and for each method, with the share of the class below each."""
    kind, texts = encode_pictures(_bytes(pairs))
    shares = {("real image", row.image): row.real for row in pairs.table}
    shares |= {(row.method, row.image): row.made for row in pairs.table}
    rows, pictures = [], iter(texts)
    for name in ("real image", *pairs.made):
        cells = [
            {"source": f"data:{kind};base64,{next(pictures)}", "lit": f"data:{kind};base64,{next(pictures)}",
             "share": shares[name, number], "number": number}
            for number in pairs.numbers.tolist()
        ]  # fmt: skip
        rows.append({"name": name if name == "real image" else f"made by ({name})", "cells": cells})
    return {"concept": pairs.concept, "rows": rows, "count": len(pairs.numbers), "table": _sums(pairs)}


def _bytes(pairs: OmissionPairs) -> Tensor:
    """[T, 3, H, W] uint8: by row of the sheet each image, and the same where it does not show the class made pale."""
    import torch

    from dissect.plots import lit

    found = []
    for images, planes in [(pairs.images, pairs.planes), *zip(pairs.made.values(), pairs.made_planes.values())]:
        for image, plane in zip(images.add(1).div(2).clamp(0, 1), planes):
            found += [image, lit(image, plane == pairs.label)]
    return torch.stack(found).mul(255).round().byte().cpu()


def _sums(pairs: OmissionPairs) -> list[dict[str, Any]]:
    """By method, over all images: the class's share of the real ones and of the made, and what of it survives."""
    found = []
    for method in pairs.made:
        rows = [row for row in pairs.table if row.method == method]
        real, made = (sum(getattr(row, part) for row in rows) for part in ("real", "made"))
        kept = sum(row.real * row.survives for row in rows if row.survives is not None)
        found.append({
            "method": method, "real": real / len(rows), "made": made / len(rows),
            "kept": made / real if real else None, "survives": kept / real if real else None,
        })  # fmt: skip
    return found
