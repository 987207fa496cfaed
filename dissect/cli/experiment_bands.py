"""The command ``dissect experiment bands``: what classes lose when their units are ablated in bands of activation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dissect.arguments import integer, refusal, result_file, seed_number
from dissect.cli.classify import add_common, images_of, model_of
from dissect.cli.experiment_units import told
from dissect.cli.run import resumed


def add_commands(commands: Any) -> None:
    """The experiment."""
    own = commands.add_parser("bands", help="what classes lose when their units are ablated in bands of activation")
    add_bands_arguments(own)
    own.set_defaults(command=bands)


def add_bands_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment bands`` takes."""
    parser.add_argument("importance", type=Path, help="a file of `dissect classify importance`: the layer, and which "
                        "units matter to each class")  # fmt: skip
    add_common(parser)
    parser.add_argument("--most", type=int, default=7, metavar="K", help="units of each class, the most important (7)")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0025, 0.01, 0.05, 0.2], metavar="Q",
                        help="of a unit's cells that lie above each lower end (0.0025 0.01 0.05 0.2)")  # fmt: skip
    parser.add_argument("--controls", type=int, default=1, metavar="N", help="draws of as many other units (1)")


def bands(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    import dissect
    from dissect import experiments

    ranked = dissect.UnitImportance.load(result_file(options.importance, ".importance"))
    model, most = model_of(options), integer("--most", options.most)
    ranked.check_model(model)
    if most > ranked.num_units:
        raise refusal(ValueError(f"--most must be at most {ranked.num_units}, the layer's units, but is {most}."))
    images = images_of(options, "val", ranked.classes)
    with resumed(options) as progress:
        found = experiments.ablated_bands(
            model, ranked.layer, images, ranked.top_units(most), shares=options.shares,
            controls=integer("--controls", options.controls, 0), seed=seed_number(options.seed, "--seed"),
            batch_size=options.batch_size, resume=progress,
        )  # fmt: skip
    return told(options, found, {"bands": found.summary(), "classes": found.rows()})
