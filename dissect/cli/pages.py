"""The command ``dissect unit-pages``: pages that are made of a saved dissection, beside its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from dissect.arguments import integer, result_file
from dissect.text import shown


def add_unit_pages_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect unit-pages`` takes."""
    add_result_arguments(parser)
    parser.add_argument("--images", type=int, default=5, help="of each unit, at most (5)")
    parser.add_argument("--importance", type=Path, help="a file that UnitImportance.save wrote, for a line of classes")
    parser.add_argument(
        "--out", type=Path, default=Path("out"),
        help="folder, a file that ends in .pdf, or in .png for a file per page (out)",
    )  # fmt: skip


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Which layer of which result."""
    parser.add_argument("result", type=Path, help="a file that Dissection.save wrote")
    parser.add_argument("--layer", help="one of its layers (its only one)")


def unit_pages(options: argparse.Namespace) -> int:
    """Writes all units of a layer on pages to print."""
    import dissect
    from dissect.report import write_unit_pages

    images = integer("--images", options.images)
    d = dissect.Dissection.load(result_file(options.result, ".dissection"))
    given = options.importance
    importance = () if given is None else dissect.UnitImportance.load(result_file(given, ".importance"))
    for path in write_unit_pages(d, options.out, layer=options.layer, images=images, importance=importance):
        print(f"pages: {shown(path)}")
    return 0
