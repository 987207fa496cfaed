"""The command ``dissect monitor``: the checkpoints of one training, dissected in turn."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from dissect.cli.compare import number, write_comparison
from dissect.cli.data import add_data_arguments, add_run_arguments, check_data, loaded
from dissect.cli.networks import load_model
from dissect.cli.run import check_device, gibibytes, resumed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_data_arguments(parser, series=True)
    parser.add_argument("--steps", nargs="+", type=number, metavar="N",
                        help="of the checkpoints, rising (files' names if numbers, else 0 1 ...)")  # fmt: skip
    parser.add_argument("--preset", default="default", help="default, pnas2020 or tpami2018")
    add_run_arguments(parser, "page, tables and charts", "all tables", budgets=True)


def monitor(options: argparse.Namespace) -> int:
    """Dissects each, and writes what ``dissect compare --steps`` does; an interrupted run goes on when called again."""
    import dissect
    from dissect.report.html import check_extras

    check_extras()
    check_device(options.device)
    check_data(options)
    weights: list[Path] = options.weights
    given = loaded(argparse.Namespace(**{**vars(options), "weights": weights[0]}), options.layers)

    def load(path: Path) -> nn.Module:
        return load_model(options.model, path).eval().to(options.device)

    networks: list[Any] = [given.model, *(partial(load, path) for path in weights[1:])]
    with resumed(options) as progress:
        found = dissect.monitor(
            list(zip(_names(weights), networks)), options.layers, given.images, steps=options.steps,
            preset=options.preset, batch_size=options.batch_size, memory_budget=gibibytes("--memory", options.memory),
            disk_budget=gibibytes("--disk", options.disk), resume=progress, **given.options,
        )  # fmt: skip
    write_comparison(options, found)
    return 0


def _names(weights: list[Path]) -> list[Any]:
    """The files' names; as numbers, the steps of the training, where all are some."""
    stems = [path.stem for path in weights]
    try:
        return [number(stem) for stem in stems]
    except ValueError:
        return stems
