"""The command ``dissect run``: a user's own network over a folder of images."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from dissect.dissection import Dissection

LIBRARIES = ("torchvision", "timm", "transformers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="MODULE:CALLABLE, which is imported (the current folder first) and called without arguments: this runs "
        "that code; or torchvision:NAME, timm:NAME, transformers:NAME (a kind of model, a folder with a config.json "
        "or a name of the hub), built without weights",
    )
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--layers", nargs="+", required=True, help="names as in model.named_modules()")
    parser.add_argument("--images", type=Path, required=True, help="a folder of images, subfolders too")
    parser.add_argument("--planes", type=Path, help="a folder of label planes (see dissect.data.ImageFolder)")
    parser.add_argument("--segmenter", metavar="MODULE:CALLABLE", help="called without arguments, gives a segmenter")
    parser.add_argument("--concepts", type=Path, help="a JSON list of the labels' names, 1 on (planes' concepts.json)")
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of the channels in [0, 1] (ImageNet's)")
    parser.add_argument("--device", default="cpu", help="where the network runs, cuda for example (cpu)")
    parser.add_argument("--preset", default="default", help="default, pnas2020 or tpami2018")
    parser.add_argument("--tokens", nargs=2, type=int, metavar=("H", "W"), help="grid of a vision transformer's tokens")
    parser.add_argument("--fraction", type=float, help="share of samples on which a unit fires (the preset's)")
    parser.add_argument("--detector-iou", type=float, help="a unit is a detector above it (the preset's)")
    parser.add_argument("--top-images", type=int, default=5, help="images to keep per unit (5); the report shows five")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--memory", type=float, default=4, help="GiB of activations to keep between visits (4)")
    parser.add_argument("--disk", type=float, default=0, help="GiB to keep in temporary files beyond that (0)")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="folder for result, report and progress (out); a run that it holds goes on there, or is shown again",
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def run(options: argparse.Namespace) -> int:
    """Dissects, saves the result, writes the report; an interrupted run goes on when called again."""
    import dissect
    from dissect.report.html import check_extras
    from dissect.resume import FILE as PROGRESS_FILE

    check_extras()
    if (options.planes is None) == (options.segmenter is None):
        raise ValueError("run: either --planes or --segmenter must say what the images show.")
    progress = options.out / "progress" / PROGRESS_FILE
    if options.fresh:
        progress.unlink(missing_ok=True)
    if progress.exists():
        print(f"dissect: goes on from {progress}; --fresh begins anew.", file=sys.stderr)
    try:
        result = _dissected(options, progress.parent)
    except KeyboardInterrupt:
        if progress.exists():
            print(f"\ndissect: saved in {progress}; the same command goes on from there.", file=sys.stderr)
        raise
    files = {
        "result": str(result.save(options.out / "result")),
        "report": str(dissect.write_report(result, options.out)),
    }
    if options.json:
        units = [row._asdict() for row in result.best()]
        print(json.dumps({**files, "settings": result.settings, "units": units}))
    else:
        print(result.unique_detectors())
        print("\n".join(f"{name}: {path}" for name, path in files.items()))
    return 0


def _dissected(options: argparse.Namespace, progress: Path) -> Dissection:
    import dissect
    from dissect.data import ImageFolder
    from dissect.data.folders import MEAN, STD

    images = ImageFolder(
        options.images, options.planes, size=options.size, skip=options.skip,
        mean=options.mean or MEAN, std=options.std or STD,
    )  # fmt: skip
    return dissect.dissect(
        load_model(options.model, options.weights).eval().to(options.device),
        options.layers,
        images,
        segmenter=None if options.segmenter is None else called(options.segmenter),
        concepts=None if options.concepts is None else _names(options.concepts),
        preset=options.preset,
        fraction=options.fraction,
        detector_iou=options.detector_iou,
        tokens=options.tokens and tuple(options.tokens),
        top_images=options.top_images,
        batch_size=options.batch_size,
        memory_budget=gibibytes("--memory", options.memory),
        disk_budget=gibibytes("--disk", options.disk),
        resume=progress,
    )


def _names(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"run: --concepts must be a JSON list of names, but {path} is not: {error}") from error


def gibibytes(name: str, value: float) -> int:
    """Bytes of so many GiB.

    Raises:
        ValueError: no such number.
    """
    if not 0 <= value < 2**30:
        raise ValueError(f"run: {name} must be a number of GiB, but is {value}.")
    return int(value * 2**30)


def load_model(name: str, weights: Path | None = None) -> nn.Module:
    """A network by name, with weights from a file.

    Raises:
        ImportError: a module or library that cannot be imported; names it.
        ValueError: no such callable or architecture, no nn.Module, or weights that do not fit (names the keys).
        FileNotFoundError: no such file.
    """
    library, _, architecture = name.partition(":")
    model = _published(library, architecture) if library in LIBRARIES else called(name)
    if not isinstance(model, nn.Module):
        raise ValueError(f"run: --model must give a torch.nn.Module, but {name} gave {type(model).__name__}.")
    if weights is not None:
        _load_weights(model, weights)
    return model


def called(name: str) -> Any:
    """What MODULE:CALLABLE gives when it is called without arguments.

    Raises:
        ImportError, ValueError: see `load_model`.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"run: a name must be MODULE:CALLABLE, but got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ImportError(f"run: the module {module_name!r} cannot be imported: {error}") from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"run: {module_name} must have a callable {attribute!r}, but has none.")
    return found()


def _published(library: str, architecture: str) -> nn.Module:
    """An architecture of a library, without weights: none are downloaded."""
    try:
        module = importlib.import_module({"torchvision": "torchvision.models"}.get(library, library))
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision built for another torch
        raise ImportError(f"run: {library} cannot be imported ({error}); install it for {library}:NAME.") from error
    builders: dict[str, Callable[[], nn.Module]] = {
        "torchvision": lambda: module.get_model(architecture, weights=None),
        "timm": lambda: module.create_model(architecture, pretrained=False),
        "transformers": lambda: module.AutoModel.from_config(_configuration(module, architecture)),
    }
    try:
        return builders[library]()
    except (ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"run: {library} cannot build {architecture!r}: {error}") from error


def _configuration(transformers: Any, name: str) -> Any:
    """Of a kind of model ("vit") as it is by default, of a folder with a config.json, or of the hub."""
    if name in transformers.CONFIG_MAPPING:
        return transformers.AutoConfig.for_model(name)
    return transformers.AutoConfig.from_pretrained(name)


def _load_weights(model: nn.Module, path: Path) -> None:
    from dissect.models.checkpoint import check_fit, counted
    from dissect.models.reading import read, unwrapped

    own = model.state_dict()
    state, _ = read(path, "state_dict")
    renamed = dict(zip(unwrapped(own), own))  # a model may stand in a wrapper too
    state = {renamed.get(name, name): value for name, value in counted(state, renamed).items()}
    check_fit(state, {name: value.shape for name, value in own.items()}, path, type(model).__name__)
    model.load_state_dict(state)
