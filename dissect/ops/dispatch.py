"""Which backend serves a call: the fastest one that is here, or the one that was asked for, or an error."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

from dissect.ops import native

LIBRARY = torch.library.Library("dissect", "DEF")

#: Per op, its backends on a CPU, fastest first.
CPU_BACKENDS = {
    "blend_units": ("cpp", "reference"),
    "encode_labels": ("cpp", "reference"),
    "image_peaks": ("cpp", "reference"),
    "iou_counts": ("cpp", "reference"),
    "tail_histogram": ("cpp", "reference"),
}

_REASONS: dict[str, Callable[[], str | None]] = {"reference": lambda: None, "cpp": native.unavailable}


_RECORD: ContextVar[list[tuple[str, str]] | None] = ContextVar("dissect_served", default=None)


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name and cannot serve."""


class BackendWarning(UserWarning):
    """A slower backend than usual serves, and why. Given once."""


def backends(op: str, device: str | torch.device = "cpu") -> list[tuple[str, str | None]]:
    """The backends of an op, fastest first, each with None or the reason why it is not available.

    Raises:
        ValueError: no such op.

    Example:
        >>> dissect.ops.backends("iou_counts")[-1]
        ('reference', None)
    """
    if op not in CPU_BACKENDS:
        raise ValueError(f"backends: op must be one of {sorted(CPU_BACKENDS)}, but got {op!r}.")
    if torch.device(device).type != "cpu":
        return []
    return [(name, _REASONS[name]()) for name in CPU_BACKENDS[op]]


@contextmanager
def record_backends() -> Iterator[list[tuple[str, str]]]:
    """Within the block, collects (op, backend) of every call that this thread makes.

    Example:
        >>> with dissect.ops.record_backends() as served:
        ...     peaks = dissect.ops.image_peaks(torch.ones(1, 1, 2, 2), backend="reference")
        >>> served
        [('image_peaks', 'reference')]
    """
    served: list[tuple[str, str]] = []
    token = _RECORD.set(served)
    try:
        yield served
    finally:
        _RECORD.reset(token)


def select(op: str, backend: str, device: torch.device) -> str:
    """The backend that serves: `backend` itself, or for "auto" the first available (or DISSECT_BACKEND).

    Raises:
        ValueError: the op has no such backend.
        BackendUnavailableError: it has, but not here.
    """
    chosen = _choose(op, backend, device)
    served = _RECORD.get()
    if served is not None:
        served.append((op, chosen))
    return chosen


def _choose(op: str, backend: str, device: torch.device) -> str:
    choices = dict(backends(op, device))
    if not choices:
        raise BackendUnavailableError(f"{op}: tensors must be on a CPU; there are no kernels for {device.type!r} yet.")
    if backend == "auto":
        backend = os.environ.get("DISSECT_BACKEND") or "auto"
    if backend == "auto":
        chosen = next(name for name, reason in choices.items() if reason is None)
        if chosen == "reference" and len(choices) > 1:
            _tell_once("the slow references serve, because " + next(filter(None, choices.values())))
        return chosen
    if backend not in choices:
        raise ValueError(f"{op}: backend must be 'auto' or one of {list(choices)}, but got {backend!r}.")
    if choices[backend] is not None:
        raise BackendUnavailableError(f"{op}: backend {backend!r} is not available: {choices[backend]}")
    return backend


@cache
def _tell_once(message: str) -> None:
    warnings.warn(message, BackendWarning, stacklevel=4)
