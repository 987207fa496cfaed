"""What commands show to a network: a folder of images, of classes, or the z of a generator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from dissect.arguments import refusal, seed_number
from dissect.cli.networks import called, inputs_of, load_model
from dissect.cli.run import MODEL_HELP, check_layers, names_in, random_weights
from dissect.cli.segmenters import add_segmenter_arguments, segmenter_in, signed


class GivenNetwork(NamedTuple):
    """A network and what it is shown.

    Attributes:
        model: the network, where it runs.
        images: images, with planes or class numbers, or z.
        options: segmenter and names of labels, as functions take them.
        settings: what a result says of random weights and of z.
    """

    model: nn.Module
    images: Any
    options: dict[str, Any]
    settings: dict[str, Any]


def add_data_arguments(
    parser: argparse.ArgumentParser, layer: str = "--layers", *, classes: bool = False, series: bool = False
) -> None:
    """The network, or a series of its weights; its layer or layers; and what it is shown, maybe classes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    kind = "state dicts" if series else "a state dict"
    parser.add_argument("--weights", type=Path, help=f"{kind}, .safetensors or .pt (read as tensors only)",
                        required=series, nargs="+" if series else None)  # fmt: skip
    parser.add_argument("--seed", type=int, help="of random weights (0); with --count of the z set, and its noise (1)")
    parser.add_argument(layer, required=True, help="as in model.named_modules()",
                        nargs="+" if layer == "--layers" else None)  # fmt: skip
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--images", type=Path, help="a folder of images, with --planes or --segmenter")
    if classes:
        data.add_argument("--classes", type=Path, help="a folder with a subfolder of images for each class")
    data.add_argument(
        "--count", type=int, help="the model is a generator, which makes so many images; with --segmenter"
    )
    parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    add_segmenter_arguments(parser)
    parser.add_argument("--concepts", type=Path, help="a JSON list of the labels' names, 1 on (planes' concepts.json)")
    parser.add_argument("--ignore", nargs="+", type=int, default=[], metavar="L", help="labels that mean 'no label'")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")


def add_run_arguments(parser: argparse.ArgumentParser, kept: str, printed: str = "what was found",
                      budgets: bool = False) -> None:  # fmt: skip
    """Where a run that can be interrupted takes place, how much it may keep, where its results go, what is printed."""
    parser.add_argument("--device", default="cpu", help="where the network runs, cuda for example (cpu)")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    if budgets:
        parser.add_argument("--memory", type=float, default=4, help="GiB of activations to keep between visits (4)")
        parser.add_argument("--disk", type=float, default=0, help="GiB to keep in temporary files beyond that (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help=f"folder for {kept} (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")
    parser.add_argument("--json", action="store_true", help=f"print {printed} for programs")


def check_data(options: argparse.Namespace) -> None:
    """Refuses what cannot tell labels, before anything is loaded.

    Raises:
        ValueError: says what is missing.
    """
    classes = getattr(options, "classes", None)
    if options.planes is not None and (options.segmenter is not None or options.images is None):
        raise refusal(ValueError("--planes must come with --images, and without --segmenter."))
    if classes is None and options.planes is None and options.segmenter is None:
        raise refusal(ValueError("--images must come with --planes or --segmenter, and --count with --segmenter."))
    if classes is not None and options.segmenter is not None:
        raise refusal(ValueError("--segmenter must come with --images or --count, since --classes has its own labels."))


def loaded(options: argparse.Namespace, layers: Sequence[str]) -> GivenNetwork:
    """The network, which must have these layers, and the images that it is shown."""
    generator = options.count is not None
    seed = seed_number(options.seed if options.seed is not None else int(generator), "--seed")
    model = load_model(options.model, options.weights, 0 if generator else seed)
    check_layers(model, argparse.Namespace(model=options.model, layers=layers))
    weights = argparse.Namespace(model=options.model, weights=options.weights, seed=0 if generator else seed)
    random, model = random_weights(weights), model.eval().to(options.device)
    images = _images(options, model, seed)
    if generator and options.segmenter_input is not None:
        raise refusal(ValueError("--segmenter-input is of --images; a generator's are in [-1, 1]."))
    found = {
        "segmenter": signed(called(options.segmenter), options.device) if generator and options.segmenter is not None
        else segmenter_in(options, images),
        "concepts": None if options.concepts is None else names_in(options.concepts),
        "ignore": options.ignore, **({"segment": "output"} if generator else {}),
    }  # fmt: skip
    settings: dict[str, Any] = {} if random is None else {"weights": random}
    settings |= {"z": {"count": options.count, "seed": seed}} if generator else {}
    return GivenNetwork(model, images, found, settings)


def _images(options: argparse.Namespace, model: nn.Module, seed: int) -> Any:
    from dissect.data import ClassFolder, ImageFolder
    from dissect.data.folders import MEAN, STD

    if options.count is not None:
        return inputs_of(model, argparse.Namespace(count=options.count, seed=seed))
    prepared = {"size": options.size, "skip": options.skip, "mean": options.mean or MEAN, "std": options.std or STD}
    if getattr(options, "classes", None) is not None:
        return ClassFolder(options.classes, **prepared)
    return ImageFolder(options.images, options.planes, ignore=options.ignore, **prepared)
