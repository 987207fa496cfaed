"""The command ``dissect unit-classifiers``: how well single units tell images with a concept from those without."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dissect.arguments import integer, refusal
from dissect.cli.generator import inputs_of, signed
from dissect.cli.networks import called, load_model
from dissect.cli.run import MODEL_HELP, check_device, check_layers, names_in, random_weights, resumed
from dissect.text import shown

if TYPE_CHECKING:
    from dissect.dissection.unit_classifiers_result import UnitClassifiers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--seed", type=int, help="of random weights (0); with --count of the z set, and its noise (1)")
    parser.add_argument("--layer", required=True, help="a name as in model.named_modules()")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--images", type=Path, help="a folder of images, with --planes or --segmenter")
    data.add_argument("--classes", type=Path, help="a folder with a subfolder of images for each class")
    data.add_argument(
        "--count", type=int, help="the model is a generator, which makes so many images; with --segmenter"
    )
    parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    parser.add_argument("--segmenter", metavar="MODULE:CALLABLE", help="called without arguments, gives a segmenter")
    parser.add_argument("--concepts", type=Path, help="a JSON list of the labels' names, 1 on (planes' concepts.json)")
    parser.add_argument("--ignore", nargs="+", type=int, default=[], metavar="L", help="labels that mean 'no label'")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    parser.add_argument("--least-area", type=float, default=0.0, metavar="SHARE",
                        help="of an image's pixels, which a concept must exceed (0)")  # fmt: skip
    parser.add_argument("--concept", help="of the chart, NAME or CATEGORY/NAME (the one that is told best)")
    parser.add_argument("--unit", type=int, help="of the chart (the one that tells the concept best)")
    parser.add_argument("--device", default="cpu", help="where the network runs, cuda for example (cpu)")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result, chart and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def unit_classifiers(options: argparse.Namespace) -> int:
    """Measures, saves and draws; an interrupted run goes on when called again."""
    from dissect import plots

    check_device(options.device)
    if options.planes is not None and (options.segmenter is not None or options.images is None):
        raise refusal(ValueError("--planes must come with --images, and without --segmenter."))
    if options.classes is None and options.planes is None and options.segmenter is None:
        raise refusal(ValueError("--images must come with --planes or --segmenter, and --count with --segmenter."))
    if options.classes is not None and options.segmenter is not None:
        raise refusal(ValueError("--segmenter must come with --images or --count, since --classes has its own labels."))
    with resumed(options) as progress:
        found = _measured(options, progress)
    files = {"result": str(found.save(options.out / "result"))}
    known = any(row.accuracy is not None for row in found.table())
    if known or options.concept is not None:
        chart = found.plot(options.concept, options.unit)
        files["chart"] = str(plots.save(chart, options.out / "chart.png"))
    if options.json:
        print(json.dumps({**files, "settings": found.settings, "concepts": [row._asdict() for row in found.table()]}))
        return 0
    print(f"{found}\n{found.table()}")
    print("\n".join(f"{name}: {shown(Path(path))}" for name, path in files.items()))
    return 0


def _measured(options: argparse.Namespace, progress: Path) -> UnitClassifiers:
    import dissect

    generator = options.count is not None
    seed = integer("--seed", options.seed if options.seed is not None else int(generator), 0)
    model = load_model(options.model, options.weights, 0 if generator else seed)
    check_layers(model, argparse.Namespace(model=options.model, layers=[options.layer]))
    weights = argparse.Namespace(model=options.model, weights=options.weights, seed=0 if generator else seed)
    random, model = random_weights(weights), model.eval().to(options.device)
    more: dict[str, Any] = {"segment": "output"} if generator else {}
    found = dissect.unit_classifiers(
        model,
        options.layer,
        _images(options, model, seed),
        segmenter=None if options.segmenter is None else _segmenter(options, generator),
        concepts=None if options.concepts is None else names_in(options.concepts),
        ignore=options.ignore,
        least_area=options.least_area,
        batch_size=options.batch_size,
        resume=progress,
        **more,
    )
    if random is not None:
        found.settings["weights"] = random
    if generator:
        found.settings["z"] = {"count": options.count, "seed": seed}
    return found


def _images(options: argparse.Namespace, model: nn.Module, seed: int) -> Any:
    """The images, with planes or class numbers, or the z."""
    from dissect.data import ClassFolder, ImageFolder
    from dissect.data.folders import MEAN, STD

    if options.count is not None:
        return inputs_of(model, argparse.Namespace(count=options.count, seed=seed))
    prepared = {"size": options.size, "skip": options.skip, "mean": options.mean or MEAN, "std": options.std or STD}
    if options.classes is not None:
        return ClassFolder(options.classes, **prepared)
    return ImageFolder(options.images, options.planes, ignore=options.ignore, **prepared)


def _segmenter(options: argparse.Namespace, generator: bool) -> Any:
    segmenter = called(options.segmenter)
    return signed(segmenter, options.device) if generator else segmenter
