"""Why a backend on a GPU is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from dissect.interrupts import deferred_interrupts
from dissect.ops.backends import cuda

#: Below it Triton does not compile.
OLDEST_CAPABILITY = (8, 0)


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
        with deferred_interrupts():
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
