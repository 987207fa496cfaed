"""The commands ``dissect experiment axis-alignment``, ``discrimination`` and ``texture``; the others join them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dissect.arguments import refusal, seed_number
from dissect.cli import experiment_bands, experiment_classifiers, experiment_units
from dissect.cli.data import add_run_arguments
from dissect.cli.experiment_units import scenes_asked, told
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device, check_layers, names_in, random_weights, resumed
from dissect.cli.segmenters import add_segmenter_arguments, segmenter_in
from dissect.text import printable

if TYPE_CHECKING:
    from dissect.data import ImageFolder
    from dissect.tiny import TinyScenes

LAYER = "features.conv5_3"


def add_commands(commands: Any) -> None:
    """The experiments."""
    for name, text, add, command in (
        ("axis-alignment", "units against random rotations of them", add_alignment_arguments, axis_alignment),
        ("discrimination", "networks' features on a task, beside what their units detect", add_discrimination_arguments,
         discrimination),
        ("texture", "how far units fire at the same places in restyled images", add_texture_arguments, texture),
    ):  # fmt: skip
        own = commands.add_parser(name, help=text)
        add(own)
        own.set_defaults(command=command)
    experiment_units.add_commands(commands)
    experiment_bands.add_commands(commands)
    experiment_classifiers.add_commands(commands)


def add_alignment_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment axis-alignment`` takes."""
    _add_common(parser)
    parser.add_argument("--layer", default=LAYER, help="a name as in model.named_modules() (%(default)s)")
    parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    add_segmenter_arguments(parser)
    parser.add_argument("--concepts", type=Path, help="a JSON list of the labels' names, 1 on (planes' concepts.json)")
    parser.add_argument("--alphas", nargs="+", type=float, metavar="A", help="how far rotations go (0.1, 0.2, ..., 1)")
    parser.add_argument("--repeats", type=int, default=10, help="full rotations (10)")


def add_texture_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment texture`` takes."""
    _add_common(parser)
    parser.add_argument("--layers", nargs="+", default=[LAYER], help="names as in model.named_modules() (%(default)s)")
    parser.add_argument("--restyled", type=Path, help="a folder of the images' twins, with the same names")
    parser.add_argument("--thresholds", default="own", help="own, of each set, or common (own)")


def add_discrimination_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment discrimination`` takes."""
    parser.add_argument("--networks", type=Path, metavar="FOLDER", help="trainings of dissect.tiny.train_small, whose "
                        "ends are compared (the shipped networks, and untrained ones)")  # fmt: skip
    parser.add_argument("--task", default="objects", help="objects or scenes: what the classifier learns (objects)")
    parser.add_argument("--count", type=int, default=430, metavar="N", help="scenes to dissect networks with (430)")
    parser.add_argument("--train", type=int, default=2150, metavar="N", help="scenes that the classifier sees (2150)")
    parser.add_argument("--test", type=int, default=860, metavar="N", help="scenes on which it is tried (860)")
    parser.add_argument("--penalty", type=float, default=0.001, help="C of the support vector machine (0.001)")
    parser.add_argument("--cells", type=int, help="average maps to so many rows and columns before (whole maps)")
    parser.add_argument("--scaled", action="store_true", help="divide features by their mean norm")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result, chart and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help=f"{MODEL_HELP} (the embedded network)")
    parser.add_argument("--weights", type=Path, help="a state dict for --model, .safetensors or .pt")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn, and of random weights (0)")
    parser.add_argument("--images", type=Path, help="a folder of images (the embedded scenes)")
    parser.add_argument("--count", type=int, metavar="N", help="how many embedded scenes (172)")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of a folder's images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of the channels in [0, 1] (ImageNet's)")
    add_run_arguments(parser, "result, chart and progress")


