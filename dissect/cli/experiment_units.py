"""The commands ``dissect experiment verified``, ``planted`` and ``rosetta``: what units mean, put to the test."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dissect.arguments import integer, refusal, seed_number
from dissect.cli.data import add_run_arguments
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device, resumed
from dissect.stats.bootstrap import enough_draws
from dissect.text import json_text, shown

LAYER = "features.conv5_3"
#: How many embedded scenes are shown where nobody says.
SCENES = 172


def add_commands(commands: Any) -> None:
    """The experiments."""
    for name, text, add, command in (
        ("verified", "units of the embedded network by scenes with and without what they detect",
         add_verified_arguments, verified),
        ("planted", "ways of labelling by synthetic units whose concept is known", add_planted_arguments, planted),
        ("rosetta", "which units of two networks are the same", add_rosetta_arguments, rosetta),
    ):  # fmt: skip
        own = commands.add_parser(name, help=text)
        add(own)
        own.set_defaults(command=command)


def add_verified_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment verified`` takes."""
    parser.add_argument("--layers", nargs="+", default=[LAYER], help="of the embedded network (%(default)s)")
    parser.add_argument("--count", type=int, default=430, metavar="N", help="scenes that label its units (430)")
    parser.add_argument("--pairs", type=int, default=24, metavar="N", help="scenes with and without each concept (24)")
    parser.add_argument("--response", choices=("peak", "mean"), default="peak", help="of a unit's map (peak)")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (0)")
    add_run_arguments(parser, "result, chart and progress")


def verified(options: argparse.Namespace) -> int:
    """Labels, measures, saves and draws; an interrupted run goes on when called again."""
    import dissect
    from dissect import experiments, tiny

    check_device(options.device)
    model, scenes = tiny.vgg().to(options.device), tiny.TinyScenes("val", count=integer("--count", options.count))
    settings: dict[str, Any] = {"relu": True, "batch_size": options.batch_size}
    pairs, seed = integer("--pairs", options.pairs), seed_number(options.seed, "--seed")
    with resumed(options) as progress:
        d = dissect.dissect(
            model, options.layers, scenes, decoys=0, resamples=0, resume=progress / "dissected", **settings
        )
        twins = tiny.twins(count=pairs)
        found = experiments.verified_labels(
            model, options.layers, twins.images, twins.without, twins.labels, d,
            response=options.response, seed=seed, resume=progress, **settings,
        )  # fmt: skip
    return told(options, found, {"layers": found.summary(), "units": found.units()})


