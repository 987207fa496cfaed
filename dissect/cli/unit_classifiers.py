"""The command ``dissect unit-classifiers``: how well single units tell images with a concept from those without."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.cli.data import add_data_arguments, add_run_arguments, check_data, loaded
from dissect.cli.run import check_device, resumed
from dissect.text import json_text, shown

if TYPE_CHECKING:
    from dissect.dissection.unit_classifiers_result import UnitClassifiers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_data_arguments(parser, "--layer", classes=True)
    parser.add_argument("--least-area", type=float, default=0.0, metavar="SHARE",
                        help="of an image's pixels, which a concept must exceed (0)")  # fmt: skip
    parser.add_argument("--concept", help="of the chart, NAME or CATEGORY/NAME (the one that is told best)")
    parser.add_argument("--unit", type=int, help="of the chart (the one that tells the concept best)")
    add_run_arguments(parser, "result, chart and progress")


def unit_classifiers(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import plots

    check_device(options.device)
    check_data(options)
    with resumed(options) as progress:
        found = _measured(options, progress)
    files = {"result": str(found.save(options.out / "result"))}
    known = any(row.accuracy is not None for row in found.table())
    if known or options.concept is not None:
        chart = found.plot(options.concept, options.unit)
        files["chart"] = str(plots.save(chart, options.out / "chart.png"))
    if options.json:
        print(json_text({**files, "settings": found.settings, "concepts": [row._asdict() for row in found.table()]}))
        return 0
    print(f"{found}\n{found.table()}")
    print("\n".join(f"{name}: {shown(Path(path))}" for name, path in files.items()))
    return 0


def _measured(options: argparse.Namespace, progress: Path) -> UnitClassifiers:
    import dissect

    given = loaded(options, [options.layer])
    found = dissect.unit_classifiers(
        given.model, options.layer, given.images, least_area=options.least_area, batch_size=options.batch_size,
        resume=progress, **given.options,
    )  # fmt: skip
    found.settings.update(given.settings)
    return found
