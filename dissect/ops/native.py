"""The compiled engine `dissect._C`: whether it is here, and how it is told of maps."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dissect.ops.hot import HotCells

_engine: ModuleType | None
try:
    _engine = import_module("dissect._C")
except ImportError as error:
    _engine, _missing = None, str(error)

#: In the order of the engine's enums.
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


def unavailable() -> str | None:
    """None, or why the compiled engine is not here."""
    if _engine is not None:
        return None
    return f"the compiled engine is missing ({_missing}); install a C++ compiler and reinstall the package."


def engine() -> ModuleType:
    """The compiled engine.

    Raises:
        ImportError: it is missing.
    """
    if _engine is None:
        raise ImportError(unavailable())
    return _engine


def simd_level() -> str | None:
    """The SIMD level that the engine uses here ("baseline", "avx2", "avx512"), or None without an engine."""
    return None if _engine is None else _engine.simd_level()


def maps_arguments(activations: Tensor | HotCells) -> tuple[int, int, list[int], list[int]]:
    """Address, dtype code, shape and strides of [N, U, h, w] activations; hot cells have but a shape here.

    Raises:
        TypeError: another dtype or number of dimensions, or no places, in a call that did not come by `dissect.ops`.
    """
    if isinstance(activations, HotCells):
        return 0, 0, list(activations.shape), [0] * 4
    if activations.dtype not in DTYPES or activations.ndim != 4 or 0 in activations.shape[2:]:
        raise TypeError(
            f"activations must be float32, float16 or bfloat16 [N, U, h, w] with h, w >= 1, but got "
            f"{activations.dtype} {list(activations.shape)}."
        )
    return activations.data_ptr(), DTYPES[activations.dtype], list(activations.shape), list(activations.stride())


def copied_planes(tensor: Tensor) -> Tensor:
    """A contiguous copy of a tensor on the CPU, however it lies, in memory that is cheap to touch first.

    PyTorch takes some 10 ns per value of large channels-last maps, of which fresh pages of 4 KB are 3.
    """
    plain = type(tensor) is Tensor and tensor.layout == torch.strided and not tensor.is_quantized
    if _engine is None or not plain or tensor.is_neg():
        return tensor.clone(memory_format=torch.contiguous_format)
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    _engine.ask_for_huge_pages(copy.data_ptr(), copy.nbytes)
    if tensor.dtype not in DTYPES or tensor.ndim != 4 or tensor.stride(1) != 1 or tensor.is_contiguous():
        return copy.copy_(tensor)
    _engine.copy_planes(*maps_arguments(tensor), copy.data_ptr(), torch.get_num_threads())
    return copy


def hot_addresses(hot: HotCells) -> tuple[int, int, int, bool, int]:
    """Of starts, counts and places, whether these have 32 bits, and of values, once they were looked at."""
    hot.check()
    starts, counts, places, values = (part.data_ptr() for part in (hot.starts, hot.counts, hot.places, hot.values))
    return starts, counts, places, hot.places.dtype == torch.int32, values


def hot_argument(activations: Tensor | HotCells) -> Any:
    """What the engine knows hot cells by, as long as they live; None for maps."""
    return engine().HotCells(*hot_addresses(activations)) if isinstance(activations, HotCells) else None


def find_bad_map(activations: Tensor) -> tuple[int, int] | None:
    """(image, unit) of a map that holds NaN, infinity or a magnitude from 2^126, or None."""
    found = engine().find_bad_map(*maps_arguments(activations), torch.get_num_threads())
    return None if found < 0 else divmod(found, activations.shape[1])
