"""The command ``dissect run``: a user's own network over a folder of images."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

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
    parser.add_argument("--size", type=int, default=224, help="rows and columns of the images (224)")
    parser.add_argument("--preset", default="default", help="default, pnas2020 or tpami2018")
    parser.add_argument("--tokens", nargs=2, type=int, metavar=("H", "W"), help="grid of a vision transformer's tokens")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--memory", type=float, default=4, help="GiB of activations to keep between visits (4)")
    parser.add_argument("--disk", type=float, default=0, help="GiB to keep in temporary files beyond that (0)")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result, report and progress (out)")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def run(options: argparse.Namespace) -> int:
    """Dissects, saves the result, writes the report; an interrupted run goes on when called again."""
    import dissect
    from dissect.data import ImageFolder
    from dissect.report.html import check_extras

    check_extras()
    if (options.planes is None) == (options.segmenter is None):
        raise ValueError("run: either --planes or --segmenter must say what the images show.")
    model = load_model(options.model, options.weights).eval()
    segmenter = None if options.segmenter is None else called(options.segmenter)
    images = ImageFolder(options.images, options.planes, size=options.size, skip=options.skip)
    result = dissect.dissect(
        model,
        options.layers,
        images,
        segmenter=segmenter,
        preset=options.preset,
        tokens=options.tokens and tuple(options.tokens),
        batch_size=options.batch_size,
        memory_budget=int(options.memory * 2**30),
        disk_budget=int(options.disk * 2**30),
        resume=options.out / "progress",
    )
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
    from dissect.models.checkpoint import check_fit, read, tensors_of

    data = read(path)
    state = tensors_of(data.get("state_dict", data), path)
    if state and all(name.startswith("module.") for name in state):  # as DataParallel saves them
        state = {name.removeprefix("module."): value for name, value in state.items()}
    check_fit(state, {name: value.shape for name, value in model.state_dict().items()}, path, type(model).__name__)
    model.load_state_dict(state)
