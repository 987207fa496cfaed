"""The commands ``dissect run``, a user's own network over a folder of images, and ``dissect layers``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.cli.networks import load_model
from dissect.cli.segmenters import add_segmenter_arguments, segmenter_in
from dissect.cli.suggest import LIBRARIES
from dissect.text import json_text, printable, shown

if TYPE_CHECKING:
    from dissect.dissection.formulas_result import UnitFormulas
    from dissect.dissection.result import Dissection


MODEL_HELP = (
    "MODULE:CALLABLE, which is imported (the current folder first) and called without arguments: this runs that code; "
    "or torchvision:NAME, timm:NAME, transformers:NAME (a kind of model, a folder with a config.json or a name of the "
    "hub), built without weights"
)


def add_layers_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect layers`` takes."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--size", nargs="+", type=int, default=[224], metavar="N",
        help="rows and columns of the image that it runs on; one number for both, or two (224)",
    )  # fmt: skip
    parser.add_argument("--channels", type=int, default=3, help="of that image (3)")
    parser.add_argument("--json", action="store_true", help="for programs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--seed", type=int, default=0, help="of random weights, where there are no others (0)")
    parser.add_argument("--layers", nargs="+", required=True, help="names as in model.named_modules()")
    parser.add_argument("--images", type=Path, required=True, help="a folder of images, subfolders too")
    parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    add_segmenter_arguments(parser)
    parser.add_argument("--labels", type=Path, help="a folder that `dissect labels write` wrote of the same images")
    parser.add_argument("--concepts", type=Path, help="a JSON list of the labels' names, 1 on (planes' concepts.json)")
    parser.add_argument("--ignore", nargs="+", type=int, default=[], metavar="L", help="labels that mean 'no label'")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--device", default="cpu", help="where the network runs, cuda for example (cpu)")
    parser.add_argument("--preset", default="default", help="default, pnas2020, tpami2018 or iclr2019")
    parser.add_argument(
        "--threshold-images", type=Path,
        help="a folder of other images, on which iclr2019 finds the most informative thresholds",
    )  # fmt: skip
    parser.add_argument("--threshold-planes", type=Path, help="their label planes, where there is no --segmenter")
    parser.add_argument(
        "--grid", help="half_pixel, receptive_field or netdissect: where maps are sampled (the preset's)"
    )
    parser.add_argument("--tokens", nargs=2, type=int, metavar=("H", "W"), help="grid of a vision transformer's tokens")
    parser.add_argument(
        "--layout", nargs="+", metavar="LETTERS",
        help="a letter per axis of the layers' outputs, such as NHWU, or LAYER=LETTERS for each (found out)",
    )  # fmt: skip
    parser.add_argument(
        "--directions", type=Path, metavar="FILE",
        help="a .safetensors file of directions [V, U], named by layers, to dissect in the place of their units",
    )  # fmt: skip
    parser.add_argument("--top-images", type=int, default=5, help="images to keep per unit (5); the report shows five")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    parser.add_argument(
        "--formulas", type=int, metavar="N", help="also explain units by AND, OR and NOT of up to N concepts"
    )
    add_dissection_arguments(parser)


def add_dissection_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command takes that dissects: rules, memory, and where the result goes."""
    parser.add_argument("--fraction", type=float, help="share of samples on which a unit fires (the preset's)")
    parser.add_argument("--detector-iou", type=float, help="a unit is a detector above it (the preset's)")
    parser.add_argument(
        "--match", help="what a detector needs beside: iou (nothing), information or accuracy (the preset's)"
    )
    parser.add_argument("--levels", help="thresholds by fraction, label_information or unit_information (the preset's)")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--memory", type=float, default=4, help="GiB of activations to keep between visits (4)")
    parser.add_argument("--disk", type=float, default=0, help="GiB to keep in temporary files beyond that (0)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="folder for result, report and progress (out); a run that it holds goes on there, or is shown again",
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


@speaks
def layers(options: argparse.Namespace) -> int:
    """Prints the layers of a network."""
    from dissect.network.listing import list_layers
    from dissect.table import Table

    if len(options.size) > 2:
        raise refusal(ValueError(f"--size must be one number or two, rows and columns, but got {options.size}."))
    sides = [integer("--size", side) for side in (options.size * 2)[:2]]
    image = torch.zeros(1, integer("--channels", options.channels), *sides)
    found = list_layers(load_model(options.model).eval(), image)
    if options.json:
        print(json_text([row._asdict() for row in found]))
    else:
        rows: list[Any] = list(found)  # as they are shown, which have a text for a shape
        print(Table(row._replace(output="x".join(map(str, row.output))) for row in rows))
    return 0


@speaks
def run(options: argparse.Namespace) -> int:
    """Dissects, saves the result, writes the report; an interrupted run goes on when called again."""
    from dissect.report.html import check_extras

    check_extras()
    check_device(options.device)
    if options.planes is not None and options.segmenter is not None:
        raise refusal(ValueError("--planes and --segmenter both say what the images show; give one of them."))
    if options.labels is not None and (_labelled(options) or options.threshold_images is not None):
        raise refusal(ValueError("--labels must come without --planes, --segmenter and --threshold-images."))
    if options.threshold_planes is not None and (options.threshold_images is None or options.segmenter is not None):
        raise refusal(ValueError("--threshold-planes are those of --threshold-images, where there is no --segmenter."))
    if (
        options.formulas is not None
        and integer("--formulas", options.formulas)
        and not (_labelled(options) or options.labels is not None)
    ):
        raise refusal(ValueError("--formulas are of concepts, so they need --planes or --segmenter."))
    if options.formulas is not None and options.threshold_images is not None:
        raise refusal(
            ValueError("--formulas need one threshold per unit, but --threshold-images give one for each label.")
        )
    with resumed(options) as progress:
        result, formulas = _dissected(options, progress)
    return print_found(options, result, "no --planes and no --segmenter: units have no concepts", formulas)


@contextmanager
def resumed(options: argparse.Namespace) -> Iterator[Path]:
    """The folder of a run's progress within `options.out`, emptied by `options.fresh`; tells what goes on.

    Each command of a group has one of its own, so that several may share a folder.
    """
    _, _, command = options.name.partition(" ")
    folder = options.out / (f"{command}-progress" if command else "progress")
    if options.fresh:
        for path in _saved(folder):
            path.unlink()
    for path in _saved(folder)[:1]:
        print(f"dissect: goes on from {shown(path)}; --fresh begins anew.", file=sys.stderr)
    with telling_what_is_saved(folder):
        yield folder


def _saved(folder: Path) -> list[Path]:
    """What a run has left there, and what parts of it have left in folders of their own, however deep."""
    from dissect.files.progress import FILE

    return sorted(folder.rglob(FILE), key=lambda path: (len(path.parts), path))


def _labelled(options: argparse.Namespace) -> bool:
    return options.planes is not None or options.segmenter is not None


def print_found(
    options: argparse.Namespace, result: Dissection, unlabelled: str, formulas: UnitFormulas | None = None
) -> int:
    """Saves results and their report in `options.out`, and prints what was found; `unlabelled` without concepts."""
    import dissect

    files = {"result": str(result.save(options.out / "result"))}
    if formulas is not None:
        files["formulas"] = str(formulas.save(options.out / "result"))
    files["report"] = str(dissect.write_report(result, options.out, formulas=formulas))
    if options.json:
        units = [row._asdict() for row in result.best()]
        print(json_text({**files, "settings": result.settings, "units": units}))
    else:
        print(unlabelled if result.images_only else result.unique_detectors())
        if formulas is not None:
            print(repr(formulas))
        print("\n".join(f"{name}: {shown(path)}" for name, path in files.items()))
    return 0


@contextmanager
def telling_what_is_saved(folder: Path) -> Iterator[None]:
    """After Ctrl-C says where the work so far is, if there is any yet."""
    try:
        yield
    except KeyboardInterrupt:
        for path in _saved(folder)[:1]:
            print(f"\ndissect: saved in {shown(path)}; the same command goes on from there.", file=sys.stderr)
        raise


def check_device(name: str) -> None:
    """Refuses a device that torch does not have here.

    Raises:
        ValueError: says why.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch without CUDA
        reason = str(error).strip().split("\n")[0]
        raise refusal(ValueError(f"--device must be one that torch has here, but {name!r} is not: {reason}")) from error


def _dissected(options: argparse.Namespace, progress: Path) -> tuple[Dissection, UnitFormulas | None]:
    import dissect
    from dissect.data import ImageFolder
    from dissect.data.folders import MEAN, STD
    from dissect.segmentation import LabelStore

    model = load_model(options.model, options.weights, seed_number(options.seed, "--seed"))
    check_layers(model, options)  # before any image is read
    prepared = {"size": options.size, "skip": options.skip, "mean": options.mean or MEAN, "std": options.std or STD,
                "ignore": options.ignore}  # fmt: skip
    images = ImageFolder(options.images, options.planes, **prepared)
    if options.labels is not None:
        images = LabelStore(options.labels).beside(images)
    others = None
    if options.threshold_images is not None:
        others = ImageFolder(options.threshold_images, options.threshold_planes, **prepared)
    random, model = random_weights(options), model.eval().to(options.device)
    segmenter = segmenter_in(options, images)
    directions = None if options.directions is None else directions_in(options.directions)
    found = dissect.dissect(
        model,
        options.layers,
        images,
        segmenter=segmenter,
        concepts=None if options.concepts is None else names_in(options.concepts),
        ignore=options.ignore,
        preset=options.preset,
        grid=options.grid,
        fraction=options.fraction,
        detector_iou=options.detector_iou,
        match=options.match,
        levels=options.levels,
        thresholds_from=others,
        tokens=options.tokens and tuple(options.tokens),
        layout=options.layout and _layout(options.layout),
        directions=directions,
        top_images=options.top_images,
        batch_size=options.batch_size,
        memory_budget=gibibytes("--memory", options.memory),
        disk_budget=gibibytes("--disk", options.disk),
        resume=progress,
    )
    if random is not None:
        found.settings["weights"] = random
    if options.formulas is None:
        return found, None
    more = {"segmenter": segmenter, "batch_size": options.batch_size, "resume": progress / "formulas"}
    more |= {"directions": directions}
    return found, dissect.formulas(model, found, images, length=options.formulas, **more)


def _layout(given: list[str]) -> str | dict[str, str]:
    """LETTERS for all layers, or LAYER=LETTERS for each."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [entry.rpartition("=") for entry in given]
    layers = [layer for layer, _, _ in pairs]
    if not all(layers) or len({*layers}) < len(layers):
        raise refusal(ValueError(f"--layout must be LETTERS, or LAYER=LETTERS once for each layer, but got {given}."))
    return {layer: letters for layer, _, letters in pairs}


def check_layers(model: nn.Module, options: argparse.Namespace) -> None:
    """Tells of a layer that the model does not have, and how to see those that it has."""
    from dissect.network.trace import find_layers

    try:
        find_layers(model, options.layers)
    except KeyError as error:
        raise refusal(KeyError(f"{error.args[0]} `dissect layers {options.model}` lists all.")) from error


def random_weights(options: argparse.Namespace) -> str | None:
    """Which weights a library's network has that was given none, told on stderr; None where it has others.

    A function of the user's own may well load weights itself, so nothing is said of what it gives.
    """
    if options.weights is not None or (options.model or "").partition(":")[0] not in LIBRARIES:
        return None
    told = f"random (seed {options.seed})"
    name = printable(options.model)
    print(f"dissect: {name} has no --weights: they are {told}, as before any training.", file=sys.stderr)
    return told


def names_in(path: Path) -> Any:
    """The names of labels in a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise refusal(ValueError(f"--concepts must be a JSON list of names, but {path} is not: {error}")) from error


def directions_in(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a .safetensors file, by the names of layers.

    Raises:
        ValueError: it is none.
    """
    from safetensors import SafetensorError

    from dissect.files.tensorfile import read_tensors

    try:
        return read_tensors(path)[0]
    except SafetensorError as error:
        raise refusal(ValueError(f"--directions must be a .safetensors file, but {path} is not: {error}")) from error


def gibibytes(name: str, value: float) -> int:
    """Bytes of so many GiB.

    Raises:
        ValueError: no such number.
    """
    if not 0 <= value < 2**30:
        raise refusal(ValueError(f"{name} must be a number of GiB, but is {value}."))
    return int(value * 2**30)
