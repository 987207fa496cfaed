"""The commands ``dissect generator ...``: what the units of a generator draw."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dissect.arguments import integer
from dissect.cli.run import (
    MODEL_HELP,
    called,
    check_device,
    check_layers,
    gibibytes,
    load_model,
    print_found,
    random_weights,
    resumed,
)

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


def add_dissect_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator dissect`` takes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set, and of its noise (1, as published)")
    parser.add_argument("--layers", nargs="+", required=True, help="names as in model.named_modules()")
    parser.add_argument("--count", type=int, default=1000, help="how many images it makes (1000)")
    parser.add_argument(
        "--segmenter",
        metavar="MODULE:CALLABLE",
        help="called without arguments, gives a segmenter of images in [-1, 1]",
    )
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--preset", default="default", help="default or pnas2020")
    parser.add_argument("--fraction", type=float, help="share of samples on which a unit fires (the preset's)")
    parser.add_argument("--detector-iou", type=float, help="a unit is a detector above it (the preset's)")
    parser.add_argument("--top-images", type=int, default=10, help="images to keep per unit (10, as published)")
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


def dissect(options: argparse.Namespace) -> int:
    """Dissects a generator, saves the result, writes the report; an interrupted run goes on when called again."""
    from dissect.report.html import check_extras

    check_extras()
    check_device(options.device)
    with resumed(options) as progress:
        found = _dissected(options, progress)
    return print_found(options, found, "no --segmenter: units have no concepts")


def _dissected(options: argparse.Namespace, progress: Path) -> Dissection:
    import dissect

    model = load_model(options.model, options.weights).eval().to(options.device)
    check_layers(model, options)
    count, seed = integer("--count", options.count), options.seed
    z = dissect.latents(model, count, seed)
    takes_noise = "noise" in inspect.signature(model.forward).parameters
    random = random_weights(argparse.Namespace(model=options.model, weights=options.weights, seed=0))
    found = dissect.dissect(
        model,
        options.layers,
        (z, dissect.noise_seeds(count, seed)) if takes_noise else z,
        segmenter=None if options.segmenter is None else _signed(called(options.segmenter), options.device),
        segment="output",
        preset=options.preset,
        fraction=options.fraction,
        detector_iou=options.detector_iou,
        top_images=options.top_images,
        batch_size=options.batch_size,
        memory_budget=gibibytes("--memory", options.memory),
        disk_budget=gibibytes("--disk", options.disk),
        resume=progress,
    )
    found.settings["z"] = {"count": count, "seed": seed, "noise": takes_noise}
    if random is not None:
        found.settings["weights"] = random
    return found


def _signed(segmenter: Any, device: str) -> Any:
    """A segmenter that was made for images in [0, 1] takes those in [-1, 1], which is told."""
    if getattr(segmenter, "signed", True) is False:
        print("dissect: the segmenter takes images in [0, 1]; it is given (x + 1) / 2.", file=sys.stderr)
        segmenter.signed = True
    return segmenter.to(device) if isinstance(segmenter, nn.Module) else segmenter
