"""The commands ``dissect labels write`` and ``check``: images segmented once, and their labels kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import nn

from dissect.arguments import refusal, speaks
from dissect.cli.networks import called, inputs_of, load_model
from dissect.cli.run import MODEL_HELP, check_device, names_in, random_weights
from dissect.cli.segmenters import add_segmenter_arguments, segmenter_in, signed
from dissect.text import json_text, shown


def add_commands(commands: Any) -> None:
    """``write`` and ``check``."""
    write_parser = commands.add_parser("write", help="segment images, or go on, as one of several writers")
    data = write_parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--images", type=Path, help="a folder of images, subfolders too")
    data.add_argument("--count", type=int, help="--model is a generator, which makes so many images; with --segmenter")
    write_parser.add_argument("--model", metavar="NAME", help=MODEL_HELP)
    write_parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    write_parser.add_argument("--seed", type=int, default=1, help="of the z set, and of its noise (1, as published)")
    add_segmenter_arguments(write_parser)
    write_parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    write_parser.add_argument("--concepts", type=Path, help="a JSON list of names, 1 on (the segmenter's, or planes')")
    write_parser.add_argument("--ignore", nargs="+", type=int, default=[], metavar="L", help="labels of 'no label'")
    write_parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    write_parser.add_argument("--mean", nargs=3, type=float, default=[0, 0, 0], metavar="M",
                              help="of the channels (0 and --std 1)")  # fmt: skip
    write_parser.add_argument("--std", nargs=3, type=float, default=[1, 1, 1], metavar="S", help="see --mean")
    write_parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    write_parser.add_argument("--device", default="cpu", help="where the segmenter runs, cuda for example (cpu)")
    write_parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    write_parser.add_argument("--part", nargs=2, type=int, default=[0, 1], metavar=("K", "N"),
                              help="of N writers at once this is number K, 0 on (0 1)")  # fmt: skip
    write_parser.add_argument("--out", type=Path, default=Path("labels"), help="folder of the store (labels)")
    write_parser.set_defaults(command=write)
    check_parser = commands.add_parser("check", help="hold a store against its checksums, and say what it takes")
    check_parser.add_argument("folder", type=Path, help="that `dissect labels write` wrote")
    check_parser.add_argument("--json", action="store_true", help="for programs")
    check_parser.set_defaults(command=check)


@speaks
def write(options: argparse.Namespace) -> int:
    """Segments what is not there yet."""
    from dissect.segmentation import store_labels

    check_device(options.device)
    if (options.planes is None) == (options.segmenter is None):
        raise refusal(ValueError("--segmenter or --planes must say what the images show, one of them."))
    if (options.count is None) != (options.model is None):
        raise refusal(ValueError("--model must come with --count, a generator with how many images it makes."))
    if options.count is not None and (options.planes is not None or options.segmenter_input is not None):
        raise refusal(ValueError("--planes and --segmenter-input must come with --images."))
    images, segmenter, generator = _generated(options) if options.count is not None else _folder(options)
    concepts = None if options.concepts is None else names_in(options.concepts)
    store = store_labels(
        segmenter, images, options.out, generator=generator, concepts=concepts, ignore=options.ignore,
        batch_size=options.batch_size, part=(options.part[0], options.part[1]),
    )  # fmt: skip
    print(f"labels: {shown(options.out)}" + ("" if store is not None else "; parts of other writers are missing"))
    return 0


def _folder(options: argparse.Namespace) -> tuple[Any, Any, None]:
    """A folder of images, and their segmenter."""
    from dissect.data import ImageFolder

    data = {"size": options.size, "mean": options.mean, "std": options.std, "skip": options.skip}
    images = ImageFolder(options.images, options.planes, **data)
    return images, segmenter_in(options, images), None


def _generated(options: argparse.Namespace) -> tuple[Any, Any, nn.Module]:
    """The z of a generator, the segmenter of what it makes, and the generator."""
    model = load_model(options.model, options.weights).eval().to(options.device)
    random_weights(argparse.Namespace(model=options.model, weights=options.weights, seed=0))
    return inputs_of(model, options), signed(called(options.segmenter), options.device), model


@speaks
def check(options: argparse.Namespace) -> int:
    """Reads all of a store, and prints its sizes."""
    from dissect.segmentation import LabelStore

    store = LabelStore(options.folder)
    store.verify()
    size = store.sizes()
    if options.json:
        print(json_text(size._asdict()))
        return 0
    print(
        f"{size.images} images, {size.planes} planes of {size.height}x{size.width}, "
        f"{len(store.concepts) - 1} concepts, {size.shards} shards: all as they were written"
    )
    print(
        f"{size.stored} bytes, {size.stored / size.images:.0f} per image; {size.as_planes} as planes of 16 bits, "
        f"{size.encoded} as ops take them"
    )
    return 0
