"""The command ``dissect sweep``: how units agree with labels at every threshold."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.cli.data import add_data_arguments, add_run_arguments, check_data, loaded
from dissect.cli.run import check_device, gibibytes, resumed
from dissect.table import Table
from dissect.text import json_text, shown

if TYPE_CHECKING:
    from dissect.dissection.swept import Sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_data_arguments(parser)
    parser.add_argument("--shares", nargs="+", type=float, metavar="Q",
                        help="of the pixels, at which levels are exact (0.0025 0.005 0.01 0.02 0.04)")  # fmt: skip
    parser.add_argument("--levels", type=int, default=48, help="how many others there are (48)")
    parser.add_argument("--preset", default="default", help="default or pnas2020")
    parser.add_argument("--bands", action="store_true", help="list the best label of each band of a unit's activations")
    parser.add_argument(
        "--decoys", type=int, default=0, help="permutations of labels among images, for each band's p (0)"
    )
    parser.add_argument("--resamples", type=int, default=0, help="of the images, for each band's interval (0)")
    add_run_arguments(parser, "result, charts and progress", budgets=True)


def sweep(options: argparse.Namespace) -> int:
    """Counts, saves and draws a chart for each layer; an interrupted run goes on when called again."""
    from dissect import plots

    check_device(options.device)
    check_data(options)
    with resumed(options) as progress:
        found = _swept(options, progress)
    result = found.save(options.out / "result")
    charts = [
        plots.save(found.plot(layer=layer), options.out / f"labels-{number}.png")
        for number, layer in enumerate(found.layers)
    ]
    if options.json:
        tables: dict[str, Table[Any]] = {"units": found.units(), "labels": found.labels()}
        tables |= {"bands": found.bands()} if options.bands else {}
        rows = {name: [row._asdict() for row in table] for name, table in tables.items()}
        print(json_text({"result": str(result), "charts": [*map(str, charts)], "settings": found.settings, **rows}))
        return 0
    print(f"{found}\n{found.labels()}\n")
    if options.bands:
        print(f"{found.bands()}\n")
    print(f"result: {shown(result)}")
    print("\n".join(f"chart: {shown(chart)}" for chart in charts))
    return 0


def _swept(options: argparse.Namespace, progress: Path) -> Sweep:
    import dissect
    from dissect.dissection.sweep import SHARES

    given = loaded(options, options.layers)
    found = dissect.sweep(
        given.model, options.layers, given.images, shares=options.shares or SHARES, levels=options.levels,
        preset=options.preset, batch_size=options.batch_size, memory_budget=gibibytes("--memory", options.memory),
        disk_budget=gibibytes("--disk", options.disk), resume=progress, decoys=options.decoys,
        resamples=options.resamples, **given.options,
    )  # fmt: skip
    found.settings.update(given.settings)
    return found
