"""What tells a network from another: digests of its modules, weights and code."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import check_values, refusal
from dissect.digests import digest
from dissect.network.hooks import effective_hooks

#: Bytes of weights that are summed up at a time.
_ROW = 4096

#: Python up to 3.12 counts the depth of a parse per interpreter: two classes read in two threads fail each other.
_READING = threading.Lock()


def fingerprint(model: object) -> str:
    """Of a network's modules, hooks, parameters and buffers; of anything else its class alone.

    Hooks of a `Trace` that only retains do not count, nor do those of interventions in other threads.
    """
    return digest(_told(model))


def _told(model: object) -> Iterator[str | Tensor]:
    kind = type(model)
    yield f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(model, nn.Module):
        for name, module in model.named_modules():
            hooks = effective_hooks(module)  # those of interventions among them
            yield f"{name} {type(module).__qualname__} {module.extra_repr()} {hooks}"
        for name, value in _weights(model):
            yield f"{name} {value.dtype} {list(value.shape)}"
            yield value


def weights_fingerprint(model: nn.Module, *, without: str = "") -> str:
    """Of a network's parameters and buffers, by name, alone: any change of a few weights gives another.

    The one named `without` is left out.

    It is of sums of the bits of 4,096 bytes each, which takes no longer than to read the weights, where they are.

    Example:
        >>> import copy
        >>> layer = torch.nn.Linear(2, 2)
        >>> weights_fingerprint(layer) == weights_fingerprint(copy.deepcopy(layer))
        True
    """
    return digest(part for name, value in _weights(model) if name != without for part in _sums(name, value))


def check_identity(name: str, known: str | None, found: str, rule: str, way: str) -> None:
    """Refuses another network than the one that a result is of, as far as that is known.

    Args:
        name: the argument's.
        known: a digest of the network that the result is of; None is unknown, and then all will do.
        found: the same digest of the network that was given.
        rule: which network it must be, and what this one has, after "must be".
        way: what to do.

    Raises:
        ValueError: the digests differ.
    """
    if known not in (None, found):
        raise refusal(ValueError(f"{name} must be {rule}; {way}."))


def check_same_weights(
    model: nn.Module, settings: Mapping[str, Any], name: str = "model", whose: str = "dissection"
) -> None:
    """Refuses a network of other weights than a dissection's, by what its settings say of them, if they do.

    Args:
        model: what was given.
        settings: of a result that has the `weights_fingerprint` of its network under "provenance" and "weights".
        name: the argument's.
        whose: what the settings are of, in words.

    Raises:
        ValueError: the fingerprints differ; names both.

    Example:
        >>> layer = torch.nn.Linear(2, 2)
        >>> check_same_weights(layer, {"provenance": {"weights": weights_fingerprint(layer)}})
    """
    known = (settings.get("provenance") or {}).get("weights")
    if known is not None:
        found = weights_fingerprint(model)
        check_identity(
            name, known, found,
            f"the network of the {whose}, of weights {known}, "
            f"but this {type(model).__name__} has other weights, {found}",
            "give the one that was dissected, or dissect this one; where another is meant, set "
            'settings["provenance"]["weights"] of the dissection to None',
        )  # fmt: skip


def _sums(name: str, value: Tensor) -> Iterator[str | Tensor]:
    yield f"{name} {value.dtype} {list(value.shape)}"
    data = value.contiguous().flatten().view(torch.uint8)
    whole = len(data) // _ROW * _ROW
    if whole and data.storage_offset() % 8 == 0:
        yield data[:whole].view(torch.int64).view(-1, _ROW // 8).sum(1)
        data = data[whole:]
    yield data


def _weights(model: nn.Module) -> list[tuple[str, Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    for name, value in named:
        check_values(f"{name!r} of {type(model).__name__}", value)
    return [(name, value.detach()) for name, value in sorted(named, key=lambda pair: pair[0])]


def code_of(thing: object) -> str:
    """A digest of the Python code of a function or object, and of the modules in it that are not PyTorch's."""
    parts = list(thing.modules()) if isinstance(thing, nn.Module) else [thing]
    kinds = {part if inspect.isroutine(part) else type(part) for part in parts}
    own = (kind for kind in kinds if not str(kind.__module__).startswith(("torch.", "builtins")))
    return digest(_source_of(kind) for kind in sorted(own, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"))


def _source_of(kind: Any) -> str:
    try:
        with _READING:
            path = inspect.getfile(kind)
            if not os.path.isfile(path):  # a notebook's cell
                return inspect.getsource(kind)
            written = os.stat(path)
            return _read_once(kind, written.st_size, written.st_mtime_ns)
    except (OSError, SyntaxError, TypeError):  # typed into an interpreter, compiled, or in a file half written
        return str(kind.__qualname__)


@lru_cache(maxsize=1024)
def _read_once(kind: Any, size: int, changed: int) -> str:
    """The source in a file of that size and time of change: to find a class Python up to 3.12 parses the whole file."""
    return inspect.getsource(kind)
