"""Which backend serves a call: the fastest one that is here, or the one that was asked for, or an error."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dissect.ops import gpu, native
from dissect.ops.hot import HotCells

LIBRARY = torch.library.Library("dissect", "DEF")

#: Per op, the backends that have it on a CPU, fastest first; their files have a function of its name, for all of a
#: CPU's or a GPU's dtypes. "triton" there is its interpreter, which is for tests.
CPU_BACKENDS: dict[str, tuple[str, ...]] = {
    "blend_units": ("cpp", "reference", "torch", "triton"),
    "component_halves": ("cpp", "reference", "torch"),
    "encode_labels": ("cpp", "reference", "triton"),
    "filter_step": ("cpp", "reference", "torch"),
    "formula_search": ("cpp", "reference", "torch"),
    "hot_cells": ("cpp", "reference", "torch"),
    "image_peaks": ("cpp", "reference", "torch", "triton"),
    "iou_counts": ("cpp", "reference", "triton"),
    "iou_counts_by_image": ("cpp", "reference", "triton"),
    "narrow": ("reference", "torch"),
    "observe": ("cpp", "reference", "torch", "triton"),
    "tail_histogram": ("cpp", "reference", "torch", "triton"),
    "threshold_sweep": ("cpp", "reference", "triton"),
    "upsample_argmax": ("cpp", "reference", "torch", "triton"),
}

#: The same on a GPU of NVIDIA's or AMD's. Which of "triton" and "torch" is the faster has yet to be measured there, op
#: by op; until then kernels come first.
GPU_BACKENDS: dict[str, tuple[str, ...]] = {
    "blend_units": ("cuda", "triton", "torch"),
    "component_halves": ("cuda", "torch"),
    "encode_labels": ("triton",),
    "filter_step": ("torch",),
    "formula_search": ("torch",),
    "hot_cells": ("cuda", "torch"),
    "image_peaks": ("cuda", "triton", "torch"),
    "iou_counts": ("cuda", "triton"),
    "iou_counts_by_image": ("cuda", "triton"),
    "narrow": ("cuda", "torch"),
    "observe": ("cuda", "triton", "torch"),
    "tail_histogram": ("cuda", "triton", "torch"),
    "threshold_sweep": ("cuda", "triton"),
    "upsample_argmax": ("cuda", "triton", "torch"),
}

#: What takes `HotCells` where an op takes maps; others are given the maps that these stand for.
TAKE_HOT_CELLS = ("cpp", "cuda")

_BY_DEVICE = {"cpu": CPU_BACKENDS, "cuda": GPU_BACKENDS}

_REASONS: dict[str, Callable[[torch.device], str | None]] = {
    "reference": lambda device: None,
    "cpp": lambda device: native.unavailable(),
    "cuda": gpu.cuda_unavailable,
    "triton": gpu.triton_unavailable,
    "torch": lambda device: gpu.gpu_missing() if device.type == "cuda" else None,
}


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
        >>> dissect.ops.backends("iou_counts")[1]
        ('reference', None)
    """
    device = torch.device(device)
    return [(name, _REASONS[name](device)) for name in _named(op, device)]


def _named(op: str, device: torch.device) -> tuple[str, ...]:
    """The backends that have an op on a device, whether they are here or not."""
    if op not in CPU_BACKENDS:
        raise ValueError(f"backends: op must be one of {sorted(CPU_BACKENDS)}, but got {op!r}.")
    by_op = _BY_DEVICE.get(device.type)
    return () if by_op is None else by_op[op]


def has(backend: str, op: str, device: torch.device) -> bool:
    """Whether a backend has an op on a device, here or elsewhere."""
    return backend in _named(op, device)


def serving_device(device: str | torch.device) -> torch.device:
    """Where the ops run for tensors of this device: there, or on the CPU, and then a warning says why, once.

    Example:
        >>> dissect.ops.serving_device("meta")
        device(type='cpu')
    """
    device = torch.device(device)
    for op in GPU_BACKENDS:
        choices = backends(op, device)
        if all(reason is not None for _, reason in choices):
            if choices:
                reasons = " ".join(f"{name}: {reason}" for name, reason in choices)
                _tell_once(f"activations go to the CPU, because no backend of {op} serves on {device}. {reasons}")
            return torch.device("cpu")
    return device


home = serving_device  # its earlier name, which callers have


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
    """The backend that serves: `backend` itself, or for "auto" the first available.

    DISSECT_BACKEND is what "auto" means for the ops and devices that have such a backend.

    Raises:
        ValueError: the op has no such backend.
        BackendUnavailableError: it has, but not here.
    """
    chosen = _choose(op, backend, device)
    served = _RECORD.get()
    if served is not None:
        served.append((op, chosen))
    return chosen


