"""Networks by the names that a command was given, with weights from a file."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dissect.arguments import integer, refusal
from dissect.cli.suggest import LIBRARIES, did_you_mean
from dissect.models.noise import takes_noise


def load_model(name: str, weights: Path | None = None, seed: int = 0) -> nn.Module:
    """A network by name, with weights from a file.

    Whatever is drawn at random while it is built, its weights as a rule, is drawn by the seed, so that the same command
    gives the same network again.

    Raises:
        ImportError: a module or library that cannot be imported; names it.
        ValueError: no such callable or architecture, no nn.Module, or weights that do not fit (names the keys).
        FileNotFoundError: no such file.
    """
    library, _, architecture = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        published = library in LIBRARIES and architecture
        model = _published(library, architecture) if published else called(name, did_you_mean)
    if not isinstance(model, nn.Module):
        raise refusal(ValueError(f"--model must give a torch.nn.Module, but {name} gave {type(model).__name__}."))
    if weights is not None:
        _load_weights(model, weights)
    return model


def called(name: str, hint: Callable[[str], str] = lambda name: "") -> Any:
    """What MODULE:CALLABLE gives when it is called without arguments.

    Args:
        name: MODULE:CALLABLE.
        hint: what to say of a name that is none, or whose module is not there.

    Raises:
        ImportError, ValueError: see `load_model`.
    """
    found = imported(name, hint)
    _check_call(name, found)
    return found()


def imported(name: str, hint: Callable[[str], str] = lambda name: "") -> Callable[..., Any]:
    """The callable itself that MODULE:CALLABLE names; arguments and errors as of `called`."""
    module_name, colon, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if not (module_name and colon and attribute):
        raise refusal(ValueError(f"a name must be MODULE:CALLABLE, but got {name!r}{hint(name)}.".replace("?.", "?")))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name))
        told = f"the module {module_name!r} cannot be imported: {error}"
        raise refusal(ImportError(told + hint(name) if absent else told)) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        names = [known for known, thing in vars(module).items() if callable(thing) and not known.startswith("_")]
        near = difflib.get_close_matches(attribute, names, 3)
        told = f"; the nearest are {near}" if near else ""
        raise refusal(ValueError(f"{module_name} must have a callable {attribute!r}, but has none{told}."))
    function: Callable[..., Any] = found
    return function


def _check_call(name: str, function: Callable[..., Any]) -> None:
    """Refuses a callable that needs arguments, as far as it tells."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some compiled ones tell nothing
        return
    try:
        signature.bind()
    except TypeError as error:
        raise refusal(ValueError(f"{name} must take no arguments, but has the signature {signature}.")) from error


def _published(library: str, architecture: str) -> nn.Module:
    """An architecture of a library, without weights: none are downloaded."""
    try:
        module = importlib.import_module({"torchvision": "torchvision.models"}.get(library, library))
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision built for another torch
        raise refusal(ImportError(f"{library} cannot be imported ({error}); install it for {library}:NAME.")) from error
    builders: dict[str, Callable[[], nn.Module]] = {
        "torchvision": lambda: module.get_model(architecture, weights=None),
        "timm": lambda: module.create_model(architecture, pretrained=False),
        "transformers": lambda: module.AutoModel.from_config(_configuration(module, architecture)),
    }
    try:
        return builders[library]()
    except (ValueError, RuntimeError, OSError) as error:
        hint = did_you_mean(f"{library}:{architecture}")
        reason = str(error).rstrip(".") if hint else error
        raise refusal(ValueError(f"{library} cannot build {architecture!r}: {reason}{hint}")) from error


def inputs_of(model: nn.Module, options: argparse.Namespace, seed: int | None = None) -> Any:
    """The z that the options ask for, or of another seed, with noise seeds where the generator takes them."""
    import dissect

    count, seed = integer("--count", options.count), options.seed if seed is None else seed
    z = dissect.latents(model, count, seed)
    return (z, dissect.noise_seeds(count, seed)) if takes_noise(model) else z


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
