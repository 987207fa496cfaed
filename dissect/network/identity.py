"""What tells a network from another: digests of its modules, weights and code."""

from __future__ import annotations

import hashlib
import inspect

import torch
from torch import Tensor, nn

from dissect.network.hooks import effective_hooks

#: Bytes of weights that are summed up at a time.
_ROW = 4096


def fingerprint(model: object) -> str:
    """Of a network's modules, hooks, parameters and buffers; of anything else its class alone.

    Hooks of a `Trace` that only retains do not count, nor do those of interventions in other threads.
    """
    kind = type(model)
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}".encode())
    if isinstance(model, nn.Module):
        for name, module in model.named_modules():
            hooks = effective_hooks(module)  # those of interventions among them
            digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()} {hooks}".encode())
        for name, value in _weights(model):
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


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
    digest = hashlib.sha256()
    for name, value in _weights(model):
        if name == without:
            continue
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        data = value.contiguous().flatten().view(torch.uint8)
        whole = len(data) // _ROW * _ROW
        if whole and data.storage_offset() % 8 == 0:
            digest.update(data[:whole].view(torch.int64).view(-1, _ROW // 8).sum(1).cpu().numpy().data)
            data = data[whole:]
        digest.update(data.cpu().numpy().data)
    return digest.hexdigest()[:16]


def _weights(model: nn.Module) -> list[tuple[str, Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return [(name, value.detach()) for name, value in sorted(named, key=lambda pair: pair[0])]


def code_of(thing: object) -> str:
    """A digest of the Python code of a function or object, and of the modules in it that are not PyTorch's."""
    parts = list(thing.modules()) if isinstance(thing, nn.Module) else [thing]
    kinds = {part if inspect.isroutine(part) else type(part) for part in parts}
    digest = hashlib.sha256()
    for kind in sorted(kinds, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"):
        if not str(kind.__module__).startswith(("torch.", "builtins")):
            try:
                digest.update(inspect.getsource(kind).encode())
            except (OSError, TypeError):  # typed into an interpreter, or compiled
                digest.update(kind.__qualname__.encode())
    return digest.hexdigest()[:16]