def axis_alignment(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import experiments

    model = _model(options, [options.layer])
    if options.images is None and (options.planes, options.segmenter, options.concepts) != (None, None, None):
        raise refusal(
            ValueError("--planes and --segmenter are of --images, as is --concepts; the embedded scenes have planes.")
        )
    if options.planes is not None and options.segmenter is not None:
        raise refusal(ValueError("--planes and --segmenter both say what the images show; give one of them."))
    images = _images(options, options.images, options.planes)
    segmenter = segmenter_in(options, images)
    with resumed(options) as progress:
        found = experiments.axis_alignment(
            model,
            options.layer,
            images,
            alphas=options.alphas or experiments.ALPHAS,
            repeats=options.repeats,
            segmenter=segmenter,
            concepts=None if options.concepts is None else names_in(options.concepts),
            batch_size=options.batch_size,
            seed=options.seed,
            resume=progress,
        )
    return told(options, found, {"rotations": found.summary(), "concepts": found.best()})


def discrimination(options: argparse.Namespace) -> int:
    """Dissects the networks, measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import experiments

    with resumed(options) as progress:
        found = experiments.embedded_discrimination(
            options.networks,
            task=options.task,
            count=options.count,
            train=options.train,
            test=options.test,
            penalty=options.penalty,
            cells=options.cells,
            scaled=options.scaled,
            resume=progress,
        )
    return told(options, found, {"networks": found.rows(), "correlations": found.correlations()})


def texture(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import experiments

    if (options.images is None) != (options.restyled is None):
        raise refusal(ValueError("--images and --restyled must come together; the embedded scenes have twins."))
    model = _model(options, options.layers)
    images = _images(options, options.images)
    restyled = _images(options, options.restyled, style=1 if options.restyled is None else None)
    classes = _classes(images) if options.images is None else None
    if options.images is not None:
        _check_twins(images, restyled)
    with resumed(options) as progress:
        found = experiments.texture_sensitivity(
            model,
            options.layers,
            images,
            restyled,
            classes,
            thresholds=options.thresholds,
            batch_size=options.batch_size,
            seed=options.seed,
            resume=progress,
        )
    return told(options, found, {"layers": found.unclassed() if classes is None else found.summary()})


def _classes(scenes: TinyScenes) -> list[int] | None:
    """The class of each embedded scene; None, which is told, where some class would have a single scene."""
    least = 2 * len(scenes.classes)
    if len(scenes) >= least:
        return [scenes.scene(at) for at in range(len(scenes))]
    told = f"--count {len(scenes)} gives some classes no two scenes, so chance is that of any other scene"
    print(f"dissect: {told}; from {least} on it is that of the same class and of another.", file=sys.stderr)
    return None


def _check_twins(images: ImageFolder, restyled: ImageFolder) -> None:
    """Refuses folders whose files do not pair by name; their types may differ.

    Raises:
        ValueError: names the first that has no twin.
    """
    own, twins = ([file.relative_to(one.folder).with_suffix("").as_posix() for file in one.files]
                  for one in (images, restyled))  # fmt: skip
    if own == twins:
        return
    lone = sorted({*own} ^ {*twins}) or [name for name, twin in zip(own, twins) if name != twin] or own[-1:]
    where = "--restyled" if lone[0] in own else "--images"
    raise refusal(ValueError(
        "--restyled must hold a twin of each file in --images, of the same name (its type may differ), but "
        f"{printable(lone[0])!r} has none of its own in {where}; rename the twins, or move what has none elsewhere."
    ))  # fmt: skip


def _model(options: argparse.Namespace, layers: list[str]) -> nn.Module:
    from dissect import tiny

    check_device(options.device)
    if options.model is None and options.weights is not None:
        raise refusal(ValueError("--weights needs --model."))
    if (options.model is None) != (options.images is None):
        raise refusal(ValueError("--model and --images must come together; else both are embedded."))
    if options.model is None:
        return tiny.vgg().to(options.device)
    model = load_model(options.model, options.weights, seed_number(options.seed, "--seed"))
    check_layers(model, argparse.Namespace(model=options.model, layers=layers))
    random_weights(options)
    return model.eval().to(options.device)


def _images(
    options: argparse.Namespace, folder: Path | None, planes: Path | None = None, style: int | None = None
) -> Any:
    from dissect import tiny
    from dissect.data import ImageFolder
    from dissect.data.folders import MEAN, STD

    count = scenes_asked(options)
    if folder is None:
        return tiny.TinyScenes("val", count=count, restyle=style)
    return ImageFolder(folder, planes, size=options.size, mean=options.mean or MEAN, std=options.std or STD)
