"""Something else in place of modules' forwards, for those alone who ask for it, as `hooks` are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn

Forward = Callable[..., Any]

#: Of the blocks that the running thread or coroutine is in, the modules, by id, and what is called in their place.
_acts: ContextVar[tuple[tuple[frozenset[int], Forward], ...]] = ContextVar("dissect_forwards", default=())
#: Of the modules of all blocks, by id: how many blocks there are, and the forward that they had before, if any.
_held: dict[int, tuple[int, Forward | None]] = {}
_lock = threading.Lock()


@contextmanager
def instead(modules: Iterable[nn.Module], act: Forward) -> Iterator[None]:
    """Within, calls ``act(module, run, *args, **kwargs)`` when a module is called, where `run` is what it does itself.

    That is so in the running thread or coroutine; others, and copies of the module, do what they did. The modules'
    hooks stay. Of several blocks the one that was entered last is asked first. TorchScript modules run as they are.

    Example:
        >>> relu = nn.ReLU()
        >>> with instead([relu], lambda module, run, x: run(x) + 1):
        ...     relu(torch.tensor(-3.0))
        tensor(1.)
    """
    ours: list[Any] = [part for part in dict.fromkeys(modules) if not isinstance(part, torch.jit.ScriptModule)]
    with _lock:
        for module in ours:
            if id(module) not in _held:
                _held[id(module)] = 0, vars(module).get("forward")
                module.forward = MethodType(_forward, module)  # a copy of the module gets one of its own
            count, own = _held[id(module)]
            _held[id(module)] = count + 1, own
    before = _acts.get()
    _acts.set((*before, (frozenset(map(id, ours)), act)))
    try:
        yield
    finally:
        _acts.set(before)
        with _lock:
            for module in ours:
                count, own = _held.pop(id(module))
                if count > 1:
                    _held[id(module)] = count - 1, own
                    continue
                del module.forward
                if own is not None:
                    module.forward = own


def own_forward(module: nn.Module) -> Forward | None:
    """A module's own forward, where it has one in the place of its class's that is none of `instead`; else None."""
    found: Any = vars(module).get("forward")
    return _held.get(id(module), (0, None))[1] if getattr(found, "__func__", None) is _forward else found


def _forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    run = own_forward(module) or partial(type(module).forward, module)
    for ours, act in _acts.get():
        if id(module) in ours:
            run = partial(act, module, run)
    return run(*args, **kwargs)
