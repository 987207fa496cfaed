"""What somebody may have meant who named a network that there is not."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

LIBRARIES = ("torchvision", "timm", "transformers")
#: What the names of the libraries' networks are asked of, and how.
_LISTS: dict[str, tuple[str, Callable[[ModuleType], Iterable[str]]]] = {
    "torchvision": ("torchvision.models", lambda module: module.list_models()),
    "timm": ("timm", lambda module: module.list_models()),
    "transformers": ("transformers", lambda module: module.CONFIG_MAPPING),
}
#: How alike a name must be, from 0 to 1.
_ALIKE = 0.75


def names_of(library: str) -> list[str] | None:
    """The networks of a library, or None where it cannot be imported."""
    module_name, listed = _LISTS[library]
    try:
        return list(listed(importlib.import_module(module_name)))
    except (ImportError, RuntimeError, AttributeError):  # RuntimeError: torchvision built for another torch
        return None


def did_you_mean(name: str) -> str:
    """What to put behind an error about a network's name, or nothing.

    Example:
        >>> did_you_mean("torchvison:resnet18")
        '; did you mean torchvision:resnet18?'
        >>> did_you_mean("weights.pt")
        '; weights go to --weights, and --model names their network'
    """
    if Path(name).suffix in (".pt", ".pth", ".safetensors", ".bin", ".ckpt"):
        return "; weights go to --weights, and --model names their network"
    meant = list(_meant(name))[:3]
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _meant(name: str) -> Iterator[str]:
    module, colon, rest = name.partition(":")
    if colon:
        if module in LIBRARIES:
            yield from _in_library(module, rest)
        else:
            yield from (f"{near}:{rest}" for near in difflib.get_close_matches(module, LIBRARIES, 1, _ALIKE))
            if module.endswith(".py"):
                yield f"{module.removesuffix('.py').replace('/', '.')}:{rest}"
        return
    head, _, tail = name.replace("/", ".").rpartition(".")
    library = head.partition(".")[0]
    if library in LIBRARIES:  # torchvision.models.resnet18
        yield from [f"{library}:{tail}"] if names_of(library) is None else _in_library(library, tail)
    elif head and _is_module(head):  # mymodule.make_network
        yield f"{head}:{tail}"
    elif name in LIBRARIES or (name.isidentifier() and _is_module(name)):
        yield f"{name}:NAME"
    elif re.fullmatch(r"[A-Za-z][\w-]*", name):
        yield from _anywhere(name)


def _anywhere(name: str) -> Iterator[str]:
    """The libraries that have it; or else those that are not here to be asked, and then names like it."""
    known = {library: names_of(library) for library in LIBRARIES}
    having = [f"{library}:{one}" for library, names in known.items() for one in _same(name, names or [])]
    yield from having
    if having:
        return
    away = [f"{library}:{name}" for library, names in known.items() if names is None]
    if away:
        yield f"{' or '.join(away)} (not installed here)"
    for library in known:
        yield from list(_in_library(library, name))[:1]


def _in_library(library: str, name: str) -> Iterator[str]:
    """The network of that name, however it is spelled, or those like it."""
    names = names_of(library) or []
    near = _same(name, names) or difflib.get_close_matches(name.lower(), names, 3, _ALIKE)
    yield from (f"{library}:{one}" for one in near)


def _same(name: str, names: list[str]) -> list[str]:
    """The one that is spelled alike but for case, dashes and underscores."""

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    return [one for one in names if plain(one) == plain(name)][:1]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