def implementation(op: str, backend: str, device: torch.device, function: str | None = None) -> Callable[..., Any]:
    """The function that the file of the backend that serves has for an op, or for another `function` of that op.

    Raises:
        ValueError, BackendUnavailableError: as `select`.
    """
    return _function(select(op, backend, device), function or op)


def serving(op: str, backend: str, activations: Tensor | HotCells) -> tuple[Callable[..., Any], Tensor | HotCells]:
    """The function that serves a call of an op, and what it takes in these activations' place.

    Raises:
        ValueError, BackendUnavailableError: as `select`.
    """
    chosen = select(op, backend, activations.device)
    if isinstance(activations, HotCells) and chosen not in TAKE_HOT_CELLS:
        activations = activations.maps()
    return _function(chosen, op), activations


def takes_hot_cells(device: torch.device) -> bool:
    """Whether `HotCells` stand for maps there in all ops that take them, by "auto", and are made as fast.

    Not on a GPU before it was seen on one: its kernels have run in emulation alone.
    """
    taking = ("hot_cells", "iou_counts", "iou_counts_by_image", "tail_histogram")
    return device.type == "cpu" and all(_choose(op, "auto", device) in TAKE_HOT_CELLS for op in taking)


@cache
def _function(backend: str, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f"dissect.ops.backends.{backend}"), name)
    return function


def register(
    schema: str, serve: Callable[..., Any], shapes: Callable[..., Any], *, mutates_first: bool = False
) -> None:
    """Defines an op of torch.ops.dissect.

    Args:
        schema: its name and arguments.
        serve: what it does with tensors on a CPU or a GPU.
        shapes: what it gives of tensors without values: on the meta device, or while it is compiled.
        mutates_first: autograd is told, so that it refuses a backward pass that needs the old values; for ops that
            are defined by a schema, torch does not do it by itself.
    """
    op = schema.partition("(")[0]
    LIBRARY.define(schema)
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(op, serve, key)
    if mutates_first:
        _bump_version(op)

    def checked(*arguments: Any) -> Any:
        # torch also asks where some have values and some do not, and would take what was made empty for the result.
        if len({value.is_meta for value in arguments if isinstance(value, torch.Tensor)}) > 1:
            raise TypeError(f"{op}: all tensors must hold values, but some are on the meta device, which has none.")
        return shapes(*arguments)

    torch.library.register_fake(f"dissect::{op}", checked, lib=LIBRARY)


def _bump_version(op: str) -> None:
    overload = getattr(torch.ops.dissect, op).default

    def noted(keyset: Any, written: torch.Tensor, *others: Any) -> Any:
        torch.autograd.graph.increment_version(written)
        return overload.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, written, *others)

    LIBRARY.impl(op, noted, "ADInplaceOrView", with_keyset=True)


def _choose(op: str, backend: str, device: torch.device) -> str:
    names = _named(op, device)
    if not names:
        raise BackendUnavailableError(
            f"{op}: tensors must be on a CPU or a GPU; there are no kernels for {device.type!r}."
        )
    if backend == "auto":
        wanted = os.environ.get("DISSECT_BACKEND") or "auto"
        if wanted != "auto" and wanted not in _REASONS:
            raise ValueError(f"DISSECT_BACKEND must be 'auto' or one of {list(_REASONS)}, but is {wanted!r}.")
        backend = wanted if wanted in names else "auto"  # no op has them all
    if backend == "auto":
        return _fastest(op, device, names)
    if backend not in names:
        raise ValueError(f"{op}: backend must be 'auto' or one of {list(names)}, but got {backend!r}.")
    reason = _REASONS[backend](device)
    if reason is not None:
        raise BackendUnavailableError(f"{op}: backend {backend!r} is not available: {reason}")
    return backend


def _fastest(op: str, device: torch.device, names: tuple[str, ...]) -> str:
    """The first backend that is available. If it is not the first of all, a warning says why, once per process."""
    reasons: dict[str, str] = {}
    for name in names:
        reason = _REASONS[name](device)
        if reason is None:
            break
        reasons[name] = reason
    else:
        told = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise BackendUnavailableError(f"{op}: no backend serves tensors on {device}; move them to the CPU. {told}")
    if reasons:
        serve = "the slow references serve" if name == "reference" else f"{name} serves on the GPU"
        _tell_once(f"{serve}, because {reasons[names[0]]}")
    return name


@cache
def _tell_once(message: str) -> None:
    warnings.warn(message, BackendWarning, stacklevel=4)
