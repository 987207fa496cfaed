"""The command ``dissect compare``: saved dissections side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.arguments import refusal, result_file, speaks
from dissect.text import json_text, shown

if TYPE_CHECKING:
    from dissect.dissection.comparison import Comparison


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULT", help="files that Dissection.save wrote")
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="of the networks, in their order (the files', or their folders')"
    )
    parser.add_argument("--steps", nargs="+", type=number, metavar="N", help="of a series, such as checkpoints; rising")
    parser.add_argument("--detector-iou", type=float, help="a unit is a detector above it (as they were dissected)")
    parser.add_argument("--allow", nargs="+", default=[], metavar="RULE", help="rules that may differ, border say")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the page, the tables as CSV and the charts (out)"
    )
    parser.add_argument("--json", action="store_true", help="print all tables for programs")


@speaks
def compare(options: argparse.Namespace) -> int:
    """Prints how many units of each layer detect something, and writes a page, tables and charts."""
    import dissect
    from dissect.report.html import check_extras

    check_extras()
    files = [result_file(path, ".dissection") for path in options.results]
    names = options.names
    if names is not None and (len(names) != len(files) or len({*names}) < len(names)):
        raise refusal(ValueError(f"--names must be {len(files)} different names, one per result, but got {names}."))
    found = dissect.compare(
        files if names is None else dict(zip(names, files)),
        steps=options.steps,
        detector_iou=options.detector_iou,
        allow=options.allow,
    )
    write_comparison(options, found)
    return 0


def write_comparison(options: argparse.Namespace, found: Comparison) -> None:
    """Writes a page, tables and charts into `options.out`, and prints the summary, or all with `options.json`."""
    import dissect
    from dissect import plots
    from dissect.dissection.comparison import KINDS, SERIES

    page = dissect.write_report(found, options.out)
    written = [f"{name}.csv" for name in found.tables()]
    found.to_csv(options.out)
    drawn = [kind for kind in KINDS if kind not in SERIES or found.steps is not None]
    charts = [plots.save(found.plot(kind), options.out / f"{kind}.png") for kind in drawn]
    if options.json:
        tables = {name: [row._asdict() for row in table] for name, table in found.tables().items()}
        paths = {"report": str(page), "charts": [str(chart) for chart in charts]}
        print(json_text({**paths, "notes": found.notes, **tables}))
        return
    print(f"{found.summary()}\n\nreport: {shown(page)}")
    print("\n".join(f"chart: {shown(chart)}" for chart in charts))
    print(f"tables: {', '.join(shown(options.out / name) for name in written)}")


def number(text: str) -> float:
    """A whole number as such."""
    value = float(text)
    return int(value) if value.is_integer() else value
