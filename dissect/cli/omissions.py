"""The commands ``dissect omissions ...``: what a generator leaves out."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dissect.arguments import integer, refusal, result_file
from dissect.cli.networks import called, load_model
from dissect.cli.run import MODEL_HELP, check_device, resumed, telling_what_is_saved
from dissect.cli.segmenters import segmenter_in, signed
from dissect.data.batches import image_of
from dissect.text import json_text, shown

if TYPE_CHECKING:
    from dissect.omissions import LayerInverter


def add_commands(commands: Any) -> None:
    """The commands ``dissect omissions ...``, to what `argparse` gives for them."""
    counted = commands.add_parser("statistics", help="count the pixels of each class, in a generator's or real images")
    _add_model(counted, required=False)
    _add_images(counted)
    counted.add_argument("--segmenter", required=True, metavar="MODULE:CALLABLE", help="called, gives a segmenter")
    counted.add_argument("--plane", nargs="+", type=int, default=[0], help="which of its planes (0, objects)")
    counted.add_argument("--count", type=int, default=1000, help="how many images (1000; published are 10000)")
    counted.add_argument("--seed", type=int, default=1, help="of the z, or of the sample of real images (1)")
    counted.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    _add_out(counted)
    counted.set_defaults(command=statistics)
    apart = commands.add_parser("fsd", help="the Frechet Segmentation Distance, and which classes are left out")
    apart.add_argument("generated", type=Path, help="a .segstats file of a generator's images")
    apart.add_argument("real", type=Path, help="one of as many real images")
    apart.add_argument("--others", type=Path, help="one of as many other real images, for the noise floor")
    apart.add_argument("--resamples", type=int, default=200, help="for the interval (200)")
    apart.add_argument("--chart", type=Path, help="a .png file for the chart of Figure 5-1")
    apart.add_argument("--page", type=Path, help="a folder, or a .html file, for a page about it")
    apart.add_argument("--pairs", nargs="+", type=Path, default=[], help=".pairs files to show on that page (none)")
    apart.add_argument("--json", action="store_true", help="for programs")
    apart.set_defaults(command=fsd)
    training = commands.add_parser("train-encoder", help="train encoders that invert a generator layer by layer")
    _add_training(training)
    training.set_defaults(command=train_encoder)
    inverted = commands.add_parser("invert", help="reconstruct real images")
    _add_inversion(inverted)
    inverted.add_argument("--method", default="f", choices=("a", "d", "e", "f"), help="see LayerInverter.invert (f)")
    inverted.add_argument("--count", type=int, default=10, help="the first so many images (10)")
    inverted.set_defaults(command=invert)
    paired = commands.add_parser("pairs", help="real images with most of a class, beside their reconstructions")
    _add_inversion(paired)
    paired.add_argument("statistics", type=Path, help="a .segstats file of the images")
    paired.add_argument("--segmenter", required=True, metavar="MODULE:CALLABLE", help="the one of the statistics")
    paired.add_argument("--concept", required=True, help="the class, as NAME or CATEGORY/NAME")
    paired.add_argument("--methods", nargs="+", default=["d", "f"], choices=("a", "d", "e", "f"), help="(d f)")
    paired.add_argument("--count", type=int, default=4, help="how many images (4)")
    paired.set_defaults(command=pairs)


def _add_model(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("--model", required=required, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")


def _add_images(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument(
        "--images", required=required,
        help="a folder of images; or MODULE:CALLABLE, which gives a data set of images in [0, 1]",
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a folder's images (256)")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")


def _add_training(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "--layers", nargs="+", required=True, help="the generator's first layers, layer1 to layer4, say"
    )
    parser.add_argument("--loss", default="cse", choices=("cse", "l1"), help="of single layers (cse)")
    parser.add_argument("--width", type=int, help="of the first maps of the image's encoder (an eighth of the layer's)")
    parser.add_argument("--epochs", type=int, default=100, help="for each layer, and for the image's encoder (100)")
    parser.add_argument("--joint-epochs", type=int, default=1000, help="for all together; 0 leaves that out (1000)")
    parser.add_argument("--batches", type=int, default=100, help="of an epoch (100)")
    parser.add_argument("--batch-size", type=int, default=32, help="z of a batch (32)")
    parser.add_argument("--rate", type=float, default=1e-4, help="Adam's for single layers (1e-4)")
    parser.add_argument("--image-rate", type=float, default=0.01, help="Adam's for the image's encoder (0.01)")
    parser.add_argument("--joint-rate", type=float, default=1e-5, help="Adam's for all together (1e-5)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and all z (0)")
    _add_out(parser)


def _add_inversion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inverter", type=Path, help="a .inverter file, which train-encoder writes")
    _add_model(parser)
    _add_images(parser, required=True)
    parser.add_argument("--steps", type=int, default=3000, help="of the optimisation (3000)")
    parser.add_argument("--rate", type=float, default=0.01, help="Adam's (0.01)")
    parser.add_argument("--optimiser", default="adam", choices=("adam", "lbfgs"), help="(adam)")
    parser.add_argument("--features", metavar="MODULE:CALLABLE", help="called, gives V, of images in [-1, 1] (pixels)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result and sheet (out)")


def statistics(options: argparse.Namespace) -> int:
    """Counts, saves the statistics, prints the classes with most pixels."""
    from dissect.omissions import segmentation_statistics

    check_device(options.device)
    if (options.model is None) == (options.images is None):
        raise refusal(ValueError("either --model, for a generator, or --images must be given."))
    real = options.images is not None
    images_or_generator = _images(options) if real else _generator(options)
    if real:
        segmenter = segmenter_in(options, images_or_generator)
    else:
        segmenter = signed(called(options.segmenter), options.device)
    with resumed(options) as progress:
        found = segmentation_statistics(
            images_or_generator, segmenter, plane=options.plane, count=options.count, seed=options.seed,
            batch_size=options.batch_size, resume=progress,
        )  # fmt: skip
    path = found.save(options.out / "result")
    print(found)
    for label in found.mean.sort(descending=True, stable=True).indices.tolist()[:10]:
        if found.mean[label] > 0:
            print(f"  {found.concepts.names[label]:20s} {float(found.mean[label]):7.3f} %")
    print(f"result: {shown(path)}")
    return 0


def fsd(options: argparse.Namespace) -> int:
    """Prints the distance, and every class whose share differs."""
    from dissect import omissions, plots
    from dissect.report import write_omissions

    if options.pairs and options.page is None:
        raise refusal(ValueError("--pairs are shown on a page, so --page must be given too."))
    if options.chart is not None and options.chart.suffix.lower() != ".png":
        raise refusal(ValueError(f"--chart must be a .png file, but is {options.chart}."))
    names = [options.generated, options.real, *([] if options.others is None else [options.others])]
    made, real, *others = (omissions.SegmentationStatistics.load(result_file(name, ".segstats")) for name in names)
    found = omissions.fsd(made, real, *others, resamples=options.resamples)
    table = omissions.omission_table(made, real)
    if options.json:
        print(json_text({**vars(found), "classes": [row._asdict() for row in table]}))
    else:
        print(found)
        print(table)
    if options.chart is not None:
        chart = plots.save(omissions.omission_chart(made, real), options.chart)
        print(f"chart: {shown(chart)}", file=sys.stderr if options.json else sys.stdout)
    if options.page is not None:
        pairs = [omissions.OmissionPairs.load(result_file(name, ".pairs")) for name in options.pairs]
        page = write_omissions(made, real, options.page, others=others[0] if others else None, pairs=pairs)
        print(f"page: {shown(page)}", file=sys.stderr if options.json else sys.stdout)
    return 0


def train_encoder(options: argparse.Namespace) -> int:
    """Trains, saves the encoders, prints the last loss of each stage."""
    from dissect.omissions import LayerInverter

    check_device(options.device)
    model = _generator(options)
    joint_epochs = integer("--joint-epochs", options.joint_epochs, 0)
    if not 0 < options.joint_rate < math.inf:  # told before hours of training, not after
        raise refusal(ValueError(f"--joint-rate must be a positive number, but is {options.joint_rate}."))
    common = {"batches": options.batches, "batch_size": options.batch_size, "seed": options.seed}
    with resumed(options) as progress:
        inverter = LayerInverter.train(
            model, options.layers, loss=options.loss, width=options.width, epochs=options.epochs, rate=options.rate,
            image_rate=options.image_rate, resume=progress, **common,
        )  # fmt: skip
    inverter.save(options.out / "layers")
    if joint_epochs:
        joint = options.out / "joint"
        if options.fresh:
            (joint / "progress.safetensors").unlink(missing_ok=True)
        with telling_what_is_saved(joint):
            inverter = inverter.fine_tune(
                epochs=joint_epochs, rate=options.joint_rate, resume=joint, **common
            )  # fmt: skip
    path = inverter.save(options.out / "result")
    print(inverter)
    for stage, loss in {line["stage"]: line["loss"] for line in inverter.log}.items():
        print(f"  {stage:6s} {loss:.4f}")
    print(f"result: {shown(path)}")
    return 0


def invert(options: argparse.Namespace) -> int:
    """Reconstructs images; saves them and a sheet, prints each one's loss."""
    from dissect import plots

    inverter, images = _inverter(options), _images(options)
    count = min(integer("--count", options.count), len(images))
    real = torch.stack([image_of(images[number]) for number in range(count)]) * 2 - 1
    found = inverter.invert(real, options.method, **_optimisation(options))
    for number, loss in enumerate(found.losses.tolist()):
        print(f"  image {number:4d}   loss {loss:.4f}")
    print(f"sheet: {shown(plots.save(found.plot(real), options.out / 'sheet.png'))}")
    print(f"result: {shown(found.save(options.out / 'result'))}")
    return 0


