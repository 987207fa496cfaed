"""The backends on a GPU: why one is missing, and where the kernels of the others are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from dissect.interrupts import held_back
from dissect.ops import cuda

#: Backends made of kernels, by the module that launches them. Each has a function per op, which takes checked tensors.
KERNELS = {"cuda": "dissect.ops.cuda", "triton": "dissect.kernels"}

#: Below it Triton does not compile.
OLDEST_CAPABILITY = (8, 0)


def kernels(backend: str) -> ModuleType | None:
    """The module of a backend's kernels, or None for "cpp" and "reference"."""
    return import_module(KERNELS[backend]) if backend in KERNELS else None


def new_status(device: torch.device) -> Tensor:
    """[] int32 of 0: where kernels note bad data, by writing 1, so that nobody needs to wait for them."""
    return torch.zeros((), dtype=torch.int32, device=device)


def gpu_missing() -> str | None:
    """None, or why torch has no GPU here."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA."
    if not torch.cuda.is_available():
        return "torch finds no GPU, or no driver for it."
    return None


def cuda_unavailable(device: torch.device) -> str | None:
    """None, or why the CUDA kernels cannot serve on this device."""
    return gpu_missing() or cuda.unavailable(device)


@cache
def triton_unavailable(device: torch.device) -> str | None:
    """None, or why Triton's kernels cannot serve on this device."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cpu" and not interpreted:
        return "on a CPU it needs Triton's interpreter: set TRITON_INTERPRET=1 before the start."
    try:
        with held_back():
            import triton
    except ImportError as error:
        return f"triton cannot be imported ({error}); install dissect-units[triton] on Linux."
    if device.type == "cpu":
        return None
    missing = gpu_missing()
    if missing is not None or interpreted:
        return missing
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < OLDEST_CAPABILITY:
        return f"it needs a GPU of compute capability 8.0 or later, but this one has {capability[0]}.{capability[1]}."
    return _unwritable(triton.knobs.cache.dir)


def _unwritable(folder: str) -> str | None:
    """None, or that compiled kernels cannot be kept in the folder, which need not exist yet."""
    place: Path = next(parent for parent in _with_parents(Path(folder).absolute()) if parent.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return None
    return f"its cache {folder} cannot be written; set TRITON_CACHE_DIR to a folder that can."


def _with_parents(path: Path) -> Iterable[Path]:
    yield path
    yield from path.parents
