"""Which tensors' numbers were looked at already, so that none is looked at twice.

Calls of torch.ops.dissect may bring others, which kernels must not trust.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Group(NamedTuple):
    """Tensors that were found to fit together, and whatever else they fit."""

    tensors: tuple[weakref.ref[Tensor], ...]
    versions: tuple[int | None, ...]
    facts: tuple[Any, ...]


_GROUPS: dict[int, _Group] = {}


def remember(*tensors: Tensor, facts: tuple[Any, ...] = ()) -> None:
    """Notes that these tensors, as they are now, fit together and with some facts; until the first of them is gone."""
    if torch.compiler.is_compiling():  # nobody writes into what a compiled function makes of its own, or asks for it
        return
    key = id(tensors[0])
    first = weakref.ref(tensors[0], lambda _: _GROUPS.pop(key, None))
    others = map(weakref.ref, tensors[1:])
    _GROUPS[key] = _Group((first, *others), _versions(tensors), facts)


def is_known(*tensors: Tensor, facts: tuple[Any, ...] = ()) -> bool:
    """Whether `remember` was called with them, and none was written into since.

    Example:
        >>> values = torch.zeros(3)
        >>> remember(values, facts=(7,))
        >>> is_known(values, facts=(7,)), is_known(values, facts=(8,)), is_known(values.clone(), facts=(7,))
        (True, False, False)
        >>> is_known(values.add_(1), facts=(7,))
        False
    """
    group = _GROUPS.get(id(tensors[0]))
    return (
        group is not None
        and len(group.tensors) == len(tensors)
        and all(known() is tensor for known, tensor in zip(group.tensors, tensors))
        and group.versions == _versions(tensors)
        and group.facts == facts
    )


def _versions(tensors: tuple[Tensor, ...]) -> tuple[int | None, ...]:
    """How often each was written into; inference tensors do not tell."""
    return tuple(None if tensor.is_inference() else tensor._version for tensor in tensors)