def pairs(options: argparse.Namespace) -> int:
    """Reconstructs the images with most of a class; saves them and a sheet, prints what of the class is left."""
    from dissect import plots
    from dissect.omissions import SegmentationStatistics, omission_pairs

    inverter, images = _inverter(options), _images(options)
    found = omission_pairs(
        inverter, images, SegmentationStatistics.load(result_file(options.statistics, ".segstats")),
        signed(called(options.segmenter), options.device), options.concept, count=options.count,
        methods=options.methods, **_optimisation(options),
    )  # fmt: skip
    print(found.table)
    print(f"sheet: {shown(plots.save(found.plot(), options.out / 'pairs.png'))}")
    print(f"result: {shown(found.save(options.out / 'result'))}")
    return 0


def _generator(options: argparse.Namespace) -> nn.Module:
    return load_model(options.model, options.weights).eval().to(options.device)


def _inverter(options: argparse.Namespace) -> LayerInverter:
    from dissect.omissions import LayerInverter

    check_device(options.device)
    return LayerInverter.load(result_file(options.inverter, ".inverter"), _generator(options))


def _images(options: argparse.Namespace) -> Any:
    """A data set of images in [0, 1]."""
    from dissect.data import ImageFolder

    if Path(options.images).is_dir():
        return ImageFolder(options.images, size=options.size, mean=(0, 0, 0), std=(1, 1, 1))
    return called(options.images, lambda name: f", and there is no folder {name} either")


def _optimisation(options: argparse.Namespace) -> dict[str, Any]:
    features = None if options.features is None else called(options.features)
    return {"steps": options.steps, "rate": options.rate, "optimiser": options.optimiser, "features": features}