def add_planted_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment planted`` takes."""
    parser.add_argument("--count", type=int, default=215, metavar="N", help="embedded scenes (215)")
    parser.add_argument("--formulas", type=int, default=15, metavar="N", help="of each kind (15)")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.01, 0.04], metavar="Q",
                        help="of the pixels on which units fire (0.01 0.04)")  # fmt: skip
    parser.add_argument("--method", nargs="+", default=[], metavar="MODULE:CALLABLE",
                        help="called with activations, planes and concepts, gives labels; scored too")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of what is planted (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result and chart (out)")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def planted(options: argparse.Namespace) -> int:
    """Plants, labels, saves and draws."""
    import numpy as np
    import torch

    from dissect import experiments, tiny
    from dissect.cli.networks import imported

    count = integer("--formulas", options.formulas)
    if len({*options.fractions}) < len(options.fractions):
        raise refusal(ValueError(f"--fractions must be different, but are {options.fractions}."))
    methods: dict[str, Any] = {}
    for fraction in options.fractions:
        methods[f"IoU, top {fraction:g}"] = experiments.by_iou(fraction)
        methods[f"formulas, top {fraction:g}"] = experiments.by_formulas(fraction)
    methods |= {name: imported(name) for name in options.method}
    scenes = tiny.TinyScenes("val", size=64, count=integer("--count", options.count))
    planes = torch.from_numpy(np.stack([scenes.raw(at)[1] for at in range(len(scenes))]))
    made = experiments.plant(planes, scenes.concepts, count=count, seed=options.seed)
    found = experiments.score_labels(made, methods)
    return told(options, found, {"methods": found.summary(), "conditions": found.summary(by_corruption=True)})


def add_rosetta_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment rosetta`` takes."""
    for name, which, network, layer in (
        ("", "first", "vgg", "features.conv4_3"),
        ("other-", "second", "segmenter", "network.down4"),
    ):
        parser.add_argument(f"--{name or 'model'}".rstrip("-"), dest=f"{which}_model", metavar="NAME",
                            default=f"dissect.tiny:{network}", help=f"{MODEL_HELP} (%(default)s)")  # fmt: skip
        parser.add_argument(f"--{name}weights", type=Path, help="a state dict for it, .safetensors or .pt")
        parser.add_argument(f"--{name}layer", default=layer, help="as in model.named_modules() (%(default)s)")
    parser.add_argument("--images", type=Path, help="a folder of images (the embedded scenes)")
    parser.add_argument("--count", type=int, metavar="N", help="how many embedded scenes (172)")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of a folder's images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M",
                        help="of the channels in [0, 1] (ImageNet's; the networks above want 0 0 0)")  # fmt: skip
    parser.add_argument("--std", nargs=3, type=float, metavar="S",
                        help="of the channels in [0, 1] (ImageNet's; the networks above want 1 1 1)")  # fmt: skip
    parser.add_argument(
        "--resamples", type=int, default=200, help="how often images are drawn again, for intervals (200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the permutation, the draws, and random weights (0)")
    add_run_arguments(parser, "result, chart and progress")


def rosetta(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import experiments, tiny
    from dissect.data import ImageFolder
    from dissect.data.folders import MEAN, STD

    count = scenes_asked(options)
    check_device(options.device)
    seed = seed_number(options.seed, "--seed")
    named = (options.first_model, options.weights), (options.second_model, options.other_weights)
    models = [load_model(name, weights, seed).eval().to(options.device) for name, weights in named]
    folder = options.images and ImageFolder(
        options.images, size=options.size, mean=options.mean or MEAN, std=options.std or STD
    )
    with resumed(options) as progress:
        found = experiments.rosetta(
            models[0], options.layer, models[1], options.other_layer,
            folder or tiny.TinyScenes("val", count=count),
            seed=seed, batch_size=options.batch_size, resume=progress,
            resamples=enough_draws(options.resamples, "--resamples"),
        )  # fmt: skip
    intervals = {} if found.resampled is None else {"intervals": found.intervals()}
    return told(options, found, {"images": found.summary(), **intervals, "buddies": found.buddies()})


def scenes_asked(options: argparse.Namespace) -> int:
    """How many embedded scenes are asked for.

    Raises:
        ValueError: options that are of embedded scenes with a folder of images, or the other way round.
    """
    if options.images is None and (options.mean, options.std) != (None, None):
        raise refusal(ValueError("--mean and --std are of --images; the embedded scenes have theirs."))
    if options.images is not None and options.count is not None:
        raise refusal(ValueError("--count is how many embedded scenes to take, so it goes with no --images."))
    return SCENES if options.count is None else integer("--count", options.count)


def told(options: argparse.Namespace, found: Any, tables: dict[str, Any], chart: Any = None) -> int:
    """Saves and draws what was found, by its own plot or as a given chart, and prints it."""
    from dissect import plots

    files = {"result": str(found.save(options.out / "result"))}
    files["chart"] = str(plots.save(chart or found.plot(), options.out / "chart.png"))
    if options.json:
        rows = {name: [row._asdict() for row in table] for name, table in tables.items()}
        print(json_text({**files, "settings": getattr(found, "settings", {}), **rows}))
        return 0
    print("\n\n".join(map(str, [repr(found), *tables.values()])))
    print("\n".join(f"{name}: {shown(Path(path))}" for name, path in files.items()))
    return 0
